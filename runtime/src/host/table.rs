//! The C table through which every call, cancel and timer passes, so that libraries built by other
//! compilers, with their own statics and their own tokio, share one runtime.
//!
//! Invariant: only `#[repr(C)]` structs, thin pointers and `extern "C"` functions cross; whoever
//! allocated a thing frees it, through the function pointer that came with it. Fields are only ever
//! added at the end.

use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};

use gilscope_instrument::CallStamps;
use pyo3::ffi::PyObject;

use crate::queue::stack::Link;

/// Breaking version of every struct in this file.
pub const VERSION: u32 = 1;

/// Opaque state of the host behind a table.
pub type Ctx = *mut c_void;
/// A Python object pointer; ownership is said at each use.
pub type Obj = *mut PyObject;

/// First field of everything that lands in an inbox.
#[repr(C)]
#[derive(Debug)]
pub struct Message {
    /// Intrusive link; must stay at offset 0.
    pub link: Link,
    /// One of the `MESSAGE_` constants.
    pub kind: u32,
}

/// A [`RawJob`].
pub const MESSAGE_JOB: u32 = 0;
/// A [`RawPost`].
pub const MESSAGE_POST: u32 = 1;
/// A [`RawCancel`].
pub const MESSAGE_CANCEL: u32 = 2;

/// `RawJob::state`: the outcome is claimed; nobody else may settle.
pub const SETTLED: u32 = 1;
/// `RawJob::state`: the caller asked to cancel.
pub const CANCEL: u32 = 1 << 1;
/// `RawJob::state`: the caller went away.
pub const CALLER_DROPPED: u32 = 1 << 2;
/// `RawJob::state`: settled by a deadline.
pub const DEADLINE: u32 = 1 << 3;
/// `RawJob::state`: the caller went away and wants the call to go on.
pub const DETACHED: u32 = 1 << 5;
/// `RawJob::state`: where the phase at the deadline is kept.
pub const DEADLINE_PHASE_SHIFT: u32 = 8;
/// `RawJob::state`: settled by `complete`, whose outcome waits for `deliver`.
pub const STORED: u32 = 1 << 4;
/// `RawJob::state`: somebody hands an outcome over, or has.
pub const HANDED: u32 = 1 << 6;

/// `RawJob::phase`: not started.
pub const PHASE_QUEUED: u32 = 0;
/// `RawJob::phase`: inside a poll.
pub const PHASE_POLL: u32 = 1;
/// `RawJob::phase`: yielded.
pub const PHASE_SUSPENDED: u32 = 2;
/// `RawJob::phase`: cancelled and not finished yet.
pub const PHASE_CLEANUP: u32 = 3;

/// `RawJob::flags`: the callee may return an async iterator, which is the result (streams).
pub const JOB_STREAM: u32 = 1;
/// `RawJob::flags`: run a plain `def` in the thread pool.
pub const JOB_THREAD: u32 = 1 << 1;
/// `RawJob::flags`: the caller may go away without cancelling the call.
pub const JOB_DETACH: u32 = 1 << 2;

/// `RawJob::flags`: `complete` runs user code, which belongs into the call's context.
pub const JOB_IN_CONTEXT: u32 = 1 << 3;

/// `RawJob::flags`: `complete` has handed the outcome over, `deliver` has nothing to do.
pub const JOB_ATTACHED: u32 = 1 << 4;

/// `RawJob::flags`: others may be in `context` when a step of the call is due, which then waits.
pub const JOB_SHARES_CONTEXT: u32 = 1 << 5;

/// `RawJob::flags`: a step of a stream, whose `StopAsyncIteration` is its end and no error.
pub const JOB_STEP: u32 = 1 << 6;

/// `RawJob::flags`: a later call of a stream, below the one that opened it, in a Context that is the
/// stream's own: the calls before it may have left their span in there.
pub const JOB_OF_STREAM: u32 = 1 << 7;

