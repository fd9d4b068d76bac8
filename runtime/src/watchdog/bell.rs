//! What wakes the watchdog.
//!
//! Invariant: ringing takes no lock and never blocks; a ring that comes before the wait ends it at once.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

/// 1: rung, and nobody has waited since. There is one watchdog at a time.
static RUNG: AtomicU32 = AtomicU32::new(0);

/// Rings. Any thread, whatever it holds.
pub(super) fn ring() {
    if RUNG.swap(1, SeqCst) == 0 {
        // SAFETY: the word is static; it wakes who waits on it, if anybody does.
        unsafe { libc::syscall(libc::SYS_futex, RUNG.as_ptr(), WAKE, 1) };
    }
}

/// Waits until it rings, or that long. The watchdog only.
pub(super) fn wait(patience: Duration) {
    let time = libc::timespec {
        tv_sec: patience.as_secs() as libc::time_t,
        tv_nsec: patience.subsec_nanos().into(),
    };
    if RUNG.swap(0, SeqCst) == 0 {
        // SAFETY: the word is static, and `time` lives for the call. Whatever ends it, it has ended.
        unsafe { libc::syscall(libc::SYS_futex, RUNG.as_ptr(), WAIT, 0, &raw const time) };
        RUNG.store(0, SeqCst);
    }
}

const WAIT: i32 = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
const WAKE: i32 = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_heard() {
        ring();
        wait(Duration::from_secs(3600));
        let rings = std::thread::spawn(ring);
        wait(Duration::from_secs(3600));
        rings.join().expect("it rings");
        wait(Duration::from_millis(1)); // nobody rings
    }
}
