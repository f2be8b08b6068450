//! What streams promise, shown on a network without engines.

use super::bandwidth::Bandwidth;
use super::config::NetworkConfig;
use super::links::RETRY;
use super::testbed::{Testbed, addr};
use crate::engine::{CloseReason, Input, StreamId};
use crate::id::ClusterId;
use crate::wire::envelope::Envelope;
use std::time::Duration;

const A: StreamId = StreamId(2);
const B: StreamId = StreamId(1);
const RTT_MAX: Duration = Duration::from_millis(2);

fn line() -> Testbed {
    Testbed::new(2, NetworkConfig::default())
}

fn opened() -> Testbed {
    let mut line = line();
    line.open(0, A, addr(1));
    line.run();
    line.clear();
    line
}

fn closes(line: &Testbed, host: usize) -> Vec<(Duration, CloseReason)> {
    line.inputs_of(host)
        .filter_map(|(at, input)| match input {
            Input::StreamClosed { reason, .. } => Some((*at, reason.clone())),
            _ => None,
        })
        .collect()
}

fn frames(line: &Testbed, host: usize) -> Vec<u8> {
    line.inputs_of(host)
        .filter_map(|(_, input)| match input {
            Input::StreamFrame { frame, .. } => frame.first().copied(),
            _ => None,
        })
        .collect()
}

#[test]
fn a_dial_takes_a_round_trip_and_both_sides_learn_of_it() {
    let mut line = line();
    line.open(0, A, addr(1));
    line.run();
    let (at, input) = line.inputs_of(0).next().expect("opened");
    assert!(matches!(input, Input::StreamOpened { stream, peer }
        if *stream == A && *peer == addr(1)));
    assert!(*at <= RTT_MAX);
    let (_, input) = line.inputs_of(1).next().expect("accepted");
    assert!(matches!(input, Input::StreamOpened { stream, peer }
        if *stream == B && peer.ip() == addr(0).ip()));
}

#[test]
fn frames_arrive_in_order_under_loss() {
    let config = NetworkConfig {
        loss: 0.3,
        ..NetworkConfig::default()
    };
    let mut line = Testbed::new(2, config);
    line.open(0, A, addr(1));
    line.run();
    for n in 0..200 {
        line.send(0, A, &[n]);
    }
    line.run();
    assert_eq!(frames(&line, 1), (0..200).collect::<Vec<u8>>());
    assert!(line.now > RETRY);
}

#[test]
fn a_dead_process_refuses_and_a_dead_host_does_not_answer() {
    let mut line = line();
    line.stop(1, false);
    line.open(0, A, addr(1));
    line.run();
    assert!(matches!(closes(&line, 0)[..], [(at, CloseReason::Refused)] if at <= RTT_MAX));

    for power_off in [true, false] {
        let mut line = Testbed::new(2, NetworkConfig::default());
        if power_off {
            line.stop(1, true);
        } else {
            line.network.links.cut(1, 0);
        }
        line.open(0, A, addr(1));
        line.run();
        let expected = (Testbed::DIAL_TIMEOUT, CloseReason::Unreachable);
        assert_eq!(closes(&line, 0), [expected]);
    }
}

#[test]
fn a_stream_of_another_cluster_is_closed_and_never_accepted() {
    let mut line = line();
    let other = ClusterId::new("other").unwrap();
    line.network.links.hosts[1].envelope = Envelope::of(&other);
    line.open(0, A, addr(1));
    line.run();
    assert!(matches!(
        closes(&line, 0)[..],
        [(_, CloseReason::ForeignCluster)]
    ));
    assert_eq!(line.inputs_of(0).count(), 1);
    assert_eq!(line.inputs_of(1).count(), 0);
}

#[test]
fn closing_delivers_the_rest_first_and_tells_only_the_other_side() {
    let mut line = opened();
    line.send(0, A, &[1]);
    line.send(0, A, &[2]);
    line.close(0, A);
    line.send(0, A, &[3]);
    line.send(1, B, &[4]);
    line.run();
    assert_eq!(frames(&line, 1), [1, 2]);
    assert!(matches!(closes(&line, 1)[..], [(_, CloseReason::Ended)]));
    assert_eq!(line.inputs_of(0).count(), 0);
}

#[test]
fn a_killed_process_ends_its_streams_within_the_latency() {
    let mut line = opened();
    let start = line.now;
    line.send(1, B, &[5]);
    line.stop(1, false);
    line.run();
    assert_eq!(frames(&line, 0), [5]);
    assert!(matches!(closes(&line, 0)[..], [(at, CloseReason::Ended)] if at <= start + RTT_MAX));
}

#[test]
fn a_power_cut_is_noticed_by_who_sends_and_only_later() {
    let mut line = opened();
    line.stop(1, true);
    line.run();
    assert!(
        closes(&line, 0).is_empty(),
        "an idle stream notices nothing"
    );
    let start = line.now;
    line.send(0, A, &[1]);
    line.run();
    let [(at, CloseReason::Ended)] = closes(&line, 0)[..] else {
        panic!("closed once");
    };
    assert!(at >= start + Duration::from_secs(15));
    assert!(at <= start + Duration::from_secs(15) + RTT_MAX);
}

