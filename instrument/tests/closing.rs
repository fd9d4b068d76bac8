//! The end of a process: every sink is closed, and none holds it up.

mod common;

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

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

/// Has no more time once its close is asked for, and says what becomes of it.
struct HasNoTime(Sender<&'static str>);

impl Sink for HasNoTime {
    fn spans(&mut self, _batch: &[Span]) {}

    fn close(&mut self) -> io::Result<()> {
        let _ = self.0.send("closed");
        Ok(())
    }

    fn deadline(&self) -> Option<sink::Deadline> {
        let says = self.0.clone();
        Some(Box::new(move |at_the_end| {
            let _ = says.send(if at_the_end {
                "at the end"
            } else {
                "asked for"
            });
            Instant::now()
        }))
    }
}

/// Is being closed until another sink took a batch.
struct WaitsForAnother(Receiver<()>);

impl Sink for WaitsForAnother {
    fn spans(&mut self, _batch: &[Span]) {}

    fn close(&mut self) -> io::Result<()> {
        record();
        let taken = self.0.recv_timeout(LONG);
        taken.map_err(io::Error::other)
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

#[test]
fn test_a_deadline_holds_while_another_sink_blocks() {
    let _alone = alone();
    let (entered, has_entered) = channel();
    let (free, go_on) = channel();
    let blocks = attach_sink(Box::new(Blocks { entered, go_on }));
    let (says, said) = channel();
    let hurries = attach_sink(Box::new(HasNoTime(says)));
    record();
    let flushes = std::thread::spawn(flush);
    has_entered.recv().unwrap();
    assert!(detach_sink(hurries).is_ok(), "it is not waited for");
    assert_eq!(said.recv(), Ok("asked for"));
    assert!(said.try_recv().is_err(), "the converter is held");
    drop(free);
    assert_eq!(said.recv_timeout(LONG), Ok("closed"));
    flushes.join().unwrap();
    assert!(detach_sink(blocks).is_err(), "as it always says");
}

#[test]
fn test_other_sinks_take_spans_while_one_is_being_closed() {
    let _alone = alone();
    let (entered, has_entered) = channel();
    let (free, go_on) = channel();
    drop(free);
    let other = attach_sink(Box::new(Blocks { entered, go_on }));
    let slow = attach_sink(Box::new(WaitsForAnother(has_entered)));
    detach_sink(slow).expect("the other took what was recorded meanwhile");
    assert!(detach_sink(other).is_err(), "as it always says");
}

#[test]
fn test_at_the_end_every_deadline_begins_at_once() {
    let _alone = alone();
    let (says, said) = channel();
    let hurries = attach_sink(Box::new(HasNoTime(says)));
    assert!(close_sinks(LONG));
    assert_eq!(
        said.try_iter().collect::<Vec<_>>(),
        ["at the end", "closed"]
    );
    assert!(detach_sink(hurries).is_ok(), "how its closing went");
}

#[test]
fn test_a_sink_that_is_detached_by_nobody_any_more_is_closed_all_the_same() {
    let _alone = alone();
    for _ in 0..200 {
        let (says, said) = channel();
        let hurries = attach_sink(Box::new(HasNoTime(says)));
        // Its time is over at once, so the converter may answer before, while or after it is given up.
        assert!(detach_sink(hurries).is_ok());
        assert_eq!(said.recv_timeout(LONG), Ok("asked for"));
        assert_eq!(said.recv_timeout(LONG), Ok("closed"));
    }
}
