//! The courier: a thread that hands outcomes to Python while the loop thread cannot, because
//! somebody's code holds the loop or because it has ended.
//!
//! Invariant: it is the one thread besides the loop threads that attaches, started at its first use
//! and stopped before the interpreter finalizes, joined too unless somebody's code keeps it; a tokio
//! thread still never runs Python.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use pyo3::prelude::*;

use crate::call::job::Delivered;
use crate::host::table::RawPost;

/// How long a shutdown waits for the courier, and the exit then for its thread.
const PATIENCE: Duration = Duration::from_secs(1);

type Work = Box<dyn FnOnce(Python<'_>) + Send>;

struct Courier {
    generation: u64,
    work: Sender<Work>,
    thread: JoinHandle<()>,
    /// Closed as the thread ends, since a join has no bound.
    ended: Receiver<()>,
}

static COURIER: Mutex<Option<Courier>> = Mutex::new(None);

/// Runs `work` at once if this thread is attached, else on the courier's.
pub(crate) fn run<F: FnOnce(Python<'_>) + Send + 'static>(work: F) -> Delivered {
    // SAFETY: allowed on any thread at any time.
    let alive = unsafe { pyo3::ffi::Py_IsInitialized() != 0 };
    if !alive || super::exit::finalizing() {
        std::mem::forget(work);
        return Delivered::Nobody;
    }
    if crate::attached::is_attached() {
        Python::attach(work);
        return Delivered::Yes;
    }
    if send(Box::new(work)) {
        Delivered::Yes
    } else {
        Delivered::Nobody
    }
}

/// Runs a post that no loop thread will take.
pub(crate) fn run_post(post: *mut RawPost) {
    let post = Orphan(post);
    // Dropped, and counted as undelivered by who asks, only once the interpreter has gone.
    let _ = run(move |_py| post.run());
}

/// A post that came out of a closed inbox.
struct Orphan(*mut RawPost);

// SAFETY: posts are made to be run on another thread than their maker's.
unsafe impl Send for Orphan {}

impl Orphan {
    fn run(self) {
        // SAFETY: the post is live and ours; `run` is called once, attached.
        unsafe { ((*self.0).run)(self.0) };
    }
}

/// Returns when everything handed to the courier before has been handed over, or false after a
/// second. Detached.
pub(crate) fn flush() -> bool {
    let (done, wait) = channel();
    let running = {
        let slot = COURIER.lock().unwrap_or_else(PoisonError::into_inner);
        let current = slot
            .as_ref()
            .filter(|it| it.generation == super::fork::generation());
        let barrier: Work = Box::new(move |_py| done.send(()).unwrap_or_default());
        current.is_some_and(|courier| courier.work.send(barrier).is_ok())
    };
    // Bounded: a callback of the user may be slow, and a shutdown has a deadline.
    !running || wait.recv_timeout(PATIENCE).is_ok()
}

fn send(work: Work) -> bool {
    let generation = super::fork::generation();
    let mut slot = COURIER.lock().unwrap_or_else(PoisonError::into_inner);
    if slot.as_ref().is_none_or(|it| it.generation != generation) {
        let Ok(courier) = start(generation) else {
            drop(slot);
            return false;
        };
        // The one of a parent process has no thread here: it must not be joined.
        std::mem::forget(slot.replace(courier));
    }
    let sent = slot.as_ref().map(|courier| courier.work.send(work));
    // Work that comes back is dropped without the lock: it may let go of references, which is work again.
    drop(slot);
    matches!(sent, Some(Ok(())))
}

fn start(generation: u64) -> std::io::Result<Courier> {
    let (work, queue) = channel::<Work>();
    let (runs, ended) = channel();
    let deliver = move || {
        let _runs: Sender<()> = runs;
        let _parking = super::park::ParkOnExit::new();
        // Not a ticket of the gate: `stop` joins this thread.
        while let Ok(work) = queue.recv() {
            let attached = std::panic::AssertUnwindSafe(|| Python::try_attach(work).is_some());
            let _ = std::panic::catch_unwind(attached);
        }
    };
    let thread = std::thread::Builder::new()
        .name("gilscope-courier".into())
        .spawn(deliver)?;
    Ok(Courier {
        generation,
        work,
        thread,
        ended,
    })
}

/// Stops and joins the courier; what it was given is handed over first, as far as that takes no longer
/// than a second, or two if some came in meanwhile. Detached.
pub(crate) fn stop() {
    let idle = flush();
    let courier = COURIER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let Some(courier) = courier else { return };
    if courier.generation != super::fork::generation() {
        // As in `send`: neither its thread nor its queue, in whatever state, is of this process.
        std::mem::forget(courier);
        return;
    }
    drop(courier.work);
    // What came in behind the barrier may be a callback that never returns.
    let ended = || courier.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Disconnected);
    if idle && ended() {
        let _ = courier.thread.join();
    }
}

/// The lock over the courier, for the time of a fork.
pub(crate) fn hold() -> Box<dyn std::any::Any> {
    Box::new(COURIER.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, TryRecvError, channel};
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;

    use pyo3::Python;

    use super::{COURIER, Courier, Work, stop};
    use crate::life::fork::generation;

    /// There is one courier, whatever test it is for.
    static ALONE: Mutex<()> = Mutex::new(());

    /// Makes a courier of a thread that does this.
    fn install(generation: u64, work: Sender<Work>, does: impl FnOnce() + Send + 'static) {
        let (runs, ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            does();
            drop(runs);
        });
        *COURIER.lock().expect("no test panics with it") = Some(Courier {
            generation,
            work,
            thread,
            ended,
        });
    }

    #[test]
    fn l6_stopping_leaves_the_courier_of_another_process_alone() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (work, queue) = channel::<Work>();
        install(generation() + 1, work, || ());
        stop();
        assert!(matches!(queue.try_recv(), Err(TryRecvError::Empty)));
    }

    #[test]
    fn l7_a_callback_that_comes_in_while_the_courier_is_stopped_holds_up_no_exit() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (work, queue) = channel::<Work>();
        let (let_go, held) = channel::<()>();
        install(generation(), work, move || {
            let barrier = queue.recv().expect("what stop waits for first");
            // SAFETY: the barrier does nothing with it.
            barrier(unsafe { Python::assume_attached() });
            let _ = held.recv(); // the callback, which does not return
        });
        let (stopped, wait) = channel();
        std::thread::spawn(move || {
            stop();
            let _ = stopped.send(());
        });
        let within = wait.recv_timeout(Duration::from_secs(20));
        drop(let_go);
        assert!(within.is_ok());
    }
}
