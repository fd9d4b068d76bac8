//! The same spans by `tracing` and tracing-opentelemetry, with a batch processor.
//!
//! Invariant: bursts fit the processor's queue, which is emptied between them, so that a figure never
//! counts spans that were dropped; what the exporter is given it drops.

use std::time::{Duration, Instant};

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter,
};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

/// The parts of a call that ran in one poll.
const PARTS: usize = 6;
const BURST: usize = 2_000;

#[derive(Debug)]
struct Nowhere;

impl SpanExporter for Nowhere {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

/// A part, with the attributes that ours has.
macro_rules! part {
    ($call:expr, $name:literal) => {
        tracing::info_span!(
            parent: $call,
            $name,
            gilscope.span = $name,
            gilscope.runtime = 1_i64,
        )
        .in_scope(|| ())
    };
}

fn call() {
    let call = tracing::info_span!(
        parent: None,
        "bench.span_cost",
        gilscope.span = "call",
        gilscope.runtime = 1_i64,
        code.function.name = "bench.span_cost",
        gilscope.status = "ok",
        gilscope.polls = 1_i64,
    );
    let _entered = call.enter();
    part!(&call, "enqueue");
    part!(&call, "queued");
    part!(&call, "gil.wait");
    part!(&call, "ready");
    part!(&call, "poll");
    part!(&call, "callback");
}

/// Nanoseconds that one span costs the thread that records it: median over `bursts` bursts. Off: by a
/// filter of the level.
#[pyfunction]
pub(crate) fn tracing_span_cost(py: Python<'_>, bursts: usize, on: bool) -> PyResult<f64> {
    py.detach(|| {
        let queue = BURST * (PARTS + 1);
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(queue)
            .with_max_export_batch_size(512)
            .with_scheduled_delay(Duration::from_millis(20));
        let processor = BatchSpanProcessor::builder(Nowhere)
            .with_batch_config(config.build())
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
        let level = if on {
            LevelFilter::INFO
        } else {
            LevelFilter::OFF
        };
        let subscriber = tracing_subscriber::registry().with(level).with(layer);
        let burst = || {
            let began = Instant::now();
            (0..BURST).for_each(|_| call());
            let took = began.elapsed();
            provider.force_flush().map(|()| took.as_secs_f64() * 1e9)
        };
        let took = tracing::subscriber::with_default(subscriber, || {
            (0..bursts.max(1))
                .map(|_| burst())
                .collect::<Result<Vec<f64>, _>>()
        });
        let mut took = took.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        took.sort_by(f64::total_cmp);
        Ok(took[took.len() / 2] / (BURST * (PARTS + 1)) as f64)
    })
}
