//! The driver's side of the disk: batches go out, what became of them comes in.

use std::task::{Context, Poll};
use std::time::Duration;

use tracing::{error, warn};

use super::super::driver_disk::DriverDisk;
use super::intake::{Intake, take};
use super::state::{Driver, Machine};
use crate::engine::Input;
use crate::id::MemberState;
use crate::persist::{DiskEvent, DiskJob, DiskNews, Remembered};

impl<M: Machine> Driver<M> {
    pub(super) fn take_disk_news(&mut self, cx: &mut Context<'_>) -> Intake {
        take(NEWS_PER_TURN, || {
            let Some(disk) = self.disk.as_mut() else {
                return Poll::Pending;
            };
            let news = match disk.news.poll_recv(cx) {
                Poll::Ready(Some(news)) => news,
                Poll::Ready(None) if !disk.is_over => {
                    self.disk_is_over();
                    return Poll::Ready(true);
                }
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            };
            match news {
                DiskNews::Committed { batch, ok } => {
                    disk.batch = None;
                    let input = Input::Committed { batch, ok };
                    self.machine.handle(self.clock.now(), input);
                }
                DiskNews::Remembered { ok } => disk.remembered(ok),
                DiskNews::Event(event) => {
                    let works = match &event {
                        DiskEvent::Failing => Some(false),
                        DiskEvent::Loaded(report) => report.unread.then_some(false),
                        DiskEvent::Recovered => Some(true),
                        DiskEvent::Working { .. } => None,
                    };
                    if let Some(works) = works {
                        self.machine
                            .handle(self.clock.now(), Input::DiskWorks(works));
                    }
                    self.tell(event.into());
                }
            }
            Poll::Ready(true)
        })
    }

    /// Only a bug ends the thread of a disk. Who waits for it is told, and all that comes later fails at
    /// once.
    fn disk_is_over(&mut self) {
        let Some(disk) = self.disk.as_mut() else {
            return;
        };
        disk.is_over = true;
        error!("the thread of the disk has ended: nothing is durable until a restart");
        if let Some(batch) = disk.batch.take() {
            let input = Input::Committed { batch, ok: false };
            self.machine.handle(self.clock.now(), input);
        }
        let works = Input::DiskWorks(false);
        self.machine.handle(self.clock.now(), works);
        self.tell(DiskEvent::Failing.into());
    }

    /// Has the disk remember who is here, where that has changed, at most once a second.
    pub(super) fn remember(&mut self) {
        let now = self.clock.now().mono;
        let Some(disk) = self.disk.as_mut() else {
            return;
        };
        if !disk.is_to_remember(self.revision, now) {
            return;
        }
        let view = self.published.views.borrow();
        let live = view
            .members
            .iter()
            .filter(|member| matches!(member.state, MemberState::Alive | MemberState::Suspect));
        let here = view.expulsions.iter().filter(|expulsion| expulsion.here);
        let remembered = Remembered {
            boot: view.this.boot,
            members: live.map(|member| member.addr).take(MEMBERS_MAX).collect(),
            expelled: here.map(|expulsion| expulsion.name.clone()).collect(),
        };
        drop(view);
        disk.remember(remembered, self.revision, now);
    }

    /// Writes what is not on disk yet, and lets the disk go.
    pub(super) async fn finish_disk(&mut self) {
        let Some(disk) = self.disk.take() else {
            return;
        };
        let DriverDisk { jobs, mut news, .. } = disk;
        let rest = async {
            loop {
                let entries = self.machine.unkept();
                let batch = u64::MAX;
                if entries.is_empty() || jobs.try_send(DiskJob::Commit { batch, entries }).is_err()
                {
                    break;
                }
                let written = loop {
                    match news.recv().await {
                        Some(DiskNews::Committed {
                            batch: u64::MAX,
                            ok,
                        }) => break ok,
                        Some(_) => {}
                        None => break false,
                    }
                };
                if !written {
                    warn!("what was written last is not on disk");
                    break;
                }
            }
            drop(jobs);
            while news.recv().await.is_some() {}
        };
        if tokio::time::timeout(FINISH_DISK_MAX, rest).await.is_err() {
            warn!("the disk is slow: what was written last may not be on it");
        }
    }
}

const NEWS_PER_TURN: usize = 16;
/// Of so many members the addresses are remembered.
const MEMBERS_MAX: usize = 16;
/// For a node that leaves, to write what is not on disk.
const FINISH_DISK_MAX: Duration = Duration::from_secs(5);
