//! When a request is sent again.
//!
//! Invariant: a request is tried at most `ATTEMPTS` times, and never past the time it was given, nor past
//! that by which the exporter is to be closed.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::lost::Signal;
use super::transport::{Failure, Transport};

/// As OpenTelemetry's own exporters do: the first try, and three more.
const ATTEMPTS: u32 = 4;
const FIRST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(5);

/// Where no try of it ended by itself.
const NO_ANSWER: &str = "no answer within the time for an export";

/// Sends a request until it is taken or will not be, or that moment comes.
pub(super) async fn send(
    transport: &mut Transport,
    method: &'static str,
    body: Bytes,
    signal: &Signal,
    until: Instant,
) -> Result<Bytes, Failure> {
    let mut tried = 0;
    loop {
        let answer = transport.send(method, body.clone());
        let failure = match tokio::time::timeout_at(until.into(), answer).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::retry(NO_ANSWER),
        };
        signal.keep(&failure);
        tried += 1;
        match wait(&failure, tried) {
            // Not to be waited for if there is no time to try it again.
            Some(wait) if Instant::now() + wait < until => tokio::time::sleep(wait).await,
            _ => return Err(failure),
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
