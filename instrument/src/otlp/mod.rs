//! Export to OpenTelemetry collectors: spans by OTLP, over gRPC or HTTP, from a thread of its own.
//!
//! Invariant: a call never waits for a collector. The converter hands spans to a bounded queue, the
//! export thread takes them from there; what finds no room, or is refused, is counted by reason.
//!
//! The way of a span: converter → [`Otlp`] (a sink) → `queue` → `export` (the thread) →
//! `encode`, `request` → `transport`. Nothing here attaches to Python.

mod encode;
mod export;
mod grpc;
mod lost;
mod metrics;
mod names;
#[cfg(test)]
mod page_tests;
mod pem;
mod queue;
mod request;
mod resource;
mod retry;
mod retry_info;
mod sampler;
pub mod settings;
mod sink;
mod size;
mod transport;
mod wire;

pub use lost::Lost;
pub use names::{attribute_table, metric_table};
pub use settings::{Invalid, Settings};
pub use sink::{Otlp, OtlpHandle};
