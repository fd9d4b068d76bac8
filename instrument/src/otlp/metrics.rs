//! What is counted, as OTLP has it: `gilscope.…`, by the units of the semantic conventions.
//!
//! Invariant: all is cumulative since the start, or the last `reset_stats`, which every request says.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram as ProtoHistogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
};

use super::lost::Lost;
use super::names::{self, Number};
use super::resource::{Resource, pair, scope};
use crate::clock;
use crate::gauges::Gauges;
use crate::histogram::Histogram;
use crate::span::SpanKind;
use crate::stats::Meters;
use crate::status::Status;

/// Bounds of buckets are powers of two, in nanoseconds, from 1 µs to 69 s: those of our own histograms.
const FIRST: u32 = 10;
const LAST: u32 = 36;
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// A request with all of it.
pub(super) fn request(
    resource: &Resource,
    meters: &Meters,
    lost: &Lost,
    now: &Gauges,
) -> ExportMetricsServiceRequest {
    let times = Times {
        start: clock::unix_ns(meters.since),
        now: clock::unix_ns(clock::now()),
    };
    let parts = SpanKind::ALL.into_iter();
    let parts =
        parts.map(|kind| times.histogram(names::duration(kind), &meters.parts[kind as usize]));
    let mut metrics: Vec<_> = parts.collect();
    metrics.push(times.histogram(names::WAKE, &meters.woken));
    metrics.push(times.histogram(names::LOOP_GIL_WAIT, &meters.gil_wait));
    let ends = Status::ALL.into_iter().zip(meters.by_status);
    let ends = ends.filter(|(_, count)| *count != 0);
    let ends = ends.map(|(status, count)| (names::STATUS.key, status.as_str(), count));
    metrics.push(times.counter(names::ENDED, ends));
    let dropped = meters
        .dropped
        .by_reason()
        .into_iter()
        .chain(lost.by_reason());
    let dropped = dropped.map(|(reason, count)| (names::ERROR.key, reason, count));
    metrics.push(times.counter(names::DROPPED, dropped));
    for (name, value) in [
        (names::IN_FLIGHT, now.in_flight),
        (names::QUEUED, now.queue_depth),
        (names::GIL_WAITERS, now.gil_waiters),
    ] {
        metrics.push(times.gauge(name, value));
    }
    let found = meters.findings.iter();
    let found = found.map(|(problem, count)| (names::FINDING, problem.id(), *count));
    metrics.push(times.counter(names::FINDINGS, found));
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.proto()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics,
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

/// What every point says.
struct Times {
    start: u64,
    now: u64,
}

impl Times {
    fn histogram(&self, (name, about): (&str, &str), values: &Histogram) -> Metric {
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
        metric((name, "s", about), data)
    }

    fn counter<'a>(
        &self,
        what: Number,
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
        metric(what, data)
    }

    fn gauge(&self, what: Number, value: u64) -> Metric {
        let data_points = vec![self.number(value, Vec::new())];
        metric(what, Data::Gauge(Gauge { data_points }))
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

fn metric((name, unit, about): (&str, &str, &str), data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        description: about.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Default::default()
    }
}
