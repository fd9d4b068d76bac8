//! One JSON object per span and line.
//!
//! Invariant: what `flush` promised is in the file: every batch is written through; after the
//! first failed write nothing more is written, and what is not is counted.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::{Serialize, Serializer};

use super::Sink;
use crate::clock;
use crate::name::text;
use crate::span::{Span, SpanKind};

/// Writes a file of one JSON object per line.
pub struct JsonLines {
    out: BufWriter<File>,
    failed: Option<io::Error>,
    dropped: u64,
}

impl JsonLines {
    /// Creates or replaces the file. Fails at once if it cannot be written.
    pub fn new(path: impl AsRef<Path>) -> io::Result<JsonLines> {
        let out = BufWriter::with_capacity(1 << 16, File::create(path)?);
        Ok(JsonLines {
            out,
            failed: None,
            dropped: 0,
        })
    }

    fn write(&mut self, span: &Span) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, &Line::new(span))?;
        self.out.write_all(b"\n")
    }
}

impl Sink for JsonLines {
    fn spans(&mut self, batch: &[Span]) {
        for span in batch {
            if self.failed.is_none() {
                self.failed = self.write(span).err();
            }
            self.dropped += u64::from(self.failed.is_some());
        }
        if self.failed.is_none() {
            self.failed = self.out.flush().err();
        }
    }

    fn close(&mut self) -> io::Result<()> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// The line of one span, without its end of line.
pub fn json_line(span: &Span) -> String {
    serde_json::to_string(&Line::new(span)).unwrap_or_default()
}

/// Shows as 16 or, for two words, 32 hexadecimal digits.
struct Hex(u64);
struct Hex128([u64; 2]);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Hex128 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}{:016x}", self.0[0], self.0[1]))
    }
}

/// A line. Keys that do not apply to a kind of span are absent; `call`, `trace`, `parent` and
/// `name` are always there.
#[derive(Serialize)]
struct Line<'a> {
    span: &'static str,
    call: Option<Hex>,
    id: Hex,
    trace: Option<Hex128>,
    parent: Option<Hex>,
    name: Option<&'a str>,
    start_ns: u64,
    dur_ns: u64,
    status: &'static str,
    runtime: u16,
    thread: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    poll: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    polls: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calls: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wake_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn: Option<Hex>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flags: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorLine<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<Parts>,
}

#[derive(Serialize)]
struct ErrorLine<'a> {
    r#type: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct Parts {
    enqueue_ns: u64,
    queued_ns: u64,
    #[serde(rename = "gil.wait_ns")]
    gil_wait_ns: u64,
    ready_ns: u64,
    poll_ns: u64,
    suspended_ns: u64,
    callback_ns: u64,
}

impl Parts {
    fn new(ticks: [u64; 7]) -> Parts {
        let [
            enqueue_ns,
            queued_ns,
            gil_wait_ns,
            ready_ns,
            poll_ns,
            suspended_ns,
            callback_ns,
        ] = ticks.map(clock::delta_ns);
        Parts {
            enqueue_ns,
            queued_ns,
            gil_wait_ns,
            ready_ns,
            poll_ns,
            suspended_ns,
            callback_ns,
        }
    }
}

impl<'a> Line<'a> {
    fn new(span: &'a Span) -> Line<'a> {
        let start_ns = clock::unix_ns(span.start);
        let of_call = span.kind != SpanKind::LoopTurn;
        let whole = matches!(span.kind, SpanKind::Call | SpanKind::Task);
        let step = matches!(span.kind, SpanKind::Poll | SpanKind::Suspended);
        Line {
            span: span.kind.as_str(),
            call: of_call.then_some(Hex(span.call)),
            id: Hex(span.id),
            trace: of_call.then_some(Hex128(span.trace)),
            parent: (span.parent != 0).then_some(Hex(span.parent)),
            name: of_call.then(|| text(span.name)),
            start_ns,
            // The difference of two rounded stamps, so that parts add up in nanoseconds too.
            dur_ns: clock::unix_ns(span.end) - start_ns,
            status: span.status.as_str(),
            runtime: span.runtime,
            thread: &span.thread.name,
            at: (span.at.0 != 0).then(|| text(span.at)),
            poll: step.then_some(span.poll),
            polls: whole.then_some(span.poll),
            calls: (!of_call).then_some(span.poll),
            wake_ns: (span.wake != 0).then(|| clock::unix_ns(span.wake)),
            cpu_ns: (!of_call).then_some(span.cpu_ns),
            turn: (of_call && span.turn != 0).then_some(Hex(span.turn)),
            flags: span.flags.names().collect(),
            error: span.error.as_ref().map(|error| ErrorLine {
                r#type: &error.type_name,
                message: &error.message,
            }),
            parts: span.totals.map(Parts::new),
        }
    }
}
