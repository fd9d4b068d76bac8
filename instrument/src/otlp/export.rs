//! The export thread: takes batches from the queue, sends them, again where that may help.
//!
//! Invariant: it never attaches to Python and nobody waits for it, but the one who closes the
//! exporter, until the time it was given.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use super::lost::{Counters, Lost, Why};
use super::metrics;
use super::queue::Queue;
use super::request::request;
use super::retry;
use super::settings::Settings;
use super::transport::{Failure, Transport};
use crate::error::cut;
use crate::span::Span;

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
/// How often a request that is under way looks whether the exporter is being closed.
const LOOK: Duration = Duration::from_millis(20);

pub(super) struct Exporter {
    pub(super) settings: Settings,
    pub(super) queue: Arc<Queue>,
    pub(super) counters: Arc<Counters>,
    /// Dropped when the thread ends.
    pub(super) _done: Sender<()>,
}

/// Where the two signals go.
pub(super) struct Transports {
    pub(super) traces: Transport,
    pub(super) metrics: Transport,
}

impl Exporter {
    /// The thread.
    pub(super) fn run(self, runtime: &tokio::runtime::Runtime, mut to: Transports) {
        runtime.block_on(async {
            // Beside one another to the end: neither uses up the other's time to close.
            let spans = self.all_spans(&mut to.traces);
            let ((), said) = tokio::join!(spans, self.all_metrics(&mut to.metrics));
            if said.is_none() {
                self.counters.tell_of_metrics();
            } else if said != Some(self.counters.lost()) && self.has_time() {
                // What closing itself lost; that all others were taken is known by now.
                self.metrics(&mut to.metrics).await;
            }
        });
    }

    /// Until the exporter is closed.
    async fn all_spans(&self, transport: &mut Transport) {
        let Settings { batch, delay, .. } = self.settings;
        while let Some(batch) = self.queue.take(batch, delay).await {
            self.spans(transport, batch).await;
            if !self.has_time() {
                self.counters.add(Why::Closed, self.queue.empty());
            }
        }
        self.counters.tell();
        self.counters.tell_in_total();
    }

    /// Until the exporter is closed, beside the spans, which wait for none of them; one request at a
    /// time. The last one's are returned.
    async fn all_metrics(&self, transport: &mut Transport) -> Option<Lost> {
        let now_and_then = async {
            loop {
                tokio::time::sleep(self.settings.interval).await;
                if self.metrics(transport).await.is_none() {
                    self.counters.tell_of_metrics();
                }
            }
        };
        tokio::select! {
            () = now_and_then => {}
            () = self.queue.closed() => {}
        }
        // What was under way is said again: a request has all since the start.
        self.metrics(transport).await
    }

    async fn spans(&self, transport: &mut Transport, spans: Vec<Span>) {
        let until = Instant::now() + self.settings.spans_within;
        let mut left = spans.as_slice();
        while !left.is_empty() {
            let (body, taken) = request(&self.settings.resource, left);
            tokio::select! {
                biased;
                sent = self.send(transport, body, until) => match sent {
                    Ok(rejected) => {
                        let rejected = usize::try_from(rejected).unwrap_or(0).min(taken);
                        self.counters.add(Why::Rejected, rejected);
                        self.counters.count_exported(taken - rejected);
                    }
                    Err(_) => self.counters.add(Why::Failed, taken),
                },
                () = self.closed() => {
                    self.counters.add(Why::Closed, left.len());
                    break;
                }
            }
            left = &left[taken..];
        }
        self.counters.tell();
    }

    /// What is not taken is in the next request, which has all since the start. The spans that were lost
    /// by what was taken.
    async fn metrics(&self, transport: &mut Transport) -> Option<Lost> {
        let (meters, lost) = (crate::stats::meters(), self.counters.lost());
        let now = crate::gauges::gauges();
        let request = metrics::request(&self.settings.resource, &meters, &lost, &now);
        let body = request.encode_to_vec().into();
        let until = Instant::now() + self.settings.metrics_within;
        let taken = tokio::select! {
            biased;
            sent = retry::send(transport, METRICS, body, &self.counters.metrics, until) => sent.is_ok(),
            () = self.closed() => false,
        };
        taken.then_some(lost)
    }

    /// Returns how many of a request's spans were not taken.
    async fn send(
        &self,
        transport: &mut Transport,
        body: Bytes,
        until: Instant,
    ) -> Result<u64, Failure> {
        let signal = &self.counters.spans;
        let response = retry::send(transport, TRACES, body, signal, until).await?;
        // A collector that answers something else has taken it all the same.
        let response = ExportTraceServiceResponse::decode(response).unwrap_or_default();
        let Some(partial) = response.partial_success else {
            return Ok(0);
        };
        let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
        if rejected != 0 {
            let why = cut(&partial.error_message, 256);
            let colon = if why.is_empty() { "" } else { ": " };
            signal.keep(&format_args!("the collector rejects them{colon}{why}"));
        }
        Ok(rejected)
    }

    /// Ready when the exporter is being closed and its time has come.
    async fn closed(&self) {
        while self.has_time() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether the exporter is not being closed, or still has time for that.
    fn has_time(&self) -> bool {
        self.queue.end().is_none_or(|end| Instant::now() < end)
    }
}
