//! The same call loops over gilscope and over its peers, for `benches/bench.py`, and what
//! export costs them, for `benches/export.py`.
//!
//! Invariant: every loop keeps `in_flight` calls running through [`drive::drive`], is timed by
//! `Instant` inside Rust, and returns seconds; so two figures differ only in what carries a call.

mod drive;
mod export;
mod ours;
mod par;
mod record;
mod seed;
mod traced;

use pyo3::prelude::*;

/// The extension module that `benches/bench.py` and `benches/soak.py` load.
#[pymodule]
mod gilscope_peers {
    #[pymodule_export]
    use crate::export::{ours_export, ours_export_end, ours_exported, ours_paced};
    #[pymodule_export]
    use crate::ours::{Sleepers, ours_await_rust, ours_calls, ours_checked, ours_latency};
    #[pymodule_export]
    use crate::par::{par_await_rust, par_calls};
    #[pymodule_export]
    use crate::record::{ours_detach, ours_detail, ours_sink, ours_stats, span_cost};
    #[pymodule_export]
    use crate::seed::seed_calls;
    #[pymodule_export]
    use crate::traced::tracing_span_cost;
}
