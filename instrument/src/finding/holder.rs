//! Who holds the GIL while a loop waits for it: what a watchdog saw last, for who asks meanwhile.
//!
//! Invariant: bounded; what was seen counts only as long as that very wait goes on.

use std::collections::{HashMap, VecDeque};

use super::look::Look;
use crate::clock;

/// Waits whose last look is kept.
const MOST: usize = 64;
/// Names kept of threads that were seen.
const MOST_NAMES: usize = 256;

/// The last look at a wait, and when that was, in ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) look: Look,
    pub(crate) at: u64,
}

/// What was seen of waits that may still go on.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    seen: VecDeque<Seen>,
    names: HashMap<u32, String>,
}

impl Holders {
    /// The newest look of a runtime is what counts.
    pub(super) fn add(&mut self, look: &Look) {
        self.seen.retain(|seen| seen.look.runtime != look.runtime);
        if self.seen.len() == MOST {
            self.seen.pop_front();
        }
        self.seen.push_back(Seen {
            look: look.clone(),
            at: clock::now(),
        });
    }

    pub(super) fn name(&mut self, tid: u32, name: &str) {
        if self.names.len() < MOST_NAMES || self.names.contains_key(&tid) {
            self.names.insert(tid, name.to_owned());
        }
    }

    /// Who was seen to hold the GIL while that runtime's loop waited for it, since this stamp.
    pub(crate) fn of(&self, runtime: u16, since: u64) -> Option<&Seen> {
        let its = |seen: &&Seen| seen.look.runtime == runtime && seen.look.since == since;
        self.seen.iter().find(its).filter(|seen| seen.look.waits)
    }

    /// What Python calls that thread, as far as it was learned before, else the system; `None` where that calls
    /// it as the process.
    pub(crate) fn name_of<'a>(&'a self, look: &'a Look) -> Option<&'a str> {
        let learned = self.names.get(&look.tid).map(String::as_str);
        let own = Some(&*look.thread).filter(|name| *name != look.tid.to_string());
        learned.or(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(runtime: u16, since: u64, tid: u32) -> Look {
        Look {
            runtime,
            since,
            tid,
            waits: true,
            thread: tid.to_string(),
            ..Look::default()
        }
    }

    #[test]
    fn the_last_look_at_a_wait_counts_while_it_goes_on() {
        let mut holders = Holders::default();
        for each in [look(1, 5, 41), look(2, 5, 42), look(1, 5, 43)] {
            holders.add(&each);
        }
        let tid = |runtime, since| holders.of(runtime, since).map(|seen| seen.look.tid);
        assert_eq!((tid(1, 5), tid(2, 5)), (Some(43), Some(42)));
        assert_eq!((tid(1, 6), tid(3, 5)), (None, None));
    }

    #[test]
    fn a_poll_that_has_the_gil_waits_for_nobody() {
        let mut holders = Holders::default();
        holders.add(&Look {
            waits: false,
            ..look(1, 5, 41)
        });
        assert_eq!(holders.of(1, 5), None);
    }

    #[test]
    fn a_thread_has_the_name_that_was_learned_last() {
        let mut holders = Holders::default();
        let (plain, own) = (look(1, 5, 41), look(1, 5, 42));
        let own = Look {
            thread: "worker".into(),
            ..own
        };
        assert_eq!(holders.name_of(&plain), None);
        assert_eq!(holders.name_of(&own), Some("worker"));
        holders.name(41, "reports");
        assert_eq!(holders.name_of(&plain), Some("reports"));
    }

    #[test]
    fn old_waits_make_room() {
        let mut holders = Holders::default();
        (0..100).for_each(|runtime| holders.add(&look(runtime, 5, 41)));
        assert!(holders.of(0, 5).is_none() && holders.of(99, 5).is_some());
        assert_eq!(holders.seen.len(), MOST);
    }
}
