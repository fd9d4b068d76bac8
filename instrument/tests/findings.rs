//! Findings: each rule fires on what it is about, and on nothing else.
//!
//! What waits here waits by stamps that the tests make up: nothing sleeps.

mod common;

use std::time::Duration;

use common::{alone, stamped};
use gilscope_instrument::finding::{
    Finding, Look, Problem, Slow, json_finding, looked, named, set_slow,
};
use gilscope_instrument::{
    CallStamps, Flags, LoopRecorder, Name, Status, attach_sink, clock, detach_sink, flush, intern,
    reset_stats, sink, stats,
};

const SLOW: Duration = Duration::from_millis(20);

/// Ticks in that many milliseconds, or a few more.
fn ticks(ms: u64) -> u64 {
    let per_ms = (1..).find(|shift| clock::delta_ns(1 << shift) >= 1_000_000);
    (1 << per_ms.unwrap()) * ms
}

/// What is found while `work` records; all thresholds are 20 ms.
fn found(work: impl FnOnce(&LoopRecorder)) -> Vec<Finding> {
    found_and(work, |findings| findings)
}

/// The same, with what `look` says of it before another test runs.
fn found_and<T>(work: impl FnOnce(&LoopRecorder), look: impl FnOnce(Vec<Finding>) -> T) -> T {
    let _alone = alone();
    set_slow(Slow {
        gil: SLOW,
        poll: SLOW,
        room: SLOW,
    });
    let (memory, handle) = sink::Memory::new();
    let id = attach_sink(Box::new(memory));
    let recorder = LoopRecorder::new(7, "gilscope-test");
    work(&recorder);
    recorder.turn_end();
    detach_sink(id).unwrap();
    drop(recorder);
    look(handle.findings())
}

fn problems(findings: &[Finding]) -> Vec<Problem> {
    findings.iter().map(|finding| finding.problem).collect()
}

fn one(findings: Vec<Finding>, problem: Problem) -> Finding {
    assert_eq!(problems(&findings), [problem], "{findings:#?}");
    findings.into_iter().next().unwrap()
}

fn length_ms(finding: &Finding) -> u64 {
    clock::delta_ns(finding.end - finding.start) / 1_000_000
}

/// A turn after a wait for the GIL of so many milliseconds, with one call in it.
fn turn_after(recorder: &LoopRecorder, waited_ms: u64, name: &str) -> (u64, u64) {
    let mut stamps = stamped();
    let now = clock::now();
    let returned = now - ticks(waited_ms);
    (stamps.called, stamps.enqueued) = (returned - 1, returned);
    recorder.returned(returned);
    recorder.attached();
    one_poll(recorder, &stamps, name, Flags::default());
    recorder.turn_end();
    (stamps.id, returned)
}

fn one_poll(recorder: &LoopRecorder, stamps: &CallStamps, name: &str, flags: Flags) {
    let call = recorder.open(stamps, intern(name));
    recorder.poll_start(call);
    recorder.poll_end(call);
    recorder.close(call, Status::Ok, flags);
}

/// Spins until this many milliseconds have passed: a poll's stamps are made by the recorder.
fn spin(ms: u64) {
    let end = clock::now() + ticks(ms);
    while clock::now() < end {
        std::hint::spin_loop();
    }
}

#[test]
fn test_a_long_wait_for_the_gil_is_found_and_a_short_one_is_not() {
    let mut call = 0;
    let findings = found(|recorder| {
        turn_after(recorder, 1, "m.quick");
        (call, _) = turn_after(recorder, 100, "m.waits");
    });
    let finding = one(findings, Problem::GilWait);
    assert_eq!((finding.call, finding.runtime), (call, 7));
    assert!(length_ms(&finding) >= 100, "{finding:?}");
    assert!(
        finding.sentence.starts_with("`m.waits` waited 1"),
        "{finding:?}"
    );
    assert!(finding.sentence.ends_with(" for the GIL"), "{finding:?}");
}

#[test]
fn test_a_long_wait_without_a_call_is_nobodys() {
    let findings = found(|recorder| {
        recorder.returned(clock::now() - ticks(100));
        recorder.attached();
        recorder.turn_end();
    });
    assert_eq!(findings, []);
}

