//! What a loop thread records with.
//!
//! Invariant: the hot path takes no lock and does not allocate (a slab chunk apart, when more calls
//! and tasks are open at once than ever before on this loop); stamps are made monotonic here, so
//! that the parts of a call add up to it exactly.

mod cpu;
mod steps;
mod tasks;
mod turns;

use std::cell::Cell;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Thread;

use cpu::{LONG_NS, NotOurs};
use steps::begin;
use turns::{TurnState, Wait};

use crate::chain::Chain;
use crate::converter::Control;
use crate::detail::{Detail, detail, enabled};
use crate::doing::DoingSince;
use crate::global::{self, LoopShared};
use crate::maker::Maker;
use crate::name::Name;
use crate::notes::Notes;
use crate::open::{Read as _, SlabWriter, mode, word};
use crate::ring::{self, Producer, Pushed, Words};
use crate::rust_polls::{self, Awaiting, RustPolls};
use crate::span::ThreadInfo;
use crate::stamps::CallStamps;
use crate::status::{Flags, Status};
use crate::trace::TraceContext;
use crate::{clock, new_id, side, trace};

const DEFAULT_RING: usize = 1 << 16;

/// A call that is open on a loop; 0 means that it is not recorded. Void after `close`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct OpenCall(pub u32);

/// A task that is open on a loop; 0 means that it is not recorded. Void after `task_close`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct OpenTask(pub u32);

/// A poll in which something was woken, or scheduled that will wake it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cause {
    /// The call or task, or the poll of a Rust future itself; 0: none is known.
    id: u64,
    /// Which poll of the call or task; 0: `id` is a poll's.
    poll: u32,
    trace: [u64; 2],
    sampled: bool,
    /// When it woke whom it wakes, in ticks; 0: when the loop comes to it.
    at: u64,
}

impl Cause {
    /// A poll on any thread, which ended `at`: the loop may hear of it much later, as when it waits for the GIL.
    pub(crate) fn rust_poll(id: u64, trace: [u64; 2], trace_flags: u16, at: u64) -> Cause {
        Cause {
            id,
            poll: 0,
            at,
            trace,
            sampled: trace::sampled(trace_flags),
        }
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.id != 0
    }
}

/// Records what one loop thread does. Not `Sync`: only that thread may use it.
pub struct LoopRecorder {
    shared: Arc<LoopShared>,
    slab: SlabWriter,
    ring: Producer,
    control: &'static Control,
    converter: Option<Thread>,
    returned: Cell<u64>,
    attached: Cell<u64>,
    turn: Cell<TurnState>,
    /// The wait before the last turn, if that served nobody.
    unserved: Cell<Wait>,
    turns: Cell<u32>,
    served: Cell<u32>,
    /// Trace flags of whom this turn served, all together.
    flags: Cell<u64>,
    /// The call that is being polled.
    current: Cell<u32>,
    /// The task made inside a call that is being polled.
    current_task: Cell<u32>,
    /// Who scheduled what runs now, outside of any poll.
    cause: Cell<Cause>,
    /// Whether the loop tells when it waits and attaches.
    seen: Cell<bool>,
    /// From how many ticks on the CPU time of a poll is asked for.
    long: u64,
    /// What is known of this turn's time that was not ours.
    not_ours: Cell<NotOurs>,
}

impl LoopRecorder {
    /// A recorder for the calling thread, with a ring of 65,536 slots (environment variable
    /// `GILSCOPE_RING` to change; rounded up to a power of two).
    pub fn new(runtime: u16, thread: &str) -> Self {
        Self::with_ring(runtime, thread, ring_slots())
    }

