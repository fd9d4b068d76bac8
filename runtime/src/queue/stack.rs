//! The lock-free hand-over list of an inbox: many producers push, the consumer takes everything at once.
//!
//! Invariant: the one atomic word holds the list *and* the consumer's sleep state, so "the consumer
//! sleeps" and "the list is empty" cannot be seen apart, and exactly the push that ends a sleep wakes.

#[cfg(loom)]
use loom::sync::atomic::{AtomicPtr, Ordering};
use std::ptr;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicPtr, Ordering};

/// The link that every message carries at offset 0. Written by its pusher before the push is
/// published and by the consumer after it took the list, so it needs no atomicity of its own.
#[repr(C)]
#[derive(Debug)]
pub struct Link {
    next: *mut Link,
}

impl Link {
    /// A link that is in no list.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            next: ptr::null_mut(),
        }
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

/// What [`Stack::push`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The consumer is awake or has been woken by an earlier push.
    Quiet,
    /// The consumer slept: this pusher, and no other, must wake it.
    MustWake,
}

/// See the module's text. Messages are raw pointers: ownership passes with push and take.
#[derive(Debug)]
pub struct Stack {
    head: AtomicPtr<Link>,
}

// SAFETY: the only shared state is the atomic head; links are owned by one side at a time.
unsafe impl Send for Stack {}
// SAFETY: as above.
unsafe impl Sync for Stack {}

/// Marks "empty, and the consumer sleeps". Never dereferenced; no message can have this address.
fn sleeping() -> *mut Link {
    ptr::without_provenance_mut(1)
}

impl Stack {
    /// An empty list whose consumer is awake.
    #[must_use]
    pub fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Adds a message. Lock-free; any thread.
    ///
    /// # Safety
    /// `link` points to a live message that is in no list and that the consumer may own from now on.
    pub unsafe fn push(&self, link: *mut Link) -> Pushed {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let next = if head == sleeping() {
                ptr::null_mut()
            } else {
                head
            };
            // SAFETY: until the exchange below succeeds the message is ours alone.
            unsafe { (*link).next = next };
            match self
                .head
                .compare_exchange_weak(head, link, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) if head == sleeping() => return Pushed::MustWake,
                Ok(_) => return Pushed::Quiet,
                Err(seen) => head = seen,
            }
        }
    }

    /// Takes every message, oldest first; the consumer counts as awake afterwards.
    pub fn take(&self) -> Batch {
        let head = self.head.swap(ptr::null_mut(), Ordering::SeqCst);
        if head == sleeping() {
            return Batch {
                next: ptr::null_mut(),
            };
        }
        // Pushes built a newest-first list: turn it once, so that iteration is first in, first out.
        let (mut todo, mut oldest_first) = (head, ptr::null_mut());
        while !todo.is_null() {
            // SAFETY: the swap made the whole chain ours; each link was published by its push.
            let next = unsafe { (*todo).next };
            // SAFETY: as above.
            unsafe { (*todo).next = oldest_first };
            oldest_first = todo;
            todo = next;
        }
        Batch { next: oldest_first }
    }

    /// The consumer announces that it will wait. `false`: there are messages, take them instead.
    pub fn try_sleep(&self) -> bool {
        let empty = ptr::null_mut();
        match self
            .head
            .compare_exchange(empty, sleeping(), Ordering::AcqRel, Ordering::Relaxed)
        {
            Ok(_) => true,
            Err(seen) => seen == sleeping(),
        }
    }

    /// Whether a take would find nothing at this moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let head = self.head.load(Ordering::Relaxed);
        head.is_null() || head == sleeping()
    }
}

impl Default for Stack {
    fn default() -> Self {
        Self::new()
    }
}

/// Messages in the order of their pushes. What is not iterated is leaked: drain it.
#[derive(Debug)]
pub struct Batch {
    next: *mut Link,
}

impl Iterator for Batch {
    type Item = *mut Link;

    fn next(&mut self) -> Option<*mut Link> {
        let link = self.next;
        if link.is_null() {
            return None;
        }
        // SAFETY: the chain belongs to this batch until each link is handed out.
        self.next = unsafe { (*link).next };
        Some(link)
    }
}
