//! What is written is what the protocol's own code reads, and writes.

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Proto;
use opentelemetry_proto::tonic::trace::v1::Span as ProtoSpan;
use prost::Message;

use super::*;
use crate::notes::Event;
use crate::span::{ThreadInfo, WokenBy};
use crate::trace::TraceContext;
use crate::{Flags, define, intern};

/// A span of that kind with nothing in it.
pub(in crate::otlp) fn sample(kind: SpanKind, id: u64) -> Span {
    let thread = ThreadInfo {
        name: "loop".into(),
        tid: 4711,
        ident: 1 << 40,
        runtime: 0,
    };
    Span {
        id,
        trace: [1, 2],
        call: 1,
        start: 1,
        end: 2,
        trace_flags: 1,
        ..Span::plain(kind, Arc::new(thread))
    }
}

/// As the protocol's own code reads it, which writes the same bytes.
fn read(span: &Span) -> ProtoSpan {
    let mut wire = Wire::default();
    super::span(&mut wire, span);
    let read = ProtoSpan::decode(&wire.0[..]).expect("a span");
    assert!(read.encode_to_vec() == wire.0, "{read:?}");
    read
}

fn text(text: &str) -> Proto {
    Proto::StringValue(text.into())
}

fn pairs(attributes: &[KeyValue]) -> Vec<(&str, Proto)> {
    let pair = |pair: &KeyValue| pair.value.clone().and_then(|it| it.value);
    let values = attributes.iter().map(pair).map(|it| it.expect("a value"));
    attributes
        .iter()
        .map(|pair| pair.key.as_str())
        .zip(values)
        .collect()
}

#[test]
fn a_part_has_ids_and_times_and_what_is_its_alone() {
    let span = Span {
        parent: 3,
        ..sample(SpanKind::GilWait, u64::MAX)
    };
    let found = read(&span);
    assert_eq!(found.trace_id, (1u128 << 64 | 2).to_be_bytes());
    assert_eq!(found.span_id, [255; 8]);
    assert_eq!(found.parent_span_id, 3u64.to_be_bytes());
    assert_eq!((found.name.as_str(), found.kind), ("gil.wait", 1));
    assert_eq!(found.start_time_unix_nano, clock::unix_ns(1));
    assert_eq!(found.end_time_unix_nano, clock::unix_ns(2));
    assert_eq!(found.flags, 0x101);
    assert_eq!(found.status, None);
    let wanted = [("gilscope.span", text("gil.wait"))];
    assert_eq!(pairs(&found.attributes), wanted);
}

#[test]
fn what_is_no_part_has_its_runtime_and_thread() {
    use SpanKind::{Call, LoopTurn, RustPoll, Task};

    let wanted = [
        ("gilscope.runtime", Proto::IntValue(0)),
        ("thread.name", text("loop")),
        ("thread.id", Proto::IntValue(1 << 40)),
    ];
    for kind in SpanKind::ALL {
        let found = read(&sample(kind, 5));
        let has = pairs(&found.attributes)[1..].starts_with(&wanted);
        assert_eq!(
            has,
            [Call, Task, RustPoll, LoopTurn].contains(&kind),
            "{kind:?}"
        );
    }
}

#[test]
fn every_kind_is_read_back() {
    for kind in SpanKind::ALL {
        let span = Span {
            poll: 300,
            turn: 9,
            at: intern("a.py:1 in f"),
            cpu_ns: u64::MAX,
            woken_by: Some(woken_by(8, true)),
            ..sample(kind, 5)
        };
        let found = read(&span);
        assert!(found.parent_span_id.is_empty());
        let links = usize::from(kind == SpanKind::Poll) + 1;
        assert_eq!(found.links.len(), links, "{kind:?}");
        let has_cpu = [SpanKind::Poll, SpanKind::LoopTurn].contains(&kind);
        let cpu = ("gilscope.cpu_ns", Proto::IntValue(i64::MAX));
        assert_eq!(pairs(&found.attributes).contains(&cpu), has_cpu, "{kind:?}");
    }
}

/// The poll with this id, of another trace.
pub(in crate::otlp) fn woken_by(span: u64, sampled: bool) -> WokenBy {
    WokenBy {
        span,
        trace: [6, 7],
        sampled,
    }
}

#[test]
fn a_link_leads_to_who_woke_it_only_where_that_is_exported() {
    let links = |sampled| {
        let span = Span {
            woken_by: Some(woken_by(8, sampled)),
            ..sample(SpanKind::Poll, 5)
        };
        read(&span).links
    };
    assert_eq!(links(false), []);
    let [link] = &links(true)[..] else {
        panic!("not one link");
    };
    assert_eq!(link.trace_id, (6u128 << 64 | 7).to_be_bytes());
    assert_eq!(link.span_id, 8u64.to_be_bytes());
    assert_eq!(pairs(&link.attributes), [("gilscope.link", text("wake"))]);
}

