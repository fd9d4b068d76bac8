//! [`PyRuntime`]: the handle by which Rust calls Python.
//!
//! Invariant: a handle is cheap to clone, owned, and never keeps the GIL or a lock; all of them are
//! façades over a host table.

use std::panic::Location;
use std::time::Duration;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::call::{
    CallBuilder, CallFuture, CallHandle, PyArgs, PyAsyncCallback, PyAsyncFun, PyResultType,
};
use crate::error::{Error, Outcome, PythonError, Stopped};
use crate::handle::PyFun;
use crate::host::HostRef;
use crate::life::shutdown::{ShutdownMode, ShutdownReport};
use crate::loop_thread::shared::Shared;

/// How a runtime is made.
#[derive(Debug)]
pub struct Config {
    /// Name of the loop thread and in reports.
    pub name: String,
    /// Most queued calls; more wait or fail, as the caller chose. At least 1.
    pub queue_size: usize,
    /// Most started and unfinished calls; `None`: no limit.
    pub max_in_flight: Option<usize>,
    /// Makes the event loop, on the loop thread; `None`: asyncio's, with an exact selector.
    pub loop_factory: Option<Py<PyAny>>,
    /// `async def` awaited before the first call, for shared clients and pools. If it raises, every
    /// call ends with [`Error::RuntimeStopped`] and that as its cause.
    pub on_start: Option<Py<PyAny>>,
    /// `async def` awaited after the last call.
    pub on_stop: Option<Py<PyAny>>,
    /// Threads of the pool for blocking functions; `None`: asyncio's default.
    pub threads: Option<usize>,
    /// asyncio's debug mode.
    pub debug: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "gilscope".to_owned(),
            queue_size: 1024,
            max_in_flight: None,
            loop_factory: None,
            on_start: None,
            on_stop: None,
            threads: None,
            debug: false,
        }
    }
}

impl Config {
    /// The defaults, with a name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Refuses hooks that are not async functions. Attached.
    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        for (what, hook) in [("on_start", &self.on_start), ("on_stop", &self.on_stop)] {
            if let Some(hook) = hook {
                crate::python::given::hook(what, hook.bind(py))?;
            }
        }
        Ok(())
    }

    pub(crate) fn thread_name(&self) -> String {
        if self.name == "gilscope" {
            self.name.clone()
        } else {
            format!("gilscope-{}", self.name)
        }
    }
}

/// Calls async Python from Rust; see the crate's text.
#[derive(Clone)]
pub struct PyRuntime {
    pub(crate) host: HostRef,
}

impl std::fmt::Debug for PyRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PyRuntime")
            .field("id", &self.id())
            .field("is_stopped", &self.is_stopped())
            .finish()
    }
}

fn raised(py: Python<'_>, error: PyErr) -> Error {
    Error::Python(PythonError::new(
        error.into_value(py).into_bound(py).into_any(),
        true,
    ))
}

/// The default runtime, got or made. Cheap; any thread, attached or not; never blocks.
///
/// # Errors
/// [`Error::RuntimeStopped`] if Python is not initialized, which `Python::initialize()` does, or a thread
/// or file descriptor is not to be had.
pub fn py_runtime() -> Result<PyRuntime, Error> {
    PY_RUNTIME.get()
}

/// The cell of the default runtime.
pub static PY_RUNTIME: DefaultRuntime = DefaultRuntime(());

/// See [`PY_RUNTIME`].
#[derive(Debug)]
pub struct DefaultRuntime(());

impl DefaultRuntime {
    /// As [`py_runtime`].
    ///
    /// # Errors
    /// As [`py_runtime`].
    pub fn get(&self) -> Result<PyRuntime, Error> {
        Ok(PyRuntime {
            host: crate::host::cell::default_host()?,
        })
    }
}

impl PyRuntime {
    /// A runtime of its own, with its own loop thread, which ends when the last handle is dropped.
    /// Any thread, attached or not; does not wait for the thread to start.
    ///
    /// # Errors
    /// As [`py_runtime`]; [`Error::Python`] with a `TypeError` for a hook that is not an async function.
    /// On a thread that is not attached it is seen later, and is then the cause of the
    /// [`Error::RuntimeStopped`] that every call ends with.
    pub fn new(config: Config) -> Result<Self, Error> {
        // SAFETY: allowed on any thread at any time.
        if unsafe { ffi::Py_IsInitialized() } == 0 {
            return Err(Stopped::NotInitialized.into()); // a check for the GIL would say yes
        }
        // SAFETY: as above.
        if unsafe { ffi::PyGILState_Check() } != 0 {
            Python::attach(|py| config.check(py).map_err(|error| raised(py, error)))?;
        }
        let not_started = |_| Error::from(Stopped::NotStarted);
        let shared = Shared::create(config).map_err(not_started)?;
        crate::life::registry::add(&shared);
        crate::loop_thread::thread::start(&shared)
            .map_err(|why| Error::stopped(why.detail(shared.number())))?;
        Ok(Self {
            host: shared.host(),
        })
    }

