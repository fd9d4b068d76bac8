//! The text of exceptions, whatever they do to prevent it.
//!
//! Invariant: rendering never raises and never panics; it is bounded in size.

use std::borrow::Cow;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::names::name;
use crate::error::ErrorText;

/// Longest message and longest traceback, in bytes.
const MESSAGE: usize = 4 << 10;
const TRACEBACK: usize = 64 << 10;
/// Most frames of each traceback.
const FRAMES: i32 = 50;

/// A `str` with a sign in the place of each character that no UTF-8 has: Python puts one for every byte
/// that it cannot decode of a file's name. Raises `TypeError` for what is no `str`. Attached.
pub(crate) fn lossy(value: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(readable(value.cast::<PyString>()?).into_owned())
}

/// The same of what is known to be a `str`. Attached.
pub(crate) fn readable<'a>(text: &'a Bound<'_, PyString>) -> Cow<'a, str> {
    match text.to_string_lossy() {
        Cow::Borrowed(text) => Cow::Borrowed(text),
        // It has three, for the three bytes that each such character would have.
        Cow::Owned(text) => Cow::Owned(text.replace("\u{fffd}\u{fffd}\u{fffd}", "\u{fffd}")),
    }
}

/// The same, as an argument of a function that Python calls.
pub(crate) struct Lossy(pub(crate) String);

impl<'py> FromPyObject<'_, 'py> for Lossy {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        lossy(&given).map(Lossy)
    }
}

/// Type, message and, if asked for, traceback of an exception. Attached.
pub(crate) fn render(exception: &Bound<'_, PyAny>, with_traceback: bool) -> ErrorText {
    let mut text = ErrorText {
        type_name: type_name(exception),
        message: message(exception),
        ..ErrorText::default()
    };
    if with_traceback {
        text.traceback = traceback(exception);
        text.raised_at = super::raised::raised_at(exception).unwrap_or_default();
    }
    text
}

/// What an exception was raised from, or while, as its traceback would tell. Attached.
pub(crate) fn cause<'py>(exception: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = exception.py();
    let is_raised = |other: &Bound<'py, PyAny>| other.is_instance_of::<PyBaseException>();
    let get = |name| exception.getattr(name).ok();
    if let Some(cause) = get(name!(py, c"__cause__")).filter(is_raised) {
        return Some(cause);
    }
    let suppressed = get(name!(py, c"__suppress_context__"))?.is_truthy();
    match suppressed {
        Ok(false) => get(name!(py, c"__context__")).filter(is_raised),
        _ => None,
    }
}

fn type_name(exception: &Bound<'_, PyAny>) -> String {
    let class = exception.get_type();
    let name = class
        .fully_qualified_name()
        .map(|name| readable(&name).into_owned());
    name.unwrap_or_else(|_| "?".to_owned())
}

fn message(exception: &Bound<'_, PyAny>) -> String {
    match exception.str() {
        Ok(text) => cut(lossy(&text).unwrap_or_default(), MESSAGE),
        Err(_) => "<its __str__ raised>".to_owned(),
    }
}

fn traceback(exception: &Bound<'_, PyAny>) -> String {
    let format = || -> PyResult<String> {
        let module = exception.py().import("traceback")?;
        let lines = module.call_method1(
            "format_exception",
            (
                exception.get_type(),
                exception,
                exception.getattr("__traceback__")?,
                FRAMES,
            ),
        )?;
        let mut text = String::new();
        for line in lines.try_iter()? {
            text.push_str(&readable(&line?.str()?));
            if text.len() > TRACEBACK {
                break;
            }
        }
        Ok(text)
    };
    format().map_or_else(|_| String::new(), |text| cut(text, TRACEBACK))
}

/// At most `limit` bytes, at a character's border, and visibly cut.
pub(super) fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let end = (0..=limit)
            .rev()
            .find(|&end| text.is_char_boundary(end))
            .unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
