//! What user code says of its call's span: attributes, events, links, a status, another name; and of a task how
//! it is called.
//!
//! Invariant: bounded by OpenTelemetry's limits for spans; what is beyond them is counted.

use std::sync::Arc;

use crate::error::{cut, redact};
use crate::trace::TraceContext;

/// Most attributes, events and links, each; OpenTelemetry's default limits.
const MOST: usize = 128;
/// Longest text in bytes.
pub const LONGEST: usize = 4096;

/// The attribute of a task that has the name which user code gave it.
pub const TASK_NAME: &str = "gilscope.task.name";

/// The value of an attribute.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Several, of one kind.
    List(Vec<Value>),
}

/// Attributes by key; each key once.
pub type Attributes = Vec<(String, Value)>;

/// Something that happened in a call.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// More about it.
    pub attributes: Attributes,
}

/// What user code made of its span's status.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// It went well, whatever it looks like.
    Ok,
    /// It failed, though it raised nothing.
    Error(String),
}

/// See the module's text.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Notes {
    name: Option<String>,
    attributes: Attributes,
    events: Vec<Event>,
    links: Vec<(TraceContext, Attributes)>,
    verdict: Option<Verdict>,
    state: Option<Arc<str>>,
    dropped: [u32; 3],
}

impl Notes {
    /// Notes of a call whose trace has this tracestate.
    pub fn new(state: Option<Arc<str>>) -> Notes {
        Notes {
            state,
            ..Notes::default()
        }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        *self == Notes::default()
    }

    /// Another name for the span.
    pub fn rename(&mut self, name: &str) {
        self.name = Some(cut(name, LONGEST));
    }

    /// Sets an attribute; a later one wins.
    pub fn set(&mut self, key: &str, value: Value) {
        let room = self.attributes.len() < MOST;
        match self.attributes.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known = shortened(value),
            None if room => self.attributes.push((key.to_owned(), shortened(value))),
            None => self.dropped[0] += 1,
        }
    }

    /// Counts an attribute whose value is none.
    pub fn refuse(&mut self) {
        self.dropped[0] += 1;
    }

    /// Adds an event.
    pub fn event(&mut self, mut event: Event) {
        if self.events.len() == MOST {
            self.dropped[1] += 1;
            return;
        }
        event.name = cut(&event.name, LONGEST);
        event.attributes = bounded(event.attributes);
        self.events.push(event);
    }

    /// Adds a link to another span.
    pub fn link(&mut self, to: TraceContext, attributes: Attributes) {
        if self.links.len() == MOST {
            self.dropped[2] += 1;
            return;
        }
        self.links.push((to, bounded(attributes)));
    }

    /// Says how it went, without the text where `GILSCOPE_REDACT` is set. As OpenTelemetry has it, `Ok` is
    /// final.
    pub fn judge(&mut self, verdict: Verdict) {
        if self.verdict != Some(Verdict::Ok) {
            self.verdict = Some(match verdict {
                Verdict::Ok => Verdict::Ok,
                // OpenTelemetry's own helpers put the exception's message there.
                Verdict::Error(_) if redact() => Verdict::Error(String::new()),
                Verdict::Error(text) => Verdict::Error(cut(&text, LONGEST)),
            });
        }
    }

    /// The other name, if it got one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The attributes.
    pub fn attributes(&self) -> &[(String, Value)] {
        &self.attributes
    }

    /// The events, in their order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The links.
    pub fn links(&self) -> &[(TraceContext, Attributes)] {
        &self.links
    }

    /// How it went, if user code said.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// The tracestate of its trace.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// How many attributes, events and links were one too many.
    pub fn dropped(&self) -> [u32; 3] {
        self.dropped
    }
}

fn bounded(mut attributes: Attributes) -> Attributes {
    attributes.truncate(MOST);
    let short = |(key, value)| (key, shortened(value));
    attributes.into_iter().map(short).collect()
}

fn shortened(value: Value) -> Value {
    match value {
        Value::Text(text) if text.len() > LONGEST => Value::Text(cut(&text, LONGEST)),
        Value::List(mut values) => {
            values.truncate(MOST);
            Value::List(values.into_iter().map(shortened).collect())
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_set_once_and_the_last_value_wins() {
        let mut notes = Notes::default();
        assert!(notes.is_empty());
        notes.set("a", Value::Int(1));
        notes.set("a", Value::Int(2));
        assert_eq!(notes.attributes(), [("a".to_owned(), Value::Int(2))]);
    }

    #[test]
    fn what_is_beyond_the_limits_is_counted() {
        let mut notes = Notes::default();
        for number in 0..MOST + 2 {
            notes.set(&number.to_string(), Value::Bool(true));
            notes.event(Event {
                name: String::new(),
                time_ns: 0,
                attributes: Attributes::new(),
            });
            notes.link(TraceContext::default(), Attributes::new());
        }
        assert_eq!(notes.attributes().len(), MOST);
        assert_eq!((notes.events().len(), notes.links().len()), (MOST, MOST));
        assert_eq!(notes.dropped(), [2, 2, 2]);
        notes.set("0", Value::Text("x".repeat(LONGEST + 1)));
        let long = Value::Text("x".repeat(LONGEST));
        assert_eq!(notes.attributes()[0].1, long);
    }

    #[test]
    fn ok_is_final() {
        let mut notes = Notes::default();
        notes.judge(Verdict::Error("no".into()));
        notes.judge(Verdict::Ok);
        notes.judge(Verdict::Error("again".into()));
        assert_eq!(notes.verdict(), Some(&Verdict::Ok));
    }
}
