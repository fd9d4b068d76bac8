//! The polls of a Rust future that Python awaits, by what a sink gets.
//!
//! Invariant: alone in its process, for statistics and sinks are the process' own.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use gilscope_instrument::{Span, SpanKind, attach_sink, clock, detach_sink, sink};
use gilscope_runtime::{PyFun, PyHandle, into_py_future, py_runtime};
use pyo3::prelude::*;
use pyo3::types::PyModule;

/// A moment in the last poll.
static SEEN: AtomicU64 = AtomicU64::new(0);

/// Ready, or panics, at its last poll.
struct Needs {
    polls: u32,
    panics: bool,
}

impl Future for Needs {
    type Output = PyResult<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<PyResult<()>> {
        self.polls -= 1;
        SEEN.store(clock::now(), Ordering::Relaxed);
        if self.polls > 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        assert!(!self.panics, "as it is asked to");
        Poll::Ready(Ok(()))
    }
}

#[pyfunction]
fn needs(py: Python<'_>, polls: u32, panics: bool) -> PyResult<Bound<'_, PyAny>> {
    into_py_future(py, Needs { polls, panics })
}

const PYTHON: &std::ffi::CStr = c"
import asyncio

async def waits(needs, polls, panics):
    await needs(polls, panics)

async def child(needs, polls):
    await needs(polls, False)

async def asks(needs, polls):
    await asyncio.create_task(child(needs, polls))
";

/// The spans of one call of `name`.
fn spans_of(name: &str, args: (u32, Option<bool>)) -> Vec<Span> {
    let (fun, needs) = Python::attach(|py| {
        let module = PyModule::from_code(py, PYTHON, c"app.py", c"app")?;
        let needs = wrap_pyfunction!(needs, py)?;
        PyResult::Ok((PyFun::new(&module.getattr(name)?), needs.unbind()))
    })
    .expect("the functions are there");
    let runtime = py_runtime().expect("Python is there");
    let (memory, handle) = sink::Memory::new();
    let id = attach_sink(Box::new(memory));
    let needs = needs.into_any();
    let _: Result<PyHandle, _> = match args {
        (polls, Some(panics)) => runtime.call(&fun, (needs, polls, panics)).blocking(),
        (polls, None) => runtime.call(&fun, (needs, polls)).blocking(),
    };
    detach_sink(id).expect("it was attached");
    handle.take()
}

fn only(spans: &[Span], kind: SpanKind) -> &Span {
    let mut found = spans.iter().filter(|span| span.kind == kind);
    let first = found.next().expect("there is one");
    assert!(found.next().is_none(), "{spans:#?}");
    first
}

fn polls(spans: &[Span]) -> Vec<&Span> {
    let polls = spans.iter().filter(|span| span.kind == SpanKind::RustPoll);
    polls.collect()
}

#[test]
fn each_poll_of_an_awaited_future_is_told_once_with_its_call_and_its_thread() {
    Python::initialize();
    for (needed, panics) in [(2, false), (7, false), (7, true)] {
        let spans = spans_of("waits", (needed, Some(panics)));
        let call = only(&spans, SpanKind::Call);
        assert_eq!(call.error.is_some(), panics);
        let found = polls(&spans);
        let numbers: Vec<u32> = found.iter().map(|poll| poll.poll).collect();
        assert_eq!(numbers, (1..=needed).collect::<Vec<_>>());
        assert_eq!(found[0].thread, call.thread); // the first is inline
        for poll in &found {
            assert_eq!(
                (poll.parent, poll.call, poll.trace),
                (call.id, call.id, call.trace)
            );
            assert!(call.start <= poll.start && poll.end <= call.end);
            assert_eq!(
                &*gilscope_instrument::resolve(poll.name),
                "rust_polls::Needs"
            );
        }
        let last = found[found.len() - 1];
        assert!((last.start..=last.end).contains(&SEEN.load(Ordering::Relaxed)));
        for poll in &found[1..] {
            assert!(poll.thread.name.starts_with("gilscope-tokio"), "{poll:?}");
            assert_ne!(poll.thread.tid, call.thread.tid);
        }
    }
    // One that is ready at once is not worth a span.
    assert!(polls(&spans_of("waits", (1, Some(false)))).is_empty());
    let spans = spans_of("asks", (3, None));
    let (call, task) = (only(&spans, SpanKind::Call), only(&spans, SpanKind::Task));
    let found = polls(&spans);
    assert_eq!(found.len(), 3);
    assert!(
        found
            .iter()
            .all(|poll| (poll.parent, poll.call) == (task.id, call.id))
    );
}
