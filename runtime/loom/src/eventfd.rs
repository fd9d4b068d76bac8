//! The bell as the model checker knows one: a count, and a wait until it is not zero.
//!
//! Invariant: as an eventfd, it remembers that it was rung until it is silenced.

use std::io;

use loom::sync::{Condvar, Mutex};

/// See the module's text.
#[derive(Debug)]
pub struct EventFd {
    count: Mutex<u64>,
    rung: Condvar,
}

impl EventFd {
    /// A silent bell.
    ///
    /// # Errors
    /// Never; the real one may be out of descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            count: Mutex::new(0),
            rung: Condvar::new(),
        })
    }

    /// Rings.
    ///
    /// # Panics
    /// Never: no thread panics with the lock.
    pub fn ring(&self) {
        *self.count.lock().unwrap() += 1;
        self.rung.notify_one();
    }

    /// Waits until the bell was rung and silences it. Returns how often it was rung.
    ///
    /// # Panics
    /// Never: no thread panics with the lock.
    pub fn wait_and_clear(&self) -> u64 {
        let mut count = self.count.lock().unwrap();
        while *count == 0 {
            count = self.rung.wait(count).unwrap();
        }
        std::mem::take(&mut *count)
    }
}
