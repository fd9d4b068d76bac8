//! Threads of ours that CPython ends are parked for ever instead.
//!
//! CPython up to 3.13 calls `pthread_exit` on a thread that comes back to an interpreter which is
//! finalizing. What follows unwinds the thread's stack from its innermost frame, and a Rust frame that
//! it meets takes the process down: every trampoline, every decref and every call into Python is such
//! a frame. So the thread must stop before the first frame is left. A handler for `pthread_exit`
//! does that: glibc runs one once the frame that it was pushed in is left, which it tells by the address
//! of the handler's record, and a record outside of the stack belongs to no frame: it runs first of
//! all. musl runs handlers first anyway. From 3.14 on CPython parks such threads itself.
//!
//! So each function that Python calls begins with one, unless neither Python code runs in it nor the
//! GIL is let go of, and takes arguments whose conversion runs Python code as they are.
//!
//! Invariant: a thread carries a handler only while code of this library is on its stack; a call
//! pays nothing on the loop thread, which carries one all its life.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::OnceLock;

type Handler = extern "C" fn(*mut c_void);
type Push = unsafe extern "C" fn(*mut Record, Handler, *mut c_void);
type Pop = unsafe extern "C" fn(*mut Record, c_int);

/// `struct _pthread_cleanup_buffer` of glibc's `pthread.h`; musl's `struct __ptcb` is shorter.
#[repr(C)]
struct Record {
    routine: Option<Handler>,
    arg: *mut c_void,
    cancel_type: c_int,
    previous: *mut Record,
}

thread_local! {
    /// Whether this thread carries a handler.
    static PARKS: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, this thread parks when it is told to exit.
pub(crate) struct ParkOnExit {
    /// From `Box::into_raw`: the C library has the address too.
    record: *mut Record,
    pop: Pop,
    /// Bound to the thread, as the list of handlers is.
    _thread: PhantomData<*mut ()>,
}

impl ParkOnExit {
    /// `None`: the thread carries one already, or the C library has no such handlers, and threads end
    /// as CPython ends them.
    pub(crate) fn new() -> Option<Self> {
        if PARKS.get() {
            return None;
        }
        let (push, pop) = handlers()?;
        let record = Box::into_raw(Box::new(Record {
            routine: None,
            arg: std::ptr::null_mut(),
            cancel_type: 0,
            previous: std::ptr::null_mut(),
        }));
        // SAFETY: the record lives until it is popped, or for ever if the thread parks.
        unsafe { push(record, park, std::ptr::null_mut()) };
        PARKS.set(true);
        Some(Self {
            record,
            pop,
            _thread: PhantomData,
        })
    }
}

impl Drop for ParkOnExit {
    fn drop(&mut self) {
        PARKS.set(false);
        // SAFETY: pushed on this thread, which the type is bound to; nobody has the address any more.
        unsafe {
            (self.pop)(self.record, 0);
            drop(Box::from_raw(self.record));
        }
    }
}

/// A value whose drop may run Python code, on whichever thread that is.
#[derive(Debug)]
pub(crate) struct Parking<T>(ManuallyDrop<T>);

impl<T> Parking<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T> Deref for Parking<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for Parking<T> {
    fn drop(&mut self) {
        let _parks = ParkOnExit::new();
        // SAFETY: once, as it is dropped nowhere else.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}

/// How this C library adds and removes a handler.
fn handlers() -> Option<(Push, Pop)> {
    static FOUND: OnceLock<Option<(Push, Pop)>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let (push, pop) = (
            find(c"_pthread_cleanup_push")?,
            find(c"_pthread_cleanup_pop")?,
        );
        // SAFETY: these symbols have had these types in glibc and musl ever since.
        Some(unsafe {
            (
                std::mem::transmute::<*mut c_void, Push>(push),
                std::mem::transmute::<*mut c_void, Pop>(pop),
            )
        })
    })
}

fn find(symbol: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name is a C string.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, symbol.as_ptr()) };
    (!address.is_null()).then_some(address)
}

extern "C" fn park(_: *mut c_void) {
    loop {
        // SAFETY: no arguments; it returns after each signal.
        unsafe { libc::pause() };
    }
}
