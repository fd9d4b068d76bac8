//! Ends with every call awaited, or with calls in flight on both sides, for the exit tests.
//!
//! Invariant: nothing is cleaned up but by what the chosen way to end does.
//!
//! `gilscope-embed-exit SITUATION WAY [TRACE]`; the first two are listed in [`Situation::named`] and
//! [`Way::named`], the third is a file for a Chrome trace, which nobody closes.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use gilscope_runtime::{
    Config, Error, ExitGuard, PyAsyncCallback, PyFun, PyHandle, PyRuntime, instrument,
    into_py_future, py_runtime,
};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyModule;

type AnyError = Box<dyn std::error::Error>;

const MANY: usize = 50;

/// Rust for Python to await.
#[pymodule]
mod rust {
    use super::{Bound, Duration, PyAny, PyErr, PyResult, Python, into_py_future};
    use pyo3::pyfunction;

    #[pyfunction]
    fn sleep(py: Python<'_>, seconds: f64) -> PyResult<Bound<'_, PyAny>> {
        into_py_future(py, async move {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            Ok::<_, PyErr>(())
        })
    }
}

/// What is in flight when the process ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Situation {
    /// Nothing: every call was awaited.
    Awaited,
    /// Python coroutines that wait for nothing, and Rust futures that wait for them.
    Suspended,
    /// Python coroutines that keep the loop thread busy.
    Busy,
    /// Python coroutines that wait for Rust; some of it is ready at any moment.
    RustPending,
    /// Tokio tasks that submit calls in a loop.
    Submitting,
    /// Plain threads and Python's daemon threads inside blocking calls.
    Threads,
    /// A queue without room, and callers that wait for some.
    FullQueue,
    /// Loop threads in C code, which come back once the interpreter is ending.
    InC,
}

impl Situation {
    const ALL: [(&str, Self); 8] = [
        ("awaited", Self::Awaited),
        ("suspended", Self::Suspended),
        ("busy", Self::Busy),
        ("rust-pending", Self::RustPending),
        ("submitting", Self::Submitting),
        ("threads", Self::Threads),
        ("full-queue", Self::FullQueue),
        ("in-c", Self::InC),
    ];

    /// One of [`Self::ALL`], or "everything": all but the first and the last at once.
    fn named(name: &str) -> Vec<Self> {
        let chosen = Self::ALL.iter().filter(|(known, situation)| {
            let together = !matches!(situation, Self::Awaited | Self::InC);
            *known == name || (name == "everything" && together)
        });
        chosen.map(|(_, situation)| *situation).collect()
    }
}

/// How the process ends.
#[derive(Clone, Copy)]
enum Way {
    /// `main` returns and an [`ExitGuard`] is dropped.
    Guard,
    /// As `Guard`, then Python is finalized.
    GuardAndFinalize,
    /// Python is finalized with everything running: its `atexit` does what the guard would.
    Finalize,
    /// `main` returns, Python and the runtime are left as they are.
    Return,
    /// `exit(0)` in the middle of it all.
    Exit,
}

impl Way {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "guard" => Self::Guard,
            "guard-finalize" => Self::GuardAndFinalize,
            "finalize" => Self::Finalize,
            "return" => Self::Return,
            "exit" => Self::Exit,
            _ => return None,
        })
    }
}

struct App {
    brief: PyFun,
    for_ever: PyFun,
    works: PyFun,
    waits: PyFun,
    holds: PyFun,
    thread: PyHandle,
}

impl App {
    fn import() -> PyResult<Self> {
        Python::attach(|py| {
            let code = std::ffi::CString::new(include_str!("exit.py"))?;
            let module = PyModule::from_code(py, &code, c"exit.py", c"exit")?;
            let fun = |name: &str| module.getattr(name).map(|fun| PyFun::new(&fun));
            Ok(Self {
                brief: fun("brief")?,
                for_ever: fun("for_ever")?,
                works: fun("works")?,
                waits: fun("waits")?,
                holds: fun("holds")?,
                thread: PyHandle::new(module.getattr("thread")?.unbind()),
            })
        })
    }
}

