//! How much is recorded when the ring cannot hold everything.

mod common;

use common::{Capture, alone, of, one_call, stamped};
use gilscope_instrument::{
    Detail, LoopRecorder, SpanKind, detail, flush, intern, reset_stats, set_detail, stats,
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
