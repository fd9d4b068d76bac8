//! Turns of the loop: from attached until detached.
//!
//! Invariant: a turn that began ends, also when recording is switched off in between.

use super::LoopRecorder;
use crate::doing::Doing;
use crate::record::Turn;
use crate::trace::SAMPLED;
use crate::watch::stir;
use crate::{clock, enabled};

/// The turn that is going on.
#[derive(Clone, Copy, Default)]
pub(super) struct TurnState {
    /// 0 outside of any turn.
    pub(super) number: u32,
    pub(super) start: u64,
    pub(super) cpu_ns: u64,
    wait: Wait,
    /// Ticks of the wait right before it.
    gil_wait: u64,
}

/// A wait for the GIL that may have kept somebody waiting.
#[derive(Clone, Copy, Default)]
pub(super) struct Wait {
    since: u64,
    until: u64,
    /// How many turns ago that was.
    age: u32,
}

/// What came while the thread waited is polled in the next turn, or in one of so many after that: asyncio
/// looks for events before it runs what those before made ready, and queued calls are taken when it does.
const OLDEST: u32 = 4;

impl LoopRecorder {
    /// The loop's wait, or other work that it detached for, returned at `at`. Told before attaching, it
    /// can be seen that the thread waits for that.
    #[inline]
    pub fn returned(&self, at: u64) {
        self.returned.set(at);
        self.does(Doing::GilWait, at);
        stir();
    }

    /// When it attaches and waits is not told: the loop's wait is not gilscope's own.
    pub fn unseen(&self) {
        self.seen.set(false);
        self.shared.doing.set(Doing::Unknown, 0);
    }

    /// The thread attached: a turn begins (and one that was left open ends).
    #[inline]
    pub fn attached(&self) {
        if !enabled() {
            self.shared.doing.set(Doing::Unknown, 0);
            return;
        }
        let doing = self.shared.doing.get();
        self.turn_end();
        let now = clock::now().max(self.returned.get());
        self.attached.set(now);
        let since = match doing {
            (Doing::GilWait, since) => since.min(now),
            _ => now,
        };
        let wait = Wait {
            since,
            until: now,
            age: 0,
        };
        self.begin_turn(now, clock::thread_cpu_ns(), wait);
    }

    /// The thread is about to detach: the turn ends.
    #[inline]
    pub fn turn_end(&self) {
        if self.turn.get().number != 0 {
            let now = clock::now();
            self.end_turn(now, clock::thread_cpu_ns());
            self.does(Doing::Waiting, now);
        }
    }

    /// The loop looks for events and keeps the GIL: one turn ends and the next begins.
    #[inline]
    pub fn turn_split(&self) {
        if self.turn.get().number != 0 {
            let (now, cpu_ns) = (clock::now(), clock::thread_cpu_ns());
            self.end_turn(now, cpu_ns);
            if enabled() {
                self.begin_turn(now, cpu_ns, Wait::default());
            }
        }
    }

    #[inline]
    fn does(&self, doing: Doing, since: u64) {
        if enabled() && self.seen.get() {
            self.shared.doing.set(doing, since);
        }
    }

    fn begin_turn(&self, start: u64, cpu_ns: u64, wait: Wait) {
        // A long wait is not made up for by a short one after it.
        let before = self.unserved.take();
        let gil_wait = wait.until - wait.since;
        let longer = before.until - before.since > gil_wait;
        let wait = if longer { before } else { wait };
        let number = self.turns.get().wrapping_add(1).max(1);
        self.turns.set(number);
        self.served.set(0);
        self.flags.set(0);
        self.not_ours.take();
        self.turn.set(TurnState {
            number,
            start,
            cpu_ns,
            wait,
            gil_wait,
        });
        self.does(Doing::Turn, start);
    }

    fn end_turn(&self, now: u64, cpu_ns: u64) {
        let turn = self.turn.take();
        if self.served.get() == 0 && turn.wait.age < OLDEST {
            let age = turn.wait.age + 1;
            self.unserved.set(Wait { age, ..turn.wait });
        }
        let record = Turn {
            number: turn.number,
            served: self.served.get(),
            sampled: self.served.get() == 0 || self.flags.get() as u8 & SAMPLED != 0,
            start: turn.start,
            end: now.max(turn.start),
            cpu_ns: cpu_ns.saturating_sub(turn.cpu_ns),
            waited: [turn.wait.since, turn.wait.until],
            gil_wait: turn.gil_wait,
        };
        self.push([record.encode()]);
        if self.control.is_idle()
            && let Some(converter) = &self.converter
        {
            self.control.wake_thread(converter);
        }
    }
}
