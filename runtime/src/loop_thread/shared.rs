//! What other threads see of a runtime: its inbox, its room, its calls and its life.
//!
//! Invariant: the lock over the calls is held for one look-up or insertion at a time, never across
//! a decref, a callback or an attach.

use std::collections::VecDeque;
use std::os::raw::c_void;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use slab::Slab;

use super::number::Number;
use crate::error::{PythonError, Stopped};
use crate::host::table as t;
use crate::host::{HostRef, JobRef};
use crate::queue::inbox::Inbox;
use crate::queue::room::Room;
use crate::runtime::Config;

/// Life: taking calls.
const RUNNING: u32 = 0;
/// Life: shutting down, refuses calls.
const STOPPING: u32 = 1 << 8;
/// Life: the loop thread has ended; the low byte is a [`Stopped`].
const STOPPED: u32 = 1 << 9;

/// See the module's text.
pub(crate) struct Shared {
    pub(crate) table: t::HostTable,
    pub(crate) id: u64,
    number: Number,
    pub(crate) generation: u64,
    pub(crate) config: Config,
    pub(crate) inbox: Inbox,
    pub(crate) room: Room<WakeRoom>,
    /// A task of ours is about to serve the line.
    serves_later: AtomicBool,
    pub(crate) calls: Mutex<Calls>,
    pub(crate) counters: Counters,
    pub(crate) wakes: super::wakes::Wakes,
    /// Handles on this runtime; the last one of a runtime that is not the default stops it.
    pub(crate) handles: AtomicU64,
    life: AtomicU32,
    thread_id: AtomicU64,
    /// Whether the loop thread may be interrupted: not any more once it is about to end.
    interruptible: AtomicBool,
    /// An interrupt was sent, and may not have been met yet.
    interrupted: AtomicBool,
    ended: (Mutex<bool>, Condvar),
    /// What kept the runtime from starting.
    pub(crate) start_error: OnceLock<PythonError>,
    /// The `threading.Thread`, to join.
    pub(crate) thread: Mutex<Option<Py<PyAny>>>,
}

impl Drop for Shared {
    /// On whatever thread, attached or not: what it has of Python's is let go of by one that is.
    fn drop(&mut self) {
        let config = &mut self.config;
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let hooks = [
            &mut config.loop_factory,
            &mut config.on_start,
            &mut config.on_stop,
        ];
        let objects = hooks.into_iter().chain([thread]);
        objects
            .filter_map(Option::take)
            .for_each(crate::handle::release::release);
    }
}

/// Calls that the loop thread has taken from the inbox.
#[derive(Default)]
pub(crate) struct Calls {
    /// Not started, oldest first.
    pub(crate) backlog: VecDeque<JobRef>,
    /// Started and not finished.
    pub(crate) open: Slab<JobRef>,
    /// Finished and not handed over, in the order of the loop thread's outbox.
    pub(crate) ready: Vec<JobRef>,
}

/// Tells a caller that its turn has come.
pub(crate) type WakeRoom = Box<dyn FnOnce() + Send>;

/// Things that must not be lost silently.
#[derive(Default)]
pub(crate) struct Counters {
    /// Outcomes whose receiver was gone.
    pub(crate) undelivered: AtomicU64,
    /// Callbacks that failed.
    pub(crate) callback_failed: AtomicU64,
}

impl Shared {
    pub(crate) fn number(&self) -> u16 {
        self.number.get()
    }

    pub(crate) fn create(config: Config) -> std::io::Result<Arc<Self>> {
        // Before the first call, which may be made before the loop has its recorder.
        gilscope_instrument::read_environment();
        let number = Number::claim()?;
        let inbox = Inbox::new()?;
        let room = Room::new(config.queue_size);
        Ok(Arc::new_cyclic(|this: &std::sync::Weak<Self>| Self {
            table: crate::host::own::table(this.as_ptr().cast_mut().cast::<c_void>()),
            id: u64::from(std::process::id()) << 32 | library() << 16 | u64::from(number.get()),
            number,
            generation: crate::life::fork::generation(),
            config,
            inbox,
            room,
            serves_later: AtomicBool::new(false),
            calls: Mutex::default(),
            counters: Counters::default(),
            wakes: super::wakes::Wakes::default(),
            handles: AtomicU64::new(0),
            life: AtomicU32::new(RUNNING),
            thread_id: AtomicU64::new(0),
            interruptible: AtomicBool::new(true),
            interrupted: AtomicBool::new(false),
            ended: (Mutex::new(false), Condvar::new()),
            start_error: OnceLock::new(),
            thread: Mutex::new(None),
        }))
    }

