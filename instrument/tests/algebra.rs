//! The parts of a call add up to it exactly, in ticks, whatever happens in it.

mod common;

use common::{Capture, alone, assert_sums, of, one_call, stamped};
use gilscope_instrument::{
    CallStamps, Detail, Flags, LoopRecorder, OpenCall, SpanKind, Status, clock, flush, intern,
    set_detail, stats,
};

/// A seeded xorshift: failures name their seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

struct Open {
    call: OpenCall,
    id: u64,
    left: u64,
    polls: u64,
}

/// Random calls through one loop: several open at once, turns that begin, split and end at any
/// time, wakes at any time or never, stamps from before, within and after a turn.
fn random_calls(recorder: &LoopRecorder, random: &mut Random, calls: usize) -> Vec<(u64, u64)> {
    let (mut open, mut done): (Vec<Open>, Vec<(u64, u64)>) = (Vec::new(), Vec::new());
    let mut waiting: Vec<CallStamps> = Vec::new();
    let name = intern("algebra.call");
    while done.len() < calls {
        match random.below(10) {
            0 => waiting.push(stamped()),
            1 => waiting.push(CallStamps::begin()),
            2 => recorder.returned(clock::now()),
            3 => recorder.attached(),
            4 => recorder.turn_split(),
            5 => recorder.turn_end(),
            6 if !waiting.is_empty() => {
                let stamps = waiting.swap_remove(random.below(waiting.len() as u64) as usize);
                let call = recorder.open(&stamps, name);
                let left = [0, 1, 1, 2, 3, 4 + random.below(200)][random.below(6) as usize];
                open.push(Open {
                    call,
                    id: stamps.id,
                    left,
                    polls: left,
                });
            }
            _ if !open.is_empty() => {
                let at = random.below(open.len() as u64) as usize;
                if open[at].left == 0 {
                    let open = open.swap_remove(at);
                    recorder.close(open.call, Status::Ok, Flags::default());
                    done.push((open.id, open.polls));
                } else {
                    poll(recorder, random, &mut open[at]);
                }
            }
            _ => {}
        }
    }
    for open in open {
        recorder.close(open.call, Status::CancelledByShutdown, Flags::default());
        done.push((open.id, open.polls - open.left));
    }
    done
}

fn poll(recorder: &LoopRecorder, random: &mut Random, open: &mut Open) {
    let place = intern("algebra.py:1 in call");
    if random.below(3) == 0 {
        recorder.woken(open.call);
    }
    recorder.poll_start(open.call);
    if random.below(4) == 0 {
        recorder.woken(open.call);
    }
    recorder.poll_end(open.call);
    open.left -= 1;
    if open.left > 0 {
        recorder.suspended(open.call, place);
    }
}

#[test]
fn test_algebra_random_sequences_sum_exactly() {
    let _alone = alone();
    for seed in 1..=20 {
        let recorder = LoopRecorder::new(seed as u16, "algebra");
        let capture = Capture::begin();
        let mut random = Random(seed * 0x9E37_79B9);
        let calls = random_calls(&recorder, &mut random, 300);
        let spans = capture.end();
        for (id, polls) in calls {
            let call = of(&spans, id, SpanKind::Call);
            assert_eq!(call.len(), 1, "seed {seed}");
            let parts = assert_sums(&spans, call[0]);
            let expected = if polls == 0 {
                4
            } else {
                4 + polls + (polls - 1) + 1
            };
            assert_eq!(parts as u64, expected, "seed {seed}, {polls} polls");
            assert_eq!(u64::from(call[0].poll), polls);
        }
    }
    let stats = stats();
    assert_eq!((stats.dropped.total(), stats.incomplete), (0, 0));
}

#[test]
fn test_algebra_wake_splits_the_suspension() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "wake");
    let capture = Capture::begin();
    let (place, stamps) = (intern("wake.py:7 in f"), stamped());
    recorder.returned(clock::now());
    recorder.attached();
    let call = recorder.open(&stamps, intern("wake.f"));
    recorder.poll_start(call);
    recorder.suspended(call, place);
    recorder.poll_end(call);
    let before = clock::now();
    recorder.woken(call);
    let after = clock::now();
    recorder.woken(call);
    recorder.poll_start(call);
    recorder.poll_end(call);
    recorder.suspended(call, place);
    recorder.poll_start(call);
    recorder.poll_end(call);
    recorder.close(call, Status::Ok, Flags::IMMEDIATE);
    recorder.turn_end();
    let spans = capture.end();
    let suspended = of(&spans, stamps.id, SpanKind::Suspended);
    assert_eq!(suspended.len(), 2);
    assert!(
        (before..=after).contains(&suspended[0].wake),
        "the first wake counts"
    );
    assert_eq!((suspended[0].at, suspended[1].at), (place, place));
    assert_eq!(suspended[1].wake, 0, "unknown");
    let polls: Vec<u32> = of(&spans, stamps.id, SpanKind::Poll)
        .iter()
        .map(|s| s.poll)
        .collect();
    assert_eq!(polls, [1, 2, 3]);
    assert_sums(&spans, of(&spans, stamps.id, SpanKind::Call)[0]);
}

