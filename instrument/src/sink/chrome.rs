//! Chrome JSON, as Perfetto and `chrome://tracing` read it.
//!
//! Invariant: at most 400,000 events, later ones are dropped and counted; a closed file is valid
//! JSON. Events of one time keep the order in which they nest.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::Sink;
use crate::clock;
use crate::finding::Finding;
use crate::name::text;
use crate::span::{Span, SpanKind, ThreadInfo};

const MAX_EVENTS: usize = 400_000;
/// `b`, `e` and up to two values of the counter.
const EVENTS_OF_A_CALL: usize = 4;

/// Writes a file of Chrome JSON.
pub struct Chrome {
    out: BufWriter<File>,
    pid: u32,
    limit: usize,
    events: usize,
    dropped: u64,
    failed: Option<io::Error>,
    threads: HashSet<u32>,
    /// The call or task whose parts come now, to be ended after them.
    open: Option<(u64, Value)>,
    /// Starts (+1) and ends (-1) of calls.
    in_flight: Vec<(u64, i64)>,
}

impl Chrome {
    /// Creates or replaces the file. Fails at once if it cannot be written.
    pub fn new(path: impl AsRef<Path>) -> io::Result<Chrome> {
        Chrome::with_name(path, "gilscope")
    }

    /// The same, with the name under which the process is shown.
    pub fn with_name(path: impl AsRef<Path>, process: &str) -> io::Result<Chrome> {
        let mut out = BufWriter::with_capacity(1 << 16, File::create(path)?);
        let pid = std::process::id();
        let name = metadata(pid, None, "process_name", &json!({ "name": process }));
        write!(
            out,
            "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n{name}"
        )?;
        out.flush()?;
        Ok(Chrome {
            out,
            pid,
            limit: MAX_EVENTS,
            events: 0,
            dropped: 0,
            failed: None,
            threads: HashSet::new(),
            open: None,
            in_flight: Vec::new(),
        })
    }

    /// Changes the greatest number of events, 400,000 at first.
    #[must_use]
    pub fn limit(mut self, events: usize) -> Chrome {
        self.limit = events;
        self
    }

    fn write(&mut self, event: &Value) {
        if self.failed.is_none() {
            self.failed = write!(self.out, ",\n{event}").err();
        }
    }

    fn span(&mut self, span: &Span) {
        let whole = matches!(span.kind, SpanKind::Call | SpanKind::Task);
        // A slice of its thread: it may come while the parts of another call do.
        let apart = span.kind == SpanKind::RustPoll;
        if whole || !apart && self.open.as_ref().is_some_and(|(id, _)| *id != span.parent) {
            self.end_open();
        }
        let events = self.events_of(span);
        if self.events + events > self.limit || self.failed.is_some() {
            self.dropped += 1;
            return;
        }
        self.events += events;
        self.name_thread(&span.thread);
        match span.kind {
            SpanKind::Call | SpanKind::Task => self.whole(span),
            SpanKind::LoopTurn | SpanKind::RustPoll => self.slice(span),
            SpanKind::Poll => {
                self.slice(span);
                self.part(span);
            }
            SpanKind::Suspended => {
                self.part(span);
                self.flow(span);
            }
            _ => self.part(span),
        }
    }

    fn events_of(&self, span: &Span) -> usize {
        match span.kind {
            SpanKind::Call => EVENTS_OF_A_CALL,
            SpanKind::Task => 2,
            SpanKind::LoopTurn | SpanKind::RustPoll => 1,
            SpanKind::Poll => 3,
            SpanKind::Suspended => 2 + 2 * usize::from(span.wake != 0),
            _ => 2 * usize::from(span.end > span.start),
        }
    }

    /// A call or task: its parts, which come next, lie between its two events.
    fn whole(&mut self, span: &Span) {
        let mut args = json!({
            "status": span.status.as_str(),
            "polls": span.poll,
            "trace": format!("{:016x}{:016x}", span.trace[0], span.trace[1]),
            "runtime": span.runtime,
        });
        // As in JSON lines, so that a reader gets the same tree of both.
        if span.parent != 0 {
            args["parent"] = format!("{:016x}", span.parent).into();
        }
        if span.call != 0 && span.call != span.id {
            args["call"] = format!("{:016x}", span.call).into();
        }
        if !span.flags.is_empty() {
            args["flags"] = span.flags.names().collect::<Vec<_>>().into();
        }
        if let Some(error) = &span.error {
            args["error"] = json!({ "type": error.type_name, "message": error.message });
        }
        let name = text(span.name);
        let name = if name.is_empty() {
            span.kind.as_str()
        } else {
            name
        };
        let begin = self.nestable("b", span, span.id, name, span.start, &args);
        self.write(&begin);
        let end = self.nestable("e", span, span.id, name, span.end, &json!({}));
        self.open = Some((span.id, end));
        if span.kind == SpanKind::Call {
            self.in_flight.extend([(span.start, 1), (span.end, -1)]);
        }
    }

    fn end_open(&mut self) {
        if let Some((_, end)) = self.open.take() {
            self.write(&end);
        }
    }

