//! What a loop thread records with.
//!
//! Invariant: the hot path takes no lock and does not allocate (a slab chunk now and then apart);
//! stamps are made monotonic here, so that the parts of a call add up to it exactly.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

use crate::converter::Control;
use crate::detail::{Detail, detail, enabled};
use crate::global::{self, LoopShared};
use crate::name::Name;
use crate::open::{Entry, SlabWriter, mode, word};
use crate::record::{Fused, Step, Turn};
use crate::ring::{self, Producer, Pushed, Words};
use crate::span::ThreadInfo;
use crate::stamps::CallStamps;
use crate::status::{Flags, Status};
use crate::{clock, new_id, side};

const DEFAULT_RING: usize = 1 << 16;

/// A call that is open on a loop; 0 means that it is not recorded. Void after `close`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct OpenCall(pub u32);

/// A task that is open on a loop; 0 means that it is not recorded. Void after `task_close`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct OpenTask(pub u32);

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
    turns: Cell<u32>,
    served: Cell<u32>,
    current: Cell<u32>,
}

#[derive(Clone, Copy, Default)]
struct TurnState {
    /// 0 outside of any turn.
    number: u32,
    start: u64,
    cpu_ns: u64,
}

impl LoopRecorder {
    /// A recorder for the calling thread, with a ring of 65,536 slots (environment variable
    /// `GILSCOPE_RING` to change; rounded up to a power of two).
    pub fn new(runtime: u16, thread: &str) -> Self {
        Self::with_ring(runtime, thread, ring_slots())
    }

    /// The same with a ring of a given number of slots.
    pub fn with_ring(runtime: u16, thread: &str, slots: usize) -> Self {
        let global = global::current();
        let slots = slots.clamp(1 << 6, 1 << 24).next_power_of_two();
        let (producer, consumer) = ring::ring(slots);
        let slab = SlabWriter::new();
        let shared = Arc::new(LoopShared {
            thread: Arc::new(ThreadInfo {
                name: thread.to_owned(),
                tid: thread_id(),
                runtime,
            }),
            slab: slab.slab.clone(),
            turn_base: new_id() & !0xFFFF_FFFF | 1 << 63,
            gone: AtomicBool::new(false),
        });
        global.register(shared.clone(), consumer);
        LoopRecorder {
            shared,
            slab,
            ring: producer,
            control: &global.control,
            converter: global.control.start(global),
            returned: Cell::new(0),
            attached: Cell::new(0),
            turn: Cell::default(),
            turns: Cell::new(0),
            served: Cell::new(0),
            current: Cell::new(0),
        }
    }

    /// The loop's wait returned at `at` (a stamp made before attaching).
    #[inline]
    pub fn returned(&self, at: u64) {
        self.returned.set(at);
    }

    /// The thread attached: a turn begins.
    #[inline]
    pub fn attached(&self) {
        if !enabled() {
            return;
        }
        let now = clock::now().max(self.returned.get());
        self.attached.set(now);
        self.begin_turn(now, clock::thread_cpu_ns());
    }

    /// The thread is about to detach: the turn ends.
    #[inline]
    pub fn turn_end(&self) {
        if self.turn.get().number != 0 {
            self.end_turn(clock::now(), clock::thread_cpu_ns());
        }
    }

    /// The loop looks for events and keeps the GIL: one turn ends and the next begins.
    #[inline]
    pub fn turn_split(&self) {
        if self.turn.get().number != 0 {
            let (now, cpu_ns) = (clock::now(), clock::thread_cpu_ns());
            self.end_turn(now, cpu_ns);
            if enabled() {
                self.begin_turn(now, cpu_ns);
            }
        }
    }

    fn begin_turn(&self, start: u64, cpu_ns: u64) {
        let number = self.turns.get().wrapping_add(1).max(1);
        self.turns.set(number);
        self.served.set(0);
        self.turn.set(TurnState {
            number,
            start,
            cpu_ns,
        });
    }

