//! The process' clock: ticks of the invariant TSC where there is one, else of CLOCK_MONOTONIC.
//!
//! Invariant: `to_ns` and `unix_ns` never decrease as their argument grows. There is no lock and
//! no once-cell here, so that a process may fork at any time.

use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use Ordering::{Acquire, Relaxed, Release};

const UNKNOWN: u8 = 0;
const TSC: u8 = 1;
const MONOTONIC: u8 = 2;
/// How long the two clocks are compared at first: readings some 50 ns apart give 5 ppm.
const CALIBRATION_NS: u64 = 10_000_000;
/// When the rate is measured again: after one second, then after twice the time up to this.
const MAX_REFINE_NS: u64 = 64_000_000_000;
/// The most by which a rate is bent to get back to CLOCK_MONOTONIC, in parts per million.
const MAX_BEND_PPM: i128 = 500;
const SEGMENTS: usize = 64;

static SOURCE: AtomicU8 = AtomicU8::new(UNKNOWN);
static ANCHOR: AtomicPtr<Anchor> = AtomicPtr::new(std::ptr::null_mut());
/// Of the first segment, which begins at the anchor; 0 until it was measured.
static FIRST_FACTOR: AtomicU64 = AtomicU64::new(0);
/// Later segments; written by the converter only.
static LATER: [Slot; SEGMENTS] = [const { Slot::new() }; SEGMENTS];
static LATER_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Both clocks at the same moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    ticks: u64,
    mono: u64,
}

/// Where the process' time begins.
struct Anchor {
    reading: Reading,
    unix: u64,
}

/// From `ticks` on time goes by `factor` / 2^32 nanoseconds per tick; `ns` was reached there.
#[derive(Clone, Copy, Debug)]
struct Segment {
    ticks: u64,
    ns: u64,
    factor: u64,
}

struct Slot([AtomicU64; 3]);

impl Slot {
    const fn new() -> Slot {
        Slot([const { AtomicU64::new(0) }; 3])
    }
    fn load(&self) -> Segment {
        let [ticks, ns, factor] = &self.0;
        Segment {
            ticks: ticks.load(Relaxed),
            ns: ns.load(Relaxed),
            factor: factor.load(Relaxed),
        }
    }
    fn store(&self, segment: &Segment) {
        self.0[0].store(segment.ticks, Relaxed);
        self.0[1].store(segment.ns, Relaxed);
        self.0[2].store(segment.factor, Relaxed);
    }
}

impl Segment {
    fn ns(&self, ticks: u64) -> u64 {
        self.ns + scaled(ticks.saturating_sub(self.ticks), self.factor)
    }

    /// The segment that follows at `now`, where `true_ns` should have been reached: it goes on
    /// without a jump, at the rate measured over this one, bent to meet the truth at about the
    /// time at which the next one is due.
    fn next(&self, now: Reading, true_ns: u64, rate: u64, due_ns: u64) -> Segment {
        let ns = self.ns(now.ticks);
        let behind = i128::from(true_ns) - i128::from(ns);
        let ppm = behind * 1_000_000 / i128::from(due_ns.max(1));
        let bend = i128::from(rate) * ppm.clamp(-MAX_BEND_PPM, MAX_BEND_PPM) / 1_000_000;
        Segment {
            ticks: now.ticks,
            ns,
            factor: (i128::from(rate) + bend) as u64,
        }
    }
}

fn scaled(ticks: u64, factor: u64) -> u64 {
    ((u128::from(ticks) * u128::from(factor)) >> 32) as u64
}

/// Ticks now. Any thread; about 8 ns.
#[inline]
pub fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    if SOURCE.load(Relaxed) == TSC {
        return tsc();
    }
    slow_now()
}

/// Nanoseconds since the process' clock anchor; 0 for ticks before it. Any thread; the first
/// conversion may take 10 ms.
pub fn to_ns(ticks: u64) -> u64 {
    let count = LATER_COUNT.load(Acquire);
    // The two oldest may be overwritten while they are read.
    for back in 1..=count.min(SEGMENTS - 2) {
        let segment = LATER[(count - back) % SEGMENTS].load();
        if segment.ticks <= ticks {
            return segment.ns(ticks);
        }
    }
    first().ns(ticks)
}

/// Nanoseconds since the Unix epoch. Later steps of the system's clock are not followed.
pub fn unix_ns(ticks: u64) -> u64 {
    anchor().unix + to_ns(ticks)
}

/// Nanoseconds in a number of ticks.
pub fn delta_ns(ticks: u64) -> u64 {
    rate().delta_ns(ticks)
}

/// Ticks in a number of nanoseconds, at the present rate.
pub(crate) fn ticks(ns: u64) -> u64 {
    ((u128::from(ns) << 32) / u128::from(newest().factor.max(1))) as u64
}

/// CPU time of the calling thread, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    gettime(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The present rate, to convert many lengths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate(u64);

impl Rate {
    #[inline]
    pub(crate) fn delta_ns(self, ticks: u64) -> u64 {
        scaled(ticks, self.0)
    }
}

pub(crate) fn rate() -> Rate {
    Rate(newest().factor)
}

fn newest() -> Segment {
    match LATER_COUNT.load(Acquire) {
        0 => first(),
        count => LATER[(count - 1) % SEGMENTS].load(),
    }
}

