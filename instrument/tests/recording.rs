//! What is recorded when, what is counted when it is lost, and what can be seen while it runs.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Capture, alone, assert_sums, of, one_call, run, stamped};
use gilscope_instrument::{
    CallStamps, Detail, Flags, LoopRecorder, Name, OpenCall, Phase, Sink, Span, SpanKind, Status,
    attach_sink, clock, detach_sink, enabled, flush, in_flight, intern, resolve, set_detail, sink,
    stats,
};

#[test]
fn test_off_records_nothing_at_all() {
    let _alone = alone();
    set_detail(Detail::Off);
    assert!(!enabled());
    let recorder = LoopRecorder::new(1, "off");
    let capture = Capture::begin();
    let stamps = stamped();
    assert_eq!(stamps, CallStamps::default());
    stamps.refused(Name(0), Status::QueueFull);
    recorder.returned(clock::now());
    recorder.attached();
    let call = recorder.open(&stamps, intern("off"));
    assert_eq!(call, OpenCall(0));
    run(&recorder, call, 3);
    recorder.error(call, "E", "m", "");
    recorder.close(call, Status::Ok, Flags::default());
    recorder.turn_split();
    recorder.turn_end();
    assert!(capture.end().is_empty());
    set_detail(Detail::Full);
    assert_eq!((stats().calls, stats().turns, stats().records), (0, 0, 0));
}

#[test]
fn test_off_in_the_middle_still_ends_open_calls() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "switch");
    let capture = Capture::begin();
    let stamps = stamped();
    recorder.attached();
    let call = recorder.open(&stamps, intern("switch"));
    recorder.poll_start(call);
    set_detail(Detail::Off);
    recorder.poll_end(call);
    recorder.close(call, Status::Ok, Flags::default());
    recorder.turn_split();
    recorder.turn_end();
    let spans = capture.end();
    set_detail(Detail::Full);
    assert_sums(&spans, of(&spans, stamps.id, SpanKind::Call)[0]);
    assert_eq!(
        spans
            .iter()
            .filter(|span| span.kind == SpanKind::LoopTurn)
            .count(),
        1
    );
    assert!(in_flight().is_empty());
}

#[test]
fn test_drops_of_a_full_ring_are_counted_and_nothing_is_left_behind() {
    let _alone = alone();
    let recorder = LoopRecorder::with_ring(1, "full", 64);
    let capture = Capture::begin();
    let held = stamped();
    let open = recorder.open(&held, intern("held"));
    let mut made = 1;
    // More than the converter can take from so small a ring, at least once.
    while made < 10_000 || (stats().dropped.ring == 0 && made < 10_000_000) {
        one_call(&recorder, &stamped(), intern("full"), 1 + made as u32 % 3);
        made += 1;
    }
    flush();
    run(&recorder, open, 2);
    recorder.close(open, Status::Ok, Flags::default());
    let spans = capture.end();
    let stats = stats();
    assert!(stats.dropped.ring > 0);
    assert!(
        stats.calls <= made && stats.calls + stats.dropped.ring >= made,
        "{stats:?}"
    );
    let ended = spans
        .iter()
        .filter(|span| span.kind == SpanKind::Call)
        .count();
    assert_eq!(ended as u64, stats.calls);
    assert_sums(&spans, of(&spans, held.id, SpanKind::Call)[0]);
    assert!(in_flight().is_empty());
}

#[test]
fn test_drops_of_a_sink_are_counted_by_reason() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "sink");
    let (memory, handle) = sink::Memory::with_capacity(3);
    let id = attach_sink(Box::new(memory));
    one_call(&recorder, &stamped(), Name(0), 1);
    detach_sink(id).unwrap();
    assert_eq!((handle.spans().len(), handle.dropped()), (3, 4));
    let dropped = stats().dropped;
    assert_eq!((dropped.sink, dropped.total()), (4, 4));
    assert!(dropped.by_reason().contains(&("sink", 4)));
}

#[test]
fn test_errors_and_statuses_are_counted() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "errors");
    let capture = Capture::begin();
    let stamps = stamped();
    let call = recorder.open(&stamps, intern("fails"));
    run(&recorder, call, 2);
    recorder.error(call, "ValueError", &"é".repeat(1000), "");
    recorder.close(
        call,
        Status::Error,
        Flags::CALLBACK_FAILED | Flags::DETACHED,
    );
    one_call(&recorder, &stamped(), intern("works"), 1);
    let spans = capture.end();
    let call = of(&spans, stamps.id, SpanKind::Call)[0];
    let error = call.error.as_ref().expect("an error text");
    assert_eq!(
        (error.type_name.as_str(), error.message.len()),
        ("ValueError", 1024)
    );
    assert!(call.flags.contains(Flags::DETACHED) && !call.flags.contains(Flags::IMMEDIATE));
    let stats = stats();
    assert_eq!(stats.errors, [("ValueError".to_owned(), 1)]);
    assert_eq!(stats.by_status, [(Status::Ok, 1), (Status::Error, 1)]);
    let function = |name| {
        stats
            .functions
            .iter()
            .find(|f| &*resolve(f.name) == name)
            .unwrap()
    };
    assert_eq!((function("fails").calls, function("fails").errors), (1, 1));
    assert_eq!((function("works").calls, function("works").errors), (1, 0));
    let polls = stats.parts[SpanKind::Poll as usize];
    assert_eq!((polls.kind, polls.count), (SpanKind::Poll, 3));
}

