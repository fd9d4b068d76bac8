//! `_native.Simulation`: what `gilscope.simulation`'s loop drives.
//!
//! Invariant: used on one thread; while it is open its table is the default runtime of this process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use gilscope_instrument::Name;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::attached::SameThread;
use crate::host::sim::{Seat, Simulator, Way, What};
use crate::host::table::{self as t, HostTable};
use crate::host::{HostRef, cell};
use crate::life::park::ParkOnExit;
use crate::loop_thread::state::{LoopState, current};
use crate::queue::stack::Link;

/// One simulation at a time in a process: there is one cell to swap.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The Rust half of a simulated loop.
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct Simulation {
    simulator: Simulator,
    /// Keeps the host from serving another simulation as long as somebody looks at this one.
    handle: HostRef,
    before: SameThread<*const HostTable>,
    seat: Mutex<Option<SameThread<Seat>>>,
    thread: ThreadId,
    panics: AtomicU64,
}

// SAFETY: `before` is only compared and stored; everything else is `Sync`.
unsafe impl Sync for Simulation {}

impl Simulation {
    fn state(&self) -> PyResult<&'static LoopState> {
        let text = "the simulation is closed, or another thread's";
        let here = std::thread::current().id() == self.thread && self.lock().is_some();
        current()
            .filter(|_| here)
            .ok_or_else(|| PyRuntimeError::new_err(text))
    }

    fn lock(&self) -> MutexGuard<'_, Option<SameThread<Seat>>> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Simulation {
    /// Becomes the default runtime of the process, for a loop on this thread.
    #[new]
    fn new(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let _parks = ParkOnExit::new();
        if TAKEN.swap(true, Ordering::AcqRel) {
            let text = "another simulation is running in this process";
            return Err(PyRuntimeError::new_err(text));
        }
        let seat = Seat::take(event_loop).inspect_err(|_| TAKEN.store(false, Ordering::Release))?;
        let simulator = Simulator::open();
        let handle = simulator.handle();
        let before = cell::swap(simulator.table);
        Ok(Self {
            simulator,
            handle,
            before: SameThread(before),
            seat: Mutex::new(Some(SameThread(seat))),
            thread: std::thread::current().id(),
            panics: AtomicU64::new(0),
        })
    }

    /// The virtual clock in nanoseconds.
    #[getter]
    fn now(&self) -> u64 {
        self.simulator.host.now()
    }

    /// How many steps of Rust tasks panicked.
    #[getter]
    fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// How often threads outside control came in, by way.
    #[getter]
    fn outside<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let _parks = ParkOnExit::new();
        let dict = PyDict::new(py);
        for ((_, name), count) in Way::ALL.iter().zip(self.simulator.host.outside()) {
            if count > 0 {
                dict.set_item(name, count)?;
            }
        }
        Ok(dict)
    }

    /// Hand over what is ready; return what has come in since the last time: (lane, entry).
    fn settle(&self, py: Python<'_>) -> PyResult<Option<Vec<(u64, u64)>>> {
        let _parks = ParkOnExit::new();
        let state = self.state()?;
        state.flush(py);
        if !crate::handle::release::is_empty() {
            crate::handle::release::drain(py);
        }
        let fresh = self.simulator.host.take_fresh();
        Ok(if fresh.is_empty() { None } else { Some(fresh) })
    }

    /// Run an entry; return what it was, or None if it is gone.
    fn run(&self, py: Python<'_>, entry: u64) -> PyResult<Option<String>> {
        let _parks = ParkOnExit::new();
        let state = self.state()?;
        let host = self.simulator.host;
        let Some(what) = host
            .take(entry)
            .and_then(crate::host::sim::Entry::into_inner)
        else {
            return Ok(None);
        };
        match what {
            What::Step(runnable) => {
                let name = format!("task {}", runnable.task);
                let runnable = SameThread(runnable);
                if py.detach(move || host.step(&runnable.get())) {
                    self.panics.fetch_add(1, Ordering::Relaxed);
                    return Ok(Some(name + " panicked"));
                }
                Ok(Some(name))
            }
            What::Message(link) => {
                let name = name_of(link);
                // SAFETY: taken out of the entries just above, so it is live and ours.
                unsafe { state.take_message(py, link) };
                state.start_calls(py);
                Ok(Some(name))
            }
        }
    }

    /// When the next timer of a Rust task is due, in nanoseconds.
    fn next_timer(&self) -> Option<u64> {
        self.simulator.host.next_timer()
    }

    /// Move the clock and wake what is due.
    fn advance(&self, py: Python<'_>, to: u64) {
        let _parks = ParkOnExit::new();
        py.detach(|| self.simulator.host.advance(to));
    }

    /// Whether tokio's blocking threads, or file operations, are at work.
    #[staticmethod]
    fn is_blocking_outside() -> bool {
        crate::tasks::is_blocking()
    }

    /// What asyncio calls when it is entered from another thread. For any thread.
    #[getter]
    fn entry(&self) -> ThreadEntry {
        ThreadEntry {
            simulator: self.simulator,
            _handle: self.handle.clone(),
        }
    }

    // No guard around the conversion: our own code gives a float.
    /// Wait in real time for another thread to bring something in; False if none did.
    fn wait_outside(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        let _parks = ParkOnExit::new();
        let patience = Duration::try_from_secs_f64(seconds)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(py.detach(|| self.simulator.host.wait_outside(patience)))
    }

    /// Refuse calls, fail those that have not started, cancel those that run.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        let _parks = ParkOnExit::new();
        let state = self.state()?;
        self.simulator.host.stop();
        state.cancel_open(py);
        Ok(())
    }

    /// Put the default runtime back and drop what is left. Idempotent; on its own thread.
    fn close(&self, py: Python<'_>) {
        let _parks = ParkOnExit::new();
        if std::thread::current().id() != self.thread {
            return;
        }
        let Some(seat) = self.lock().take() else {
            return;
        };
        cell::restore(self.simulator.table, self.before.0);
        self.simulator.host.close();
        if let Some(state) = current() {
            state.flush(py);
        }
        drop(seat);
        self.simulator.host.close();
        crate::handle::release::drain(py);
        TAKEN.store(false, Ordering::Release);
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        let _parks = ParkOnExit::new();
        Python::attach(|py| self.close(py));
        // Not closed, and dropped on another thread: its thread stays taken.
        std::mem::forget(self.lock().take());
    }
}

/// The part of a simulation that any thread may use, also when it is over.
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct ThreadEntry {
    simulator: Simulator,
    _handle: HostRef,
}

#[pymethods]
impl ThreadEntry {
    fn __call__(&self) {
        self.simulator.host.threadsafe();
    }

    /// What came in after the close.
    #[getter]
    fn late(&self) -> u64 {
        self.simulator.host.late()
    }
}

/// What a message is, for the trace.
fn name_of(link: *mut Link) -> String {
    // SAFETY: the caller has just taken the message, which is live; its kind says what it is.
    unsafe {
        let name = |job: *mut t::RawJob| gilscope_instrument::resolve(Name((*job).name));
        match (*link.cast::<t::Message>()).kind {
            t::MESSAGE_JOB => format!("call {}", name(link.cast())),
            t::MESSAGE_CANCEL => format!("cancel {}", name((*link.cast::<t::RawCancel>()).job)),
            _ => "post".to_owned(),
        }
    }
}
