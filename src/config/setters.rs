//! The setters. The documentation of a field is that of its setter.

use std::time::Duration;

use super::presets::Config;

/// One setter per field: the documentation is the field's.
macro_rules! setters {
    ($($(#[$doc:meta])* $field:ident: $type:ty;)*) => {
        impl Config {$(
            $(#[$doc])*
            #[must_use]
            pub fn $field(mut self, $field: $type) -> Self {
                self.$field = $field.into();
                self
            }
        )*}
    };
}

// Dissemination.
setters! {
    /// How often a node gossips changes of the membership to some members.
    ///
    /// Default 200 ms (Alertmanager's `--cluster.gossip-interval`); 1 ms to 24 h. No write waits for
    /// it: writes leave at once.
    ///
    /// Too low: packets and processor time with nothing new in them. Too high: suspicions and
    /// joins spread in `gossip_interval * log(members)`.
    gossip_interval: Duration;
    /// To how many members at a time changes of the membership are gossiped.
    ///
    /// Default 3; 1 to 64.
    ///
    /// Too low: a join or a failure takes more rounds to spread. Too high: as many packets per node
    /// and round, most of them repeating what is known.
    gossip_nodes: usize;
    /// How long the session of a member is kept after it failed, with the cursors of what it has
    /// acknowledged.
    ///
    /// Default 30 s; 0 to 24 h. A member that returns as the same process within it goes on where
    /// it stopped; later it starts with a push/pull.
    ///
    /// Too low: short interruptions cost a push/pull. Too high: a little memory per failed member.
    gossip_to_dead_time: Duration;
    /// How long an acknowledgement may wait to be sent together with others.
    ///
    /// Default 5 ms; 0 (acknowledge at once) to 25 ms, well under the 50 ms after which a writer
    /// asks other members to forward.
    ///
    /// Too low: one packet back for each packet. Too high: `replicated(k)` takes that much longer,
    /// and members count as out of reach that are not.
    ack_delay_max: Duration;
    /// How long `replicated(k)` and `durable()` wait before they end with `Timeout`.
    ///
    /// Default 10 s; 1 ms to 24 h.
    ///
    /// Too low: writes are reported as not replicated that would have been in a moment, for
    /// instance over a stream. Too high: callers wait for members that are gone.
    replicated_timeout: Duration;
    /// Up to how many other members each write goes to every one of them directly.
    ///
    /// Default 16; 0 to 1024. Every pair of direct peers keeps one stream open. With more members, a
    /// write goes along trees: to about twice the square root of their number, and by these to the others.
    ///
    /// Too low: a small cluster pays a second hop. Too high: a write costs
    /// its writer one packet per member, and every node holds as many streams; `streams_max` must
    /// have room for them.
    direct_peers_max: usize;
    /// Largest datagram, in bytes, without IP and UDP headers.
    ///
    /// Default 1400, which passes Ethernet and most tunnels unfragmented; 576 to 65,000. It must be
    /// the same on all nodes: a larger SWIM packet is refused. Entries that do not fit are streamed.
    ///
    /// Too low: more packets, and entries of ordinary size go over streams. Too high: IP fragments,
    /// of which one lost loses all, and firewalls that drop them.
    packet_bytes_max: usize;
    /// How much unacknowledged data may be under way to one peer in datagrams, in bytes.
    ///
    /// Default 32 KiB; `packet_bytes_max` to 16 MiB. Past it the peer is served over its stream.
    ///
    /// Too low: the least burst goes over streams. Too high: bursts overflow the receiver's socket
    /// buffer, and are sent twice.
    window_bytes: usize;
    /// How much unacknowledged data may be under way to one peer over its stream, in bytes.
    ///
    /// Default 1 MiB; 4 KiB to 16 MiB. One entry may exceed it when nothing else is under way. A
    /// node may have to hold this much for every peer that is slow.
    ///
    /// Too low: throughput is `stream_window_bytes / round trip`. Too high: memory.
    stream_window_bytes: usize;
    /// How many changed keys a peer may be behind before it is caught up by push/pull instead.
    ///
    /// Default 100,000; 1 to 2^30.
    ///
    /// Too low: a burst turns into push/pulls. Too high: a peer that was away is sent every change
    /// one by one, including what it has already.
    backlog_keys_max: usize;
    /// How many writes may be followed to other processes at a time.
    ///
    /// Default 16,384; 1 to 2^24. At the limit following fails with `TooManyWatches`; the write
    /// itself is not affected.
    ///
    /// Too low: callers that wait for replication are turned away under load. Too high: memory, and
    /// time per acknowledgement.
    watches_max: usize;
}

// Failure detection.
setters! {
    /// How often a node probes one member.
    ///
    /// Default 1 s (Alertmanager's `--cluster.probe-interval`); 2 ms to 24 h, and above
    /// `probe_timeout`. It cannot be changed while a node runs. Every member is probed once in
    /// `probe_interval * members`, but since all members probe, a failure is first noticed
    /// within about `1.6 * probe_interval` at any size.
    ///
    /// Too low: traffic, and processes that pause (collection, swapping, throttling) are suspected.
    /// Too high: failures go unnoticed, as the time until a member counts as failed is a multiple
    /// of it, see [`suspicion_mult`](Self::suspicion_mult).
    probe_interval: Duration;
    /// How long a probe waits for the direct reply before other members are asked to try.
    ///
    /// Default 500 ms (Alertmanager's `--cluster.probe-timeout`); from 1 ms to less than
    /// `probe_interval`. Take the 99th percentile of the round trip, and room.
    ///
    /// Too low: indirect probes for members that are well. Too high: less of `probe_interval`
    /// remains for the indirect ones, so a member is suspected before their replies arrive.
    probe_timeout: Duration;
    /// How many members are asked to probe one that did not reply.
    ///
    /// Default 3; 1 to 64.
    ///
    /// Too low: a member is suspected because one path is broken. Too high: as many packets per
    /// failed probe, at the worst of times.
    indirect_probes: usize;
    /// How long a suspected member has to refute: `suspicion_mult * max(1, log10(members)) *
    /// probe_interval`. Confirmations by other members shorten it.
    ///
    /// Default 4, so 4 s up to ten members; 1 to 64.
    ///
    /// Too low: false alarms under load and loss. Too high: a dead member is listed, and counted
    /// on, for longer. A process seen to die (its stream ends and its port refuses) fails sooner in
    /// any case.
    suspicion_mult: u32;
}

// Streams, joining and leaving.
setters! {
    /// How long a dial, or one turn of an exchange on a stream that moves something, may take.
    ///
    /// Default 10 s (Alertmanager's `--cluster.tcp-timeout`); 1 ms to 24 h.
    ///
    /// Too low: push/pulls of large stores over slow links fail, every time. Too high: a peer that
    /// accepts and stays silent holds one of `exchanges_max` places for that long.
    tcp_timeout: Duration;
    /// How long a node whose seeds stay silent waits before it counts as ready all the same.
    ///
    /// Default 60 s (Alertmanager's `--cluster.settle-timeout`); 0 to 24 h. A node is ready as soon
    /// as a push/pull has completed, as there are no seeds, or as every seed has refused for 2 s.
    ///
    /// Too low: a node acts on an empty state because its peers were slow to reply. Too high: a
    /// node that starts first, behind a firewall that swallows packets, does nothing for that long.
    settle_timeout: Duration;
    /// How often the seeds are resolved again, and those that are no members dialled.
    ///
    /// Default 15 s; 1 ms to 24 h.
    ///
    /// Too low: load on name servers. Too high: nodes that come up under a known name, and islands
    /// after a partition, are found that much later.
    peers_resolve_interval: Duration;
    /// How long one look-up of a seed's name may take, the wait for its turn included.
    ///
    /// Default 5 s; 1 ms to 24 h. The result of a look-up that ends later is not used; the next round asks again.
    ///
    /// Too low: seeds behind slow name servers are never found. Too high: a name server that
    /// swallows questions keeps the other names waiting for that long.
    peers_resolve_timeout: Duration;
    /// How long leaving waits for the members to acknowledge it.
    ///
    /// Default 5 s; 0 (announce once and go) to 24 h. `Node::leave` takes at most 3 s longer: up to
    /// 2 s for the node to notice, and 1 s to write what is queued on its streams.
    ///
    /// Too low: members that missed the announcement see a failure instead. Too high: one member
    /// out of reach delays the shutdown.
    leave_timeout: Duration;
    /// How many seeds are used.
    ///
    /// Default 256; 1 to 65,536. Further ones are an error when the node is built.
    ///
    /// Too low: a cluster listed in full does not fit. Too high: each is resolved and dialled in
    /// turn; a handful of seeds joins a cluster of any size.
    seeds_max: usize;
    /// How many streams may be open, accepted and dialled together.
    ///
    /// Default 256; 2 to 65,536, and at least `direct_peers_max + exchanges_max`. Further ones are
    /// refused and counted. A quarter is kept for this node's own dials: streams from outside are
    /// refused once they would take of it. Half of the rest may come from one host, which is an IPv4
    /// address or an IPv6 network of 64 bits, or `direct_peers_max + exchanges_max` if that is more.
    /// Where places are short, those that are being closed make way.
    ///
    /// Above `direct_peers_max` members a node keeps links with about five times the square root of
    /// their number, or with as many as half of its streams allow.
    ///
    /// Too low: peers are turned away and retry. Too high: descriptors and buffers, for strangers
    /// too where the network is not trusted.
    streams_max: usize;
    /// How many push/pulls a node takes part in at a time. Further ones are refused as `Busy` and
    /// retried by the initiator; so is a second one of the same process. Where it is more than 1,
    /// one place is kept for those that this node begins.
    ///
    /// Default 4; 1 to 1024.
    ///
    /// Too low: when many nodes start at once they queue. Too high: memory, for each exchange and
    /// store up to 524 kB, and where a list is needed 3 MB.
    exchanges_max: usize;
    /// How many members are known, failed and left ones included.
    ///
    /// Default 4096; 1 to 65,536. Further ones are ignored and counted. The failure detector's work
    /// per packet grows with the number.
    ///
    /// Too low: members beyond it do not exist for this node. Too high: anyone who can send SWIM
    /// packets can fill it.
    members_max: usize;
    /// How many members must have expelled one before this node, where nobody has expelled it, refuses it too.
    ///
    /// Default 2; 1 to 64.
    ///
    /// Too low: with 1, any member can have every other one expelled. Too high: an operator has to expel a member
    /// at as many nodes.
    expel_votes: usize;
}

// Stores and anti-entropy.
setters! {
    /// How far ahead of this node's clock an entry may be stamped.
    ///
    /// Default 5 min; 1 ms to 24 h. Entries beyond are refused as `ClockAhead`, reported on both
    /// sides, and tried again by push/pull. Entries are kept for `max_clock_drift` + 60 s after they
    /// expire. It must be the same on all nodes.
    ///
    /// Too low: writes of nodes whose clocks are a little fast are refused for as long. Too high: a
    /// node with a wrong clock writes what nobody can overwrite until the time has come.
    max_clock_drift: Duration;
    /// How long at least it is remembered that an entry without expiry was removed.
    ///
    /// Default 5 days; 1 ms to 366 days. It must be the same on all nodes.
    ///
    /// Too low: a node that was away for longer brings removed entries back. Too high: removed keys
    /// take memory, on every node.
    tombstone_ttl: Duration;
    /// How long after its write an entry may live at most; entries without an expiry are not limited.
    ///
    /// Default 100 years (36,525 days); 1 ms to as much. Local writes beyond it fail with `TooLasting`,
    /// entries of peers are refused. It is counted from the entry's own timestamp, so all nodes decide
    /// alike. It must be the same on all nodes.
    ///
    /// Too low: long silences cannot be set. Too high: what was written by mistake with an expiry in the
    /// far future takes memory until then, and so does what removed it.
    lifetime_max: Duration;
    /// How many entries a store holds, removed and quarantined ones included.
    ///
    /// Default 1,000,000; 1 to 2^30. Local writes of new keys fail with `StoreFull` once the members have
    /// written as many, or this node its share of them ([`share_percent`](Self::share_percent)). What
    /// comes from peers is taken up to twice as many, then refused. It must be the same on all nodes.
    ///
    /// Too low: writes fail. Too high: memory, on every node: each entry, its record and its index.
    entries_max: usize;
    /// Largest body of an entry, in bytes.
    ///
    /// Default 1 MiB; 1 to 16 MiB. Larger local writes fail with `TooLarge`, larger entries of
    /// peers are refused. It must be the same on all nodes.
    ///
    /// Too low: writes fail. Too high: one entry occupies a stream for as long as it takes, and
    /// every node needs the memory.
    entry_bytes_max: usize;
    /// How many bytes the entries of a store take, an entry counted as its body and 400 bytes for its
    /// header, its place in the indexes and what is made of it; and what a typed value takes in memory beyond four times
    /// its body and 1 KiB ([`Schema::memory`](crate::Schema::memory)).
    ///
    /// Default 1 GiB; 4 KiB to 1 TiB. It limits as [`entries_max`](Self::entries_max) does: local writes
    /// stop there or at their share, merges at twice as much. It must be the same on all nodes.
    ///
    /// Too low: writes fail. Too high: a member that has gone bad can have that much memory of every node.
    store_bytes_max: usize;
    /// How much of a store one writer may fill, in percent of its entries and of its bytes.
    ///
    /// Default 50; 1 to 100. The writer's own node refuses its writes of new keys beyond it with
    /// `StoreFull`. Other nodes take twice as much from it, which leaves room for what is under way,
    /// and then refuse it as `Share`. What a member delivers as others' is limited too. It must be
    /// the same on all nodes. Where a single node writes everything, set it to 100.
    ///
    /// Too low: an honest writer is stopped while there is room. Too high: one that has gone bad leaves
    /// little to the others.
    share_percent: usize;
    /// How many items one message of a push/pull lists.
    ///
    /// Default 4096 (80 KiB); 1 to 65,536.
    ///
    /// Too low: more round trips per exchange. Too high: a longer turn on both sides, during which
    /// nothing else happens there.
    items_chunk_max: usize;
}

// The ones that can be switched off.
setters! {
    /// How often a node begins a push/pull with a random member; `None` never.
    ///
    /// Default 60 s (Alertmanager's `--cluster.pushpull-interval`); 1 ms to 24 h. Joining runs
    /// push/pulls in any case. Where nothing differs it costs some 340 bytes, of which 64 are
    /// a store's.
    ///
    /// Too low: traffic, and a hash of every entry each time. Too high or `None`: what
    /// acknowledgements cannot repair (an entry refused for its clock, a backlog given up, a
    /// partition, a writer that tells one member and not the others) stays different for longer, or for
    /// ever.
    push_pull_interval: impl Into<Option<Duration>>;
    /// How often failed members are dialled again; `None` never.
    ///
    /// Default 10 s (Alertmanager's `--cluster.reconnect-interval`); 1 ms to 24 h.
    ///
    /// Too low: dials into nowhere. Too high or `None`: after a partition the sides find each other
    /// late, or only through their seeds.
    reconnect_interval: impl Into<Option<Duration>>;
    /// For how long failed members are dialled again and listed; `None` for ever.
    ///
    /// Default 6 h (Alertmanager's `--cluster.reconnect-timeout`); 1 ms to 366 days. Members that
    /// left are never dialled.
    ///
    /// Too low: a member that was away for longer must find the cluster through its own seeds. Too
    /// high or `None`: where nodes come back under new names, the list of failed ones grows up to
    /// `members_max`.
    reconnect_timeout: impl Into<Option<Duration>>;
}
