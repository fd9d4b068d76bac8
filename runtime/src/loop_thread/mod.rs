//! The loop thread: the one place where this runtime's coroutines run.
//!
//! Invariant: only [`state`] is touched from inside the thread alone; everything other threads may
//! see is in [`shared`].

pub(crate) mod caused;
pub(crate) mod child;
pub(crate) mod context;
pub(crate) mod dispatch;
pub(crate) mod drain;
pub(crate) mod flush;
pub(crate) mod hook;
pub(crate) mod inherited;
pub(crate) mod made;
pub(crate) mod number;
pub(crate) mod selector;
pub(crate) mod shared;
pub(crate) mod state;
pub(crate) mod stop;
pub(crate) mod thread;
pub(crate) mod tracestate;
pub(crate) mod wakes;
