//! gilscope-runtime: Rust calls async Python without touching the GIL.
//!
//! Invariant: no thread of a caller, and no tokio worker, ever runs Python; one loop thread per
//! runtime does.
//!
//! A program that embeds Python, awaits an async function of it, and sees where the time went:
//!
//! ```no_run
//! use std::ffi::CString;
//! use std::time::Duration;
//!
//! use gilscope_runtime::{ExitGuard, PyFun, ShutdownMode, instrument, py_runtime};
//! use pyo3::prelude::*;
//! use pyo3::types::PyModule;
//!
//! const APP: &str = "
//! import asyncio
//!
//! async def greet(name):
//!     await asyncio.sleep(0.01)
//!     return f'hello {name}'
//! ";
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     Python::initialize();
//!     let _exit = ExitGuard::new(); // stops every runtime when `main` returns
//!     let code = CString::new(APP)?;
//!     let greet = Python::attach(|py| {
//!         let module = PyModule::from_code(py, &code, c"app.py", c"app")?;
//!         PyResult::Ok(PyFun::new(&module.getattr("greet")?))
//!     })?;
//!
//!     let trace = instrument::attach_sink(Box::new(instrument::sink::Chrome::new("trace.json")?));
//!     let rt = py_runtime()?;
//!     let text: String = rt.call_async(&greet, ("Rust",)).await?;
//!     println!("{text}");
//!
//!     let late = rt.call(&greet, ("nobody",)).deadline(Duration::from_millis(1));
//!     println!("{}", late.wait::<String>().await.expect_err("it takes 10 ms"));
//!
//!     let drain = move || rt.shutdown(ShutdownMode::Drain, Some(Duration::from_secs(5)));
//!     println!("{:?}", tokio::task::spawn_blocking(drain).await?);
//!     instrument::detach_sink(trace)?;
//!     for part in instrument::stats().parts {
//!         println!("{part:?}");
//!     }
//!     Ok(())
//! }
//! ```
//!
//! `examples/embed` shows every way to call and to be called back.

mod attached;
pub mod call;
mod driver;
mod error;
pub mod future;
mod handle;
#[doc(hidden)]
pub mod host;
mod life;
mod loop_thread;
mod python;
#[doc(hidden)]
pub mod queue;
mod runtime;
mod tasks;
mod trace;
mod unwind;
mod watchdog;

/// Spans, statistics and sinks: what this runtime records.
pub use gilscope_instrument as instrument;

pub use call::job::Delivered;
pub use call::{
    CallBuilder, CallFuture, CallHandle, CallId, Full, OnDrop, PyArgs, PyAsyncCallback, PyAsyncFun,
    PyAsyncFunResult, PyResultType,
};
pub use error::{CancelledBy, Error, ErrorText, Outcome, Place, PythonError, Stopped};
pub use future::into_py_future;
pub use future::into_python::stream_into_py;
pub use future::stream::PyStream;
pub use gilscope_instrument::TraceContext;
pub use handle::{PyFun, PyHandle};
pub use host::cell::discover;
pub use life::exit::{EXIT_DEADLINE, ExitGuard};
pub use life::shutdown::{ShutdownMode, ShutdownReport};
pub use runtime::{Config, DefaultRuntime, PY_RUNTIME, PyRuntime, py_runtime};
pub use tasks::{SpawnHandle, sleep, spawn};
pub use trace::carried::{Carried, InTrace};

/// Their Rust is compiled with the other examples.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/context.md")]
    struct Context;
    #[doc = include_str!("../../docs/findings.md")]
    struct Findings;
    #[doc = include_str!("../../docs/host-table.md")]
    struct HostTable;
    #[doc = include_str!("../../docs/shutdown.md")]
    struct Shutdown;
}
