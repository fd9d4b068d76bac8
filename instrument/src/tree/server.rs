//! The thread that listens, and those that answer: one for each client, a few at a time.
//!
//! Invariant: none of them ever attaches to Python, and no client can keep one for long; nobody but
//! this user gets an answer.

use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering};
use std::time::Duration;

use super::{answer, place};

/// How long a client may take to ask, and to read on.
const PATIENCE: Duration = Duration::from_secs(2);
/// Clients answered at a time; more are answered one after another.
const CLIENTS: usize = 8;
const NONE: RawFd = -1;

/// What a forked child has to close: the listening socket, and those of clients being answered.
static LISTENING: AtomicI32 = AtomicI32::new(NONE);
static ANSWERED: [AtomicI32; CLIENTS] = [const { AtomicI32::new(NONE) }; CLIENTS];

/// The file to remove when the process ends, and the process. No lock: a child could be forked while it
/// is held.
static FILE: AtomicPtr<(u32, PathBuf)> = AtomicPtr::new(std::ptr::null_mut());

/// Answers until it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    listener: Arc<UnixListener>,
}

impl Server {
    pub(super) fn start() -> io::Result<Server> {
        let path = place::socket()?;
        let listener = UnixListener::bind(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        let listener = Arc::new(listener);
        remember(path);
        LISTENING.store(listener.as_raw_fd(), Ordering::Release);
        let listens = Arc::clone(&listener);
        thread("gilscope-tree", move || accept(&listens)).inspect_err(|_| {
            LISTENING.store(NONE, Ordering::Release);
            forget();
        })?;
        Ok(Server { listener })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        forget();
        LISTENING.store(NONE, Ordering::Release);
        // SAFETY: the listener is open; this ends its `accept` and refuses whoever connects now. The
        // thread is not waited for: it may be with a client.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
    }
}

/// A thread that no signal is delivered to: handlers of the process run on its own threads.
fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // SAFETY: the sets are filled before they are read, and the mask is this thread's own again after.
    unsafe {
        let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let made = std::thread::Builder::new().name(name.into()).spawn(work);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        made.map(drop)
    }
}

fn accept(listener: &UnixListener) {
    loop {
        match listener.accept() {
            Ok((client, _)) => take(client),
            // Shut down.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            // No descriptors left, say: they come again.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn take(client: UnixStream) {
    let fd = client.as_raw_fd();
    let free = |slot: &&AtomicI32| {
        let taken = slot.compare_exchange(NONE, fd, Ordering::AcqRel, Ordering::Relaxed);
        taken.is_ok()
    };
    let Some(slot) = ANSWERED.iter().find(free) else {
        return serve(&client);
    };
    let shared = Arc::new(client);
    let theirs = Arc::clone(&shared);
    let answers = move || {
        serve(&theirs);
        close(theirs, slot);
    };
    match thread("gilscope-answer", answers) {
        Ok(()) => close(shared, slot),
        Err(_) => {
            serve(&shared);
            close(shared, slot);
        }
    }
}

/// Closes it if nobody else has it any more; the slot is free before the number can be another's.
fn close(client: Arc<UnixStream>, slot: &AtomicI32) {
    if let Some(client) = Arc::into_inner(client) {
        slot.store(NONE, Ordering::Release);
        drop(client);
    }
}

fn serve(client: &UnixStream) {
    let answer = if is_own(peer(client), place::own_uid()) {
        let set = client.set_read_timeout(Some(PATIENCE));
        let set = set.and_then(|()| client.set_write_timeout(Some(PATIENCE)));
        match set.and_then(|()| answer::read_request(client, PATIENCE)) {
            Ok(request) => answer::to(&request),
            Err(_) => return, // it went away, or said nothing
        }
    } else {
        answer::refusal("only the user whose process it is may ask")
    };
    let _ = (&*client).write_all(&answer);
}

/// The user of who has connected, if the system says.
fn peer(client: &UnixStream) -> Option<u32> {
    // SAFETY: all zero is valid; the socket is open, and the buffer of the size that is told.
    unsafe {
        let mut who: libc::ucred = std::mem::zeroed();
        let mut size = size_of::<libc::ucred>() as libc::socklen_t;
        let (level, option) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
        let fd = client.as_raw_fd();
        let got = libc::getsockopt(fd, level, option, (&raw mut who).cast(), &raw mut size);
        (got == 0).then_some(who.uid)
    }
}

/// Nobody else, not even root: who may do anything can also become this user.
fn is_own(peer: Option<u32>, own: u32) -> bool {
    peer == Some(own)
}

/// Has the file removed at the latest when the process ends.
fn remember(path: PathBuf) {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    extern "C" fn at_exit() {
        forget();
    }
    let file = Box::into_raw(Box::new((std::process::id(), path)));
    FILE.store(file, Ordering::Release);
    if !REGISTERED.swap(true, Ordering::AcqRel) {
        // SAFETY: a plain function that lives as long as the library, which is never unloaded.
        unsafe { libc::atexit(at_exit) };
    }
}

/// Removes the file, if it is this process' own.
fn forget() {
    let file = FILE.swap(std::ptr::null_mut(), Ordering::AcqRel);
    if file.is_null() {
        return;
    }
    // SAFETY: it came from a box, and who swaps it out owns it.
    let (pid, path) = *unsafe { Box::from_raw(file) };
    if pid == std::process::id() {
        let _ = std::fs::remove_file(path);
    }
}

/// Closes what the child has of the parent's sockets, of which it may be the last holder one day.
pub(super) fn after_fork_child() {
    for fd in ANSWERED.iter().chain([&LISTENING]) {
        let fd = fd.swap(NONE, Ordering::AcqRel);
        if fd != NONE {
            // SAFETY: a descriptor that the parent's threads own, of which this process has none.
            unsafe { libc::close(fd) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::{is_own, peer};

    #[test]
    fn only_the_same_user_is_answered() {
        assert!(is_own(Some(1000), 1000));
        for (peer, own) in [
            (Some(1001), 1000),
            (Some(0), 1000),
            (Some(1000), 0),
            (None, 0),
        ] {
            assert!(!is_own(peer, own), "{peer:?} {own}");
        }
    }

    #[test]
    fn the_system_says_who_has_connected() {
        let (client, _server) = UnixStream::pair().expect("a pair");
        assert_eq!(peer(&client), Some(crate::tree::place::own_uid()));
    }
}
