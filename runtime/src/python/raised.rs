//! Where an exception was raised: `file:line in function` of its innermost frame of user code.
//!
//! Invariant: looking does not run user code, and our own frames are never the answer.

use pyo3::exceptions::PyBaseException;
use pyo3::ffi;
use pyo3::prelude::*;

use super::whose::{Whose, whose};

/// The place, or `None` where no frame is known but ours.
pub(crate) fn raised_at(exception: &Bound<'_, PyAny>) -> Option<String> {
    let mut found = None;
    // Not its attribute, which a class may have overridden.
    let raised = exception.cast::<PyBaseException>().ok()?.as_ptr();
    // SAFETY: an exception; a new reference, or NULL where it was never raised.
    let first = unsafe { ffi::PyException_GetTraceback(raised) };
    // SAFETY: as above.
    let mut trace = unsafe { Bound::from_owned_ptr_or_opt(exception.py(), first)? };
    while !trace.is_none() {
        let whose = whose(&trace.getattr("tb_frame").ok()?).ok()?;
        if whose > Whose::Ours && found.as_ref().is_none_or(|(before, _)| whose >= *before) {
            found = Some((whose, trace.clone()));
        }
        trace = trace.getattr("tb_next").ok()?;
    }
    let (_, trace) = found?;
    let code = trace.getattr("tb_frame").ok()?.getattr("f_code").ok()?;
    let line = trace.getattr("tb_lineno").ok()?.extract().ok()?;
    Some(super::place::describe(&code, line))
}
