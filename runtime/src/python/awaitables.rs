//! `gilscope.rust`: Rust futures that Python code can await right away.
//!
//! Invariant: they run on tokio without the GIL; only their results touch Python.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sha2::{Digest, Sha256};

use super::given;
use crate::future::into_py_future;
use crate::life::park::ParkOnExit;
use crate::tasks;

/// An awaitable that sleeps on the runtime's clock. Raises ValueError for NaN.
#[pyfunction]
pub(crate) fn rust_sleep<'py>(seconds: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let _parks = ParkOnExit::new();
    let (py, given) = (seconds.py(), seconds);
    let seconds = given.extract::<f64>();
    let seconds = seconds.map_err(|error| typed(error, "seconds", "a number", given))?;
    if seconds.is_nan() {
        return Err(PyValueError::new_err("seconds must be a number, not NaN"));
    }
    let wait = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    into_py_future(py, async move {
        tasks::sleep(wait).await;
        PyResult::Ok(())
    })
}

/// An awaitable of a file's content.
#[pyfunction]
pub(crate) fn rust_read_file<'py>(path: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let _parks = ParkOnExit::new();
    let (py, given) = (path.py(), path);
    let path = given.extract::<PathBuf>();
    let path = path.map_err(|error| typed(error, "path", "a string or a path", given))?;
    into_py_future(py, async move {
        match tokio::fs::read(&path).await {
            Ok(content) => Ok(Content(content)),
            Err(error) => Err(at(&error, &path)),
        }
    })
}

/// A failed conversion: `TypeError` names the parameter; what the value itself raised stays.
fn typed(error: PyErr, what: &str, allowed: &str, given: &Bound<'_, PyAny>) -> PyErr {
    if error.is_instance_of::<PyTypeError>(given.py()) {
        return given::wrong_type(what, allowed, given);
    }
    error
}

/// What `rust_sha256` hashes.
enum Source {
    Bytes(Vec<u8>),
    Path(PathBuf),
}

impl Source {
    fn of(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(content) = data.extract() {
            return Ok(Self::Bytes(content));
        }
        let path = data.extract().map(Self::Path);
        path.map_err(|_| given::wrong_type("data", "bytes or a path", data))
    }
}

/// An awaitable of the SHA-256, in hexadecimal, of bytes or of a file's content.
#[pyfunction]
pub(crate) fn rust_sha256<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let _parks = ParkOnExit::new();
    let (py, data) = (data.py(), Source::of(data)?);
    into_py_future(py, async move {
        let content = match data {
            Source::Bytes(content) => content,
            Source::Path(path) => tokio::fs::read(&path)
                .await
                .map_err(|error| at(&error, &path))?,
        };
        // Hashing is work, not waiting: it belongs on a thread that may be busy.
        let hash = tokio::task::spawn_blocking(move || hex(&Sha256::digest(content)));
        hash.await
            .map_err(|error| PyOSError::new_err(error.to_string()))
    })
}

/// An `OSError` that names the file.
pub(crate) fn at(error: &std::io::Error, path: &std::path::Path) -> PyErr {
    match error.raw_os_error() {
        Some(code) => PyOSError::new_err((code, strerror(code), path.display().to_string())),
        None => PyOSError::new_err(format!("{}: {error}", path.display())),
    }
}

/// The bare reason; `io::Error` adds its number in brackets, as Python's does in its own way.
fn strerror(code: i32) -> String {
    let text = std::io::Error::from_raw_os_error(code).to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that become `bytes`, not a list.
struct Content(Vec<u8>);

impl<'py> IntoPyObject<'py> for Content {
    type Target = PyBytes;
    type Output = Bound<'py, PyBytes>;
    type Error = std::convert::Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        Ok(PyBytes::new(py, &self.0))
    }
}
