//! Whether a thread that a signal interrupted was waiting for the GIL.
//!
//! Invariant: signal-safe; it looks at registers. Sure, or no: on systems that are not known here it is no.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The interpreter's own state, in which the GIL's condition variable is.
static BEGIN: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);

/// Finds out where the GIL is, before the first signal.
pub(super) fn prepare() {
    if let Some((begin, size)) = runtime_state() {
        END.store(begin + size, Relaxed);
        BEGIN.store(begin, Relaxed);
    }
}

/// Where `_PyRuntime` is and how large: of the main interpreter, all that is shared is in there.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn runtime_state() -> Option<(usize, usize)> {
    unsafe extern "C" {
        static _PyRuntime: c_int;
        /// Of glibc.
        fn dladdr1(
            address: *const c_void,
            info: *mut libc::Dl_info,
            extra: *mut *mut c_void,
            flags: c_int,
        ) -> c_int;
    }
    const RTLD_DL_SYMENT: c_int = 1;
    // SAFETY: all zeroes is a valid value.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    let mut symbol: *mut c_void = std::ptr::null_mut();
    let address = &raw const _PyRuntime;
    // SAFETY: both places are live; only looked up.
    let found = unsafe {
        dladdr1(
            address.cast(),
            &raw mut info,
            &raw mut symbol,
            RTLD_DL_SYMENT,
        )
    };
    let symbol = symbol.cast::<libc::Elf64_Sym>();
    if found == 0 || symbol.is_null() || !std::ptr::eq(info.dli_saddr, address.cast()) {
        return None;
    }
    // SAFETY: in the symbol table of a library that is loaded.
    let size = usize::try_from(unsafe { (*symbol).st_size }).ok()?;
    Some((address as usize, size))
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn runtime_state() -> Option<(usize, usize)> {
    None
}

/// Whether what was interrupted waits at a lock of the interpreter's state. That is the GIL: the others in
/// there are taken for moments only.
///
/// # Safety
/// `context` is what the kernel passed to a handler with `SA_SIGINFO`.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(super) unsafe fn is_awaited(context: *mut c_void) -> bool {
    const SYSCALL: [u8; 2] = [0x0F, 0x05];
    // SAFETY: as the function's.
    let registers = unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    // A futex's address is a system call's first argument, which the kernel leaves where it was. Behind
    // the call, the program goes on.
    let at = registers[libc::REG_RDI as usize] as usize;
    let next = registers[libc::REG_RIP as usize] as usize;
    let in_state = (BEGIN.load(Relaxed)..END.load(Relaxed)).contains(&at);
    in_state && super::frames::are_at(next.wrapping_sub(SYSCALL.len()), SYSCALL)
}

/// As above; not known.
///
/// # Safety
/// None is needed.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(super) unsafe fn is_awaited(_context: *mut c_void) -> bool {
    false
}