#[test]
fn test_refused_calls_are_recorded_from_any_thread() {
    let _alone = alone();
    let capture = Capture::begin();
    let stamps = std::thread::spawn(|| {
        let stamps = CallStamps::begin();
        stamps.refused(intern("refused"), Status::QueueFull);
        stamps
    });
    let stamps = stamps.join().unwrap();
    let spans = capture.end();
    let call = of(&spans, stamps.id, SpanKind::Call)[0];
    assert_eq!(
        (call.status, &*resolve(call.name)),
        (Status::QueueFull, "refused")
    );
    assert_eq!(assert_sums(&spans, call), 1);
    assert_eq!(stats().by_status, [(Status::QueueFull, 1)]);
}

#[test]
fn test_in_flight_tells_what_each_call_does() {
    let _alone = alone();
    let recorder = LoopRecorder::new(9, "seen");
    let (name, place) = (intern("seen"), intern("seen.py:3 in seen"));
    let stamps = stamped();
    let seen = |phase| {
        let open = in_flight();
        assert_eq!(open.len(), 1, "{open:?}");
        assert_eq!(
            (open[0].id, open[0].name, open[0].runtime),
            (stamps.id, name, 9)
        );
        assert_eq!(open[0].phase, phase);
        open[0].clone()
    };
    let call = recorder.open(&stamps, name);
    assert_eq!(seen(Phase::Ready).polls, 0);
    recorder.poll_start(call);
    assert_eq!(seen(Phase::Polling).polls, 1);
    recorder.suspended(call, place);
    recorder.poll_end(call);
    assert_eq!(seen(Phase::Suspended).at, place);
    recorder.woken(call);
    assert_eq!(seen(Phase::Woken).at, place);
    recorder.poll_start(call);
    assert_eq!(seen(Phase::Polling).at, Name(0));
    recorder.poll_end(call);
    assert_eq!(seen(Phase::Callback).polls, 2);
    recorder.close(call, Status::Ok, Flags::default());
    assert!(in_flight().is_empty());
}

#[test]
fn test_in_flight_is_never_torn_while_calls_run() {
    let _alone = alone();
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, name) = (stop.clone(), intern("torn"));
    let writer = std::thread::spawn(move || {
        let recorder = LoopRecorder::new(1, "torn");
        while !stopped.load(Ordering::Relaxed) {
            let mut stamps = stamped();
            // What a reader sees of one call always fits together.
            stamps.trace = [stamps.id, !stamps.id];
            stamps.parent = stamps.id.rotate_left(7);
            one_call(&recorder, &stamps, name, 2);
        }
    });
    let mut looks = 0;
    while looks < 2000 {
        for open in in_flight() {
            assert_eq!(open.trace, [open.id, !open.id]);
            assert_eq!((open.parent, open.name), (open.id.rotate_left(7), name));
            looks += 1;
        }
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}

#[test]
fn test_open_calls_have_room_for_many_and_then_are_counted() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "many");
    let name = intern("many");
    let opened: Vec<OpenCall> = (0..262_144)
        .map(|_| recorder.open(&stamped(), name))
        .collect();
    assert!(opened.iter().all(|call| call.0 != 0));
    assert_eq!(recorder.open(&stamped(), name), OpenCall(0));
    assert_eq!(in_flight().len(), opened.len());
    for call in &opened[1..] {
        recorder.close(*call, Status::Ok, Flags::default());
    }
    flush();
    assert_eq!(stats().dropped.open, 1);
    let again = recorder.open(&stamped(), name);
    assert!(again.0 != 0 && !opened.contains(&again));
    recorder.close(again, Status::Ok, Flags::default());
    recorder.close(opened[0], Status::Ok, Flags::default());
}