/// `complete`: the value returned.
pub const END_RETURNED: u32 = 0;
/// `complete`: the exception raised.
pub const END_RAISED: u32 = 1;
/// `complete`: a `CancelledError` nobody asked for, which is the value.
pub const END_CANCELLED_BY_CALLEE: u32 = 2;
/// `complete` and `fail`: cancelled by its caller.
pub const END_CANCELLED_BY_CALLER: u32 = 3;
/// `complete` and `fail`: cancelled by shutdown.
pub const END_CANCELLED_BY_SHUTDOWN: u32 = 4;
/// `fail`: the deadline passed; the phase tells where.
pub const END_DEADLINE: u32 = 5;
/// `fail`: no room and the caller would not wait.
pub const END_QUEUE_FULL: u32 = 6;
/// `fail`: the runtime is stopped; the low byte of `detail` is a [`crate::error::Stopped`], above it
/// may be the number of the runtime of this library that knows more.
pub const END_STOPPED: u32 = 7;

/// `fail`: the queue refused the call, whose submitter is told; the callback is dropped unused.
pub const END_REFUSED: u32 = 8;

/// What `complete` and `deliver` report about the hand-over.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// A `gilscope_instrument::Status`; of `deliver` [`TO_WAKE`] or 0.
    pub status: u8,
    /// `gilscope_instrument::Flags` bits.
    pub flags: u16,
}

/// `Report::status`: what was delivered is to be announced by `wake`.
pub const TO_WAKE: u8 = 1;

/// What a shutdown met and did; see [`crate::ShutdownReport`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RawShutdown {
    /// Calls queued or running when it began.
    pub pending: usize,
    /// Calls that still were at the deadline.
    pub abandoned: usize,
    /// Whether the loop thread has ended.
    pub joined: bool,
}

/// The functions of a job, all in the library that made it.
#[repr(C)]
#[derive(Debug)]
pub struct JobVTable {
    /// Size of this struct in the library that made it.
    pub size: u32,
    /// Attached, at most once. Converts the arguments and calls. Returns a new reference, or NULL:
    /// then `*error` is a new reference to what the callee raised, or NULL if the job settled itself
    /// (bad argument, panic), which `*report` tells.
    pub start: unsafe extern "C" fn(*mut RawJob, error: *mut Obj, report: *mut Report) -> Obj,
    /// Attached, at most once: converts and stores the outcome, or drops it if the job is settled.
    /// `value` is borrowed: what was returned, else the exception, of whatever end.
    pub complete: unsafe extern "C" fn(*mut RawJob, end: u32, value: Obj) -> Report,
    /// Detached, any thread, after `complete` or a settling `start`: hands the outcome over.
    pub deliver: unsafe extern "C" fn(*mut RawJob) -> Report,
    /// Detached, any thread, once after a `deliver` that reported [`TO_WAKE`]: wakes the receiver.
    pub wake: unsafe extern "C" fn(*mut RawJob),
    /// Any thread: claims the job and hands over a failure at once. False if it was settled: an outcome
    /// that is stored and not handed over yet then is.
    pub fail: unsafe extern "C" fn(*mut RawJob, end: u32, detail: u32) -> bool,
    /// Any thread: one more reference.
    pub retain: unsafe extern "C" fn(*mut RawJob),
    /// Any thread: one reference less.
    pub release: unsafe extern "C" fn(*mut RawJob),
    /// Any thread: where in Rust the call was made. Returns the line, and sets the file, a static; or 0,
    /// where Python made it.
    pub made_at: unsafe extern "C" fn(*mut RawJob, file: *mut RawText) -> u32,
}

/// Header of one call, at offset 0 of the caller's job.
#[repr(C)]
#[derive(Debug)]
pub struct RawJob {
    /// `kind == MESSAGE_JOB`.
    pub message: Message,
    /// Size of this struct in the library that made it.
    pub size: u32,
    /// `JOB_` bits.
    pub flags: u32,
    /// See [`JobVTable`].
    pub vtable: *const JobVTable,
    /// `SETTLED | CANCEL | CALLER_DROPPED`.
    pub state: AtomicU32,
    /// A `PHASE_` value, written by the loop thread, read by whoever judges a deadline.
    pub phase: AtomicU32,
    /// The host's: index of the open call plus one, 0 before it started.
    pub slot: AtomicU32,
    /// Span name, interned by the host.
    pub name: u32,
    /// What the caller knows of the call's span.
    pub stamps: CallStamps,
    /// `contextvars.Context` to use as is (owned by the job), or NULL for a copy of the loop's own.
    pub context: Obj,
    /// The deadline in ns, of a stream for the whole of it; 0 also where there is none.
    pub deadline: u64,
    /// The tracestate of the call's trace, owned by the job, or NULL.
    pub tracestate: *const RawText,
    /// The tokio task that submitted it, or 0; written before the host has the job.
    pub task: AtomicU64,
}

