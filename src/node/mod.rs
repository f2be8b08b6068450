//! A running node: the public async API over the engine, its driver and a transport.
//!
//! [`Builder`] puts a node together; [`Node`] is the handle to it. One task drives the engine
//! (`driver.rs`), each stream has a task of its own (`stream_task.rs`), and the stores are shared with
//! the application: reads never wait for the network, and a write is on its way when its call returns.

mod accept;
mod advertise;
#[cfg(feature = "persist")]
mod backup_calls;
#[cfg(feature = "persist")]
mod backups;
mod builder;
mod changes;
mod clock;
mod driver;
#[cfg(feature = "persist")]
mod driver_disk;
mod event;
mod event_gate;
mod event_log;
mod events;
mod frame_pace;
mod frames_in;
mod frames_out;
mod handle;
mod handshake;
mod inflow;
mod outflow;
mod presence;
mod presence_changes;
mod resolve;
mod stream_context;
mod stream_places;
mod stream_table;
mod stream_task;
mod tasks;
mod tidy;
mod tracker;
mod turn;

pub use builder::{BuildError, Builder};
pub use changes::{Changes, KeyChange};
pub use clock::SystemClock;
pub use event::NodeEvent;
pub use events::{Events, EventsError, LeaveError, ReadyError, RunOutcome, Stopped, Views};
pub use handle::Node;
pub use presence::Presence;
pub use presence_changes::PresenceChanges;
pub use turn::TurnOutcome;