#[test]
fn test_a_call_that_is_taken_a_turn_later_is_named_unless_it_came_after_the_wait() {
    let later = |came_before: bool| {
        found(|recorder| {
            let returned = clock::now() - ticks(100);
            recorder.returned(returned);
            recorder.attached();
            recorder.turn_split(); // asyncio runs what is ready only after it looked for events
            recorder.turn_end();
            recorder.returned(clock::now());
            recorder.attached();
            let mut stamps = stamped();
            if came_before {
                (stamps.called, stamps.enqueued) = (returned, returned);
            }
            one_poll(recorder, &stamps, "m.later", Flags::default());
        })
    };
    let finding = one(later(true), Problem::GilWait);
    assert_eq!(finding.function, "m.later");
    assert_eq!(later(false), []);
}

#[test]
fn test_a_call_that_is_open_still_when_its_wait_is_told_is_named() {
    let mut id = 0;
    let findings = found(|recorder| {
        let mut stamps = stamped();
        let returned = clock::now() - ticks(100);
        (id, stamps.called, stamps.enqueued) = (stamps.id, returned, returned);
        recorder.returned(returned);
        recorder.attached();
        let call = recorder.open(&stamps, intern("m.open"));
        recorder.poll_start(call);
        recorder.poll_end(call);
        recorder.turn_end();
        flush();
        recorder.close(call, Status::Ok, Flags::default());
    });
    assert_eq!(one(findings, Problem::GilWait).call, id);
}

#[test]
fn test_a_suspended_call_that_waits_for_the_gil_is_named() {
    let mut id = 0;
    let findings = found(|recorder| {
        recorder.returned(clock::now());
        recorder.attached();
        let stamps = stamped();
        id = stamps.id;
        let call = recorder.open(&stamps, intern("m.sleeper"));
        recorder.poll_start(call);
        recorder.poll_end(call);
        recorder.suspended(call, Name(0));
        recorder.turn_end();
        spin(60);
        recorder.returned(clock::now() - ticks(50));
        recorder.attached();
        recorder.poll_start(call);
        recorder.poll_end(call);
        recorder.turn_end();
        flush(); // it is open still
        recorder.close(call, Status::Ok, Flags::default());
    });
    let finding = one(findings, Problem::GilWait);
    assert_eq!((finding.call, finding.function.as_str()), (id, "m.sleeper"));
}

#[test]
fn test_who_held_the_gil_is_named_by_what_a_watchdog_saw() {
    let findings = found(|recorder| {
        let look = |since, tid, function: &str| Look {
            runtime: 7,
            since,
            waits: false,
            tid,
            thread: "python".into(),
            stack: vec![
                "/usr/lib/python3/threading.py:3 in wait".into(),
                format!("/srv/app.py:12 in {function}"),
            ],
            user: Some(1),
        };
        let returned = clock::now() - ticks(100);
        for (tid, function) in [(41, "other"), (42, "busy"), (42, "later")] {
            looked(look(returned, tid, function));
        }
        named(42, "culprit");
        let mut stamps = stamped();
        (stamps.called, stamps.enqueued) = (returned, returned);
        recorder.returned(returned);
        recorder.attached();
        one_poll(recorder, &stamps, "m.waits", Flags::default());
    });
    let finding = one(findings, Problem::GilHeld);
    let told = ", which thread `culprit` held in `busy` (app.py:12), by 2 of 3 looks";
    assert!(finding.sentence.ends_with(told), "{}", finding.sentence);
    assert_eq!(finding.thread, "culprit");
    assert_eq!(finding.stack.len(), 2);
    assert_eq!(finding.function, "/srv/app.py in busy");
}

/// A poll of so many ms while another call is in the queue.
fn held(recorder: &LoopRecorder, ms: u64, other_waits: bool) {
    held_before(recorder, ms, other_waits, "m.victim");
}

/// The same; the other call is of `victim`.
fn held_before(recorder: &LoopRecorder, ms: u64, other_waits: bool, victim: &str) {
    recorder.returned(clock::now());
    recorder.attached();
    let call = recorder.open(&stamped(), intern("m.hog"));
    recorder.poll_start(call);
    let mut other = stamped();
    spin(ms);
    if !other_waits {
        other = stamped();
    }
    recorder.poll_end(call);
    one_poll(recorder, &other, victim, Flags::default());
    recorder.suspended(call, Name(0));
    flush(); // the victim is told before the poll that it waited for
    recorder.close(call, Status::Ok, Flags::default());
}

