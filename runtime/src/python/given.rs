//! Checks of what Python code gives: each failure is one line that names the parameter, what is
//! allowed and what was given.
//!
//! Invariant: of a refused value nothing runs but its `__repr__`, whatever that does.

use std::time::Duration;

use gilscope_instrument::TraceContext;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PyString};

use super::text::readable;

/// A parameter as it was given; `None` where it was not, or where `None` was.
pub(crate) type Given<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

/// Longest text of a refused value, in characters.
const LONGEST: usize = 80;

/// `TypeError`: a value of a type that is not allowed.
pub(crate) fn wrong_type(what: &str, allowed: &str, given: &Bound<'_, PyAny>) -> PyErr {
    let kind = given.get_type();
    let kind = kind.name().map(|name| name.to_string_lossy().into_owned());
    PyTypeError::new_err(match kind {
        Ok(kind) if !given.is_none() => {
            format!("{what} must be {allowed}, not {} ({kind})", shown(given))
        }
        _ => format!("{what} must be {allowed}, not {}", shown(given)),
    })
}

/// `ValueError`: of an allowed type, but not a value that makes sense.
pub(crate) fn wrong_value(what: &str, allowed: &str, given: &Bound<'_, PyAny>) -> PyErr {
    PyValueError::new_err(format!("{what} must be {allowed}, not {}", shown(given)))
}

/// The `repr` of a value, in one line and not too long.
pub(crate) fn shown(given: &Bound<'_, PyAny>) -> String {
    let Ok(text) = given.repr() else {
        return "a value whose __repr__ raised".to_owned();
    };
    let text = text.to_string_lossy();
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short.replace(['\n', '\r'], " ")
}

/// Seconds from now: negative counts as zero, infinity and what is beyond any clock as none.
///
/// # Errors
/// `TypeError` for what is no number, `ValueError` for NaN; what `__float__` raises.
pub(crate) fn deadline(given: Given<'_, '_>) -> PyResult<Option<Duration>> {
    const ALLOWED: &str = "a number of seconds or None";
    let Some(given) = given else { return Ok(None) };
    let py = given.py();
    let seconds = match given.extract::<f64>() {
        Ok(seconds) if seconds.is_nan() => return Err(wrong_value("deadline", ALLOWED, given)),
        Ok(seconds) => seconds,
        Err(error) if error.is_instance_of::<PyTypeError>(py) => {
            return Err(wrong_type("deadline", ALLOWED, given));
        }
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => {
            if given.lt(0)? {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            }
        }
        Err(error) => return Err(error),
    };
    Ok(Duration::try_from_secs_f64(seconds.max(0.0)).ok())
}

/// A number of seconds, whatever it is.
///
/// # Errors
/// `TypeError` for what is no number, `ValueError` for one beyond any; what `__float__` raises.
pub(crate) fn seconds(what: &str, allowed: &str, given: &Bound<'_, PyAny>) -> PyResult<f64> {
    let py = given.py();
    given.extract::<f64>().map_err(|error| {
        if error.is_instance_of::<PyTypeError>(py) {
            wrong_type(what, allowed, given)
        } else if error.is_instance_of::<PyOverflowError>(py) {
            wrong_value(what, allowed, given)
        } else {
            error
        }
    })
}

/// How many: an integer of at least 1. What does not fit is as good as no bound. `or`: what else
/// the caller allows.
///
/// # Errors
/// `TypeError` for what is no integer, or True or False, `ValueError` for what is less.
pub(crate) fn count(what: &str, or: &str, given: &Bound<'_, PyAny>) -> PyResult<usize> {
    let allowed = &format!("an integer of at least 1{or}");
    if !given.is_instance_of::<PyInt>() || given.is_instance_of::<PyBool>() {
        return Err(wrong_type(what, allowed, given));
    }
    if given.lt(1)? {
        return Err(wrong_value(what, allowed, given));
    }
    Ok(given.extract().unwrap_or(usize::MAX))
}

