//! Spans as OTLP has them.
//!
//! Invariant: a span's ids, parent and times are those of every other sink; what is not recorded is
//! left out, never made up.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind as ProtoKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::names;
use super::wire::Wire;
use crate::clock;
use crate::definition::definition;
use crate::error::ErrorText;
use crate::name::text;
use crate::notes::{Notes, Value, Verdict};
use crate::sampling::{turn_flags, turn_trace};
use crate::span::{Span, SpanKind};
use crate::stamps::REMOTE;
use crate::status::Status;
use crate::trace::SAMPLED;

/// OTLP's flag that it is known whether the parent, or the span linked to, is of another process.
const KNOWS_REMOTE: u32 = 1 << 8;
/// It is.
const IS_REMOTE: u32 = 1 << 9;

/// Field numbers of OTLP's messages.
mod field {
    /// `Span`
    pub(super) mod span {
        pub(crate) const TRACE: u32 = 1;
        pub(crate) const ID: u32 = 2;
        pub(crate) const STATE: u32 = 3;
        pub(crate) const PARENT: u32 = 4;
        pub(crate) const NAME: u32 = 5;
        pub(crate) const KIND: u32 = 6;
        pub(crate) const START: u32 = 7;
        pub(crate) const END: u32 = 8;
        pub(crate) const ATTRIBUTES: u32 = 9;
        pub(crate) const DROPPED_ATTRIBUTES: u32 = 10;
        pub(crate) const EVENTS: u32 = 11;
        pub(crate) const DROPPED_EVENTS: u32 = 12;
        pub(crate) const LINKS: u32 = 13;
        pub(crate) const DROPPED_LINKS: u32 = 14;
        pub(crate) const STATUS: u32 = 15;
        pub(crate) const FLAGS: u32 = 16;
    }
    /// `Span.Event`
    pub(super) mod event {
        pub(crate) const TIME: u32 = 1;
        pub(crate) const NAME: u32 = 2;
        pub(crate) const ATTRIBUTES: u32 = 3;
    }
    /// `Span.Link`
    pub(super) mod link {
        pub(crate) const TRACE: u32 = 1;
        pub(crate) const ID: u32 = 2;
        pub(crate) const STATE: u32 = 3;
        pub(crate) const ATTRIBUTES: u32 = 4;
        pub(crate) const FLAGS: u32 = 6;
    }
    /// `Status`
    pub(super) mod status {
        pub(crate) const MESSAGE: u32 = 2;
        pub(crate) const CODE: u32 = 3;
    }
    /// `KeyValue`, `AnyValue`, `ArrayValue`
    pub(super) mod value {
        pub(crate) const KEY: u32 = 1;
        pub(crate) const VALUE: u32 = 2;
        pub(crate) const TEXT: u32 = 1;
        pub(crate) const BOOL: u32 = 2;
        pub(crate) const INT: u32 = 3;
        pub(crate) const FLOAT: u32 = 4;
        pub(crate) const LIST: u32 = 5;
        pub(crate) const VALUES: u32 = 1;
    }
}

/// Writes what is in a `Span`.
pub(super) fn span(out: &mut Wire, span: &Span) {
    use field::span as at;

    let whole = matches!(span.kind, SpanKind::Call | SpanKind::Task);
    let notes = span.notes.as_deref();
    let named = || whole.then(|| text(span.name));
    let name = notes.and_then(Notes::name).or_else(named);
    // A task need not have one.
    let name = name.filter(|name| !name.is_empty());
    let name = name.unwrap_or(span.kind.as_str());
    let [attributes, events, links] = notes.map_or([0; 3], Notes::dropped);
    out.bytes(at::TRACE, &trace_id(span));
    out.bytes(at::ID, &span.id.to_be_bytes());
    out.text(at::STATE, notes.and_then(Notes::state).unwrap_or_default());
    if span.parent != 0 {
        out.bytes(at::PARENT, &span.parent.to_be_bytes());
    }
    out.text(at::NAME, name);
    out.int(at::KIND, ProtoKind::Internal as u64);
    out.fixed64(at::START, clock::unix_ns(span.start));
    out.fixed64(at::END, clock::unix_ns(span.end));
    all_attributes(out, span);
    out.count(at::DROPPED_ATTRIBUTES, attributes);
    all_events(out, span);
    out.count(at::DROPPED_EVENTS, events);
    all_links(out, span);
    out.count(at::DROPPED_LINKS, links);
    if whole {
        status(out, span);
    }
    let remote = u32::from(span.trace_flags) & REMOTE != 0;
    out.fixed32(at::FLAGS, flags(span.trace_flags as u8, remote));
}

/// The trace flags, and what OTLP adds to them.
fn flags(trace_flags: u8, remote: bool) -> u32 {
    u32::from(trace_flags) | KNOWS_REMOTE | if remote { IS_REMOTE } else { 0 }
}

