//! Room in the queue: counted permits, and who waits for one, first come, first served.
//!
//! Invariant: a permit is in exactly one place: free, granted to a waiter that has not used it, or
//! with a queued call; wakes run outside the lock.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a try to take a permit found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A permit.
    Yes,
    /// None free, or others wait.
    Full,
    /// The runtime takes no more calls.
    Closed,
}

/// See the module's text. `W` is run, once, when a waiter's turn has come or the room closes.
#[derive(Debug)]
pub struct Room<W> {
    state: Mutex<State<W>>,
}

#[derive(Debug)]
struct State<W> {
    free: usize,
    closed: bool,
    next: u64,
    /// By number, so the first is who came first.
    waiting: BTreeMap<u64, W>,
    granted: HashSet<u64>,
}

impl<W: FnOnce()> Room<W> {
    /// Room for `size` calls.
    pub fn new(size: usize) -> Self {
        let (waiting, granted) = (BTreeMap::new(), HashSet::new());
        Self {
            state: Mutex::new(State {
                free: size,
                closed: false,
                next: 1,
                waiting,
                granted,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a permit, without waiting and not past those who wait.
    pub fn try_take(&self) -> Taken {
        let mut state = self.lock();
        if state.closed {
            return Taken::Closed;
        }
        if state.free == 0 || !state.waiting.is_empty() {
            return Taken::Full;
        }
        state.free -= 1;
        Taken::Yes
    }

    /// Gets in line. `wake` runs when a permit is granted, perhaps at once, or the room closes.
    /// Returns the number to [`use_grant`](Self::use_grant) or [`leave`](Self::leave) by.
    pub fn wait(&self, wake: W) -> u64 {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        if state.closed || (state.free > 0 && state.waiting.is_empty()) {
            if !state.closed {
                state.free -= 1;
                state.granted.insert(number);
            }
            drop(state);
            wake();
        } else {
            state.waiting.insert(number, wake);
        }
        number
    }

    /// Turns a granted permit into that of a queued call. False: it was not granted.
    pub fn use_grant(&self, number: u64) -> bool {
        self.lock().granted.remove(&number)
    }

    /// Leaves the line, or gives back a grant.
    pub fn leave(&self, number: u64) {
        let mut state = self.lock();
        let wake = state.waiting.remove(&number);
        let granted = state.granted.remove(&number);
        drop(state);
        drop(wake);
        if granted {
            self.give_back(1);
        }
    }

    /// Calls have left the queue.
    pub fn give_back(&self, permits: usize) {
        let mut woken = Vec::new();
        let mut state = self.lock();
        for _ in 0..permits {
            match state.waiting.pop_first() {
                Some((number, wake)) => {
                    state.granted.insert(number);
                    woken.push(wake);
                }
                None => state.free += 1,
            }
        }
        drop(state);
        woken.into_iter().for_each(|wake| wake());
    }

    /// Permits that are neither with a queued call nor granted to a waiter.
    pub fn free(&self) -> usize {
        self.lock().free
    }

    /// Whether somebody is in line.
    pub fn is_waited_for(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    /// No more calls: everybody who waits is woken and finds the room closed.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_values().for_each(|wake| wake());
    }
}

#[cfg(test)]
mod tests {
    use super::{Room, Taken};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    type Wake = Box<dyn FnOnce()>;

    fn counter(count: &Arc<AtomicUsize>) -> Wake {
        let count = Arc::clone(count);
        Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        })
    }

    #[test]
    fn waiters_are_served_in_their_order_and_not_overtaken() {
        let room = Room::<Wake>::new(1);
        let woken = Arc::new(AtomicUsize::new(0));
        assert_eq!(room.try_take(), Taken::Yes);
        let (first, second) = (room.wait(counter(&woken)), room.wait(counter(&woken)));
        room.give_back(1);
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert_eq!(
            room.try_take(),
            Taken::Full,
            "the permit is the first waiter's"
        );
        assert!(!room.use_grant(second));
        assert!(room.use_grant(first));
        room.give_back(1);
        assert!(room.use_grant(second));
    }

    #[test]
    fn a_grant_that_is_left_goes_to_the_next() {
        let room = Room::<Wake>::new(1);
        let woken = Arc::new(AtomicUsize::new(0));
        assert_eq!(room.try_take(), Taken::Yes);
        let (first, second) = (room.wait(counter(&woken)), room.wait(counter(&woken)));
        room.give_back(1);
        room.leave(first);
        assert!(room.use_grant(second));
        room.give_back(1);
        assert_eq!(room.free(), 1);
        assert_eq!(room.try_take(), Taken::Yes, "the permit is free again");
    }

    #[test]
    fn closing_wakes_everybody_and_grants_nobody() {
        let room = Room::<Wake>::new(1);
        let woken = Arc::new(AtomicUsize::new(0));
        assert_eq!(room.try_take(), Taken::Yes);
        let first = room.wait(counter(&woken));
        room.close();
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert!(!room.use_grant(first));
        assert_eq!(room.try_take(), Taken::Closed);
        let late = room.wait(counter(&woken));
        assert_eq!(woken.load(Ordering::Relaxed), 2);
        assert!(!room.use_grant(late));
    }
}
