//! pyo3-async-runtimes 0.30 as its README shows it, for `peer_matrix.py`.
//!
//! Invariant: nothing in here works around what the peer does at exit, and nothing provokes it:
//! no thread of this crate attaches except to start a call.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3_async_runtimes::TaskLocals;

/// See the crate's text.
#[pymodule]
mod gilscope_exit_peer {
    use super::{
        Bound, Duration, Py, PyAny, PyResult, Python, TaskLocals, call, locals, pyfunction,
    };

    /// An awaitable: tokio sleeps.
    #[pyfunction]
    fn sleep(py: Python<'_>, seconds: f64) -> PyResult<Bound<'_, PyAny>> {
        pyo3_async_runtimes::tokio::future_into_py(py, async move {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            Ok(())
        })
    }

    /// Call `fun` `n` times from tokio tasks, on a running loop of another thread; wait for all.
    #[pyfunction]
    fn call_all(event_loop: &Bound<'_, PyAny>, fun: Py<PyAny>, n: usize) -> PyResult<()> {
        let locals = locals(event_loop)?;
        let fun = std::sync::Arc::new(fun);
        event_loop.py().detach(|| {
            let runtime = pyo3_async_runtimes::tokio::get_runtime();
            let call = |_| runtime.spawn(call(locals.clone(), fun.clone()));
            let tasks: Vec<_> = (0..n).map(call).collect();
            tasks
                .into_iter()
                .try_for_each(|task| runtime.block_on(task).expect("no panic"))
        })
    }

    /// Tokio tasks that call `fun` for ever.
    #[pyfunction]
    fn keep_calling(event_loop: &Bound<'_, PyAny>, fun: Py<PyAny>, tasks: usize) -> PyResult<()> {
        let locals: TaskLocals = locals(event_loop)?;
        let fun = std::sync::Arc::new(fun);
        for _ in 0..tasks {
            let (locals, fun) = (locals.clone(), fun.clone());
            pyo3_async_runtimes::tokio::get_runtime()
                .spawn(async move { while call(locals.clone(), fun.clone()).await.is_ok() {} });
        }
        Ok(())
    }
}

fn locals(event_loop: &Bound<'_, PyAny>) -> PyResult<TaskLocals> {
    TaskLocals::new(event_loop.clone()).copy_context(event_loop.py())
}

async fn call(locals: TaskLocals, fun: std::sync::Arc<Py<PyAny>>) -> PyResult<()> {
    let result = Python::attach(|py| {
        let coroutine = fun.bind(py).call0()?;
        pyo3_async_runtimes::into_future_with_locals(&locals, coroutine)
    })?;
    result.await.map(drop)
}
