//! The numbers that tell the runtimes of a process apart in spans, and in the reasons why calls end.
//!
//! Invariant: no two runtimes that both still exist have the same, however many there were before.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// One bit for each number that is in use. Without a lock, which a fork might leave held.
static USED: [AtomicU64; 1 << 10] = [const { AtomicU64::new(0) }; 1 << 10];

/// A number, until it is dropped.
pub(crate) struct Number(u16);

impl Number {
    /// One that is free, and never 0; those used last come round last.
    ///
    /// # Errors
    /// If there is none, for there are as many runtimes as numbers.
    pub(crate) fn claim() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        for _ in 0..=u16::MAX {
            let number = NEXT.fetch_add(1, Ordering::Relaxed) as u16;
            let (word, bit) = place(number);
            if number != 0 && word.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
                return Ok(Self(number));
            }
        }
        Err(io::Error::other("there are 65,535 runtimes already"))
    }

    pub(crate) fn get(&self) -> u16 {
        self.0
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        let (word, bit) = place(self.0);
        word.fetch_and(!bit, Ordering::Relaxed);
    }
}

fn place(number: u16) -> (&'static AtomicU64, u64) {
    (&USED[usize::from(number >> 6)], 1 << (number & 63))
}

#[cfg(test)]
mod tests {
    use super::Number;

    fn claim() -> Number {
        Number::claim().expect("there are free ones")
    }

    #[test]
    fn a_number_in_use_is_not_given_again() {
        let held = [claim(), claim()];
        let taken = [0, held[0].get(), held[1].get()];
        for _ in 0..3 << 16 {
            assert!(!taken.contains(&claim().get()));
        }
        let freed = held[0].get();
        drop(held);
        assert!((0..1 << 16).any(|_| claim().get() == freed));
    }
}
