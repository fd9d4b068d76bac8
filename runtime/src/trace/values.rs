//! OpenTelemetry's values of Python, read.
//!
//! Invariant: what is none of its kinds of values is left out, and no user code is asked what else it
//! might be.

use gilscope_instrument::notes::{Attributes, Value};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};

use crate::python::text::{Lossy, readable};

/// A bool, int, float or string, or several of them in a list or tuple.
pub(super) fn value(given: &Bound<'_, PyAny>) -> Option<Value> {
    if given.is_instance_of::<PyList>() || given.is_instance_of::<PyTuple>() {
        let each = given.try_iter().ok()?;
        let each = each.map(|each| each.ok().and_then(|each| single(&each)));
        return each.collect::<Option<_>>().map(Value::List);
    }
    single(given)
}

fn single(given: &Bound<'_, PyAny>) -> Option<Value> {
    if given.is_instance_of::<PyBool>() {
        return given.extract().ok().map(Value::Bool);
    }
    if given.is_instance_of::<PyInt>() {
        // What does not fit OTLP's integers is still worth its digits.
        return match given.extract() {
            Ok(number) => Some(Value::Int(number)),
            Err(_) => Some(Value::Text(
                given.str().ok()?.to_string_lossy().into_owned(),
            )),
        };
    }
    if given.is_instance_of::<PyFloat>() {
        return given.extract().ok().map(Value::Float);
    }
    if let Ok(text) = given.cast::<PyString>() {
        return Some(Value::Text(readable(text).into_owned()));
    }
    let bytes = given.cast::<PyBytes>().ok()?;
    Some(Value::Text(
        String::from_utf8_lossy(bytes.as_bytes()).into_owned(),
    ))
}

/// Attributes as a mapping, or None.
pub(super) fn attributes(given: Option<&Bound<'_, PyAny>>) -> PyResult<Attributes> {
    let Some(given) = given.filter(|given| !given.is_none()) else {
        return Ok(Attributes::new());
    };
    let mut all = Attributes::new();
    for item in given.cast::<PyMapping>()?.items()? {
        let (Lossy(key), given) = item.extract::<(Lossy, Bound<'_, PyAny>)>()?;
        all.extend(value(&given).map(|value| (key, value)));
    }
    Ok(all)
}

/// Nanoseconds since the Unix epoch; now, if none are given.
pub(super) fn time_ns(given: Option<u64>) -> u64 {
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
    })
}
