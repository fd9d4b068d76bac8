//! Safe handles over the host table: everything above this line of the crate is ordinary Rust that
//! does not know whether the runtime behind it lives in this library, in another, or is simulated.
//!
//! Invariant: a `HostRef` keeps its host alive and keeps the table it started with.

pub mod cell;
pub mod own;
pub(crate) mod sim;
pub mod table;
pub(crate) mod turn;

use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use gilscope_instrument::{CallStamps, Name, Status, TraceContext};

use crate::error::Stopped;
use crate::host::table as t;
use crate::life::shutdown::{ShutdownMode, ShutdownReport};

/// A counted reference to a job, whichever library made it.
#[derive(Debug)]
pub(crate) struct JobRef(NonNull<t::RawJob>);

// SAFETY: jobs are built from `Send` parts and their shared fields are atomics.
unsafe impl Send for JobRef {}
// SAFETY: as above.
unsafe impl Sync for JobRef {}

impl JobRef {
    /// Takes over one reference.
    ///
    /// # Safety
    /// `job` is live and one of its references becomes this value's.
    pub(crate) unsafe fn from_raw(job: *mut t::RawJob) -> Self {
        // SAFETY: the caller passes a live, so non-null, job.
        Self(unsafe { NonNull::new_unchecked(job) })
    }

    pub(crate) fn as_ptr(&self) -> *mut t::RawJob {
        self.0.as_ptr()
    }

    pub(crate) fn into_raw(self) -> *mut t::RawJob {
        let job = self.as_ptr();
        std::mem::forget(self);
        job
    }

    pub(crate) fn raw(&self) -> &t::RawJob {
        // SAFETY: our reference keeps it alive; shared fields are atomics, others are immutable.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn vtable(&self) -> &t::JobVTable {
        // SAFETY: vtables are statics of the library that made the job.
        unsafe { &*self.raw().vtable }
    }

    pub(crate) fn has(&self, bits: u32) -> bool {
        self.raw().state.load(Ordering::Acquire) & bits != 0
    }

    /// Fails the job if nobody settled it yet. Any thread, attached or not: a waker or closure of the
    /// caller runs detached. So hold nothing that whoever has the GIL then may want.
    pub(crate) fn fail(&self, end: u32, detail: u32) -> bool {
        // SAFETY: the job is live.
        unsafe { (self.vtable().fail)(self.as_ptr(), end, detail) }
    }
}

impl Clone for JobRef {
    fn clone(&self) -> Self {
        // SAFETY: the job is live.
        unsafe { (self.vtable().retain)(self.as_ptr()) };
        Self(self.0)
    }
}

impl Drop for JobRef {
    fn drop(&mut self) {
        // SAFETY: one reference is ours to give back.
        unsafe { (self.vtable().release)(self.as_ptr()) };
    }
}

/// A handle to a host.
#[derive(Debug)]
pub(crate) struct HostRef(&'static t::HostTable);

impl Clone for HostRef {
    fn clone(&self) -> Self {
        // SAFETY: our own reference keeps the host alive.
        unsafe { (self.0.retain)(self.0.ctx) };
        Self(self.0)
    }
}

impl Drop for HostRef {
    fn drop(&mut self) {
        // SAFETY: one reference is ours to give back.
        unsafe { (self.0.release)(self.0.ctx) };
    }
}

/// Why a submit did not take the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Stopped(Stopped),
}

impl HostRef {
    /// Takes over one handle on the table's host.
    ///
    /// # Safety
    /// The table stays valid as long as the handle, and one handle becomes this value's.
    pub(crate) unsafe fn adopt(table: *const t::HostTable) -> Self {
        // SAFETY: see above.
        Self(unsafe { &*table })
    }

