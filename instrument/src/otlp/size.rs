//! How much memory a span holds on to while it waits.
//!
//! Invariant: all that grows with what user code says is counted; what spans share, names and threads, is
//! not, nor what the allocator adds.

use crate::error::ErrorText;
use crate::notes::{Event, Notes, Value, Verdict};
use crate::span::Span;
use crate::trace::TraceContext;

/// In bytes.
pub(super) fn of(span: &Span) -> usize {
    let notes = span.notes.as_deref().map_or(0, notes);
    let error = span.error.as_deref().map_or(0, error);
    size_of::<Span>() + notes + error
}

fn error(error: &ErrorText) -> usize {
    let texts = [&error.type_name, &error.message, &error.stack];
    size_of::<ErrorText>() + texts.into_iter().map(String::len).sum::<usize>()
}

fn notes(notes: &Notes) -> usize {
    let said = match notes.verdict() {
        Some(Verdict::Error(text)) => Some(text.as_str()),
        _ => None,
    };
    let texts = [notes.name(), notes.state(), said].into_iter().flatten();
    let events = notes.events().iter().map(event);
    let links = notes.links().iter().map(|(to, pairs)| {
        let state = to.state.as_deref().map_or(0, str::len);
        size_of::<TraceContext>() + state + attributes(pairs)
    });
    let texts = texts.map(str::len).sum::<usize>();
    size_of::<Notes>()
        + texts
        + attributes(notes.attributes())
        + events.sum::<usize>()
        + links.sum::<usize>()
}

fn event(event: &Event) -> usize {
    size_of::<Event>() + event.name.len() + attributes(&event.attributes)
}

fn attributes(pairs: &[(String, Value)]) -> usize {
    let size =
        |(key, value): &(String, Value)| size_of::<String>() + key.len() + self::value(value);
    pairs.iter().map(size).sum()
}

fn value(given: &Value) -> usize {
    let more = match given {
        Value::Text(text) => text.len(),
        Value::List(values) => values.iter().map(value).sum(),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
    };
    size_of::<Value>() + more
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::otlp::encode::tests::sample;
    use crate::span::SpanKind;

    const LONG: usize = 1000;

    fn long() -> String {
        "x".repeat(LONG)
    }

    fn with(say: impl FnOnce(&mut Notes)) -> Span {
        let mut notes = Notes::default();
        say(&mut notes);
        Span {
            notes: Some(Arc::new(notes)),
            ..sample(SpanKind::Call, 1)
        }
    }

    #[test]
    fn every_text_of_user_code_is_counted() {
        let pair = || vec![(long(), Value::Text(long()))];
        let state: Arc<str> = "x".repeat(500).into();
        let error = ErrorText {
            type_name: long(),
            message: long(),
            stack: long(),
        };
        let failed = Span {
            error: Some(Arc::new(error)),
            ..sample(SpanKind::Call, 1)
        };
        let event = Event {
            name: long(),
            time_ns: 0,
            attributes: pair(),
        };
        let to = TraceContext::default().with_state(&state);
        let several = Value::List(vec![Value::Text(long()), Value::Text(long())]);
        for (texts, span) in [
            (3 * LONG, failed),
            (LONG, with(|notes| notes.rename(&long()))),
            (
                2 * LONG,
                with(|notes| notes.set(&long(), Value::Text(long()))),
            ),
            (2 * LONG, with(|notes| notes.set("", several))),
            (3 * LONG, with(|notes| notes.event(event))),
            (500 + 2 * LONG, with(|notes| notes.link(to, pair()))),
            (LONG, with(|notes| notes.judge(Verdict::Error(long())))),
            (500, with(|notes| *notes = Notes::new(Some(state)))),
        ] {
            let more = of(&span) - of(&sample(SpanKind::Call, 1));
            assert!(
                (texts..texts + 500).contains(&more),
                "{more} for {texts}: {span:?}"
            );
        }
    }
}
