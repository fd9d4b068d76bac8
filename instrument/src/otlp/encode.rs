//! Spans as OTLP has them.
//!
//! Invariant: a span's ids, parent and times are those of every other sink; what is not recorded is
//! left out, never made up.

use opentelemetry_proto::tonic::common::v1::{
    ArrayValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind as ProtoKind};
use opentelemetry_proto::tonic::trace::v1::{
    Span as ProtoSpan, Status as ProtoStatus, status::StatusCode,
};

use super::names;
use super::resource::any;
use crate::clock;
use crate::definition::definition;
use crate::error::ErrorText;
use crate::name::text;
use crate::notes::{self, Notes, Verdict};
use crate::span::{Span, SpanKind};
use crate::stamps::REMOTE;
use crate::status::Status;

/// OTLP's flag that it is known whether the parent, or the span linked to, is of another process.
const KNOWS_REMOTE: u32 = 1 << 8;
/// It is.
const IS_REMOTE: u32 = 1 << 9;

/// Who recorded it.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "gilscope".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..Default::default()
    }
}

pub(super) fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: any(value),
        ..Default::default()
    }
}

pub(super) fn span(span: &Span) -> ProtoSpan {
    let whole = matches!(span.kind, SpanKind::Call | SpanKind::Task);
    let notes = span.notes.as_deref();
    let name = match notes.and_then(Notes::name) {
        Some(name) => name,
        None if whole => text(span.name),
        None => span.kind.as_str(),
    };
    let [attributes, events, links] = notes.map_or([0; 3], Notes::dropped);
    ProtoSpan {
        trace_id: trace_id(span),
        span_id: id(span.id),
        parent_span_id: if span.parent == 0 {
            Vec::new()
        } else {
            id(span.parent)
        },
        trace_state: notes.and_then(Notes::state).unwrap_or_default().to_owned(),
        flags: flags(
            span.trace_flags as u8,
            u32::from(span.trace_flags) & REMOTE != 0,
        ),
        name: name.to_owned(),
        kind: ProtoKind::Internal as i32,
        start_time_unix_nano: clock::unix_ns(span.start),
        end_time_unix_nano: clock::unix_ns(span.end),
        attributes: all_attributes(span),
        dropped_attributes_count: attributes,
        events: all_events(span),
        dropped_events_count: events,
        links: all_links(span),
        dropped_links_count: links,
        status: whole.then(|| status(span)).flatten(),
    }
}

/// The trace flags, and what OTLP adds to them.
fn flags(trace_flags: u8, remote: bool) -> u32 {
    u32::from(trace_flags) | KNOWS_REMOTE | if remote { IS_REMOTE } else { 0 }
}

/// What is recorded, then what user code said, which wins.
fn all_attributes(span: &Span) -> Vec<KeyValue> {
    let mut all = attributes(span);
    let Some(notes) = &span.notes else { return all };
    all.retain(|pair| notes.attributes().iter().all(|(key, _)| *key != pair.key));
    all.extend(pairs(notes.attributes()));
    all
}

fn pairs(attributes: &[(String, notes::Value)]) -> impl Iterator<Item = KeyValue> {
    attributes
        .iter()
        .map(|(key, given)| pair(key, value(given)))
}

fn value(given: &notes::Value) -> Value {
    match given {
        notes::Value::Bool(it) => Value::BoolValue(*it),
        notes::Value::Int(it) => Value::IntValue(*it),
        notes::Value::Float(it) => Value::DoubleValue(*it),
        notes::Value::Text(it) => Value::StringValue(it.clone()),
        notes::Value::List(values) => Value::ArrayValue(ArrayValue {
            values: values
                .iter()
                .map(|each| any(value(each)).unwrap_or_default())
                .collect(),
        }),
    }
}

/// Those of user code, then the exception that ended it.
fn all_events(span: &Span) -> Vec<Event> {
    let noted = span.notes.iter().flat_map(|notes| notes.events());
    let noted = noted.map(|event| Event {
        time_unix_nano: event.time_ns,
        name: event.name.clone(),
        attributes: pairs(&event.attributes).collect(),
        ..Default::default()
    });
    let raised = span.error.iter().map(|error| exception(span, error));
    noted.chain(raised).collect()
}

/// A turn of a loop serves many traces and is in none of them: it is one of its own.
fn trace_id(span: &Span) -> Vec<u8> {
    bytes(match span.trace {
        [0, 0] => turn_trace(span.id),
        trace => trace,
    })
}

fn turn_trace(id: u64) -> [u64; 2] {
    [crate::ids::mix(id), id]
}

fn bytes(trace: [u64; 2]) -> Vec<u8> {
    trace.into_iter().flat_map(u64::to_be_bytes).collect()
}

fn id(id: u64) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

