//! gilscope-instrument: points, clock, rings, converter and sinks.
//!
//! Invariant: nothing here depends on Python. Recording never takes the GIL, never blocks and
//! never allocates on the hot path; every buffer is bounded and every drop is counted by reason.
#![warn(missing_docs)]

mod chain;
pub mod clock;
mod converter;
mod definition;
mod detail;
mod doing;
mod error;
pub mod finding;
mod finish;
mod fork;
mod gauges;
mod global;
mod histogram;
mod ids;
mod in_flight;
#[cfg(feature = "otlp")]
mod instrument;
mod lost;
mod maker;
mod name;
pub mod notes;
mod open;
#[cfg(feature = "opentelemetry")]
pub mod opentelemetry;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod point;
mod record;
mod recorder;
#[doc(hidden)]
pub mod ring;
mod rust_polls;
mod sampling;
mod side;
pub mod sink;
mod span;
mod stamps;
mod stats;
mod status;
mod sync;
mod trace;
#[cfg(unix)]
pub mod tree;
pub mod watch;

pub use chain::{Chain, Link};
pub use converter::{SinkId, abandon, attach_sink, close_sinks, detach_sink, flush};
pub use definition::{define, is_defined};
pub use detail::{Detail, detail, enabled, read_environment, set_detail};
pub use error::ErrorText;
pub use finding::Finding;
pub use finish::GivenUp;
pub use fork::after_fork_child;
pub use gauges::{Gauges, gauges, set_queue_depth};
pub use histogram::Histogram;
pub use ids::new_id;
pub use in_flight::{InFlight, Phase, in_flight};
#[cfg(feature = "otlp")]
pub use instrument::{Builder, Instrument};
pub use lost::Lost;
pub use maker::Maker;
pub use name::{Name, intern, resolve};
pub use point::Point;
pub use recorder::{Cause, LoopRecorder, OpenCall, OpenTask};
pub use rust_polls::{LostWake, RustPolls, first_poll};
pub use sampling::{Installed, Sampler};
pub use sink::{Sink, exporting, watched};
pub use span::{Span, SpanKind, ThreadInfo, WokenBy};
pub use stamps::{CallStamps, REMOTE};
pub use stats::{Dropped, FunctionStats, PartStats, Stats, reset_stats, stats};
pub use status::{Flags, Status};
pub use trace::{EnteredTrace, SAMPLED, TraceContext};
