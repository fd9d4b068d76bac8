//! Room in the queue: counted permits, and who waits for one, first come, first served.
//!
//! Invariant: a permit is in exactly one place: free, granted to a waiter that has not used it, or
//! with a queued call; wakes run outside the lock, one after the other, and nobody takes a permit
//! before those have run whose turn came earlier: a wake submits a call, and calls of one producer
//! are queued in their order.
//!
//! Giving a permit back is apart from waking who waits for it, because the loop thread gives back
//! with the GIL and must not run wakers, which are user code, with it.

use std::collections::{BTreeMap, HashSet};
use std::sync::PoisonError;
#[cfg(not(loom))]
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

#[cfg(loom)]
use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

/// In the word: no more calls.
const CLOSED: usize = 1 << (usize::BITS - 1);
/// In the word: somebody is in line or is just being woken, so permits that come free are theirs.
const WAITED: usize = CLOSED >> 1;
/// In the word: the permits that are free.
const FREE: usize = WAITED - 1;
/// Most permits: what is given back unasked, as a simulation does, still fits.
const MOST: usize = FREE >> 1;

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
    size: usize,
    /// Free permits, [`WAITED`] and [`CLOSED`]: what needs no line goes without the lock. `WAITED`
    /// changes under it only, and is set only while nothing is free.
    word: AtomicUsize,
    line: Mutex<Line<W>>,
}

#[derive(Debug)]
struct Line<W> {
    next: u64,
    /// By number, so the first is who came first.
    waiting: BTreeMap<u64, W>,
    granted: HashSet<u64>,
    /// Somebody runs wakes, and looks again when they have run.
    serving: bool,
}

