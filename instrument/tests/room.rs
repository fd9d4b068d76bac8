//! Spans that no sink has room for are counted, not built; and none of them twice.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use common::{Capture, alone, one_call, run, stamped};
use gilscope_instrument::{
    Detail, Flags, LoopRecorder, Name, Sink, Span, SpanKind, Status, attach_sink, detach_sink,
    flush, set_detail, stats,
};

/// What a [`Full`] sink was told.
#[derive(Default)]
struct Told {
    room: AtomicUsize,
    spans: AtomicUsize,
    missed: AtomicUsize,
}

impl Told {
    /// Spans it got and spans it was told of, since it was last asked.
    fn since(&self) -> (usize, usize) {
        flush();
        (self.spans.swap(0, Relaxed), self.missed.swap(0, Relaxed))
    }
}

struct Full(Arc<Told>);

impl Sink for Full {
    fn spans(&mut self, batch: &[Span]) {
        let parts = batch.iter().filter(|span| span.kind != SpanKind::LoopTurn);
        self.0.spans.fetch_add(parts.count(), Relaxed);
    }

    fn room(&self) -> usize {
        self.0.room.load(Relaxed)
    }

    fn missed(&mut self, spans: usize) {
        self.0.missed.fetch_add(spans, Relaxed);
    }

    fn close(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A call with a task inside, both polled so often; the task's record comes first.
fn record(recorder: &LoopRecorder, polls: u32) {
    let call = recorder.open(&stamped(), Name(0));
    let task = recorder.task_open(call, Name(0));
    for poll in 0..polls {
        recorder.task_poll_start(task);
        recorder.task_poll_end(task);
        if poll + 1 < polls {
            recorder.task_suspended(task, Name(0));
        }
    }
    recorder.task_close(task, Status::Ok);
    run(recorder, call, polls);
    recorder.close(call, Status::Ok, Flags::default());
}

/// What a sink with that much room is told of such a call.
fn told(room: usize, recorder: &LoopRecorder, polls: u32) -> (usize, usize) {
    let told = Arc::new(Told::default());
    told.room.store(room, Relaxed);
    let id = attach_sink(Box::new(Full(told.clone())));
    record(recorder, polls);
    let since = told.since();
    detach_sink(id).unwrap();
    since
}

#[test]
fn test_what_has_no_room_is_counted_as_it_would_have_been_built() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "full");
    for (detail, polls, spans) in [
        (Detail::Call, 3, 2),
        (Detail::Full, 0, 7),
        (Detail::Full, 1, 10),
        (Detail::Full, 4, 22),
    ] {
        set_detail(detail);
        assert_eq!(told(usize::MAX, &recorder, polls), (spans, 0));
        assert_eq!(told(0, &recorder, polls), (0, spans));
    }
    set_detail(Detail::Full);
    assert_eq!((stats().calls, stats().incomplete), (8, 0));
}

#[test]
fn test_a_little_room_is_used() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "nearly full");
    // The task's three are built for it, the call's seven are not.
    assert_eq!(told(1, &recorder, 1), (3, 7));
    assert_eq!(told(3, &recorder, 1), (3, 7));
    assert_eq!(told(4, &recorder, 1), (10, 0));
}

#[test]
fn test_room_is_looked_for_again() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "emptied");
    let told = Arc::new(Told::default());
    let id = attach_sink(Box::new(Full(told.clone())));
    for (room, expected) in [(0, (0, 10)), (100, (10, 0)), (0, (0, 10))] {
        told.room.store(room, Relaxed);
        record(&recorder, 1);
        assert_eq!(told.since(), expected);
    }
    detach_sink(id).unwrap();
}

#[test]
fn test_a_sink_that_has_room_gets_them_and_so_does_the_other() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "beside");
    let told = Arc::new(Told::default());
    let id = attach_sink(Box::new(Full(told.clone())));
    let capture = Capture::begin();
    record(&recorder, 2);
    assert_eq!(told.since(), (14, 0));
    let spans = capture.end();
    detach_sink(id).unwrap();
    let polls = spans.iter().filter(|span| span.kind == SpanKind::Poll);
    assert_eq!(polls.count(), 4);
}

#[test]
fn test_what_is_not_sampled_is_not_missed() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "unsampled");
    let told = Arc::new(Told::default());
    let id = attach_sink(Box::new(Full(told.clone())));
    let mut stamps = stamped();
    stamps.flags = 0;
    one_call(&recorder, &stamps, Name(0), 1);
    let (_, missed) = told.since();
    detach_sink(id).unwrap();
    assert_eq!((missed, stats().calls), (0, 1));
}
