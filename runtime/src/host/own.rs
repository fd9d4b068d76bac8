//! The production host: the table's functions over a `Shared`.
//!
//! Invariant: `ctx` is a live `Shared` for as long as somebody holds a handle, and every function may
//! be called from any thread, attached or not, without blocking.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gilscope_instrument::{CallStamps, Name, Status, clock};

use super::HostRef;
use super::table::{self as t, Ctx, HostTable};
use crate::life::shutdown::{self, ShutdownMode};
use crate::loop_thread::shared::{Shared, dispose};
use crate::queue::room::Taken;
use crate::queue::stack::Link;

/// The table of a runtime whose `Shared` is at `ctx`.
pub(crate) fn table(ctx: Ctx) -> HostTable {
    HostTable {
        size: size_of::<HostTable>(),
        version: t::VERSION,
        kind: 0,
        ctx,
        retain,
        release,
        submit,
        reserve,
        unreserve,
        cancel,
        post,
        runtime_id,
        now,
        begin,
        refused,
        intern,
        on_loop_thread,
        new_task,
        schedule: None,
        timer: None,
        timer_cancel: None,
        register: None,
        undelivered,
        shutdown: stop,
        is_stopped,
        help: Some(help),
        polled,
    }
}

/// Whether a table is of a runtime of this library.
pub(crate) fn is_own(table: &HostTable) -> bool {
    std::ptr::fn_addr_eq(
        table.intern,
        intern as unsafe extern "C" fn(Ctx, *const u8, usize) -> u32,
    )
}

/// A handle on a runtime of this library.
pub(crate) fn handle(shared: &Arc<Shared>) -> HostRef {
    let ctx = Arc::as_ptr(shared).cast_mut().cast();
    // SAFETY: the Arc keeps the Shared alive while `retain` takes one more reference.
    unsafe { retain(ctx) };
    // SAFETY: the reference just taken keeps the Shared, and with it the table, alive.
    unsafe { HostRef::adopt(&raw const shared.table) }
}

/// The runtime behind a handle of this library.
pub(crate) fn shared_of(host: &HostRef) -> Option<Arc<Shared>> {
    if !is_own(host.table()) || host.is_simulated() {
        return None;
    }
    let shared = host.table().ctx.cast::<Shared>().cast_const();
    // SAFETY: the handle keeps it alive; it was made by `Arc`.
    unsafe {
        Arc::increment_strong_count(shared);
        Some(Arc::from_raw(shared))
    }
}

/// # Safety
/// `ctx` is from a live table of this library.
unsafe fn of<'a>(ctx: Ctx) -> &'a Shared {
    // SAFETY: see above.
    unsafe { &*ctx.cast::<Shared>() }
}

unsafe extern "C" fn retain(ctx: Ctx) {
    // SAFETY: the caller holds a handle.
    unsafe {
        Arc::increment_strong_count(ctx.cast::<Shared>().cast_const());
        of(ctx).handles.fetch_add(1, Ordering::Relaxed);
    }
}

unsafe extern "C" fn release(ctx: Ctx) {
    // SAFETY: the caller gives its handle back; the Arc is ours until the end of the function.
    let shared = unsafe { Arc::from_raw(ctx.cast::<Shared>().cast_const()) };
    if shared.handles.fetch_sub(1, Ordering::AcqRel) == 1 && !shared.is_stopping() {
        // Nobody can call any more: let what runs finish, then end the thread.
        let _ = shutdown::request(&shared, ShutdownMode::Drain);
    }
}

unsafe extern "C" fn submit(ctx: Ctx, job: *mut t::RawJob, reserved: u64) -> i32 {
    // SAFETY: the caller holds a handle.
    let shared = unsafe { of(ctx) };
    if let Some(why) = shared.refusing() {
        return t::SUBMIT_STOPPED - why as i32;
    }
    let taken = match reserved {
        0 => shared.room.try_take(),
        number if shared.room.use_grant(number) => Taken::Yes,
        _ => Taken::Full,
    };
    match taken {
        Taken::Yes => {}
        Taken::Full => return t::SUBMIT_FULL,
        Taken::Closed => return t::SUBMIT_STOPPED - 1,
    }
    // SAFETY: the caller passes a job that is in no list; until the post it is the caller's alone.
    unsafe { (*job).stamps.enqueued() };
    // SAFETY: as above, and one reference passes to the queue.
    unsafe { put(shared, job.cast()) };
    t::SUBMITTED
}

/// # Safety
/// As [`Stack::push`](crate::queue::stack::Stack::push).
unsafe fn put(shared: &Shared, link: *mut Link) {
    // SAFETY: passed on.
    if unsafe { shared.inbox.post(link) } {
        let why = shared
            .refusing()
            .map_or(1, |why| why.detail(shared.number()));
        for message in shared.inbox.take() {
            dispose(message, t::END_STOPPED, why);
        }
    }
}

unsafe extern "C" fn reserve(ctx: Ctx, wake: *const t::RawWake) -> u64 {
    // SAFETY: the caller passes a valid struct whose ownership passes to us.
    let wake = Wake(unsafe { wake.read() });
    // SAFETY: the caller holds a handle.
    unsafe { of(ctx) }.room.wait(Box::new(move || wake.wake()))
}

unsafe extern "C" fn unreserve(ctx: Ctx, number: u64) {
    // SAFETY: the caller holds a handle.
    let shared = unsafe { of(ctx) };
    if !shared.is_forked() {
        shared.room.leave(number);
    }
}

