//! `gilscope.PyRuntime`: the runtime driven from Python.
//!
//! Invariant: a Python thread that calls never waits while it holds the GIL.

use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::exceptions::{refused, to_py_err};
use super::given::{self, Given};
use super::options::CallOptions;
use crate::call::job::Delivered;
use crate::call::{CallBuilder, CallHandle, Submission, block_on_interruptible, check_signals};
use crate::error::{Error, Outcome, Stopped};
use crate::future::awaitable::{Resolve, awaitable};
use crate::handle::{PyFun, PyHandle};
use crate::host::HostRef;
use crate::life::park::{ParkOnExit, Parking};
use crate::life::shutdown::{ShutdownMode, ShutdownReport};
use crate::runtime::{Config, PyRuntime};

/// A runtime: an asyncio loop on a thread of its own, called through a queue.
#[pyclass(
    frozen,
    name = "Runtime",
    module = "gilscope._native",
    subclass,
    weakref
)]
pub(crate) struct Runtime {
    pub(crate) inner: Parking<PyRuntime>,
    line: super::submit::Line,
}

impl Runtime {
    pub(crate) fn builder(
        &self,
        options: &CallOptions,
        fun: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<CallBuilder<Py<PyTuple>>> {
        given::callable("fun", "a function, with its arguments after it", fun)?;
        let host = self.inner.host.clone();
        let mut call = CallBuilder::new(host, PyFun::new(fun), args.clone().unbind());
        if let Some(kwargs) = kwargs
            && !kwargs.is_empty()
        {
            call = call.kwargs_dict(kwargs.clone().unbind());
        }
        options.apply(fun.py(), call)
    }
}

/// What gives an outcome to a Python callable.
fn hand_over_to(
    callable: Py<PyAny>,
) -> impl FnOnce(Python<'_>, Outcome<PyHandle>) -> Delivered + Send + 'static {
    let callable = PyFun::with_name(PyHandle::new(callable), "callback");
    move |py, outcome| super::outcome::hand_over(py, &callable, outcome)
}

fn check_thread(py: Python<'_>, host: &HostRef) -> PyResult<()> {
    if host.on_loop_thread() {
        return Err(to_py_err(py, Error::WrongThread("a loop thread")));
    }
    Ok(())
}

impl Runtime {
    fn line_up(&self, py: Python<'_>, submission: Submission, waits: bool) -> PyResult<Handle> {
        let inner = self.line.submit(py, submission, waits)?;
        Ok(Handle {
            inner: Parking::new(inner),
        })
    }
}

#[pymethods]
impl Runtime {
    #[new]
    #[pyo3(signature = (name=None, *, queue_size=None, max_in_flight=None, loop_factory=None, on_start=None, on_stop=None, threads=None, debug=None, _default=false))]
    #[allow(
        clippy::too_many_arguments,
        reason = "keyword arguments of a Python constructor"
    )]
    fn new(
        name: Given<'_, '_>,
        queue_size: Given<'_, '_>,
        max_in_flight: Given<'_, '_>,
        loop_factory: Given<'_, '_>,
        on_start: Given<'_, '_>,
        on_stop: Given<'_, '_>,
        threads: Given<'_, '_>,
        debug: Given<'_, '_>,
        _default: bool,
    ) -> PyResult<Self> {
        let _parks = ParkOnExit::new();
        if _default {
            return Ok(Self {
                inner: Parking::new(crate::runtime::py_runtime()?),
                line: Default::default(),
            });
        }
        let defaults = Config::default();
        let factory = "a function that returns an event loop, or None";
        let queue_size = queue_size.map(|size| given::count("queue_size", "", size));
        let count = |what, number: Given<'_, '_>| {
            let number = number.map(|number| given::count(what, ", or None", number));
            number.transpose()
        };
        let checked = |function: Given<'_, '_>,
                       check: &dyn Fn(&Bound<'_, PyAny>) -> PyResult<()>| {
            let function =
                function.map(|function| check(function).map(|()| function.clone().unbind()));
            function.transpose()
        };
        let hook = |what, function| checked(function, &|function| given::hook(what, function));
        let config = Config {
            name: given::name(name)?.unwrap_or(defaults.name),
            queue_size: queue_size.transpose()?.unwrap_or(defaults.queue_size),
            max_in_flight: count("max_in_flight", max_in_flight)?,
            loop_factory: checked(loop_factory, &|function| {
                given::callable("loop_factory", factory, function)
            })?,
            on_start: hook("on_start", on_start)?,
            on_stop: hook("on_stop", on_stop)?,
            threads: count("threads", threads)?,
            debug: given::flag("debug", debug)?,
        };
        Ok(Self {
            inner: Parking::new(PyRuntime::new(config)?),
            line: Default::default(),
        })
    }

