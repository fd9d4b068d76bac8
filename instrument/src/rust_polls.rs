//! Polls of Rust futures that Python awaits, on whatever thread they are polled.
//!
//! Invariant: bounded and lock-free, nobody waits; a poll is recorded before what it was awaited for
//! can go on, so it is there when its call ends.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;

use crate::detail::{Detail, detail};
use crate::name::Name;
use crate::recorder::Cause;
use crate::span::ThreadInfo;
use crate::{clock, global};

const CAPACITY: usize = 1 << 14;

thread_local! {
    /// The calling thread, as its records call it.
    static THIS: RefCell<Option<Arc<ThreadInfo>>> = const { RefCell::new(None) };
}

/// The calling thread is a loop's.
pub(crate) fn is_thread(thread: &Arc<ThreadInfo>) {
    THIS.set(Some(thread.clone()));
}

/// `None` on a thread that is being torn down.
fn this_thread() -> Option<Arc<ThreadInfo>> {
    let named = || {
        Arc::new(ThreadInfo {
            name: std::thread::current().name().unwrap_or("thread").to_owned(),
            tid: crate::recorder::thread_id(),
            ident: crate::recorder::ident(),
            runtime: 0,
        })
    };
    let known = |this: &RefCell<Option<_>>| this.borrow_mut().get_or_insert_with(named).clone();
    THIS.try_with(known).ok()
}

/// Whose await it is: a call, or a task made inside one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Awaiting {
    pub(crate) id: u64,
    pub(crate) call: u64,
    pub(crate) trace: [u64; 2],
    pub(crate) trace_flags: u16,
    pub(crate) runtime: u16,
    /// Of the call, or the task.
    pub(crate) name: Name,
}

/// A Rust future's waker was lost: who awaits it waits for ever. Made by [`RustPolls::lost_wake`].
#[derive(Clone, Copy, Debug)]
pub struct LostWake {
    pub(crate) by: Awaiting,
    /// What is awaited.
    pub(crate) name: Name,
    /// Since when.
    pub(crate) since: u64,
}

impl LostWake {
    /// It has happened. Any thread, without the GIL.
    #[cold]
    pub fn tell(&self) {
        crate::side::lost_wake(*self);
    }
}

/// One poll.
pub(crate) struct RustPoll {
    pub(crate) id: u64,
    pub(crate) by: Awaiting,
    /// What is polled.
    pub(crate) name: Name,
    /// Which poll of it this is, from 1.
    pub(crate) number: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) thread: Arc<ThreadInfo>,
}

/// Ticks now, if polls of Rust futures are recorded, else 0: when the first poll of one begins of which
/// it is not known yet whether there will be more. Any thread, no GIL.
#[inline]
pub fn first_poll() -> u64 {
    if detail() == Detail::Full {
        clock::now()
    } else {
        0
    }
}

/// Records the polls of one Rust future, which a call or a task made inside one awaits. Made by
/// [`LoopRecorder::awaits_rust`](crate::LoopRecorder::awaits_rust), used on any thread, without the GIL.
#[derive(Debug)]
pub struct RustPolls {
    by: Awaiting,
    name: Name,
    polls: u32,
    /// The id of the newest one.
    newest: u64,
    /// When that ended.
    ended: u64,
}

impl RustPolls {
    pub(crate) fn new(by: Awaiting, name: Name) -> RustPolls {
        // Here and not at the first poll, which allocates nothing.
        global::global().rust_polls.prepare();
        RustPolls {
            by,
            name,
            polls: 0,
            newest: 0,
            ended: 0,
        }
    }

    /// What to tell if the waker of this future is lost.
    #[must_use]
    pub fn lost_wake(&self) -> LostWake {
        LostWake {
            by: self.by,
            name: self.name,
            since: clock::now(),
        }
    }

    /// The newest poll, as that which wakes who awaits the future, at its end.
    pub fn cause(&self) -> Cause {
        let Awaiting {
            trace, trace_flags, ..
        } = self.by;
        Cause::rust_poll(self.newest, trace, trace_flags, self.ended)
    }

    /// A poll was from `start` to `end`, in ticks, on this thread.
    #[inline]
    pub fn polled(&mut self, start: u64, end: u64) {
        self.polls = self.polls.wrapping_add(1);
        self.newest = crate::new_id();
        self.ended = end.max(start);
        let Some(thread) = this_thread() else { return };
        let poll = RustPoll {
            id: self.newest,
            by: self.by,
            name: self.name,
            number: self.polls,
            start,
            end: self.ended,
            thread,
        };
        let global = global::global();
        if global.rust_polls.push(poll) {
            global.wake_converter();
        }
    }

    /// A poll begins on this thread; it ends when what is returned is dropped, also by a panic.
    #[inline]
    pub fn begin(&mut self) -> impl Drop {
        RunningPoll {
            start: clock::now(),
            polls: self,
        }
    }
}

struct RunningPoll<'a> {
    start: u64,
    polls: &'a mut RustPolls,
}

impl Drop for RunningPoll<'_> {
    fn drop(&mut self) {
        self.polls.polled(self.start, clock::now());
    }
}

/// Polls that the converter has not taken yet.
#[derive(Default)]
pub(crate) struct Lane {
    /// Made when there is first something to put in: 1.4 MB.
    queue: OnceLock<ArrayQueue<RustPoll>>,
    dropped: AtomicU64,
}

impl Lane {
    fn prepare(&self) {
        self.queue.get_or_init(|| ArrayQueue::new(CAPACITY));
    }

    /// True if the converter is to come.
    fn push(&self, poll: RustPoll) -> bool {
        // In a forked child it is a fresh lane, and the future the parent's.
        let Some(queue) = self.queue.get() else {
            return false;
        };
        if queue.push(poll).is_err() {
            self.dropped.fetch_add(1, Relaxed);
            return true;
        }
        queue.len() > CAPACITY / 4
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.get().map_or(0, ArrayQueue::len)
    }

    pub(crate) fn pop(&self) -> Option<RustPoll> {
        self.queue.get()?.pop()
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}
