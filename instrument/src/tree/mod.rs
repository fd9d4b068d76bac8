//! The await tree of this process, for whoever asks: a thread that never touches Python answers on a
//! Unix socket that only the same user can open.
//!
//! Invariant: nothing is opened unless it was asked for, and a forked child has neither its parent's
//! socket nor its thread.

mod answer;
mod place;
mod server;

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use server::Server;

const VARIABLE: &str = "GILSCOPE_TREE";

/// What a runtime says about its calls that no loop thread has opened yet.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    /// The runtime, as spans number them.
    pub runtime: u16,
    /// Its name.
    pub name: String,
    /// Calls in its queue, not started.
    pub queued: usize,
    /// Calls that wait for room in it.
    pub waiting: usize,
    /// How many calls may be in flight at once, if that is limited.
    pub max_in_flight: Option<usize>,
}

/// Says what is queued. Called on the answering thread: takes no lock that is held across a call into
/// Python.
pub type Queues = fn() -> Vec<Queue>;

static WANTED: AtomicBool = AtomicBool::new(false);
static ENVIRONMENT_READ: AtomicBool = AtomicBool::new(false);
static QUEUES: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());
/// Of this process; replaced after a fork, since a thread of the parent could have held its lock.
static STATE: AtomicPtr<Mutex<State>> = AtomicPtr::new(std::ptr::null_mut());
/// The number of forks before this process.
static FORKS: AtomicU32 = AtomicU32::new(0);

#[derive(Default)]
struct State {
    users: usize,
    server: Option<Server>,
}

/// Keeps the tree open; the last one of the process to be dropped closes it.
#[derive(Debug)]
#[must_use = "the tree is open while this is held"]
pub struct Tree {
    forks: u32,
}

/// Answers from now on, at the socket that `gilscope tree` looks for. Any thread, no GIL.
///
/// # Errors
/// If there is no folder that only this user can enter, or the socket cannot be made there.
pub fn open() -> io::Result<Tree> {
    let mut state = state().lock().unwrap_or_else(PoisonError::into_inner);
    if state.server.is_none() {
        state.server = Some(Server::start()?);
        WANTED.store(true, Ordering::Relaxed);
    }
    state.users += 1;
    let forks = FORKS.load(Ordering::Relaxed);
    Ok(Tree { forks })
}

impl Drop for Tree {
    fn drop(&mut self) {
        if self.forks != FORKS.load(Ordering::Relaxed) {
            return; // the parent's
        }
        let mut state = state().lock().unwrap_or_else(PoisonError::into_inner);
        state.users -= 1;
        if state.users == 0 {
            WANTED.store(false, Ordering::Relaxed);
            drop(state.server.take());
        }
    }
}

/// Whether anybody may ask, so that more than spans need is worth recording.
#[inline]
pub fn wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// Opens it for the rest of the process where `GILSCOPE_TREE` is 1; says in one line on stderr if that
/// fails. Once per process: loops that begin do this.
pub fn read_environment() {
    if ENVIRONMENT_READ.swap(true, Ordering::Relaxed) {
        return;
    }
    let why = match std::env::var_os(VARIABLE) {
        None => return,
        Some(value) if value.is_empty() || value == "0" => return,
        Some(value) if value == "1" => match open() {
            Ok(tree) => return std::mem::forget(tree),
            Err(error) => format!("gilscope: no tree can be asked for: {error}\n"),
        },
        Some(value) => format!("gilscope: {VARIABLE} must be 1 or 0, not {value:?}\n"),
    };
    // Nobody to tell it to.
    let _ = io::stderr().write_all(why.as_bytes());
}

/// Who says what is queued; the last one told counts.
pub fn set_queues(queues: Queues) {
    QUEUES.store(queues as *mut (), Ordering::Release);
}

fn queues() -> Vec<Queue> {
    let queues = QUEUES.load(Ordering::Acquire);
    if queues.is_null() {
        return Vec::new();
    }
    // SAFETY: only `set_queues` stores here, and what it is given is a `Queues`.
    let queues = unsafe { std::mem::transmute::<*mut (), Queues>(queues) };
    queues()
}

fn state() -> &'static Mutex<State> {
    let state = STATE.load(Ordering::Acquire);
    if !state.is_null() {
        // SAFETY: only leaked boxes are stored.
        return unsafe { &*state };
    }
    let fresh = Box::into_raw(Box::default());
    let null = std::ptr::null_mut();
    match STATE.compare_exchange(null, fresh, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: just stored, so leaked.
        Ok(_) => unsafe { &*fresh },
        Err(theirs) => {
            // SAFETY: it came from a box and nobody else has seen it.
            drop(unsafe { Box::from_raw(fresh) });
            // SAFETY: only leaked boxes are stored.
            unsafe { &*theirs }
        }
    }
}

/// In a forked child: lets go of the parent's sockets, and may answer for itself when asked to.
pub(crate) fn after_fork_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    WANTED.store(false, Ordering::Relaxed);
    ENVIRONMENT_READ.store(false, Ordering::Relaxed);
    STATE.store(std::ptr::null_mut(), Ordering::Release);
    server::after_fork_child();
}
