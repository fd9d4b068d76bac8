//! The rules: from records to findings, or to what is kept until it can be judged.
//!
//! Invariant: most records cost one comparison here; what is kept of the others is bounded, and what
//! finds no counterpart is forgotten, never guessed.

use std::collections::VecDeque;

use super::look::Looks;
use super::say::{Lasted, about, shown};
use super::slow::ns;
use super::{Finding, Problem, Slow, Whom, duration, slow};
use crate::clock::{self, Rate};
use crate::global::LoopShared;
use crate::name::text;
use crate::record::{Fused, Step, Turn};
use crate::rust_polls::LostWake;
use crate::side::Refused;
use crate::status::{Flags, Status};

/// Of each kind, what a loop keeps of long waits and polls.
const MOST: usize = 64;

/// What has been found in this pass, and what it is found with.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) findings: Vec<Finding>,
    pub(crate) looks: Looks,
    pub(super) slow: Slow,
    rate: Rate,
    /// Below this many nanoseconds nothing is slow.
    least: u64,
    /// When this pass began, and the one before, in ticks.
    began: [u64; 2],
}

impl Found {
    pub(crate) fn new(rate: Rate) -> Found {
        let slow = slow();
        Found {
            findings: Vec::new(),
            looks: Looks::default(),
            slow,
            rate,
            least: slow.least(),
            began: [0; 2],
        }
    }

    /// A pass begins.
    pub(crate) fn begin(&mut self, rate: Rate) {
        self.rate = rate;
        self.slow = slow();
        self.least = self.slow.least();
        self.began = [clock::now(), self.began[0]];
    }

    /// Whether a loop has been in one poll since before the last pass.
    pub(super) fn is_stuck(&self, shared: &LoopShared) -> bool {
        shared
            .polling
            .since()
            .is_some_and(|since| since < self.began[1])
    }

    #[inline]
    fn is_slow(&self, ticks: u64) -> bool {
        self.rate.delta_ns(ticks) > self.least
    }

    pub(super) fn length(&self, from: u64, until: u64) -> u64 {
        self.rate.delta_ns(until.saturating_sub(from))
    }

    pub(super) fn lasted(&self, start: u64, end: u64) -> Lasted {
        let ns = self.length(start, end);
        Lasted { start, end, ns }
    }

    /// A call awaits what is never polled again.
    pub(crate) fn lost_wake(&mut self, lost: &LostWake, at: u64) {
        let (name, awaited) = (shown(lost.by.name), text(lost.name));
        self.findings.push(Finding {
            problem: Problem::LostWake,
            call: lost.by.call,
            trace: lost.by.trace,
            runtime: lost.by.runtime,
            thread: String::new(),
            start: lost.since,
            end: at,
            sentence: format!(
                "`{name}` awaits `{awaited}`, which nobody can wake any more: its waker was dropped"
            ),
            function: name.to_owned(),
            stack: Vec::new(),
        });
    }

    /// A call that never reached the loop.
    pub(crate) fn refused(&mut self, item: &Refused) {
        let (problem, what) = match item.status {
            Status::QueueFull => (Problem::QueueFull, "was refused: the queue was full"),
            Status::NeverAwaited => (
                Problem::NeverAwaited,
                "was called and never awaited: it did not run",
            ),
            _ => return,
        };
        let name = shown(item.name);
        self.findings.push(Finding {
            problem,
            call: item.stamps.id,
            trace: item.stamps.trace,
            runtime: 0,
            thread: String::new(),
            start: item.stamps.called,
            end: item.end,
            sentence: format!("`{name}` {what}"),
            function: name.to_owned(),
            stack: Vec::new(),
        });
    }
}

/// Some time of a call or task: a poll that held the loop, or a wait for its turn while it was due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    pub(super) whom: Whom,
    pub(super) start: u64,
    pub(super) end: u64,
    /// Of a poll, as `Step::cpu`.
    pub(super) cpu: u32,
}

/// A poll that held the loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) poll: Time,
    /// Nobody was there, queued or open, who could have waited for the loop.
    pub(super) alone: bool,
    /// How often nobody was found whom it kept waiting.
    pub(super) passes: u32,
}

/// A wait for the GIL, and the turn that began when it was over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waited {
    pub(super) turn: u32,
    pub(super) start: u64,
    pub(super) end: u64,
    /// How often nobody was found whom it kept waiting.
    pub(super) passes: u32,
}

/// A call or task that was polled in a turn after a time without a poll.
#[derive(Clone, Copy, Debug)]
pub(super) struct Victim {
    pub(super) turn: u32,
    pub(super) time: Time,
}