    /// Another handle on the same runtime, and on the same line for room: what an object may hold
    /// that is a `Runtime` itself, without a cycle that only the collector would end.
    #[pyo3(name = "_handle")]
    fn handle(&self) -> Self {
        Self {
            inner: Parking::new(self.inner.clone()),
            line: self.line.clone(),
        }
    }

    /// The runtime's identity, an int: the same for every library that shares it.
    #[getter]
    fn id(&self) -> u64 {
        self.inner.id()
    }

    /// Whether the runtime has ended or is being stopped, so that it takes no more calls.
    #[getter]
    fn is_stopped(&self) -> bool {
        self.inner.is_stopped()
    }

    /// An awaitable of the outcome; lazy, for any loop.
    #[pyo3(name = "_call_async")]
    fn call_async<'py>(
        &self,
        py: Python<'py>,
        options: &CallOptions,
        fun: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _parks = ParkOnExit::new();
        let future = self
            .builder(options, fun, args, kwargs)?
            .wait_plain::<PyHandle>();
        let handle = future.handle();
        let detach = options.detached();
        let resolved = async move {
            let outcome = future.await;
            let resolve: Resolve = Box::new(move |py| match outcome {
                Ok(value) => Ok(value.bind(py).clone()),
                Err(error) => Err(refused(py, error)),
            });
            resolve
        };
        let on_cancel: Option<crate::future::awaitable::OnCancel> = if detach {
            None
        } else {
            Some(Box::new(move || {
                let _ = handle.cancel();
            }))
        };
        awaitable(py, resolved, on_cancel, "a call")
    }

    /// Submits; `done(outcome)` runs attached, on whichever thread settles the call. Returns a handle
    /// to cancel by. `waits`: the caller waits for its calls and so has no more of them than it wants.
    #[pyo3(name = "_submit", signature = (options, done, fun, args, kwargs, waits=false))]
    #[allow(
        clippy::too_many_arguments,
        reason = "a call with its options, called from one place in Python"
    )]
    fn submit<'py>(
        &self,
        py: Python<'py>,
        options: &CallOptions,
        done: Py<PyAny>,
        fun: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
        waits: bool,
    ) -> PyResult<Handle> {
        let _parks = ParkOnExit::new();
        let call = self.builder(options, fun, args, kwargs)?;
        self.line_up(py, call.attached(hand_over_to(done)), waits)
    }

    /// Submits; `callback(outcome)` runs on the loop thread, in the call's context.
    #[pyo3(name = "_submit_callback")]
    fn submit_callback<'py>(
        &self,
        py: Python<'py>,
        options: &CallOptions,
        callback: Py<PyAny>,
        fun: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Handle> {
        let _parks = ParkOnExit::new();
        let call = self.builder(options, fun, args, kwargs)?;
        self.line_up(py, call.attached_in_context(hand_over_to(callback)), false)
    }

    /// Call and wait, without the GIL; a signal cancels the call if its handler raises. A method of
    /// native code, so that no frame of ours gets into the traceback of what the call raises.
    #[pyo3(name = "_call", signature = (options, fun, /, *args, **kwargs))]
    fn call<'py>(
        &self,
        py: Python<'py>,
        options: &CallOptions,
        fun: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let _parks = ParkOnExit::new();
        self.check_wait(py)?;
        let future = self
            .builder(options, fun, args, kwargs)?
            .wait_plain::<PyHandle>();
        let outcome = py.detach(|| block_on_interruptible(future, check_signals))?;
        match outcome {
            Ok(value) => Ok(value.clone_ref(py)),
            Err(error) => Err(refused(py, error)),
        }
    }

    /// Raise WrongThread on a loop thread, where waiting for a call would hang.
    #[pyo3(name = "_check_wait")]
    fn check_wait(&self, py: Python<'_>) -> PyResult<()> {
        let _parks = ParkOnExit::new();
        check_thread(py, &self.inner.host)
    }

    /// The items of an async generator that runs on the runtime's loop.
    #[pyo3(name = "_stream")]
    fn stream<'py>(
        &self,
        py: Python<'py>,
        options: &CallOptions,
        fun: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _parks = ParkOnExit::new();
        let call = self.builder(options, fun, args, kwargs)?;
        crate::future::into_python::stream_into_py(py, call.stream::<PyHandle>())
    }

    /// Stops; see `gilscope.PyRuntime.shutdown`.
    #[pyo3(name = "_shutdown")]
    fn shutdown<'py>(
        &self,
        py: Python<'py>,
        mode: &Bound<'py, PyAny>,
        deadline: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let _parks = ParkOnExit::new();
        let modes = [
            ("drain", ShutdownMode::Drain),
            ("cancel", ShutdownMode::Cancel),
            ("abort", ShutdownMode::Abort),
        ];
        let mode = given::word("mode", mode, &modes)?;
        let deadline = given::deadline(deadline)?;
        let report = self.shut_down(py, mode, deadline)?;
        if report.joined
            && let Some(shared) = crate::host::own::shared_of(&self.inner.host)
        {
            shared.join(py, Duration::from_secs(1));
        }
        let dict = PyDict::new(py);
        dict.set_item("pending", report.pending)?;
        dict.set_item("abandoned", report.abandoned)?;
        dict.set_item("joined", report.joined)?;
        Ok(dict)
    }

    /// What must not be lost silently.
    #[pyo3(name = "_counters")]
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let _parks = ParkOnExit::new();
        let dict = PyDict::new(py);
        if let Some(shared) = crate::host::own::shared_of(&self.inner.host) {
            let load =
                |n: &std::sync::atomic::AtomicU64| n.load(std::sync::atomic::Ordering::Relaxed);
            dict.set_item("undelivered", load(&shared.counters.undelivered))?;
            dict.set_item("callback_failed", load(&shared.counters.callback_failed))?;
            dict.set_item("loop_closed", crate::future::port::lost())?;
            dict.set_item("pending", shared.pending())?;
        }
        Ok(dict)
    }
}

