//! What an exception says beside its message: its notes, and of a group the exceptions in it.
//!
//! Invariant: no user code runs, and however deep groups are, nothing recurses.

use std::collections::HashSet;

use pyo3::exceptions::{PyBaseException, PyBaseExceptionGroup};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use super::names::name;
use super::text::{cut, readable};

/// Most notes of an exception, and longest in bytes.
const NOTES: usize = 16;
const NOTE: usize = 1 << 10;
/// Most exceptions of a group that are looked at, groups in it included.
const LOOKED_AT: usize = 4096;

/// The exceptions in a group that are no groups themselves, each once and in their order, at most `most`; and
/// whether there are more. None of what is no group. Attached.
pub(super) fn leaves<'py>(
    exception: &Bound<'py, PyAny>,
    most: usize,
) -> (Vec<Bound<'py, PyAny>>, bool) {
    let (mut leaves, mut seen) = (Vec::new(), HashSet::new());
    let mut next: Vec<_> = members(exception).unwrap_or_default();
    next.reverse();
    while let Some(exception) = next.pop() {
        if !seen.insert(exception.as_ptr()) {
            continue;
        }
        if leaves.len() == most || seen.len() > LOOKED_AT {
            return (leaves, true);
        }
        match members(&exception) {
            Some(inner) => next.extend(inner.into_iter().rev()),
            None => leaves.push(exception),
        }
    }
    (leaves, false)
}

/// As [`leaves`], and how many more there are, as far as is looked.
pub(crate) fn counted<'py>(
    exception: &Bound<'py, PyAny>,
    most: usize,
) -> (Vec<Bound<'py, PyAny>>, usize) {
    let (mut leaves, _) = leaves(exception, LOOKED_AT);
    let more = leaves.len().saturating_sub(most);
    leaves.truncate(most);
    (leaves, more)
}

/// `None` of what is no group.
fn members<'py>(exception: &Bound<'py, PyAny>) -> Option<Vec<Bound<'py, PyAny>>> {
    let group = exception.cast::<PyBaseExceptionGroup>().ok()?;
    // Not the attribute, which a class may have overridden.
    let class = exception.py().get_type::<PyBaseExceptionGroup>();
    let members = class.getattr(name!(exception.py(), c"exceptions")).ok()?;
    let members = members.call_method1(name!(exception.py(), c"__get__"), (group,));
    let members = members.ok()?.cast_into::<PyTuple>().ok()?;
    // As many as are looked at: a group may have millions.
    Some(members.iter().take(LOOKED_AT + 1).collect())
}

/// What `add_note` has added, as far as it is text. Attached.
pub(super) fn notes(exception: &Bound<'_, PyAny>) -> Vec<String> {
    let list = match given_notes(exception) {
        Some(list) => list,
        None => return Vec::new(),
    };
    let texts = list.iter().take(NOTES).filter_map(|note| {
        let text = note.cast::<PyString>().ok()?;
        Some(cut(readable(text).into_owned(), NOTE))
    });
    texts.collect()
}

fn given_notes<'py>(exception: &Bound<'py, PyAny>) -> Option<Bound<'py, PyList>> {
    let py = exception.py();
    exception.cast::<PyBaseException>().ok()?;
    // Not the attribute, which a class may have overridden.
    // SAFETY: an exception, which has a dict; a new reference, or NULL with an error set.
    let own = unsafe {
        let dict = ffi::PyObject_GenericGetDict(exception.as_ptr(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, dict)
    };
    let own = own.ok()?.cast_into::<PyDict>().ok()?;
    let notes = own.get_item(name!(py, c"__notes__")).ok()??;
    notes.cast_into::<PyList>().ok()
}
