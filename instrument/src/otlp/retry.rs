//! When a request is sent again.
//!
//! Invariant: a request is tried at most `ATTEMPTS` times, and never past the time by which the
//! exporter is to be closed.

use std::time::Duration;

use bytes::Bytes;

use super::lost::Signal;
use super::transport::{Failure, Transport};

/// As OpenTelemetry's own exporters do: the first try, and three more.
const ATTEMPTS: u32 = 4;
const FIRST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(5);

/// Sends a request until it is taken or will not be.
pub(super) async fn send(
    transport: &mut Transport,
    method: &'static str,
    body: Bytes,
    signal: &Signal,
) -> Result<Bytes, Failure> {
    let mut tried = 0;
    loop {
        let failure = match transport.send(method, body.clone()).await {
            Ok(response) => return Ok(response),
            Err(failure) => failure,
        };
        signal.keep(&failure);
        tried += 1;
        match wait(&failure, tried) {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Err(failure),
        }
    }
}

/// How long to wait before attempt number `next` (from 1), or `None`: give up.
fn wait(failure: &Failure, next: u32) -> Option<Duration> {
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
