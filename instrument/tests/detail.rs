//! How much is recorded when the ring cannot hold everything.

mod common;

use common::{Capture, alone, of, one_call, run, stamped};
use gilscope_instrument::{
    Detail, Flags, LoopRecorder, Name, SpanKind, Status, detail, flush, intern, reset_stats,
    set_detail, stats,
};

/// Calls, until a ring of 64 slots has overflowed and the converter has seen it.
fn overflow(recorder: &LoopRecorder) {
    let before = stats().dropped.ring;
    while stats().dropped.ring == before {
        for _ in 0..1000 {
            one_call(recorder, &stamped(), intern("overflow"), 3);
        }
        flush();
    }
}

#[test]
fn test_an_overflow_leaves_the_polls_out_and_says_so() {
    let _alone = alone();
    let recorder = LoopRecorder::with_ring(1, "falls", 64);
    assert_eq!((stats().detail, stats().fell_back), (Detail::Full, 0));
    overflow(&recorder);
    assert_eq!((stats().detail, stats().fell_back), (Detail::Call, 1));
    overflow(&recorder);
    assert_eq!(stats().fell_back, 1);
    reset_stats();
    assert_eq!((stats().detail, stats().fell_back), (Detail::Call, 0));

    // A trace that begins after it tries again.
    let capture = Capture::begin();
    assert_eq!(detail(), Detail::Full);
    let stamps = stamped();
    one_call(&recorder, &stamps, intern("again"), 3);
    assert_eq!(of(&capture.end(), stamps.id, SpanKind::Poll).len(), 3);
}

#[test]
fn test_what_was_chosen_stays() {
    let _alone = alone();
    let recorder = LoopRecorder::with_ring(1, "chosen", 64);
    set_detail(Detail::Call);
    overflow(&recorder);
    assert_eq!((stats().detail, stats().fell_back), (Detail::Call, 0));
    let capture = Capture::begin();
    assert_eq!(detail(), Detail::Call);
    assert!(capture.end().is_empty());

    set_detail(Detail::Full);
    overflow(&recorder);
    set_detail(Detail::Call);
    let capture = Capture::begin();
    assert_eq!(
        detail(),
        Detail::Call,
        "chosen after the fall, so it is no fall any more"
    );
    drop(capture.end());
    set_detail(Detail::Full);
}

#[test]
fn test_who_is_recorded_without_polls_is_nobodys_waker() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "mixed");
    let capture = Capture::begin();
    let mut woken_by = Vec::new();
    for detail in [Detail::Full, Detail::Call] {
        let (waits, wakes) = (stamped(), stamped());
        let waiter = recorder.open(&waits, intern("waits"));
        recorder.poll_start(waiter);
        recorder.poll_end(waiter);
        recorder.suspended(waiter, Name(0));
        set_detail(detail);
        let waker = recorder.open(&wakes, intern("wakes"));
        set_detail(Detail::Full);
        recorder.poll_start(waker);
        recorder.woken(waiter);
        recorder.poll_end(waker);
        recorder.close(waker, Status::Ok, Flags::default());
        run(&recorder, waiter, 1);
        recorder.close(waiter, Status::Ok, Flags::default());
        woken_by.push((waits.id, wakes.id));
    }
    let spans = capture.end();
    let [full, call] = woken_by[..] else {
        unreachable!()
    };
    let second = |call| of(&spans, call, SpanKind::Poll)[1].woken_by;
    let by = second(full.0).expect("a poll of the other");
    assert_eq!(by.span, of(&spans, full.1, SpanKind::Poll)[0].id);
    assert_eq!(by.trace, of(&spans, full.1, SpanKind::Call)[0].trace);
    assert_eq!(second(call.0), None);
}
