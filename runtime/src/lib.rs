//! gilscope-runtime: Rust calls async Python without touching the GIL.
//!
//! Invariant: no thread of a caller, and no tokio worker, ever runs Python; one loop thread per
//! runtime does.

#[cfg(panic = "abort")]
compile_error!(
    "gilscope-runtime needs panic = \"unwind\": a panic in one call must not end the process"
);

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

pub use call::job::Delivered;
pub use call::{
    CallBuilder, CallFuture, CallHandle, CallId, Full, OnDrop, PyArgs, PyAsyncCallback, PyAsyncFun,
    PyAsyncFunResult, PyResultType,
};
pub use error::{CancelledBy, Error, ErrorText, Outcome, Place, PythonError, Stopped};
pub use future::into_py_future;
pub use future::stream::{PyStream, stream_into_py};
pub use handle::{PyFun, PyHandle};
pub use host::cell::discover;
pub use life::exit::{EXIT_DEADLINE, ExitGuard};
pub use life::shutdown::{ShutdownMode, ShutdownReport};
pub use runtime::{Config, DefaultRuntime, PY_RUNTIME, PyRuntime, py_runtime};
pub use tasks::{SpawnHandle, sleep, spawn};