/// One of a few words.
///
/// # Errors
/// `TypeError` for what is no string, `ValueError` for another word.
pub(crate) fn word<T: Copy>(
    what: &str,
    given: &Bound<'_, PyAny>,
    words: &[(&str, T)],
) -> PyResult<T> {
    let quoted: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    let allowed = match quoted.split_last() {
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
        None => String::new(),
    };
    let Ok(text) = given.cast::<PyString>() else {
        return Err(wrong_type(what, &allowed, given));
    };
    let text = text.to_string_lossy();
    let known = words.iter().find(|(word, _)| *word == text);
    known.map_or_else(
        || Err(wrong_value(what, &allowed, given)),
        |(_, it)| Ok(*it),
    )
}

/// A string.
///
/// # Errors
/// `TypeError` for anything else.
pub(crate) fn name(given: Given<'_, '_>) -> PyResult<Option<String>> {
    let Some(given) = given else { return Ok(None) };
    match given.cast::<PyString>() {
        Ok(text) => Ok(Some(readable(text).into_owned())),
        Err(_) => Err(wrong_type("name", "a string or None", given)),
    }
}

/// A span of another process, as the headers `traceparent` and `tracestate` have it. The second is of no
/// meaning without the first.
///
/// # Errors
/// `TypeError` for what is no string, `ValueError` for what is no such `traceparent`.
pub(crate) fn parent(given: Given<'_, '_>, state: Given<'_, '_>) -> PyResult<Option<TraceContext>> {
    const ALLOWED: &str = "a traceparent like \"00-<32 hex digits>-<16>-<2>\" or None";
    let wrong = |given| wrong_type("tracestate", "a string or None", given);
    let state = state.map(|given| given.cast::<PyString>().map_err(|_| wrong(given)));
    let state = state.transpose()?.map(|text| text.to_string_lossy());
    let Some(given) = given else { return Ok(None) };
    let Ok(text) = given.cast::<PyString>() else {
        return Err(wrong_type("parent", ALLOWED, given));
    };
    let parent = TraceContext::from_headers(&text.to_string_lossy(), state.as_deref());
    let parent = parent.ok_or_else(|| wrong_value("parent", ALLOWED, given))?;
    Ok(Some(parent))
}

/// Yes or no.
///
/// # Errors
/// `TypeError` for anything else.
pub(crate) fn flag(what: &str, given: Given<'_, '_>) -> PyResult<bool> {
    let Some(given) = given else { return Ok(false) };
    let extracted = given.extract::<bool>();
    extracted.map_err(|_| wrong_type(what, "True or False", given))
}

/// Something to call.
///
/// # Errors
/// `TypeError` for anything else.
pub(crate) fn callable(what: &str, allowed: &str, given: &Bound<'_, PyAny>) -> PyResult<()> {
    if given.is_callable() {
        return Ok(());
    }
    Err(wrong_type(what, allowed, given))
}

/// An async function, to be awaited by the runtime itself.
///
/// # Errors
/// `TypeError` for anything else.
pub(crate) fn hook(what: &str, given: &Bound<'_, PyAny>) -> PyResult<()> {
    let module = crate::loop_thread::thread::module(given.py())?;
    if module.call_method1("is_async", (given,))?.is_truthy()? {
        return Ok(());
    }
    let allowed = "an async function without arguments, or None";
    Err(wrong_type(what, allowed, given))
}

/// A `contextvars.Context`.
///
/// # Errors
/// `TypeError` for anything else.
pub(crate) fn context(given: Given<'_, '_>) -> PyResult<Option<Py<PyAny>>> {
    let Some(given) = given else { return Ok(None) };
    // SAFETY: a type check of a live object; the type cannot be subclassed.
    if unsafe { ffi::PyContext_CheckExact(given.as_ptr()) } == 0 {
        return Err(wrong_type(
            "context",
            "a contextvars.Context or None",
            given,
        ));
    }
    Ok(Some(given.clone().unbind()))
}