    pub(crate) fn table(&self) -> &'static t::HostTable {
        self.0
    }

    pub(crate) fn is_simulated(&self) -> bool {
        self.0.kind == 1
    }

    pub(crate) fn submit(&self, job: JobRef, reserved: u64) -> Result<(), (Refused, JobRef)> {
        let raw = job.into_raw();
        // SAFETY: one reference passes to the host, or stays ours when it refuses.
        let code = unsafe { (self.0.submit)(self.0.ctx, raw, reserved) };
        if code == t::SUBMITTED {
            return Ok(());
        }
        // SAFETY: refused, so the reference is still ours.
        Err((refusal(code), unsafe { JobRef::from_raw(raw) }))
    }

    pub(crate) fn cancel(&self, job: &JobRef) {
        // SAFETY: the job is live for the call; the host takes its own reference.
        unsafe { (self.0.cancel)(self.0.ctx, job.as_ptr()) };
    }

    /// Runs `work` attached on the loop thread; gives it back if the runtime is stopped.
    pub(crate) fn post<F: FnOnce(pyo3::Python<'_>) + Send>(&self, work: F) -> Result<(), F> {
        let post = Post::boxed(work);
        // SAFETY: the post is live; the host owns it only if it returns true.
        if unsafe { (self.0.post)(self.0.ctx, post.cast()) } {
            return Ok(());
        }
        // SAFETY: refused, so it is still ours, made just above by `Box::into_raw`.
        Err(unsafe { Box::from_raw(post) }.work)
    }

    pub(crate) fn begin(&self, parent: Option<&TraceContext>) -> CallStamps {
        let mut stamps = parent.map(CallStamps::below).unwrap_or_default();
        // SAFETY: `stamps` is live for the call.
        unsafe { (self.0.begin)(self.0.ctx, &raw mut stamps) };
        stamps
    }

    /// What is below the call that this thread is polling, if that is a call of the host's library.
    pub(crate) fn polled(&self) -> Option<TraceContext> {
        let mut stamps = CallStamps::default();
        // SAFETY: `stamps` is live for the call.
        let found = unsafe { (self.0.polled)(self.0.ctx, &raw mut stamps) };
        stamps.context().filter(|_| found)
    }

    pub(crate) fn refused(&self, stamps: &CallStamps, name: Name, status: Status) {
        // SAFETY: `stamps` is live for the call.
        unsafe { (self.0.refused)(self.0.ctx, stamps, name.0, status as u8) };
    }

    /// Lends this thread to the host: see `loop_thread::wakes`.
    pub(crate) fn help(&self) {
        if let Some(help) = self.0.help {
            // SAFETY: callable from any thread.
            unsafe { help(self.0.ctx) };
        }
    }

    /// Stops the runtime. Detached.
    pub(crate) fn shutdown(
        &self,
        mode: ShutdownMode,
        deadline: Option<Duration>,
    ) -> ShutdownReport {
        let nanoseconds = deadline.map_or(u64::MAX, |it| {
            u64::try_from(it.as_nanos()).unwrap_or(u64::MAX)
        });
        // SAFETY: callable from any thread.
        let raw = unsafe { (self.0.shutdown)(self.0.ctx, mode as u32, nanoseconds) };
        ShutdownReport {
            pending: raw.pending,
            abandoned: raw.abandoned,
            joined: raw.joined,
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        // SAFETY: callable from any thread.
        unsafe { (self.0.is_stopped)(self.0.ctx) }
    }

    /// Counts an outcome whose receiver went away at the last moment.
    pub(crate) fn undelivered(&self) {
        // SAFETY: callable from any thread.
        unsafe { (self.0.undelivered)(self.0.ctx) };
    }

    pub(crate) fn runtime_id(&self) -> u64 {
        // SAFETY: callable from any thread.
        unsafe { (self.0.runtime_id)(self.0.ctx) }
    }

    pub(crate) fn now(&self) -> u64 {
        // SAFETY: callable from any thread.
        unsafe { (self.0.now)(self.0.ctx) }
    }

    /// The name by which the host knows `name`, which differs if it is another library.
    pub(crate) fn intern(&self, name: Name) -> Name {
        if own::is_own(self.0) {
            return name;
        }
        let text = gilscope_instrument::resolve(name);
        // SAFETY: pointer and length describe a live str.
        Name(unsafe { (self.0.intern)(self.0.ctx, text.as_ptr(), text.len()) })
    }

    /// A reason as a job is given it.
    pub(crate) fn detail_of(&self, why: Stopped) -> u32 {
        own::shared_of(self).map_or(why as u32, |shared| why.detail(shared.number()))
    }

    pub(crate) fn on_loop_thread(&self) -> bool {
        // SAFETY: callable from any thread.
        unsafe { (self.0.on_loop_thread)(self.0.ctx) != 0 }
    }

    /// Whether this thread is this very host's loop thread.
    pub(crate) fn is_this_thread(&self) -> bool {
        // SAFETY: callable from any thread.
        unsafe { (self.0.on_loop_thread)(self.0.ctx) == 1 }
    }
}

