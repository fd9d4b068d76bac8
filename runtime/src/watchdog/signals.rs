//! The two signals: one asks a thread whether it holds the GIL, the other has it write its stack.
//!
//! Invariant: only numbers that nobody used are taken, once taken they never go back to their default,
//! by which a signal that comes late would end the process; what a handler does is safe at any point.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use pyo3::ffi;

use super::parked;

/// The question that is asked now; an answer to an earlier one does not count.
static QUESTION: AtomicUsize = AtomicUsize::new(0);
/// How many threads have answered it.
static ANSWERS: AtomicU32 = AtomicU32::new(0);
/// The thread that said that it holds the GIL.
static HOLDER: AtomicU32 = AtomicU32::new(0);

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

/// Answers. Signal-safe: atomics, a system call without errors, and a read of the thread's own state.
extern "C" fn answer(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a siginfo, whose layout this is for queued signals.
    let info = unsafe { &*info.cast::<Queued>() };
    let question = QUESTION.load(SeqCst);
    if info.code != libc::SI_QUEUE || question == 0 || info.sent.value != question {
        return;
    }
    // SAFETY: allowed on any thread at any time; it reads the thread's own state.
    if unsafe { ffi::PyGILState_Check() } != 0 {
        // SAFETY: no arguments, no effect.
        HOLDER.store(unsafe { libc::gettid() } as u32, SeqCst);
    }
    ANSWERS.fetch_add(1, SeqCst);
}

/// `faulthandler`'s handler of the signal to dump.
static DUMPS: AtomicUsize = AtomicUsize::new(0);

/// Has `faulthandler` write the thread's stack, if the thread is in a system call: its frames are whole
/// then. Interrupted anywhere else it may be about to change them, and to follow them would crash.
extern "C" fn dump_if_parked(signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    let dumps = DUMPS.load(SeqCst);
    // SAFETY: the kernel passes the context of what was interrupted.
    if dumps != 0 && unsafe { parked::is_at_a_system_call(context) } {
        // SAFETY: as it was registered: a handler that takes the number alone.
        let dumps = unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(dumps) };
        dumps(signal);
    }
}

extern "C" fn nothing(_signal: c_int, _info: *mut libc::siginfo_t, _context: *mut c_void) {}

/// The numbers, and what handles them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signals {
    ask: c_int,
    pub(super) dump: c_int,
}

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

/// Takes two real-time signals that nobody handles. The first have their uses here and there.
pub(super) fn take() -> Option<(c_int, c_int)> {
    let all = libc::SIGRTMIN() + 5..=libc::SIGRTMAX();
    let mut free = all.filter(|signal| {
        action_of(*signal).is_some_and(|action| action.sa_sigaction == libc::SIG_DFL)
    });
    let (ask, dump) = (free.next()?, free.next()?);
    handle(ask, answer);
    handle(dump, nothing);
    Some((ask, dump))
}

impl Signals {
    /// `faulthandler` has registered `dump`. System calls go on after it, and a question that comes
    /// meanwhile is answered after it: by that the watchdog knows its end.
    pub(super) fn new((ask, dump): (c_int, c_int)) -> Option<Self> {
        let mut action = action_of(dump)?;
        if action.sa_sigaction != dump_if_parked as Handler as usize {
            DUMPS.store(action.sa_sigaction, SeqCst);
        }
        action.sa_sigaction = dump_if_parked as Handler as usize;
        action.sa_flags |= libc::SA_RESTART | libc::SA_SIGINFO;
        // SAFETY: the set is live.
        unsafe { libc::sigaddset(&raw mut action.sa_mask, ask) };
        set(dump, &action);
        Some(Self { ask, dump })
    }

    /// Which they are: to ask, to dump.
    pub(super) fn numbers(&self) -> (c_int, c_int) {
        (self.ask, self.dump)
    }

    /// Whether both are still ours: somebody may have taken one since.
    pub(super) fn are_ours(&self) -> bool {
        let is = |signal, handler: usize| {
            action_of(signal).is_some_and(|action| action.sa_sigaction == handler)
        };
        is(self.ask, answer as Handler as usize)
            && is(self.dump, dump_if_parked as Handler as usize)
    }

    /// Asks these threads, and waits until one says that it holds the GIL, or all have answered.
    pub(super) fn who_holds(&self, threads: &[u32], patience: Duration) -> Option<u32> {
        self.question(threads, patience, true);
        Some(HOLDER.load(SeqCst)).filter(|tid| *tid != 0)
    }

    /// Asks one thread; whether it answered, and then whether it holds the GIL.
    pub(super) fn holds(&self, thread: u32, patience: Duration) -> Option<bool> {
        self.question(&[thread], patience, false)
            .then(|| HOLDER.load(SeqCst) == thread)
    }

    fn question(&self, threads: &[u32], patience: Duration, until_held: bool) -> bool {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        HOLDER.store(0, SeqCst);
        ANSWERS.store(0, SeqCst);
        let question = LAST.fetch_add(1, SeqCst) + 1;
        QUESTION.store(question, SeqCst);
        let asked = threads
            .iter()
            .filter(|tid| self.send(**tid, question))
            .count();
        let end = Instant::now() + patience;
        let done =
            || ANSWERS.load(SeqCst) as usize >= asked || (until_held && HOLDER.load(SeqCst) != 0);
        while !done() && Instant::now() < end {
            std::thread::sleep(BREATH);
        }
        QUESTION.store(0, SeqCst);
        asked > 0 && ANSWERS.load(SeqCst) as usize >= asked
    }

    /// Has a thread write its stack, if it is in a system call.
    pub(super) fn dump(&self, thread: u32) -> bool {
        // SAFETY: numbers only.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, self.dump) == 0 }
    }

    fn send(&self, thread: u32, question: usize) -> bool {
        // SAFETY: no arguments, no effect.
        let (pid, uid) = unsafe { (libc::getpid(), libc::getuid()) };
        let info = Queued {
            signal: self.ask,
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
                self.ask,
                &raw const info,
            )
        };
        sent == 0
    }
}

const _: () = assert!(size_of::<Queued>() >= size_of::<libc::siginfo_t>());
