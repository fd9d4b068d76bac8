//! The watchdog's thread.
//!
//! Invariant: it never attaches, and looks at nothing but stamps until one is older than its threshold;
//! what it saw counts only if the wait or the poll was still the same afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gilscope_instrument::clock;
use gilscope_instrument::finding::{Look, looked, slow};
use gilscope_instrument::watch::{LoopNow, is_asleep, loops_now, set_asleep};
use pyo3::ffi;

use super::setup::Eyes;
use super::signals::Answer;
use super::{bell, naming, stack, threads};

/// Without anything to see for so long it sleeps.
const QUIET: Duration = Duration::from_secs(1);
/// It looks around that often all the same.
const SLEEP: Duration = Duration::from_secs(10);
/// Longer than a store takes to be seen by others.
const MOMENT: Duration = Duration::from_millis(1);
/// How long threads have to answer.
const PATIENCE: Duration = Duration::from_millis(50);
/// Looks at one wait or poll; each comes when it has lasted twice as long as at the one before.
const MOST_LOOKS: u32 = 16;

/// What it does not look at any more, since it has seen enough of it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    runtime: u16,
    since: u64,
    looks: u32,
}

/// What is worth a look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// The loop's thread waits for the GIL.
    Wait,
    /// A poll goes on.
    Poll,
}

pub(super) struct Dog {
    eyes: &'static Eyes,
    stop: Arc<AtomicBool>,
    seen: Vec<(At, Seen)>,
}

impl Dog {
    pub(super) fn new(eyes: &'static Eyes, stop: Arc<AtomicBool>) -> Self {
        Self {
            eyes,
            stop,
            seen: Vec::new(),
        }
    }

    pub(super) fn run(mut self) {
        // Until something happens.
        let mut quiet = QUIET;
        while !self.stop.load(Ordering::SeqCst) {
            let tick = tick();
            let (next, busy) = self.round(tick);
            quiet = if busy { Duration::ZERO } else { quiet + tick };
            if quiet < QUIET {
                bell::wait(next);
                continue;
            }
            quiet = Duration::ZERO;
            self.seen.clear();
            set_asleep(true);
            // Who did not see that yet has its stamp in sight by the end of this.
            bell::wait(MOMENT);
            let now = loops_now();
            let busy = now.iter().any(|each| (each.waiting | each.polling) != 0);
            // Whoever rang meanwhile does so once.
            if is_asleep() && !busy && !self.stop.load(Ordering::SeqCst) {
                bell::wait(SLEEP);
            }
            set_asleep(false);
        }
    }

    /// Looks where it is time to; says when the next round is due, and whether anything goes on.
    fn round(&mut self, tick: Duration) -> (Duration, bool) {
        let (slow, mut next, mut busy) = (slow(), tick, false);
        let loops = loops_now();
        for each in &loops {
            for (at, since, threshold) in [
                (At::Wait, each.waiting, slow.gil),
                (At::Poll, each.polling, slow.poll),
            ] {
                if since == 0 {
                    continue;
                }
                busy = true;
                let due = self.due(at, each, since, threshold);
                let lasted =
                    Duration::from_nanos(clock::delta_ns(clock::now().saturating_sub(since)));
                match due.checked_sub(lasted) {
                    Some(left) if !left.is_zero() => next = next.min(left),
                    _ => self.look(at, each, since, &loops),
                }
            }
        }
        (next, busy)
    }

    /// How long this has to have lasted for the next look at it.
    fn due(&mut self, at: At, each: &LoopNow, since: u64, threshold: Duration) -> Duration {
        let runtime = each.thread.runtime;
        let same = |(known, seen): &&mut (At, Seen)| *known == at && seen.runtime == runtime;
        let fresh = Seen {
            runtime,
            since,
            looks: 0,
        };
        let seen = match self.seen.iter_mut().find(same) {
            Some((_, seen)) => seen,
            None => {
                self.seen.push((at, fresh));
                return threshold;
            }
        };
        if seen.since != since {
            *seen = fresh;
        }
        if seen.looks >= MOST_LOOKS {
            return Duration::MAX;
        }
        threshold.saturating_mul(1 << seen.looks)
    }

    fn look(&mut self, at: At, each: &LoopNow, since: u64, loops: &[LoopNow]) {
        let runtime = each.thread.runtime;
        let its = |(known, seen): &&mut (At, Seen)| *known == at && seen.runtime == runtime;
        if let Some((_, seen)) = self.seen.iter_mut().find(its) {
            seen.looks += 1;
        }
        // SAFETY: allowed on any thread at any time.
        if unsafe { ffi::PyGILState_Check() } != 0 {
            return; // there was a subinterpreter, and since then every thread would say yes
        }
        if !self.eyes.signal.is_ours() {
            return;
        }
        let seen = match at {
            At::Wait => self.see_holder(loops),
            At::Poll => self.see_poll(each.thread.tid, loops),
        };
        let Some(Answer { tid, frames, .. }) = seen else {
            return;
        };
        if !is_still(at, each, since) {
            return;
        }
        let (stack, user) = stack::of(&frames, &self.eyes.folders);
        let waits = tid != each.thread.tid;
        if waits {
            naming::ask(tid);
        }
        looked(Look {
            runtime,
            since,
            waits,
            tid,
            thread: threads::name(tid),
            stack,
            user,
        });
    }

    /// Where the loop's thread is in its poll; but if it waits for the GIL there, who holds that.
    fn see_poll(&self, tid: u32, loops: &[LoopNow]) -> Option<Answer> {
        let answer = self.eyes.signal.where_is(tid, PATIENCE)?;
        if answer.waits {
            return self.see_holder(loops);
        }
        Some(answer)
    }

    /// Who holds the GIL, and where it is.
    fn see_holder(&self, loops: &[LoopNow]) -> Option<Answer> {
        let waiting = loops.iter().filter(|each| each.waiting != 0);
        let waiting: Vec<_> = waiting.map(|each| each.thread.tid).collect();
        let (run, others): (Vec<_>, Vec<_>) = threads::candidates(&waiting)
            .into_iter()
            .partition(|thread| thread.runs);
        // A signal cuts some system calls short: threads that are in one are asked if need be only.
        [run, others].iter().find_map(|group| {
            let tids: Vec<_> = group.iter().map(|thread| thread.tid).collect();
            self.eyes.signal.who_holds(&tids, PATIENCE)
        })
    }
}

/// How often it looks at the stamps: at least once before what began just after is slow.
fn tick() -> Duration {
    let slow = slow();
    (slow.gil.min(slow.poll) / 2).clamp(Duration::from_millis(1), Duration::from_millis(250))
}

/// Whether what was to be seen lasted until after the look.
fn is_still(at: At, each: &LoopNow, since: u64) -> bool {
    loops_now().iter().any(|now| {
        let stamp = match at {
            At::Wait => now.waiting,
            At::Poll => now.polling,
        };
        Arc::ptr_eq(&now.thread, &each.thread) && stamp == since
    })
}
