//! Starting the loop thread and what `loop.py` needs from Rust.
//!
//! Invariant: the thread is a daemon `threading.Thread` (coverage and debuggers see it), and whatever
//! happens in it ends with `end`, which frees every caller.

use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};

use gilscope_instrument::LoopRecorder;
use pyo3::exceptions::{PyRuntimeError, PySystemExit};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule};

use super::drain::Drain;
use super::selector::{Select, edge_triggered};
use super::shared::Shared;
use super::state::{Current, Helpers, LoopState, current};
use crate::error::Stopped;
use crate::life::gate::Ticket;
use crate::life::park::ParkOnExit;

/// The Rust side of `loop.py`.
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct Core {
    /// `None` once the loop has ended: frames that exceptions keep hold this object.
    shared: Mutex<Option<Arc<Shared>>>,
    current: Mutex<Option<ThreadBound<Current>>>,
    parking: Mutex<Option<ThreadBound<ParkOnExit>>>,
}

/// A value that only the loop thread touches, inside a type that must be `Send`.
struct ThreadBound<T>(#[allow(dead_code, reason = "held for its drop")] T);

// SAFETY: `enter` and `end` both run on the loop thread, called by `loop.py`.
unsafe impl<T> Send for ThreadBound<T> {}

/// The compiled `loop.py`.
pub(crate) fn module(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = crate::python::imports::once(py, &MODULE, || {
        let (code, file, name) = (
            c_str(include_str!("loop.py"))?,
            c"gilscope/loop.py",
            c"gilscope._loop",
        );
        let module = PyModule::from_code(py, &code, file, name)?;
        let in_child = wrap_pyfunction!(super::inherited::end_next, py)?;
        module.call_method1("register_fork", (in_child,))?;
        Ok(module.unbind())
    })?;
    Ok(module.bind(py))
}

fn c_str(text: &str) -> PyResult<std::ffi::CString> {
    std::ffi::CString::new(text).map_err(Into::into)
}

/// Starts the thread: at once if this thread is attached, else from a short thread of its own, so
/// that no caller ever attaches.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<(), Stopped> {
    // SAFETY: both calls are allowed on any thread at any time.
    let (alive, attached) = unsafe { (ffi::Py_IsInitialized() != 0, ffi::PyGILState_Check() != 0) };
    if !alive {
        return Err(Stopped::NotInitialized);
    }
    let ticket = Ticket::take().ok_or(Stopped::NotStarted)?;
    let shared = Arc::clone(shared);
    if attached {
        return Python::attach(|py| start_or_fail(py, &shared));
    }
    let bootstrap = move || {
        let _parking = ParkOnExit::new();
        let started = Python::try_attach(|py| start_or_fail(py, &shared));
        if started.is_none() {
            shared.end(Stopped::NotStarted);
        }
        drop(shared);
        drop(ticket);
    };
    let spawned = std::thread::Builder::new()
        .name("gilscope-start".into())
        .spawn(bootstrap);
    spawned.map(drop).map_err(|_| Stopped::NotStarted)
}

fn start_or_fail(py: Python<'_>, shared: &Arc<Shared>) -> Result<(), Stopped> {
    start_attached(py, shared).map_err(|error| {
        // An interpreter that ends refuses threads: the callers learn it, and nobody else cares.
        if !error.to_string().ends_with("interpreter shutdown") {
            error.clone_ref(py).write_unraisable(py, None);
            shared.keep_start_error(error.into_value(py).into_bound(py).into_any());
        }
        py.detach(|| shared.end(Stopped::NotStarted));
        Stopped::NotStarted
    })
}

fn start_attached(py: Python<'_>, shared: &Arc<Shared>) -> PyResult<()> {
    // Imported here and not first on the loop thread, which 3.11 would take for the main thread.
    let threading = py.import("threading")?;
    shared.config.check(py)?;
    crate::python::imports::make_types(py);
    crate::driver::install(py)?;
    crate::life::exit::register(py)?;
    crate::watchdog::start_if_asked(py)?;
    let core = Py::new(
        py,
        Core {
            shared: Mutex::new(Some(Arc::clone(shared))),
            current: Mutex::new(None),
            parking: Mutex::new(None),
        },
    )?;
    let factory = shared
        .config
        .loop_factory
        .as_ref()
        .map(|factory| factory.clone_ref(py));
    let options = PyDict::new(py);
    options.set_item("target", module(py)?.getattr("run")?)?;
    options.set_item("args", (core, factory))?;
    options.set_item("name", shared.config.thread_name())?;
    options.set_item("daemon", true)?;
    let thread = threading.getattr("Thread")?.call((), Some(&options))?;
    *shared.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread.clone().unbind());
    thread.call_method0("start")?;
    Ok(())
}

impl Core {
    fn shared(&self) -> PyResult<Arc<Shared>> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared
            .clone()
            .ok_or_else(|| PyRuntimeError::new_err("the loop has ended"))
    }
}

// No guard: called on the loop's thread, which carries one from `enter` to `end`.
#[pymethods]
impl Core {
    #[getter]
    fn debug(&self) -> PyResult<bool> {
        Ok(self.shared()?.config.debug)
    }

    #[getter]
    fn on_start(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let shared = self.shared()?;
        Ok(shared
            .config
            .on_start
            .as_ref()
            .map(|hook| hook.clone_ref(py)))
    }

