//! Whose code a frame runs: ours, the standard library's, an installed package's, or the user's.
//!
//! Invariant: looking does not run user code.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::names::name;
use super::text::lossy;

/// Whose code a frame is, from what says least to what says most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    /// The package's, or that which is compiled into this library.
    Ours,
    StandardLibrary,
    Package,
    User,
}

/// Whose code `frame`, a frame object, runs.
pub(crate) fn whose(frame: &Bound<'_, PyAny>) -> PyResult<Whose> {
    let py = frame.py();
    if is_ours(frame)? {
        return Ok(Whose::Ours);
    }
    let code = frame.getattr(name!(py, c"f_code"))?;
    let file = lossy(&code.getattr(name!(py, c"co_filename"))?)?;
    let is_in = |folder: &str| file.contains(&format!("/{folder}/"));
    Ok(if is_in("site-packages") || is_in("dist-packages") {
        Whose::Package
    } else if file.starts_with("<frozen ") || is_standard(py, &file) {
        Whose::StandardLibrary
    } else {
        Whose::User
    })
}

/// Whether `frame` runs our code; cheaper than to ask whose it is.
pub(crate) fn is_ours(frame: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = frame.py();
    let globals = frame.getattr(name!(py, c"f_globals"))?;
    let module = globals
        .cast_into::<PyDict>()?
        .get_item(name!(py, c"__name__"))?;
    let module = module.and_then(|name| name.cast_into::<PyString>().ok());
    let module = module.as_ref().and_then(|name| name.to_str().ok());
    Ok(module.is_some_and(|name| name == "gilscope" || name.starts_with("gilscope.")))
}

/// Whether a file is in the folder of Python's own modules.
fn is_standard(py: Python<'_>, file: &str) -> bool {
    // Not an import, which somebody may have replaced.
    // SAFETY: attached; a new reference, or NULL, with or without an error set.
    let os = unsafe { ffi::PyImport_GetModule(name!(py, c"os").as_ptr()) };
    // SAFETY: as above.
    let Ok(os) = (unsafe { Bound::from_owned_ptr_or_opt(py, os) }).ok_or_else(|| PyErr::take(py))
    else {
        return false;
    };
    let os = os.getattr(name!(py, c"__file__"));
    let os = os.and_then(|path| lossy(&path));
    os.is_ok_and(|os| file.starts_with(os.trim_end_matches("os.py")))
}