#[test]
fn test_a_poll_that_held_the_loop_is_found_if_another_call_waited() {
    let finding = one(
        found(|recorder| held(recorder, 40, true)),
        Problem::LoopHeld,
    );
    assert!(
        finding.sentence.starts_with("`m.hog` held the loop for "),
        "{finding:?}"
    );
    assert!(
        finding
            .sentence
            .contains(" in one poll; `m.victim` waited "),
        "{finding:?}"
    );
    assert!(length_ms(&finding) >= 40);
    assert_eq!(found(|recorder| held(recorder, 40, false)), []);
    assert_eq!(found(|recorder| held(recorder, 1, true)), []);
}

#[test]
fn test_a_call_that_waited_for_one_of_the_same_function_is_another() {
    let finding = one(
        found(|recorder| held_before(recorder, 40, true, "m.hog")),
        Problem::LoopHeld,
    );
    let told = " in one poll; another call of `m.hog` waited ";
    assert!(finding.sentence.contains(told), "{finding:?}");
}

#[test]
fn test_a_task_that_waited_for_one_of_the_same_function_is_another() {
    let findings = found(|recorder| {
        recorder.returned(clock::now());
        recorder.attached();
        let call = recorder.open(&stamped(), intern("m.call"));
        recorder.poll_start(call);
        let [hog, victim] = [(); 2].map(|()| recorder.task_open(call, intern("m.task")));
        recorder.poll_end(call);
        for task in [hog, victim] {
            recorder.task_poll_start(task);
            recorder.task_poll_end(task);
            recorder.task_suspended(task, Name(0));
            recorder.task_woken(task);
        }
        recorder.task_poll_start(hog);
        spin(40);
        recorder.task_poll_end(hog);
        recorder.task_poll_start(victim);
        recorder.task_poll_end(victim);
        recorder.task_close(victim, Status::Ok);
        recorder.task_close(hog, Status::Ok);
        recorder.close(call, Status::Ok, Flags::default());
    });
    let finding = one(findings, Problem::LoopHeld);
    let told = " in one poll; another task of `m.task` waited ";
    assert!(finding.sentence.contains(told), "{finding:?}");
}

#[test]
fn test_a_call_that_was_due_only_at_the_end_of_a_poll_did_not_wait_for_it() {
    let findings = found(|recorder| {
        recorder.returned(clock::now());
        recorder.attached();
        let (hog, other) = (stamped(), recorder.open(&stamped(), intern("m.other")));
        recorder.poll_start(other);
        recorder.poll_end(other);
        recorder.suspended(other, Name(0));
        let hog = recorder.open(&hog, intern("m.hog"));
        recorder.poll_start(hog);
        spin(40);
        recorder.woken(other);
        recorder.poll_end(hog);
        recorder.turn_end();
        spin(40); // somebody else's time
        recorder.poll_start(other);
        recorder.poll_end(other);
        recorder.close(other, Status::Ok, Flags::default());
        recorder.close(hog, Status::Ok, Flags::default());
    });
    assert_eq!(findings, []);
}

#[test]
fn test_a_call_that_came_after_a_wait_and_waited_for_something_else_is_nobodys() {
    let findings = found(|recorder| {
        recorder.returned(clock::now() - ticks(100));
        recorder.attached();
        recorder.turn_end();
        let late = stamped();
        spin(40);
        recorder.returned(clock::now());
        recorder.attached();
        one_poll(recorder, &late, "m.late", Flags::default());
    });
    assert_eq!(findings, []);
}

#[test]
fn test_a_later_poll_that_held_the_loop_is_found() {
    let findings = found(|recorder| {
        recorder.returned(clock::now());
        recorder.attached();
        let (hog, victim) = (stamped(), stamped());
        let hog = recorder.open(&hog, intern("m.hog"));
        let victim = recorder.open(&victim, intern("m.woken"));
        for call in [hog, victim] {
            recorder.poll_start(call);
            recorder.poll_end(call);
            recorder.suspended(call, Name(0));
            recorder.woken(call);
        }
        recorder.poll_start(hog);
        spin(40);
        recorder.poll_end(hog);
        recorder.poll_start(victim);
        recorder.poll_end(victim);
        recorder.close(victim, Status::Ok, Flags::default());
        recorder.close(hog, Status::Ok, Flags::default());
    });
    let finding = one(findings, Problem::LoopHeld);
    assert_eq!(finding.function, "m.hog");
    assert!(
        finding.sentence.contains("`m.woken` waited "),
        "{finding:?}"
    );
}