#[test]
fn test_a_handle_kept_too_long_touches_nothing() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "stale");
    let capture = Capture::begin();
    let first = stamped();
    let stale = recorder.open(&first, Name(0));
    recorder.close(stale, Status::Ok, Flags::default());
    let second = stamped();
    let call = recorder.open(&second, Name(0));
    assert_ne!(stale, call);
    recorder.poll_start(call);
    recorder.woken(stale);
    recorder.poll_end(stale);
    recorder.close(stale, Status::Panic, Flags::default());
    recorder.poll_end(call);
    recorder.close(call, Status::Ok, Flags::default());
    let spans = capture.end();
    let calls: Vec<_> = spans
        .iter()
        .filter(|span| span.kind == SpanKind::Call)
        .collect();
    assert_eq!(
        calls.iter().map(|call| call.id).collect::<Vec<_>>(),
        [first.id, second.id]
    );
    assert!(calls.iter().all(|call| call.status == Status::Ok));
}

#[test]
fn test_a_recorder_that_is_dropped_is_drained_first() {
    let _alone = alone();
    let capture = Capture::begin();
    for runtime in 0..8 {
        std::thread::spawn(move || {
            let recorder = LoopRecorder::new(runtime, "short");
            recorder.attached();
            (0..100).for_each(|_| one_call(&recorder, &stamped(), Name(0), 2));
        })
        .join()
        .unwrap();
    }
    let spans = capture.end();
    for runtime in 0..8 {
        let of_kind = |kind| {
            spans
                .iter()
                .filter(|s| s.kind == kind && s.runtime == runtime)
                .count()
        };
        assert_eq!(
            (of_kind(SpanKind::Call), of_kind(SpanKind::LoopTurn)),
            (100, 1)
        );
    }
}

#[test]
fn test_calls_left_open_by_a_loop_that_went_away_are_counted() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "gone");
    assert_ne!(recorder.open(&stamped(), Name(0)), OpenCall(0));
    assert_eq!(in_flight().len(), 1);
    drop(recorder);
    flush();
    assert!(in_flight().is_empty());
    assert_eq!((stats().calls, stats().incomplete), (0, 1));
}

#[test]
fn test_a_sink_attached_in_the_middle_of_a_call_gets_its_end() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "middle");
    let stamps = stamped();
    let call = recorder.open(&stamps, Name(0));
    run(&recorder, call, 3);
    let capture = Capture::begin();
    run(&recorder, call, 1);
    recorder.close(call, Status::Ok, Flags::default());
    let spans = capture.end();
    assert_eq!(of(&spans, stamps.id, SpanKind::Call)[0].poll, 4);
    assert_eq!(of(&spans, stamps.id, SpanKind::Callback).len(), 1);
    assert_eq!((stats().incomplete, stats().calls), (0, 1));
}

struct Panics;

impl Sink for Panics {
    fn spans(&mut self, _batch: &[Span]) {
        flush();
        panic!("a sink's own bug");
    }
    fn close(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn test_a_sink_that_panics_is_removed_and_the_others_go_on() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "panics");
    let capture = Capture::begin();
    let bad = attach_sink(Box::new(Panics));
    one_call(&recorder, &stamped(), Name(0), 1);
    flush();
    let error = detach_sink(bad).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    one_call(&recorder, &stamped(), Name(0), 1);
    let calls = capture
        .end()
        .iter()
        .filter(|span| span.kind == SpanKind::Call)
        .count();
    assert_eq!((calls, stats().calls, stats().dropped.sink), (2, 2, 7));
}

#[test]
fn test_null_sink_joins_and_counts() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "null");
    let id = attach_sink(Box::new(sink::Null));
    (0..1000).for_each(|_| one_call(&recorder, &stamped(), intern("null"), 3));
    detach_sink(id).unwrap();
    let stats = stats();
    assert_eq!(
        (stats.calls, stats.records, stats.incomplete),
        (1000, 4000, 0)
    );
    assert_eq!(stats.parts[SpanKind::Suspended as usize].count, 2000);
    assert_eq!(stats.dropped.total(), 0);
}

#[test]
fn test_names_are_one_number_per_text() {
    let (a, b) = (intern("name.a"), intern("name.b"));
    assert_eq!(a, intern("name.a"));
    assert_ne!(a, b);
    assert_eq!((&*resolve(a), &*resolve(b)), ("name.a", "name.b"));
    assert_eq!((intern(""), &*resolve(Name(0))), (Name(0), ""));
    assert_eq!(&*resolve(Name(u32::MAX)), "");
    assert_eq!(resolve(intern(&"é".repeat(400))).len(), 512);
}

#[test]
fn test_clock_conversion_is_monotonic_and_near_the_wall_clock() {
    let start = clock::now();
    let mut last = (0, 0);
    for step in 0..100_000 {
        let ticks = start + step * 7;
        let now = (clock::to_ns(ticks), clock::unix_ns(ticks));
        assert!(now.0 >= last.0 && now.1 >= last.1);
        last = now;
    }
    let wall = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let ours = u128::from(clock::unix_ns(clock::now()));
    assert!(
        ours.abs_diff(wall.as_nanos()) < 1_000_000_000,
        "{ours} {wall:?}"
    );
    assert_eq!(clock::to_ns(0), 0);
}
