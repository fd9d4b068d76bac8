//! Whether a thread was interrupted in a system call, by what its program counter points to.
//!
//! Invariant: signal-safe; it reads the code that was interrupted and nothing else. On a processor that it
//! does not know, no thread is in a system call.

use std::ffi::c_void;

/// Where what was interrupted goes on: behind its system call, or at it, where that is made again.
///
/// # Safety
/// `context` is what the kernel passed to a handler with `SA_SIGINFO`.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(super) unsafe fn is_at_a_system_call(context: *mut c_void) -> bool {
    const SYSCALL: [u8; 2] = [0x0F, 0x05];
    // SAFETY: as the function's.
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    let next = context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
    // SAFETY: in the page of the code that was interrupted.
    unsafe { is_at(next, SYSCALL) || is_at(next.wrapping_sub(SYSCALL.len()), SYSCALL) }
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
pub(super) unsafe fn is_at_a_system_call(context: *mut c_void) -> bool {
    const SVC_0: [u8; 4] = 0xD400_0001_u32.to_le_bytes();
    // SAFETY: as the function's.
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    let next = context.uc_mcontext.pc as usize;
    // SAFETY: in the page of the code that was interrupted.
    unsafe { is_at(next, SVC_0) || is_at(next.wrapping_sub(SVC_0.len()), SVC_0) }
}

/// As above; not known.
///
/// # Safety
/// None is needed.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub(super) unsafe fn is_at_a_system_call(_context: *mut c_void) -> bool {
    false
}

/// Whether these bytes are there. What would reach over the end of a page is not looked at: the next, or
/// the one before, need not be mapped.
///
/// # Safety
/// The page of `address`, or of what follows it, is code that was interrupted.
#[cfg(target_os = "linux")]
unsafe fn is_at<const N: usize>(address: usize, bytes: [u8; N]) -> bool {
    const PAGE: usize = 4096;
    // Behind a system call at the very end of a page begins another one: that of the counter.
    if address % PAGE > PAGE - 2 * N {
        return false;
    }
    // SAFETY: as the function's, and no page is left.
    unsafe { (address as *const [u8; N]).read_unaligned() == bytes }
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// Whether code that goes on at this offset is in a system call.
    fn parked_at(code: &[u8; 32], offset: usize) -> bool {
        // SAFETY: all zeroes is a valid value.
        let mut context: libc::ucontext_t = unsafe { std::mem::zeroed() };
        let next = code.as_ptr() as usize + offset;
        context.uc_mcontext.gregs[libc::REG_RIP as usize] = next as i64;
        // SAFETY: a context, whose code is memory of ours.
        unsafe { is_at_a_system_call((&raw mut context).cast()) }
    }

    #[repr(align(64))]
    struct Code([u8; 32]);

    #[test]
    fn behind_a_system_call_and_at_it_and_nowhere_else() {
        let mut code = Code([0x90; 32]);
        code.0[10..12].copy_from_slice(&[0x0F, 0x05]);
        let parked: Vec<_> = (2..28).filter(|at| parked_at(&code.0, *at)).collect();
        assert_eq!(parked, [10, 12]);
    }
}
