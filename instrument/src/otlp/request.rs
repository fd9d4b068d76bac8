//! A request with as many spans as a collector takes at once.
//!
//! Invariant: its bytes, before they are compressed, are at most `MOST`, unless a single span has more;
//! spans are sent in their order, each in one request.

use bytes::Bytes;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message;

use super::encode;
use super::resource::{Resource, scope};
use super::wire::Wire;
use crate::span::Span;

/// A collector takes 4 MiB by gRPC, unless it is told otherwise: what is around the spans needs room.
const MOST: usize = 3_500_000;

/// After so many spans, some 50 µs, the processor goes to whoever waits for it: a thread that was woken
/// to make or to serve a call would have to wait until the scheduler takes it, which is milliseconds.
const AT_ONCE: usize = 256;

/// Most that the keys and lengths of two messages take.
const HEADS: usize = 2 * (1 + 10);

/// Field numbers of OTLP: a request's `resource_spans`, their `scope_spans`, the spans of these.
const RESOURCE_SPANS: u32 = 1;
const SCOPE_SPANS: u32 = 2;
const SPANS: u32 = 2;

/// A request with the first of these spans, encoded, and how many of them are in it.
pub(super) fn request(resource: &Resource, spans: &[Span]) -> (Bytes, usize) {
    let scope = ScopeSpans {
        scope: Some(scope()),
        ..Default::default()
    };
    let resource = ResourceSpans {
        resource: Some(resource.proto()),
        ..Default::default()
    };
    let (resource, scope) = (resource.encode_to_vec(), scope.encode_to_vec());
    // The spans first: what is before them has their length in it, and they are too many to be moved.
    let room = resource.len() + scope.len() + HEADS;
    let mut body = Wire(Vec::with_capacity(room + (spans.len() * 300).min(MOST)));
    body.0.resize(room, 0);
    let taken = first(&mut body, spans);
    let spans = body.0.len() - room;
    let head = head(&resource, &scope, spans);
    let start = room - head.len();
    body.0[start..room].copy_from_slice(&head);
    (Bytes::from(body.0).slice(start..), taken)
}

/// What is before so many bytes of spans. A message is its fields one after the other, so that what is
/// encoded apart can be joined.
fn head(resource: &[u8], scope: &[u8], spans: usize) -> Vec<u8> {
    let mut inner = Wire::default();
    inner.head(SCOPE_SPANS, scope.len() + spans);
    inner.0.extend_from_slice(scope);
    let mut head = Wire::default();
    head.head(RESOURCE_SPANS, resource.len() + inner.0.len() + spans);
    head.0.extend_from_slice(resource);
    head.0.extend(inner.0);
    head.0
}

/// Writes the first spans, as many as have room, and at least one; how many they are.
fn first(body: &mut Wire, spans: &[Span]) -> usize {
    for (index, span) in spans.iter().enumerate() {
        let before = body.0.len();
        body.long(SPANS, |body| encode::span(body, span));
        if index > 0 && body.0.len() > MOST {
            body.0.truncate(before);
            return index;
        }
        if index % AT_ONCE == AT_ONCE - 1 {
            std::thread::yield_now();
        }
    }
    spans.len()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    use super::*;
    use crate::otlp::encode::tests::sample;
    use crate::span::SpanKind;

    fn span(id: u64, name: &str) -> Span {
        let mut span = sample(SpanKind::Call, id);
        Arc::make_mut(&mut span.thread).name = name.into();
        span
    }

    /// The numbers of spans in each request, all of which hold them in their order.
    fn requests(mut spans: &[Span]) -> Vec<usize> {
        let mut counts = Vec::new();
        while !spans.is_empty() {
            let (body, taken) = request(&Resource::none(), spans);
            let (now, later) = spans.split_at(taken);
            assert!(taken == 1 || body.len() <= 4 << 20, "{} bytes", body.len());
            let decoded = ExportTraceServiceRequest::decode(body).expect("a request");
            let found = &decoded.resource_spans[0].scope_spans[0];
            assert_eq!(found.scope, Some(scope()));
            let ids: Vec<_> = found.spans.iter().map(|span| &span.span_id[..]).collect();
            let wanted: Vec<_> = now.iter().map(|span| span.id.to_be_bytes()).collect();
            assert_eq!(ids, wanted);
            counts.push(taken);
            spans = later;
        }
        counts
    }

    #[test]
    fn requests_are_bounded_by_bytes() {
        let long = "x".repeat(500_000);
        let spans: Vec<Span> = (1..=20).map(|id| span(id, &long)).collect();
        assert_eq!(requests(&spans), [6, 6, 6, 2]);
    }

    #[test]
    fn a_span_that_is_longer_than_a_request_has_one_of_its_own() {
        let (short, long) = ("x", "x".repeat(5_000_000));
        let spans = [
            span(1, short),
            span(2, &long),
            span(3, &long),
            span(4, short),
        ];
        assert_eq!(requests(&spans), [1, 1, 1, 1]);
    }
}