fn refusal(code: i32) -> Refused {
    match u32::try_from(t::SUBMIT_STOPPED - code) {
        Ok(why) if code != t::SUBMIT_FULL => Refused::Stopped(Stopped::of(why)),
        _ => Refused::Full,
    }
}

/// A closure on its way to the loop thread.
#[repr(C)]
struct Post<F> {
    raw: t::RawPost,
    work: F,
}

/// A post for an inbox that is not behind a table.
pub(crate) fn boxed_post<F: FnOnce(pyo3::Python<'_>) + Send>(work: F) -> *mut t::RawPost {
    Post::boxed(work).cast()
}

impl<F: FnOnce(pyo3::Python<'_>) + Send> Post<F> {
    fn boxed(work: F) -> *mut Self {
        let message = t::Message {
            link: crate::queue::stack::Link::new(),
            kind: t::MESSAGE_POST,
        };
        let raw = t::RawPost {
            message,
            run: Self::run,
            drop: Self::discard,
        };
        Box::into_raw(Box::new(Self { raw, work }))
    }

    unsafe extern "C" fn run(post: *mut t::RawPost) {
        // SAFETY: made by `boxed`, and the host calls exactly one of run and drop, once.
        let post = unsafe { Box::from_raw(post.cast::<Self>()) };
        let run = || pyo3::Python::attach(|py| (post.work)(py));
        // A panic must not unwind out of `extern "C"`; the panic hook has already reported it.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    }

    unsafe extern "C" fn discard(post: *mut t::RawPost) {
        // SAFETY: as in `run`.
        let post = unsafe { Box::from_raw(post.cast::<Self>()) };
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(post)));
    }
}

/// Sleeps until `deadline` ns of the host's clock: the table's timer in simulation, tokio's otherwise.
pub(crate) struct TableTimer {
    host: HostRef,
    deadline: u64,
    id: Option<u64>,
}

impl TableTimer {
    pub(crate) fn new(host: HostRef, deadline: u64) -> Self {
        Self {
            host,
            deadline,
            id: None,
        }
    }

    fn forget(&mut self) {
        if let (Some(id), Some(cancel)) = (self.id.take(), self.host.0.timer_cancel) {
            // SAFETY: the id is from `timer` of this host.
            unsafe { cancel(self.host.0.ctx, id) };
        }
    }
}

impl Future for TableTimer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.forget();
        let timer = self
            .host
            .0
            .timer
            .expect("a table timer is only made for hosts that have one");
        if self.host.now() >= self.deadline {
            return Poll::Ready(());
        }
        let data = Box::into_raw(Box::new(context.waker().clone())).cast();
        let wake = t::RawWake {
            data,
            wake: wake_waker,
            drop: drop_waker,
        };
        // SAFETY: the host copies the struct and calls one of its functions once.
        self.id = Some(unsafe { timer(self.host.0.ctx, self.deadline, &raw const wake) });
        Poll::Pending
    }
}

impl Drop for TableTimer {
    fn drop(&mut self) {
        self.forget();
    }
}

unsafe extern "C" fn wake_waker(data: *mut std::ffi::c_void) {
    // SAFETY: made by `Box::into_raw` in `TableTimer::poll`; one of wake and drop runs, once.
    let waker = unsafe { Box::from_raw(data.cast::<Waker>()) };
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waker.wake()));
}

unsafe extern "C" fn drop_waker(data: *mut std::ffi::c_void) {
    // SAFETY: as in `wake_waker`.
    let waker = unsafe { Box::from_raw(data.cast::<Waker>()) };
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(waker)));
}
