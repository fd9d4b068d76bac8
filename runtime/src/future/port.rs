//! The way back to an event loop, from any thread: our own loop's inbox, or one that is made for a
//! foreign loop when it first awaits a Rust future.
//!
//! Invariant: posting never attaches; what arrives after its loop was closed is dropped quietly and
//! counted. What a foreign loop's tasks wait for is kept by that loop, as its timers are.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

use crate::host::HostRef;
use crate::life::park::ParkOnExit;
use crate::loop_thread::shared::Shared;
use crate::loop_thread::state;
use crate::queue::inbox::Inbox;

/// Completions whose loop had gone.
static LOST: AtomicU64 = AtomicU64::new(0);

/// How many completions found their loop closed, in this process.
pub(crate) fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// One more completion that found its loop closed.
pub(crate) fn count_lost() {
    LOST.fetch_add(1, Ordering::Relaxed);
}

/// See the module's text.
#[derive(Clone)]
pub(crate) enum Port {
    /// Of a simulation.
    Host(HostRef),
    /// A loop of ours. No handle: nobody calls by it, and the last one's end is to end the loop.
    Own(Arc<Shared>),
    Foreign(Arc<Foreign>),
}

/// The inbox of a loop that is not ours.
pub(crate) struct Foreign {
    inbox: Inbox,
    /// Futures that somebody in Rust is to complete, by number; they are its [`ForeignPort`]'s.
    waiters: Mutex<HashMap<usize, Py<PyAny>>>,
    /// A Ctrl-C, or an exit, that came while a waiter was woken: for the loop to raise.
    thrown: Mutex<Option<PyErr>>,
}

impl Foreign {
    /// Only ever locked attached, for a moment.
    pub(crate) fn waiters(&self) -> MutexGuard<'_, HashMap<usize, Py<PyAny>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the loop raise it, once all that has come is done.
    pub(crate) fn throw(&self, error: PyErr) {
        let before = self.thrown().replace(error);
        drop(before);
    }

    fn thrown(&self) -> MutexGuard<'_, Option<PyErr>> {
        self.thrown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Port {
    /// The port of the running loop. Attached, on that loop's thread.
    pub(crate) fn of(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Some(host) = crate::host::cell::simulated_here() {
            return Ok(Self::Host(host));
        }
        if let Some(state) = state::current()
            && event_loop.is(&state.event_loop)
        {
            return Ok(Self::Own(Arc::clone(&state.shared)));
        }
        foreign(event_loop)
    }

    /// The foreign loop's.
    pub(crate) fn foreign(&self) -> Option<Weak<Foreign>> {
        match self {
            Self::Host(_) | Self::Own(_) => None,
            Self::Foreign(foreign) => Some(Arc::downgrade(foreign)),
        }
    }

    /// Runs `work` attached on the loop's thread.
    pub(crate) fn post<F: FnOnce(Python<'_>) + Send>(&self, work: F) {
        let to_host = |host: &HostRef, work: F| {
            if host.post(work).is_err() {
                count_lost();
            }
        };
        match self {
            Self::Host(host) => to_host(host, work),
            Self::Own(shared) => to_host(&shared.host(), work),
            Self::Foreign(foreign) => {
                let post = crate::host::boxed_post(work);
                // SAFETY: a fresh message that the inbox owns from now on; a foreign inbox is never
                // closed, its drop disposes of what is left.
                let _ = unsafe { foreign.inbox.post(post.cast()) };
            }
        }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        for message in self.inbox.take() {
            count_lost();
            let post = message.cast::<crate::host::table::RawPost>();
            // SAFETY: only posts are sent to foreign ports; `drop` is called instead of `run`.
            unsafe { ((*post).drop)(post) };
        }
    }
}

/// The callback of a foreign loop's bell. The loop owns it until it is closed, and by it, seen by the
/// garbage collector, the futures that wait: nobody else may hold the tasks that await them.
#[pyclass(frozen, weakref, module = "gilscope._native")]
pub(crate) struct ForeignPort(Arc<Foreign>);

#[pymethods]
impl ForeignPort {
    fn __call__(&self) -> PyResult<()> {
        let _parks = ParkOnExit::new();
        let inbox = &self.0.inbox;
        inbox.bell().clear();
        loop {
            for message in inbox.take() {
                let post = message.cast::<crate::host::table::RawPost>();
                // SAFETY: only posts are sent to foreign ports; `run` is called once, attached.
                unsafe { ((*post).run)(post) };
            }
            if inbox.try_sleep() {
                let thrown = self.0.thrown().take();
                return thrown.map_or(Ok(()), Err);
            }
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(waiters) = self.0.waiters.try_lock() {
            waiters.values().try_for_each(|waiter| visit.call(waiter))?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let _parks = ParkOnExit::new();
        let waiters = std::mem::take(&mut *self.0.waiters());
        drop(waiters);
    }
}

impl Drop for ForeignPort {
    fn drop(&mut self) {
        self.__clear__();
    }
}

fn foreign(event_loop: &Bound<'_, PyAny>) -> PyResult<Port> {
    static PORTS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = event_loop.py();
    let ports = crate::python::imports::once(py, &PORTS, || {
        let ports = py.import("weakref")?.call_method0("WeakKeyDictionary")?;
        Ok(ports.unbind())
    })?;
    let known = ports.bind(py).call_method1("get", (event_loop,))?;
    let known = known.cast::<PyWeakrefReference>().ok();
    if let Some(known) = known.and_then(|known| known.upgrade_as::<ForeignPort>().ok()?) {
        return Ok(Port::Foreign(Arc::clone(&known.get().0)));
    }
    let foreign = Arc::new(Foreign {
        inbox: Inbox::new()?,
        waiters: Mutex::default(),
        thrown: Mutex::default(),
    });
    let port = Bound::new(py, ForeignPort(Arc::clone(&foreign)))?;
    event_loop.call_method1("add_reader", (foreign.inbox.bell().as_raw_fd(), &port))?;
    foreign.inbox.try_sleep();
    // Weakly: the port refers to the loop, which it would keep in the dictionary for ever.
    let weak = PyWeakrefReference::new(&port)?;
    ports
        .bind(py)
        .call_method1("__setitem__", (event_loop, weak))?;
    Ok(Port::Foreign(foreign))
}
