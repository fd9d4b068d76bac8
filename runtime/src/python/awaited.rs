//! What a suspended coroutine awaits, as far as Python's own types tell.
//!
//! Invariant: only attributes of builtin types are read, so looking does not run user code.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use super::names::name;
use pyo3::ffi;
use pyo3::prelude::*;

/// What is suspended, and may await another that is.
pub(super) struct Suspended<'py> {
    object: Bound<'py, PyAny>,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Coroutine,
    Generator,
    AsyncGenerator,
}

/// Objects of C that stand between two coroutines and tell by no attribute what is behind them.
const BETWEEN: [&CStr; 4] = [
    c"async_generator_asend",
    c"async_generator_athrow",
    c"coroutine_wrapper",
    c"anext_awaitable",
];

impl<'py> Suspended<'py> {
    /// `None` for what is none of Python's coroutines and generators.
    pub(super) fn new(object: Bound<'py, PyAny>) -> Option<Self> {
        let kind = kind_of(&object)?;
        Some(Self { object, kind })
    }

    /// What it awaits, if that can be suspended, too.
    pub(super) fn awaits(&self) -> Option<Self> {
        Self::new(self.awaited()?)
    }

    /// What it awaits.
    pub(super) fn awaited(&self) -> Option<Bound<'py, PyAny>> {
        let mut object = self.read(match self.kind {
            Kind::Coroutine => c"cr_await",
            Kind::Generator => c"gi_yieldfrom",
            Kind::AsyncGenerator => c"ag_await",
        })?;
        // Twice: `anext(generator, default)` wraps an `asend`.
        for _ in 0..2 {
            if !is_between(&object) {
                break;
            }
            object = behind(&object)?;
        }
        Some(object)
    }

    /// Its frame; `None` when it has ended.
    pub(super) fn frame(&self) -> Option<Bound<'py, PyAny>> {
        let frame = self.read(match self.kind {
            Kind::Coroutine => c"cr_frame",
            Kind::Generator => c"gi_frame",
            Kind::AsyncGenerator => c"ag_frame",
        })?;
        (!frame.is_none()).then_some(frame)
    }

    pub(super) fn code(&self) -> Option<Bound<'py, PyAny>> {
        let py = self.object.py();
        // Not `read`: a getter on some versions, a member on others.
        let name = match self.kind {
            Kind::Coroutine => name!(py, c"cr_code"),
            Kind::Generator => name!(py, c"gi_code"),
            Kind::AsyncGenerator => name!(py, c"ag_code"),
        };
        self.object.getattr(name).ok()
    }

    /// An attribute, by its C getter, of which a type has some seven: less than a look-up by name, and
    /// this is done at each suspension.
    fn read(&self, name: &CStr) -> Option<Bound<'py, PyAny>> {
        let (py, object) = (self.object.py(), self.object.as_ptr());
        // SAFETY: a live object of a builtin type, whose getters are an array that ends with a NULL
        // name; each returns a new reference, or NULL with an error set.
        let value = unsafe {
            let mut at = (*ffi::Py_TYPE(object)).tp_getset;
            while !(*at).name.is_null() && libc::strcmp((*at).name, name.as_ptr()) != 0 {
                at = at.add(1);
            }
            let get = (*at).get?;
            Bound::from_owned_ptr_or_err(py, get(object, (*at).closure))
        };
        value.ok()
    }
}

fn kind_of(object: &Bound<'_, PyAny>) -> Option<Kind> {
    let object = object.as_ptr();
    // SAFETY: checks of a live object's type.
    unsafe {
        if ffi::PyCoro_CheckExact(object) != 0 {
            Some(Kind::Coroutine)
        } else if ffi::PyGen_CheckExact(object) != 0 {
            Some(Kind::Generator)
        } else if ffi::PyAsyncGen_CheckExact(object) != 0 {
            Some(Kind::AsyncGenerator)
        } else {
            None
        }
    }
}

/// By name: not all of these types are exported. Nobody makes a static type of this name in Python.
fn is_between(object: &Bound<'_, PyAny>) -> bool {
    if kind_of(object).is_some() {
        return false;
    }
    // SAFETY: the type of a live object lives, and its name ends with NUL.
    let (flags, name) = unsafe {
        let of = ffi::Py_TYPE(object.as_ptr());
        ((*of).tp_flags, CStr::from_ptr((*of).tp_name))
    };
    flags & ffi::Py_TPFLAGS_HEAPTYPE == 0 && BETWEEN.contains(&name)
}

/// The first object that one of `BETWEEN` refers to: what it steps.
fn behind<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    extern "C" fn first(visited: *mut ffi::PyObject, found: *mut c_void) -> c_int {
        // SAFETY: `found` is the pointer below; other than zero ends the traversal.
        unsafe { *found.cast::<*mut ffi::PyObject>() = visited };
        1
    }
    let mut found: *mut ffi::PyObject = ptr::null_mut();
    // SAFETY: attached; the collector's traversal of a live object of a builtin type runs no code but
    // `first`, and what it visits is referred to, so it lives until we own a reference.
    unsafe {
        let traverse = (*ffi::Py_TYPE(object.as_ptr())).tp_traverse?;
        traverse(object.as_ptr(), first, (&raw mut found).cast());
        Bound::from_borrowed_ptr_or_opt(object.py(), found)
    }
}