#[test]
fn test_algebra_boundaries_are_the_given_stamps() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "bounds");
    let capture = Capture::begin();
    let stamps = stamped();
    let returned = clock::now();
    recorder.returned(returned);
    recorder.attached();
    one_call(&recorder, &stamps, intern("bounds"), 1);
    recorder.turn_end();
    let spans = capture.end();
    let part = |kind| of(&spans, stamps.id, kind)[0].clone();
    let enqueue = part(SpanKind::Enqueue);
    assert_eq!(
        (enqueue.start, enqueue.end),
        (stamps.called, stamps.enqueued)
    );
    assert_eq!(part(SpanKind::Queued).end, returned);
    let turn = spans
        .iter()
        .find(|span| span.kind == SpanKind::LoopTurn)
        .unwrap();
    assert_eq!(part(SpanKind::GilWait).end, turn.start);
    assert_eq!(turn.wake, returned);
    let waited = clock::unix_ns(turn.start) - clock::unix_ns(returned);
    assert_eq!(turn.gil_wait_ns(), waited);
    assert_eq!(part(SpanKind::Poll).turn, turn.id);
    assert_eq!((turn.poll, turn.call, turn.parent), (1, 0, 0));
    let call = part(SpanKind::Call);
    assert_eq!((call.trace, call.id), (stamps.trace, stamps.id));
}

#[test]
fn test_algebra_turn_counts_each_call_once() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "turns");
    let capture = Capture::begin();
    let name = intern("turns");
    let (a, b) = (stamped(), stamped());
    recorder.attached();
    let (a, b) = (recorder.open(&a, name), recorder.open(&b, name));
    for _ in 0..3 {
        common::run(&recorder, a, 1);
        common::run(&recorder, b, 1);
    }
    recorder.turn_split();
    common::run(&recorder, b, 1);
    recorder.turn_end();
    let spans = capture.end();
    let turns: Vec<_> = spans
        .iter()
        .filter(|s| s.kind == SpanKind::LoopTurn)
        .collect();
    assert_eq!(
        turns.iter().map(|turn| turn.poll).collect::<Vec<_>>(),
        [2, 1]
    );
    assert_eq!(turns[0].end, turns[1].start, "split with one stamp");
    recorder.close(a, Status::Ok, Flags::default());
    recorder.close(b, Status::Ok, Flags::default());
}

#[test]
fn test_algebra_call_detail_has_totals_that_sum() {
    let _alone = alone();
    set_detail(Detail::Call);
    let recorder = LoopRecorder::new(1, "totals");
    let capture = Capture::begin();
    for polls in 0..5 {
        one_call(&recorder, &stamped(), intern("totals"), polls);
    }
    let spans = capture.end();
    set_detail(Detail::Full);
    assert_eq!(spans.len(), 5, "one span per call, no parts");
    for (polls, call) in spans.iter().enumerate() {
        let totals = call.totals.expect("totals");
        assert_eq!(totals.iter().sum::<u64>(), call.ticks());
        assert_eq!((call.kind, call.poll), (SpanKind::Call, polls as u32));
    }
    assert_eq!(stats().incomplete, 0);
}

#[test]
fn test_algebra_tasks_have_their_own_sum_and_may_outlive_the_call() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "tasks");
    let capture = Capture::begin();
    let stamps = stamped();
    let call = recorder.open(&stamps, intern("parent"));
    recorder.poll_start(call);
    assert_eq!(recorder.current(), call);
    let task = recorder.task_open(call, intern("child"));
    recorder.task_poll_start(task);
    recorder.task_poll_end(task);
    recorder.task_suspended(task, intern("x.py:1 in child"));
    recorder.poll_end(call);
    assert_eq!(recorder.current(), OpenCall(0));
    recorder.close(call, Status::Ok, Flags::default());
    recorder.task_woken(task);
    recorder.task_poll_start(task);
    recorder.task_poll_end(task);
    recorder.task_close(task, Status::Error);
    let spans = capture.end();
    let task = of(&spans, stamps.id, SpanKind::Task)[0];
    assert_eq!(
        (task.parent, task.trace, task.poll),
        (stamps.id, stamps.trace, 2)
    );
    assert_eq!(task.status, Status::Error);
    let end_of_call = of(&spans, stamps.id, SpanKind::Call)[0].end;
    assert!(task.end > end_of_call);
    let parts: Vec<_> = spans.iter().filter(|span| span.parent == task.id).collect();
    let kinds: Vec<_> = parts.iter().map(|span| span.kind).collect();
    use SpanKind::{Poll, Ready, Suspended};
    assert_eq!(kinds, [Ready, Poll, Suspended, Poll]);
    assert_sums(&spans, of(&spans, stamps.id, SpanKind::Call)[0]);
}

#[test]
fn test_algebra_a_call_of_many_polls_is_whole() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "many");
    let capture = Capture::begin();
    let stamps = stamped();
    let call = recorder.open(&stamps, intern("many"));
    for poll in 0..100_000 {
        common::run(&recorder, call, 1);
        if poll % 10_000 == 0 {
            flush();
        }
    }
    recorder.close(call, Status::Ok, Flags::default());
    let spans = capture.end();
    assert_eq!(
        assert_sums(&spans, of(&spans, stamps.id, SpanKind::Call)[0]),
        4 + 199_999 + 1
    );
    assert_eq!(stats().incomplete, 0);
}
