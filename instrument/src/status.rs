//! How a call ended, and what else is worth saying about its end.
//!
//! Invariant: every call ends with exactly one status; the text of a status never changes, since
//! it is what files and exporters carry.

use std::ops::BitOr;

/// How a call or a task ended.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Status {
    /// It returned a value.
    #[default]
    Ok = 0,
    /// It raised.
    Error,
    /// The caller cancelled it.
    CancelledByCaller,
    /// It raised `CancelledError` itself.
    CancelledByCallee,
    /// Its runtime was shut down.
    CancelledByShutdown,
    /// Its deadline passed.
    Deadline,
    /// An argument could not be converted.
    ArgumentError,
    /// The result could not be converted.
    ResultError,
    /// Rust code panicked.
    Panic,
    /// The queue had no room.
    QueueFull,
    /// The runtime was stopped already.
    Stopped,
    /// It was called from a thread that must not block.
    WrongThread,
    /// Its future was dropped before anybody awaited it: it never began.
    NeverAwaited,
}

impl Status {
    /// Every status, in the order of its number.
    pub const ALL: [Status; 13] = [
        Status::Ok,
        Status::Error,
        Status::CancelledByCaller,
        Status::CancelledByCallee,
        Status::CancelledByShutdown,
        Status::Deadline,
        Status::ArgumentError,
        Status::ResultError,
        Status::Panic,
        Status::QueueFull,
        Status::Stopped,
        Status::WrongThread,
        Status::NeverAwaited,
    ];

    /// The word used in files, exporters and documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Error => "error",
            Status::CancelledByCaller => "cancelled_by_caller",
            Status::CancelledByCallee => "cancelled_by_callee",
            Status::CancelledByShutdown => "cancelled_by_shutdown",
            Status::Deadline => "deadline",
            Status::ArgumentError => "argument_error",
            Status::ResultError => "result_error",
            Status::Panic => "panic",
            Status::QueueFull => "queue_full",
            Status::Stopped => "stopped",
            Status::WrongThread => "wrong_thread",
            Status::NeverAwaited => "never_awaited",
        }
    }

    pub(crate) fn from_u8(value: u8) -> Status {
        *Status::ALL.get(value as usize).unwrap_or(&Status::Error)
    }
}

/// What else is worth saying about the end of a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Flags(pub u16);

impl Flags {
    /// A cancellation reached the coroutine and it went on.
    pub const CANCEL_SWALLOWED: Flags = Flags(1);
    /// The caller went away and the call was left running.
    pub const DETACHED: Flags = Flags(1 << 1);
    /// The caller's future was dropped before the outcome.
    pub const CALLER_DROPPED: Flags = Flags(1 << 2);
    /// The callback raised or panicked.
    pub const CALLBACK_FAILED: Flags = Flags(1 << 3);
    /// Nobody was there to take the outcome.
    pub const UNDELIVERED: Flags = Flags(1 << 4);
    /// The function was not a coroutine function and returned at once.
    pub const IMMEDIATE: Flags = Flags(1 << 5);
    /// Its code had not ended when the runtime, or the process, gave its loop up.
    pub const UNFINISHED: Flags = Flags(1 << 6);

    const NAMES: [(Flags, &'static str); 7] = [
        (Flags::CANCEL_SWALLOWED, "cancel_swallowed"),
        (Flags::DETACHED, "detached"),
        (Flags::CALLER_DROPPED, "caller_dropped"),
        (Flags::CALLBACK_FAILED, "callback_failed"),
        (Flags::UNDELIVERED, "undelivered"),
        (Flags::IMMEDIATE, "immediate"),
        (Flags::UNFINISHED, "unfinished"),
    ];

    /// Are all of `other`'s flags set?
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Is no flag set?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The words for the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(flag, _)| self.contains(*flag))
            .map(|(_, name)| name)
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}
