//! What a watchdog saw while something waited: the thread to blame, and its stack.
//!
//! Invariant: bounded; a look belongs to the one wait or poll that began at its stamp on its loop.

use std::collections::{HashMap, VecDeque};

use crate::global::{self, lock};
use crate::side::{self, Item};

/// Looks kept for waits and polls that have not ended.
const MOST: usize = 64;
/// Names kept of threads that were seen.
const MOST_NAMES: usize = 256;

/// What was seen at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The runtime whose loop waited for the GIL, or was held.
    pub runtime: u16,
    /// Ticks at which the wait or the poll began.
    pub since: u64,
    /// The loop's thread waited for the GIL, also if that was within a poll.
    pub waits: bool,
    /// The system's number of the thread to blame.
    pub tid: u32,
    /// The system's name of that thread, or its number, for want of Python's name.
    pub thread: String,
    /// Its stack, innermost first, `file:line in function`; empty where it is not known.
    pub stack: Vec<String>,
    /// Which frame of the stack is the innermost of user code, if one is.
    pub user: Option<usize>,
}

/// A watchdog has looked. Any thread; bounded: counted as dropped if there is no room.
#[cold]
pub fn looked(look: Look) {
    lock(&global::global().holders).add(&look);
    side::push(Item::Look(look));
}

/// What Python calls the thread of that number. Any thread.
#[cold]
pub fn named(tid: u32, name: &str) {
    let name = crate::error::cut(name, 256);
    lock(&global::global().holders).name(tid, &name);
    side::push(Item::Thread(tid, name));
}

/// All looks at one wait or poll, taken together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// The first at the thread that was seen most often.
    pub(crate) look: Look,
    /// How often it was seen, of how many looks.
    pub(crate) seen: usize,
    pub(crate) of: usize,
    /// What Python calls that thread.
    pub(crate) thread: String,
}

impl Look {
    /// The innermost frame of user code, else the innermost.
    pub(crate) fn place(&self) -> Option<&str> {
        let frame = self.stack.get(self.user.unwrap_or(0))?;
        Some(frame)
    }
}

impl Sight {
    /// As [`Look::place`].
    pub(crate) fn place(&self) -> Option<&str> {
        self.look.place()
    }
}

/// What the watchdog saw and nobody has asked for yet. Used by the converter.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    looks: VecDeque<Look>,
    names: HashMap<u32, String>,
}

impl Looks {
    pub(crate) fn add(&mut self, look: Look) {
        if self.looks.len() == MOST {
            self.looks.pop_front();
        }
        self.looks.push_back(look);
    }

    pub(crate) fn name(&mut self, tid: u32, name: String) {
        if self.names.len() < MOST_NAMES || self.names.contains_key(&tid) {
            self.names.insert(tid, name);
        }
    }

    /// Whether a poll was seen to wait for the GIL.
    pub(crate) fn waited(&self, runtime: u16, since: u64) -> bool {
        let its = |look: &&Look| look.runtime == runtime && look.since == since;
        self.looks.iter().filter(its).any(|look| look.waits)
    }

    /// What was seen of a wait or poll, which has ended.
    pub(crate) fn take(&mut self, runtime: u16, since: u64) -> Option<Sight> {
        let (its, others) = std::mem::take(&mut self.looks)
            .into_iter()
            .partition::<VecDeque<_>, _>(|look| look.runtime == runtime && look.since == since);
        self.looks = others;
        let count = |tid| its.iter().filter(|look| look.tid == tid).count();
        // The first of those that were seen equally often.
        let most = its.iter().map(|look| count(look.tid)).max()?;
        let look = its.iter().find(|look| count(look.tid) == most)?.clone();
        let thread = self.names.get(&look.tid).cloned();
        Some(Sight {
            seen: most,
            of: its.len(),
            thread: thread.unwrap_or_else(|| look.thread.clone()),
            look,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(since: u64, tid: u32) -> Look {
        Look {
            runtime: 1,
            since,
            tid,
            ..Look::default()
        }
    }

    #[test]
    fn who_was_seen_most_often_is_named() {
        let mut looks = Looks::default();
        for each in [look(5, 1), look(5, 2), look(6, 3), look(5, 2)] {
            looks.add(each);
        }
        looks.name(2, "culprit".into());
        let sight = looks.take(1, 5).expect("there were three");
        assert_eq!((sight.look.tid, sight.seen, sight.of), (2, 2, 3));
        assert_eq!(sight.thread, "culprit");
        assert!(looks.take(1, 5).is_none() && looks.take(2, 6).is_none());
        assert_eq!(looks.take(1, 6).map(|sight| sight.of), Some(1));
    }

    #[test]
    fn old_looks_make_room() {
        let mut looks = Looks::default();
        (0..100).for_each(|since| looks.add(look(since, 1)));
        assert!(looks.take(1, 0).is_none() && looks.take(1, 99).is_some());
    }
}
