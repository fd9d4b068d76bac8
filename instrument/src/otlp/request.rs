//! A request with as many spans as a collector takes at once.
//!
//! Invariant: its bytes, before they are compressed, are at most `MOST`, unless a single span has more;
//! spans are sent in their order, each in one request.

use bytes::{BufMut, Bytes};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::encode;
use super::resource::Resource;
use crate::span::Span;

/// A collector takes 4 MiB by gRPC, unless it is told otherwise: what is around the spans needs room.
const MOST: usize = 3_500_000;

/// Field numbers of OTLP: a request's `resource_spans`, their `scope_spans`, the spans of these.
const RESOURCE_SPANS: u32 = 1;
const SCOPE_SPANS: u32 = 2;
const SPANS: u32 = 2;

/// A request with the first of these spans, encoded, and how many of them are in it.
pub(super) fn request(resource: &Resource, spans: &[Span]) -> (Bytes, usize) {
    let (spans, taken) = first(spans, MOST);
    let scope = ScopeSpans {
        scope: Some(encode::scope()),
        ..Default::default()
    };
    let resource = ResourceSpans {
        resource: Some(resource.proto()),
        ..Default::default()
    };
    // A message is its fields one after the other, so that what is encoded apart can be joined.
    let scope = [scope.encode_to_vec(), spans].concat();
    let mut body = Vec::with_capacity(scope.len() + 1024);
    let around = resource.encoded_len() + field_len(SCOPE_SPANS, scope.len());
    open(&mut body, RESOURCE_SPANS, around);
    body.put_slice(&resource.encode_to_vec());
    open(&mut body, SCOPE_SPANS, scope.len());
    body.put_slice(&scope);
    (body.into(), taken)
}

/// The first spans, as many as have room in `most` bytes, and at least one; how many they are.
fn first(spans: &[Span], most: usize) -> (Vec<u8>, usize) {
    let mut bytes = Vec::with_capacity((spans.len() * 256).min(most));
    for (index, span) in spans.iter().enumerate() {
        let span = encode::span(span);
        let len = span.encoded_len();
        if index > 0 && bytes.len() + field_len(SPANS, len) > most {
            return (bytes, index);
        }
        open(&mut bytes, SPANS, len);
        // Writing to a vector cannot fail.
        let _ = span.encode(&mut bytes);
    }
    (bytes, spans.len())
}

/// What comes before a message of `len` bytes.
fn open(out: &mut Vec<u8>, field: u32, len: usize) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

/// How long a message of `len` bytes is, with what comes before it.
fn field_len(field: u32, len: usize) -> usize {
    key_len(field) + encoded_len_varint(len as u64) + len
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    use super::*;
    use crate::span::{SpanKind, ThreadInfo};
    use crate::{Flags, Name, Status};

    fn span(id: u64, name: &str) -> Span {
        let thread = ThreadInfo {
            name: name.into(),
            tid: 1,
            runtime: 0,
        };
        Span {
            kind: SpanKind::Ready,
            runtime: 0,
            id,
            parent: 0,
            trace: [1, 2],
            call: 1,
            name: Name(0),
            start: 1,
            end: 2,
            at: Name(0),
            poll: 0,
            wake: 0,
            status: Status::Ok,
            flags: Flags::default(),
            cpu_ns: 0,
            error: None,
            notes: None,
            trace_flags: 1,
            woken_by: None,
            thread: Arc::new(thread),
            turn: 0,
            totals: None,
        }
    }

    /// The numbers of spans in each request, all of which hold them in their order.
    fn requests(mut spans: &[Span]) -> Vec<usize> {
        let mut counts = Vec::new();
        while !spans.is_empty() {
            let (body, taken) = request(&Resource::none(), spans);
            let (now, later) = spans.split_at(taken);
            assert!(taken == 1 || body.len() <= 4 << 20, "{} bytes", body.len());
            let decoded = ExportTraceServiceRequest::decode(body).expect("a request");
            let scope = &decoded.resource_spans[0].scope_spans[0];
            assert_eq!(scope.scope, Some(encode::scope()));
            let wanted: Vec<_> = now.iter().map(encode::span).collect();
            assert!(scope.spans == wanted);
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
