//! The recorder's controls, and what one span costs the thread that records it.
//!
//! Invariant: [`span_cost`] times bursts that fit a ring and drains it between them, so a figure
//! never counts records that were dropped instead of written.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Mutex;
use std::time::Instant;

use gilscope_instrument::{self as instrument, CallStamps, Flags, LoopRecorder, SinkId, Status};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

static SINK: Mutex<Option<SinkId>> = Mutex::new(None);

/// Spans of a call that ran in one poll: call, enqueue, queued, gil.wait, ready, poll, callback.
const SPANS: usize = 7;
const BURST: usize = 8_000;

/// Sets the detail of tracing: "off", "call" or "full".
#[pyfunction]
pub(crate) fn ours_detail(detail: &str) -> PyResult<()> {
    instrument::set_detail(match detail {
        "off" => instrument::Detail::Off,
        "call" => instrument::Detail::Call,
        "full" => instrument::Detail::Full,
        other => return Err(PyValueError::new_err(format!("no such detail: {other}"))),
    });
    Ok(())
}

fn sink_slot() -> PyResult<std::sync::MutexGuard<'static, Option<SinkId>>> {
    SINK.lock()
        .map_err(|e| PyRuntimeError::new_err(e.to_string()))
}

/// Attaches a sink that writes JSON lines to `path`, or one that writes nothing.
#[pyfunction]
#[pyo3(signature = (path=None))]
pub(crate) fn ours_sink(path: Option<&str>) -> PyResult<()> {
    let sink: Box<dyn instrument::Sink> = match path {
        None => Box::new(instrument::sink::Null),
        Some(path) => Box::new(instrument::sink::JsonLines::new(path)?),
    };
    *sink_slot()? = Some(instrument::attach_sink(sink));
    Ok(())
}

/// Flushes, closes and detaches the sink of [`ours_sink`].
#[pyfunction]
pub(crate) fn ours_detach(py: Python<'_>) -> PyResult<()> {
    let sink = sink_slot()?.take();
    match sink {
        Some(id) => Ok(py.detach(|| instrument::detach_sink(id))?),
        None => Ok(()),
    }
}

/// Counters since the start: `calls`, `records`, `incomplete`, and `dropped` of all reasons.
#[pyfunction]
pub(crate) fn ours_stats() -> HashMap<&'static str, u64> {
    let stats = instrument::stats();
    let instrument::Dropped {
        ring,
        side,
        sink,
        open,
    } = stats.dropped;
    let dropped = ring + side + sink + open;
    HashMap::from([
        ("calls", stats.calls),
        ("records", stats.records),
        ("incomplete", stats.incomplete),
        ("dropped", dropped),
    ])
}

fn record_call(recorder: &LoopRecorder, name: instrument::Name) {
    let mut stamps = CallStamps::begin();
    stamps.enqueued();
    // Opaque, as in the runtime, where the stamps come through a queue from another thread.
    let call = black_box(recorder.open(black_box(&stamps), name));
    recorder.poll_start(call);
    recorder.poll_end(call);
    recorder.close(call, Status::Ok, Flags::default());
}

/// Nanoseconds that one span costs the recording thread at the present detail: median over
/// `bursts` bursts of one-poll calls, stamps included, divided by their seven spans.
#[pyfunction]
pub(crate) fn span_cost(py: Python<'_>, bursts: usize) -> f64 {
    py.detach(|| {
        let recorder = LoopRecorder::new(u16::MAX, "bench");
        let name = instrument::intern("bench.span_cost");
        let mut took: Vec<f64> = (0..bursts.max(1)).map(|_| burst(&recorder, name)).collect();
        took.sort_by(f64::total_cmp);
        took[took.len() / 2] / SPANS as f64
    })
}

fn burst(recorder: &LoopRecorder, name: instrument::Name) -> f64 {
    instrument::flush();
    recorder.returned(instrument::clock::now());
    recorder.attached();
    let began = Instant::now();
    for _ in 0..BURST {
        record_call(recorder, name);
    }
    let took = began.elapsed();
    recorder.turn_end();
    took.as_secs_f64() * 1e9 / BURST as f64
}
