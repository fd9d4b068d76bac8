//! What the tests share: one capture at a time, since sinks and statistics are the process' own.
#![allow(dead_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use gilscope_instrument::{
    CallStamps, Detail, Flags, LoopRecorder, Name, OpenCall, SinkId, Span, SpanKind, Status,
    attach_sink, detach_sink, flush, reset_stats, set_detail, sink,
};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    set_detail(Detail::Full);
    flush();
    reset_stats();
    guard
}

pub(crate) struct Capture {
    id: SinkId,
    handle: sink::MemoryHandle,
}

impl Capture {
    pub(crate) fn begin() -> Capture {
        let (memory, handle) = sink::Memory::new();
        Capture {
            id: attach_sink(Box::new(memory)),
            handle,
        }
    }

    pub(crate) fn end(self) -> Vec<Span> {
        detach_sink(self.id).unwrap();
        self.handle.take()
    }
}

pub(crate) fn stamped() -> CallStamps {
    let mut stamps = CallStamps::begin();
    stamps.enqueued();
    stamps
}

/// A turn with one call of `polls` polls in it.
pub(crate) fn one_call(recorder: &LoopRecorder, stamps: &CallStamps, name: Name, polls: u32) {
    let call = recorder.open(stamps, name);
    run(recorder, call, polls);
    recorder.close(call, Status::Ok, Flags::default());
}

pub(crate) fn run(recorder: &LoopRecorder, call: OpenCall, polls: u32) {
    for poll in 0..polls {
        recorder.poll_start(call);
        recorder.poll_end(call);
        if poll + 1 < polls {
            recorder.suspended(call, Name(0));
        }
    }
}

pub(crate) fn of(spans: &[Span], call: u64, kind: SpanKind) -> Vec<&Span> {
    spans
        .iter()
        .filter(|span| span.call == call && span.kind == kind)
        .collect()
}

/// Asserts that the parts of a call follow each other without a gap from its start to its end.
pub(crate) fn assert_sums(spans: &[Span], call: &Span) -> usize {
    let mut parts: Vec<&Span> = spans
        .iter()
        .filter(|span| span.parent == call.id)
        .filter(|span| !matches!(span.kind, SpanKind::Task | SpanKind::RustPoll))
        .collect();
    // Spans of no length lie in the order of their kinds.
    parts.sort_by_key(|span| (span.start, span.end, span.kind));
    let mut sum = 0;
    for part in &parts {
        assert!(part.start <= part.end, "{part:?}");
        assert!(
            part.wake == 0 || (part.start..=part.end).contains(&part.wake),
            "{part:?}"
        );
        sum += part.ticks();
    }
    assert_eq!(sum, call.ticks(), "{call:?}\n{parts:#?}");
    let mut at = call.start;
    for part in &parts {
        assert_eq!(part.start, at, "a gap or an overlap in {parts:#?}");
        at = part.end;
    }
    assert_eq!(at, call.end);
    parts.len()
}
