//! Polls, suspensions, wakes and the end: what calls and tasks have in common.
//!
//! Invariant: each stamp is at least as late as the one before it, so that parts never overlap.

use super::{Cause, LoopRecorder};
use crate::chain::Chain;
use crate::name::Name;
use crate::open::{Entry, Read as _, mode, word};
use crate::record::{Step, Wake};
use crate::status::{Flags, Status};
use crate::trace::sampled;
use crate::{clock, finish, side};

impl LoopRecorder {
    #[inline(always)]
    pub(super) fn start(&self, entry: &Entry, handle: u32, outer: u32) {
        if entry.get(word::MODE) & mode::POLLING != 0 {
            self.end(entry, handle, clock::now());
        }
        let turn = self.turn.get().number;
        let polls = entry.get(word::NAME_POLLS) >> 32;
        let mut turns = entry.get(word::TURNS);
        if turns >> 32 != u64::from(turn) || polls == 0 {
            let first = if polls == 0 {
                u64::from(turn)
            } else {
                turns & 0xFFFF_FFFF
            };
            turns = first | u64::from(turn) << 32;
            self.served.set(self.served.get() + 1);
            self.flags
                .set(self.flags.get() | entry.get(word::MODE) >> mode::TRACE_SHIFT);
        }
        let (floor, first_cpu) = if polls == 0 {
            (word::ATTACHED, 0)
        } else {
            (word::END, entry.get(word::OUTER) & !0xFFFF_FFFF)
        };
        let floor = entry.get(floor);
        let now = clock::now().max(floor);
        let woken = entry.get(word::WOKEN);
        let woken = if woken == 0 {
            0
        } else {
            woken.clamp(floor, now)
        };
        entry.write(|entry| {
            if polls == 0 {
                entry.set(word::FIRST_START, now);
            }
            entry.set(word::START, now);
            entry.set(word::STEP_WOKEN, woken);
            entry.set(word::WOKEN, 0);
            entry.set(word::AT, entry.get(word::AT) << 32);
            entry.set(word::NAME_POLLS, entry.get(word::NAME_POLLS) + (1 << 32));
            entry.set(
                word::MODE,
                entry.get(word::MODE) & !mode::SUSPENDED | mode::POLLING,
            );
            entry.set(word::TURNS, turns);
            entry.set(word::OUTER, u64::from(outer) | first_cpu);
        });
        self.shared.polling.begin(now);
    }

    #[inline(always)]
    pub(super) fn end(&self, entry: &Entry, handle: u32, now: u64) {
        let bits = entry.get(word::MODE);
        if bits & mode::POLLING == 0 {
            return;
        }
        let polls = (entry.get(word::NAME_POLLS) >> 32) as u32;
        let start = entry.get(word::START);
        let end = now.max(start);
        let cpu = if end - start < self.long {
            0
        } else {
            self.poll_cpu(start, end)
        };
        if polls > 1 && bits & mode::FULL != 0 {
            let step = finish::step(entry, handle, polls, start, end);
            self.push([Step { cpu, ..step }.encode()]);
        }
        entry.write(|entry| {
            if polls == 1 {
                entry.set(word::FIRST_END, end);
                entry.set(word::OUTER, entry.get(word::OUTER) | u64::from(cpu) << 32);
            }
            entry.set(word::END, end);
            entry.set(word::MODE, bits & !mode::POLLING);
            entry.set(word::POLLED, entry.get(word::POLLED) + (end - start));
        });
        self.shared.polling.end();
    }

    #[inline]
    pub(super) fn leave(&self, entry: &Entry, handle: u32) {
        let task = entry.get(word::MODE) & mode::TASK != 0;
        let current = if task {
            &self.current_task
        } else {
            &self.current
        };
        if current.get() == handle {
            current.set(entry.get(word::OUTER) as u32);
        }
    }

    #[inline]
    pub(super) fn mark_suspended(&self, handle: u32, at: Name) {
        if let Some(entry) = self.slab.slab.get(handle) {
            entry.write(|entry| {
                let before = entry.get(word::AT) & !0xFFFF_FFFF;
                entry.set(word::AT, before | u64::from(at.0));
                entry.set(word::CHAIN, 0);
                entry.set(word::MODE, entry.get(word::MODE) | mode::SUSPENDED);
            });
        }
    }

