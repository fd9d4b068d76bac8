//! The findings so far: how many of each, and the worst of each function.
//!
//! Invariant: bounded: beyond 64 functions only counts go on, and what was left out is counted.

use super::{Finding, Problem};
use crate::clock;

const MOST: usize = 64;

/// The findings since the start or the last [`crate::reset_stats`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// How often each problem occurred, in the order of the ids; only those that did.
    pub counts: Vec<(Problem, u64)>,
    /// The worst finding of each problem and function, most severe first.
    pub worst: Vec<Told>,
    /// Findings that are counted and not shown, since there were too many functions.
    pub dropped: u64,
}

/// A finding, and how often its like occurred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The one that lasted longest.
    pub finding: Finding,
    /// How many there were of the same problem and function.
    pub count: u64,
}

/// The store. Part of what `reset_stats` forgets.
#[derive(Debug, Default)]
pub(crate) struct Store {
    counts: [u64; Problem::ALL.len()],
    told: Vec<Told>,
    dropped: u64,
}

impl Store {
    pub(crate) fn add(&mut self, finding: &Finding) {
        self.counts[finding.problem as usize] += 1;
        let same = |told: &&mut Told| is_same(&told.finding, finding);
        if let Some(told) = self.told.iter_mut().find(same) {
            told.count += 1;
            if length(finding) > length(&told.finding) {
                told.finding = finding.clone();
            }
        } else if self.told.len() < MOST {
            let finding = finding.clone();
            self.told.push(Told { finding, count: 1 });
        } else {
            self.dropped += 1;
        }
    }

    /// How often each problem occurred, also those that did not.
    pub(crate) fn counts(&self) -> [(Problem, u64); Problem::ALL.len()] {
        Problem::ALL.map(|problem| (problem, self.counts[problem as usize]))
    }

    pub(crate) fn snapshot(&self) -> Findings {
        let mut worst = self.told.clone();
        worst.sort_by_key(|told| std::cmp::Reverse(length(&told.finding)));
        let counts = self.counts().into_iter();
        Findings {
            counts: counts.filter(|(_, count)| *count != 0).collect(),
            worst,
            dropped: self.dropped,
        }
    }
}

/// What a sink was told, so that it hears of each problem and function once, and again when it got worse.
#[derive(Debug, Default)]
pub(crate) struct Heard(Vec<Finding>);

impl Heard {
    /// Whether this is news; a function of which there is twice as much to say is.
    pub(crate) fn is_news(&mut self, finding: &Finding) -> bool {
        let room = self.0.len() < MOST;
        match self.0.iter_mut().find(|known| is_same(known, finding)) {
            Some(known) if length(finding) < 2 * length(known).max(1) => false,
            Some(known) => {
                known.start = finding.start;
                known.end = finding.end;
                true
            }
            None if room => {
                let stack = Vec::new();
                self.0.push(Finding {
                    stack,
                    ..finding.clone()
                });
                true
            }
            None => false,
        }
    }
}

fn is_same(one: &Finding, other: &Finding) -> bool {
    one.problem == other.problem && one.function == other.function
}

fn length(finding: &Finding) -> u64 {
    clock::delta_ns(finding.end.saturating_sub(finding.start))
}
