//! What is written into the 64-byte slots of a ring.
//!
//! Invariant: `decode` gives back what `encode` was given; the first byte of a record tells its
//! kind and by it its number of slots.

use crate::name::Name;
use crate::ring::Words;
use crate::status::{Flags, Status};

/// First byte of a finished call: two slots.
pub(crate) const CALL: u8 = 1;
/// First byte of a finished task: two slots.
pub(crate) const TASK: u8 = 2;
/// First byte of a step of a call or task from its second poll on: one slot.
pub(crate) const STEP: u8 = 3;
/// First byte of a loop turn: one slot.
pub(crate) const TURN: u8 = 4;
/// First byte of who woke a call or task: one slot, before that of the step that follows.
pub(crate) const WAKE: u8 = 5;

/// Most microseconds of CPU time that the record of a poll has room for: half an hour.
pub(crate) const MOST_CPU: u32 = u32::MAX >> 1;

pub(crate) fn kind(words: &Words) -> u8 {
    words[0] as u8
}

/// A finished call or task. All stamps in ticks.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Fused {
    pub(crate) task: bool,
    pub(crate) full: bool,
    pub(crate) status: Status,
    pub(crate) flags: Flags,
    pub(crate) name: Name,
    pub(crate) id: u64,
    pub(crate) trace: [u64; 2],
    pub(crate) parent: u64,
    pub(crate) called: u64,
    /// When the queue took the call. A task has the id of its call here.
    pub(crate) enqueued: u64,
    pub(crate) returned: u64,
    pub(crate) attached: u64,
    pub(crate) first_start: u64,
    pub(crate) first_end: u64,
    pub(crate) last_end: u64,
    pub(crate) end: u64,
    pub(crate) polls: u32,
    pub(crate) turn: u32,
    pub(crate) has_error: bool,
    pub(crate) has_notes: bool,
    /// As `CallStamps::flags`.
    pub(crate) trace_flags: u16,
    /// Ticks in all polls.
    pub(crate) polled: u64,
    /// As `Step::cpu`, of its first poll.
    pub(crate) first_cpu: u32,
}

impl Fused {
    #[inline(always)]
    pub(crate) fn encode(&self) -> [Words; 2] {
        let kind = if self.task { TASK } else { CALL };
        let head = u64::from(kind)
            | (self.status as u64) << 8
            | u64::from(self.flags.0) << 16
            | u64::from(self.name.0) << 32;
        let tail = u64::from(self.full)
            | u64::from(self.has_error) << 1
            | u64::from(self.has_notes) << 2
            | u64::from(self.trace_flags) << 16
            | u64::from(self.polls) << 32;
        [
            [
                head,
                self.id,
                self.trace[0],
                self.trace[1],
                self.parent,
                self.called,
                self.enqueued,
                self.returned,
            ],
            [
                tail,
                self.attached,
                self.first_start,
                self.first_end,
                self.last_end,
                self.end,
                u64::from(self.turn) | u64::from(self.first_cpu) << 32,
                self.polled,
            ],
        ]
    }

    #[inline(always)]
    pub(crate) fn decode(a: &Words, b: &Words) -> Fused {
        Fused {
            task: kind(a) == TASK,
            full: b[0] & 1 != 0,
            has_error: b[0] & 2 != 0,
            has_notes: b[0] & 4 != 0,
            trace_flags: (b[0] >> 16) as u16,
            status: Status::from_u8((a[0] >> 8) as u8),
            flags: Flags((a[0] >> 16) as u16),
            name: Name((a[0] >> 32) as u32),
            id: a[1],
            trace: [a[2], a[3]],
            parent: a[4],
            called: a[5],
            enqueued: a[6],
            returned: a[7],
            attached: b[1],
            first_start: b[2],
            first_end: b[3],
            last_end: b[4],
            end: b[5],
            polls: (b[0] >> 32) as u32,
            turn: b[6] as u32,
            polled: b[7],
            first_cpu: (b[6] >> 32) as u32,
        }
    }
}

/// A suspension and the poll that ended it.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Handle in the slab of open calls.
    pub(crate) open: u32,
    /// A step of a task made inside a call, not of a call.
    pub(crate) task: bool,
    pub(crate) id: u64,
    pub(crate) suspended: u64,
    pub(crate) woken: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) at: Name,
    /// Which poll of its call this is; from 2.
    pub(crate) poll: u32,
    pub(crate) turn: u32,
    /// CPU time of its thread in it, microseconds, at most [`MOST_CPU`]; 0 if it is too short to be measured.
    pub(crate) cpu: u32,
}

impl Step {
    #[inline(always)]
    pub(crate) fn encode(&self) -> Words {
        [
            u64::from(STEP) | u64::from(self.open) << 32,
            self.id,
            self.suspended,
            self.woken,
            self.start,
            self.end,
            u64::from(self.at.0) | u64::from(self.task) << 32 | u64::from(self.cpu) << 33,
            u64::from(self.poll) | u64::from(self.turn) << 32,
        ]
    }

