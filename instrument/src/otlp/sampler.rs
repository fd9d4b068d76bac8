//! Which traces are exported: head sampling by `OTEL_TRACES_SAMPLER`.
//!
//! Invariant: the choice depends on the trace's id alone, as it does in OpenTelemetry's SDKs for
//! Python and Rust, so that both halves of a trace choose alike.

use super::settings::{Env, Invalid};

const NAMES: &str =
    "always_on, always_off, traceidratio, or one of them with parentbased_ before it";

/// Chooses traces.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Sampler {
    /// Ids whose low 64 bits are below are exported; `None`: all.
    below: Option<u64>,
}

impl Sampler {
    pub(super) fn from(env: &Env<'_>) -> Result<Sampler, Invalid> {
        let name = env.text("OTEL_TRACES_SAMPLER");
        let name = name.as_deref().unwrap_or("parentbased_always_on");
        // A call without a parent is a root, and so far every call is.
        let below = match name.strip_prefix("parentbased_").unwrap_or(name) {
            "always_on" => None,
            "always_off" => Some(0),
            "traceidratio" => Sampler::ratio(env)?,
            _ => {
                return Env::invalid(
                    "OTEL_TRACES_SAMPLER",
                    format!("must be {NAMES}, not {name:?}"),
                );
            }
        };
        Ok(Sampler { below })
    }

    fn ratio(env: &Env<'_>) -> Result<Option<u64>, Invalid> {
        let variable = "OTEL_TRACES_SAMPLER_ARG";
        let text = env.text(variable).unwrap_or_else(|| "1".into());
        match text.parse::<f64>() {
            Ok(ratio) if ratio >= 1.0 && ratio.is_finite() => Ok(None),
            // The float's saturating conversion: 2^64 itself is out of reach below 1.
            Ok(ratio) if ratio >= 0.0 => Ok(Some((ratio * 18_446_744_073_709_551_616.0) as u64)),
            _ => Env::invalid(variable, format!("must be between 0 and 1, not {text:?}")),
        }
    }

    /// Whether a trace is exported.
    pub(super) fn takes(&self, trace: [u64; 2]) -> bool {
        self.below.is_none_or(|below| trace[1] < below)
    }
}
