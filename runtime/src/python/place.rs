//! Where a suspended coroutine awaits: `file:line in function` of its innermost frame of user code.
//!
//! Invariant: looking does not run user code, and a place that was seen before costs one look-up.

use std::cell::RefCell;
use std::collections::HashMap;

use super::names::name;
use gilscope_instrument::Name;
use pyo3::ffi;
use pyo3::prelude::*;

/// (code object, last instruction) → interned place; the code is kept alive by the entry.
type Seen = HashMap<(usize, i32), (Name, Py<PyAny>)>;

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::default();
}

/// Most places remembered per loop thread; generated code could make ever more.
const PLACES: usize = 4096;

/// The place at which `coroutine` is suspended, or `Name(0)`.
pub(crate) fn awaiting(coroutine: &Bound<'_, PyAny>) -> Name {
    let py = coroutine.py();
    let Ok(frame) = coroutine.getattr(name!(py, c"cr_frame")) else {
        return Name(0);
    };
    if frame.is_none() {
        return Name(0);
    }
    let frame_ptr = frame.as_ptr().cast::<ffi::PyFrameObject>();
    // SAFETY: `cr_frame` of a coroutine that is not finished is a frame; the code is a new reference.
    let (last, code) = unsafe {
        let code = ffi::PyFrame_GetCode(frame_ptr).cast::<ffi::PyObject>();
        (
            ffi::PyFrame_GetLasti(frame_ptr),
            Bound::from_owned_ptr(py, code),
        )
    };
    let key = (code.as_ptr() as usize, last);
    if let Some(name) = SEEN.with_borrow(|seen| seen.get(&key).map(|(name, _)| *name)) {
        return name;
    }
    // SAFETY: as above.
    let line = unsafe { ffi::PyFrame_GetLineNumber(frame_ptr) };
    let name = gilscope_instrument::intern(&describe(&code, line));
    SEEN.with_borrow_mut(|seen| {
        if seen.len() < PLACES {
            seen.insert(key, (name, code.unbind()));
        }
    });
    name
}

/// `file:line in function`.
pub(super) fn describe(code: &Bound<'_, PyAny>, line: i32) -> String {
    let text = |attribute: &str| {
        code.getattr(attribute)
            .and_then(|value| value.extract::<String>())
            .unwrap_or_default()
    };
    format!("{}:{line} in {}", text("co_filename"), text("co_qualname"))
}