    /// A new handle on this runtime.
    pub(crate) fn host(self: &Arc<Self>) -> HostRef {
        crate::host::own::handle(self)
    }

    pub(crate) fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls taken by the queue whose callers wait.
    pub(crate) fn pending(&self) -> usize {
        if self.is_stopped() {
            return 0; // everybody has an outcome, or waits in another process
        }
        let calls = self.calls();
        let running = calls
            .open
            .iter()
            .filter(|(_, job)| !job.has(t::SETTLED))
            .count();
        running + self.room.taken()
    }

    /// Whether it belongs to a parent of this process. Its locks must not be taken then: a thread that
    /// does not exist here may hold them.
    pub(crate) fn is_forked(&self) -> bool {
        self.generation != crate::life::fork::generation()
    }

    /// Has a tokio thread serve who waits for room, soon, if nobody has done so by then.
    pub(crate) fn serve_later(self: &Arc<Self>) {
        if self.serves_later.swap(true, Ordering::AcqRel) {
            return;
        }
        let shared = Arc::clone(self);
        crate::tasks::own_tokio().spawn(async move {
            tokio::time::sleep(Duration::from_nanos(super::flush::LATE_NS)).await;
            shared.serves_later.store(false, Ordering::Release);
            if shared.room.owes() {
                shared.room.serve();
            }
        });
    }

    /// Why calls are refused, if they are.
    pub(crate) fn refusing(&self) -> Option<Stopped> {
        if self.is_forked() {
            return Some(Stopped::Forked);
        }
        let life = self.life.load(Ordering::SeqCst);
        (life != RUNNING).then(|| Stopped::of(life & 0xff))
    }

    /// Whether the loop thread has ended, or never belonged to this process.
    pub(crate) fn is_stopped(&self) -> bool {
        self.life.load(Ordering::SeqCst) & STOPPED != 0 || self.is_forked()
    }

    /// Whether it takes no more calls.
    pub(crate) fn is_stopping(&self) -> bool {
        self.refusing().is_some()
    }

    pub(crate) fn begin_stop(&self) {
        let reason = STOPPING | Stopped::Shutdown as u32;
        let _ = self
            .life
            .compare_exchange(RUNNING, reason, Ordering::SeqCst, Ordering::SeqCst);
        self.room.close();
    }

    pub(crate) fn enter_thread(&self) {
        self.thread_id.store(thread_id(), Ordering::Release);
    }

    pub(crate) fn on_loop_thread(&self) -> bool {
        self.thread_id.load(Ordering::Acquire) == thread_id() && !self.is_forked()
    }

    /// The loop thread's last act: refuse, free whoever still waits, tell the joiners.
    pub(crate) fn end(&self, why: Stopped) {
        // The next use of the default runtime makes a fresh one.
        crate::host::cell::forget_if(&raw const self.table);
        self.life.store(STOPPED | why as u32, Ordering::SeqCst);
        self.room.close();
        self.inbox.close();
        self.fail_everything(t::END_STOPPED, why.detail(self.number()));
        *self.ended.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ended.1.notify_all();
    }

