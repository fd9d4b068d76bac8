//! Calling Python from Rust: what a call is made of, how it is awaited, and where its outcome goes.
//!
//! Invariant: nothing in here attaches on the caller's thread; arguments are converted, and handles
//! released, on the loop thread.

pub mod args;
mod blocking;
pub mod builder;
pub mod callback;
mod deadline;
pub mod driven;
pub mod future;
pub mod handle;
pub(crate) mod job;
pub mod seed;
mod settle;
mod slot;

pub use args::{PyArgs, PyResultType};
pub(crate) use blocking::{block_on_interruptible, check_signals};
pub use builder::{CallBuilder, Full, OnDrop};
pub use callback::PyAsyncCallback;
pub(crate) use driven::{Driven, TaskEnd};
pub use future::CallFuture;
pub(crate) use future::Submission;
pub use handle::{CallHandle, CallId};
pub use seed::{PyAsyncFun, PyAsyncFunResult};
