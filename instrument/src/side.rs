//! The side lane: rare things that do not fit a slot, from any thread.
//!
//! Invariant: bounded and lock-free; what finds no room is counted, nobody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_queue::ArrayQueue;

use crate::error::ErrorText;
use crate::finding::Look;
use crate::name::Name;
use crate::notes::Notes;
use crate::rust_polls::LostWake;
use crate::stamps::CallStamps;
use crate::status::Status;
use crate::{clock, global};

const CAPACITY: usize = 4096;
/// The converter is woken whenever so many more have come.
const QUARTER: usize = CAPACITY / 4;

/// One thing in the side lane.
pub(crate) enum Item {
    /// What ended the call or task `id`.
    Error { id: u64, text: Arc<ErrorText> },
    /// What user code said of the call `id`.
    Notes { id: u64, notes: Arc<Notes> },
    /// A call that never reached the loop thread.
    Refused(Refused),
    /// What a watchdog saw.
    Look(Look),
    /// What Python calls the thread of that number.
    Thread(u32, String),
    /// A Rust future that is never polled again, and when that was found.
    LostWake(LostWake, u64),
}

/// A call that never reached the loop thread.
#[derive(Clone, Copy)]
pub(crate) struct Refused {
    pub(crate) stamps: CallStamps,
    pub(crate) name: Name,
    pub(crate) status: Status,
    pub(crate) end: u64,
}

/// The lane and its count of drops.
pub(crate) struct Lane {
    queue: ArrayQueue<Item>,
    dropped: AtomicU64,
}

impl Lane {
    pub(crate) fn new() -> Lane {
        Lane {
            queue: ArrayQueue::new(CAPACITY),
            dropped: AtomicU64::new(0),
        }
    }

    fn push(&self, item: Item) {
        if self.queue.push(item).is_err() {
            self.count_drop();
        }
    }

    pub(crate) fn pop(&self) -> Option<Item> {
        self.queue.pop()
    }

    pub(crate) fn count_drop(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// What the converter needs no haste for.
pub(crate) fn push(item: Item) {
    global::global().side.push(item);
}

#[cold]
pub(crate) fn error(id: u64, type_name: &str, message: &str, stack: &str) {
    let text = Arc::new(ErrorText::new(type_name, message, stack));
    let global = global::global();
    global.side.push(Item::Error { id, text });
    // Many tasks may fail at once, before their records fill a part of the ring.
    if global.side.queue.len().is_multiple_of(QUARTER) {
        global.wake_converter();
    }
}

#[cold]
pub(crate) fn notes(id: u64, notes: Notes) {
    let notes = Arc::new(notes);
    let global = global::global();
    global.side.push(Item::Notes { id, notes });
    // As of errors: many tasks may end at once.
    if global.side.queue.len().is_multiple_of(QUARTER) {
        global.wake_converter();
    }
}

#[cold]
pub(crate) fn lost_wake(lost: LostWake) {
    let global = global::global();
    global.side.push(Item::LostWake(lost, clock::now()));
    global.wake_converter();
}

#[cold]
pub(crate) fn refused(stamps: CallStamps, name: Name, status: Status) {
    let item = Refused {
        stamps,
        name,
        status,
        end: clock::now().max(stamps.called),
    };
    global::global().side.push(Item::Refused(item));
    global::global().wake_converter();
}