/// Measures the rate again if it is time to. Only the converter may call it.
pub(crate) fn refine() {
    if SOURCE.load(Relaxed) != TSC {
        return;
    }
    let (count, newest) = (LATER_COUNT.load(Relaxed), newest());
    let due_ns = (1_000_000_000u64 << count.min(6)).min(MAX_REFINE_NS);
    if newest.ns(now()) < newest.ns + due_ns {
        return;
    }
    let (start, now) = (anchor().reading, reading());
    let (ticks, true_ns) = (now.ticks - start.ticks, now.mono - start.mono);
    // The rate over all the time so far; what the system's clock was slewed meanwhile shows as
    // an error that the next segment makes good.
    let rate = ((u128::from(true_ns) << 32) / u128::from(ticks.max(1))) as u64;
    let next = newest.next(now, true_ns, rate, due_ns);
    LATER[count % SEGMENTS].store(&next);
    LATER_COUNT.store(count + 1, Release);
}

fn first() -> Segment {
    let factor = match FIRST_FACTOR.load(Relaxed) {
        0 => calibrate(),
        factor => factor,
    };
    Segment {
        ticks: anchor().reading.ticks,
        ns: 0,
        factor,
    }
}

/// Several threads may do this at once; the first to finish decides for all.
#[cold]
fn calibrate() -> u64 {
    let start = anchor().reading;
    let factor = if SOURCE.load(Relaxed) == TSC {
        measure(start)
    } else {
        1 << 32
    };
    match FIRST_FACTOR.compare_exchange(0, factor, Relaxed, Relaxed) {
        Ok(_) => factor,
        Err(decided) => decided,
    }
}

fn measure(start: Reading) -> u64 {
    loop {
        let now = reading();
        let passed = now.mono.saturating_sub(start.mono);
        if passed >= CALIBRATION_NS && now.ticks > start.ticks {
            return ((u128::from(passed) << 32) / u128::from(now.ticks - start.ticks)) as u64;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn anchor() -> &'static Anchor {
    let anchor = ANCHOR.load(Acquire);
    // SAFETY: what is stored came from a box and is never freed.
    unsafe { anchor.as_ref() }.unwrap_or_else(|| make_anchor())
}

/// Several threads may do this at once; the first decides for all.
#[cold]
fn make_anchor() -> &'static Anchor {
    SOURCE.store(if has_invariant_tsc() { TSC } else { MONOTONIC }, Relaxed);
    let unix = gettime(libc::CLOCK_REALTIME);
    let made = Box::into_raw(Box::new(Anchor {
        reading: reading(),
        unix,
    }));
    match ANCHOR.compare_exchange(std::ptr::null_mut(), made, Release, Acquire) {
        // SAFETY: it came from a box and is never freed.
        Ok(_) => unsafe { &*made },
        Err(decided) => {
            // SAFETY: nobody else has seen it.
            drop(unsafe { Box::from_raw(made) });
            // SAFETY: it came from a box and is never freed.
            unsafe { &*decided }
        }
    }
}

/// The tightest of a few tries.
fn reading() -> Reading {
    let attempt = || {
        let before = raw();
        let mono = gettime(libc::CLOCK_MONOTONIC);
        let width = raw().saturating_sub(before);
        (
            width,
            Reading {
                ticks: before + width / 2,
                mono,
            },
        )
    };
    let best = (1..8).map(|_| attempt()).min_by_key(|(width, _)| *width);
    best.unwrap_or_else(attempt).1
}

fn raw() -> u64 {
    #[cfg(target_arch = "x86_64")]
    if SOURCE.load(Relaxed) == TSC {
        return tsc();
    }
    gettime(libc::CLOCK_MONOTONIC)
}

#[cold]
fn slow_now() -> u64 {
    anchor();
    raw()
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn tsc() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// CPUID leaf 0x8000_0007, EDX bit 8: the TSC runs at a constant rate in all power states.
fn has_invariant_tsc() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::__cpuid;
        __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

fn gettime(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is valid; the clocks used here always exist on Linux.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock of 2 ticks per nanosecond, first measured 20 ppm too fast.
    #[test]
    fn segments_join_without_a_jump_and_get_back_to_the_truth() {
        let mut segment = Segment {
            ticks: 0,
            ns: 0,
            factor: (1 << 31) + (1 << 31) / 50_000,
        };
        let mut at = 0;
        for second in 1..=20u64 {
            let true_ns = second * 1_000_000_000;
            let now = Reading {
                ticks: true_ns * 2,
                mono: true_ns,
            };
            let next = segment.next(now, true_ns, 1 << 31, 1_000_000_000);
            assert_eq!(next.ns, segment.ns(now.ticks), "no jump");
            assert!(next.ns > at);
            at = next.ns;
            segment = next;
        }
        let error = at.abs_diff(20_000_000_000);
        assert!(error < 1000, "{error} ns off");
    }

    #[test]
    fn a_great_error_is_made_good_slowly() {
        let segment = Segment {
            ticks: 0,
            ns: 5_000_000_000,
            factor: 1 << 32,
        };
        let now = Reading {
            ticks: 1_000_000_000,
            mono: 1_000_000_000,
        };
        let next = segment.next(now, 1_000_000_000, 1 << 32, 1_000_000_000);
        let slowed = (1u64 << 32) - next.factor;
        assert_eq!(slowed, (1 << 32) / 2000, "500 ppm");
    }
}
