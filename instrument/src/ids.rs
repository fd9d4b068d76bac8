//! Ids of calls, tasks and traces: random per thread, never zero, fresh after a fork.
//!
//! Invariant: two threads, and a parent and its forked child, never share a generator state.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static GENERATION: AtomicU32 = AtomicU32::new(1);

thread_local! {
    static STATE: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
}

/// A random id that is not zero.
#[inline]
pub fn new_id() -> u64 {
    STATE.with(|cell| {
        let (mut state, generation) = cell.get();
        if generation != GENERATION.load(Relaxed) {
            state = seed();
        }
        // splitmix64: any state is a good one, and a stream never repeats within 2^64 steps.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        cell.set((state, GENERATION.load(Relaxed)));
        mix(state) | u64::from(mix(state) == 0)
    })
}

/// A well spread function of `x`; also used to derive the ids of a call's parts.
#[inline]
pub(crate) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Makes every thread seed itself again at its next id.
pub(crate) fn reseed() {
    GENERATION.fetch_add(1, Relaxed);
}

#[cold]
fn seed() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is valid for the length passed.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == 8 {
        return u64::from_ne_bytes(bytes);
    }
    let here = (&raw const bytes) as u64;
    mix(crate::clock::now() ^ here.rotate_left(32) ^ u64::from(std::process::id()))
}
