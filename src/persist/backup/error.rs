//! What can go wrong with a backup.

use std::io;
use std::path::{Path, PathBuf};

use super::head::BACKUP_VERSION;

/// A file that could not be written, or not be restored. Of one that was to be written nothing is left, and what was in
/// its place before is there, unless it is [`BackupFault::Unflushed`]. One that was to be restored has changed nothing,
/// unless it was changed itself meanwhile, or the node stopped: see [`joined`](Self::joined).
#[derive(Debug, thiserror::Error)]
#[error("{path}, at byte {offset}: {fault}{}", halfway(fault, *joined), path = path.display())]
#[non_exhaustive]
pub struct BackupError {
    /// The file.
    pub path: PathBuf,
    /// Where in it: from its beginning, in bytes.
    pub offset: u64,
    /// What is wrong.
    #[source]
    pub fault: BackupFault,
    /// Entries that had been joined in before. 0, unless the file was read whole and could not be read a second time,
    /// or the node stopped meanwhile. They stay; a restore that is tried again goes on from there.
    pub joined: u64,
}

impl BackupError {
    /// The node has stopped, and this was joined in all the same.
    pub(crate) fn stopped(path: &Path, joined: u64) -> Self {
        Self {
            path: path.to_owned(),
            offset: 0,
            fault: BackupFault::Stopped,
            joined,
        }
    }
}

/// What is wrong with a backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupFault {
    /// What begins here is not as it was written.
    #[error("the checksum does not fit: it is damaged")]
    Checksum,
    /// It ends here, too early.
    #[error("it is cut short")]
    CutShort,
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// The system said no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is as it was written, and cannot be understood.
    #[error("{what} cannot be read")]
    Malformed {
        /// What.
        what: &'static str,
    },
    /// It does not begin as a backup does.
    #[error("this is not a backup")]
    NotABackup,
    /// It is of another cluster, whose entries must not get into this one.
    #[error("it is of the cluster {found:?}, this node is of {expected:?}")]
    OtherCluster {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// The node leaves or has stopped: what is joined into its stores gets onto no disk and to no peer.
    #[error("the node has stopped")]
    Stopped,
    /// Something comes behind its end.
    #[error("something comes behind its end")]
    Trailing,
    /// It was written, and is in its place as a whole; but the directory could not be flushed, so that after a loss of
    /// power the file that was there before may be there again.
    #[error("it is in its place, but its directory could not be flushed: {0}")]
    Unflushed(#[source] io::Error),
    /// The node's disk could not be read so far, so that its stores are not whole: nothing was written.
    #[error("what the node has on disk could not be read yet: there is nothing whole to write")]
    Unread,
    /// It is of a version that is not known here.
    #[error("it has version {found}, this program reads {BACKUP_VERSION}")]
    Version {
        /// Its version.
        found: u16,
    },
}

/// What is wrong, and where.
pub(super) type Misfit = (u64, BackupFault);

fn halfway(fault: &BackupFault, joined: u64) -> String {
    match (fault, joined) {
        (_, 0) => String::new(),
        (BackupFault::Stopped, joined) => format!("; {joined} entries are joined in"),
        (_, joined) => {
            format!("; it has changed while it was read, and {joined} entries are joined in")
        }
    }
}