/// Calls exactly one of the two functions of a `RawWake`.
struct Wake(t::RawWake);

// SAFETY: the struct's contract allows both functions on any thread.
unsafe impl Send for Wake {}

impl Wake {
    fn wake(self) {
        let wake = std::mem::ManuallyDrop::new(self);
        // SAFETY: called once, and `drop` is not.
        unsafe { (wake.0.wake)(wake.0.data) };
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        // SAFETY: called once, and `wake` was not.
        unsafe { (self.0.drop)(self.0.data) };
    }
}

unsafe extern "C" fn cancel(ctx: Ctx, job: *mut t::RawJob) {
    // SAFETY: the caller holds a handle.
    let shared = unsafe { of(ctx) };
    if shared.is_forked() {
        return; // the call is the parent's, and so is the bell
    }
    // SAFETY: the caller passes a live job.
    let message = unsafe { cancel_message(job) };
    // SAFETY: a fresh message that the inbox owns from now on.
    unsafe { put(shared, message) };
}

/// A [`t::RawCancel`] with a reference of its own to the job.
///
/// # Safety
/// The job is live.
pub(super) unsafe fn cancel_message(job: *mut t::RawJob) -> *mut Link {
    // SAFETY: see above.
    unsafe { ((*(*job).vtable).retain)(job) };
    let message = t::Message {
        link: Link::new(),
        kind: t::MESSAGE_CANCEL,
    };
    Box::into_raw(Box::new(t::RawCancel { message, job })).cast()
}

unsafe extern "C" fn post(ctx: Ctx, post: *mut t::RawPost) -> bool {
    // SAFETY: the caller holds a handle.
    let shared = unsafe { of(ctx) };
    if shared.is_stopped() {
        return false;
    }
    // SAFETY: the caller passes a message that is in no list, and it is the inbox's from now on.
    unsafe { put(shared, post.cast()) };
    true
}

unsafe extern "C" fn undelivered(ctx: Ctx) {
    // SAFETY: the caller holds a handle.
    unsafe { of(ctx) }
        .counters
        .undelivered
        .fetch_add(1, Ordering::Relaxed);
}

unsafe extern "C" fn stop(ctx: Ctx, mode: u32, deadline: u64) -> t::RawShutdown {
    // SAFETY: the caller holds a handle, which keeps the table, and with it the Shared, alive.
    let host = unsafe {
        retain(ctx);
        HostRef::adopt(&raw const of(ctx).table)
    };
    let Some(shared) = shared_of(&host) else {
        return t::RawShutdown::default();
    };
    super::cell::forget_if(host.table());
    let mode = match mode {
        0 => ShutdownMode::Drain,
        1 => ShutdownMode::Cancel,
        _ => ShutdownMode::Abort,
    };
    let deadline = (deadline != u64::MAX).then(|| Duration::from_nanos(deadline));
    let report = shutdown::run(&shared, mode, deadline);
    t::RawShutdown {
        pending: report.pending,
        abandoned: report.abandoned,
        joined: report.joined,
    }
}

unsafe extern "C" fn is_stopped(ctx: Ctx) -> bool {
    // SAFETY: the caller holds a handle.
    unsafe { of(ctx) }.is_stopping()
}

unsafe extern "C" fn help(ctx: Ctx) {
    // SAFETY: the caller holds a handle.
    let shared = unsafe { of(ctx) };
    if !shared.is_forked() {
        shared.wakes.help();
    }
}

unsafe extern "C" fn runtime_id(ctx: Ctx) -> u64 {
    // SAFETY: the caller holds a handle.
    unsafe { of(ctx).id }
}

unsafe extern "C" fn now(_ctx: Ctx) -> u64 {
    clock::to_ns(clock::now())
}

pub(super) unsafe extern "C" fn begin(_ctx: Ctx, stamps: *mut CallStamps) {
    // SAFETY: the caller passes a valid pointer to stamps.
    unsafe { *stamps = (*stamps).begun() };
}

pub(super) unsafe extern "C" fn polled(_ctx: Ctx, stamps: *mut CallStamps) -> bool {
    let Some(context) = crate::trace::polled_here() else {
        return false;
    };
    // SAFETY: the caller passes a valid pointer to stamps.
    unsafe { *stamps = CallStamps::below(&context) };
    true
}

pub(super) unsafe extern "C" fn refused(
    _ctx: Ctx,
    stamps: *const CallStamps,
    name: u32,
    status: u8,
) {
    let status = Status::ALL
        .get(status as usize)
        .copied()
        .unwrap_or(Status::Error);
    // SAFETY: the caller passes a valid pointer.
    unsafe { (*stamps).refused(Name(name), status) };
}

pub(super) unsafe extern "C" fn intern(_ctx: Ctx, text: *const u8, length: usize) -> u32 {
    // SAFETY: the caller passes a live buffer of that length.
    let text = unsafe { std::slice::from_raw_parts(text, length) };
    gilscope_instrument::intern(&String::from_utf8_lossy(text)).0
}

unsafe extern "C" fn on_loop_thread(ctx: Ctx) -> u32 {
    // SAFETY: the caller holds a handle.
    if unsafe { of(ctx) }.on_loop_thread() {
        return 1;
    }
    2 * u32::from(crate::loop_thread::state::current().is_some())
}

unsafe extern "C" fn new_task(_ctx: Ctx) -> u64 {
    gilscope_instrument::new_id()
}