/// A turn of a loop serves many traces and is in none of them: it is one of its own.
fn trace_id(span: &Span) -> [u8; 16] {
    bytes(match span.trace {
        [0, 0] => turn_trace(span.id),
        trace => trace,
    })
}

fn bytes([high, low]: [u64; 2]) -> [u8; 16] {
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

/// Attributes of one span, event or link.
struct Pairs<'a> {
    out: &'a mut Wire,
    field: u32,
    /// Those of user code, which win.
    noted: &'a [(String, Value)],
}

impl Pairs<'_> {
    fn pair(&mut self, key: &str, write: impl FnOnce(&mut Wire)) {
        if self.noted.iter().any(|(noted, _)| noted == key) {
            return;
        }
        pair(self.out, self.field, key, write);
    }

    fn text(&mut self, key: &str, text: &str) {
        self.pair(key, |out| out.bytes(field::value::TEXT, text.as_bytes()));
    }

    fn int(&mut self, key: &str, value: u64) {
        self.pair(key, |out| out.int(field::value::INT, value));
    }
}

fn pair(out: &mut Wire, field: u32, key: &str, write: impl FnOnce(&mut Wire)) {
    out.message(field, |out| {
        out.text(field::value::KEY, key);
        out.message(field::value::VALUE, write);
    });
}

fn noted(out: &mut Wire, field: u32, attributes: &[(String, Value)]) {
    for (key, given) in attributes {
        pair(out, field, key, |out| value(out, given));
    }
}

fn value(out: &mut Wire, given: &Value) {
    use field::value as at;

    match given {
        Value::Bool(it) => out.int(at::BOOL, (*it).into()),
        // In two's complement, as the protocol has negative numbers.
        Value::Int(it) => out.int(at::INT, *it as u64),
        Value::Float(it) => out.fixed64(at::FLOAT, it.to_bits()),
        Value::Text(it) => out.bytes(at::TEXT, it.as_bytes()),
        Value::List(values) => out.message(at::LIST, |out| {
            for each in values {
                out.message(at::VALUES, |out| value(out, each));
            }
        }),
    }
}

/// What is recorded, then what user code said.
fn all_attributes(out: &mut Wire, span: &Span) {
    let field = field::span::ATTRIBUTES;
    let noted = span.notes.as_ref().map_or(&[][..], |it| it.attributes());
    attributes(&mut Pairs { out, field, noted }, span);
    self::noted(out, field, noted);
}

fn attributes(all: &mut Pairs<'_>, span: &Span) {
    all.text(names::SPAN.key, span.kind.as_str());
    let count = u64::from(span.poll);
    match span.kind {
        SpanKind::Call | SpanKind::Task => {
            place(all, span);
            function(all, span);
            if let Some((file, line)) = definition(span.name) {
                all.text(names::FILE.key, file);
                all.int(names::LINE.key, line.into());
            }
            all.text(names::STATUS.key, span.status.as_str());
            all.int(names::POLLS.key, count);
            parts(all, span);
        }
        SpanKind::Poll => {
            all.int(names::POLL.key, count);
            if span.cpu_ns != 0 {
                cpu(all, span);
            }
        }
        SpanKind::RustPoll => {
            place(all, span);
            function(all, span);
            all.int(names::POLL.key, count);
        }
        SpanKind::Suspended => {
            all.int(names::POLL.key, count);
            if span.at.0 != 0 {
                all.text(names::AWAIT.key, text(span.at));
            }
            if span.wake != 0 {
                // As lengths of spans are, so that it ends where the poll begins.
                let waited = clock::unix_ns(span.end).saturating_sub(clock::unix_ns(span.wake));
                all.int(names::WAKE_TO_POLL.key, waited);
            }
        }
        SpanKind::LoopTurn => {
            place(all, span);
            all.int(names::CALLS.key, count);
            cpu(all, span);
            all.int(names::GIL_WAIT.key, span.gil_wait_ns());
        }
        _ => {}
    }
    for flag in span.flags.names() {
        let key = ["gilscope.", flag].concat();
        all.pair(&key, |out| out.int(field::value::BOOL, true.into()));
    }
    if let Some(error) = error_type(span) {
        all.text(names::ERROR.key, error);
    }
}

/// Where it was recorded. Not of parts: theirs is their call's or task's, seven times over, and what a
/// collector's time goes into is attributes.
fn place(all: &mut Pairs<'_>, span: &Span) {
    all.int(names::RUNTIME.key, span.runtime.into());
    all.text(names::THREAD_NAME.key, &span.thread.name);
    if span.thread.ident != 0 {
        all.int(names::THREAD_ID.key, span.thread.ident.min(i64::MAX as u64));
    }
}

