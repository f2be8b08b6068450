//! Members that are expelled: to this node they have left, whatever boot they come back with.

use crate::engine::core::Core;
use crate::id::NodeName;

use super::Membership;

impl Membership {
    /// A member is expelled. Its sessions end, as those of one that left.
    pub(in crate::engine) fn expel(&mut self, core: &mut Core, name: &NodeName) {
        self.said_left.remove(name);
        self.roster.left.insert(name.clone(), u64::MAX);
        self.refresh_left(core, std::slice::from_ref(name));
    }

    /// A member may come back: what is still known of it counts again.
    pub(in crate::engine) fn readmit(&mut self, core: &mut Core, name: &NodeName) {
        self.roster.left.remove(name);
        self.show_again(core, name);
    }
}
