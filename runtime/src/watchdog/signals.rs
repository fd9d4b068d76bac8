//! The signal by which a thread is asked: do you hold the GIL, and where are you.
//!
//! Invariant: only a number that nobody used is taken, once taken it never goes back to its default, by
//! which a signal that comes late would end the process; what the handler does is safe at any point.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use pyo3::ffi;

use super::frames;
use super::gil_lock;
use super::page::PAGE;

/// The question that is asked now; an answer to an earlier one does not count.
static QUESTION: AtomicUsize = AtomicUsize::new(0);
/// How many threads have answered it.
static ANSWERS: AtomicU32 = AtomicU32::new(0);

/// Between two looks for answers.
const BREATH: Duration = Duration::from_micros(50);

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// The first part of `siginfo_t` of a queued signal, as Linux has it.
#[repr(C)]
struct Queued {
    signal: c_int,
    errno: c_int,
    code: c_int,
    sent: Sent,
    rest: [u8; 96],
}

#[repr(C)]
struct Sent {
    pid: libc::pid_t,
    uid: libc::uid_t,
    value: usize,
}

/// Questions are odd if every thread that is asked is to write, even if only who holds the GIL is.
const ANYBODY: usize = 1;

/// Answers. Signal-safe: atomics, system calls, and reads of the thread's own state.
extern "C" fn answer(_signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a siginfo, whose layout this is for queued signals.
    let info = unsafe { &*info.cast::<Queued>() };
    let question = QUESTION.load(SeqCst);
    if info.code != libc::SI_QUEUE || question == 0 || info.sent.value != question {
        return;
    }
    // SAFETY: a thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    // SAFETY: allowed on any thread at any time; it reads the thread's own state.
    let holds = unsafe { ffi::PyGILState_Check() } != 0;
    if holds || question & ANYBODY != 0 {
        // SAFETY: as above.
        let state = unsafe { ffi::PyGILState_GetThisThreadState() };
        // SAFETY: what the kernel passed.
        let waits = !holds && unsafe { gil_lock::is_awaited(context) };
        PAGE.write(question, waits, |text| frames::write(state, text));
    }
    // SAFETY: as above.
    unsafe { *errno = before };
    ANSWERS.fetch_add(1, SeqCst);
}

/// The number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signal(c_int);

fn action_of(signal: c_int) -> Option<libc::sigaction> {
    // SAFETY: all zeroes is a valid value; the system fills it.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is changed; `action` is live.
    let done = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    (done == 0).then_some(action)
}

fn set(signal: c_int, action: &libc::sigaction) {
    // SAFETY: the handler in it is a function that lives as long as the process.
    unsafe { libc::sigaction(signal, action, std::ptr::null_mut()) };
}

fn handle(signal: c_int, handler: Handler) {
    // SAFETY: all zeroes is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: the set is live. Everything else waits: it takes no time.
    unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    set(signal, &action);
}

/// What a thread answered.
pub(super) struct Answer {
    pub(super) tid: u32,
    /// It waited for the GIL.
    pub(super) waits: bool,
    /// Its frames, for `frames_of`.
    pub(super) frames: String,
}

impl Signal {
    /// Takes a real-time signal that nobody handles. The first have their uses here and there.
    pub(super) fn take() -> Option<Self> {
        let mut all = libc::SIGRTMIN() + 5..=libc::SIGRTMAX();
        let free = all.find(|signal| {
            action_of(*signal).is_some_and(|action| action.sa_sigaction == libc::SIG_DFL)
        })?;
        handle(free, answer);
        Some(Self(free))
    }

    /// Whether it is still ours: somebody may have taken it since.
    pub(super) fn is_ours(self) -> bool {
        action_of(self.0).is_some_and(|action| action.sa_sigaction == answer as Handler as usize)
    }

    /// Asks these threads, and waits until the one that holds the GIL has said where it is, or all have
    /// answered that they do not.
    pub(super) fn who_holds(self, threads: &[u32], patience: Duration) -> Option<Answer> {
        self.ask(threads, 0, patience)
    }

    /// Asks one thread where it is.
    pub(super) fn where_is(self, thread: u32, patience: Duration) -> Option<Answer> {
        self.ask(&[thread], ANYBODY, patience)
    }

    fn ask(self, threads: &[u32], whom: usize, patience: Duration) -> Option<Answer> {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let question = (LAST.fetch_add(1, SeqCst) + 1) << 1 | whom;
        if !PAGE.turn_to(question) {
            return None; // a handler that was late is still writing
        }
        ANSWERS.store(0, SeqCst);
        QUESTION.store(question, SeqCst);
        let sent = threads.iter().filter(|tid| self.send(**tid, question));
        let asked = sent.count();
        let end = Instant::now() + patience;
        let all = || ANSWERS.load(SeqCst) as usize >= asked;
        while !all() && !PAGE.is_written() && Instant::now() < end {
            std::thread::sleep(BREATH);
        }
        QUESTION.store(0, SeqCst);
        PAGE.take(question)
    }

    fn send(self, thread: u32, question: usize) -> bool {
        // SAFETY: no arguments, no effect.
        let (pid, uid) = unsafe { (libc::getpid(), libc::getuid()) };
        let info = Queued {
            signal: self.0,
            errno: 0,
            code: libc::SI_QUEUE,
            sent: Sent {
                pid,
                uid,
                value: question,
            },
            rest: [0; 96],
        };
        // SAFETY: as large as a siginfo, of which the kernel reads what is filled.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_rt_tgsigqueueinfo,
                pid,
                thread,
                self.0,
                &raw const info,
            )
        };
        sent == 0
    }
}

const _: () = assert!(size_of::<Queued>() >= size_of::<libc::siginfo_t>());
