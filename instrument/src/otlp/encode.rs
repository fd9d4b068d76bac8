//! Spans as OTLP has them.
//!
//! Invariant: a span's ids, parent and times are those of every other sink; what is not recorded is
//! left out, never made up.

use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue, any_value::Value};
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
use crate::span::{Span, SpanKind};
use crate::status::Status;

/// The sampled bit of the W3C trace flags: what is exported was sampled.
const SAMPLED: u32 = 1;
/// The parent is of this process: OTLP's "has is_remote", and not "is_remote".
const NOT_REMOTE: u32 = 1 << 8;

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
    let name = if whole {
        text(span.name)
    } else {
        span.kind.as_str()
    };
    ProtoSpan {
        trace_id: trace_id(span),
        span_id: id(span.id),
        parent_span_id: if span.parent == 0 {
            Vec::new()
        } else {
            id(span.parent)
        },
        flags: SAMPLED | NOT_REMOTE,
        name: name.to_owned(),
        kind: ProtoKind::Internal as i32,
        start_time_unix_nano: clock::unix_ns(span.start),
        end_time_unix_nano: clock::unix_ns(span.end),
        attributes: attributes(span),
        events: span
            .error
            .iter()
            .map(|error| exception(span, error))
            .collect(),
        links: links(span),
        status: whole.then(|| status(span)).flatten(),
        ..Default::default()
    }
}

/// A turn of a loop serves many traces and is in none of them: it is one of its own.
fn trace_id(span: &Span) -> Vec<u8> {
    let trace = match span.trace {
        [0, 0] => [crate::ids::mix(span.id), span.id],
        trace => trace,
    };
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

/// A poll belongs to its call, and to the turn of the loop it ran in.
fn links(span: &Span) -> Vec<Link> {
    if span.kind != SpanKind::Poll || span.turn == 0 {
        return Vec::new();
    }
    let trace = [crate::ids::mix(span.turn), span.turn];
    vec![Link {
        trace_id: trace.into_iter().flat_map(u64::to_be_bytes).collect(),
        span_id: id(span.turn),
        flags: SAMPLED | NOT_REMOTE,
        ..Default::default()
    }]
}

/// Unset where it went well, as the specification has it for instrumentation libraries.
fn status(span: &Span) -> Option<ProtoStatus> {
    if span.status == Status::Ok {
        return None;
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
