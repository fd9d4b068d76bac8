//! Interpreter exit: cancel what runs, wait a second, stop and join every loop thread.
//!
//! Invariant: when `atexit` returns, no thread of ours runs Python.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyCFunction;

use super::shutdown::{self, ShutdownMode};

/// How long calls in flight get to finish their cleanup at exit.
pub const EXIT_DEADLINE: Duration = Duration::from_secs(1);

static FINALIZING: AtomicBool = AtomicBool::new(false);

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
    // First, so that no runtime is started while the others are being stopped.
    py.detach(|| super::gate::close(EXIT_DEADLINE));
    let runtimes = super::registry::all();
    py.detach(|| {
        for shared in &runtimes {
            let _ = shutdown::request(shared, ShutdownMode::Cancel);
        }
        for shared in &runtimes {
            shutdown::run(shared, ShutdownMode::Cancel, Some(EXIT_DEADLINE));
        }
    });
    for shared in &runtimes {
        shared.interrupt(py, EXIT_DEADLINE);
        shared.join(py, EXIT_DEADLINE);
    }
    py.detach(super::courier::stop);
    crate::handle::release::drain(py);
}

/// Stops every runtime of this library when dropped; for programs that embed Python, which has no
/// `atexit` of its own there. Hold it in `main`.
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
        }
    }
}