    /// Calls `fun` and gives a future of its result, converted to `T`. Lazy; any executor.
    #[track_caller]
    pub fn call_async<T: PyResultType>(
        &self,
        fun: impl Into<PyFun>,
        args: impl PyArgs,
    ) -> CallFuture<T> {
        self.call(fun, args).wait()
    }

    /// A call to be configured.
    #[track_caller]
    pub fn call<A: PyArgs>(&self, fun: impl Into<PyFun>, args: A) -> CallBuilder<A> {
        self.call_at(Location::caller(), fun.into(), args)
    }

    /// A call that says that it was made there.
    fn call_at<A: PyArgs>(
        &self,
        place: &'static Location<'static>,
        fun: PyFun,
        args: A,
    ) -> CallBuilder<A> {
        let mut call = CallBuilder::new(self.host.clone(), fun, args);
        call.options.made_at = Some(place);
        call
    }

    /// Submits without waiting for room.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::RuntimeStopped`].
    #[track_caller]
    pub fn try_call<T: PyResultType>(
        &self,
        fun: impl Into<PyFun>,
        args: impl PyArgs,
        callback: PyAsyncCallback<T>,
    ) -> Result<CallHandle, Error> {
        self.call(fun, args).try_send(callback)
    }

    /// Calls and blocks this thread until the outcome is there.
    ///
    /// # Errors
    /// [`Error::WrongThread`] where that would deadlock; else the call's.
    #[track_caller]
    pub fn call_blocking<T: PyResultType>(
        &self,
        fun: impl Into<PyFun>,
        args: impl PyArgs,
    ) -> Outcome<T> {
        self.call(fun, args).blocking()
    }

    /// Submits a function that carries its arguments and its callback.
    ///
    /// # Errors
    /// As [`CallBuilder::send`].
    #[track_caller]
    pub fn call_async_fun<T: PyResultType>(
        &self,
        fun: PyAsyncFun<T>,
    ) -> impl Future<Output = Result<CallHandle, Error>> {
        self.send_fun(Location::caller(), fun)
    }

    async fn send_fun<T: PyResultType>(
        &self,
        place: &'static Location<'static>,
        fun: PyAsyncFun<T>,
    ) -> Result<CallHandle, Error> {
        let ((fun, args, kwargs), callback) = fun.split();
        let mut call = self.call_at(place, fun, args);
        if let Some(kwargs) = kwargs {
            call = call.kwargs_dict(kwargs);
        }
        call.send(callback).await
    }

    /// Submits what a channel brings until it is closed: a queue worker.
    ///
    /// # Errors
    /// The first submission that is refused.
    #[track_caller]
    pub fn process_coroutines<T: PyResultType>(
        &self,
        mut calls: tokio::sync::mpsc::Receiver<PyAsyncFun<T>>,
    ) -> impl Future<Output = Result<(), Error>> {
        let place = Location::caller();
        async move {
            while let Some(fun) = calls.recv().await {
                self.send_fun(place, fun).await?;
            }
            Ok(())
        }
    }

    /// Stops the runtime: idempotent, from any thread. Blocks, detached, until every caller has an
    /// outcome, at most `deadline` plus a second for code that does not let go of the loop; on the
    /// loop thread itself it only begins.
    pub fn shutdown(&self, mode: ShutdownMode, deadline: Option<Duration>) -> ShutdownReport {
        crate::attached::detached(|| {
            let report = self.host.shutdown(mode, deadline);
            if report.joined && !crate::host::own::is_own(self.host.table()) {
                // The host has waited for its courier; callbacks of this library are with its own.
                let _ = crate::life::courier::flush();
            }
            report
        })
    }

    /// Whether the loop thread has ended or is being stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.host.is_stopped()
    }

    /// Identity: the same for every library that shares the runtime.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.host.runtime_id()
    }
}
