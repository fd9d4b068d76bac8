//! What is sent is what the manual lists.

use std::collections::BTreeSet;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span as ProtoSpan;
use prost::Message as _;

use super::lost::Lost;
use super::resource::Resource;
use super::wire::Wire;
use super::{encode, metrics};
use crate::error::ErrorText;
use crate::span::{Span, SpanKind};
use crate::status::{Flags, Status};
use crate::{clock, define, intern, stats};

const PAGE: &str = include_str!("../../../docs/opentelemetry.md");

/// Nothing of the list is missing in the page, and it is no empty list.
fn listed(what: &str, names: &BTreeSet<String>) {
    assert!(!names.is_empty(), "no {what}");
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !PAGE.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/opentelemetry.md lacks {what} {missing:?}"
    );
}

fn keys(attributes: &[KeyValue]) -> impl Iterator<Item = String> + '_ {
    attributes.iter().map(|pair| pair.key.clone())
}

/// A span of that kind with all that a span may have.
fn full(kind: SpanKind) -> ProtoSpan {
    let name = intern("page.full");
    define(name, "page.py", 7);
    let error = ErrorText {
        type_name: "ValueError".into(),
        message: "no".into(),
        stack: "line".into(),
    };
    let span = Span {
        name,
        at: name,
        poll: 2,
        turn: 5,
        wake: 1,
        totals: Some([1; 7]),
        status: Status::Error,
        flags: Flags(u16::MAX),
        error: Some(Arc::new(error)),
        woken_by: Some(encode::tests::woken_by(7, true)),
        ..encode::tests::sample(kind, 1)
    };
    let mut wire = Wire::default();
    encode::span(&mut wire, &span);
    ProtoSpan::decode(&wire.0[..]).expect("a span")
}

#[test]
fn every_attribute_event_and_link_of_a_span_is_in_the_manual() {
    let spans = SpanKind::ALL.map(full);
    let of_spans = spans.iter().flat_map(|span| keys(&span.attributes));
    listed("attribute", &of_spans.collect());
    let events = || spans.iter().flat_map(|span| &span.events);
    listed("event", &events().map(|event| event.name.clone()).collect());
    let of_events = events().flat_map(|event| keys(&event.attributes));
    listed("attribute of an event", &of_events.collect());
    let links = || spans.iter().flat_map(|span| &span.links);
    let of_links = links().flat_map(|link| keys(&link.attributes));
    listed("attribute of a link", &of_links.collect());
    assert_eq!(
        links().count(),
        SpanKind::ALL.len() + 1,
        "wakes, and a turn"
    );
}

#[test]
fn every_metric_and_its_unit_and_attributes_are_in_the_manual() {
    let mut meters = stats::meters();
    meters.since = clock::now();
    meters.by_status = [1; Status::ALL.len()];
    let request = metrics::request(
        &Resource::none(),
        &meters,
        &Lost::default(),
        &Default::default(),
    );
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    let rows = metrics.iter().map(|it| {
        let kind = match it.data {
            Some(Data::Histogram(_)) => "histogram",
            Some(Data::Sum(_)) => "counter",
            _ => "gauge",
        };
        format!(
            "| `{}` | {kind} | `{}` | {} |",
            it.name, it.unit, it.description
        )
    });
    let missing: Vec<_> = rows.filter(|row| !PAGE.contains(row)).collect();
    assert!(
        missing.is_empty(),
        "docs/opentelemetry.md lacks {missing:?}"
    );
    let counters = metrics.iter().filter_map(|it| match &it.data {
        Some(Data::Sum(sum)) => Some(&sum.data_points),
        _ => None,
    });
    let attributes = counters.flatten().flat_map(|point| keys(&point.attributes));
    listed("attribute of a metric", &attributes.collect());
}

#[test]
fn every_attribute_of_the_resource_is_in_the_manual() {
    let nothing = |_: &str| None;
    let resource = Resource::from(&super::settings::Env(&nothing)).expect("nothing is wrong");
    listed(
        "attribute of the resource",
        &keys(&resource.proto().attributes).collect(),
    );
}
