//! The table's functions over a [`SimHost`].
//!
//! Invariant: each may be called from any thread at any time, also after the simulation; entries from
//! threads other than its own are counted.

use std::sync::atomic::Ordering;

use super::entry::{Entry, What, lane_of, steps_of};
use super::{Life, SimHost, Way};
use crate::error::Stopped;
use crate::host::own;
use crate::host::table::{self as t, Ctx, HostTable};
use crate::queue::stack::Link;

pub(super) fn table(ctx: Ctx) -> HostTable {
    HostTable {
        size: size_of::<HostTable>(),
        version: t::VERSION,
        kind: 1,
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
        begin: own::begin,
        refused: own::refused,
        intern: own::intern,
        on_loop_thread,
        new_task,
        schedule: Some(schedule),
        timer: Some(timer),
        timer_cancel: Some(timer_cancel),
        register: None,
        undelivered,
        shutdown,
        is_stopped,
        help: None,
        polled: own::polled,
    }
}

/// # Safety
/// `ctx` is from a table made by [`table`]. Hosts are never freed.
unsafe fn of(ctx: Ctx) -> &'static SimHost {
    // SAFETY: see above.
    unsafe { &*ctx.cast::<SimHost>() }
}

unsafe extern "C" fn retain(ctx: Ctx) {
    // SAFETY: `ctx` is ours.
    unsafe { of(ctx) }.handles.fetch_add(1, Ordering::AcqRel);
}

unsafe extern "C" fn release(ctx: Ctx) {
    // SAFETY: `ctx` is ours.
    unsafe { of(ctx) }.handles.fetch_sub(1, Ordering::AcqRel);
}

impl SimHost {
    /// Puts a message into its lane; false: it stays the caller's.
    fn put(&self, way: Way, kind: u32, link: *mut Link) -> bool {
        let producer = self.producer();
        let mut state = self.lock();
        self.entered(&mut state, way);
        let refused = if kind == t::MESSAGE_JOB {
            Life::Stopping
        } else {
            Life::Closed
        };
        if state.life >= refused {
            return false;
        }
        state.last += 1;
        let id = state.last;
        state.entries.insert(id, Entry::new(What::Message(link)));
        state.fresh.push((lane_of(kind, producer, id), id));
        true
    }
}

unsafe extern "C" fn submit(ctx: Ctx, job: *mut t::RawJob, _reserved: u64) -> i32 {
    // SAFETY: the caller passes a job that is in no list; until it is put it is the caller's alone.
    unsafe { (*job).stamps.enqueued() };
    // SAFETY: `ctx` is ours.
    if unsafe { of(ctx) }.put(Way::Submit, t::MESSAGE_JOB, job.cast()) {
        return t::SUBMITTED;
    }
    t::SUBMIT_STOPPED - Stopped::Shutdown as i32
}

/// There is always room.
unsafe extern "C" fn reserve(_ctx: Ctx, wake: *const t::RawWake) -> u64 {
    // SAFETY: the caller passes a valid struct, of which one function is called once.
    unsafe {
        let wake = wake.read();
        (wake.wake)(wake.data);
    }
    0
}

unsafe extern "C" fn unreserve(_ctx: Ctx, _id: u64) {}

unsafe extern "C" fn cancel(ctx: Ctx, job: *mut t::RawJob) {
    // SAFETY: the caller passes a live job; the message takes a reference of its own.
    let message = unsafe { own::cancel_message(job) };
    // SAFETY: `ctx` is ours.
    if !unsafe { of(ctx) }.put(Way::Cancel, t::MESSAGE_CANCEL, message) {
        crate::loop_thread::shared::dispose(message, t::END_CANCELLED_BY_CALLER, 0);
    }
}

unsafe extern "C" fn post(ctx: Ctx, post: *mut t::RawPost) -> bool {
    // SAFETY: `ctx` is ours.
    unsafe { of(ctx) }.put(Way::Post, t::MESSAGE_POST, post.cast())
}

unsafe extern "C" fn runtime_id(ctx: Ctx) -> u64 {
    // SAFETY: `ctx` is ours.
    unsafe { of(ctx) }.id.load(Ordering::Relaxed)
}

unsafe extern "C" fn now(ctx: Ctx) -> u64 {
    // SAFETY: `ctx` is ours.
    unsafe { of(ctx) }.now()
}

unsafe extern "C" fn on_loop_thread(ctx: Ctx) -> u32 {
    // SAFETY: `ctx` is ours.
    let host = unsafe { of(ctx) };
    if host.is_here() && host.lock().life != Life::Closed {
        return 1;
    }
    2 * u32::from(crate::loop_thread::state::current().is_some())
}

unsafe extern "C" fn new_task(ctx: Ctx) -> u64 {
    // SAFETY: `ctx` is ours.
    let mut state = unsafe { of(ctx) }.lock();
    state.tasks += 1;
    state.tasks
}

unsafe extern "C" fn schedule(ctx: Ctx, runnable: *const t::RawRunnable) {
    // SAFETY: `ctx` is ours; the caller passes a valid struct whose ownership passes to us.
    let (host, runnable) = unsafe { (of(ctx), runnable.read()) };
    let lane = steps_of(runnable.task);
    let entry = Entry::new(What::Step(runnable));
    let refused = {
        let mut state = host.lock();
        host.entered(&mut state, Way::Schedule);
        if state.life == Life::Closed {
            Some(entry)
        } else {
            state.last += 1;
            let id = state.last;
            state.entries.insert(id, entry);
            state.fresh.push((lane, id));
            None
        }
    };
    drop(refused);
}

unsafe extern "C" fn timer(ctx: Ctx, deadline: u64, wake: *const t::RawWake) -> u64 {
    // SAFETY: `ctx` is ours; the caller passes a valid struct whose ownership passes to us.
    let (host, wake) = unsafe { (of(ctx), wake.read()) };
    {
        let mut state = host.lock();
        host.entered(&mut state, Way::Timer);
        if state.life != Life::Closed {
            state.last += 1;
            let id = state.last;
            state.timers.insert((deadline, id), wake);
            state.deadlines.insert(id, deadline);
            return id;
        }
    }
    // SAFETY: one function is called once, outside the lock.
    unsafe { (wake.drop)(wake.data) };
    0
}

unsafe extern "C" fn timer_cancel(ctx: Ctx, id: u64) {
    let wake = {
        // SAFETY: `ctx` is ours.
        let mut state = unsafe { of(ctx) }.lock();
        let deadline = state.deadlines.remove(&id);
        deadline.and_then(|deadline| state.timers.remove(&(deadline, id)))
    };
    if let Some(wake) = wake {
        // SAFETY: taken out of the timers, so that one function is called once, outside the lock.
        unsafe { (wake.drop)(wake.data) };
    }
}

unsafe extern "C" fn undelivered(_ctx: Ctx) {}

/// A simulation ends with its main coroutine, not before.
unsafe extern "C" fn shutdown(_ctx: Ctx, _mode: u32, _deadline: u64) -> t::RawShutdown {
    t::RawShutdown::default()
}

unsafe extern "C" fn is_stopped(_ctx: Ctx) -> bool {
    false
}
