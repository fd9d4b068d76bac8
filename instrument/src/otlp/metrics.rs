//! What is counted, as OTLP has it: `gilscope.…`, by the units of the semantic conventions.
//!
//! Invariant: all is cumulative since the start, or the last `reset_stats`, which every request says.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram as ProtoHistogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
};

use super::encode::{self, pair};
use super::lost::Lost;
use super::resource::Resource;
use crate::clock;
use crate::histogram::Histogram;
use crate::span::SpanKind;
use crate::stats::Meters;
use crate::status::Status;

/// Bounds of buckets are powers of two, in nanoseconds, from 1 µs to 69 s: those of our own histograms.
const FIRST: u32 = 10;
const LAST: u32 = 36;
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// A request with all of it. `in_flight`: calls that have begun and not ended.
pub(super) fn request(
    resource: &Resource,
    meters: &Meters,
    lost: &Lost,
    in_flight: usize,
) -> ExportMetricsServiceRequest {
    let times = Times {
        start: clock::unix_ns(meters.since),
        now: clock::unix_ns(clock::now()),
    };
    let mut metrics: Vec<_> = SpanKind::ALL
        .into_iter()
        .map(|kind| times.histogram(name(kind), about(kind), &meters.parts[kind as usize]))
        .collect();
    let woken = "From the wake of a call or task until its next poll.";
    metrics.push(times.histogram("gilscope.wake.duration", woken, &meters.woken));
    let ends = Status::ALL.into_iter().zip(meters.by_status);
    let ends = ends.filter(|(_, count)| *count != 0);
    metrics.push(times.counter(
        "gilscope.calls",
        ("{call}", "Calls that ended, by how."),
        ends.map(|(status, count)| ("gilscope.status", status.as_str(), count)),
    ));
    let dropped = meters.dropped.by_reason().into_iter();
    metrics.push(
        times.counter(
            "gilscope.dropped",
            (
                "{record}",
                "Records and spans that were not kept, by reason.",
            ),
            dropped
                .chain(lost.by_reason())
                .map(|(reason, count)| ("error.type", reason, count)),
        ),
    );
    metrics.push(times.gauge(
        "gilscope.calls.in_flight",
        ("{call}", "Calls that have begun and not ended."),
        in_flight,
    ));
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.proto()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(encode::scope()),
                metrics,
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

fn name(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Call => "gilscope.call.duration",
        SpanKind::Enqueue => "gilscope.enqueue.duration",
        SpanKind::Queued => "gilscope.queued.duration",
        SpanKind::GilWait => "gilscope.gil.wait.duration",
        SpanKind::Ready => "gilscope.ready.duration",
        SpanKind::Poll => "gilscope.poll.duration",
        SpanKind::Suspended => "gilscope.suspended.duration",
        SpanKind::Callback => "gilscope.callback.duration",
        SpanKind::Task => "gilscope.task.duration",
        SpanKind::LoopTurn => "gilscope.gil.hold.duration",
    }
}

fn about(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Call => "From a call until its callback returned.",
        SpanKind::Enqueue => "From a call until the queue took it.",
        SpanKind::Queued => "In the queue, until the loop thread returned from its wait.",
        SpanKind::GilWait => "The loop thread waits for the GIL.",
        SpanKind::Ready => "From the GIL until the call's first poll.",
        SpanKind::Poll => "One step of a coroutine.",
        SpanKind::Suspended => "From a coroutine's yield until its next poll.",
        SpanKind::Callback => "From a ready outcome until it was delivered.",
        SpanKind::Task => "A task that was made inside a call.",
        SpanKind::LoopTurn => "The loop thread holds the GIL.",
    }
}

/// What every point says.
struct Times {
    start: u64,
    now: u64,
}

impl Times {
    fn histogram(&self, name: &str, about: &str, values: &Histogram) -> Metric {
        // The largest whole number of nanoseconds in the bucket: a bound belongs to what is below.
        let bound = |power: u32| ((1u64 << power) - 1) as f64 * 1e-9;
        let point = HistogramDataPoint {
            start_time_unix_nano: self.start,
            time_unix_nano: self.now,
            count: values.count(),
            sum: Some(values.sum() as f64 * 1e-9),
            max: (values.count() != 0).then(|| values.max() as f64 * 1e-9),
            bucket_counts: values.by_power(FIRST, LAST),
            explicit_bounds: (FIRST..=LAST).map(bound).collect(),
            ..Default::default()
        };
        let data = Data::Histogram(ProtoHistogram {
            data_points: vec![point],
            aggregation_temporality: CUMULATIVE,
        });
        metric(name, ("s", about), data)
    }

    fn counter<'a>(
        &self,
        name: &str,
        what: (&str, &str),
        counts: impl Iterator<Item = (&'a str, &'a str, u64)>,
    ) -> Metric {
        let point = |(key, value, count): (&str, &str, u64)| {
            let attribute = pair(key, Value::StringValue(value.to_owned()));
            self.number(count, vec![attribute])
        };
        let data = Data::Sum(Sum {
            data_points: counts.map(point).collect(),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        });
        metric(name, what, data)
    }

    fn gauge(&self, name: &str, what: (&str, &str), value: usize) -> Metric {
        let data_points = vec![self.number(value as u64, Vec::new())];
        metric(name, what, Data::Gauge(Gauge { data_points }))
    }

    fn number(&self, value: u64, attributes: Vec<KeyValue>) -> NumberDataPoint {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        NumberDataPoint {
            attributes,
            start_time_unix_nano: self.start,
            time_unix_nano: self.now,
            value: Some(number_data_point::Value::AsInt(value)),
            ..Default::default()
        }
    }
}

fn metric(name: &str, (unit, about): (&str, &str), data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        description: about.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Default::default()
    }
}
