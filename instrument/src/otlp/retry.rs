//! When a request is sent again.
//!
//! Invariant: a request is tried at most `ATTEMPTS` times, and never past the time by which the
//! exporter is to be closed.

use std::time::Duration;

use super::transport::Failure;

/// As OpenTelemetry's own exporters do: the first try, and three more.
pub(super) const ATTEMPTS: u32 = 4;
const FIRST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(5);

/// How long to wait before attempt number `next` (from 1), or `None`: give up.
pub(super) fn wait(failure: &Failure, next: u32) -> Option<Duration> {
    let Failure::Retry { after, .. } = failure else {
        return None;
    };
    if next >= ATTEMPTS {
        return None;
    }
    let doubled = FIRST * 2u32.pow(next - 1);
    // Half of it by chance, so that many processes do not come back together.
    let chance = crate::ids::new_id() as u32;
    let jittered = doubled / 2 + doubled.mul_f64(f64::from(chance) / f64::from(u32::MAX)) / 2;
    Some(after.unwrap_or(jittered).min(MOST))
}
