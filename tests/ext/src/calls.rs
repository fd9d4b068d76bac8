//! Calls whose outcome comes back as the function's result.
//!
//! Invariant: every call is made by a tokio task of this library, as a user's would be.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use gilscope_runtime::{
    Error, Outcome, PyAsyncCallback, PyAsyncFun, PyFun, PyHandle, PyResultType, py_runtime,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyTuple};
use tokio::sync::mpsc;

use crate::own::{LIMIT, exception, result, tokio, wait};
use crate::runtime::{Runtime, given};

/// An outcome for Python: whether it is a value, and the value or the exception.
pub(crate) type Shown = (bool, Py<PyAny>);

pub(crate) fn show(py: Python<'_>, outcome: Outcome<PyHandle>) -> Shown {
    match outcome {
        Ok(value) => (true, value.clone_ref(py)),
        Err(error) => (false, exception(py, error)),
    }
}

/// `call_async` as it is.
#[pyfunction]
#[pyo3(signature = (fun, *args, runtime=None))]
pub(crate) fn call(
    fun: &Bound<'_, PyAny>,
    args: Py<PyTuple>,
    runtime: Option<&Bound<'_, Runtime>>,
) -> PyResult<Py<PyAny>> {
    let future = given(runtime)?.call_async::<PyHandle>(fun, args);
    result(fun.py(), wait(fun.py(), future)?)
}

/// `call_async::<i64>`.
#[pyfunction]
#[pyo3(signature = (fun, *args))]
pub(crate) fn call_int(fun: &Bound<'_, PyAny>, args: Py<PyTuple>) -> PyResult<i64> {
    Ok(wait(fun.py(), py_runtime()?.call_async::<i64>(fun, args))??)
}

/// The builder form.
#[pyfunction]
#[pyo3(signature = (fun, args, *, kwargs=None, name=None, deadline=None, context=None, in_thread=false, runtime=None))]
#[expect(
    clippy::too_many_arguments,
    reason = "keyword arguments of a Python function"
)]
pub(crate) fn call_with(
    fun: &Bound<'_, PyAny>,
    args: Py<PyTuple>,
    kwargs: Option<Py<PyDict>>,
    name: Option<&str>,
    deadline: Option<f64>,
    context: Option<Py<PyAny>>,
    in_thread: bool,
    runtime: Option<&Bound<'_, Runtime>>,
) -> PyResult<Py<PyAny>> {
    let mut call = given(runtime)?.call(fun, args);
    if let Some(kwargs) = kwargs {
        call = call.kwargs_dict(kwargs);
    }
    if let Some(name) = name {
        call = call.name(name);
    }
    if let Some(deadline) = deadline {
        call = call.deadline(Duration::from_secs_f64(deadline));
    }
    if let Some(context) = context {
        call = call.context(context);
    }
    if in_thread {
        call = call.in_thread();
    }
    result(fun.py(), wait(fun.py(), call.wait::<PyHandle>())?)
}

/// `fun(i)` for every i < n, at most `tasks` at once; the results in order.
#[pyfunction]
#[pyo3(signature = (fun, n, tasks=None, runtime=None))]
pub(crate) fn flood(
    fun: &Bound<'_, PyAny>,
    n: usize,
    tasks: Option<usize>,
    runtime: Option<&Bound<'_, Runtime>>,
) -> PyResult<Vec<Py<PyAny>>> {
    let (py, runtime, fun) = (fun.py(), given(runtime)?, PyFun::new(fun));
    let calls = stream::iter((0..n).map(move |i| {
        let call = runtime.call_async::<PyHandle>(&fun, (i,));
        async move { tokio().spawn(call).await.expect("a call does not panic") }
    }));
    let outcomes = wait(
        py,
        calls
            .buffered(tasks.unwrap_or(n).max(1))
            .collect::<Vec<_>>(),
    )?;
    outcomes
        .into_iter()
        .map(|outcome| result(py, outcome))
        .collect()
}

/// `fun(i)` for every i < n, submitted by one plain thread into a channel that holds them all.
/// Returns (i, ok, value or exception) in the order of arrival.
#[pyfunction]
#[pyo3(signature = (fun, n, runtime=None))]
pub(crate) fn burst(
    fun: &Bound<'_, PyAny>,
    n: usize,
    runtime: Option<&Bound<'_, Runtime>>,
) -> PyResult<Vec<(usize, bool, Py<PyAny>)>> {
    let (py, runtime, fun) = (fun.py(), given(runtime)?, PyFun::new(fun));
    let (sender, receiver) = std::sync::mpsc::channel();
    let outcomes = py.detach(move || {
        for i in 0..n {
            let sender = sender.clone();
            let arrive = move |outcome| drop(sender.send((i, outcome)));
            let callback = PyAsyncCallback::<PyHandle>::Closure(Box::new(arrive));
            tokio().block_on(runtime.call(&fun, (i,)).send(callback))?;
        }
        drop(sender);
        let next = || receiver.recv_timeout(LIMIT).ok();
        Ok::<_, Error>(std::iter::from_fn(next).collect::<Vec<_>>())
    })?;
    let shown = outcomes.into_iter().map(|(i, outcome)| {
        let (ok, what) = show(py, outcome);
        (i, ok, what)
    });
    Ok(shown.collect())
}