    fn end_turn(&self, now: u64, cpu_ns: u64) {
        let turn = self.turn.take();
        let record = Turn {
            number: turn.number,
            served: self.served.get(),
            start: turn.start,
            end: now.max(turn.start),
            cpu_ns: cpu_ns.saturating_sub(turn.cpu_ns),
        };
        self.push([record.encode()]);
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
        entry.write(|entry| {
            entry.set(word::TRACE_HIGH, stamps.trace[0]);
            entry.set(word::TRACE_LOW, stamps.trace[1]);
            entry.set(word::PARENT, stamps.parent);
            entry.set(word::CALLED, stamps.called);
            entry.set(word::ENQUEUED, enqueued);
            entry.set(word::RETURNED, returned);
            entry.set(word::ATTACHED, attached);
            begin(entry, stamps.id, name, full);
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

    /// The call was woken: it is due to be polled again. The first wake counts.
    #[inline]
    pub fn woken(&self, call: OpenCall) {
        self.mark_woken(call.0);
    }

    /// What ended the call, bounded and cut to 1 kB; without the message where
    /// `GILSCOPE_REDACT` is set. Before `close`.
    #[cold]
    pub fn error(&self, call: OpenCall, type_name: &str, message: &str) {
        self.record_error(call.0, type_name, message);
    }

    /// The outcome was delivered: the call ends.
    #[inline]
    pub fn close(&self, call: OpenCall, status: Status, flags: Flags) {
        self.finish(call.0, status, flags);
    }

    /// A task was made inside a call.
    pub fn task_open(&self, parent: OpenCall, name: Name) -> OpenTask {
        let Some(call) = self.slab.slab.get(parent.0) else {
            return OpenTask(0);
        };
        if !enabled() {
            return OpenTask(0);
        }
        let (id, full) = (call.get(word::ID), call.get(word::MODE) & mode::FULL);
        let trace = [call.get(word::TRACE_HIGH), call.get(word::TRACE_LOW)];
        let Some((entry, handle)) = self.slab.take() else {
            return OpenTask(0);
        };
        let now = clock::now();
        entry.write(|entry| {
            entry.set(word::TRACE_HIGH, trace[0]);
            entry.set(word::TRACE_LOW, trace[1]);
            entry.set(word::PARENT, id);
            entry.set(word::CALLED, now);
            entry.set(word::ENQUEUED, id);
            entry.set(word::RETURNED, now);
            entry.set(word::ATTACHED, now);
            begin(entry, new_id(), name, full | mode::TASK);
        });
        OpenTask(handle)
    }

    /// A poll of the task begins.
    #[inline]
    pub fn task_poll_start(&self, task: OpenTask) {
        if let Some(entry) = self.slab.slab.get(task.0) {
            self.start(entry, task.0, 0);
        }
    }

    /// The poll of the task ends.
    #[inline]
    pub fn task_poll_end(&self, task: OpenTask) {
        if let Some(entry) = self.slab.slab.get(task.0) {
            self.end(entry, task.0, clock::now());
        }
    }

    /// The task yielded, awaiting at a place (or `Name(0)`).
    #[inline]
    pub fn task_suspended(&self, task: OpenTask, at: Name) {
        self.mark_suspended(task.0, at);
    }

    /// The task was woken.
    #[inline]
    pub fn task_woken(&self, task: OpenTask) {
        self.mark_woken(task.0);
    }

    /// What ended the task. Before `task_close`.
    #[cold]
    pub fn task_error(&self, task: OpenTask, type_name: &str, message: &str) {
        self.record_error(task.0, type_name, message);
    }

    /// The task ends.
    #[inline]
    pub fn task_close(&self, task: OpenTask, status: Status) {
        self.finish(task.0, status, Flags::default());
    }

    /// The call that is being polled now, else `OpenCall(0)`.
    #[inline]
    pub fn current(&self) -> OpenCall {
        OpenCall(self.current.get())
    }

    /// The ids of an open call, to make spans below it: `(span id, trace)`.
    pub fn ids(&self, call: OpenCall) -> Option<(u64, [u64; 2])> {
        let entry = self.slab.slab.get(call.0)?;
        Some((
            entry.get(word::ID),
            [entry.get(word::TRACE_HIGH), entry.get(word::TRACE_LOW)],
        ))
    }

    #[inline(always)]
    fn start(&self, entry: &Entry, handle: u32, outer: u32) {
        if entry.get(word::MODE) & mode::POLLING != 0 {
            self.end(entry, handle, clock::now());
        }
        let turn = self.turn.get().number;
        let polls = entry.get(word::NAME_POLLS) >> 32;
        let mut turns = entry.get(word::TURNS);
        if turns >> 32 != u64::from(turn) || polls == 0 {
            let first = if polls == 0 {
                u64::from(turn)
            } else {
                turns & 0xFFFF_FFFF
            };
            turns = first | u64::from(turn) << 32;
            self.served.set(self.served.get() + 1);
        }
        let floor = entry.get(if polls == 0 {
            word::ATTACHED
        } else {
            word::END
        });
        let now = clock::now().max(floor);
        let woken = entry.get(word::WOKEN);
        let woken = if woken == 0 {
            0
        } else {
            woken.clamp(floor, now)
        };
        entry.write(|entry| {
            if polls == 0 {
                entry.set(word::FIRST_START, now);
            }
            entry.set(word::START, now);
            entry.set(word::STEP_WOKEN, woken);
            entry.set(word::WOKEN, 0);
            entry.set(word::AT, entry.get(word::AT) << 32);
            entry.set(word::NAME_POLLS, entry.get(word::NAME_POLLS) + (1 << 32));
            entry.set(
                word::MODE,
                entry.get(word::MODE) & !mode::SUSPENDED | mode::POLLING,
            );
            entry.set(word::TURNS, turns);
            entry.set(word::OUTER, u64::from(outer));
        });
    }

    #[inline(always)]
    fn end(&self, entry: &Entry, handle: u32, now: u64) {
        let bits = entry.get(word::MODE);
        if bits & mode::POLLING == 0 {
            return;
        }
        let polls = (entry.get(word::NAME_POLLS) >> 32) as u32;
        let start = entry.get(word::START);
        let end = now.max(start);
        if polls > 1 && bits & mode::FULL != 0 {
            self.push_step(entry, handle, polls, start, end);
        }
        entry.write(|entry| {
            if polls == 1 {
                entry.set(word::FIRST_END, end);
            }
            entry.set(word::END, end);
            entry.set(word::MODE, bits & !mode::POLLING);
            entry.set(word::POLLED, entry.get(word::POLLED) + (end - start));
        });
    }

    #[inline]
    fn push_step(&self, entry: &Entry, open: u32, poll: u32, start: u64, end: u64) {
        let step = Step {
            open,
            id: entry.get(word::ID),
            suspended: entry.get(word::END),
            woken: entry.get(word::STEP_WOKEN),
            start,
            end,
            at: Name((entry.get(word::AT) >> 32) as u32),
            poll,
            turn: (entry.get(word::TURNS) >> 32) as u32,
        };
        self.push([step.encode()]);
    }

    #[inline]
    fn leave(&self, entry: &Entry, handle: u32) {
        if self.current.get() == handle {
            self.current.set(entry.get(word::OUTER) as u32);
        }
    }

    #[inline]
    fn mark_suspended(&self, handle: u32, at: Name) {
        if let Some(entry) = self.slab.slab.get(handle) {
            entry.write(|entry| {
                let before = entry.get(word::AT) & !0xFFFF_FFFF;
                entry.set(word::AT, before | u64::from(at.0));
                entry.set(word::MODE, entry.get(word::MODE) | mode::SUSPENDED);
            });
        }
    }

    #[inline]
    fn mark_woken(&self, handle: u32) {
        if let Some(entry) = self.slab.slab.get(handle)
            && entry.get(word::WOKEN) == 0
        {
            let now = clock::now();
            entry.write(|entry| entry.set(word::WOKEN, now));
        }
    }

    fn record_error(&self, handle: u32, type_name: &str, message: &str) {
        if let Some(entry) = self.slab.slab.get(handle) {
            side::error(entry.get(word::ID), type_name, message);
            entry.write(|entry| entry.set(word::MODE, entry.get(word::MODE) | mode::ERROR));
        }
    }

    #[inline]
    fn finish(&self, handle: u32, status: Status, flags: Flags) {
        let Some(entry) = self.slab.slab.get(handle) else {
            return;
        };
        let now = clock::now();
        self.end(entry, handle, now);
        self.leave(entry, handle);
        let record = fused(entry, now, status, flags);
        self.push(record.encode());
        self.slab.release(entry, handle);
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

/// The rest of a fresh entry. The id comes last: it makes the entry visible.
#[inline(always)]
fn begin(entry: &Entry, id: u64, name: Name, bits: u64) {
    entry.set(word::END, 0);
    entry.set(word::WOKEN, 0);
    entry.set(word::NAME_POLLS, u64::from(name.0));
    entry.set(word::AT, 0);
    entry.set(word::MODE, bits);
    entry.set(word::TURNS, 0);
    entry.set(word::POLLED, 0);
    entry.set(word::ID, id);
}

/// The record of a call that ends now. Without any poll it was ready until its end.
#[inline(always)]
fn fused(entry: &Entry, now: u64, status: Status, flags: Flags) -> Fused {
    let polls = (entry.get(word::NAME_POLLS) >> 32) as u32;
    let bits = entry.get(word::MODE);
    let floor = entry.get(if polls == 0 {
        word::ATTACHED
    } else {
        word::END
    });
    let end = now.max(floor);
    let unless_polled = |at: usize| if polls == 0 { end } else { entry.get(at) };
    Fused {
        task: bits & mode::TASK != 0,
        full: bits & mode::FULL != 0,
        has_error: bits & mode::ERROR != 0,
        status,
        flags,
        name: Name(entry.get(word::NAME_POLLS) as u32),
        id: entry.get(word::ID),
        trace: [entry.get(word::TRACE_HIGH), entry.get(word::TRACE_LOW)],
        parent: entry.get(word::PARENT),
        called: entry.get(word::CALLED),
        enqueued: entry.get(word::ENQUEUED),
        returned: entry.get(word::RETURNED),
        attached: entry.get(word::ATTACHED),
        first_start: unless_polled(word::FIRST_START),
        first_end: unless_polled(word::FIRST_END),
        last_end: unless_polled(word::END),
        end,
        polls,
        turn: entry.get(word::TURNS) as u32,
        polled: entry.get(word::POLLED),
    }
}

fn ring_slots() -> usize {
    let wanted = std::env::var("GILSCOPE_RING")
        .ok()
        .and_then(|value| value.parse().ok());
    wanted.unwrap_or(DEFAULT_RING)
}

fn thread_id() -> u32 {
    // SAFETY: no arguments, no effect.
    unsafe { libc::gettid() as u32 }
}
