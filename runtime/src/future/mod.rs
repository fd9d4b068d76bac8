//! Rust for Python: futures that Python awaits, on any asyncio loop.
//!
//! Invariant: a future that is ready at its first poll costs no thread crossing; one that is not
//! runs on tokio, never with the GIL, and comes back through the inbox of the loop that awaits it.

pub(crate) mod awaitable;
pub mod into_python;
mod polled;
pub(crate) mod port;
pub mod stream;
mod wakers;

pub use awaitable::into_py_future;
