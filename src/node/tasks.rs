//! Tasks that end by a panic.

use tokio::task::JoinError;

/// Continues a task's panic in the caller: the task has broken an invariant of ours. A task that was
/// aborted is ignored.
pub(super) fn propagate_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