    /// The same with a ring of a given number of slots.
    pub fn with_ring(runtime: u16, thread: &str, slots: usize) -> Self {
        crate::detail::read_environment();
        #[cfg(unix)]
        crate::tree::read_environment();
        let global = global::current();
        let (producer, consumer) = ring::ring(size(slots));
        let slab = SlabWriter::new();
        let shared = Arc::new(LoopShared {
            thread: Arc::new(ThreadInfo {
                name: thread.to_owned(),
                tid: thread_id(),
                ident: ident(),
                runtime,
            }),
            slab: slab.slab.clone(),
            turn_base: new_id() & !0xFFFF_FFFF | 1 << 63,
            doing: DoingSince::default(),
            gone: AtomicBool::new(false),
            polling: Default::default(),
            given_up: Mutex::default(),
        });
        global.register(shared.clone(), consumer);
        rust_polls::is_thread(&shared.thread);
        LoopRecorder {
            shared,
            slab,
            ring: producer,
            control: &global.control,
            converter: global.control.start(global),
            returned: Cell::new(0),
            attached: Cell::new(0),
            turn: Cell::default(),
            unserved: Cell::default(),
            turns: Cell::new(0),
            served: Cell::new(0),
            flags: Cell::new(0),
            current: Cell::new(0),
            current_task: Cell::new(0),
            cause: Cell::default(),
            seen: Cell::new(true),
            long: clock::ticks(LONG_NS),
            not_ours: Cell::default(),
        }
    }

    /// A call was taken from the queue. Not recorded if it is not stamped, if recording is off
    /// or if the slab is full (counted).
    #[inline]
    pub fn open(&self, stamps: &CallStamps, name: Name) -> OpenCall {
        if stamps.id == 0 || !enabled() {
            return OpenCall(0);
        }
        let Some((entry, handle)) = self.slab.take() else {
            return OpenCall(0);
        };
        // Clocks of two cores may differ a little, and a job may be taken by a running loop.
        let enqueued = stamps.enqueued.max(stamps.called);
        let returned = self.returned.get().max(enqueued);
        let attached = self.attached.get().max(returned);
        let full = if detail() == Detail::Full {
            mode::FULL
        } else {
            0
        };
        let trace_flags = u64::from(stamps.flags) << mode::TRACE_SHIFT;
        entry.write(|entry| {
            entry.set(word::TRACE_HIGH, stamps.trace[0]);
            entry.set(word::TRACE_LOW, stamps.trace[1]);
            entry.set(word::PARENT, stamps.parent);
            entry.set(word::CALLED, stamps.called);
            entry.set(word::ENQUEUED, enqueued);
            entry.set(word::RETURNED, returned);
            entry.set(word::ATTACHED, attached);
            begin(entry, stamps.id, name, full | trace_flags);
        });
        OpenCall(handle)
    }

    /// A poll of the call begins.
    #[inline]
    pub fn poll_start(&self, call: OpenCall) {
        if let Some(entry) = self.slab.slab.get(call.0) {
            let outer = self.current.replace(call.0);
            self.start(entry, call.0, outer);
        }
    }

    /// The poll of the call ends.
    #[inline]
    pub fn poll_end(&self, call: OpenCall) {
        if let Some(entry) = self.slab.slab.get(call.0) {
            self.end(entry, call.0, clock::now());
            self.leave(entry, call.0);
        }
    }

    /// The call yielded, awaiting at a place (or `Name(0)`). Before or after `poll_end`.
    #[inline]
    pub fn suspended(&self, call: OpenCall, at: Name) {
        self.mark_suspended(call.0, at);
    }

    /// The chain of places at which the call awaits. After `suspended`.
    #[inline]
    pub fn awaits(&self, call: OpenCall, chain: Chain) {
        self.mark_chain(call.0, chain);
    }

    /// Who made the call. After `open`; while nobody [wants](crate::tree::wanted) it, not worth a call.
    #[cold]
    pub fn made(&self, call: OpenCall, maker: Maker) {
        if let Some(entry) = self.slab.slab.get(call.0) {
            entry.write(|entry| {
                entry.set(word::MADE, maker.into());
                entry.set(word::MODE, entry.get(word::MODE) | mode::MADE);
            });
        }
    }

    /// The call was woken: it is due to be polled again. The first wake counts.
    #[inline]
    pub fn woken(&self, call: OpenCall) {
        self.mark_woken(call.0);
    }

    /// What ended the call, each text cut; the type alone where `GILSCOPE_REDACT` is set. `stack` may be
    /// empty, unless it [is exported](crate::exporting). Before `close`.
    #[cold]
    pub fn error(&self, call: OpenCall, type_name: &str, message: &str, stack: &str) {
        self.record_error(call.0, type_name, message, stack);
    }

    /// The outcome was delivered: the call ends.
    #[inline]
    pub fn close(&self, call: OpenCall, status: Status, flags: Flags) {
        self.finish(call.0, status, flags);
    }