#[test]
fn test_a_full_queue_is_found() {
    let findings = found(|recorder| {
        let mut stamps = stamped();
        stamps.called = stamps.enqueued - ticks(100);
        recorder.returned(clock::now());
        recorder.attached();
        one_poll(recorder, &stamps, "m.late", Flags::default());
        one_poll(recorder, &stamped(), "m.in_time", Flags::default());
        CallStamps::begin().refused(intern("m.refused"), Status::QueueFull);
        CallStamps::begin().refused(intern("m.stopped"), Status::Stopped);
    });
    assert_eq!(
        problems(&findings),
        [Problem::QueueFull; 2],
        "{findings:#?}"
    );
    let sentences = findings.iter().map(|finding| &*finding.sentence);
    let [refused, waited] = &sentences.collect::<Vec<_>>()[..] else {
        unreachable!()
    };
    assert_eq!(*refused, "`m.refused` was refused: the queue was full");
    assert!(waited.starts_with("`m.late` waited 1") && waited.ends_with(" for room in the queue"));
}

#[test]
fn test_a_swallowed_cancel_is_found() {
    let findings = found(|recorder| {
        recorder.attached();
        one_poll(recorder, &stamped(), "m.stubborn", Flags::CANCEL_SWALLOWED);
        one_poll(recorder, &stamped(), "m.other", Flags::IMMEDIATE);
    });
    let finding = one(findings, Problem::CancelSwallowed);
    assert_eq!(
        finding.sentence,
        "`m.stubborn` was cancelled, and returned all the same"
    );
}

#[test]
fn test_a_problem_of_one_function_is_told_once_and_when_it_is_twice_as_bad() {
    let work = |recorder: &LoopRecorder| {
        for waited in [100, 110, 120, 300] {
            turn_after(recorder, waited, "m.waits");
            flush();
        }
        turn_after(recorder, 100, "m.else");
    };
    let (findings, stats) = found_and(work, |findings| {
        let before = stats().findings;
        reset_stats();
        assert_eq!(stats().findings, Default::default());
        (findings, before)
    });
    let names = findings.iter().map(|finding| &*finding.function);
    assert_eq!(names.collect::<Vec<_>>(), ["m.waits", "m.waits", "m.else"]);
    assert_eq!(stats.counts, [(Problem::GilWait, 5)]);
    let told: Vec<_> = stats
        .worst
        .iter()
        .map(|told| (&*told.finding.function, told.count))
        .collect();
    assert_eq!(told, [("m.waits", 4), ("m.else", 1)]);
    assert!(length_ms(&stats.worst[0].finding) >= 300);
}

#[test]
fn test_what_is_kept_is_bounded_and_the_rest_is_counted() {
    let work = |recorder: &LoopRecorder| {
        for number in 0..100 {
            turn_after(recorder, 100, &format!("m.waits{number}"));
            flush();
        }
    };
    let (findings, stats) = found_and(work, |findings| (findings, stats().findings));
    assert_eq!(findings.len(), 64);
    assert_eq!((stats.worst.len(), stats.dropped), (64, 36));
    assert_eq!(stats.counts, [(Problem::GilWait, 100)]);
}

#[test]
fn test_a_line_of_json_has_the_keys_that_are_known() {
    let finding = Finding {
        problem: Problem::GilHeld,
        call: 0xab,
        trace: [1, 2],
        runtime: 3,
        thread: "cul\"prit".into(),
        start: clock::now(),
        end: clock::now() + ticks(1),
        function: "f".into(),
        sentence: "a".into(),
        stack: vec!["app.py:1 in f".into()],
    };
    let line: serde_json::Value = serde_json::from_str(&json_finding(&finding)).unwrap();
    assert_eq!(line["finding"], "GS02");
    assert_eq!(line["name"], "gil_held");
    assert_eq!(line["call"], "00000000000000ab");
    assert_eq!(line["trace"], "00000000000000010000000000000002");
    assert_eq!(
        (&line["runtime"], &line["thread"]),
        (&3.into(), &"cul\"prit".into())
    );
    assert_eq!(line["start_ns"], clock::unix_ns(finding.start));
    assert!(line["dur_ns"].as_u64().unwrap() >= 1_000_000);
    assert_eq!(
        (&line["sentence"], &line["stack"][0]),
        (&"a".into(), &"app.py:1 in f".into())
    );
    assert_eq!(line["hint"], finding.problem.hint());
    let finding = Finding {
        call: 0,
        trace: [0; 2],
        thread: String::new(),
        stack: Vec::new(),
        ..finding
    };
    let line: serde_json::Value = serde_json::from_str(&json_finding(&finding)).unwrap();
    assert!(line["call"].is_null() && line["trace"].is_null());
    assert!(line.get("thread").is_none() && line.get("stack").is_none());
}