/// What is kept of one loop's long waits and polls until it is a finding.
#[derive(Debug, Default)]
pub(crate) struct Clues {
    pub(super) held: VecDeque<Held>,
    pub(super) due: VecDeque<Time>,
    pub(super) waited: Vec<Waited>,
    /// Who had a long wait behind it.
    pub(super) victims: VecDeque<Victim>,
}

impl Clues {
    #[inline]
    pub(crate) fn fused(&mut self, record: &Fused, shared: &LoopShared, found: &mut Found) {
        if !record.flags.is_empty() || found.is_slow(record.end - record.called) {
            self.slow_call(record, shared, found);
        }
    }

    #[cold]
    fn slow_call(&mut self, record: &Fused, shared: &LoopShared, found: &mut Found) {
        let whom = Whom {
            id: record.id,
            call: if record.task {
                record.enqueued
            } else {
                record.id
            },
            trace: record.trace,
            name: record.name,
            open: 0,
        };
        self.each_whom(|other| {
            if other.id == whom.id {
                *other = whom;
            }
        });
        if record.polls > 0 {
            let (start, end) = (record.first_start, record.first_end);
            self.poll(whom, [start, end], record.first_cpu, found);
        }
        if record.task {
            return;
        }
        self.due(whom, record.enqueued, record.first_start, found);
        self.victim(
            whom,
            record.turn,
            [record.enqueued, record.first_start],
            found,
        );
        let waited = found.length(record.called, record.enqueued);
        if waited > ns(found.slow.room) {
            let what = format!("waited {} for room in the queue", duration(waited));
            let finding = about(Problem::QueueFull, whom, shared, &what);
            let (start, end) = (record.called, record.enqueued);
            found.findings.push(Finding {
                start,
                end,
                ..finding
            });
        }
        if record.flags.contains(Flags::CANCEL_SWALLOWED) {
            let what = "was cancelled, and returned all the same";
            let finding = about(Problem::CancelSwallowed, whom, shared, what);
            let (start, end) = (record.called, record.end);
            found.findings.push(Finding {
                start,
                end,
                ..finding
            });
        }
    }

    #[inline]
    pub(crate) fn step(&mut self, step: &Step, found: &Found) {
        if found.is_slow(step.end - step.suspended) {
            self.slow_step(step, found);
        }
    }

    #[cold]
    fn slow_step(&mut self, step: &Step, found: &Found) {
        // What else there is to know comes with the end, or is looked up.
        let whom = Whom {
            id: step.id,
            open: step.open,
            ..Whom::default()
        };
        self.poll(whom, [step.start, step.end], step.cpu, found);
        if step.woken != 0 {
            self.due(whom, step.woken, step.start, found);
        }
        self.victim(whom, step.turn, [step.suspended, step.start], found);
    }

    fn poll(&mut self, whom: Whom, [start, end]: [u64; 2], cpu: u32, found: &Found) {
        if found.length(start, end) > ns(found.slow.poll) {
            let poll = Time {
                whom,
                start,
                end,
                cpu,
            };
            let (alone, passes) = (false, 0);
            keep(
                &mut self.held,
                Held {
                    poll,
                    alone,
                    passes,
                },
            );
        }
    }

    fn due(&mut self, whom: Whom, start: u64, end: u64, found: &Found) {
        if found.length(start, end) > ns(found.slow.poll) {
            let time = Time {
                whom,
                start,
                end,
                cpu: 0,
            };
            keep(&mut self.due, time);
        }
    }

    fn victim(&mut self, whom: Whom, turn: u32, [start, end]: [u64; 2], found: &Found) {
        if found.length(start, end) > ns(found.slow.gil) {
            let time = Time {
                whom,
                start,
                end,
                cpu: 0,
            };
            keep(&mut self.victims, Victim { turn, time });
        }
    }

    #[inline]
    pub(crate) fn turn(&mut self, turn: &Turn, found: &Found) {
        // A turn that served nobody kept nobody waiting.
        if turn.served != 0 && found.is_slow(turn.waited[1] - turn.waited[0]) {
            self.slow_turn(turn, found);
        }
    }

    #[cold]
    fn slow_turn(&mut self, turn: &Turn, found: &Found) {
        let [start, end] = turn.waited;
        if found.length(start, end) > ns(found.slow.gil) && self.waited.len() < MOST {
            let turn = turn.number;
            self.waited.push(Waited {
                turn,
                start,
                end,
                passes: 0,
            });
        }
    }

    pub(super) fn each_whom(&mut self, change: impl Fn(&mut Whom)) {
        let held = self.held.iter_mut().map(|held| &mut held.poll);
        let victims = self.victims.iter_mut().map(|victim| &mut victim.time);
        held.chain(&mut self.due)
            .chain(victims)
            .map(|time| &mut time.whom)
            .for_each(change);
    }
}

pub(super) fn keep<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == MOST {
        list.pop_front();
    }
    list.push_back(item);
}
