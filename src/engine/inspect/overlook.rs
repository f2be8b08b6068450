//! A change below the engine's sight, as a defect would make one: held, and sent to nobody.

use crate::engine::Engine;
use crate::store::WriteId;

impl Engine {
    /// Takes a write for one that somebody else has sent to everybody. To be called before the turn that
    /// would send it.
    pub(crate) fn overlook(&mut self, write: &WriteId) {
        self.core.stores.add_foreign(write.store, write.seq);
    }
}