impl<W: FnOnce()> Room<W> {
    /// Room for `size` calls.
    pub fn new(size: usize) -> Self {
        let size = size.min(MOST);
        Self {
            size,
            word: AtomicUsize::new(size),
            line: Mutex::new(Line {
                next: 1,
                waiting: BTreeMap::new(),
                granted: HashSet::new(),
                serving: false,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line<W>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a permit, without waiting and not past those who wait.
    pub fn try_take(&self) -> Taken {
        if self.owes() {
            self.serve();
        }
        self.take_unless_waited()
    }

    fn take_unless_waited(&self) -> Taken {
        let take = |word| (word & (CLOSED | WAITED) == 0 && word & FREE > 0).then(|| word - 1);
        match self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, take)
        {
            Ok(_) => Taken::Yes,
            Err(word) if word & CLOSED != 0 => Taken::Closed,
            Err(_) => Taken::Full,
        }
    }

    /// Gets in line. `wake` runs when a permit is granted, perhaps at once, or the room closes.
    /// Returns the number to [`use_grant`](Self::use_grant) or [`leave`](Self::leave) by.
    pub fn wait(&self, wake: W) -> u64 {
        let mut line = self.lock();
        let number = line.next;
        line.next += 1;
        if let Some(taken) = self.take_or_mark(&line) {
            if taken == Taken::Yes {
                line.granted.insert(number);
            }
            drop(line);
            wake();
            return number;
        }
        line.waiting.insert(number, wake);
        drop(line);
        if self.owes() {
            self.serve(); // given back while somebody stood in line, but not yet granted
        }
        number
    }

    /// Takes a permit if one is free and nobody waits; else makes sure that the word says that
    /// somebody does. In one step, so that a permit is either seen here or given to the line.
    fn take_or_mark(&self, _line: &Line<W>) -> Option<Taken> {
        let next = |word: usize| match word {
            word if word & CLOSED != 0 => None,
            word if word & WAITED != 0 || word & FREE == 0 => Some(word | WAITED),
            word => Some(word - 1),
        };
        match self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next)
        {
            Err(_) => Some(Taken::Closed),
            Ok(word) if word & WAITED == 0 && word & FREE > 0 => Some(Taken::Yes),
            Ok(_) => None,
        }
    }

    /// Turns a granted permit into that of a queued call. False: it was not granted.
    pub fn use_grant(&self, number: u64) -> bool {
        self.lock().granted.remove(&number)
    }

    /// Leaves the line, or gives back a grant.
    pub fn leave(&self, number: u64) {
        let mut line = self.lock();
        let wake = line.waiting.remove(&number);
        let granted = line.granted.remove(&number);
        self.unmark_if_empty(&line);
        drop(line);
        drop(wake);
        if granted && self.put_back() {
            self.serve();
        }
    }

    /// A call has left the queue: one permit more. True: somebody is in line, whom
    /// [`serve`](Self::serve) gives it to. One atomic step; any thread.
    #[must_use]
    pub fn put_back(&self) -> bool {
        self.word.fetch_add(1, Ordering::AcqRel) & WAITED != 0
    }

    /// Whether permits are free that are somebody's in line.
    pub fn owes(&self) -> bool {
        let word = self.word.load(Ordering::Acquire);
        word & WAITED != 0 && word & FREE > 0
    }

    /// Grants what is free to who is in line, and wakes them. If somebody else is about it, they go on
    /// with it. Wakes must not unwind.
    pub fn serve(&self) {
        let mut line = self.lock();
        if std::mem::replace(&mut line.serving, true) {
            return;
        }
        loop {
            let woken = self.grant(&mut line);
            if woken.is_empty() {
                break;
            }
            drop(line);
            woken.into_iter().for_each(|wake| wake());
            line = self.lock();
        }
        line.serving = false;
        self.unmark_if_empty(&line);
    }

    /// The wakes of those whose turn has come.
    fn grant(&self, line: &mut Line<W>) -> Vec<W> {
        let mut woken = Vec::new();
        // While somebody waits nobody else takes a permit, so what is seen free stays free.
        while self.word.load(Ordering::Acquire) & FREE > 0
            && let Some((number, wake)) = line.waiting.pop_first()
        {
            self.word.fetch_sub(1, Ordering::AcqRel);
            line.granted.insert(number);
            woken.push(wake);
        }
        woken
    }

    fn unmark_if_empty(&self, line: &Line<W>) {
        if line.waiting.is_empty() && !line.serving {
            self.word.fetch_and(!WAITED, Ordering::AcqRel);
        }
    }

    /// Permits that are with a queued call or granted to a waiter.
    pub fn taken(&self) -> usize {
        let free = self.word.load(Ordering::Acquire) & FREE;
        self.size.saturating_sub(free)
    }

    /// How many wait in line.
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// No more calls: everybody who waits is woken and finds the room closed.
    pub fn close(&self) {
        let mut line = self.lock();
        self.word.fetch_or(CLOSED, Ordering::AcqRel);
        let waiting = std::mem::take(&mut line.waiting);
        self.unmark_if_empty(&line);
        drop(line);
        waiting.into_values().for_each(|wake| wake());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Room, Taken};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    type Wake = Box<dyn FnOnce() + Send>;

    fn give_back(room: &Room<Wake>) {
        if room.put_back() {
            room.serve();
        }
    }

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
        give_back(&room);
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert_eq!(
            room.try_take(),
            Taken::Full,
            "the permit is the first waiter's"
        );
        assert!(!room.use_grant(second));
        assert!(room.use_grant(first));
        give_back(&room);
        assert!(room.use_grant(second));
    }

    #[test]
    fn a_grant_that_is_left_goes_to_the_next() {
        let room = Room::<Wake>::new(1);
        let woken = Arc::new(AtomicUsize::new(0));
        assert_eq!(room.try_take(), Taken::Yes);
        let (first, second) = (room.wait(counter(&woken)), room.wait(counter(&woken)));
        give_back(&room);
        room.leave(first);
        assert!(room.use_grant(second));
        give_back(&room);
        assert_eq!(room.taken(), 0);
        assert_eq!(room.try_take(), Taken::Yes, "the permit is free again");
    }

    #[test]
    fn a_permit_that_is_owed_goes_to_the_line_before_anybody_else() {
        let room = Room::<Wake>::new(2);
        let woken = Arc::new(AtomicUsize::new(0));
        assert_eq!([room.try_take(), room.try_take()], [Taken::Yes; 2]);
        let first = room.wait(counter(&woken));
        assert_eq!([room.put_back(), room.put_back()], [true; 2]);
        assert!(room.owes());
        assert_eq!(room.try_take(), Taken::Yes, "one for the line, one is left");
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert!(room.use_grant(first));
        assert_eq!((room.taken(), room.try_take()), (2, Taken::Full));
    }

    #[test]
    fn nobody_comes_before_a_waiter_whose_wake_still_runs() {
        let room = Arc::new(Room::<Wake>::new(1));
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        assert_eq!(room.try_take(), Taken::Yes);
        let (elsewhere, late) = (Arc::clone(&room), Arc::clone(&order));
        room.wait(Box::new(move || {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // Two permits more: one for the line, one that is free.
                    for _ in 0..2 {
                        give_back(&elsewhere);
                    }
                    late.lock()
                        .unwrap()
                        .push(format!("{:?}", elsewhere.try_take()));
                });
            });
            late.lock().unwrap().push("first".to_owned());
        }));
        let second = Arc::clone(&order);
        room.wait(Box::new(move || {
            second.lock().unwrap().push("second".to_owned());
        }));
        give_back(&room);
        assert_eq!(*order.lock().unwrap(), ["Full", "first", "second"]);
        assert_eq!(room.try_take(), Taken::Yes, "nobody is in line any more");
    }

    #[test]
    fn who_leaves_lets_nobody_past_a_wake_that_still_runs() {
        let room = Arc::new(Room::<Wake>::new(1));
        let (elsewhere, found) = (Arc::clone(&room), Arc::new(std::sync::Mutex::new(None)));
        let found_in_wake = Arc::clone(&found);
        assert_eq!(room.try_take(), Taken::Yes);
        room.wait(Box::new(move || {
            give_back(&elsewhere);
            elsewhere.leave(0);
            *found_in_wake.lock().unwrap() = Some(elsewhere.try_take());
        }));
        give_back(&room);
        assert_eq!(*found.lock().unwrap(), Some(Taken::Full));
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
