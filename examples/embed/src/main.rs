//! A Rust program that embeds Python and calls its async functions, without touching the GIL.
//!
//! Invariant: Python code runs on the runtime's loop thread only; `main` attaches twice, to import
//! a module and to build a tuple of arguments.
//!
//! ```sh
//! PYO3_PYTHON=python3 cargo run --package gilscope-embed
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what arrives")]

use std::ffi::CString;
use std::time::Duration;

use futures_util::StreamExt;
use gilscope_runtime::{
    CallId, Error, ExitGuard, Outcome, PyAsyncCallback, PyAsyncFun, PyFun, PyHandle, PyRuntime,
    ShutdownMode, into_py_future, py_runtime,
};
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyTuple};
use tokio::sync::{mpsc, oneshot};

type AnyError = Box<dyn std::error::Error>;

/// A module that Python imports like any other: Rust futures that Python awaits.
#[pymodule]
mod inventory {
    use super::{Bound, Duration, PyAny, PyResult, Python, into_py_future};
    use pyo3::exceptions::PyLookupError;
    use pyo3::pyfunction;

    /// Look a price up. The future runs on tokio, without the GIL; its error is raised by `await`.
    #[pyfunction]
    fn lookup(py: Python<'_>, item: String) -> PyResult<Bound<'_, PyAny>> {
        into_py_future(py, async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            match item.as_str() {
                "apple" => Ok(3_i64),
                "pear" => Ok(4),
                _ => Err(PyLookupError::new_err(format!("no price for {item}"))),
            }
        })
    }
}

/// The Python functions that this program calls: made once, then cloned and used on any thread.
struct App {
    greet: PyFun,
    double: PyFun,
    price: PyFun,
    countdown: PyFun,
    forever: PyFun,
    received: PyFun,
}

impl App {
    fn import() -> Result<Self, AnyError> {
        let code = CString::new(include_str!("app.py"))?;
        let app = Python::attach(|py| {
            let module = PyModule::from_code(py, &code, c"app.py", c"app")?;
            let fun = |name: &str| module.getattr(name).map(|fun| PyFun::new(&fun));
            Ok::<_, PyErr>(Self {
                greet: fun("greet")?,
                double: fun("double")?,
                price: fun("price")?,
                countdown: fun("countdown")?,
                forever: fun("forever")?,
                received: fun("received")?,
            })
        })?;
        Ok(app)
    }
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    pyo3::append_to_inittab!(inventory);
    Python::initialize();
    // Embedded, nobody runs Python's `atexit`: the guard stops every runtime when `main` returns.
    let _exit = ExitGuard::new();
    let app = App::import()?;
    let rt = py_runtime()?;

    calls(&rt, &app).await?;
    callbacks(&rt, &app).await?;
    functions_with_callbacks(&rt, &app).await?;
    from_a_plain_thread(&rt, &app)?;
    streams(&rt, &app).await;
    endings(&rt, &app).await
}

/// The short form: call, await, and the result is a Rust value.
async fn calls(rt: &PyRuntime, app: &App) -> Result<(), AnyError> {
    let text: String = py_runtime()?.call_async(&app.greet, ("await",)).await?;
    println!("awaited: {text}");

    let number: i64 = rt.call_async(&app.double, (21,)).await?;
    println!("not async: {number}");

    // The builder form: whatever else a call may carry.
    let call = rt
        .call(&app.greet, ("kwargs",))
        .kwargs([("times", 2)])
        .name("greeting");
    println!("built: {}", call.wait::<String>().await?);

    // Python awaits Rust in there, and what Rust fails with passes through Python and back.
    println!(
        "price: {}",
        rt.call_async::<i64>(&app.price, ("apple", 5)).await?
    );
    match rt.call_async::<i64>(&app.price, ("stone", 1)).await {
        Err(Error::Python(error)) => println!("price: {error}"),
        other => println!("unexpected: {other:?}"),
    }
    Ok(())
}

