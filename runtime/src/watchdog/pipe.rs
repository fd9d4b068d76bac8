//! The pipe through which stacks come.
//!
//! Invariant: neither end ever blocks: a thread that is made to write its stack goes on if nobody reads.

use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// The longest text that is read at once: what a pipe holds.
const MOST: usize = 1 << 16;

/// Both ends; they stay open as long as the process, since a signal may come late.
#[derive(Debug)]
pub(super) struct Pipe {
    read: std::fs::File,
    write: OwnedFd,
}

impl Pipe {
    pub(super) fn new() -> std::io::Result<Self> {
        let mut ends: [RawFd; 2] = [0; 2];
        // SAFETY: the array has room for two.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else's.
        let [read, write] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
        Ok(Self {
            read: read.into(),
            write,
        })
    }

    pub(super) fn write_end(&self) -> RawFd {
        self.write.as_raw_fd()
    }

    /// Whether something is there, or comes in that time.
    pub(super) fn waits_for_text(&self, patience: Duration) -> bool {
        let mut fd = libc::pollfd {
            fd: self.read.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let timeout = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one pollfd, alive during the call.
        unsafe { libc::poll(&raw mut fd, 1, timeout) > 0 }
    }

    /// Everything that is there now.
    pub(super) fn text(&self) -> String {
        let mut all = Vec::new();
        let mut block = [0; 4096];
        while all.len() < MOST {
            match (&self.read).read(&mut block) {
                Ok(0) | Err(_) => break,
                Ok(read) => all.extend_from_slice(&block[..read]),
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    }
}
