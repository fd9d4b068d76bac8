//! What may be passed to a call and what may come back.
//!
//! Invariant: both are `Send` Rust values, so that conversion can wait for the loop thread.

use pyo3::conversion::FromPyObjectOwned;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::job::{Convert, StartError, Starter};
use crate::handle::PyFun;

/// Positional arguments: any tuple of values that convert to Python, or a `Py<PyTuple>`.
///
/// Converted on the loop thread; a failure is [`Error::Argument`](crate::Error::Argument) for this call only.
pub trait PyArgs: Send + 'static {
    /// Converts; attached.
    ///
    /// # Errors
    /// Whatever a conversion raises.
    fn into_tuple(self, py: Python<'_>) -> PyResult<Bound<'_, PyTuple>>;
}

impl<A> PyArgs for A
where
    A: Send + 'static + for<'py> IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
{
    fn into_tuple(self, py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        self.into_pyobject(py).map_err(Into::into)
    }
}

/// A result type: owned, `Send`, and convertible from Python. Converted on the loop thread.
pub trait PyResultType: Send + 'static + for<'py> FromPyObjectOwned<'py> {}

impl<T: Send + 'static + for<'py> FromPyObjectOwned<'py>> PyResultType for T {}

/// Keyword arguments, converted on the loop thread.
pub(crate) type KwArgs = Box<dyn for<'py> FnOnce(&Bound<'py, PyDict>) -> PyResult<()> + Send>;

pub(crate) fn convert_to<T: PyResultType>() -> Convert<T> {
    |value| value.extract::<T>().map_err(Into::into)
}

/// Helps inference: a closure with the higher-ranked signature of a [`Starter`].
pub(crate) fn starter<F>(start: F) -> F
where
    F: for<'py> FnOnce(Python<'py>) -> Result<Bound<'py, PyAny>, StartError> + Send,
{
    start
}

/// Converts `args` and `kwargs`, then calls `fun`, or with `in_thread` makes the coroutine that calls
/// it in the loop's thread pool.
pub(crate) fn call_starter<A: PyArgs>(
    fun: PyFun,
    args: A,
    kwargs: Option<KwArgs>,
    in_thread: bool,
) -> impl Starter {
    starter(move |py| {
        let args = args.into_tuple(py).map_err(StartError::Argument)?;
        let kwargs = match kwargs {
            None => None,
            Some(fill) => {
                let dict = PyDict::new(py);
                fill(&dict).map_err(StartError::Argument)?;
                Some(dict)
            }
        };
        let callable = fun.callable().bind(py);
        if in_thread {
            let run = crate::loop_thread::thread::module(py)
                .and_then(|module| module.getattr("run_in_thread"))
                .and_then(|run| run.call1((callable, args, kwargs)));
            return run.map_err(StartError::Raised);
        }
        callable
            .call(args, kwargs.as_ref())
            .map_err(StartError::Raised)
    })
}
