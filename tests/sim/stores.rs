//! Stores beside the registers: the two that the crate ships, and a user's own.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use rumormill::id::Key;
use rumormill::sim::{NodeSpec, SimConfig, Simulator};
use rumormill::store::matcher::{Matcher, Op};
use rumormill::store::nflog::{Notified, ReceiverKey};
use rumormill::store::silences::NewSilence;
use rumormill::store::{Context, Expiry, Limits, Map};
use rumormill::unstable::engine::Operation;

use crate::labels::Labels;
use crate::support::{MINUTE, cluster_of, converge, quiet, secs};

#[test]
fn a_users_own_store_is_simulated_too() {
    let mut sim = Simulator::new(SimConfig::new(19));
    let maps: Rc<RefCell<Vec<Map<Labels>>>> = Rc::default();
    let keep = Rc::clone(&maps);
    sim.set_store_factory(Box::new(move |_, context| {
        let map = Map::new(Labels, Limits::default(), context.clone());
        keep.borrow_mut().push(map.clone());
        vec![map.store()]
    }));
    sim.add_nodes(3);
    converge(&mut sim, 30);
    let written = maps.borrow()[0].put("severity".to_owned(), Expiry::Never);
    assert!(written.is_ok());
    let key = Key::of(b"severity");
    let took = sim.run_until(secs(1), |_| {
        maps.borrow().iter().all(|map| map.get(&key).is_some())
    });
    assert!(took.is_some());
    converge(&mut sim, 30);
}

/// A store that only one side has is not replicated by an exchange of the others.
#[test]
fn a_store_that_the_peer_lacks_is_never_counted_as_held() {
    let mut sim = Simulator::new(SimConfig::new(4));
    let maps = Rc::new(RefCell::new(Vec::new()));
    let made = Rc::clone(&maps);
    sim.set_store_factory(Box::new(move |node, context: &Context| {
        if node != 0 {
            return Vec::new();
        }
        let map = Map::new(Labels, Limits::default(), context.clone());
        made.borrow_mut().push(map.clone());
        vec![map.store()]
    }));
    let spec = NodeSpec {
        config: quiet(),
        ..NodeSpec::default()
    };
    sim.add_nodes_with(2, &spec);
    sim.run_for(secs(20));
    let put = maps.borrow()[0].put("mine alone".to_owned(), Expiry::Never);
    let write = put.expect("room").id();
    let ticket = sim.watch(0, write, 1, secs(20));
    sim.operate(0, Operation::PushPull);
    sim.run_for(secs(30));
    assert!(
        matches!(sim.outcome(ticket), Some(Err(_))),
        "{:?}",
        sim.outcome(ticket)
    );
}

/// The shipped stores behave on simulated nodes as anywhere: written by their own operations, they
/// say the same everywhere.
#[test]
fn silences_and_notifications_are_the_same_everywhere() {
    let spec = NodeSpec {
        alerting: true,
        ..NodeSpec::default()
    };
    let mut sim = cluster_of(20, 3, &spec);
    let matcher = Matcher::new("alertname", Op::Equal, "disk full").unwrap();
    let new = NewSilence::new(vec![matcher], sim.wall(0).plus(MINUTE));
    let id = sim.set_silence(0, new).unwrap().unwrap();
    let alert = [("alertname".to_owned(), "disk full".to_owned())].into();
    let muted =
        |sim: &Simulator| (0..3).all(|node| sim.silences(node).unwrap().mutes(&alert) == [id]);
    assert!(sim.run_until(secs(1), muted).is_some());
    let receiver = ReceiverKey {
        group_name: "team".to_owned(),
        integration: "email".to_owned(),
        idx: 0,
    };
    let made = Notified::new(receiver.clone(), "all")
        .firing([2, 1])
        .repeat_interval(MINUTE);
    assert_eq!(sim.log_notification(1, made), Some(Ok(())));
    converge(&mut sim, 30);
    for node in 0..3 {
        let logged = sim.nflog(node).unwrap().query(&receiver, "all");
        assert_eq!(logged.map(|entry| entry.firing.clone()), Some(vec![1, 2]));
    }
    assert_eq!(sim.expire_silence(2, id), Some(Ok(())));
    let over =
        |sim: &Simulator| (0..3).all(|node| sim.silences(node).unwrap().mutes(&alert).is_empty());
    assert!(sim.run_until(secs(1), over).is_some());
    converge(&mut sim, 30);
}

/// An alert that a node has acknowledged as everywhere outlives that node; and it is resolved where it was
/// never sent.
#[test]
fn an_acknowledged_alert_survives_the_node_that_took_it() {
    let spec = NodeSpec {
        alerts: true,
        ..NodeSpec::default()
    };
    let mut sim = cluster_of(21, 3, &spec);
    let firing = |sim: &Simulator, node: usize| {
        let alerts = sim.alerts(node).expect("it is up");
        alerts.firing(sim.wall(node)).len()
    };
    sim.send_alert(0, 1, Some(MINUTE), Some(2));
    let everywhere = |sim: &Simulator| (0..3).all(|node| firing(sim, node) == 1);
    let took = sim.run_until(secs(1), everywhere).expect("all have it");
    assert!(took < Duration::from_millis(20), "{took:?}");
    sim.crash(0);
    sim.run_for(secs(5));
    assert_eq!((firing(&sim, 1), firing(&sim, 2)), (1, 1));
    sim.restart(0);
    sim.send_alert(1, 1, None, None);
    converge(&mut sim, 30);
    for node in 0..3 {
        assert_eq!(firing(&sim, node), 0);
        assert_eq!(sim.alerts(node).expect("it is up").all().alerts.len(), 1);
    }
}