impl Runtime {
    /// A shutdown that a signal's handler can end the wait for; it goes on by itself then.
    fn shut_down(
        &self,
        py: Python<'_>,
        mode: ShutdownMode,
        deadline: Option<Duration>,
    ) -> PyResult<ShutdownReport> {
        if self.inner.host.on_loop_thread() {
            return Ok(self.inner.shutdown(mode, deadline));
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        let inner = self.inner.clone();
        let wait = move || tell.send(inner.shutdown(mode, deadline));
        // At exit, or where threads are short: as good as it gets, without signals.
        let Ok(_) = std::thread::Builder::new()
            .name("gilscope-shutdown".to_owned())
            .spawn(wait)
        else {
            return Ok(self.inner.shutdown(mode, deadline));
        };
        let waited = py.detach(|| block_on_interruptible(told, check_signals))?;
        waited.map_err(|_| PyRuntimeError::new_err("the shutdown panicked"))
    }
}

/// A submitted call.
#[pyclass(frozen, name = "CallHandle", module = "gilscope._native")]
pub(crate) struct Handle {
    inner: Parking<CallHandle>,
}

#[pymethods]
impl Handle {
    /// The call's id, as in its spans.
    #[getter]
    fn id(&self) -> u64 {
        self.inner.id().0
    }

    /// Ask to cancel; False if the outcome was settled already.
    fn cancel(&self) -> bool {
        self.inner.cancel()
    }

    /// Whether the outcome is settled; True after a fork, too.
    fn done(&self) -> bool {
        self.inner.is_done()
    }

    /// Whether the call is that of the process which this one was forked from.
    #[getter]
    fn forked(&self) -> bool {
        self.inner.is_forked()
    }

    /// Raise where waiting for the outcome would hang: RuntimeStopped after a fork, WrongThread on a
    /// loop thread, unless it would not wait.
    fn check_wait(&self, py: Python<'_>, waits: bool) -> PyResult<()> {
        let _parks = ParkOnExit::new();
        if self.inner.is_forked() {
            return Err(to_py_err(py, Stopped::Forked.into()));
        }
        if waits {
            check_thread(py, &self.inner.host)?;
        }
        Ok(())
    }
}