/// Text (UTF-8, not NUL-terminated).
#[repr(C)]
#[derive(Debug)]
pub struct RawText {
    /// Its first byte.
    pub bytes: *const u8,
    /// Its length in bytes.
    pub length: usize,
}

impl RawJob {
    /// The tracestate of the call's trace.
    pub(crate) fn tracestate(&self) -> Option<&str> {
        // SAFETY: the job keeps the text, and what it points to.
        let bytes = unsafe {
            let text = self.tracestate.as_ref()?;
            std::slice::from_raw_parts(text.bytes, text.length)
        };
        std::str::from_utf8(bytes).ok()
    }
}

/// Something to run attached on the loop thread: a completion, a release, a Python callback.
#[repr(C)]
#[derive(Debug)]
pub struct RawPost {
    /// `kind == MESSAGE_POST`.
    pub message: Message,
    /// Attached: runs and frees.
    pub run: unsafe extern "C" fn(*mut RawPost),
    /// Any thread, instead of `run`: frees.
    pub drop: unsafe extern "C" fn(*mut RawPost),
}

/// A request to cancel; holds one reference to its job. Made and freed by the host.
#[repr(C)]
#[derive(Debug)]
pub struct RawCancel {
    /// `kind == MESSAGE_CANCEL`.
    pub message: Message,
    /// The call to cancel.
    pub job: *mut RawJob,
}

/// One scheduled step of a task; the task and its waker stay in the library that spawned it.
#[repr(C)]
#[derive(Debug)]
pub struct RawRunnable {
    /// Opaque.
    pub ptr: *mut c_void,
    /// Task id.
    pub task: u64,
    /// Runs one step; 1 if it panicked.
    pub run: unsafe extern "C" fn(*mut c_void) -> i32,
    /// Drops the step without running it.
    pub drop: unsafe extern "C" fn(*mut c_void),
}

/// One-shot wake: exactly one of `wake` and `drop` is called, exactly once.
#[repr(C)]
#[derive(Debug)]
pub struct RawWake {
    /// Opaque.
    pub data: *mut c_void,
    /// Wakes and frees.
    pub wake: unsafe extern "C" fn(*mut c_void),
    /// Frees.
    pub drop: unsafe extern "C" fn(*mut c_void),
}

/// What a library registers with a simulator: move your paused tokio clock to at most `limit` ns,
/// stop at the first timer that fires, return where it stands.
#[repr(C)]
#[derive(Debug)]
pub struct LibHooks {
    /// Opaque.
    pub data: *mut c_void,
    /// See the struct.
    pub jump: unsafe extern "C" fn(*mut c_void, limit: u64) -> u64,
}

/// `submit` took the job.
pub const SUBMITTED: i32 = 0;
/// `submit`: no room; the job stays the caller's.
pub const SUBMIT_FULL: i32 = -1;
/// `submit`: stopped, minus 16 minus a [`crate::error::Stopped`]; the job stays the caller's.
pub const SUBMIT_STOPPED: i32 = -16;

