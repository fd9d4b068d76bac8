//! The end of a process: every sink is closed, and none holds it up.

mod common;

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use common::{Capture, alone, one_call, stamped};
use gilscope_instrument::{
    LoopRecorder, Sink, Span, SpanKind, attach_sink, close_sinks, detach_sink, flush, intern, sink,
};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// Blocks in its first batch until it is told to go on.
struct Blocks {
    entered: Sender<()>,
    go_on: Receiver<()>,
}

impl Sink for Blocks {
    fn spans(&mut self, _batch: &[Span]) {
        let _ = self.entered.send(());
        let _ = self.go_on.recv();
    }

    fn close(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

fn record() {
    let recorder = LoopRecorder::new(1, "loop-1");
    one_call(&recorder, &stamped(), intern("f"), 1);
    recorder.turn_end();
}

#[test]
fn test_all_sinks_are_closed_with_what_was_recorded() {
    let _alone = alone();
    let path = std::env::temp_dir().join(format!("gilscope-{}-closing.json", std::process::id()));
    let file = attach_sink(Box::new(sink::Chrome::new(&path).unwrap()));
    let memory = Capture::begin();
    record();
    assert!(close_sinks(LONG));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    let trace: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
    let events = trace["traceEvents"].as_array().unwrap();
    assert!(events.iter().any(|event| event["name"] == "f"), "{text}");
    assert!(detach_sink(file).is_ok(), "how its closing went");
    assert!(detach_sink(file).is_err(), "said once");
    record();
    let calls = memory.end();
    let calls = calls.iter().filter(|span| span.kind == SpanKind::Call);
    assert_eq!(calls.count(), 1, "none of those after the closing");
}

#[test]
fn test_without_sinks_nobody_waits() {
    let _alone = alone();
    record();
    assert!(close_sinks(Duration::ZERO));
}

#[test]
fn test_a_sink_that_blocks_is_given_up() {
    let _alone = alone();
    let (entered, has_entered) = channel();
    let (free, go_on) = channel();
    let blocks = attach_sink(Box::new(Blocks { entered, go_on }));
    record();
    assert!(!close_sinks(Duration::from_millis(200)));
    has_entered.recv().unwrap();
    // It still blocks, and nobody waits for it.
    flush();
    let refused = detach_sink(blocks).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::Other);
    drop(free);
    // Once it is let go it is closed, and all is as before.
    let closed = loop {
        match detach_sink(blocks) {
            Err(error) if error.kind() == io::ErrorKind::Other => std::thread::yield_now(),
            closed => break closed,
        }
    };
    assert_eq!(closed.unwrap_err().kind(), io::ErrorKind::StorageFull);
    let memory = Capture::begin();
    record();
    assert!(!memory.end().is_empty());
}