    #[inline(always)]
    pub(crate) fn decode(words: &Words) -> Step {
        Step {
            open: (words[0] >> 32) as u32,
            task: words[6] >> 32 & 1 != 0,
            id: words[1],
            suspended: words[2],
            woken: words[3],
            start: words[4],
            end: words[5],
            at: Name(words[6] as u32),
            poll: words[7] as u32,
            turn: (words[7] >> 32) as u32,
            cpu: (words[6] >> 33) as u32,
        }
    }
}

/// Who woke a call or task: the poll of another one on the same loop, or of a Rust future that it awaits.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Wake {
    /// The one that was woken.
    pub(crate) id: u64,
    /// Which of its polls followed.
    pub(crate) poll: u32,
    /// The call or task in whose poll it happened, and which poll that was; or the id of a `rust.poll`, and 0.
    pub(crate) waker: u64,
    pub(crate) waker_poll: u32,
    pub(crate) waker_trace: [u64; 2],
    pub(crate) waker_sampled: bool,
}

impl Wake {
    #[inline(always)]
    pub(crate) fn encode(&self) -> Words {
        let polls = u64::from(self.poll) | u64::from(self.waker_poll) << 32;
        let [high, low] = self.waker_trace;
        let head = u64::from(WAKE) | u64::from(self.waker_sampled) << 8;
        [head, self.id, self.waker, polls, high, low, 0, 0]
    }

    #[inline(always)]
    pub(crate) fn decode(words: &Words) -> Wake {
        Wake {
            id: words[1],
            poll: words[3] as u32,
            waker: words[2],
            waker_poll: (words[3] >> 32) as u32,
            waker_trace: [words[4], words[5]],
            waker_sampled: words[0] >> 8 & 1 != 0,
        }
    }
}

/// One turn of a loop: from attached to detached.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) number: u32,
    pub(crate) served: u32,
    /// One of those whom it served is sampled, or it served nobody.
    pub(crate) sampled: bool,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) cpu_ns: u64,
    /// Since when and until when the thread waited for the GIL before it, or zeros.
    pub(crate) waited: [u64; 2],
    /// For how many ticks the thread waited for the GIL right before it; `waited` may be an earlier wait.
    pub(crate) gil_wait: u64,
}

impl Turn {
    pub(crate) fn encode(&self) -> Words {
        let counts = u64::from(self.number) | u64::from(self.served) << 32;
        [
            u64::from(TURN) | u64::from(self.sampled) << 8,
            counts,
            self.start,
            self.end,
            self.cpu_ns,
            self.waited[0],
            self.waited[1],
            self.gil_wait,
        ]
    }

    pub(crate) fn decode(words: &Words) -> Turn {
        Turn {
            number: words[1] as u32,
            served: (words[1] >> 32) as u32,
            sampled: words[0] >> 8 & 1 != 0,
            start: words[2],
            end: words[3],
            cpu_ns: words[4],
            waited: [words[5], words[6]],
            gil_wait: words[7],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fused_records_round_trip() {
        let call = Fused {
            task: true,
            full: true,
            has_error: true,
            has_notes: true,
            trace_flags: 0x1AB,
            status: Status::Deadline,
            flags: Flags::IMMEDIATE | Flags::DETACHED,
            name: Name(u32::MAX),
            id: 1,
            trace: [2, 3],
            parent: 4,
            called: 5,
            enqueued: 6,
            returned: 7,
            attached: 8,
            first_start: 9,
            first_end: 10,
            last_end: 11,
            end: u64::MAX,
            polls: u32::MAX,
            turn: 12,
            polled: 13,
            first_cpu: u32::MAX,
        };
        let [a, b] = call.encode();
        assert_eq!(Fused::decode(&a, &b), call);
        let [a, b] = Fused::default().encode();
        assert_eq!((kind(&a), Fused::decode(&a, &b)), (CALL, Fused::default()));
    }

    #[test]
    fn steps_and_turns_round_trip() {
        let step = Step {
            open: u32::MAX,
            task: true,
            id: 1,
            suspended: 2,
            woken: 3,
            start: 4,
            end: 5,
            at: Name(6),
            poll: u32::MAX,
            turn: 7,
            cpu: MOST_CPU,
        };
        assert_eq!(Step::decode(&step.encode()), step);
        let turn = Turn {
            number: u32::MAX,
            served: 1,
            sampled: true,
            start: 2,
            end: 3,
            cpu_ns: 4,
            waited: [5, 6],
            gil_wait: 7,
        };
        assert_eq!(Turn::decode(&turn.encode()), turn);
        assert_eq!((kind(&step.encode()), kind(&turn.encode())), (STEP, TURN));
        let wake = Wake {
            id: 1,
            poll: u32::MAX,
            waker: 2,
            waker_poll: 3,
            waker_trace: [4, 5],
            waker_sampled: true,
        };
        for wake in [wake, Wake::default()] {
            assert_eq!(Wake::decode(&wake.encode()), wake);
            assert_eq!(kind(&wake.encode()), WAKE);
        }
    }
}
