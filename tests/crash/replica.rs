//! One process: a node with a store on disk, which does what its standard input says.
//!
//! `put KEY VALUE`, `del KEY NUMBER` write, and `kept KEY NUMBER` is printed once that is durable: here, or for every
//! fourth number on both of the other processes too. `dump` prints what is held.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use rumormill::node::Builder;
use rumormill::store::Written;
use rumormill::unstable::persist::redb_in;
use rumormill::{Body, Config, Expiry, Key, Map, Node, Schema, SchemaId, Unreadable};

use crate::forgetful::{Disk, ForgetfulFile};

/// The first argument of such a process.
pub(crate) const MODE: &str = "--crash-replica";

/// A key, and the last value that was given to it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Register {
    key: u64,
    value: u64,
}

struct Registers;

const V1: SchemaId = SchemaId::new(1);

impl Schema for Registers {
    type Record = Register;
    type Index = ();

    fn name(&self) -> &str {
        "crash-registers"
    }

    fn schemas(&self) -> &[SchemaId] {
        &[V1]
    }

    fn key(&self, register: &Register) -> Key {
        key_of(register.key)
    }

    fn encode(&self, register: &Register) -> Body {
        let bytes = [register.key.to_be_bytes(), register.value.to_be_bytes()].concat();
        Body {
            schema: V1,
            bytes: bytes.into(),
        }
    }

    fn decode(&self, _: Key, body: &Body) -> Result<Register, Unreadable> {
        let number = |at: usize| {
            let bytes = body.bytes.get(at..at + 8)?;
            bytes.try_into().ok().map(u64::from_be_bytes)
        };
        let register = number(0).zip(number(8));
        let (key, value) = register.ok_or(Unreadable::Malformed {
            schema: body.schema,
        })?;
        Ok(Register { key, value })
    }
}

fn key_of(key: u64) -> Key {
    Key::of(&key.to_be_bytes())
}

/// Runs until standard input ends. The arguments: disk, name, directory, port, ports of the others.
pub(crate) fn run(args: &[String]) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(serve(args));
}

async fn serve(args: &[String]) {
    let [disk, name, directory, port, others @ ..] = args else {
        panic!("disk, name, directory and port");
    };
    let seeds = others.iter().map(|port| format!("127.0.0.1:{port}"));
    let builder = Node::builder(name)
        .listen(format!("127.0.0.1:{port}"))
        .cluster("crash")
        .seeds(seeds)
        .config(Config::local());
    let mut builder = keep(builder, disk, Path::new(directory));
    let registers = builder.store(Registers);
    let node = builder.start().await.unwrap();
    say(&format!("ready {}", node.local_addr().port()));

    let (lines, mut input) = tokio::sync::mpsc::channel::<String>(1024);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = input.recv().await {
        obey(&registers, &line);
    }
}

fn keep(builder: Builder, disk: &str, directory: &Path) -> Builder {
    let is_flushed = match Disk::of(disk) {
        Disk::Real => return builder.data_dir(directory),
        Disk::Forgetful => true,
        Disk::Unflushed => false,
    };
    let file = Arc::new(ForgetfulFile::open(directory));
    builder.storage(redb_in(file, is_flushed))
}

fn obey(registers: &Map<Registers>, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    match words[0] {
        "dump" => {
            for (_, register) in registers.records() {
                let Register { key, value } = *register;
                say(&format!("held {key} {value}"));
            }
            say("end");
        }
        "put" => {
            let (key, value) = (number(1), number(2));
            let register = Register { key, value };
            let written = registers.put(register, Expiry::Never).unwrap();
            follow(written, key, value);
        }
        "del" => {
            let (key, number) = (number(1), number(2));
            match registers.remove(&key_of(key)).unwrap() {
                Some(written) => follow(written, key, number),
                None => say(&format!("none {key} {number}")),
            }
        }
        other => panic!("{other} is not known"),
    }
}

/// Says when a write is durable.
fn follow(written: Written, key: u64, number: u64) {
    tokio::spawn(async move {
        let mut kept = written.durable().await;
        if number.is_multiple_of(4) && kept.is_ok() {
            kept = written.replicated(2).await;
        }
        let what = if kept.is_ok() { "kept" } else { "none" };
        say(&format!("{what} {key} {number}"));
    });
}

/// Whole lines, at once: a process may be killed after any of them.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let line: Arc<str> = format!("{line}\n").into();
    // Nobody listens any more: the end is near.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
