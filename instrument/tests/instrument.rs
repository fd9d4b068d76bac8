//! Exports as a Rust program sets them up.
//!
//! Invariant: a process of its own, since sinks see whatever the process records.
#![cfg(feature = "otlp")]

use gilscope_instrument::otlp;
use gilscope_instrument::{CallStamps, Instrument, LoopRecorder, Name, Status};

#[test]
fn an_address_that_cannot_be_used_is_named() {
    let refused = Instrument::builder().otlp_to("localhost:4318").install();
    let told = refused.expect_err("it has no scheme").to_string();
    assert_eq!(
        told,
        "the endpoint must be a URL like http://localhost:4318, not \"localhost:4318\""
    );
}

#[test]
fn what_an_absent_collector_does_not_take_is_counted() {
    let instrument = Instrument::builder()
        .otlp_to("http://127.0.0.1:9")
        .install();
    let instrument = instrument.expect("nobody was asked yet");
    let recorder = LoopRecorder::new(1, "loop");
    let mut stamps = CallStamps::begin();
    stamps.enqueued();
    recorder.attached();
    let call = recorder.open(&stamps, Name(0));
    recorder.poll_start(call);
    recorder.poll_end(call);
    recorder.close(call, Status::Ok, Default::default());
    recorder.turn_end();
    let export = instrument.export().expect("something is exported").clone();
    instrument.close();
    assert_eq!(export.exported(), 0);
    assert!(export.lost().closed >= 7, "{:?}", export.lost());
}

#[test]
fn the_manual_has_the_generated_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/opentelemetry.md");
    let manual = std::fs::read_to_string(path).expect("the manual has the page");
    for table in [otlp::attribute_table(), otlp::metric_table()] {
        assert!(
            manual.contains(&table),
            "docs/opentelemetry.md lacks this table:\n\n{table}"
        );
    }
}
