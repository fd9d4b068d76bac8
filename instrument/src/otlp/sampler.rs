//! Head sampling as `OTEL_TRACES_SAMPLER` asks for it.
//!
//! Invariant: a name or a ratio that is not valid is an error that says what is.

use super::settings::{Env, Invalid};
use crate::sampling::Sampler;

const NAMES: &str =
    "always_on, always_off, traceidratio, or one of them with parentbased_ before it";

/// The sampler that the environment asks for.
pub(super) fn read(env: &Env<'_>) -> Result<Sampler, Invalid> {
    let name = env.text("OTEL_TRACES_SAMPLER");
    let name = name.as_deref().unwrap_or("parentbased_always_on");
    let root = name.strip_prefix("parentbased_");
    let below = match root.unwrap_or(name) {
        "always_on" => None,
        "always_off" => Some(0),
        "traceidratio" => ratio(env)?,
        _ => {
            return Env::invalid(
                "OTEL_TRACES_SAMPLER",
                format!("must be {NAMES}, not {name:?}"),
            );
        }
    };
    Ok(Sampler {
        below,
        parent_based: root.is_some(),
    })
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
