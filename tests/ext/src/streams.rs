//! Streams both ways.
//!
//! Invariant: what a function returns of a stream is all that the stream gave, in its order.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use gilscope_runtime::{Error, PyHandle, PyResultType, PyStream, TraceContext, stream_into_py};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use tokio::sync::mpsc;

use crate::futures::Tracked;
use crate::own::{exception, tokio, wait};
use crate::runtime::{Runtime, given};

/// Items, and the exception that ended them.
type Taken = (Vec<Py<PyAny>>, Option<Py<PyAny>>);

/// Takes up to `take` items of an async generator, pausing after each, and drops the stream.
/// Returns them and the exception that ended it. `ints` converts each to i64.
#[pyfunction]
#[pyo3(signature = (fun, *args, take=None, pause=0.0, ints=false, runtime=None, parent=None))]
pub(crate) fn collect(
    fun: &Bound<'_, PyAny>,
    args: Py<PyTuple>,
    take: Option<usize>,
    pause: f64,
    ints: bool,
    runtime: Option<&Bound<'_, Runtime>>,
    parent: Option<(String, String)>,
) -> PyResult<Taken> {
    let (py, runtime) = (fun.py(), given(runtime)?);
    let parent = parent.and_then(|(above, state)| TraceContext::from_headers(&above, Some(&state)));
    let call = |fun: &Bound<'_, PyAny>| {
        let call = runtime.call(fun, args);
        match parent {
            Some(parent) => call.parent(parent),
            None => call,
        }
    };
    let (take, pause) = (take.unwrap_or(usize::MAX), Duration::from_secs_f64(pause));
    if ints {
        let (items, error) = wait(py, taken::<i64>(call(fun).stream(), take, pause))?;
        let items = items
            .into_iter()
            .map(|i| i.into_py_any(py))
            .collect::<PyResult<_>>()?;
        return Ok((items, error.map(|error| exception(py, error))));
    }
    let (items, error) = wait(py, taken::<PyHandle>(call(fun).stream(), take, pause))?;
    let items = items.into_iter().map(|item| item.clone_ref(py)).collect();
    Ok((items, error.map(|error| exception(py, error))))
}

async fn taken<T: PyResultType>(
    mut stream: PyStream<T>,
    take: usize,
    pause: Duration,
) -> (Vec<T>, Option<Error>) {
    let mut items = Vec::new();
    while items.len() < take {
        match stream.next().await {
            Some(Ok(item)) => items.push(item),
            Some(Err(error)) => return (items, Some(error)),
            None => break,
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    (items, None)
}

/// An async generator of 0..n that a tokio task fills through a channel of `capacity`; it raises
/// ValueError instead of item `fail_at`. The `Tracked` is finished when the task has sent all.
#[pyfunction]
#[pyo3(signature = (n, fail_at=None, capacity=1))]
pub(crate) fn stream(
    py: Python<'_>,
    n: u64,
    fail_at: Option<u64>,
    capacity: usize,
) -> PyResult<(Bound<'_, PyAny>, Tracked)> {
    let tracked = Tracked::default();
    let (sender, receiver) = mpsc::channel(capacity);
    let (filler, mark) = (tracked.clone(), tracked.mark());
    tokio().spawn(async move {
        filler.start();
        for i in 0..n {
            if sender.send(i).await.is_err() {
                return;
            }
        }
        filler.finish();
    });
    let items = of(receiver).map(move |i| {
        let _keep = &mark;
        if Some(i) == fail_at {
            Err(PyValueError::new_err(i))
        } else {
            Ok(i)
        }
    });
    Ok((stream_into_py(py, items)?, tracked))
}

fn of(receiver: mpsc::Receiver<u64>) -> impl Stream<Item = u64> + Send {
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|i| (i, receiver))
    })
}
