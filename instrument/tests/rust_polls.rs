//! Polls of Rust futures that Python awaits: whose they are, where they are told, and what is lost.

mod common;

use common::{Capture, alone, assert_sums, of, stamped};
use gilscope_instrument::{
    CallStamps, Detail, Flags, LoopRecorder, RustPolls, Span, SpanKind, Status, attach_sink, clock,
    detach_sink, first_poll, flush, intern, set_detail, sink, stats,
};

/// A call that awaits a future in its one poll, and one that its task awaits.
fn scene(recorder: &LoopRecorder, polls: u32) -> CallStamps {
    let stamps = stamped();
    recorder.attached();
    let call = recorder.open(&stamps, intern("mod.fn"));
    recorder.poll_start(call);
    let own = recorder.awaits_rust(intern("own"));
    let task = recorder.task_open(call, intern("mod.child"));
    recorder.task_poll_start(task);
    let inner = recorder.awaits_rust(intern("inner"));
    elsewhere(own, polls);
    elsewhere(inner, 1);
    recorder.task_poll_end(task);
    recorder.task_close(task, Status::Ok);
    recorder.poll_end(call);
    recorder.close(call, Status::Ok, Flags::default());
    recorder.turn_end();
    stamps
}

/// Polls on a thread of its own.
fn elsewhere(awaited: Option<RustPolls>, polls: u32) {
    let Some(mut awaited) = awaited else { return };
    let work = move || (0..polls).for_each(|_| drop(awaited.begin()));
    let thread = std::thread::Builder::new().name("rust-7".to_owned());
    thread.spawn(work).unwrap().join().unwrap();
}

fn named<'a>(polls: &[&'a Span], name: &str) -> Vec<&'a Span> {
    let name = intern(name);
    polls
        .iter()
        .copied()
        .filter(|poll| poll.name == name)
        .collect()
}

#[test]
fn test_polls_belong_to_what_awaits_and_are_no_part_of_its_sum() {
    let _alone = alone();
    let capture = Capture::begin();
    let stamps = scene(&LoopRecorder::new(3, "loop-3"), 4);
    let spans = capture.end();
    let call = of(&spans, stamps.id, SpanKind::Call)[0];
    let task = of(&spans, stamps.id, SpanKind::Task)[0];
    let polls = of(&spans, stamps.id, SpanKind::RustPoll);
    let (own, inner) = (named(&polls, "own"), named(&polls, "inner"));
    let numbers: Vec<u32> = own.iter().map(|poll| poll.poll).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    assert_eq!(inner.len(), 1);
    assert!(own.iter().all(|poll| poll.parent == call.id));
    assert_eq!(inner[0].parent, task.id);
    for poll in polls {
        assert_eq!((poll.trace, poll.runtime), (call.trace, 3));
        assert_eq!(poll.thread.name, "rust-7");
        assert_ne!(poll.thread.tid, call.thread.tid);
        assert!(call.start <= poll.start && poll.end <= call.end);
    }
    assert_sums(&spans, call);
    let stats = stats();
    let part = stats
        .parts
        .iter()
        .find(|part| part.kind == SpanKind::RustPoll);
    assert_eq!(part.unwrap().count, 5);
}

#[test]
fn test_only_where_detail_is_full() {
    let _alone = alone();
    let recorder = LoopRecorder::new(3, "loop-3");
    for detail in [Detail::Call, Detail::Off] {
        set_detail(detail);
        assert_eq!(first_poll(), 0);
        let capture = Capture::begin();
        scene(&recorder, 2);
        let spans = capture.end();
        assert!(spans.iter().all(|span| span.kind != SpanKind::RustPoll));
    }
    set_detail(Detail::Full);
    assert_ne!(first_poll(), 0);
    assert!(recorder.awaits_rust(intern("nobody's")).is_none());
}

#[test]
fn test_a_poll_on_a_loops_thread_has_its_name() {
    let _alone = alone();
    let recorder = LoopRecorder::new(3, "loop-3");
    let stamps = stamped();
    let capture = Capture::begin();
    let call = recorder.open(&stamps, intern("mod.fn"));
    recorder.poll_start(call);
    let start = clock::now();
    let mut polls = recorder.awaits_rust(intern("own")).expect("it is recorded");
    polls.polled(start, clock::now());
    recorder.poll_end(call);
    recorder.close(call, Status::Ok, Flags::default());
    let spans = capture.end();
    let [poll] = of(&spans, stamps.id, SpanKind::RustPoll)[..] else {
        panic!("{spans:#?}")
    };
    let whole = of(&spans, stamps.id, SpanKind::Call)[0];
    assert_eq!(poll.thread, whole.thread);
    let around = of(&spans, stamps.id, SpanKind::Poll)[0];
    assert!(around.start <= poll.start && poll.end <= around.end);
}

/// Holds the converter until it is let go.
struct Held(std::sync::mpsc::Receiver<()>, std::sync::mpsc::Sender<()>);

impl sink::Sink for Held {
    fn spans(&mut self, _: &[Span]) {
        let _ = self.1.send(());
        let _ = self.0.recv();
    }
    fn close(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn test_what_finds_no_room_is_counted() {
    let _alone = alone();
    let recorder = LoopRecorder::new(3, "loop-3");
    let ((go, wait), (tell, held)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let id = attach_sink(Box::new(Held(wait, tell)));
    scene(&recorder, 1);
    held.recv().unwrap(); // the converter has taken those and takes no more
    scene(&recorder, 1 << 14); // the task's is the one too many
    drop(go);
    flush();
    let lost = stats().dropped;
    detach_sink(id).unwrap();
    assert_eq!((lost.ring, lost.total()), (1, 1));
}

#[test]
fn test_chrome_has_a_slice_on_its_thread() {
    let _alone = alone();
    let path = std::env::temp_dir().join(format!("gilscope-{}-polls.json", std::process::id()));
    let recorder = LoopRecorder::new(3, "loop-3");
    let id = attach_sink(Box::new(sink::Chrome::new(&path).unwrap()));
    let stamps = scene(&recorder, 3);
    detach_sink(id).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
    let events = whole["traceEvents"].as_array().unwrap();
    let polls = events.iter().filter(|event| event["name"] == "rust.poll");
    let own: Vec<_> = polls
        .filter(|event| event["args"]["future"] == "own")
        .collect();
    assert_eq!(own.len(), 3);
    for event in own {
        assert_eq!(event["ph"], "X");
        assert_eq!(event["args"]["call"], format!("{:016x}", stamps.id));
        let named = |name: &&serde_json::Value| {
            name["name"] == "thread_name" && name["tid"] == event["tid"]
        };
        let name = events.iter().find(named).expect("the lane has a name");
        assert_eq!(name["args"]["name"], "rust-7");
    }
}
