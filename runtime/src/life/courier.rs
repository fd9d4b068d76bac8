//! The courier: a thread that hands outcomes to Python while the loop thread cannot, because
//! somebody's code holds the loop or because it has ended.
//!
//! Invariant: it is the one thread besides the loop threads that attaches, started at its first use
//! and stopped and joined before the interpreter finalizes; a tokio thread still never runs Python.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use pyo3::prelude::*;

use crate::call::job::Delivered;

type Work = Box<dyn FnOnce(Python<'_>) + Send>;

struct Courier {
    generation: u64,
    work: Sender<Work>,
    thread: JoinHandle<()>,
}

static COURIER: Mutex<Option<Courier>> = Mutex::new(None);

/// Runs `work` at once if this thread is attached, else on the courier's.
pub(crate) fn run<F: FnOnce(Python<'_>) + Send>(work: F) -> Delivered
where
    F: 'static,
{
    // SAFETY: both calls are allowed on any thread at any time.
    let (alive, attached) =
        unsafe { (pyo3::ffi::Py_IsInitialized() != 0, pyo3::ffi::PyGILState_Check() != 0) };
    if !alive || super::exit::finalizing() {
        std::mem::forget(work);
        return Delivered::Nobody;
    }
    if attached {
        Python::attach(work);
        return Delivered::Yes;
    }
    if send(Box::new(work)) { Delivered::Yes } else { Delivered::Nobody }
}

fn send(work: Work) -> bool {
    let generation = super::fork::generation();
    let mut slot = COURIER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(courier) = slot.as_ref()
        && courier.generation == generation
    {
        return courier.work.send(work).is_ok();
    }
    let Ok(courier) = start(generation) else { return false };
    let sent = courier.work.send(work).is_ok();
    // The one of a parent process has no thread here: it must not be joined.
    std::mem::forget(slot.replace(courier));
    sent
}

fn start(generation: u64) -> std::io::Result<Courier> {
    let (work, queue) = channel::<Work>();
    let deliver = move || {
        while let Ok(work) = queue.recv() {
            let attached = std::panic::AssertUnwindSafe(|| Python::try_attach(work).is_some());
            let _ = std::panic::catch_unwind(attached);
        }
    };
    let thread = std::thread::Builder::new().name("gilscope-courier".into()).spawn(deliver)?;
    Ok(Courier { generation, work, thread })
}

/// Stops and joins the courier; what it was given is handed over first. Detached.
pub(crate) fn stop() {
    let courier = COURIER.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(courier) = courier
        && courier.generation == super::fork::generation()
    {
        drop(courier.work);
        let _ = courier.thread.join();
    }
}
