//! What recording costs: nanoseconds per call and per span, on and off, in a tight loop.
//! `cargo run --release -p gilscope-instrument --example span_cost`
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use gilscope_instrument::{
    CallStamps, Detail, Flags, LoopRecorder, Name, Status, attach_sink, clock, detach_sink, flush,
    intern, reset_stats, set_detail, sink, stats,
};

const BATCH: u32 = 4096;
const BATCHES: u32 = 250;
const REPEATS: usize = 7;

/// Nanoseconds per call with `polls` polls: for the loop thread, and for the converter that
/// drains the ring afterwards (an upper bound, with its wake in it).
fn per_call(recorder: &LoopRecorder, name: Name, polls: u32) -> [f64; 2] {
    let (mut spent, mut joining) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..BATCHES {
        recorder.returned(clock::now());
        recorder.attached();
        let start = Instant::now();
        for _ in 0..BATCH {
            let mut stamps = CallStamps::begin();
            stamps.enqueued();
            let call = recorder.open(std::hint::black_box(&stamps), name);
            for poll in 0..polls {
                if poll > 0 {
                    recorder.suspended(call, name);
                    recorder.woken(call);
                }
                recorder.poll_start(call);
                recorder.poll_end(call);
            }
            recorder.close(call, Status::Ok, Flags::default());
        }
        spent += start.elapsed();
        recorder.turn_end();
        let start = Instant::now();
        flush();
        joining += start.elapsed();
    }
    [spent, joining].map(|time| time.as_nanos() as f64 / f64::from(BATCH * BATCHES))
}

fn medians(measure: impl Fn() -> [f64; 2]) -> [f64; 2] {
    let values: Vec<[f64; 2]> = (0..REPEATS).map(|_| measure()).collect();
    [0, 1].map(|which| {
        let mut column: Vec<f64> = values.iter().map(|pair| pair[which]).collect();
        column.sort_by(f64::total_cmp);
        column[REPEATS / 2]
    })
}

fn main() {
    let recorder = LoopRecorder::new(0, "span_cost");
    let null = attach_sink(Box::new(sink::Null));
    let name = intern("span_cost");
    for (detail, label) in [
        (Detail::Off, "off "),
        (Detail::Call, "call"),
        (Detail::Full, "full"),
    ] {
        set_detail(detail);
        for (polls, spans) in [(1, 7.0), (2, 9.0), (10, 25.0)] {
            reset_stats();
            let [ns, joining] = medians(|| per_call(&recorder, name, polls));
            let dropped = stats().dropped.total();
            println!(
                "{label} {polls:2} polls: {ns:7.1} ns per call, {:5.2} ns per span; \
                 converter {joining:6.1} ns per call; dropped {dropped}",
                ns / spans
            );
        }
    }
    detach_sink(null).expect("the null sink has nothing to fail at");
}
