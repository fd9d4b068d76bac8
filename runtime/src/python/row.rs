//! The rows that `gilscope run` writes: one JSON object on a line of its own.
//!
//! Invariant: a row is made without attaching; what it says of an exception was rendered when that arose.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::error::{Error, PythonError};

/// What a row says of an error.
pub(super) struct Failure<'a> {
    kind: &'a str,
    message: Cow<'a, str>,
    /// Where user code raised it.
    at: Option<&'a str>,
    /// The exception group that it is.
    group: Option<&'a PythonError>,
}

impl<'a> Failure<'a> {
    pub(super) fn new(kind: &'a str, message: impl Into<Cow<'a, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            at: None,
            group: None,
        }
    }

    pub(super) fn of(error: &'a Error) -> Self {
        match error {
            Error::Python(raised) => Self {
                at: at(raised),
                group: Some(raised).filter(|raised| !raised.inside().is_empty()),
                ..Self::new(short(raised), raised.message())
            },
            Error::Cancelled { cause, .. } => Self {
                at: cause.as_ref().and_then(at),
                ..Self::new(kind(error), error.to_string())
            },
            _ => Self::new(kind(error), error.to_string()),
        }
    }

    /// The type under which a summary counts it: a group says less than what is in it.
    pub(super) fn counts_as(&self) -> &'a str {
        let first = self.group.and_then(|group| group.inside().first());
        first.map_or(self.kind, short)
    }
}

/// The row of a call that returned what this JSON is.
pub(super) fn ok(index: u64, json: &str, ms: f64) -> String {
    format!("{{\"index\":{index},\"ok\":true,\"result\":{json},\"ms\":{ms:.3}}}\n")
}

/// The row of one that failed, or was never made.
pub(super) fn failed(index: u64, failure: &Failure<'_>, ms: Option<f64>) -> String {
    let error = shown(failure.kind, &failure.message, failure.at);
    let inside = failure.group.map_or_else(String::new, inside);
    let ms = ms.map_or_else(|| "null".to_owned(), |ms| format!("{ms:.3}"));
    format!("{{\"index\":{index},\"ok\":false,\"error\":{{{error}{inside}}},\"ms\":{ms}}}\n")
}

/// What is in an exception group, and how many more that are not told.
fn inside(group: &PythonError) -> String {
    let each = group.inside().iter().map(|raised| {
        let shown = shown(short(raised), raised.message(), at(raised));
        format!("{{{shown}}}")
    });
    let each = each.collect::<Vec<_>>().join(",");
    format!(",\"inside\":[{each}],\"more\":{}", group.more_inside())
}

/// The keys that every exception has.
fn shown(kind: &str, message: &str, at: Option<&str>) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let (kind, message, at) = (quoted(kind), quoted(message), json!(at));
    format!("\"type\":{kind},\"message\":{message},\"at\":{at}")
}

/// Its type without the module.
fn short(raised: &PythonError) -> &str {
    raised.type_name().rsplit('.').next().unwrap_or_default()
}

fn at(raised: &PythonError) -> Option<&str> {
    Some(raised.raised_at()).filter(|at| !at.is_empty())
}

/// The Python name of an error.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::Cancelled { .. } => "CallCancelled",
        Error::DeadlineExceeded { .. } => "DeadlineExceeded",
        Error::Argument(_) => "ArgumentError",
        Error::Result { .. } => "ResultError",
        Error::RustPanic(_) => "RustPanic",
        Error::QueueFull => "QueueFull",
        Error::WrongThread(_) => "WrongThread",
        Error::RuntimeStopped { .. } | Error::Python(_) => "RuntimeStopped",
    }
}
