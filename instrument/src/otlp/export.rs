//! The export thread: takes batches from the queue, sends them, again where that may help.
//!
//! Invariant: it never attaches to Python and nobody waits for it, but the one who closes the
//! exporter, until the time it was given.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::encode;
use super::lost::{Counters, Why};
use super::queue::Queue;
use super::retry;
use super::settings::Settings;
use super::transport::{Failure, Transport};
use crate::span::Span;

/// How often a request that is under way looks whether the exporter is being closed.
const LOOK: Duration = Duration::from_millis(20);

pub(super) struct Exporter {
    pub(super) settings: Settings,
    pub(super) queue: Arc<Queue>,
    pub(super) counters: Arc<Counters>,
    /// Dropped when the thread ends.
    pub(super) _done: Sender<()>,
}

impl Exporter {
    /// The thread.
    pub(super) fn run(self, runtime: &tokio::runtime::Runtime, mut transport: Transport) {
        loop {
            let batch = self.queue.take(self.settings.batch, self.settings.delay);
            if batch.is_empty() {
                break;
            }
            runtime.block_on(self.export(&mut transport, &batch));
            if self
                .queue
                .closing()
                .is_some_and(|end| Instant::now() >= end)
            {
                self.counters.add(Why::Closed, self.queue.empty());
            }
        }
        self.counters.tell();
    }

    async fn export(&self, transport: &mut Transport, batch: &[Span]) {
        let sampler = self.settings.sampler;
        let sampled = |span: &&Span| sampler.takes(span.trace);
        let spans: Vec<Span> = batch.iter().filter(sampled).cloned().collect();
        if spans.is_empty() {
            return;
        }
        tokio::select! {
            biased;
            sent = self.send(transport, &spans) => match sent {
                Ok(rejected) => {
                    let rejected = usize::try_from(rejected).unwrap_or(0).min(spans.len());
                    self.counters.add(Why::Rejected, rejected);
                    self.counters.count_exported(spans.len() - rejected);
                }
                Err(_) => self.counters.add(Why::Failed, spans.len()),
            },
            () = self.closed() => self.counters.add(Why::Closed, spans.len()),
        }
        self.counters.tell();
    }

    async fn send(&self, transport: &mut Transport, spans: &[Span]) -> Result<u64, Failure> {
        let request = encode::request(&self.settings.resource, spans);
        let mut tried = 0;
        loop {
            let failure = match transport.send(&request).await {
                Ok(rejected) => return Ok(rejected),
                Err(failure) => failure,
            };
            self.counters.keep(&failure);
            tried += 1;
            match retry::wait(&failure, tried) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(failure),
            }
        }
    }

    /// Ready when the exporter is being closed and its time has come.
    async fn closed(&self) {
        while self.queue.closing().is_none_or(|end| Instant::now() < end) {
            tokio::time::sleep(LOOK).await;
        }
    }
}
