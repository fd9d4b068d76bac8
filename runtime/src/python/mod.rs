//! What Python sees: the module `gilscope._native`, its classes and its exceptions.
//!
//! Invariant: this is a façade over the crate's public Rust API; nothing here has a second path into
//! the queue.

pub(crate) mod awaitables;
mod awaited;
pub(crate) mod batch;
pub(crate) mod exceptions;
#[cfg(feature = "otlp")]
pub(crate) mod export;
pub(crate) mod function;
pub(crate) mod given;
pub(crate) mod group;
pub(crate) mod imports;
pub(crate) mod module;
pub(crate) mod names;
pub(crate) mod options;
pub(crate) mod outcome;
pub(crate) mod place;
pub(crate) mod raise;
pub(crate) mod raised;
pub(crate) mod results;
mod row;
pub(crate) mod runtime;
pub(crate) mod simulation;
pub(crate) mod stack;
pub(crate) mod submit;
pub(crate) mod text;
pub(crate) mod trace;
pub(crate) mod tree;
pub(crate) mod watch;
pub(crate) mod whose;
