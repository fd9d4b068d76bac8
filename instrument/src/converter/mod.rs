//! The converter: a thread that joins records into spans, feeds histograms and hands spans to
//! sinks.
//!
//! Invariant: it never touches Python, every buffer it keeps is bounded, and sinks are used on
//! its thread only.

mod control;
mod drain;
mod expand;
mod join;
mod thread;

pub(crate) use control::Control;
pub use control::{SinkId, abandon, attach_sink, close_sinks, detach_sink, flush};