/// Of a call or task whose parts are no spans: `GILSCOPE_DETAIL=call`.
fn parts(all: &mut Pairs<'_>, span: &Span) {
    // A task is in no queue.
    let first = if span.kind == SpanKind::Task { 3 } else { 0 };
    let Some(totals) = span.totals else { return };
    for (name, ticks) in names::PARTS.iter().zip(&totals).skip(first) {
        all.int(name.key, clock::delta_ns(*ticks));
    }
}

fn cpu(all: &mut Pairs<'_>, span: &Span) {
    // OTLP's integers have a sign.
    all.int(names::CPU.key, span.cpu_ns.min(i64::MAX as u64));
}

/// Left out where it is not known.
fn function(all: &mut Pairs<'_>, span: &Span) {
    let name = text(span.name);
    if !name.is_empty() {
        all.text(names::FUNCTION.key, name);
    }
}

/// By the conventions: the exception's type, else what the operation calls its end.
fn error_type(span: &Span) -> Option<&str> {
    match (&span.error, span.status) {
        (Some(error), _) => Some(&error.type_name),
        (None, Status::Ok) => None,
        (None, status) => Some(status.as_str()),
    }
}

/// Those of user code, then the exception that ended it.
fn all_events(out: &mut Wire, span: &Span) {
    use field::event as at;

    for event in span.notes.iter().flat_map(|notes| notes.events()) {
        out.message(field::span::EVENTS, |out| {
            out.fixed64(at::TIME, event.time_ns);
            out.text(at::NAME, &event.name);
            noted(out, at::ATTRIBUTES, &event.attributes);
        });
    }
    if let Some(error) = &span.error {
        out.message(field::span::EVENTS, |out| {
            out.fixed64(at::TIME, clock::unix_ns(span.end));
            out.text(at::NAME, "exception");
            exception(out, error);
        });
    }
}

fn exception(out: &mut Wire, error: &ErrorText) {
    let (field, noted) = (field::event::ATTRIBUTES, &[][..]);
    let mut all = Pairs { out, field, noted };
    all.text("exception.type", &error.type_name);
    if !error.message.is_empty() {
        all.text("exception.message", &error.message);
    }
    if !error.stack.is_empty() {
        all.text("exception.stacktrace", &error.stack);
    }
}

/// A poll belongs to its call, and to the turn of the loop it ran in, and comes from whoever woke it.
fn all_links(out: &mut Wire, span: &Span) {
    use field::link as at;

    // None to what is not exported.
    let turn_is_sampled = || turn_flags(span.turn, span.is_sampled()) & SAMPLED != 0;
    if span.kind == SpanKind::Poll && span.turn != 0 && turn_is_sampled() {
        link(out, "turn", turn_trace(span.turn), span.turn);
    }
    if let Some(by) = span.woken_by.filter(|by| by.sampled) {
        link(out, "wake", by.trace, by.span);
    }
    for (context, attributes) in span.notes.iter().flat_map(|notes| notes.links()) {
        out.message(field::span::LINKS, |out| {
            out.bytes(at::TRACE, &bytes(context.trace));
            out.bytes(at::ID, &context.span.to_be_bytes());
            out.text(at::STATE, context.state.as_deref().unwrap_or_default());
            noted(out, at::ATTRIBUTES, attributes);
            out.fixed32(at::FLAGS, flags(context.flags, context.remote));
        });
    }
}

fn link(out: &mut Wire, what: &str, trace: [u64; 2], span: u64) {
    use field::link as at;

    out.message(field::span::LINKS, |out| {
        out.bytes(at::TRACE, &bytes(trace));
        out.bytes(at::ID, &span.to_be_bytes());
        let (field, noted) = (at::ATTRIBUTES, &[][..]);
        Pairs { out, field, noted }.text(names::LINK.key, what);
        out.fixed32(at::FLAGS, KNOWS_REMOTE);
    });
}

/// Unset where it went well, as the specification has it for instrumentation libraries, unless user
/// code says otherwise.
fn status(out: &mut Wire, span: &Span) {
    use field::status as at;

    let verdict = span.notes.as_ref().and_then(|notes| notes.verdict());
    let (code, message) = match (span.status, verdict, &span.error) {
        (Status::Ok, None, _) => return,
        (Status::Ok, Some(Verdict::Ok), _) => (StatusCode::Ok, ""),
        (Status::Ok, Some(Verdict::Error(message)), _) => (StatusCode::Error, message.as_str()),
        (_, _, Some(error)) if !error.message.is_empty() => {
            (StatusCode::Error, error.message.as_str())
        }
        (status, _, _) => (StatusCode::Error, status.as_str()),
    };
    out.message(field::span::STATUS, |out| {
        out.text(at::MESSAGE, message);
        out.int(at::CODE, code as u64);
    });
}

#[cfg(test)]
#[path = "encode_tests.rs"]
pub(super) mod tests;
