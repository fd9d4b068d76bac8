//! The sink: hands spans to the export thread's queue.
//!
//! Invariant: used on the converter's thread, which it holds for no longer than a copy takes, and at
//! its close for as long as it was told.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::export::{Exporter, Transports};
use super::lost::{Counters, Lost, Why, tell_of_the_ring};
use super::queue::Queue;
use super::settings::{FOR_EVER, Invalid, Settings};
use super::transport::Transport;
use crate::sampling::Installed;
use crate::sink::{Deadline, Sink};
use crate::span::Span;
use crate::stats;

/// How long its close waits, unless it was told otherwise.
const CLOSE: Duration = Duration::from_secs(1);
/// By how much of that, and at most how long, the thread gives up before its close does.
const EARLIER: f32 = 0.3;
const EARLIER_BY: Duration = Duration::from_millis(300);

/// How much nicer the export thread is than others: it has a tenth of their share of a processor that
/// all want, enough for 20,000 calls a second.
const NICE: libc::c_int = 10;

/// Exports spans by OTLP.
#[derive(Debug)]
pub struct Otlp {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    /// Disconnected once the export thread has ended.
    ended: Receiver<()>,
    batch: usize,
    close: Duration,
    /// What rings had dropped before.
    overflow: u64,
    /// Until it is closed.
    sampler: Option<Installed>,
}

/// Looks at an [`Otlp`] sink from elsewhere, also after its end. Any thread.
#[derive(Clone, Debug)]
pub struct OtlpHandle(Arc<Counters>);

impl OtlpHandle {
    /// Spans that a collector has taken.
    pub fn exported(&self) -> u64 {
        self.0.exported()
    }

    /// Spans that were lost, by reason.
    pub fn lost(&self) -> Lost {
        self.0.lost()
    }

    /// By which protocol they go, and where.
    pub fn to(&self) -> &str {
        self.0.spans.to()
    }

    /// What the last request that was given up failed with.
    pub fn last_failure(&self) -> Option<String> {
        self.0.spans.last_failure()
    }
}

impl Otlp {
    /// Starts the export thread. Nobody is connected to yet: an unreachable collector is no error.
    ///
    /// # Errors
    /// An endpoint, a header or a certificate that cannot be used, or no thread.
    pub fn start(settings: Settings) -> Result<(Otlp, OtlpHandle), Invalid> {
        let sampler = settings.sampler.install();
        // What was dropped until now is not missing in this export.
        crate::flush();
        let queue = Arc::new(Queue::new(settings.queue, settings.budget));
        let counters = Arc::new(Counters::new(&settings.traces, &settings.metrics));
        let (done, ended) = channel();
        let (ready, is_ready) = channel();
        let (batch, traces, metrics) = (
            settings.batch,
            settings.traces.clone(),
            settings.metrics.clone(),
        );
        let exporter = Exporter {
            settings,
            queue: queue.clone(),
            counters: counters.clone(),
            _done: done,
        };
        let thread = std::thread::Builder::new().name("gilscope-otlp".into());
        let started = thread.spawn(move || {
            yield_to_calls();
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let Ok(runtime) = runtime.enable_all().build() else {
                return;
            };
            let made = runtime.block_on(async {
                Ok(Transports {
                    traces: Transport::new(&traces)?,
                    metrics: Transport::new(&metrics)?,
                })
            });
            match made {
                Ok(transports) => {
                    let _ = ready.send(Ok(()));
                    exporter.run(&runtime, transports);
                }
                Err(invalid) => drop(ready.send(Err(invalid))),
            }
        });
        let none = || Invalid {
            name: "the export thread".into(),
            problem: "could not be started".into(),
        };
        started.map_err(|_| none())?;
        is_ready.recv().unwrap_or_else(|_| Err(none()))?;
        let sink = Otlp {
            queue,
            counters: counters.clone(),
            ended,
            batch,
            close: CLOSE,
            overflow: stats::overflow(),
            sampler: Some(sampler),
        };
        Ok((sink, OtlpHandle(counters)))
    }

    /// How long its close may wait for what is left to be taken; a second otherwise, and at most at the
    /// end of the process. Nothing else is done meanwhile with what is recorded: other sinks wait, and so
    /// does who asks for [`stats`](crate::stats) after a [`flush`](crate::flush).
    #[must_use]
    pub fn close_within(mut self, time: Duration) -> Otlp {
        self.close = time.min(FOR_EVER);
        self
    }
}

/// Gives the present thread, and no other, less of the processor than calls have, where there is not
/// enough for all: what they then lose of their spans is counted.
fn yield_to_calls() {
    // SAFETY: a plain number. On Linux this is the calling thread's alone; that it may fail does no harm.
    unsafe { libc::nice(NICE) };
}

/// Has the export thread give up within that time, a little before it is over, so that what it then counts
/// and says is there; when the time is over, which was set before if this is not the first time.
fn end_within(queue: &Queue, time: Duration) -> Instant {
    let earlier = time.mul_f32(EARLIER).min(EARLIER_BY);
    queue.end_by(Instant::now() + time - earlier) + earlier
}

impl Sink for Otlp {
    fn spans(&mut self, batch: &[Span]) {
        // Those that are not sampled must not take the room of those that are.
        let sampled = batch.iter().filter(|span| span.is_sampled());
        let full = self.queue.put(sampled, self.batch);
        self.counters.add(Why::Queue, full);
    }

    fn room(&self) -> usize {
        self.queue.room()
    }

    fn missed(&mut self, spans: usize) {
        self.counters.add(Why::Queue, spans);
    }

    fn close(&mut self) -> io::Result<()> {
        let end = end_within(&self.queue, self.close);
        self.queue.close();
        let left = end.saturating_duration_since(Instant::now());
        let _ = self.ended.recv_timeout(left);
        // Not before: links to turns are chosen by it as spans are encoded.
        self.sampler = None;
        tell_of_the_ring(stats::overflow().saturating_sub(self.overflow));
        Ok(())
    }

    fn deadline(&self) -> Option<Deadline> {
        let (queue, close) = (self.queue.clone(), self.close);
        Some(Box::new(move |at_the_end| {
            let most = if at_the_end { CLOSE } else { FOR_EVER };
            end_within(&queue, close.min(most))
        }))
    }

    fn exports(&self) -> bool {
        true
    }
}