#[test]
fn a_machine_that_is_back_resets_the_streams_of_its_past() {
    let mut line = opened();
    line.stop(1, true);
    line.network.links.start(1, addr(1));
    line.send(0, A, &[1]);
    line.run();
    assert!(matches!(closes(&line, 0)[..], [(_, CloseReason::Ended)]));
    assert!(frames(&line, 1).is_empty());
}

#[test]
fn frames_wait_for_a_cut_to_heal() {
    let mut line = opened();
    line.network.links.cut(0, 1);
    line.send(0, A, &[1]);
    line.run_until(Duration::from_secs(5));
    assert!(frames(&line, 1).is_empty());
    line.network.links.heal_all();
    line.run();
    assert_eq!(frames(&line, 1), [1]);
    assert!(closes(&line, 0).is_empty() && closes(&line, 1).is_empty());
}

#[test]
fn a_cut_that_lasts_ends_the_stream_for_who_sends_and_tells_the_other_when_it_does() {
    let mut line = opened();
    line.network.links.cut(0, 1);
    line.send(0, A, &[1]);
    line.run();
    assert!(matches!(closes(&line, 0)[..], [(_, CloseReason::Ended)]));
    assert!(closes(&line, 1).is_empty() && frames(&line, 1).is_empty());
    line.network.links.heal_all();
    line.send(1, B, &[2]);
    line.run();
    assert!(matches!(closes(&line, 1)[..], [(_, CloseReason::Ended)]));
    assert!(frames(&line, 0).is_empty());
}

#[test]
fn a_forgotten_stream_carries_nothing_and_tells_nobody_but_who_sends() {
    let mut line = opened();
    assert_eq!(line.network.streams.forget_between(1, 0), 1);
    line.run_until(Duration::from_secs(60));
    assert!(closes(&line, 0).is_empty() && closes(&line, 1).is_empty());
    line.send(1, B, &[2]);
    line.run();
    assert!(matches!(closes(&line, 1)[..], [(_, CloseReason::Ended)]));
    assert!(closes(&line, 0).is_empty() && frames(&line, 0).is_empty());
}

#[test]
fn each_segment_of_a_frame_is_lost_by_itself() {
    let config = NetworkConfig {
        loss: 0.01,
        ..NetworkConfig::default()
    };
    let mut line = Testbed::new(2, config);
    line.open(0, A, addr(1));
    line.run();
    // Of 1,000 segments ten are lost: a frame of one segment would be lost once in a hundred.
    let sent = line.now;
    line.send(0, A, &vec![1; 1_460_000]);
    line.run();
    assert!(line.now >= sent + RETRY, "{:?}", line.now - sent);
    assert_eq!(frames(&line, 1), [1]);
}

#[test]
fn a_narrow_link_holds_a_stream_back_and_drops_nothing() {
    let config = NetworkConfig {
        bandwidth: Some(Bandwidth {
            bytes_per_second: 100_000,
            queue_bytes: 10_000,
        }),
        ..NetworkConfig::default()
    };
    let mut line = Testbed::new(2, config);
    line.open(0, A, addr(1));
    line.run();
    let sent = line.now;
    line.send(0, A, &vec![1; 100_000]);
    line.send(0, A, &[2]);
    assert_eq!(line.network.streams.backlog_max(0), 100_001);
    line.datagram(0, addr(1), &[3; 1_000]);
    line.run();
    assert_eq!(frames(&line, 1), [1, 2]);
    let took = line.now - sent;
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_millis(1_100),
        "{took:?}"
    );
    assert_eq!(line.network.links.counters.datagrams_overflowed, 0);
}

#[test]
fn a_sender_is_told_when_too_much_waits_and_when_there_is_room_again() {
    let mut line = opened();
    let room = |line: &Testbed| -> Vec<bool> {
        let inputs = line.inputs_of(0).filter_map(|(_, input)| match input {
            Input::StreamFull { stream } if *stream == A => Some(true),
            Input::StreamWritable { stream } if *stream == A => Some(false),
            _ => None,
        });
        inputs.collect()
    };
    line.send(0, A, &vec![1; 500_000]);
    line.run();
    assert!(room(&line).is_empty());
    for _ in 0..3 {
        line.send(0, A, &vec![1; 500_000]);
    }
    line.run();
    assert_eq!(room(&line), [true, false]);
    assert_eq!(frames(&line, 1), [1, 1, 1, 1]);
}

#[test]
fn a_dial_survives_a_short_cut() {
    let mut line = line();
    line.network.links.cut(0, 1);
    line.open(0, A, addr(1));
    line.run_until(Duration::from_millis(500));
    line.network.links.heal_all();
    line.run();
    assert!(closes(&line, 0).is_empty());
    assert_eq!(line.inputs_of(0).count(), 1);
}

#[test]
fn a_dial_given_up_by_the_dialler_ends_for_the_acceptor() {
    let mut line = line();
    line.open(0, A, addr(1));
    // The dial has arrived, its answer has not.
    line.step();
    line.close(0, A);
    line.run();
    assert_eq!(line.inputs_of(0).count(), 0);
    assert!(line.inputs_of(1).count() == 0 || closes(&line, 1).len() == 1);
}
