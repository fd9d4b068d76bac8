//! The records of an open call or task that ends, made of its entry in the slab.
//!
//! Invariant: whoever makes them, its loop thread or the converter from a copy, they are the same.

use crate::name::Name;
use crate::open::{Copied, Read, mode, word};
use crate::record::{Fused, Step};
use crate::status::{Flags, Status};

/// The record of a poll that ends.
#[inline(always)]
pub(crate) fn step(entry: &impl Read, open: u32, poll: u32, start: u64, end: u64) -> Step {
    Step {
        open,
        task: entry.get(word::MODE) & mode::TASK != 0,
        id: entry.get(word::ID),
        suspended: entry.get(word::END),
        woken: entry.get(word::STEP_WOKEN),
        start,
        end,
        at: Name((entry.get(word::AT) >> 32) as u32),
        poll,
        turn: (entry.get(word::TURNS) >> 32) as u32,
        cpu: 0,
    }
}

/// The record of a call that ends now. Without any poll it was ready until its end.
#[inline(always)]
pub(crate) fn fused(entry: &impl Read, now: u64, status: Status, flags: Flags) -> Fused {
    let polls = (entry.get(word::NAME_POLLS) >> 32) as u32;
    let bits = entry.get(word::MODE);
    let floor = entry.get(if polls == 0 {
        word::ATTACHED
    } else {
        word::END
    });
    let end = now.max(floor);
    let unless_polled = |at: usize| if polls == 0 { end } else { entry.get(at) };
    Fused {
        task: bits & mode::TASK != 0,
        full: bits & mode::FULL != 0,
        has_error: bits & mode::ERROR != 0,
        has_notes: bits & mode::NOTES != 0,
        trace_flags: (bits >> mode::TRACE_SHIFT) as u16,
        status,
        flags,
        name: Name(entry.get(word::NAME_POLLS) as u32),
        id: entry.get(word::ID),
        trace: [entry.get(word::TRACE_HIGH), entry.get(word::TRACE_LOW)],
        parent: entry.get(word::PARENT),
        called: entry.get(word::CALLED),
        enqueued: entry.get(word::ENQUEUED),
        returned: entry.get(word::RETURNED),
        attached: entry.get(word::ATTACHED),
        first_start: unless_polled(word::FIRST_START),
        first_end: unless_polled(word::FIRST_END),
        last_end: unless_polled(word::END),
        end,
        polls,
        turn: entry.get(word::TURNS) as u32,
        polled: entry.get(word::POLLED),
        first_cpu: (entry.get(word::OUTER) >> 32) as u32,
    }
}

/// A call that is open on a loop which was given up: how it ended for everybody else.
#[derive(Clone, Debug)]
pub struct GivenUp {
    /// The id in its stamps.
    pub id: u64,
    /// What its caller was told.
    pub status: Status,
    /// Type and message of the error, if it is one.
    pub error: Option<(&'static str, String)>,
}

/// Makes of a copy what the entry was after a poll whose record was found later than the copy was made.
pub(crate) fn advance(entry: &mut Copied, step: &Step) {
    let polls = (entry.get(word::NAME_POLLS) >> 32) as u32;
    let polling = entry.get(word::MODE) & mode::POLLING != 0;
    if step.poll < polls || step.poll == polls && !polling {
        return; // it was over by then
    }
    if step.poll > polls && polling {
        entry[word::POLLED] += step.suspended - entry.get(word::START);
    }
    if polls == 0 {
        entry[word::FIRST_START] = step.suspended; // its first poll has no record of its own
    }
    if step.poll > polls && polls <= 1 && (polling || polls == 0) {
        entry[word::FIRST_END] = step.suspended;
    }
    entry[word::POLLED] += step.end - step.start;
    entry[word::END] = step.end;
    entry[word::NAME_POLLS] =
        entry.get(word::NAME_POLLS) & 0xFFFF_FFFF | u64::from(step.poll) << 32;
    entry[word::MODE] &= !mode::POLLING;
}

/// What a call or task would leave if it ended now, wherever it is: its last poll, if that is one
/// that has a record of its own, and the call.
pub(crate) fn unfinished(mut entry: Copied, now: u64, status: Status) -> (Option<Step>, Fused) {
    let bits = entry.get(word::MODE);
    let mut last = None;
    if bits & mode::POLLING != 0 {
        let polls = (entry.get(word::NAME_POLLS) >> 32) as u32;
        let start = entry.get(word::START);
        let end = now.max(start);
        if polls > 1 && bits & mode::FULL != 0 {
            last = Some(step(&entry, 0, polls, start, end));
        }
        if polls == 1 {
            entry[word::FIRST_END] = end;
        }
        entry[word::END] = end;
        entry[word::POLLED] += end - start;
    }
    let record = fused(&entry, now, status, Flags::UNFINISHED);
    (last, record)
}
