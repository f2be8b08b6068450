//! What the driver, its stream tasks and the transports count, beside the engine's own counters.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the snapshot and the shared cells behind it in step.
macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// Everything counted outside the engine, between it and the network; each grows from 0.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct NetCounters {
            $($(#[$doc])* pub $field: u64,)*
        }

        /// The cells behind [`NetCounters`], shared by the driver, its tasks and its transport.
        #[derive(Debug, Default)]
        pub struct NetTally {
            $(pub(crate) $field: Count,)*
        }

        impl NetTally {
            /// All counts now; not one instant for all of them.
            #[must_use]
            pub fn snapshot(&self) -> NetCounters {
                NetCounters { $($field: self.$field.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Datagrams that were not sent because the socket would have blocked.
    datagrams_dropped,
    /// Datagrams that the system refused to send.
    datagrams_failed,
    /// Errors while receiving datagrams.
    receive_errors,
    /// Streams accepted from the transport, before any check.
    streams_accepted,
    /// Errors while accepting streams.
    accept_errors,
    /// Accepted streams dropped because too many handshakes were under way, none of which was to give
    /// way.
    handshakes_refused,
    /// Handshakes given up because they were the oldest, and another one took their place; of TLS and of
    /// streams.
    handshakes_evicted,
    /// Streams closed in the handshake: silent, cut short, or not this protocol at all.
    handshakes_failed,
    /// Streams closed in the handshake: another cluster.
    streams_foreign_cluster,
    /// Streams closed in the handshake: another wire version.
    streams_foreign_version,
    /// Streams refused, accepted or to be dialled, because `streams_max` were open.
    streams_refused,
    /// Streams closed because more was queued on them than the hard limit, or on all streams together
    /// and most on them.
    streams_overflowed,
    /// Streams closed because their peer took nothing of what was to be written for too long.
    streams_unread,
    /// Streams whose end was being waited for and that made way for others.
    streams_evicted,
    /// Streams closed because a frame was longer than allowed.
    frames_oversized,
    /// Streams closed because a frame did not arrive at the least speed.
    frames_stalled,
    /// Of those, the ones that were idle while others waited for their room.
    frames_evicted,
    /// Events that the application was not told because there were too many of their kind.
    events_withheld,
    /// Dials that were refused: nothing listened.
    dials_refused,
    /// Dials that found the host unreachable or silent.
    dials_unreachable,
    /// Dials that this machine could not make.
    dials_failed,
    /// Seeds that did not resolve.
    resolves_failed,
    /// Turns in which timers were found late: this process did not run when it should have.
    timers_late,
    /// TLS handshakes that succeeded, dialled and accepted, resumed ones included.
    tls_handshakes,
    /// TLS handshakes that were resumed from an earlier session.
    tls_handshakes_resumed,
    /// TLS handshakes that failed, for whatever reason and on either side.
    tls_handshakes_failed,
    /// Connections closed before their TLS handshake: too many at once, or too fast.
    tls_handshakes_limited,
    /// TLS connections closed because as many as allowed were open.
    tls_connections_refused,
    /// TLS connections closed because their peer's certificate is not accepted any more.
    tls_connections_revoked,
    /// Packets dropped because they waited for a TLS connection until they were old.
    tls_packets_expired,
    /// Packets dropped because they arrived over TLS when they were old.
    tls_packets_late,
    /// Packets dropped because their TLS connection ended or stalled while they were written, or was
    /// closed to make room for another one. Some of those that were being written may have arrived.
    tls_packets_lost,
    /// Packets dropped because the queue for their peer was full.
    tls_packets_overflowed,
    /// TLS connections for packets closed, or given up while they were made, to make room for one to
    /// another peer.
    tls_lanes_evicted,
    /// Streams closed because the peer's certificate does not allow the name that it gave.
    tls_names_refused,
    /// Times that certificates were loaded anew.
    tls_reloads,
    /// Times that certificates could not be loaded anew, and the old ones were kept.
    tls_reloads_failed,
}

/// One count.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds one.
    pub(crate) fn one(&self) {
        self.add(1);
    }

    /// Adds so many.
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}
