//! A library to preload: this process' wall clock can be stepped, as an administrator would.
//!
//! Invariant: only CLOCK_REALTIME moves; every other clock is the kernel's.

use std::ffi::{c_int, c_long};
use std::sync::atomic::{AtomicI64, Ordering};

const CLOCK_REALTIME: c_int = 0;
/// Of the system call, on x86-64 and on 64-bit Arm.
const SYS_CLOCK_GETTIME: c_long = if cfg!(target_arch = "x86_64") {
    228
} else {
    113
};

static SECONDS_AHEAD: AtomicI64 = AtomicI64::new(0);

#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// Sets how far the wall clock is ahead of the kernel's.
#[unsafe(no_mangle)]
pub extern "C" fn step_wall_clock(seconds: i64) {
    SECONDS_AHEAD.store(seconds, Ordering::SeqCst);
}

/// # Safety
/// `time` is valid for writes, as for the C library's function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    // SAFETY: the arguments are those of the system call.
    let failed = unsafe { syscall(SYS_CLOCK_GETTIME, c_long::from(clock), time) };
    if failed == 0 && clock == CLOCK_REALTIME {
        // SAFETY: the kernel has just written it.
        unsafe { (*time).seconds += SECONDS_AHEAD.load(Ordering::SeqCst) };
    }
    failed as c_int
}
