//! Calls that are open when their loop is given up: their spans close all the same, once.

mod common;

use std::time::Duration;

use common::{Capture, alone, assert_sums, of, run, stamped};
use gilscope_instrument::{
    Flags, GivenUp, LoopRecorder, Name, OpenCall, Span, SpanKind, Status, abandon, close_sinks,
    flush, intern, stats,
};

const LONG: Duration = Duration::from_secs(60);
const RUNTIME: u16 = 7;

/// How far a call has come.
type Stage = fn(&LoopRecorder, OpenCall);

const STAGES: [(&str, Stage, usize); 4] = [
    ("ready", |_, _| {}, 4),
    ("first poll", |recorder, call| recorder.poll_start(call), 6),
    ("suspended", suspend, 6),
    (
        "second poll",
        |recorder, call| {
            suspend(recorder, call);
            recorder.poll_start(call);
        },
        8,
    ),
];

fn suspend(recorder: &LoopRecorder, call: OpenCall) {
    run(recorder, call, 1);
    recorder.suspended(call, Name(0));
}

fn given_up(id: u64) -> GivenUp {
    GivenUp {
        id,
        status: Status::Deadline,
        error: Some(("Late", "too late".to_owned())),
    }
}

fn assert_closed(spans: &[Span], id: u64, status: Status, parts: usize, stage: &str) {
    let calls = of(spans, id, SpanKind::Call);
    let [call] = calls[..] else {
        panic!("{stage}: {calls:#?}");
    };
    assert_eq!(call.status, status, "{stage}");
    let text = call.error.as_ref().map(|error| error.message.as_str());
    let late = (status == Status::Deadline).then_some("too late");
    assert_eq!(text, late, "{stage}");
    assert!(call.flags.contains(Flags::UNFINISHED), "{stage}");
    assert_eq!(assert_sums(spans, call), parts, "{stage}");
}

#[test]
fn test_an_abandoned_loop_closes_what_is_open_once() {
    let _alone = alone();
    for (stage, go, parts) in STAGES {
        let memory = Capture::begin();
        let recorder = LoopRecorder::new(RUNTIME, "loop-7");
        let stamps = stamped();
        let call = recorder.open(&stamps, intern("held"));
        go(&recorder, call);
        flush();
        abandon(RUNTIME, vec![given_up(stamps.id)]);
        flush();
        let before = stats();
        // It comes back after all.
        recorder.poll_start(call);
        recorder.poll_end(call);
        recorder.close(call, Status::Ok, Flags::default());
        let after = stamped();
        common::one_call(&recorder, &after, intern("next"), 1);
        drop(recorder);
        let spans = memory.end();
        assert_closed(&spans, stamps.id, Status::Deadline, parts, stage);
        assert_eq!(of(&spans, after.id, SpanKind::Call).len(), 1, "{stage}");
        assert_eq!(stats().incomplete, before.incomplete, "{stage}");
    }
}

#[test]
fn test_other_calls_and_other_runtimes_are_not_touched() {
    let _alone = alone();
    let memory = Capture::begin();
    let recorder = LoopRecorder::new(RUNTIME, "loop-7");
    let stamps = stamped();
    let call = recorder.open(&stamps, intern("runs"));
    abandon(RUNTIME + 1, vec![given_up(stamps.id)]);
    abandon(RUNTIME, vec![given_up(stamps.id + 1)]);
    flush();
    run(&recorder, call, 1);
    recorder.close(call, Status::Ok, Flags::default());
    let spans = memory.end();
    let calls = of(&spans, stamps.id, SpanKind::Call);
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].flags, Flags::default());
}

#[test]
fn test_what_ended_before_keeps_its_own_end() {
    let _alone = alone();
    let memory = Capture::begin();
    let recorder = LoopRecorder::new(RUNTIME, "loop-7");
    let stamps = stamped();
    common::one_call(&recorder, &stamps, intern("ended"), 2);
    abandon(RUNTIME, vec![given_up(stamps.id)]);
    let spans = memory.end();
    let calls = of(&spans, stamps.id, SpanKind::Call);
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].status, Status::Ok);
}

#[test]
fn test_the_end_of_the_process_closes_what_is_open() {
    let _alone = alone();
    for (stage, go, parts) in STAGES {
        let (memory, spans) = gilscope_instrument::sink::Memory::new();
        gilscope_instrument::attach_sink(Box::new(memory));
        let recorder = LoopRecorder::new(RUNTIME, "loop-7");
        let stamps = stamped();
        go(&recorder, recorder.open(&stamps, intern("held")));
        assert!(close_sinks(LONG));
        let status = Status::CancelledByShutdown;
        assert_closed(&spans.take(), stamps.id, status, parts, stage);
    }
}
