//! Findings: what a call suffered from, in one sentence with a number, and what to do about it.
//!
//! Invariant: a finding is sure, or it is not made; all are found on the converter's thread, in what was
//! recorded anyway. docs/findings.md has a section for each.

mod holder;
mod json;
mod judge;
mod look;
mod rules;
mod say;
mod slow;
mod store;

use crate::name::Name;

pub(crate) use holder::Holders;
pub use json::json_finding;
pub use look::{Look, looked, named};
pub(crate) use rules::{Clues, Found};
pub use slow::{Slow, set_slow, slow};
pub use store::{Findings, Told};
pub(crate) use store::{Heard, Store};

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Problem {
    /// A call waited for the GIL; who held it was not seen.
    GilWait,
    /// A call waited for the GIL, and who held it was seen.
    GilHeld,
    /// One poll held the loop while another call waited for it.
    LoopHeld,
    /// The queue was full: a call waited for room, or was refused.
    QueueFull,
    /// A call was cancelled, went on and returned.
    CancelSwallowed,
    /// A call's future was dropped before anybody awaited it.
    NeverAwaited,
    /// A Rust future that a call awaits is never polled again.
    LostWake,
}

impl Problem {
    /// Every problem, in the order of the ids.
    pub const ALL: [Problem; 7] = [
        Problem::GilWait,
        Problem::GilHeld,
        Problem::LoopHeld,
        Problem::QueueFull,
        Problem::CancelSwallowed,
        Problem::NeverAwaited,
        Problem::LostWake,
    ];

    /// Its id, `GS01` and so on; never given to another.
    pub const fn id(self) -> &'static str {
        match self {
            Problem::GilWait => "GS01",
            Problem::GilHeld => "GS02",
            Problem::LoopHeld => "GS03",
            Problem::QueueFull => "GS04",
            Problem::CancelSwallowed => "GS05",
            Problem::NeverAwaited => "GS06",
            Problem::LostWake => "GS07",
        }
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Problem::GilWait => "gil_wait",
            Problem::GilHeld => "gil_held",
            Problem::LoopHeld => "loop_held",
            Problem::QueueFull => "queue_full",
            Problem::CancelSwallowed => "cancel_swallowed",
            Problem::NeverAwaited => "never_awaited",
            Problem::LostWake => "lost_wake",
        }
    }

    /// What to do about it.
    pub const fn hint(self) -> &'static str {
        match self {
            Problem::GilWait => {
                "another thread held the GIL; a watchdog, gilscope.instrument(watchdog=True), says which where it sees it"
            }
            Problem::GilHeld => {
                "split the long call into C, or run it in another process; in native code of your own, \
                 let go of the GIL (Python::detach, Py_BEGIN_ALLOW_THREADS)"
            }
            Problem::LoopHeld => {
                "await in between, or move the work off the loop (asyncio.to_thread, thread=True)"
            }
            Problem::QueueFull => {
                "callers are faster than the loop: bound them, or raise queue_size"
            }
            Problem::CancelSwallowed => "raise asyncio.CancelledError again after the clean-up",
            Problem::LostWake => {
                "a future that returns Pending has to keep the waker and use it; a deadline ends such a call"
            }
            Problem::NeverAwaited => {
                "await the future, or spawn it: a call begins when that is first polled"
            }
        }
    }
}

/// One finding. Stamps are in ticks of [`crate::clock`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong; it has the id, the name and the hint.
    pub problem: Problem,
    /// The span id of the call it is about, or 0.
    pub call: u64,
    /// That call's trace, or zero.
    pub trace: [u64; 2],
    /// The runtime it happened on.
    pub runtime: u16,
    /// The thread that is to blame, where it is known; else the one it happened on; may be empty.
    pub thread: String,
    /// Since when.
    pub start: u64,
    /// Until when.
    pub end: u64,
    /// The function to blame, else the one that suffered. There is one finding for each.
    pub function: String,
    /// What happened, with the number.
    pub sentence: String,
    /// The stack of the thread to blame, innermost first, `file:line in function`; may be empty.
    pub stack: Vec<String>,
}

/// Whom a call's finding is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Whom {
    /// Of the call or task itself.
    pub(crate) id: u64,
    /// Of the call it belongs to.
    pub(crate) call: u64,
    pub(crate) trace: [u64; 2],
    /// `Name(0)`: not known yet.
    pub(crate) name: Name,
    /// Its handle in the slab, to learn the rest, or 0.
    pub(crate) open: u32,
}

/// A duration in the unit that fits, three digits.
fn duration(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = match value {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        let shown = [7, 1_234, 56_780_000, 203_400_000, 1_500_000_000].map(duration);
        assert_eq!(shown, ["7 ns", "1.23 µs", "56.8 ms", "203 ms", "1.50 s"]);
    }

    #[test]
    fn ids_are_in_order_and_names_are_their_own() {
        for (number, problem) in Problem::ALL.into_iter().enumerate() {
            assert_eq!(problem.id(), format!("GS{:02}", number + 1));
            assert_eq!(problem as usize, number);
            assert!(!problem.hint().is_empty() && !problem.hint().contains('\n'));
        }
    }

    #[test]
    fn who_has_only_python_can_do_what_the_hint_on_the_gil_says_first() {
        let (first, native) = Problem::GilHeld.hint().split_once("; ").expect("two ways");
        for word in ["detach", "Py_", "native"] {
            assert!(!first.contains(word), "{first}");
            assert!(native.contains(word), "{native}");
        }
    }
}
