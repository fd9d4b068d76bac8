//! `CallSpan`: the span of a call as OpenTelemetry's `Span`, current inside the coroutine.
//!
//! Invariant: what is said of it before the call ends lands on the call's span, what comes after lands
//! nowhere; it never ends the span, which the call does.

use std::sync::{Mutex, PoisonError};

use gilscope_instrument::notes::{self, Attributes, Event, Notes, Value, Verdict};
use gilscope_instrument::{ErrorText, TraceContext};
use pyo3::prelude::*;

use super::{otel, values};
use crate::life::park::ParkOnExit;
use crate::python::text::Lossy;

/// The span of a call. Not made by users: it is what `opentelemetry.trace.get_current_span()` returns
/// inside of one.
#[pyclass(frozen, weakref, module = "gilscope._native")]
pub(crate) struct CallSpan {
    context: TraceContext,
    /// Of a later call of a stream: the span of the call that opened it; else 0.
    opened_by: u64,
    /// `None` once the call has ended, and where nothing is recorded.
    notes: Mutex<Option<Notes>>,
}

impl CallSpan {
    /// `exported`: it is the call's own span, and not its caller's.
    pub(super) fn new(context: TraceContext, exported: bool) -> Self {
        let recorded = exported && context.is_sampled();
        let notes = recorded.then(|| Notes::new(context.state.clone()));
        CallSpan {
            notes: Mutex::new(notes),
            context,
            opened_by: 0,
        }
    }

    /// As [`new`](Self::new), of a later call of the stream that the call with the span `opened_by` opened.
    pub(super) fn of_stream(context: TraceContext, opened_by: u64) -> Self {
        CallSpan {
            opened_by,
            ..CallSpan::new(context, true)
        }
    }

    /// Whether it is of a call of the stream that was opened by the call with this span.
    pub(super) fn is_of_stream(&self, opened_by: u64) -> bool {
        self.opened_by == opened_by || self.context.span == opened_by
    }

    pub(super) fn context(&self) -> &TraceContext {
        &self.context
    }

    /// The call has ended: what was said of its span, if anything.
    pub(crate) fn end(&self) -> Option<Notes> {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.take().filter(|notes| !notes.is_empty())
    }

    /// Never held across a call into Python.
    fn note(&self, say: impl FnOnce(&mut Notes)) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notes) = &mut *notes {
            say(notes);
        }
    }

    fn set_all(&self, attributes: Attributes) {
        self.note(|notes| {
            attributes
                .into_iter()
                .for_each(|(key, value)| notes.set(&key, value));
        });
    }
}

#[pymethods]
impl CallSpan {
    /// OpenTelemetry's `SpanContext` of the call.
    fn get_span_context<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let _parks = ParkOnExit::new();
        otel::span_context(py, &self.context)
    }

    /// Whether what is said of it is kept: it is exported, and the call has not ended.
    fn is_recording(&self) -> bool {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.is_some()
    }

    /// Sets an attribute: a bool, int, float or string, or a list of one kind of them.
    fn set_attribute(&self, key: Lossy, value: &Bound<'_, PyAny>) {
        let _parks = ParkOnExit::new();
        let value = values::value(value);
        self.note(|notes| match value {
            Some(value) => notes.set(&key.0, value),
            None => notes.refuse(),
        });
    }

    /// Sets several attributes.
    fn set_attributes(&self, attributes: &Bound<'_, PyAny>) -> PyResult<()> {
        let _parks = ParkOnExit::new();
        self.set_all(values::attributes(Some(attributes))?);
        Ok(())
    }

    /// Adds an event; `timestamp` is in nanoseconds since the epoch.
    #[pyo3(signature = (name, attributes=None, timestamp=None))]
    fn add_event(
        &self,
        name: Lossy,
        attributes: Option<&Bound<'_, PyAny>>,
        timestamp: Option<u64>,
    ) -> PyResult<()> {
        let _parks = ParkOnExit::new();
        let event = Event {
            name: name.0,
            time_ns: values::time_ns(timestamp),
            attributes: values::attributes(attributes)?,
        };
        self.note(|notes| notes.event(event));
        Ok(())
    }

    /// Adds a link to the span of a `SpanContext`.
    #[pyo3(signature = (context, attributes=None))]
    fn add_link(
        &self,
        context: &Bound<'_, PyAny>,
        attributes: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let _parks = ParkOnExit::new();
        let attributes = values::attributes(attributes)?;
        if let Some(to) = otel::of_span_context(context)? {
            self.note(|notes| notes.link(to, attributes));
        }
        Ok(())
    }

    /// Adds an `exception` event with type, message and stack; the type alone where `GILSCOPE_REDACT`
    /// is set. What a call raises is recorded without it.
    #[pyo3(signature = (exception, attributes=None, timestamp=None, escaped=false))]
    fn record_exception(
        &self,
        exception: &Bound<'_, PyAny>,
        attributes: Option<&Bound<'_, PyAny>>,
        timestamp: Option<u64>,
        escaped: bool,
    ) -> PyResult<()> {
        let _parks = ParkOnExit::new();
        let _ = escaped; // deprecated by OpenTelemetry, and of no meaning here
        let rendered = crate::python::text::render(exception, false);
        let stack = crate::python::stack::of(exception, notes::LONGEST);
        let text = ErrorText::new(&rendered.type_name, &rendered.message, &stack);
        let mut all = vec![("exception.type".to_owned(), Value::Text(text.type_name))];
        let more = [
            ("exception.message", text.message),
            ("exception.stacktrace", text.stack),
        ];
        let more = more.into_iter().filter(|(_, text)| !text.is_empty());
        all.extend(more.map(|(key, text)| (key.to_owned(), Value::Text(text))));
        all.extend(values::attributes(attributes)?);
        let event = Event {
            name: "exception".to_owned(),
            time_ns: values::time_ns(timestamp),
            attributes: all,
        };
        self.note(|notes| notes.event(event));
        Ok(())
    }

    /// Another name for the span.
    fn update_name(&self, name: Lossy) {
        self.note(|notes| notes.rename(&name.0));
    }

    /// Says how it went, by a `Status` or a `StatusCode`.
    #[pyo3(signature = (status, description=None))]
    fn set_status(&self, status: &Bound<'_, PyAny>, description: Option<Lossy>) -> PyResult<()> {
        let _parks = ParkOnExit::new();
        let (code, description) = match status.getattr("status_code") {
            Ok(code) => (code, status.getattr("description")?.extract()?),
            Err(_) => (status.clone(), description),
        };
        // As its enumeration numbers them: unset, ok, error.
        match code.getattr("value")?.extract::<u8>()? {
            1 => self.note(|notes| notes.judge(Verdict::Ok)),
            2 => self.note(|notes| {
                notes.judge(Verdict::Error(
                    description.map_or_else(String::new, |it| it.0),
                ));
            }),
            _ => {}
        }
        Ok(())
    }

    /// Nothing: the call ends its span.
    #[pyo3(name = "end", signature = (end_time=None))]
    fn ended(&self, end_time: Option<u64>) {
        let _ = end_time;
    }

    // No guard: itself.
    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// Nothing: the call ends its span, and records what it raises.
    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, _raised: &Bound<'_, PyAny>) {
        let _parks = ParkOnExit::new();
    }

    fn __repr__(&self) -> String {
        format!("<CallSpan {}>", self.context.traceparent())
    }
}