fn main() -> Result<(), AnyError> {
    let mut args = std::env::args().skip(1);
    let situations = Situation::named(&args.next().unwrap_or_default());
    let way = Way::named(&args.next().unwrap_or_default()).ok_or("no such way")?;
    if situations.is_empty() {
        return Err("no such situation".into());
    }

    pyo3::append_to_inittab!(rust);
    Python::initialize();
    let guard = ExitGuard::new();
    if let Some(path) = args.next() {
        instrument::attach_sink(Box::new(instrument::sink::Chrome::new(path)?));
    }
    let app = App::import()?;
    let tokio = tokio::runtime::Runtime::new()?;
    for situation in &situations {
        tokio.block_on(bring_about(*situation, &app))?;
    }
    if situations != [Situation::Awaited] {
        let nanos = std::time::UNIX_EPOCH.elapsed()?.subsec_nanos();
        std::thread::sleep(Duration::from_micros(u64::from(nanos / 1000 % 30_000)));
    }
    match way {
        Way::Guard => drop(guard),
        Way::GuardAndFinalize => {
            drop(guard);
            finalize();
        }
        Way::Finalize => {
            std::mem::forget(guard);
            finalize();
        }
        Way::Return => std::mem::forget(guard),
        Way::Exit => std::process::exit(0),
    }
    // Tasks that never end keep a runtime from being dropped quietly; programs do it like this.
    tokio.shutdown_background();
    Ok(())
}

fn finalize() {
    // SAFETY: `main` calls this on the thread that initialized Python, once, and uses Python no more.
    unsafe {
        ffi::PyGILState_Ensure();
        ffi::Py_FinalizeEx();
    }
}

async fn bring_about(situation: Situation, app: &App) -> Result<(), AnyError> {
    let rt = py_runtime()?;
    match situation {
        Situation::Awaited => awaited(&rt, app).await?,
        Situation::Suspended => in_flight(&rt, &app.for_ever, MANY),
        Situation::Busy => in_flight(&rt, &app.works, 4),
        Situation::RustPending => {
            for i in 0..MANY {
                let call = rt.call_async::<PyHandle>(&app.waits, (0.002 * i as f64,));
                tokio::spawn(call);
            }
        }
        Situation::Submitting => {
            for _ in 0..16 {
                let (rt, brief) = (rt.clone(), app.brief.clone());
                tokio::spawn(async move {
                    while rt.call_async::<PyHandle>(&brief, ()).await.is_ok() {}
                });
            }
        }
        Situation::Threads => threads(&rt, app)?,
        Situation::FullQueue => {
            let config = Config {
                queue_size: 2,
                max_in_flight: Some(2),
                ..Config::named("full")
            };
            let full = PyRuntime::new(config)?;
            in_flight(&full, &app.for_ever, MANY);
        }
        Situation::InC => {
            for i in 0..4 {
                let held = PyRuntime::new(Config::named(&format!("held-{i}")))?;
                in_flight(&held, &app.holds, 1);
            }
        }
    }
    Ok(())
}

/// Starts calls whose futures wait on tokio.
fn in_flight(rt: &PyRuntime, fun: &PyFun, n: usize) {
    for _ in 0..n {
        tokio::spawn(rt.call_async::<PyHandle>(fun, ()));
    }
}

/// Each way to call, awaited to its end.
async fn awaited(rt: &PyRuntime, app: &App) -> Result<(), AnyError> {
    let calls = (0..MANY).map(|_| rt.call_async::<PyHandle>(&app.brief, ()));
    for outcome in join_all(calls).await {
        outcome?;
    }
    let (sender, mut receiver) = tokio::sync::mpsc::channel(MANY);
    for _ in 0..MANY {
        rt.call(&app.brief, ())
            .send(PyAsyncCallback::Channel(sender.clone()))
            .await?;
    }
    drop(sender);
    while let Some((_, outcome)) = receiver.recv().await {
        let _: PyHandle = outcome?;
    }
    let (runtime, brief) = (rt.clone(), app.brief.clone());
    std::thread::spawn(move || runtime.call_blocking::<PyHandle>(&brief, ()))
        .join()
        .expect("the thread does not panic")?;
    let all: Vec<Result<PyHandle, Error>> = futures_util::stream::iter(0..4)
        .then(|_| rt.call_async(&app.brief, ()))
        .collect()
        .await;
    for outcome in all {
        outcome?;
    }
    Ok(())
}

fn threads(rt: &PyRuntime, app: &App) -> Result<(), AnyError> {
    for fun in [&app.brief, &app.brief, &app.for_ever, &app.for_ever] {
        let (rt, fun) = (rt.clone(), fun.clone());
        std::thread::spawn(move || while rt.call_blocking::<PyHandle>(&fun, ()).is_ok() {});
    }
    Python::attach(|py| app.thread.bind(py).call0().map(drop))?;
    Ok(())
}
