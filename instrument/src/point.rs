//! Points: each place where something crosses a border or waits.
//!
//! Invariant: this list is the only one. Spans are what lies between two points; gates and faults
//! are named after points; the documentation is generated from here.

use std::fmt::Write;

use crate::span::SpanKind;

/// A place where something crosses or waits.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Point {
    /// A caller, on any thread, asks for a call: of a future, by its first poll.
    Called = 0,
    /// The queue took the call, after it had room.
    Enqueued,
    /// The call never reached the queue.
    Refused,
    /// The loop's wait returned; the loop thread is still detached.
    Returned,
    /// The loop thread attached: it holds the GIL.
    Attached,
    /// The loop thread took the call from the queue.
    Opened,
    /// A step of the coroutine begins.
    PollStart,
    /// The step ends: the coroutine yielded, returned or raised.
    PollEnd,
    /// What the coroutine awaits is done: it is due for its next step.
    Woken,
    /// A cancellation reaches the call.
    Cancelled,
    /// The outcome was delivered and the callback returned.
    Closed,
    /// A task was made inside a call.
    TaskOpened,
    /// The task is done.
    TaskClosed,
    /// The loop thread is about to detach, or looks for events without detaching.
    TurnEnd,
    /// A poll of a Rust future that a coroutine awaits begins.
    RustPollStart,
    /// That poll ends.
    RustPollEnd,
}

impl Point {
    /// Every point, in the order of its number.
    pub const ALL: [Point; 16] = [
        Point::Called,
        Point::Enqueued,
        Point::Refused,
        Point::Returned,
        Point::Attached,
        Point::Opened,
        Point::PollStart,
        Point::PollEnd,
        Point::Woken,
        Point::Cancelled,
        Point::Closed,
        Point::TaskOpened,
        Point::TaskClosed,
        Point::TurnEnd,
        Point::RustPollStart,
        Point::RustPollEnd,
    ];

    /// Its name in schedules, faults and documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Point::Called => "called",
            Point::Enqueued => "enqueued",
            Point::Refused => "refused",
            Point::Returned => "returned",
            Point::Attached => "attached",
            Point::Opened => "opened",
            Point::PollStart => "poll.start",
            Point::PollEnd => "poll.end",
            Point::Woken => "woken",
            Point::Cancelled => "cancelled",
            Point::Closed => "closed",
            Point::TaskOpened => "task.opened",
            Point::TaskClosed => "task.closed",
            Point::TurnEnd => "turn.end",
            Point::RustPollStart => "rust.poll.start",
            Point::RustPollEnd => "rust.poll.end",
        }
    }

    /// What happens there.
    pub const fn meaning(self) -> &'static str {
        match self {
            Point::Called => {
                "a caller, on any thread, asks for a call: of a future, by its first poll"
            }
            Point::Enqueued => "the queue took the call, after it had room",
            Point::Refused => "the call never reached the loop thread",
            Point::Returned => "the loop's wait returned; its thread is still detached",
            Point::Attached => "the loop thread holds the GIL",
            Point::Opened => "the loop thread took the call from the queue",
            Point::PollStart => "a step of the coroutine begins",
            Point::PollEnd => "the coroutine yielded, returned or raised",
            Point::Woken => "what the coroutine awaits is done",
            Point::Cancelled => "a cancellation reaches the call",
            Point::Closed => "the outcome was delivered, the callback returned",
            Point::TaskOpened => "a task was made inside a call",
            Point::TaskClosed => "the task is done",
            Point::TurnEnd => "the loop thread is about to detach, or looks for events attached",
            Point::RustPollStart => "a poll of a Rust future that a coroutine awaits begins",
            Point::RustPollEnd => "the Rust future is ready, or pending",
        }
    }
}

impl SpanKind {
    /// The point at which such a span starts.
    pub const fn from(self) -> Point {
        match self {
            SpanKind::Call | SpanKind::Enqueue => Point::Called,
            SpanKind::Queued => Point::Enqueued,
            SpanKind::GilWait => Point::Returned,
            SpanKind::Ready | SpanKind::LoopTurn => Point::Attached,
            SpanKind::Poll => Point::PollStart,
            SpanKind::Suspended | SpanKind::Callback => Point::PollEnd,
            SpanKind::Task => Point::TaskOpened,
            SpanKind::RustPoll => Point::RustPollStart,
        }
    }

    /// The point at which such a span ends.
    pub const fn until(self) -> Point {
        match self {
            SpanKind::Call | SpanKind::Callback => Point::Closed,
            SpanKind::Enqueue => Point::Enqueued,
            SpanKind::Queued => Point::Returned,
            SpanKind::GilWait => Point::Attached,
            SpanKind::Ready | SpanKind::Suspended => Point::PollStart,
            SpanKind::Poll => Point::PollEnd,
            SpanKind::Task => Point::TaskClosed,
            SpanKind::LoopTurn => Point::TurnEnd,
            SpanKind::RustPoll => Point::RustPollEnd,
        }
    }

    const fn parent(self) -> &'static str {
        match self {
            SpanKind::Call => "the caller's span, or none",
            SpanKind::Task => "its call",
            SpanKind::LoopTurn => "none",
            SpanKind::Ready | SpanKind::Poll | SpanKind::Suspended | SpanKind::RustPoll => {
                "its call or task"
            }
            _ => "its call",
        }
    }

    const fn how_many(self) -> &'static str {
        match self {
            SpanKind::Call => "one",
            SpanKind::Poll => "n",
            SpanKind::Suspended => "n - 1",
            SpanKind::Task => "one per task",
            SpanKind::LoopTurn => "one per turn of a loop",
            SpanKind::RustPoll => "one per poll of a Rust future",
            _ => "one",
        }
    }

    const fn carries(self) -> &'static str {
        match self {
            SpanKind::Call => "status, flags, error, number of polls",
            SpanKind::Task => "status, error, number of polls",
            SpanKind::Poll => "which poll, its turn, from 1 ms on its CPU time",
            SpanKind::Suspended => "where it awaits, when it was woken",
            SpanKind::LoopTurn => {
                "CPU time of the thread, how long it waited for the GIL before, number of calls served"
            }
            SpanKind::RustPoll => "which poll of its future, which is its name",
            _ => "",
        }
    }
}

/// The table of spans, in Markdown.
pub fn span_table() -> String {
    let mut table = String::from(
        "| span | from | until | per call | parent | carries |\n|---|---|---|---|---|---|\n",
    );
    for kind in SpanKind::ALL {
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| `{}` | `{}` | `{}` | {} | {} | {} |",
            kind.as_str(),
            kind.from().as_str(),
            kind.until().as_str(),
            kind.how_many(),
            kind.parent(),
            kind.carries()
        );
    }
    table
}

/// The table of points, in Markdown.
pub fn point_table() -> String {
    let mut table = String::from("| point | what happens |\n|---|---|\n");
    for point in Point::ALL {
        let _ = writeln!(table, "| `{}` | {} |", point.as_str(), point.meaning());
    }
    table
}