    #[getter]
    fn on_stop(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let shared = self.shared()?;
        Ok(shared
            .config
            .on_stop
            .as_ref()
            .map(|hook| hook.clone_ref(py)))
    }

    /// Seconds that each step of the clean-up may take.
    #[getter]
    fn patience(&self) -> f64 {
        let aborted = current().is_some_and(|state| state.stop.get() == super::state::Stop::Abort);
        if aborted { 0.05 } else { 1.0 }
    }

    #[allow(
        clippy::unused_self,
        reason = "a method of the object loop.py is given"
    )]
    fn select_for(&self, epoll: i32, keys: Py<PyDict>) -> Select {
        Select::new(epoll, keys)
    }

    /// The loop is made: from here on this thread has a state.
    fn enter(
        &self,
        py: Python<'_>,
        event_loop: Bound<'_, PyAny>,
        selector: Option<Bound<'_, PyAny>>,
        stopped: Py<PyAny>,
    ) -> PyResult<()> {
        *self.parking.lock().unwrap_or_else(PoisonError::into_inner) =
            ParkOnExit::new().map(ThreadBound);
        let shared = self.shared()?;
        shared.enter_thread();
        let module = module(py)?;
        let helpers = Helpers {
            stopped,
            drain: Py::new(py, Drain)?.into_any(),
            await_any: module.getattr("await_any")?.unbind(),
            classify: module.getattr("classify")?.unbind(),
        };
        let recorder = LoopRecorder::new(shared.number(), &shared.config.thread_name());
        recorder.attached();
        if selector.is_none() {
            recorder.unseen();
        }
        let threads = shared.config.threads;
        let state = LoopState::new(shared, recorder, &event_loop, helpers, selector.is_some())?;
        if selector.is_some() {
            super::hook::install(&event_loop)?;
        }
        if let Some(threads) = threads {
            let futures = py.import("concurrent.futures")?;
            let pool = futures.call_method1("ThreadPoolExecutor", (threads,))?;
            event_loop.call_method1("set_default_executor", (pool,))?;
        }
        let slot = &mut *self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(ThreadBound(Current::new(state)));
        Ok(())
    }

    /// The start hook is done: begins to take calls.
    fn accept(&self, py: Python<'_>) -> PyResult<()> {
        let state = current().ok_or_else(|| PyRuntimeError::new_err("not the loop thread"))?;
        let shared = self.shared()?;
        let bell = shared.inbox.bell().as_raw_fd();
        let event_loop = state.event_loop.bind(py);
        event_loop.call_method1("add_reader", (bell, &state.helpers.drain))?;
        if state.own_selector.get() {
            let epoll = event_loop
                .getattr("_selector")?
                .call_method0("fileno")?
                .extract()?;
            edge_triggered(epoll, bell)?;
        }
        state.drain(py)
    }

    /// The loop is entered: a wake that it has lost comes again. The bell's edge comes only once.
    fn ring(&self) -> PyResult<()> {
        self.shared()?.inbox.bell().ring();
        Ok(())
    }

    /// Whether the process is about to end, and cuts short what takes too long.
    #[getter]
    #[allow(
        clippy::unused_self,
        reason = "a method of the object loop.py is given"
    )]
    fn exiting(&self) -> bool {
        crate::life::exit::begun()
    }

    /// The start hook raised: the callers are told what.
    fn start_failed(&self, py: Python<'_>, error: Bound<'_, PyAny>) {
        if let Ok(shared) = self.shared() {
            shared.keep_start_error(error.clone());
        }
        self.failed(py, error);
    }

    /// A task raised what ends processes: in a forked child that has come back to this loop, it does.
    #[allow(
        clippy::unused_self,
        reason = "a method of the object loop.py is given"
    )]
    fn end_inherited(&self, py: Python<'_>, error: Bound<'_, PyAny>) {
        super::inherited::check_after(py, || Some(error));
    }

    /// A hook, or a step of the clean-up, raised. At exit `SystemExit` is ours, and nobody's concern.
    #[allow(
        clippy::unused_self,
        reason = "a method of the object loop.py is given"
    )]
    fn failed(&self, py: Python<'_>, error: Bound<'_, PyAny>) {
        if !(crate::life::exit::begun() && error.is_instance_of::<PySystemExit>()) {
            PyErr::from_value(error).write_unraisable(py, None);
        }
    }

    /// The loop has ended, in whatever way. Takes no arguments: working them out might be interrupted.
    fn end(&self, py: Python<'_>) {
        super::inherited::check(py);
        let shared = self
            .shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(shared) = shared else { return };
        shared.end_interrupts(py);
        let why = match current() {
            None => Stopped::NotStarted,
            Some(_) if shared.start_error.get().is_some() && !shared.is_stopping() => {
                Stopped::StartHook
            }
            Some(state) if !shared.is_stopping() && is_closed(py, state) => Stopped::LoopClosed,
            Some(_) => Stopped::Shutdown,
        };
        if let Some(state) = current() {
            state.flush(py);
            state.close_children();
            state.close_calls();
        }
        // Frees callers, whose wakers and closures run without the GIL.
        py.detach(|| shared.end(why));
        let state = self
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(state);
        drop(shared);
        crate::handle::release::drain(py);
        let parking = self
            .parking
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(parking);
    }
}

fn is_closed(py: Python<'_>, state: &LoopState) -> bool {
    let closed = state.event_loop.call_method0(py, "is_closed");
    closed.is_ok_and(|closed| closed.extract(py).unwrap_or(false))
}
