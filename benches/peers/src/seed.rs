//! The design that gilscope grew from, written for pyo3 0.30: a channel of 1,024 jobs, a thread
//! that runs asyncio through pyo3-async-runtimes, `into_future`, one tokio task per call, and a
//! oneshot callback.
//!
//! Invariant: it attaches three times a call, as the original does: the caller's clone of the
//! function, the dispatch, and the conversion of the result.

use std::future::Future;
use std::pin::Pin;
use std::thread::JoinHandle;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::sync::{mpsc, oneshot};

use crate::drive::{WARM_UP, callers, drive};

type Value = i64;

enum PyAsyncCallback {
    Channel(oneshot::Sender<Result<Value, String>>),
}

enum PyAsyncFunResult {
    Poll(Pin<Box<dyn Future<Output = PyResult<Py<PyAny>>> + Send>>),
}

struct PyAsyncFun {
    fun: Py<PyAny>,
    args: Vec<Value>,
    callback: PyAsyncCallback,
}

struct PyRuntime {
    sender: mpsc::Sender<PyAsyncFun>,
    thread: JoinHandle<PyResult<()>>,
}

impl PyRuntime {
    fn new() -> Self {
        let (sender, mut receiver) = mpsc::channel::<PyAsyncFun>(1024);
        let thread = std::thread::spawn(move || {
            Python::attach(|py| {
                pyo3_async_runtimes::tokio::run(py, async move {
                    // The original spins for ever once the channel is closed; this one ends.
                    while let Some(task) = receiver.recv().await {
                        Self::process_coroutines(task);
                    }
                    Ok(())
                })
            })
        });
        Self { sender, thread }
    }

    async fn call_async(&self, fun: Py<PyAny>, args: Vec<Value>) -> Result<Value, String> {
        let (tx, rx) = oneshot::channel();
        let callback = PyAsyncCallback::Channel(tx);
        let job = PyAsyncFun {
            fun,
            args,
            callback,
        };
        self.sender.send(job).await.map_err(|e| e.to_string())?;
        rx.await.map_err(|e| e.to_string())?
    }

    fn process_coroutines(task: PyAsyncFun) {
        let PyAsyncFun {
            fun,
            args,
            callback,
        } = task;
        let PyAsyncCallback::Channel(callback) = callback;
        let dispatched = Python::attach(move |py| -> PyResult<PyAsyncFunResult> {
            let args = pyo3::types::PyTuple::new(py, args)?;
            let awaitable = fun.bind(py).call1(args)?;
            let fut = pyo3_async_runtimes::tokio::into_future(awaitable)?;
            Ok(PyAsyncFunResult::Poll(Box::pin(fut)))
        });
        match dispatched {
            Err(err) => drop(callback.send(Err(format!("Python error: {err}")))),
            Ok(PyAsyncFunResult::Poll(fut)) => {
                tokio::spawn(async move {
                    let outcome = fut.await;
                    let value = Python::attach(move |py| outcome?.extract::<Value>(py));
                    let _ = callback.send(value.map_err(|err| format!("Python error: {err}")));
                });
            }
        }
    }

    fn stop(self) -> PyResult<()> {
        drop(self.sender);
        let gone = || PyRuntimeError::new_err("the loop thread of the seed's design panicked");
        self.thread.join().map_err(|_| gone())?
    }
}

/// Seconds that `n` calls of the coroutine function `fun(i)` take, `in_flight` of them at a time.
#[pyfunction]
pub(crate) fn seed_calls(fun: &Bound<'_, PyAny>, n: usize, in_flight: usize) -> PyResult<f64> {
    let (py, fun) = (fun.py(), fun.clone().unbind());
    py.detach(|| {
        let runtime = PyRuntime::new();
        let start = |i: usize| {
            let fun = Python::attach(|py| fun.clone_ref(py));
            let arg = i64::try_from(i).map_err(|e| e.to_string())?;
            Ok(runtime.call_async(fun, vec![arg]))
        };
        let timed = callers()?.block_on(async {
            drive(WARM_UP, in_flight, start).await?;
            drive(n, in_flight, start).await
        });
        runtime.stop()?;
        Ok(timed.map_err(PyRuntimeError::new_err)?.as_secs_f64())
    })
}
