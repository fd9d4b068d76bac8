//! Where an exception was raised: `file:line in function` of its innermost frame of user code.
//!
//! Invariant: looking does not run user code, and our own frames are never the answer.

use pyo3::exceptions::PyBaseException;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Whose code a frame is, from what says least to what says most.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    StandardLibrary,
    Package,
    User,
}

/// The place, or `None` where no frame is known but ours.
pub(super) fn raised_at(exception: &Bound<'_, PyAny>) -> Option<String> {
    let library = standard_library(exception.py()).unwrap_or_default();
    let mut found = None;
    // Not its attribute, which a class may have overridden.
    let raised = exception.cast::<PyBaseException>().ok()?.as_ptr();
    // SAFETY: an exception; a new reference, or NULL where it was never raised.
    let first = unsafe { ffi::PyException_GetTraceback(raised) };
    // SAFETY: as above.
    let mut trace = unsafe { Bound::from_owned_ptr_or_opt(exception.py(), first)? };
    while !trace.is_none() {
        let whose = whose(&trace, &library).ok()?;
        if whose.is_some() && found.as_ref().is_none_or(|(before, _)| whose >= *before) {
            found = Some((whose, trace.clone()));
        }
        trace = trace.getattr("tb_next").ok()?;
    }
    let (_, trace) = found?;
    let code = trace.getattr("tb_frame").ok()?.getattr("f_code").ok()?;
    let line = trace.getattr("tb_lineno").ok()?.extract().ok()?;
    Some(super::place::describe(&code, line))
}

/// `None`: ours.
fn whose(trace: &Bound<'_, PyAny>, library: &str) -> PyResult<Option<Whose>> {
    let frame = trace.getattr("tb_frame")?;
    let globals = frame.getattr("f_globals")?.cast_into::<PyDict>()?;
    let module = globals.get_item("__name__")?;
    let module = module.and_then(|name| name.extract::<String>().ok());
    if module.is_some_and(|name| name == "gilscope" || name.starts_with("gilscope.")) {
        return Ok(None);
    }
    let file: String = frame.getattr("f_code")?.getattr("co_filename")?.extract()?;
    let is_in = |folder: &str| file.contains(&format!("/{folder}/"));
    Ok(Some(if is_in("site-packages") || is_in("dist-packages") {
        Whose::Package
    } else if file.starts_with(library) || file.starts_with("<frozen ") {
        Whose::StandardLibrary
    } else {
        Whose::User
    }))
}

/// The folder of Python's own modules, with the slash.
fn standard_library(py: Python<'_>) -> PyResult<String> {
    let file: String = py.import("os")?.getattr("__file__")?.extract()?;
    Ok(file.trim_end_matches("os.py").to_owned())
}
