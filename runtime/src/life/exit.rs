//! Interpreter exit: cancel what runs, wait a second, stop and join every loop thread, close what
//! records.
//!
//! Invariant: when `atexit` returns, no thread of ours runs Python, but for code that will not be
//! interrupted; a thread that comes back from there parks. Every sink that takes spans is closed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyCFunction;

/// How long calls in flight get to finish their cleanup at exit.
pub const EXIT_DEADLINE: Duration = Duration::from_secs(1);

/// How long a sink may take nothing before the exit goes on without it.
const SINK_STALL: Duration = Duration::from_secs(1);

static BEGUN: AtomicBool = AtomicBool::new(false);
static FINALIZING: AtomicBool = AtomicBool::new(false);

/// Whether our exit handler runs or has run.
pub(crate) fn begun() -> bool {
    BEGUN.load(Ordering::Relaxed)
}

/// Whether our exit handler has run.
pub(crate) fn finalizing() -> bool {
    FINALIZING.load(Ordering::Relaxed)
}

/// Registers the exit handler, once per process. Needs the GIL.
pub(crate) fn register(py: Python<'_>) -> PyResult<()> {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if REGISTERED.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    let handler = PyCFunction::new_closure(py, None, None, |args, _kwargs| {
        let py = args.py();
        stop_all(py);
        FINALIZING.store(true, Ordering::Relaxed);
    })?;
    py.import("atexit")?.call_method1("register", (handler,))?;
    Ok(())
}

fn stop_all(py: Python<'_>) {
    BEGUN.store(true, Ordering::Relaxed);
    py.detach(crate::watchdog::end);
    // First, so that no runtime is started while the others are being stopped.
    py.detach(|| super::gate::close(EXIT_DEADLINE));
    let mut runtimes = super::registry::all();
    // A loop thread that runs the exit handlers does not wait for itself.
    runtimes.retain(|shared| !shared.on_loop_thread());
    let asked = super::interrupt::ask(&runtimes);
    py.detach(|| super::shutdown::run_all(&runtimes, EXIT_DEADLINE));
    super::interrupt::get_out(py, asked);
    for shared in runtimes.iter().filter(|shared| shared.is_stopped()) {
        shared.join(py, EXIT_DEADLINE);
    }
    py.detach(super::courier::stop);
    crate::handle::release::drain(py);
    // Last, since until here calls end. A file without its end may not be valid.
    py.detach(|| gilscope_instrument::close_sinks(SINK_STALL));
}

/// Stops every runtime of this library and closes every sink when dropped; for programs that embed
/// Python, which has no `atexit` of its own there. Hold it in `main`.
#[derive(Debug, Default)]
#[must_use = "the guard stops the runtimes when it is dropped"]
pub struct ExitGuard(());

impl ExitGuard {
    /// A guard for the whole process.
    pub fn new() -> Self {
        Self(())
    }
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        // SAFETY: allowed on any thread at any time.
        if unsafe { pyo3::ffi::Py_IsInitialized() } != 0 {
            Python::attach(stop_all);
        } else {
            crate::watchdog::end();
            gilscope_instrument::close_sinks(SINK_STALL);
        }
    }
}
