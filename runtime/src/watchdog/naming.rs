//! What Python calls a thread that the watchdog knows by its number only.
//!
//! Invariant: asked of a loop thread that is attached anyway, after its wait; who is not asked pays a load.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed, Ordering::SeqCst};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet};

use crate::python::text::lossy;

static ASKED: AtomicBool = AtomicBool::new(false);
/// The numbers that were asked about last; 0: none.
static NUMBERS: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];

/// Asks for the name of this thread. The watchdog's own thread only.
pub(super) fn ask(tid: u32) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    if !NUMBERS.iter().any(|number| number.load(SeqCst) == tid) {
        NUMBERS[NEXT.fetch_add(1, Relaxed) as usize % NUMBERS.len()].store(tid, SeqCst);
    }
    ASKED.store(true, SeqCst);
}

/// Names the threads that were asked about. Loop threads, attached, after a wait.
#[inline]
pub(crate) fn name_threads(py: Python<'_>) {
    if ASKED.load(Relaxed) {
        name_asked(py);
    }
}

#[cold]
fn name_asked(py: Python<'_>) {
    ASKED.store(false, SeqCst);
    let tids = [0; NUMBERS.len()];
    let mut tids = tids;
    for (tid, number) in tids.iter_mut().zip(&NUMBERS) {
        *tid = number.swap(0, SeqCst);
    }
    // Who is unknown to `threading`, or has left and is forgotten, keeps the system's name.
    let _ = name(py, &tids);
}

/// First those that have left, if somebody still keeps their `Thread`, to join it say: the system may
/// have given the number to another one since.
fn name(py: Python<'_>, tids: &[u32]) -> PyResult<()> {
    let threading = py.import("threading")?;
    if let Ok(known) = known(&threading) {
        for thread in known.iter().filter_map(|weak| weak.call0().ok()) {
            let _ = tell(&thread, tids);
        }
    }
    let active = threading.getattr("_active")?;
    for thread in active.cast_into::<PyDict>()?.values() {
        tell(&thread, tids)?;
    }
    Ok(())
}

/// Weak references to all threads that were made and not collected.
fn known<'py>(threading: &Bound<'py, PyModule>) -> PyResult<Bound<'py, PySet>> {
    let set = threading.getattr("_dangling")?.getattr("data")?;
    // Who is collected meanwhile leaves the original.
    Ok(set.call_method0("copy")?.cast_into::<PySet>()?)
}

/// By attributes that are no user's code: `Thread.name` may be overridden.
fn tell(thread: &Bound<'_, PyAny>, tids: &[u32]) -> PyResult<()> {
    let number = thread.getattr("_native_id");
    let number = number.and_then(|number| number.extract::<u32>());
    if let Ok(tid) = number
        && tid != 0
        && tids.contains(&tid)
    {
        let name = lossy(&thread.getattr("_name")?)?;
        gilscope_instrument::finding::named(tid, &name);
    }
    Ok(())
}
