//! An eventfd: the bell of an inbox.
//!
//! Invariant: ringing never blocks and never allocates; a full counter means the bell rings already.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Owned eventfd, non-blocking and close-on-exec.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// Makes one.
    ///
    /// # Errors
    /// What `eventfd(2)` says, for example that the process is out of file descriptors.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made and is owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Rings. Any thread, also from a signal handler.
    pub fn ring(&self) {
        // SAFETY: the descriptor is open for as long as self lives.
        unsafe { libc::eventfd_write(self.0.as_raw_fd(), 1) };
    }

    /// Silences the bell.
    pub fn clear(&self) {
        let mut value = 0;
        // SAFETY: `value` outlives the call.
        unsafe { libc::eventfd_read(self.0.as_raw_fd(), &raw mut value) };
    }

    /// Waits until the bell rings, a signal arrives (`Interrupted`) or `timeout_ms` passes (-1: for ever).
    /// Blocks the thread: call it detached.
    ///
    /// # Errors
    /// What `poll(2)` says.
    pub fn wait(&self, timeout_ms: i32) -> io::Result<bool> {
        let mut fds = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd, alive during the call.
        match unsafe { libc::poll(&raw mut fds, 1, timeout_ms) } {
            -1 => Err(io::Error::last_os_error()),
            n => Ok(n > 0),
        }
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
