//! What was not exported, by reason.
//!
//! Invariant: a span that a sink was handed is exported, not sampled, or counted here, once.

use std::fmt::Display;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::settings::Target;
use crate::global::lock;

/// Why a span was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// The queue was full: the collector is slower than the calls.
    Queue,
    /// The collector did not take it, however often it was tried.
    Failed,
    /// The collector took the request, but not this span of it.
    Rejected,
    /// The exporter was closed before its turn came.
    Closed,
}

/// Why, where no request failed.
const NO_TIME: &str = "there was no time left";

/// Spans that were exported and that were lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lost {
    /// They found the queue full: the collector is slower than the calls.
    pub queue_full: u64,
    /// The collector did not take them, however often it was tried, or refused them for good.
    pub export_failed: u64,
    /// The collector took their request, but not them.
    pub rejected: u64,
    /// The exporter was closed before their turn came.
    pub closed: u64,
}

impl Lost {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.queue_full + self.export_failed + self.rejected + self.closed
    }

    /// Each reason and its count.
    pub fn by_reason(&self) -> [(&'static str, u64); 4] {
        [
            ("queue_full", self.queue_full),
            ("export_failed", self.export_failed),
            ("rejected", self.rejected),
            ("closed", self.closed),
        ]
    }
}

/// What is known of a signal's requests.
#[derive(Debug, Default)]
pub(super) struct Signal {
    /// Where they go, for who reads that they do not arrive.
    to: String,
    last_failure: Mutex<Option<String>>,
    told: AtomicBool,
}

impl Signal {
    fn new(target: &Target) -> Signal {
        Signal {
            to: format!("{} to {}", target.protocol, target.shown()),
            ..Signal::default()
        }
    }

    /// Keeps what a request failed with.
    pub(super) fn keep(&self, failure: &dyn Display) {
        let failure = failure.to_string();
        *lock(&self.last_failure) = Some(failure);
    }

    pub(super) fn last_failure(&self) -> Option<String> {
        lock(&self.last_failure).clone()
    }

    /// Says on stderr what is lost and why.
    fn say(&self, what: &str, why: &str, hint: &str) {
        let to = &self.to;
        let text = format!(
            "gilscope: {what} are lost on their way to the collector: {why} ({to}{hint})\n"
        );
        // Nobody to tell it to.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// The counters behind [`Lost`].
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) spans: Signal,
    pub(super) metrics: Signal,
    lost: [AtomicU64; 4],
    exported: AtomicU64,
}

impl Counters {
    pub(super) fn new(traces: &Target, metrics: &Target) -> Counters {
        Counters {
            spans: Signal::new(traces),
            metrics: Signal::new(metrics),
            lost: Default::default(),
            exported: AtomicU64::default(),
        }
    }

    /// Says on stderr that spans are being lost, once: from then on they are only counted.
    pub(super) fn tell(&self) {
        if self.lost().total() == 0 || self.spans.told.swap(true, Relaxed) {
            return;
        }
        let why = match self.spans.last_failure() {
            Some(failure) => failure,
            None if self.lost().queue_full > 0 => "the collector is slower than the calls".into(),
            None => NO_TIME.into(),
        };
        let hint = match self.exported() {
            0 => hint(&why, &self.spans.to),
            _ => "",
        };
        self.spans.say("spans", &why, hint);
    }

    /// Says on stderr that metrics are, once; not where it is said of the spans that go there too.
    pub(super) fn tell_of_metrics(&self) {
        let known = self.spans.told.load(Relaxed) && self.spans.to == self.metrics.to;
        if known || self.metrics.told.swap(true, Relaxed) {
            return;
        }
        let why = self.metrics.last_failure();
        self.metrics
            .say("metrics", why.as_deref().unwrap_or(NO_TIME), "");
    }

    pub(super) fn add(&self, why: Why, spans: usize) {
        self.lost[why as usize].fetch_add(spans as u64, Relaxed);
    }

    pub(super) fn count_exported(&self, spans: usize) {
        self.exported.fetch_add(spans as u64, Relaxed);
    }

    pub(super) fn exported(&self) -> u64 {
        self.exported.load(Relaxed)
    }

    pub(super) fn lost(&self) -> Lost {
        let of = |why: Why| self.lost[why as usize].load(Relaxed);
        Lost {
            queue_full: of(Why::Queue),
            export_failed: of(Why::Failed),
            rejected: of(Why::Rejected),
            closed: of(Why::Closed),
        }
    }
}

/// What may be wrong with an address where nothing was ever taken, by the words in which the libraries
/// say that somebody is there but does not understand; "" if they do not say that.
fn hint(failure: &str, to: &str) -> &'static str {
    let says = |words: &str| failure.contains(words);
    if says("InvalidContentType") {
        "; is that a port without TLS?"
    } else if to.starts_with("http/protobuf to http:")
        && (says("client error (SendRequest)") || says("received unexpected message"))
    {
        "; is that a port for grpc?"
    } else if to.starts_with("grpc to http:")
        && says("transport error")
        && !says("connect error")
        && !says("dns error")
    {
        "; is that a port for http/protobuf?"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_port_is_thought_of_only_where_somebody_is() {
        let said = "The service is currently unavailable: transport error: ";
        let to = "grpc to http://collector:4318";
        let hint = |what: &str| hint(&format!("{said}{what}"), to);
        assert_eq!(hint("http2 error"), "; is that a port for http/protobuf?");
        assert_eq!(hint("tcp connect error: Connection refused"), "");
        assert_eq!(hint("dns error: Name or service not known"), "");
    }
}
