//! One line that asks, one line of JSON that answers.
//!
//! Invariant: both are bounded, and reading the state of the process waits for no loop thread.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Queue;
use crate::chain::Link;
use crate::doing::Doing;
use crate::global::{self, LoopShared, lock};
use crate::in_flight::{InFlight, open_on};
use crate::name::text;
use crate::{clock, detail};

/// The version of what is said, for both sides.
const VERSION: u64 = 1;
/// Longest line that asks.
const LONGEST: usize = 4096;
/// Most calls and tasks in one answer; the oldest are told.
const MOST: usize = 20_000;

/// One line. An error if it does not come within the time.
pub(super) fn read_request(mut client: &UnixStream, patience: Duration) -> io::Result<Vec<u8>> {
    let end = Instant::now() + patience;
    let (mut line, mut part) = (Vec::new(), [0; 512]);
    while line.len() < LONGEST && Instant::now() < end {
        let read = client.read(&mut part)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.extend_from_slice(&part[..read]);
        if let Some(at) = line.iter().position(|byte| *byte == b'\n') {
            line.truncate(at);
            return Ok(line);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// The answer to a line.
pub(super) fn to(request: &[u8]) -> Vec<u8> {
    let asked = serde_json::from_slice::<Value>(request).ok();
    let version = asked.as_ref().and_then(|asked| asked.get("gilscope_tree"));
    match version.and_then(Value::as_u64) {
        Some(VERSION) => line(&tree()),
        Some(_) => refusal(&format!("this process speaks version {VERSION}")),
        None => refusal("that is no question"),
    }
}

/// An answer that says why there is none.
pub(super) fn refusal(why: &str) -> Vec<u8> {
    line(&json!({"gilscope_tree": VERSION, "error": why}))
}

fn line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

fn tree() -> Value {
    let queues = super::queues();
    let mut loops = global::current().loops();
    // What is left of one that has ended is for the converter.
    loops.retain(|each| !each.gone.load(Ordering::Acquire));
    // As their runtimes were made: which thread was the first to begin is chance.
    loops.sort_by_key(|each| (each.thread.runtime, each.thread.tid));
    let now = clock::now();
    let mut open: Vec<InFlight> = loops.iter().flat_map(|each| open_on(each)).collect();
    open.sort_by_key(|entry| (entry.called, entry.id));
    let left_out = open.len().saturating_sub(MOST);
    open.truncate(MOST);
    json!({
        "gilscope_tree": VERSION,
        "pid": std::process::id(),
        "version": env!("CARGO_PKG_VERSION"),
        "detail": detail::detail().as_str(),
        "gil": gil(&loops, now),
        "loops": loops.iter().map(|each| of_loop(each, now)).collect::<Vec<_>>(),
        "queues": queues.iter().map(of_queue).collect::<Vec<_>>(),
        "open": open.iter().map(|each| of_open(each, now)).collect::<Vec<_>>(),
        "left_out": left_out,
    })
}

fn of_loop(each: &LoopShared, now: u64) -> Value {
    let (doing, since) = each.doing.get();
    let doing = doing.as_str().filter(|_| detail::enabled());
    json!({
        "runtime": each.thread.runtime,
        "thread": each.thread.name,
        "tid": each.thread.tid,
        "doing": doing,
        "since_ns": doing.map(|_| ago(now, since)),
    })
}

/// Who holds the GIL that a loop waits for, as a watchdog saw it last; of several loops by the one that waits
/// longest. Null where none waits, or nobody looked.
fn gil(loops: &[Arc<LoopShared>], now: u64) -> Value {
    let holders = lock(&global::current().holders);
    let waiting = loops.iter().filter_map(|each| match each.doing.get() {
        (Doing::GilWait, since) => Some((since, holders.of(each.thread.runtime, since)?)),
        _ => None,
    });
    let Some((since, seen)) = waiting.min_by_key(|(since, _)| *since) else {
        return Value::Null;
    };
    json!({
        "thread": holders.name_of(&seen.look),
        "tid": seen.look.tid,
        "at": seen.look.place(),
        "waited_ns": ago(now, since),
        "seen_ns": ago(now, seen.at),
    })
}

fn of_queue(queue: &Queue) -> Value {
    json!({
        "runtime": queue.runtime,
        "name": queue.name,
        "queued": queue.queued,
        "waiting": queue.waiting,
        "max_in_flight": queue.max_in_flight,
    })
}

fn of_open(each: &InFlight, now: u64) -> Value {
    json!({
        "span": each.kind.as_str(),
        "runtime": each.runtime,
        "tid": each.thread.tid,
        "id": id(each.id),
        "parent": (each.parent != 0).then(|| id(each.parent)),
        "call": id(each.call),
        "name": text(each.name),
        "phase": each.phase.as_str(),
        "age_ns": ago(now, each.called),
        "since_ns": ago(now, each.since),
        "polls": each.polls,
        "at": (each.at.0 != 0).then(|| text(each.at)),
        "made_at": each.maker.map(|maker| text(maker.place)),
        "rust_task": each.maker.map(|maker| maker.task).filter(|task| *task != 0),
        "chain": each.chain.links().into_iter().map(of_link).collect::<Vec<_>>(),
    })
}

fn of_link(link: Link) -> Value {
    match link {
        Link::Python(place) => json!({"python": text(place)}),
        Link::Rust(future) => json!({"rust": text(future)}),
    }
}

fn id(id: u64) -> String {
    format!("{id:016x}")
}

fn ago(now: u64, then: u64) -> u64 {
    clock::to_ns(now).saturating_sub(clock::to_ns(then))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use serde_json::Value;

    use super::{LONGEST, read_request, to};

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn only_a_question_of_this_version_gets_a_tree() {
        let answer = |request: &[u8]| serde_json::from_slice::<Value>(&to(request)).expect("JSON");
        let tree = answer(br#"{"gilscope_tree":1}"#);
        assert_eq!(tree["pid"], std::process::id());
        assert!(tree["open"].is_array() && tree.get("error").is_none());
        for wrong in [
            &b"{\"gilscope_tree\":2}"[..],
            b"[]",
            b"\xff",
            b"",
            b"GET / HTTP/1.1",
        ] {
            let answer = answer(wrong);
            assert_eq!(answer["gilscope_tree"], 1);
            assert!(answer["error"].is_string() && answer.get("open").is_none());
        }
    }

    #[test]
    fn a_question_is_one_line_of_bounded_length() {
        let (mut client, server) = UnixStream::pair().expect("a pair");
        client.write_all(b"abc\nmore").expect("written");
        assert_eq!(read_request(&server, PATIENCE).expect("a line"), b"abc");
        let (mut client, server) = UnixStream::pair().expect("a pair");
        let limit = server.set_read_timeout(Some(Duration::from_secs(10)));
        limit.expect("set"); // so that one without a bound fails here
        client.write_all(&[b'x'; LONGEST]).expect("written");
        let error = read_request(&server, PATIENCE).expect_err("too long");
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        let (client, server) = UnixStream::pair().expect("a pair");
        drop(client);
        assert!(read_request(&server, PATIENCE).is_err());
    }
}
