//! The rules: from records to findings.
//!
//! Invariant: most records cost one comparison here; what is kept of the others is bounded, and what
//! finds no counterpart is forgotten, never guessed.

use std::collections::VecDeque;

use super::look::Looks;
use super::say::{self, Lasted, about, shown};
use super::slow::ns;
use super::{Finding, Problem, Slow, Whom, duration, slow};
use crate::clock::Rate;
use crate::gauges::queue_depth;
use crate::global::LoopShared;
use crate::name::{Name, text};
use crate::open::{Copied, mode, word};
use crate::record::{Fused, Step, Turn};
use crate::rust_polls::LostWake;
use crate::side::Refused;
use crate::status::{Flags, Status};

/// Of each kind, what a loop keeps of long waits and polls.
const MOST: usize = 64;
/// After so many passes what has no counterpart is forgotten.
const MOST_PASSES: u32 = 8;

/// What has been found in this pass, and what it is found with.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) findings: Vec<Finding>,
    pub(crate) looks: Looks,
    slow: Slow,
    rate: Rate,
    /// Below this many nanoseconds nothing is slow.
    least: u64,
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
        }
    }

    /// A pass begins.
    pub(crate) fn begin(&mut self, rate: Rate) {
        self.rate = rate;
        self.slow = slow();
        self.least = self.slow.least();
    }

    #[inline]
    fn is_slow(&self, ticks: u64) -> bool {
        self.rate.delta_ns(ticks) > self.least
    }

    fn length(&self, from: u64, until: u64) -> u64 {
        self.rate.delta_ns(until.saturating_sub(from))
    }

    fn lasted(&self, start: u64, end: u64) -> Lasted {
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
struct Time {
    whom: Whom,
    start: u64,
    end: u64,
    /// Of a poll, as `Step::cpu`.
    cpu: u32,
}

/// A wait for the GIL, and the turn that began when it was over.
#[derive(Clone, Copy, Debug)]
struct Waited {
    turn: u32,
    start: u64,
    end: u64,
    /// How often nobody was found whom it kept waiting.
    passes: u32,
}

/// A call or task that was polled in a turn after a time without a poll.
#[derive(Clone, Copy, Debug)]
struct Victim {
    turn: u32,
    time: Time,
}

/// What is kept of one loop's long waits and polls until it is a finding.
#[derive(Debug, Default)]
pub(crate) struct Clues {
    held: VecDeque<Time>,
    due: VecDeque<Time>,
    waited: Vec<Waited>,
    /// Who had a long wait behind it.
    victims: VecDeque<Victim>,
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
            let time = Time {
                whom,
                start,
                end,
                cpu,
            };
            keep(&mut self.held, time);
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

    /// Whether there are polls that held the loop, and whoever they kept waiting is to be looked for.
    pub(crate) fn seeks(&self) -> bool {
        !self.held.is_empty()
    }

    /// Everything up to here has been read: makes findings of what has its counterpart.
    pub(crate) fn judge(&mut self, shared: &LoopShared, found: &mut Found) {
        if self.held.is_empty() && self.waited.is_empty() {
            return;
        }
        self.each_whom(|whom| look_up(whom, shared));
        for mut waited in std::mem::take(&mut self.waited) {
            if let Some(whom) = self.victim_of(&waited, shared, found) {
                let sight = found.looks.take(shared.thread.runtime, waited.start);
                let lasted = found.lasted(waited.start, waited.end);
                let finding = say::gil(lasted, whom, sight, shared);
                found.findings.push(finding);
            } else if waited.passes < MOST_PASSES {
                // A call that has just ended is not open any more, and its record not read yet.
                waited.passes += 1;
                self.waited.push(waited);
            }
        }
        for held in std::mem::take(&mut self.held) {
            let due = self.longest_due(&held, found);
            if held.whom.name == Name(0) || (due.is_none() && !held_up_alone(&held, shared, found))
            {
                keep(&mut self.held, held); // whoever waited may not have ended
                continue;
            }
            let sight = found.looks.take(shared.thread.runtime, held.start);
            let lasted = found.lasted(held.start, held.end);
            let poll = (lasted, u64::from(held.cpu) * 1000);
            let finding = say::held(poll, held.whom, due, sight, shared);
            found.findings.extend(finding);
        }
    }

    /// A call that this wait for the GIL kept waiting, if one is known.
    fn victim_of(&self, waited: &Waited, shared: &LoopShared, found: &Found) -> Option<Whom> {
        let suffered = |turn: u32, time: &Time| {
            let overlap = found.length(time.start.max(waited.start), time.end.min(waited.end));
            turn == waited.turn && overlap > ns(found.slow.gil)
        };
        let its = |victim: &&Victim| {
            victim.time.whom.name != Name(0) && suffered(victim.turn, &victim.time)
        };
        let ended = self.victims.iter().find(its);
        ended.map(|victim| victim.time.whom).or_else(|| {
            let open = shared
                .slab
                .read_all()
                .map(|words| (words, first_time(&words)));
            let mut open = open.filter(|(words, _)| words[word::MODE] & mode::TASK == 0);
            open.find(|(words, time)| suffered(words[word::TURNS] as u32, time))
                .map(|(_, time)| time.whom)
        })
    }

    /// Whom this poll kept waiting for longest, and for how long, in nanoseconds.
    fn longest_due(&self, held: &Time, found: &Found) -> Option<(Whom, u64)> {
        let others = self
            .due
            .iter()
            .filter(|due| due.whom.id != held.whom.id && due.whom.name != Name(0));
        let overlap = |due: &Time| found.length(due.start.max(held.start), due.end.min(held.end));
        others
            .map(|due| (due.whom, overlap(due)))
            .filter(|(_, wait)| *wait > ns(found.slow.poll))
            .max_by_key(|(_, wait)| *wait)
    }

    fn each_whom(&mut self, change: impl Fn(&mut Whom)) {
        let times = self.held.iter_mut().chain(&mut self.due);
        let times = times.map(|time| &mut time.whom);
        times
            .chain(self.victims.iter_mut().map(|victim| &mut victim.time.whom))
            .for_each(change);
    }
}

/// Whether a poll was seen to wait for the GIL, and nobody is there who could have waited for the loop: who
/// did is in the queue, or open, or has ended and is found in the record.
fn held_up_alone(held: &Time, shared: &LoopShared, found: &Found) -> bool {
    let mut others = shared.slab.read_all();
    found.looks.waited(shared.thread.runtime, held.start)
        && queue_depth() == 0
        && others.all(|words| words[word::ID] == held.whom.id)
}

fn keep<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == MOST {
        list.pop_front();
    }
    list.push_back(item);
}

/// Asks the open call itself who it is.
fn look_up(whom: &mut Whom, shared: &LoopShared) {
    if whom.name == Name(0)
        && let Some(words) = shared.slab.read(whom.open, whom.id)
    {
        *whom = of_words(&words);
    }
}

/// The time until the first poll of an open call.
fn first_time(words: &Copied) -> Time {
    let polled = words[word::NAME_POLLS] >> 32 != 0;
    let start = words[word::ENQUEUED];
    Time {
        whom: of_words(words),
        start,
        end: if polled {
            words[word::FIRST_START]
        } else {
            start
        },
        cpu: 0,
    }
}

fn of_words(words: &Copied) -> Whom {
    let task = words[word::MODE] & mode::TASK != 0;
    Whom {
        id: words[word::ID],
        call: words[if task { word::ENQUEUED } else { word::ID }],
        trace: [words[word::TRACE_HIGH], words[word::TRACE_LOW]],
        name: Name(words[word::NAME_POLLS] as u32),
        open: 0,
    }
}