    /// Waits, detached, until the loop thread has ended.
    pub(crate) fn wait_ended(&self, until: Option<Instant>) -> bool {
        let mut ended = self.ended.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*ended {
            let left = until.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return false;
            }
            // Bounded slices: a clock that jumps must not turn a deadline into for ever.
            let slice = left
                .unwrap_or(Duration::from_secs(1))
                .min(Duration::from_secs(1));
            let (guard, _) = self
                .ended
                .1
                .wait_timeout(ended, slice)
                .unwrap_or_else(PoisonError::into_inner);
            ended = guard;
        }
        true
    }

    /// Keeps what keeps the runtime from starting, for its callers. Attached.
    pub(crate) fn keep_start_error(&self, error: Bound<'_, PyAny>) {
        let _ = self.start_error.set(PythonError::new(error, true));
    }

    /// At exit: gets user code that holds the loop out of it by `SystemExit`. Attached. Powerless
    /// against code that never returns to the interpreter, or catches what it raises.
    pub(crate) fn interrupt(&self, py: Python<'_>, held: impl FnOnce() -> bool) {
        let thread = {
            let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
            thread.as_ref().map(|thread| thread.clone_ref(py))
        };
        let ident = thread.and_then(|thread| thread.getattr(py, "ident").ok()?.extract(py).ok());
        let Some(ident) = ident else { return };
        // Asked last: the GIL, under which a loop answers and ends, is not let go of before the call.
        if held() && self.interruptible.load(Ordering::Acquire) {
            self.interrupted.store(true, Ordering::Release);
            // SAFETY: attached; an ident of no thread is ignored, and the class is immortal.
            unsafe { pyo3::ffi::PyThreadState_SetAsyncExc(ident, pyo3::ffi::PyExc_SystemExit) };
        }
    }

    /// Meets an interrupt that this, the loop thread, has not met yet, where it hits nobody. Attached.
    pub(crate) fn forget_interrupt(&self, py: Python<'_>) {
        if !self.interrupted.swap(false, Ordering::AcqRel) {
            return;
        }
        // Setting NULL would take it back, but up to 3.12 leaves the interpreter looking for it at
        // every step, for ever; and 3.11 then loops in a function that is traced.
        let met = super::thread::module(py).and_then(|module| module.call_method0("nothing"));
        if let Err(error) = met
            && !error.is_instance_of::<pyo3::exceptions::PySystemExit>(py)
        {
            error.write_unraisable(py, None);
        }
    }

    /// As `forget_interrupt`, and there is none any more. Attached.
    pub(crate) fn end_interrupts(&self, py: Python<'_>) {
        self.interruptible.store(false, Ordering::Release);
        self.forget_interrupt(py);
    }

    /// Joins the `threading.Thread`, so that it has left the interpreter too. Attached.
    pub(crate) fn join(&self, py: Python<'_>, wait: Duration) {
        if self.is_forked() {
            return;
        }
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && !self.on_loop_thread()
            && let Err(error) = thread.call_method1(py, "join", (wait.as_secs_f64(),))
        {
            error.write_unraisable(py, None);
        }
    }

    /// Calls that the loop thread has begun and not ended.
    pub(crate) fn open_calls(&self) -> Vec<JobRef> {
        let calls = self.calls();
        calls.open.iter().map(|(_, job)| job.clone()).collect()
    }

    /// Frees every caller there is, from any thread.
    pub(crate) fn fail_everything(&self, end: u32, detail: u32) {
        let mut queued = 0;
        for message in self.inbox.take() {
            // SAFETY: the message came out of the inbox, so it is live.
            queued += usize::from(unsafe { is_job(message) });
            dispose(message, end, detail);
        }
        let (backlog, open) = {
            let mut open = self.open_calls();
            let mut calls = self.calls();
            open.extend(calls.ready.iter().cloned());
            (std::mem::take(&mut calls.backlog), open)
        };
        backlog.iter().for_each(|job| refuse(job, end, detail));
        for _ in 0..queued + backlog.len() {
            let _ = self.room.put_back(); // closed: nobody waits
        }
        for job in &open {
            job.fail(end, detail);
        }
    }
}

/// Ends a call that never started, and its span.
fn refuse(job: &JobRef, end: u32, detail: u32) {
    let raw = job.raw();
    let name = gilscope_instrument::Name(raw.name);
    job.fail(end, detail);
    raw.stamps
        .refused(name, super::stop::status_without_end(job));
}

/// # Safety
/// The message is live.
unsafe fn is_job(message: *mut crate::queue::stack::Link) -> bool {
    // SAFETY: a message begins with its link.
    unsafe { (*message.cast::<t::Message>()).kind == t::MESSAGE_JOB }
}

/// Disposes of a message that no loop thread will take.
pub(crate) fn dispose(message: *mut crate::queue::stack::Link, end: u32, detail: u32) {
    let message = message.cast::<t::Message>();
    // SAFETY: the message came out of an inbox, so it is live and now ours.
    match unsafe { (*message).kind } {
        t::MESSAGE_JOB => {
            // SAFETY: its kind says what it is; the queue's reference is ours now.
            let job = unsafe { JobRef::from_raw(message.cast()) };
            refuse(&job, end, detail);
        }
        t::MESSAGE_CANCEL => {
            // SAFETY: cancels are made by `host::own` with `Box::into_raw`.
            let cancel = unsafe { Box::from_raw(message.cast::<t::RawCancel>()) };
            // SAFETY: it carries one reference.
            drop(unsafe { JobRef::from_raw(cancel.job) });
        }
        _ => crate::life::courier::run_post(message.cast()),
    }
}

/// 16 bits that tell this library from others in the process, which number their runtimes too.
fn library() -> u64 {
    static HERE: u8 = 0;
    // The number of a page: no two libraries share one.
    (&raw const HERE as usize as u64 >> 12) & 0xffff
}

/// A number for the calling thread, never 0 and never used again; the system's own are.
fn thread_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static ID: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    ID.with(|id| *id)
}