    /// A part, nested in its call or task. Nothing is shown of one that took no time.
    fn part(&mut self, span: &Span) {
        if span.end == span.start && !matches!(span.kind, SpanKind::Poll | SpanKind::Suspended) {
            return;
        }
        let mut args = json!({});
        if span.at.0 != 0 {
            args["at"] = text(span.at).into();
        }
        if span.poll != 0 {
            args["poll"] = span.poll.into();
        }
        if span.kind == SpanKind::Poll {
            args["id"] = format!("{:016x}", span.id).into();
        }
        if span.cpu_ns != 0 {
            args["cpu_us"] = (span.cpu_ns as f64 / 1000.0).into();
        }
        // The arrow begins there, too: it is where its thread was at the wake.
        if let Some(by) = span.woken_by {
            args["woken_by"] = format!("{:016x}", by.span).into();
        }
        let name = span.kind.as_str();
        let begin = self.nestable("b", span, span.parent, name, span.start, &args);
        self.write(&begin);
        let end = self.nestable("e", span, span.parent, name, span.end, &json!({}));
        self.write(&end);
    }

    fn nestable(&self, ph: &str, span: &Span, id: u64, name: &str, at: u64, args: &Value) -> Value {
        json!({
            "ph": ph,
            "cat": if id == span.call { "call" } else { "task" },
            "name": name,
            "id2": { "local": format!("{id:#x}") },
            "pid": self.pid,
            "tid": span.thread.tid,
            "ts": micros(at),
            "args": args,
        })
    }

    /// A poll or turn, on its thread.
    fn slice(&mut self, span: &Span) {
        let args = if span.kind == SpanKind::LoopTurn {
            json!({
                "calls": span.poll,
                "cpu_us": span.cpu_ns as f64 / 1000.0,
                "gil_wait_us": span.gil_wait_ns() as f64 / 1000.0,
            })
        } else {
            let (name, own) = match span.kind {
                SpanKind::RustPoll => ("future", Some(format!("{:016x}", span.id))),
                _ => ("function", None),
            };
            let mut args = json!({ name: text(span.name), "call": format!("{:016x}", span.call),
                    "parent": format!("{:016x}", span.parent), "poll": span.poll });
            // That of a poll is with its part.
            if let Some(own) = own {
                args["id"] = own.into();
            }
            args
        };
        let ts = micros(span.start);
        let dur = (clock::to_ns(span.end) - clock::to_ns(span.start)) as f64 / 1000.0;
        self.write(&json!({
            "ph": "X", "cat": "loop", "name": span.kind.as_str(), "pid": self.pid,
            "tid": span.thread.tid, "ts": ts, "dur": dur, "args": args,
        }));
    }

    /// An arrow from the wake to the poll that follows.
    fn flow(&mut self, span: &Span) {
        if span.wake == 0 {
            return;
        }
        let id = format!("{:#x}", span.id);
        for (ph, at) in [("s", span.wake), ("f", span.end)] {
            let mut event = json!({
                "ph": ph, "cat": "wake", "name": "wake", "id": id, "pid": self.pid,
                "tid": span.thread.tid, "ts": micros(at),
            });
            if ph == "f" {
                event["bp"] = "e".into();
            }
            self.write(&event);
        }
    }

    fn name_thread(&mut self, thread: &ThreadInfo) {
        if self.threads.insert(thread.tid) {
            let name = json!({ "name": thread.name });
            self.write(&metadata(self.pid, Some(thread.tid), "thread_name", &name));
            let index = json!({ "sort_index": self.threads.len() });
            self.write(&metadata(
                self.pid,
                Some(thread.tid),
                "thread_sort_index",
                &index,
            ));
        }
    }

    /// The number of calls in flight over time. Only now the order of starts and ends is known.
    fn counters(&mut self) {
        let mut changes = std::mem::take(&mut self.in_flight);
        changes.sort_unstable();
        let mut calls = 0;
        for (index, (at, change)) in changes.iter().enumerate() {
            calls += change;
            if changes.get(index + 1).is_some_and(|next| next.0 == *at) {
                continue;
            }
            self.write(&json!({
                "ph": "C", "name": "calls in flight", "pid": self.pid,
                "ts": micros(*at), "args": { "calls": calls },
            }));
        }
    }
}

/// Microseconds since the clock's anchor, exact to the nanosecond.
fn micros(ticks: u64) -> f64 {
    clock::to_ns(ticks) as f64 / 1000.0
}

fn metadata(pid: u32, tid: Option<u32>, name: &str, args: &Value) -> Value {
    json!({ "ph": "M", "name": name, "pid": pid, "tid": tid.unwrap_or(pid), "args": args })
}

impl Sink for Chrome {
    /// An instant of the whole process, with all there is to say.
    fn finding(&mut self, finding: &Finding) {
        if self.events >= self.limit || self.failed.is_some() {
            self.dropped += 1;
            return;
        }
        self.events += 1;
        let problem = finding.problem;
        let name = format!("{} {}", problem.id(), problem.as_str());
        let ns = clock::to_ns(finding.end).saturating_sub(clock::to_ns(finding.start));
        self.write(&json!({
            "ph": "i", "s": "p", "cat": "finding", "name": name, "pid": self.pid, "tid": 0,
            "ts": micros(finding.start), "args": {
                "dur_us": ns as f64 / 1000.0,
                "sentence": finding.sentence, "hint": problem.hint(), "stack": finding.stack,
            },
        }));
    }

    fn spans(&mut self, batch: &[Span]) {
        batch.iter().for_each(|span| self.span(span));
        // A call and its parts come in one batch.
        self.end_open();
    }

    fn close(&mut self) -> io::Result<()> {
        self.counters();
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let other = json!({ "dropped_spans": self.dropped });
        write!(self.out, "\n],\"otherData\":{other}}}\n")?;
        self.out.flush()
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }
}