/// The seam. `None` in an optional field means "use your own tokio" (production).
#[repr(C)]
#[derive(Debug)]
pub struct HostTable {
    /// Size in bytes of this struct in the library that made it.
    pub size: usize,
    /// [`VERSION`].
    pub version: u32,
    /// 0: threads and real time, 1: simulation.
    pub kind: u32,
    /// Passed to every function.
    pub ctx: Ctx,
    /// One more handle.
    pub retain: unsafe extern "C" fn(Ctx),
    /// One handle less; the last one stops a runtime that is not the default.
    pub release: unsafe extern "C" fn(Ctx),
    /// Hands a job over ([`SUBMITTED`]: one reference passes to the host). `reserved`: the number of
    /// a reservation whose turn has come, or 0.
    pub submit: unsafe extern "C" fn(Ctx, *mut RawJob, reserved: u64) -> i32,
    /// Gets in line for room; wakes when its turn has come, and the wake may submit. Returns its number,
    /// never 0.
    pub reserve: unsafe extern "C" fn(Ctx, *const RawWake) -> u64,
    /// Gives a reservation back, granted or not.
    pub unreserve: unsafe extern "C" fn(Ctx, u64),
    /// Asks for a cancel; borrows the job. Never blocks, never fails.
    pub cancel: unsafe extern "C" fn(Ctx, *mut RawJob),
    /// Runs something attached on the loop thread; false: stopped, it stays the caller's.
    pub post: unsafe extern "C" fn(Ctx, *mut RawPost) -> bool,
    /// Identity of the runtime.
    pub runtime_id: unsafe extern "C" fn(Ctx) -> u64,
    /// Nanoseconds of the host's clock.
    pub now: unsafe extern "C" fn(Ctx) -> u64,
    /// Starts a call's span. In: zero, or what a call begins with that is below another span.
    pub begin: unsafe extern "C" fn(Ctx, *mut CallStamps),
    /// Ends the span of a call that never reached the queue, with a status.
    pub refused: unsafe extern "C" fn(Ctx, *const CallStamps, name: u32, status: u8),
    /// Interns a span name (UTF-8, not NUL-terminated).
    pub intern: unsafe extern "C" fn(Ctx, *const u8, usize) -> u32,
    /// 1 if the calling thread is this host's loop thread, 2 if it is another host's.
    pub on_loop_thread: unsafe extern "C" fn(Ctx) -> u32,
    /// A fresh task id.
    pub new_task: unsafe extern "C" fn(Ctx) -> u64,
    /// Runs one step of a task, later.
    pub schedule: Option<unsafe extern "C" fn(Ctx, *const RawRunnable)>,
    /// Wakes at `deadline` ns; the id is for `timer_cancel`.
    pub timer: Option<unsafe extern "C" fn(Ctx, deadline: u64, *const RawWake) -> u64>,
    /// Forgets a timer.
    pub timer_cancel: Option<unsafe extern "C" fn(Ctx, u64)>,
    /// Registers a library's own clock.
    pub register: Option<unsafe extern "C" fn(Ctx, *const LibHooks)>,
    /// An outcome found its receiver gone after the call had ended: counts it.
    pub undelivered: unsafe extern "C" fn(Ctx),
    /// Stops the runtime, detached: `mode` is 0 drain, 1 cancel, 2 abort; `deadline` in ns, `u64::MAX`
    /// for none.
    pub shutdown: unsafe extern "C" fn(Ctx, mode: u32, deadline: u64) -> RawShutdown,
    /// Whether the runtime has ended or is being stopped.
    pub is_stopped: unsafe extern "C" fn(Ctx) -> bool,
    /// A receiver found its outcome: wakes the rest of the batch on the calling thread.
    pub help: Option<unsafe extern "C" fn(Ctx)>,
    /// Attached: what a call begins with that is below the one this thread is polling, on a loop of
    /// whatever runtime of the host's library. False: there is none.
    pub polled: unsafe extern "C" fn(Ctx, *mut CallStamps) -> bool,
}

/// This library's [`HostCell::sizes`].
pub const SIZES: [usize; 3] = [
    size_of::<HostTable>(),
    size_of::<RawJob>(),
    size_of::<JobVTable>(),
];

// SAFETY: every function of a table may be called from any thread; `ctx` is only passed back to them.
unsafe impl Send for HostTable {}
// SAFETY: as above.
unsafe impl Sync for HostTable {}

/// What the capsule points to. Cells and the tables in them are never freed.
#[repr(C)]
#[derive(Debug)]
pub struct HostCell {
    /// Size in bytes of this struct in the library that made it.
    pub size: usize,
    /// [`VERSION`].
    pub version: u32,
    /// Sizes in bytes of [`HostTable`], [`RawJob`] and [`JobVTable`].
    pub sizes: [usize; 3],
    /// The table in use; NULL when nothing runs yet, or in a forked child.
    pub table: AtomicPtr<HostTable>,
    /// Makes the owner's default runtime and returns its table with one handle taken, or NULL.
    pub refill: unsafe extern "C" fn() -> *const HostTable,
}