fn attributes(span: &Span) -> Vec<KeyValue> {
    let string = |text: &str| Value::StringValue(text.to_owned());
    let mut all = vec![
        pair(names::SPAN.key, string(span.kind.as_str())),
        pair(names::RUNTIME.key, Value::IntValue(span.runtime.into())),
        pair(names::THREAD_NAME.key, string(&span.thread.name)),
    ];
    if span.thread.tid != 0 {
        all.push(pair(
            names::THREAD_ID.key,
            Value::IntValue(span.thread.tid.into()),
        ));
    }
    let count = i64::from(span.poll);
    match span.kind {
        SpanKind::Call | SpanKind::Task => {
            all.push(pair(names::FUNCTION.key, string(text(span.name))));
            if let Some((file, line)) = definition(span.name) {
                all.push(pair(names::FILE.key, string(file)));
                all.push(pair(names::LINE.key, Value::IntValue(line.into())));
            }
            all.push(pair(names::STATUS.key, string(span.status.as_str())));
            all.push(pair(names::POLLS.key, Value::IntValue(count)));
        }
        SpanKind::Poll => all.push(pair(names::POLL.key, Value::IntValue(count))),
        SpanKind::Suspended => {
            all.push(pair(names::POLL.key, Value::IntValue(count)));
            if span.at.0 != 0 {
                all.push(pair(names::AWAIT.key, string(text(span.at))));
            }
        }
        SpanKind::LoopTurn => {
            all.push(pair(names::CALLS.key, Value::IntValue(count)));
            let cpu = i64::try_from(span.cpu_ns).unwrap_or(i64::MAX);
            all.push(pair(names::CPU.key, Value::IntValue(cpu)));
        }
        _ => {}
    }
    for flag in span.flags.names() {
        all.push(pair(&format!("gilscope.{flag}"), Value::BoolValue(true)));
    }
    if let Some(error) = error_type(span) {
        all.push(pair(names::ERROR.key, string(error)));
    }
    all
}

/// By the conventions: the exception's type, else what the operation calls its end.
fn error_type(span: &Span) -> Option<&str> {
    match (&span.error, span.status) {
        (Some(error), _) => Some(&error.type_name),
        (None, Status::Ok) => None,
        (None, status) => Some(status.as_str()),
    }
}

fn exception(span: &Span, error: &ErrorText) -> Event {
    let mut attributes = vec![pair(
        "exception.type",
        Value::StringValue(error.type_name.clone()),
    )];
    if !error.message.is_empty() {
        let message = Value::StringValue(error.message.clone());
        attributes.push(pair("exception.message", message));
    }
    if !error.stack.is_empty() {
        let stack = Value::StringValue(error.stack.clone());
        attributes.push(pair("exception.stacktrace", stack));
    }
    Event {
        time_unix_nano: clock::unix_ns(span.end),
        name: "exception".into(),
        attributes,
        ..Default::default()
    }
}

/// A poll belongs to its call, and to the turn of the loop it ran in, and comes from whoever woke it.
fn all_links(span: &Span) -> Vec<Link> {
    let to = |what: &str, trace: [u64; 2], span: u64| Link {
        trace_id: bytes(trace),
        span_id: id(span),
        attributes: vec![pair(names::LINK.key, Value::StringValue(what.to_owned()))],
        flags: KNOWS_REMOTE,
        ..Default::default()
    };
    let is_poll = span.kind == SpanKind::Poll && span.turn != 0;
    let turn = is_poll.then(|| to("turn", turn_trace(span.turn), span.turn));
    let wake = span.woken_by.map(|(poll, trace)| to("wake", trace, poll));
    let noted = span.notes.iter().flat_map(|notes| notes.links());
    let noted = noted.map(|(context, attributes)| Link {
        trace_id: bytes(context.trace),
        span_id: id(context.span),
        trace_state: context.state.as_deref().unwrap_or_default().to_owned(),
        attributes: pairs(attributes).collect(),
        flags: flags(context.flags, context.remote),
        ..Default::default()
    });
    turn.into_iter().chain(wake).chain(noted).collect()
}

/// Unset where it went well, as the specification has it for instrumentation libraries, unless user
/// code says otherwise.
fn status(span: &Span) -> Option<ProtoStatus> {
    if span.status == Status::Ok {
        let (code, message) = match span.notes.as_ref()?.verdict()? {
            Verdict::Ok => (StatusCode::Ok, String::new()),
            Verdict::Error(message) => (StatusCode::Error, message.clone()),
        };
        return Some(ProtoStatus {
            message,
            code: code as i32,
        });
    }
    let message = match &span.error {
        Some(error) if !error.message.is_empty() => error.message.clone(),
        _ => span.status.as_str().to_owned(),
    };
    Some(ProtoStatus {
        message,
        code: StatusCode::Error as i32,
    })
}