#[test]
fn what_was_suspended_says_for_how_long_it_was_awake() {
    let wakes = [(0, None), (400, Some(600)), (1_000, Some(0))];
    for (wake, ticks) in wakes {
        let span = Span {
            start: 300,
            end: 1_000,
            wake,
            ..sample(SpanKind::Suspended, 5)
        };
        let found = read(&span);
        let waited = pairs(&found.attributes)
            .into_iter()
            .find_map(|(key, value)| (key == "gilscope.wake_to_poll_ns").then_some(value));
        let ns = |ticks: u64| clock::unix_ns(1_000) - clock::unix_ns(1_000 - ticks);
        assert_eq!(waited, ticks.map(|ticks| Proto::IntValue(ns(ticks) as i64)));
    }
}

#[test]
fn a_call_that_failed_says_how() {
    let name = intern("encode::tests::fails");
    define(name, "/a/b.py", 12);
    let span = Span {
        name,
        poll: 2,
        status: Status::Error,
        flags: Flags::DETACHED,
        error: Some(Arc::new(ErrorText {
            type_name: "ValueError".into(),
            message: "no".repeat(100),
            stack: "x\n".repeat(10_000),
        })),
        ..sample(SpanKind::Call, 5)
    };
    let found = read(&span);
    assert_eq!(found.name, "encode::tests::fails");
    let status = found.status.expect("a status");
    assert_eq!((status.code, status.message), (2, "no".repeat(100)));
    let wanted = [
        ("code.function.name", text("encode::tests::fails")),
        ("code.file.path", text("/a/b.py")),
        ("code.line.number", Proto::IntValue(12)),
        ("gilscope.status", text("error")),
        ("gilscope.polls", Proto::IntValue(2)),
        ("gilscope.detached", Proto::BoolValue(true)),
        ("error.type", text("ValueError")),
    ];
    assert_eq!(pairs(&found.attributes)[4..], wanted);
    let event = &found.events[0];
    assert_eq!(event.name, "exception");
    assert_eq!(event.time_unix_nano, found.end_time_unix_nano);
    let wanted = [
        ("exception.type", text("ValueError")),
        ("exception.message", text(&"no".repeat(100))),
        ("exception.stacktrace", text(&"x\n".repeat(10_000))),
    ];
    assert_eq!(pairs(&event.attributes), wanted);
}

#[test]
fn what_user_code_said_goes_before_what_is_recorded() {
    let list = Value::List(vec![Value::Int(-1), Value::Int(0)]);
    let mut notes = Notes::new(Some("a=b".into()));
    notes.rename("another");
    notes.set("gilscope.status", Value::Text(String::new()));
    notes.set("float", Value::Float(0.5));
    notes.set("list", list);
    notes.set("bool", Value::Bool(false));
    notes.refuse();
    notes.event(Event {
        name: "came".into(),
        time_ns: 77,
        attributes: vec![("int".into(), Value::Int(-5))],
    });
    let context = TraceContext {
        trace: [3, 4],
        span: 5,
        flags: 3,
        remote: true,
        state: Some("c=d".into()),
    };
    notes.link(context, Vec::new());
    notes.judge(Verdict::Error("bad".into()));
    let span = Span {
        notes: Some(Arc::new(notes)),
        ..sample(SpanKind::Call, 5)
    };
    let found = read(&span);
    assert_eq!(
        (found.name.as_str(), found.trace_state.as_str()),
        ("another", "a=b")
    );
    let all = pairs(&found.attributes);
    let keys: Vec<_> = all.iter().map(|(key, _)| *key).collect();
    let said = ["gilscope.status", "float", "list", "bool"];
    assert_eq!(
        keys.iter().filter(|key| **key == "gilscope.status").count(),
        1
    );
    assert_eq!(keys[keys.len() - 4..], said);
    assert_eq!(all[all.len() - 4].1, text(""));
    assert_eq!(all[all.len() - 3].1, Proto::DoubleValue(0.5));
    let Proto::ArrayValue(list) = &all[all.len() - 2].1 else {
        panic!("no list: {all:?}");
    };
    let values: Vec<_> = list.values.iter().map(|it| it.value.clone()).collect();
    assert_eq!(
        values,
        [Some(Proto::IntValue(-1)), Some(Proto::IntValue(0))]
    );
    assert_eq!(found.dropped_attributes_count, 1);
    let event = &found.events[0];
    assert_eq!((event.name.as_str(), event.time_unix_nano), ("came", 77));
    assert_eq!(pairs(&event.attributes), [("int", Proto::IntValue(-5))]);
    let link = &found.links[0];
    assert_eq!((link.flags, link.trace_state.as_str()), (0x303, "c=d"));
    assert_eq!(link.span_id, 5u64.to_be_bytes());
    let status = found.status.expect("a status");
    assert_eq!((status.code, status.message.as_str()), (2, "bad"));
}