/// Three calls into a channel with room for one that nobody reads at first: whether the second got
/// `QueueFull` from `try_send`, whether the third waited in `send`, how many outcomes came in all.
#[pyfunction]
pub(crate) fn channel_full(fun: &Bound<'_, PyAny>) -> PyResult<(bool, bool, usize)> {
    let (runtime, fun, py) = (py_runtime()?, PyFun::new(fun), fun.py());
    let counted = wait(py, async move {
        let (sender, mut receiver) = mpsc::channel::<(_, Outcome<PyHandle>)>(1);
        let callback = || PyAsyncCallback::Channel(sender.clone());
        runtime.call(&fun, ()).send(callback()).await?;
        let second = runtime.call(&fun, ()).try_send(callback());
        let refused = matches!(second, Err(Error::QueueFull));
        let mut third = std::pin::pin!(runtime.call(&fun, ()).send(callback()));
        let patience = Duration::from_millis(100);
        let waited = tokio::time::timeout(patience, &mut third).await.is_err();
        let mut outcomes = usize::from(receiver.recv().await.is_some());
        third.await?;
        outcomes += usize::from(receiver.recv().await.is_some());
        // The receiver lives until the last delivery is over: this call's comes after it.
        runtime.call_async::<PyHandle>(&fun, ()).await?;
        Ok::<_, Error>((refused, waited, outcomes))
    })?;
    Ok(counted?)
}

/// An argument whose conversion or destructor misbehaves.
pub(crate) struct Bad(pub(crate) &'static str);

impl<'py> IntoPyObject<'py> for Bad {
    type Target = PyInt;
    type Output = Bound<'py, PyInt>;
    type Error = PyErr;

    fn into_pyobject(mut self, py: Python<'py>) -> PyResult<Self::Output> {
        match std::mem::take(&mut self.0) {
            "error" => Err(PyValueError::new_err("a conversion's error")),
            "panic" => panic!("a conversion's panic"),
            mode => {
                self.0 = mode;
                Ok(1.into_pyobject(py)?)
            }
        }
    }
}

impl Drop for Bad {
    fn drop(&mut self) {
        // A second panic while the first unwinds would abort: that is Rust's rule, not ours.
        if !self.0.is_empty() && !std::thread::panicking() {
            panic!("a destructor's panic");
        }
    }
}

/// A call with an argument that misbehaves: "error" and "panic" while it is converted,
/// "drop_panics" right after, "never_started" in the destructor of a call that expired at once.
#[pyfunction]
pub(crate) fn call_bad_args(mode: &str, fun: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let known = ["error", "panic", "drop_panics", "never_started"];
    let mode = known.into_iter().find(|known| *known == mode);
    let mode = mode.ok_or_else(|| PyValueError::new_err("no such mode"))?;
    let mut call = py_runtime()?.call(fun, (Bad(mode),));
    if mode == "never_started" {
        call = call.deadline(Duration::ZERO);
    }
    result(fun.py(), wait(fun.py(), call.wait::<PyHandle>())?)
}

/// A result whose conversion panics.
struct Panicky;

impl FromPyObject<'_, '_> for Panicky {
    type Error = Infallible;

    fn extract(_: Borrowed<'_, '_, PyAny>) -> Result<Self, Infallible> {
        panic!("a result conversion's panic")
    }
}

/// A call whose result type panics in its conversion.
#[pyfunction]
pub(crate) fn call_bad_result(fun: &Bound<'_, PyAny>) -> PyResult<()> {
    fn of<T: PyResultType>(
        runtime: &gilscope_runtime::PyRuntime,
        fun: PyFun,
    ) -> impl Future<Output = Outcome<T>> + use<T> {
        runtime.call_async::<T>(fun, ())
    }
    let future = of::<Panicky>(&py_runtime()?, PyFun::new(fun));
    let outcome = wait(fun.py(), async { future.await.map(drop) })?;
    Ok(outcome?)
}

fn packed(fun: &PyFun, args: Py<PyTuple>, callback: PyAsyncCallback<PyHandle>) -> PyAsyncFun {
    PyAsyncFun {
        fun: fun.clone(),
        args,
        kwargs: None,
        callback,
    }
}

/// `call_async_fun` of one function that carries its arguments and a oneshot.
#[pyfunction]
#[pyo3(signature = (fun, *args))]
pub(crate) fn call_fun(fun: &Bound<'_, PyAny>, args: Py<PyTuple>) -> PyResult<Py<PyAny>> {
    let (runtime, py) = (py_runtime()?, fun.py());
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let fun = packed(&PyFun::new(fun), args, PyAsyncCallback::Oneshot(sender));
    let outcome = wait(py, async move {
        runtime.call_async_fun(fun).await?;
        receiver.await.expect("an outcome")
    })?;
    result(py, outcome)
}

/// `process_coroutines` of `fun(item)` for every item; (ok, value or exception) as they arrived.
#[pyfunction]
pub(crate) fn process(fun: &Bound<'_, PyAny>, items: Vec<Py<PyAny>>) -> PyResult<Vec<Shown>> {
    let (runtime, py, count) = (py_runtime()?, fun.py(), items.len());
    let fun = PyFun::new(fun);
    let (outcomes, mut arrived) = mpsc::channel(count.max(1));
    let pack = |item| {
        let args = PyTuple::new(py, [item])?.unbind();
        PyResult::Ok(packed(
            &fun,
            args,
            PyAsyncCallback::Channel(outcomes.clone()),
        ))
    };
    let funs = items.into_iter().map(pack).collect::<PyResult<Vec<_>>>()?;
    drop(outcomes);
    let outcomes = wait(py, async move {
        let (queue, calls) = mpsc::channel(2);
        let worker = tokio::spawn(async move { runtime.process_coroutines(calls).await });
        for fun in funs {
            drop(queue.send(fun).await);
        }
        drop(queue);
        worker.await.expect("the worker does not panic")?;
        let mut outcomes = Vec::new();
        while let Some((_, outcome)) = arrived.recv().await {
            outcomes.push(outcome);
        }
        Ok::<_, Error>(outcomes)
    })??;
    Ok(outcomes
        .into_iter()
        .map(|outcome| show(py, outcome))
        .collect())
}
