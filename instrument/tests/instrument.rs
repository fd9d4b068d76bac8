//! Exports as a Rust program sets them up.
//!
//! Invariant: a process of its own, since sinks see whatever the process records.
#![cfg(feature = "otlp")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

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

fn one_call() {
    let recorder = LoopRecorder::new(1, "loop");
    let mut stamps = CallStamps::begin();
    stamps.enqueued();
    recorder.attached();
    let call = recorder.open(&stamps, Name(0));
    recorder.poll_start(call);
    recorder.poll_end(call);
    recorder.close(call, Status::Ok, Default::default());
    recorder.turn_end();
}

/// A collector that takes spans two seconds after it was first asked to.
fn takes_them_later() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut busy = true;
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            let (mut head, mut line) = (String::new(), String::new());
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                head.push_str(&line.to_ascii_lowercase());
                line.clear();
            }
            let length = head.split("content-length: ").nth(1);
            let length = length.and_then(|it| it.lines().next()?.parse().ok());
            let mut body = vec![0; length.expect("a length")];
            reader.read_exact(&mut body).expect("a body");
            let is_first = head.starts_with("post /v1/traces") && std::mem::take(&mut busy);
            let answer = if is_first {
                "503 no\r\nretry-after: 2"
            } else {
                "200 yes"
            };
            let answer =
                format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).expect("it reads");
        }
    });
    format!("http://{address}")
}

#[test]
fn closing_may_take_the_time_it_is_given() {
    let instrument = Instrument::builder()
        .otlp_to(&takes_them_later())
        .close_within(Duration::from_secs(60))
        .install();
    let instrument = instrument.expect("nobody was asked yet");
    one_call();
    let export = instrument.export().expect("something is exported").clone();
    instrument.close();
    assert!(export.exported() >= 7);
    assert_eq!(export.lost().total(), 0);
}

#[test]
fn what_an_absent_collector_does_not_take_is_counted() {
    let instrument = Instrument::builder()
        .otlp_to("http://127.0.0.1:9")
        .install();
    let instrument = instrument.expect("nobody was asked yet");
    one_call();
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