    #[inline]
    pub(super) fn mark_chain(&self, handle: u32, chain: Chain) {
        if let Some(entry) = self.slab.slab.get(handle) {
            entry.write(|entry| entry.set(word::CHAIN, chain.into()));
        }
    }

    #[inline]
    pub(super) fn mark_woken(&self, handle: u32) {
        if let Some(entry) = self.slab.slab.get(handle)
            && entry.get(word::WOKEN) == 0
        {
            let full = entry.get(word::MODE) & mode::FULL != 0;
            let cause = if full { self.cause() } else { Cause::default() };
            // A poll elsewhere woke it when that ended, however late the loop comes to hear of it.
            let at = match cause.at {
                0 => clock::now(),
                at => at,
            };
            entry.write(|entry| entry.set(word::WOKEN, at));
            if full {
                self.push_wake(entry, cause);
            }
        }
    }

    /// Records who woke it, if that is another call or task.
    #[inline]
    fn push_wake(&self, woken: &Entry, cause: Cause) {
        let id = woken.get(word::ID);
        if cause.id == 0 || cause.id == id {
            return;
        }
        let wake = Wake {
            id,
            poll: polls_of(woken) + 1,
            waker: cause.id,
            waker_poll: cause.poll,
            waker_trace: cause.trace,
            waker_sampled: cause.sampled,
        };
        self.push([wake.encode()]);
    }

    /// Who would have woken a call or task that were woken now: the one that is being polled on this loop,
    /// else who scheduled what runs in [`caused`](Self::caused).
    #[inline]
    pub fn cause(&self) -> Cause {
        let Some(entry) = self.polled() else {
            return self.cause.get();
        };
        // Of one that is not recorded in full no poll is a span.
        if entry.get(word::MODE) & mode::FULL == 0 {
            return Cause::default();
        }
        Cause {
            id: entry.get(word::ID),
            poll: polls_of(entry),
            at: 0,
            trace: [entry.get(word::TRACE_HIGH), entry.get(word::TRACE_LOW)],
            sampled: sampled((entry.get(word::MODE) >> mode::TRACE_SHIFT) as u16),
        }
    }

    /// Runs what was scheduled by `by`: whom it wakes outside of a poll, `by` woke.
    #[inline]
    pub fn caused<R>(&self, by: Cause, run: impl FnOnce() -> R) -> R {
        let outer = self.cause.replace(by);
        let done = run();
        self.cause.set(outer);
        done
    }

    /// The innermost call or task that is being polled now.
    #[inline]
    pub(super) fn polled(&self) -> Option<&Entry> {
        let slab = &self.slab.slab;
        slab.get(self.current_task.get())
            .or_else(|| slab.get(self.current.get()))
    }

    pub(super) fn record_error(&self, handle: u32, type_name: &str, message: &str, stack: &str) {
        if let Some(entry) = self.slab.slab.get(handle) {
            side::error(entry.get(word::ID), type_name, message, stack);
            entry.write(|entry| entry.set(word::MODE, entry.get(word::MODE) | mode::ERROR));
        }
    }

    #[inline]
    pub(super) fn finish(&self, handle: u32, status: Status, flags: Flags) {
        let Some(entry) = self.slab.slab.get(handle) else {
            return;
        };
        let now = clock::now();
        self.end(entry, handle, now);
        self.leave(entry, handle);
        let record = finish::fused(entry, now, status, flags);
        self.push(record.encode());
        self.slab.release(entry, handle);
    }
}

#[inline(always)]
fn polls_of(entry: &Entry) -> u32 {
    (entry.get(word::NAME_POLLS) >> 32) as u32
}

/// The rest of a fresh entry. The id comes last: it makes the entry visible.
#[inline(always)]
pub(super) fn begin(entry: &Entry, id: u64, name: Name, bits: u64) {
    entry.set(word::END, 0);
    entry.set(word::WOKEN, 0);
    entry.set(word::NAME_POLLS, u64::from(name.0));
    entry.set(word::AT, 0);
    entry.set(word::MODE, bits);
    entry.set(word::TURNS, 0);
    entry.set(word::POLLED, 0);
    entry.set(word::ID, id);
}
