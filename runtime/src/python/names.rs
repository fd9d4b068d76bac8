//! Interned names of attributes and methods.
//!
//! Invariant: nobody waits for a name. pyo3's `intern!` lets go of the GIL while one is being made, and a
//! child forked at that moment would wait for ever for a thread it does not have.

use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// A name, made at its first use; two threads that come at once both make it, and one stays.
pub(crate) struct Name {
    text: &'static CStr,
    object: AtomicPtr<ffi::PyObject>,
}

impl Name {
    pub(crate) const fn new(text: &'static CStr) -> Self {
        Self {
            text,
            object: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The interned string.
    #[inline]
    pub(crate) fn get<'py>(&'static self, py: Python<'py>) -> Borrowed<'static, 'py, PyString> {
        let mut object = self.object.load(Ordering::Acquire);
        if object.is_null() {
            object = self.make(py);
        }
        // SAFETY: a live `str`, whose reference this cell keeps for good.
        unsafe { Borrowed::from_ptr(py, object).cast_unchecked() }
    }

    #[cold]
    fn make(&self, py: Python<'_>) -> *mut ffi::PyObject {
        // SAFETY: attached; the text ends with NUL. A new reference, or null when memory is out.
        let made = unsafe { ffi::PyUnicode_InternFromString(self.text.as_ptr()) };
        assert!(
            !made.is_null(),
            "no memory for a name: {}",
            PyErr::fetch(py)
        );
        let (acquire, null) = (Ordering::Acquire, ptr::null_mut());
        match self
            .object
            .compare_exchange(null, made, Ordering::AcqRel, acquire)
        {
            Ok(_) => made,
            Err(kept) => {
                // SAFETY: attached, and nobody else has this reference.
                unsafe { ffi::Py_DECREF(made) };
                kept
            }
        }
    }
}

/// The interned string of a C string literal, as pyo3's `intern!`.
macro_rules! name {
    ($py:expr, $text:literal) => {{
        static NAME: $crate::python::names::Name = $crate::python::names::Name::new($text);
        NAME.get($py)
    }};
}

pub(crate) use name;