/// The five ways in which an outcome can be delivered. `send` returns once the queue took the call.
async fn callbacks(rt: &PyRuntime, app: &App) -> Result<(), AnyError> {
    // One call, one receiver.
    let (sender, receiver) = oneshot::channel::<Outcome<String>>();
    rt.call(&app.greet, ("oneshot",))
        .send(PyAsyncCallback::Oneshot(sender))
        .await?;
    println!("oneshot: {}", receiver.await??);

    // Many calls, one receiver; the id tells which.
    let (sender, mut receiver) = mpsc::channel::<(CallId, Outcome<i64>)>(8);
    let mut ids = Vec::new();
    for number in 1..=3 {
        let callback = PyAsyncCallback::Channel(sender.clone());
        ids.push(rt.call(&app.double, (number,)).send(callback).await?.id());
    }
    drop(sender);
    while let Some((id, outcome)) = receiver.recv().await {
        let which = ids.iter().position(|known| *known == id);
        println!("channel: call {which:?} gave {}", outcome?);
    }

    // Rust code on the loop thread: keep it short.
    let (done, waiting) = oneshot::channel();
    let print = |outcome: Outcome<String>| {
        println!("closure: {outcome:?}");
        let _ = done.send(());
    };
    let callback = PyAsyncCallback::Closure(Box::new(print));
    rt.call(&app.greet, ("closure",)).send(callback).await?;
    waiting.await?;

    // A Python function; and nobody. Both are done when the runtime has been drained, see below.
    let callback = PyAsyncCallback::<PyHandle>::Python(app.received.clone());
    rt.call(&app.greet, ("callback",)).send(callback).await?;
    rt.call(&app.greet, ("nobody",))
        .send(PyAsyncCallback::<PyHandle>::Discard)
        .await?;

    // Without waiting for room in the queue: `Error::QueueFull` at once if there is none.
    let (sender, receiver) = oneshot::channel();
    let handle = rt.try_call(
        &app.forever,
        ("try_call",),
        PyAsyncCallback::<PyHandle>::Oneshot(sender),
    )?;
    println!(
        "try_call: cancelled: {}, {:?}",
        handle.cancel(),
        receiver.await?
    );
    Ok(())
}

/// A function, its arguments and its callback as one value, and a worker that takes such values.
async fn functions_with_callbacks(rt: &PyRuntime, app: &App) -> Result<(), AnyError> {
    let (queue, calls) = mpsc::channel(16);
    let runtime = rt.clone();
    let worker = tokio::spawn(async move { runtime.process_coroutines::<i64>(calls).await });

    let (results, mut received) = mpsc::channel(16);
    for item in ["apple", "pear"] {
        let args = Python::attach(|py| (item, 2).into_pyobject(py).map(Bound::<PyTuple>::unbind))?;
        let fun = PyAsyncFun {
            fun: app.price.clone(),
            args,
            kwargs: None,
            callback: PyAsyncCallback::Channel(results.clone()),
        };
        queue.send(fun).await?;
    }
    drop((queue, results));
    worker.await??;
    let mut prices = Vec::new();
    while let Some((_id, price)) = received.recv().await {
        prices.push(price?);
    }
    prices.sort_unstable();
    println!("process_coroutines: {prices:?}");
    Ok(())
}

/// Threads that are not async block; async ones must not, and are told so.
fn from_a_plain_thread(rt: &PyRuntime, app: &App) -> Result<(), AnyError> {
    let (runtime, greet) = (rt.clone(), app.greet.clone());
    let thread = std::thread::spawn(move || runtime.call_blocking::<String>(&greet, ("thread",)));
    println!(
        "blocking: {}",
        thread.join().expect("the thread does not panic")?
    );

    let refused = rt.call_blocking::<String>(&app.greet, ("tokio",));
    println!(
        "blocking on tokio: {}",
        refused.expect_err("this thread runs async code")
    );
    Ok(())
}

/// An async generator is a `Stream`; dropping the stream closes the generator.
async fn streams(rt: &PyRuntime, app: &App) {
    let numbers: Vec<_> = rt.stream::<i64>(&app.countdown, (3,)).collect().await;
    println!("stream: {numbers:?}");
    let mut failing = rt.stream::<i64>(&app.countdown, (-1,));
    println!(
        "stream: {:?}",
        failing
            .next()
            .await
            .map(|item| item.map_err(|e| e.to_string()))
    );
}

/// Deadlines, dropped futures, and the end.
async fn endings(rt: &PyRuntime, app: &App) -> Result<(), AnyError> {
    let call = rt
        .call(&app.forever, ("the deadline's call",))
        .deadline(Duration::from_millis(50));
    println!(
        "deadline: {}",
        call.wait::<PyHandle>()
            .await
            .expect_err("it waits for ever")
    );

    // A future that is dropped cancels its call.
    let call = rt.call_async::<PyHandle>(&app.forever, ("the dropped future's call",));
    let timeout = tokio::time::timeout(Duration::from_millis(50), call).await;
    println!("dropped: {}", timeout.expect_err("it waits for ever"));

    // Blocks until every call, the discarded ones too, is through; then the runtime is stopped.
    let runtime = rt.clone();
    let drain = move || runtime.shutdown(ShutdownMode::Drain, Some(Duration::from_secs(5)));
    let report = tokio::task::spawn_blocking(drain).await?;
    println!(
        "shutdown: joined: {}, abandoned: {}",
        report.joined, report.abandoned
    );
    let refused = rt.call_async::<i64>(&app.double, (1,)).await;
    println!("after it: {}", refused.expect_err("the runtime is stopped"));
    Ok(())
}
