//! Spans: what the converter makes of records and what sinks get.
//!
//! Invariant: the parts of a call (its children but for `task` and `rust.poll`) add up to it exactly, in ticks.

use std::sync::Arc;

use crate::clock;
use crate::error::ErrorText;
use crate::name::Name;
use crate::notes::Notes;
use crate::status::{Flags, Status};
use crate::trace::sampled;

/// What a span is. One word per idea, everywhere.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum SpanKind {
    /// From the call until its callback returned.
    Call = 0,
    /// From the call until the queue took it.
    Enqueue,
    /// In the queue, until the loop thread returned from its wait.
    Queued,
    /// The loop thread waits for the GIL.
    GilWait,
    /// Attached, until the first poll.
    Ready,
    /// One step of the coroutine.
    Poll,
    /// Yielded, until the next poll.
    Suspended,
    /// The outcome is ready, until it was delivered.
    Callback,
    /// A task made inside a call.
    Task,
    /// Attached until detached: the GIL hold.
    LoopTurn,
    /// One poll of a Rust future that a coroutine awaits: inside `poll` or `suspended`, and no part of
    /// the sum.
    RustPoll,
}

impl SpanKind {
    /// Every kind, in the order of its number.
    pub const ALL: [SpanKind; 11] = [
        SpanKind::Call,
        SpanKind::Enqueue,
        SpanKind::Queued,
        SpanKind::GilWait,
        SpanKind::Ready,
        SpanKind::Poll,
        SpanKind::Suspended,
        SpanKind::Callback,
        SpanKind::Task,
        SpanKind::LoopTurn,
        SpanKind::RustPoll,
    ];

    /// The word used in files, exporters and documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            SpanKind::Call => "call",
            SpanKind::Enqueue => "enqueue",
            SpanKind::Queued => "queued",
            SpanKind::GilWait => "gil.wait",
            SpanKind::Ready => "ready",
            SpanKind::Poll => "poll",
            SpanKind::Suspended => "suspended",
            SpanKind::Callback => "callback",
            SpanKind::Task => "task",
            SpanKind::LoopTurn => "loop.turn",
            SpanKind::RustPoll => "rust.poll",
        }
    }
}

/// The thread a span was recorded on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ThreadInfo {
    /// Its name.
    pub name: String,
    /// Its kernel thread id; 0 for "some thread of the caller".
    pub tid: u32,
    /// What Python's `threading.get_ident` returns on it; 0 likewise.
    pub ident: u64,
    /// The runtime whose loop runs on it.
    pub runtime: u16,
}

/// The poll that woke another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WokenBy {
    /// The id of its span.
    pub span: u64,
    /// The trace it belongs to.
    pub trace: [u64; 2],
    /// Whether it is exported: a link to one that is not would lead nowhere.
    pub sampled: bool,
}

/// One span. Stamps are in ticks of [`crate::clock`].
#[derive(Clone, Debug)]
pub struct Span {
    /// What it is.
    pub kind: SpanKind,
    /// The runtime it belongs to.
    pub runtime: u16,
    /// Its id; unique and not zero.
    pub id: u64,
    /// The id of the span it is a child of, or 0.
    pub parent: u64,
    /// The trace it belongs to; zero for `loop.turn`.
    pub trace: [u64; 2],
    /// The call it belongs to, or 0 for `loop.turn`.
    pub call: u64,
    /// The function of the call or task. `rust.poll`: what is polled.
    pub name: Name,
    /// Ticks at its start.
    pub start: u64,
    /// Ticks at its end.
    pub end: u64,
    /// `suspended`: where the coroutine awaits.
    pub at: Name,
    /// `poll` and `suspended`: which poll of its call or task (from 1) this is or precedes.
    /// `call`, `task`: number of polls. `loop.turn`: number of calls and tasks served. `rust.poll`: which poll of
    /// its future.
    pub poll: u32,
    /// `suspended`: ticks at the wake, or 0 if unknown. `loop.turn`: since when its thread waited for the
    /// GIL right before it, or 0 if it did not.
    pub wake: u64,
    /// How the call or task ended.
    pub status: Status,
    /// More about the end of the call or task.
    pub flags: Flags,
    /// `loop.turn`: CPU time of the thread inside, in nanoseconds. `poll`: the same, of one that took a
    /// millisecond or more; else 0.
    pub cpu_ns: u64,
    /// What ended the call or task, if it raised or panicked.
    pub error: Option<Arc<ErrorText>>,
    /// `call`: what user code said of it, where that is exported. `task`: the name it was given.
    pub notes: Option<Arc<Notes>>,
    /// The eight trace flags, and [`REMOTE`](crate::REMOTE).
    pub trace_flags: u16,
    /// `poll`: in which poll of another call or task of its loop, or of the Rust future that it awaited, it
    /// was woken, if in one.
    pub woken_by: Option<WokenBy>,
    /// The thread it was recorded on.
    pub thread: Arc<ThreadInfo>,
    /// `poll`, `loop.turn`: the id of the turn, or 0 outside of any.
    pub turn: u64,
    /// `call` and `task` recorded with [`crate::Detail::Call`]: ticks in each part, in the order
    /// enqueue, queued, gil.wait, ready, poll, suspended, callback.
    pub totals: Option<[u64; 7]>,
}

impl Span {
    /// One of which nothing is known but what it is and where it was recorded.
    pub(crate) fn plain(kind: SpanKind, thread: Arc<ThreadInfo>) -> Span {
        Span {
            kind,
            runtime: thread.runtime,
            id: 0,
            parent: 0,
            trace: [0; 2],
            call: 0,
            name: Name(0),
            start: 0,
            end: 0,
            at: Name(0),
            poll: 0,
            wake: 0,
            status: Status::Ok,
            flags: Flags::default(),
            cpu_ns: 0,
            error: None,
            notes: None,
            trace_flags: 0,
            woken_by: None,
            thread,
            turn: 0,
            totals: None,
        }
    }

    /// Its length in ticks.
    pub fn ticks(&self) -> u64 {
        self.end - self.start
    }

    /// `loop.turn`: for how long its thread waited for the GIL right before it, in nanoseconds.
    pub fn gil_wait_ns(&self) -> u64 {
        if self.kind != SpanKind::LoopTurn || self.wake == 0 {
            return 0;
        }
        // As lengths of spans, so that the wait ends where the turn begins.
        clock::unix_ns(self.start) - clock::unix_ns(self.wake)
    }

    /// Whether it is to be exported.
    pub fn is_sampled(&self) -> bool {
        sampled(self.trace_flags)
    }
}