    /// The call that is being polled now, else `OpenCall(0)`.
    #[inline]
    pub fn current(&self) -> OpenCall {
        OpenCall(self.current.get())
    }

    /// What user code said of the call's span. Before `close`, and once.
    #[cold]
    pub fn notes(&self, call: OpenCall, notes: Notes) {
        if let Some(entry) = self.slab.slab.get(call.0) {
            side::notes(entry.get(word::ID), notes);
            entry.write(|entry| entry.set(word::MODE, entry.get(word::MODE) | mode::NOTES));
        }
    }

    /// The handle of the innermost call or task that is being polled now, else 0.
    pub fn polling(&self) -> u32 {
        match self.current_task.get() {
            0 => self.current.get(),
            task => task,
        }
    }

    /// The span of the call that is being polled now, itself or by a task made inside it.
    pub fn context(&self) -> Option<TraceContext> {
        let entry = self.polled()?;
        let bits = entry.get(word::MODE);
        let call = if bits & mode::TASK == 0 {
            word::ID
        } else {
            word::ENQUEUED
        };
        Some(TraceContext {
            trace: [entry.get(word::TRACE_HIGH), entry.get(word::TRACE_LOW)],
            span: entry.get(call),
            flags: (bits >> mode::TRACE_SHIFT) as u8,
            remote: false,
            state: None,
        })
    }

    /// The polls of a Rust future which what is being polled now, a call or a task made inside one,
    /// awaits; `None` if there is nothing, or not every span is recorded of it.
    pub fn awaits_rust(&self, name: Name) -> Option<RustPolls> {
        let entry = self.polled()?;
        let bits = entry.get(word::MODE);
        if bits & mode::FULL == 0 {
            return None;
        }
        let task = bits & mode::TASK != 0;
        let by = Awaiting {
            id: entry.get(word::ID),
            call: entry.get(if task { word::ENQUEUED } else { word::ID }),
            trace: [entry.get(word::TRACE_HIGH), entry.get(word::TRACE_LOW)],
            trace_flags: (bits >> mode::TRACE_SHIFT) as u16 & 0xFF,
            runtime: self.shared.thread.runtime,
            name: Name(entry.get(word::NAME_POLLS) as u32),
        };
        Some(RustPolls::new(by, name))
    }

    #[inline(always)]
    fn push<const N: usize>(&self, record: [Words; N]) {
        if self.ring.push(record) == Pushed::Quarter {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if let Some(converter) = &self.converter {
            self.control.wake_thread(converter);
        }
    }
}

impl Drop for LoopRecorder {
    fn drop(&mut self) {
        self.turn_end();
        self.shared.gone.store(true, Ordering::Release);
        self.wake();
    }
}

/// The most slots that a ring may have.
pub(crate) const MOST_RING: usize = 1 << 24;

/// How many slots the ring of a loop has that begins now.
pub(crate) fn ring_slots() -> usize {
    const VARIABLE: &str = "GILSCOPE_RING";
    let Some(given) = std::env::var_os(VARIABLE).filter(|given| !given.is_empty()) else {
        return DEFAULT_RING;
    };
    match given.to_str().and_then(|given| given.parse().ok()) {
        Some(slots @ 1..) => size(slots),
        _ => {
            static SAID: AtomicBool = AtomicBool::new(false);
            if !SAID.swap(true, Ordering::Relaxed) {
                let text = format!(
                    "gilscope: {VARIABLE} must be a number of slots, not {given:?}; it is {DEFAULT_RING}\n"
                );
                // Nobody to tell it to.
                let _ = std::io::stderr().write_all(text.as_bytes());
            }
            DEFAULT_RING
        }
    }
}

/// The size of a ring for which so many slots are wanted.
fn size(slots: usize) -> usize {
    slots.clamp(1 << 6, MOST_RING).next_power_of_two()
}

/// What Python calls the calling thread.
pub(crate) fn ident() -> u64 {
    // SAFETY: no arguments, no effect. Python takes the same, as an integer.
    unsafe { libc::pthread_self() as u64 }
}

/// The system's number of the calling thread.
pub(crate) fn thread_id() -> u32 {
    // SAFETY: no arguments, no effect.
    unsafe { libc::gettid() as u32 }
}
