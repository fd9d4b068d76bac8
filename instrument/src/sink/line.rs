//! A span as one line of JSON.
//!
//! Invariant: what is appended is one valid JSON object, whatever user code named its functions.
//!
//! Written by hand, because it is most of what tracing into a file costs: a call is seven lines,
//! and serde spends ten times the instructions on one (it scans every key and digit for what must
//! be escaped).

use crate::clock;
use crate::name::text;
use crate::notes::{self, Notes};
use crate::span::{Span, SpanKind};

const PARTS: [&str; 7] = [
    "enqueue_ns",
    "queued_ns",
    "gil.wait_ns",
    "ready_ns",
    "poll_ns",
    "suspended_ns",
    "callback_ns",
];

/// Appends the line of one span, without its end of line. Keys that do not apply to its kind are
/// absent; `call`, `trace`, `parent` and `name` are always there.
pub(super) fn append(out: &mut Vec<u8>, span: &Span) {
    let of_call = span.kind != SpanKind::LoopTurn;
    out.extend_from_slice(b"{\"span\":\"");
    out.extend_from_slice(span.kind.as_str().as_bytes());
    out.push(b'"');
    key(out, "call");
    hex_or_null(out, of_call.then_some(&[span.call]));
    key(out, "id");
    hex_or_null(out, Some(&[span.id]));
    key(out, "trace");
    hex_or_null(out, of_call.then_some(&span.trace));
    key(out, "parent");
    hex_or_null(out, (span.parent != 0).then_some(&[span.parent]));
    key(out, "name");
    match text(span.name) {
        "" => out.extend_from_slice(b"null"),
        name => string(out, name),
    }
    let start_ns = clock::unix_ns(span.start);
    number(out, "start_ns", start_ns);
    // The difference of two rounded stamps, so that parts add up in nanoseconds too.
    number(out, "dur_ns", clock::unix_ns(span.end) - start_ns);
    key(out, "status");
    string(out, span.status.as_str());
    number(out, "runtime", u64::from(span.runtime));
    key(out, "thread");
    string(out, &span.thread.name);
    of_its_kind(out, span);
    end(out, span);
    out.push(b'}');
}

/// What only some kinds of spans have.
fn of_its_kind(out: &mut Vec<u8>, span: &Span) {
    if span.at.0 != 0 {
        key(out, "at");
        string(out, text(span.at));
    }
    let count = match span.kind {
        SpanKind::Poll | SpanKind::Suspended | SpanKind::RustPoll => Some("poll"),
        SpanKind::Call | SpanKind::Task => Some("polls"),
        SpanKind::LoopTurn => Some("calls"),
        _ => None,
    };
    if let Some(count) = count {
        number(out, count, u64::from(span.poll));
    }
    if span.kind == SpanKind::LoopTurn {
        number(out, "cpu_ns", span.cpu_ns);
        number(out, "gil_wait_ns", span.gil_wait_ns());
    } else {
        if span.cpu_ns != 0 {
            number(out, "cpu_ns", span.cpu_ns);
        }
        if span.wake != 0 {
            number(out, "wake_ns", clock::unix_ns(span.wake));
        }
        if span.turn != 0 {
            key(out, "turn");
            hex_or_null(out, Some(&[span.turn]));
        }
    }
    if let Some(by) = span.woken_by {
        key(out, "woken_by");
        hex_or_null(out, Some(&[by.span]));
    }
}

/// How a call or task ended.
fn end(out: &mut Vec<u8>, span: &Span) {
    let mut before = b'[';
    for flag in span.flags.names() {
        if before == b'[' {
            key(out, "flags");
        }
        out.push(before);
        string(out, flag);
        before = b',';
    }
    if before == b',' {
        out.push(b']');
    }
    if let Some(error) = &span.error {
        key(out, "error");
        out.extend_from_slice(b"{\"type\":");
        string(out, &error.type_name);
        key(out, "message");
        string(out, &error.message);
        out.push(b'}');
    }
    if let Some(notes) = &span.notes {
        noted(out, notes);
    }
    if let Some(totals) = span.totals {
        key(out, "parts");
        let object = out.len();
        for (name, ticks) in PARTS.iter().zip(totals) {
            number(out, name, clock::delta_ns(ticks));
        }
        // The comma before the first key.
        out[object] = b'{';
        out.push(b'}');
    }
}

/// What user code said. Rare, so that serde may take its time.
#[cold]
fn noted(out: &mut Vec<u8>, notes: &Notes) {
    let mut json = |name: &str, value: serde_json::Value| {
        key(out, name);
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut *out, &value);
    };
    if !notes.attributes().is_empty() {
        json("attributes", object(notes.attributes()));
    }
    if !notes.events().is_empty() {
        let event = |event: &notes::Event| {
            serde_json::json!({
                "name": event.name,
                "time_ns": event.time_ns,
                "attributes": object(&event.attributes),
            })
        };
        json("events", notes.events().iter().map(event).collect());
    }
}

fn object(attributes: &[(String, notes::Value)]) -> serde_json::Value {
    let pairs = attributes.iter();
    serde_json::Value::Object(
        pairs
            .map(|(key, given)| (key.clone(), value(given)))
            .collect(),
    )
}

fn value(given: &notes::Value) -> serde_json::Value {
    match given {
        notes::Value::Bool(it) => (*it).into(),
        notes::Value::Int(it) => (*it).into(),
        notes::Value::Float(it) => (*it).into(),
        notes::Value::Text(it) => it.as_str().into(),
        notes::Value::List(values) => values.iter().map(value).collect(),
    }
}

/// `,"name":`; the name needs no escaping.
#[inline]
fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

#[inline]
fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    key(out, name);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// 16 hexadecimal digits a word, in quotes.
#[inline]
fn hex_or_null(out: &mut Vec<u8>, words: Option<&[u64]>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let Some(words) = words else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'"');
    for word in words {
        let mut digits = [0; 16];
        for (byte, pair) in word.to_be_bytes().iter().zip(digits.chunks_exact_mut(2)) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        out.extend_from_slice(&digits);
    }
    out.push(b'"');
}

/// A string; serde escapes those that need it.
#[inline]
fn string(out: &mut Vec<u8>, text: &str) {
    // No early exit, so that the compiler looks at many bytes at a time.
    let escape = text.bytes().fold(false, |escape, byte| {
        escape | (byte < b' ' || byte == b'"' || byte == b'\\')
    });
    if escape {
        // Writing a string to memory does not fail.
        let _ = serde_json::to_writer(out, text);
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}
