//! Streams both ways: an async generator as a Rust `Stream`, a Rust `Stream` as an async generator.
//!
//! Invariant: at most one item is under way, so whoever is slower sets the pace; dropping a stream
//! runs the generator's `finally` on its loop.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use futures_core::Stream;
use futures_util::StreamExt;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyStopAsyncIteration, PyTypeError};
use pyo3::prelude::*;

use super::awaitable::{Resolve, awaitable};
use crate::call::{CallFuture, PyArgs, PyAsyncCallback, PyResultType};
use crate::error::Error;
use crate::handle::{PyFun, PyHandle};
use crate::runtime::PyRuntime;

impl PyRuntime {
    /// Calls a function that returns an async generator, or any async iterable, and streams its
    /// items, converted to `T`. Nothing happens before the first poll; each item is a call of its
    /// own, so errors, deadlines of the queue and shutdown reach the stream as items.
    pub fn stream<T: PyResultType>(&self, fun: impl Into<PyFun>, args: impl PyArgs) -> PyStream<T> {
        let opening = self.call(fun, args).stream().wait::<PyHandle>();
        PyStream {
            runtime: self.clone(),
            state: State::Opening(opening),
            iterator: None,
        }
    }
}

/// See [`PyRuntime::stream`]. Dropping it closes the generator.
#[must_use = "streams do nothing unless polled"]
pub struct PyStream<T> {
    runtime: PyRuntime,
    state: State<T>,
    iterator: Option<Iterator>,
}

/// The Python side of an open stream.
struct Iterator {
    next: PyFun,
    close: Option<PyFun>,
}

enum State<T> {
    Opening(CallFuture<PyHandle>),
    /// Looks up `__anext__` and `aclose`, on the loop thread.
    Preparing(CallFuture<(PyHandle, Option<PyHandle>)>),
    Waiting(CallFuture<T>),
    Ready,
    Ended,
}

impl<T: PyResultType> Stream for PyStream<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Opening(opening) => {
                    let opened = ready!(Pin::new(opening).poll(context));
                    this.state = match opened {
                        Ok(iterable) => State::Preparing(prepare(&this.runtime, iterable)),
                        Err(error) => return this.end(Some(Err(error))),
                    };
                }
                State::Preparing(preparing) => {
                    let prepared = ready!(Pin::new(preparing).poll(context));
                    match prepared {
                        Ok((next, close)) => {
                            this.iterator = Some(Iterator {
                                next: method(next, "__anext__"),
                                close: close.map(|close| method(close, "aclose")),
                            });
                            this.state = State::Ready;
                        }
                        Err(error) => return this.end(Some(Err(error))),
                    }
                }
                State::Ready => {
                    let Some(iterator) = &this.iterator else {
                        return this.end(None);
                    };
                    this.state = State::Waiting(this.runtime.call_async(&iterator.next, ()));
                }
                State::Waiting(waiting) => {
                    let item = ready!(Pin::new(waiting).poll(context));
                    this.state = State::Ready;
                    return match item {
                        Ok(item) => Poll::Ready(Some(Ok(item))),
                        Err(Error::Python(error)) if is_end(&error) => this.end(None),
                        Err(error) => this.end(Some(Err(error))),
                    };
                }
                State::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl<T> PyStream<T> {
    fn end(&mut self, last: Option<Result<T, Error>>) -> Poll<Option<Result<T, Error>>> {
        self.state = State::Ended;
        self.close();
        Poll::Ready(last)
    }

    fn close(&mut self) {
        let Some(close) = self.iterator.take().and_then(|iterator| iterator.close) else {
            return;
        };
        let call = self.runtime.call(&close, ());
        let mut closing = call.submission_for::<PyHandle>(PyAsyncCallback::Discard, None);
        let polled = closing.poll_taken(&mut Context::from_waker(Waker::noop()));
        if polled.is_pending() {
            // No room: whoever drops a stream does not wait for it. Refused only if the runtime is
            // stopped, and then its loop has closed the generator.
            crate::tasks::spawn_ours(&self.runtime.host, closing.sent_or_told());
        }
    }
}

impl<T> Drop for PyStream<T> {
    fn drop(&mut self) {
        // A pending item is cancelled first, else the generator would still be running.
        self.state = State::Ended;
        self.close();
    }
}

impl<T> std::fmt::Debug for PyStream<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PyStream").finish_non_exhaustive()
    }
}

/// The type name is there without attaching.
fn is_end(error: &crate::error::PythonError) -> bool {
    error.type_name() == "StopAsyncIteration"
}

/// A bound method with a span name that says what it is, made without attaching.
fn method(callable: PyHandle, name: &str) -> PyFun {
    PyFun::with_name(callable, name)
}

fn prepare(runtime: &PyRuntime, iterable: PyHandle) -> CallFuture<(PyHandle, Option<PyHandle>)> {
    let start = crate::call::args::starter(move |py| {
        let look = || {
            let iterable = iterable.bind(py);
            let iterator = match iterable.call_method0("__aiter__") {
                Ok(iterator) => iterator,
                Err(_) => {
                    let kind = iterable.get_type();
                    let text = format!("{} is not an async iterable", kind.name()?);
                    return Err(PyTypeError::new_err(text));
                }
            };
            let next = iterator.getattr("__anext__")?;
            let close = match iterator.hasattr("aclose")? {
                true => Some(closer(&iterator)?),
                false => None,
            };
            (next, close).into_pyobject(py).map(Bound::into_any)
        };
        look().map_err(crate::call::job::StartError::Raised)
    });
    crate::call::builder::native(&runtime.host, "stream.open", start)
}

/// Closes a generator as soon as its last item, which may be being cancelled, is out of it.
fn closer<'py>(iterator: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = iterator.py();
    let close = crate::loop_thread::thread::module(py)?.getattr("close_generator")?;
    py.import("functools")?
        .call_method1("partial", (close, iterator))
}

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
            Ok(item) => item.into_bound_py_any(py),
            Err(error) => Err(error.into()),
        });
        resolve
    });
    let stream: BoxStream = Box::pin(resolved);
    let stream = Arc::new(tokio::sync::Mutex::new(Some(stream)));
    Bound::new(py, RustStream { stream }).map(Bound::into_any)
}

type BoxStream = Pin<Box<dyn Stream<Item = Resolve> + Send>>;

/// See [`stream_into_py`].
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct RustStream {
    stream: Arc<tokio::sync::Mutex<Option<BoxStream>>>,
}

#[pymethods]
impl RustStream {
    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
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
        awaitable(py, next, None)
    }

    fn aclose<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let stream = Arc::clone(&self.stream);
        let close = async move {
            let open = stream.lock().await.take();
            drop(open);
            let resolve: Resolve = Box::new(|py| Ok(py.None().into_bound(py)));
            resolve
        };
        awaitable(py, close, None)
    }
}
