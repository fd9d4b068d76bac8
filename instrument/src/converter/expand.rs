//! From records to spans.
//!
//! Invariant: the parts made of one call add up to it exactly, in ticks.

use std::sync::Arc;

use super::join::Kept;
use crate::error::ErrorText;
use crate::global::LoopShared;
use crate::ids::mix;
use crate::name::Name;
use crate::notes::Notes;
use crate::record::{Fused, Turn, Wake};
use crate::rust_polls::RustPoll;
use crate::sampling;
use crate::side::Refused;
use crate::span::{Span, SpanKind, ThreadInfo, WokenBy};

/// What all parts of a call or task share.
#[derive(Clone, Copy)]
pub(super) struct Owner<'a> {
    pub(super) shared: &'a LoopShared,
    pub(super) id: u64,
    pub(super) call: u64,
    pub(super) trace: [u64; 2],
    pub(super) name: Name,
    pub(super) trace_flags: u16,
}

impl<'a> Owner<'a> {
    pub(super) fn of(record: &Fused, shared: &'a LoopShared) -> Owner<'a> {
        let call = if record.task {
            record.enqueued
        } else {
            record.id
        };
        Owner {
            shared,
            id: record.id,
            call,
            trace: record.trace,
            name: record.name,
            trace_flags: record.trace_flags,
        }
    }

    fn part(&self, kind: SpanKind, poll: u32, start: u64, end: u64) -> Span {
        Span {
            id: part_id(self.id, kind, poll),
            parent: self.id,
            trace: self.trace,
            call: self.call,
            name: self.name,
            start,
            end,
            poll,
            trace_flags: self.trace_flags & 0xFF,
            ..Span::plain(kind, self.shared.thread.clone())
        }
    }

    fn poll(&self, poll: u32, start: u64, end: u64, turn: u32, cpu: u32) -> Span {
        Span {
            cpu_ns: u64::from(cpu) * 1000,
            turn: turn_id(self.shared, turn),
            ..self.part(SpanKind::Poll, poll, start, end)
        }
    }

    /// The two spans of a step.
    pub(super) fn step(&self, (step, wake): &Kept, out: &mut Vec<Span>) {
        let suspended = self.part(SpanKind::Suspended, step.poll, step.suspended, step.start);
        out.push(Span {
            at: step.at,
            wake: step.woken,
            ..suspended
        });
        out.push(Span {
            woken_by: wake.as_ref().map(waker),
            ..self.poll(step.poll, step.start, step.end, step.turn, step.cpu)
        });
    }
}

fn waker(wake: &Wake) -> WokenBy {
    WokenBy {
        span: match wake.waker_poll {
            0 => wake.waker,
            poll => part_id(wake.waker, SpanKind::Poll, poll),
        },
        trace: wake.waker_trace,
        sampled: wake.waker_sampled,
    }
}

/// The id of a part: derived, so that a record need not carry it.
fn part_id(id: u64, kind: SpanKind, poll: u32) -> u64 {
    let mixed = mix(id ^ (u64::from(poll) << 8 | kind as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed | u64::from(mixed == 0)
}

fn turn_id(shared: &LoopShared, number: u32) -> u64 {
    if number == 0 {
        0
    } else {
        shared.turn_base | u64::from(number)
    }
}

/// Ticks in each part of a call, in the order of [`SpanKind`] from `Enqueue` to `Callback`.
pub(super) fn totals(record: &Fused) -> [u64; 7] {
    let polled = record.polled;
    let active = record.last_end - record.first_start;
    let ready = record.first_start - record.attached;
    let callback = record.end - record.last_end;
    if record.task {
        return [0, 0, 0, ready, polled, active - polled, callback];
    }
    [
        record.enqueued - record.called,
        record.returned - record.enqueued,
        record.attached - record.returned,
        ready,
        polled,
        active - polled,
        callback,
    ]
}

/// How many spans [`fused`] makes.
pub(super) fn number(record: &Fused, steps: usize) -> usize {
    let of_calls = usize::from(!record.task);
    let polled = if record.polls > 0 {
        1 + 2 * steps + of_calls
    } else {
        0
    };
    let parts = 3 * of_calls + 1 + polled;
    1 + if record.full { parts } else { 0 }
}

/// The span of a call or task, then its parts in the order of time.
pub(super) fn fused(
    record: &Fused,
    shared: &LoopShared,
    steps: &[Kept],
    error: Option<Arc<ErrorText>>,
    notes: Option<Arc<Notes>>,
    out: &mut Vec<Span>,
) {
    let owner = Owner::of(record, shared);
    let kind = if record.task {
        SpanKind::Task
    } else {
        SpanKind::Call
    };
    out.push(Span {
        id: record.id,
        parent: record.parent,
        status: record.status,
        flags: record.flags,
        trace_flags: record.trace_flags,
        error,
        notes,
        totals: (!record.full).then(|| totals(record)),
        ..owner.part(kind, record.polls, record.called, record.end)
    });
    if !record.full {
        return;
    }
    if !record.task {
        let stamps = [
            record.called,
            record.enqueued,
            record.returned,
            record.attached,
        ];
        let kinds = [SpanKind::Enqueue, SpanKind::Queued, SpanKind::GilWait];
        for (kind, ends) in kinds.into_iter().zip(stamps.windows(2)) {
            out.push(owner.part(kind, 0, ends[0], ends[1]));
        }
    }
    out.push(owner.part(SpanKind::Ready, 0, record.attached, record.first_start));
    if record.polls > 0 {
        let (start, end) = (record.first_start, record.first_end);
        out.push(owner.poll(1, start, end, record.turn, record.first_cpu));
        steps.iter().for_each(|kept| owner.step(kept, out));
        if !record.task {
            out.push(owner.part(SpanKind::Callback, 0, record.last_end, record.end));
        }
    }
}

/// The span of a turn.
pub(super) fn turn(record: &Turn, shared: &LoopShared) -> Span {
    let id = turn_id(shared, record.number);
    let owner = Owner {
        shared,
        id,
        call: 0,
        trace: [0; 2],
        name: Name(0),
        trace_flags: sampling::turn_flags(id, record.sampled).into(),
    };
    Span {
        id,
        parent: 0,
        cpu_ns: record.cpu_ns,
        wake: if record.gil_wait == 0 {
            0
        } else {
            record.start - record.gil_wait
        },
        turn: id,
        ..owner.part(SpanKind::LoopTurn, record.served, record.start, record.end)
    }
}

/// The span of a poll of a Rust future.
pub(super) fn rust_poll(poll: RustPoll) -> Span {
    let by = poll.by;
    Span {
        runtime: by.runtime,
        id: poll.id,
        parent: by.id,
        trace: by.trace,
        call: by.call,
        name: poll.name,
        start: poll.start,
        end: poll.end,
        poll: poll.number,
        trace_flags: by.trace_flags,
        ..Span::plain(SpanKind::RustPoll, poll.thread)
    }
}

/// The span of a call that was refused, and what it went through.
pub(super) fn refused(item: &Refused, caller: &Arc<ThreadInfo>, out: &mut Vec<Span>) {
    let stamps = &item.stamps;
    let part = |kind, id, parent, start, end| Span {
        id,
        parent,
        trace: stamps.trace,
        call: stamps.id,
        name: item.name,
        start,
        end,
        trace_flags: (stamps.flags & 0xFF) as u16,
        ..Span::plain(kind, caller.clone())
    };
    let call = part(
        SpanKind::Call,
        stamps.id,
        stamps.parent,
        stamps.called,
        item.end,
    );
    out.push(Span {
        trace_flags: stamps.flags as u16,
        status: item.status,
        ..call
    });
    let taken = if stamps.enqueued == 0 {
        item.end
    } else {
        stamps.enqueued
    };
    let taken = taken.clamp(stamps.called, item.end);
    for (kind, start, end) in [
        (SpanKind::Enqueue, stamps.called, taken),
        (SpanKind::Queued, taken, item.end),
    ] {
        if kind == SpanKind::Enqueue || stamps.enqueued != 0 {
            out.push(part(
                kind,
                part_id(stamps.id, kind, 0),
                stamps.id,
                start,
                end,
            ));
        }
    }
}
