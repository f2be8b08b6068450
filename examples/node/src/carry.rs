//! Backups that are written instead of running, and one that is joined in before.

use std::path::PathBuf;

use rumormill::node::Builder;
use rumormill::persist::{LoadReport, RestoreOptions, RestoreReport};
use tracing::{error, info, warn};

use crate::flags::Flags;
use crate::progress::shown;
use crate::run::RunError;

/// What the flags ask for.
#[derive(Clone, Debug)]
pub(crate) struct Carry {
    backup: Option<PathBuf>,
    backup_json: Option<PathBuf>,
    restore: Option<PathBuf>,
    is_dry: bool,
}

impl Carry {
    pub(crate) fn of(flags: &Flags) -> Self {
        Self {
            backup: flags.storage_backup.clone(),
            backup_json: flags.storage_backup_json.clone(),
            restore: flags.storage_restore.clone(),
            is_dry: flags.storage_restore_dry_run,
        }
    }

    /// Whether anything is asked for.
    pub(crate) fn asks(&self) -> bool {
        self.backup.is_some() || self.backup_json.is_some() || self.restore.is_some()
    }

    /// Does what is asked for, once the stores have what the disk has, and returns whether that was all.
    ///
    /// # Errors
    /// [`RunError::Unread`] and [`RunError::Partial`] where a copy is asked for that would not be whole;
    /// [`RunError::Backup`].
    pub(crate) async fn is_all(
        &self,
        builder: &Builder,
        found: &LoadReport,
    ) -> Result<bool, RunError> {
        let writes = self.backup.is_some() || self.backup_json.is_some();
        if found.unread && self.is_dry {
            return Err(RunError::Unread);
        }
        if writes {
            check_whole(found)?;
        }
        if let Some(file) = &self.restore {
            let options = RestoreOptions::new();
            let options = if self.is_dry {
                options.dry_run()
            } else {
                options
            };
            let restored = builder.restore(file, options);
            say(&shown(builder.events(), restored).await?);
        }
        if let Some(file) = &self.backup {
            let taken = shown(builder.events(), builder.backup(file)).await?;
            let (entries, bytes) = (taken.entries, taken.bytes);
            info!(entries, bytes, file = %file.display(), "the backup is written");
        }
        if let Some(file) = &self.backup_json {
            let taken = shown(builder.events(), builder.backup_json(file)).await?;
            let (entries, bytes) = (taken.entries, taken.bytes);
            info!(entries, bytes, file = %file.display(), "the lines of JSON are written");
        }
        Ok(writes || self.is_dry)
    }
}

/// What is to be copied is all that the disk has.
///
/// # Errors
/// [`RunError::Unread`] and [`RunError::Partial`]: a copy would take the place of one that has more.
pub(crate) fn check_whole(found: &LoadReport) -> Result<(), RunError> {
    if found.unread {
        return Err(RunError::Unread);
    }
    let lacks = [found.set_aside, found.strange, found.held_back_count];
    if lacks == [0; 3] && found.aside.is_empty() {
        return Ok(());
    }
    Err(RunError::Partial {
        set_aside: found.set_aside,
        aside: found.aside.clone(),
        strange: found.strange,
        held_back: found.held_back_count,
    })
}

/// Says what has changed, or would.
fn say(report: &RestoreReport) {
    let what = if report.is_dry {
        "a restore would change this"
    } else {
        "the backup is joined in"
    };
    for store in &report.stores {
        info!(
            store = store.name,
            new = store.new,
            newer = store.newer,
            older = store.older,
            equal = store.equal,
            expired = store.expired,
            refused = store.refused,
            held_back = store.held_back,
            unknown = store.unknown,
            "{what}"
        );
        if store.refused > 0 {
            error!(
                store = store.name,
                refused = store.refused,
                "entries of the backup are refused: too large, too many, or stamped too far ahead of the clock"
            );
        }
        if store.unknown > 0 {
            warn!(
                store = store.name,
                unknown = store.unknown,
                "the backup has a store that this node does not have: its entries are passed over"
            );
        }
    }
    if let Some(first) = report.held_back.first() {
        warn!(
            ?first,
            "entries are held back: they may have been removed since the backup was taken"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of each kind one thing that a copy would lack.
    #[test]
    fn a_copy_is_of_all_that_the_disk_has() {
        let found = |change: fn(&mut LoadReport)| {
            let mut found = LoadReport::default();
            (found.entries, found.known) = (7, 2);
            change(&mut found);
            check_whole(&found)
        };
        assert!(found(|_| {}).is_ok());
        let unread = found(|it| it.unread = true);
        assert!(matches!(unread, Err(RunError::Unread)));
        let lacks: [fn(&mut LoadReport); 4] = [
            |it| it.set_aside = 1,
            |it| it.aside.push(PathBuf::from("rumormill.redb.damaged-1")),
            |it| it.strange = 1,
            |it| it.held_back_count = 1,
        ];
        for lack in lacks {
            let partial = found(lack);
            assert!(
                matches!(partial, Err(RunError::Partial { .. })),
                "{partial:?}"
            );
        }
    }
}
