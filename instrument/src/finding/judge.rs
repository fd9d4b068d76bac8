//! Whom a long poll or a long wait for the GIL kept waiting: from what is kept to findings.
//!
//! Invariant: what is judged is told, kept for another pass, or forgotten after some; who may have waited
//! and has not ended is looked for among what is open, before it is said that there is nobody.

use super::look::Looks;
use super::rules::{Clues, Found, Held, Time, Waited, keep};
use super::slow::ns;
use super::{Whom, say};
use crate::gauges::queue_depth;
use crate::global::LoopShared;
use crate::name::Name;
use crate::open::{Copied, mode, word};

/// After so many passes what has no counterpart is told without, or forgotten.
const MOST_PASSES: u32 = 8;

impl Clues {
    /// Whether there are polls that held the loop, and whoever they kept waiting is to be looked for.
    pub(crate) fn seeks(&self) -> bool {
        !self.held.is_empty()
    }

    /// Sees who is there that these polls may have kept waiting. Before the ring is read for the last time:
    /// who ends in between is found there.
    pub(crate) fn look_around(&mut self, shared: &LoopShared) {
        for held in &mut self.held {
            held.alone = is_alone(held, shared);
        }
    }

    /// Everything up to here has been read: makes findings of what has its counterpart. `last`: somebody
    /// who is told of findings is not there in the next pass.
    pub(crate) fn judge(&mut self, shared: &LoopShared, last: bool, found: &mut Found) {
        if self.held.is_empty() && self.waited.is_empty() {
            return;
        }
        self.each_whom(|whom| look_up(whom, shared));
        for waited in std::mem::take(&mut self.waited) {
            self.judge_wait(waited, shared, found);
        }
        let late = self.late(shared, found);
        for held in std::mem::take(&mut self.held) {
            self.judge_poll(held, &late, shared, last, found);
        }
    }

    fn judge_wait(&mut self, mut waited: Waited, shared: &LoopShared, found: &mut Found) {
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

    fn judge_poll(
        &mut self,
        mut held: Held,
        late: &[Time],
        shared: &LoopShared,
        last: bool,
        found: &mut Found,
    ) {
        let due = self.longest_due(&held.poll, late, found);
        let waits = waits(&found.looks, &held, shared);
        let alone = held.alone && is_alone(&held, shared);
        let given_up = held.passes == MOST_PASSES;
        let tells = due.is_some() || waits && (alone || last || given_up);
        if tells && held.poll.whom.name != Name(0) {
            found.held(&held.poll, due, shared);
        } else if !given_up {
            // A loop that does not get on polls nobody who waited for it.
            held.passes += u32::from(!found.is_stuck(shared));
            keep(&mut self.held, held);
        }
    }

    /// A call that this wait for the GIL kept waiting, if one is known.
    fn victim_of(&self, waited: &Waited, shared: &LoopShared, found: &Found) -> Option<Whom> {
        let suffered = |turn: u32, time: &Time| {
            let overlap = found.length(time.start.max(waited.start), time.end.min(waited.end));
            turn == waited.turn && overlap > ns(found.slow.gil)
        };
        let ended = self
            .victims
            .iter()
            .find(|victim| victim.time.whom.name != Name(0) && suffered(victim.turn, &victim.time));
        ended.map(|victim| victim.time.whom).or_else(|| {
            open_calls(shared)
                .find(|(words, time)| suffered(words[word::TURNS] as u32, time))
                .map(|(_, time)| time.whom)
        })
    }

    /// What is open and waited for its first poll, which its record will say when it ends.
    fn late(&self, shared: &LoopShared, found: &Found) -> Vec<Time> {
        if self.held.is_empty() {
            return Vec::new();
        }
        open_calls(shared)
            .map(|(_, time)| time)
            .filter(|time| found.length(time.start, time.end) > ns(found.slow.poll))
            .collect()
    }

    /// Whom this poll kept waiting for longest, and for how long, in nanoseconds.
    fn longest_due(&self, held: &Time, late: &[Time], found: &Found) -> Option<(Whom, u64)> {
        let others = self
            .due
            .iter()
            .chain(late)
            .filter(|due| due.whom.id != held.whom.id && due.whom.name != Name(0));
        let overlap = |due: &Time| found.length(due.start.max(held.start), due.end.min(held.end));
        others
            .map(|due| (due.whom, overlap(due)))
            .filter(|(_, wait)| *wait > ns(found.slow.poll))
            .max_by_key(|(_, wait)| *wait)
    }
}

impl Found {
    /// A poll held the loop, and `due` waited for it; or it waited for the GIL itself.
    fn held(&mut self, poll: &Time, due: Option<(Whom, u64)>, shared: &LoopShared) {
        let sight = self.looks.take(shared.thread.runtime, poll.start);
        let lasted = self.lasted(poll.start, poll.end);
        let cpu = u64::from(poll.cpu) * 1000;
        let finding = say::held((lasted, cpu), poll.whom, due, sight, shared);
        self.findings.extend(finding);
    }
}

/// Whether a poll was seen to wait for the GIL.
fn waits(looks: &Looks, held: &Held, shared: &LoopShared) -> bool {
    looks.waited(shared.thread.runtime, held.poll.start)
}

/// Whether nobody else is queued or open.
fn is_alone(held: &Held, shared: &LoopShared) -> bool {
    let mut open = shared.slab.read_all();
    queue_depth() == 0 && open.all(|words| words[word::ID] == held.poll.whom.id)
}

/// Asks the open call itself who it is.
fn look_up(whom: &mut Whom, shared: &LoopShared) {
    if whom.name == Name(0)
        && let Some(words) = shared.slab.read(whom.open, whom.id)
    {
        *whom = of_words(&words);
    }
}

/// The open calls, each with its time until its first poll.
fn open_calls(shared: &LoopShared) -> impl Iterator<Item = (Copied, Time)> {
    let calls = shared
        .slab
        .read_all()
        .filter(|words| words[word::MODE] & mode::TASK == 0);
    calls.map(|words| (words, first_time(&words)))
}

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
