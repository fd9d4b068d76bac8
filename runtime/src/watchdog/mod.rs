//! The watchdog: a thread that sees, without the GIL, who holds the GIL or a loop while a call waits.
//!
//! It looks at the stamps by which loop threads say since when they wait for the GIL, or poll. Beyond a
//! threshold it asks threads of this process, by a signal, whether they hold the GIL; the one that does writes
//! down its stack. What the watchdog saw goes to the converter, which makes the finding: docs/findings.md.
//!
//! Invariant: it never attaches. It runs only while somebody wants it, sleeps while nothing happens, is of
//! the process that started it, and is gone before the interpreter finalizes.

mod bell;
mod dog;
mod frames;
mod gil_lock;
mod naming;
mod page;
mod setup;
mod signals;
mod stack;
mod threads;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use gilscope_instrument::finding::{Slow, set_slow, slow};
use pyo3::prelude::*;

pub(crate) use naming::name_threads;

/// The environment variable: `0` never, anything else from the first runtime on.
const VARIABLE: &str = "GILSCOPE_WATCHDOG";

static WATCHDOG: Mutex<Option<Watchdog>> = Mutex::new(None);

struct Watchdog {
    generation: u64,
    /// How many want it.
    wanted: usize,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

fn lock() -> MutexGuard<'static, Option<Watchdog>> {
    WATCHDOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who holds it wants the watchdog to run.
#[derive(Debug)]
pub(crate) struct Watch {
    generation: u64,
}

impl Watch {
    /// Starts it if need be; `None` where `GILSCOPE_WATCHDOG=0`, at exit, or if no signal is free.
    /// `slow`: from when on a wait for the GIL, or a poll, is worth a look, and a finding. Attached.
    ///
    /// # Errors
    /// What the system says when it gives no thread.
    pub(crate) fn start(py: Python<'_>, slower: Option<Duration>) -> PyResult<Option<Self>> {
        if is_forbidden() || crate::life::exit::begun() {
            return Ok(None);
        }
        crate::life::exit::register(py)?;
        let generation = crate::life::fork::generation();
        let Some(eyes) = setup::eyes(py) else {
            return Ok(None);
        };
        if let Some(slower) = slower {
            set_slow(Slow {
                gil: slower,
                poll: slower,
                ..slow()
            });
        }
        let mut slot = lock();
        if let Some(running) = slot.as_mut().filter(|it| it.generation == generation) {
            running.wanted += 1;
            bell::ring(); // the thresholds may be others now
            return Ok(Some(Self { generation }));
        }
        gilscope_instrument::watch::on_wake(bell::ring);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("gilscope-watchdog".into())
            .spawn(move || dog::Dog::new(eyes, stopped).run())?;
        let watchdog = Watchdog {
            generation,
            wanted: 1,
            stop,
            thread,
        };
        // The one of a parent process has no thread here: it must not be joined.
        std::mem::forget(slot.replace(watchdog));
        Ok(Some(Self { generation }))
    }
}

impl Watch {
    /// Whether the watchdog runs, in this process.
    pub(crate) fn is_active(&self) -> bool {
        let slot = lock();
        slot.as_ref()
            .is_some_and(|it| it.generation == self.generation)
            && self.generation == crate::life::fork::generation()
    }
}

impl Drop for Watch {
    /// The last one ends the thread, and waits for it: a fraction of a second, if it is at a look.
    fn drop(&mut self) {
        let mut slot = lock();
        let running = slot.as_mut();
        let here = |it: &&mut Watchdog| {
            it.generation == self.generation && it.generation == crate::life::fork::generation()
        };
        let Some(running) = running.filter(here) else {
            return; // of a parent, or ended
        };
        running.wanted -= 1;
        if running.wanted == 0
            && let Some(last) = slot.take()
        {
            last.end();
        }
    }
}

impl Watchdog {
    /// Under the lock, so that there is one at a time; it takes none itself.
    fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        bell::ring();
        let _ = self.thread.join();
    }
}

/// At exit: ends it, whoever wants it. Detached.
pub(crate) fn end() {
    let mut slot = lock();
    match slot.take() {
        Some(running) if running.generation == crate::life::fork::generation() => running.end(),
        // As above: not to be joined.
        other => std::mem::forget(other),
    }
}

/// Where the environment asks for it: from now until the end of the process. Attached.
///
/// # Errors
/// As [`Watch::start`].
pub(crate) fn start_if_asked(py: Python<'_>) -> PyResult<()> {
    let asked = std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty());
    if asked && let Some(watch) = Watch::start(py, None)? {
        std::mem::forget(watch);
    }
    Ok(())
}

fn is_forbidden() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|value| value == "0")
}

/// The lock over it, for the time of a fork.
pub(crate) fn hold() -> Box<dyn std::any::Any> {
    Box::new((lock(), setup::hold()))
}
