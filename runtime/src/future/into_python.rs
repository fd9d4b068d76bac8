//! A Rust `Stream` as a Python async generator.
//!
//! Invariant: at most one item is under way, so whoever is slower sets the pace; the stream is polled
//! on tokio, never with the GIL.

use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use futures_util::StreamExt;
use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::prelude::*;

use super::awaitable::{Resolve, awaitable, into_python};
use crate::life::park::{ParkOnExit, Parking};

/// Makes a Python async generator of a Rust stream: `__anext__`, and `aclose`, which drops the
/// stream. Needs the GIL; the stream is polled without it, on tokio.
///
/// # Errors
/// If the object cannot be allocated.
pub fn stream_into_py<S, T, E>(py: Python<'_>, stream: S) -> PyResult<Bound<'_, PyAny>>
where
    S: Stream<Item = Result<T, E>> + Send + 'static,
    T: for<'py> IntoPyObject<'py> + Send + 'static,
    E: Into<PyErr> + Send + 'static,
{
    let resolved = stream.map(|item| {
        let resolve: Resolve = Box::new(move |py| match item {
            Ok(item) => into_python(py, item),
            Err(error) => Err(error.into()),
        });
        resolve
    });
    let stream: BoxStream = Box::pin(resolved);
    let stream = Parking::new(Arc::new(tokio::sync::Mutex::new(Some(stream))));
    Bound::new(py, RustStream { stream }).map(Bound::into_any)
}

type BoxStream = Pin<Box<dyn Stream<Item = Resolve> + Send>>;

/// See [`stream_into_py`].
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct RustStream {
    stream: Parking<Arc<tokio::sync::Mutex<Option<BoxStream>>>>,
}

#[pymethods]
impl RustStream {
    // No guard: itself.
    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let _parks = ParkOnExit::new();
        let stream = Arc::clone(&self.stream);
        let next = async move {
            let mut stream = stream.lock().await;
            let item = match stream.as_mut() {
                Some(open) => open.next().await,
                None => None,
            };
            let resolve: Resolve = match item {
                Some(resolve) => resolve,
                None => {
                    *stream = None;
                    Box::new(|_py| Err(PyStopAsyncIteration::new_err(())))
                }
            };
            resolve
        };
        awaitable(py, next, None, "the next item of a stream")
    }

    fn aclose<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let _parks = ParkOnExit::new();
        let stream = Arc::clone(&self.stream);
        let close = async move {
            let open = stream.lock().await.take();
            drop(open);
            let resolve: Resolve = Box::new(|py| Ok(py.None().into_bound(py)));
            resolve
        };
        awaitable(py, close, None, "the end of a stream")
    }
}
