//! What an exporter did not export, by reason, and how it is said.
//!
//! Invariant: a span that a sink was handed is exported, not sampled, or counted here, once.

use std::fmt::Display;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::settings::Target;
use crate::global::{global, lock};
use crate::lost::Counts;
pub use crate::lost::Lost;
pub(super) use crate::lost::Why;

/// Why, where no request failed.
const NO_TIME: &str = "there was no time left to send them before the end";

/// What helps, where most spans were lost because the queue was full, or for another of the reasons.
const FULL: &str =
    "OTEL_BSP_MAX_QUEUE_SIZE lets more of them wait, OTEL_TRACES_SAMPLER makes fewer of them";
const FAILED: &str = "does a collector take traces there? its log may say what it lacks";
const REJECTED: &str = "the collector's log may say why";
const CLOSED: &str =
    "does a collector answer there? what is left has a second, or close_within, at the end";

/// Says on stderr how many records never became spans, and what gives them room.
pub(super) fn tell_of_the_ring(records: u64) {
    if records == 0 {
        return;
    }
    let slots = crate::recorder::ring_slots();
    let remedy = match crate::recorder::MOST_RING {
        most if slots < most => format!("GILSCOPE_RING={} doubles it", 2 * slots),
        _ => "which is the most; GILSCOPE_DETAIL=call needs fewer".into(),
    };
    say(&format!(
        "{records} records were dropped before they were spans: the ring between a loop and the record has \
         {slots} slots, {remedy}"
    ));
}

fn say(text: &str) {
    // If not, there is nobody to tell it to.
    let _ = std::io::stderr().write_all(format!("gilscope: {text}\n").as_bytes());
}

/// What is known of a signal's requests.
#[derive(Debug, Default)]
pub(super) struct Signal {
    /// Where they go, for who reads that they do not arrive.
    to: String,
    /// Who takes them there.
    server: String,
    last_failure: Mutex<Option<String>>,
    told: AtomicBool,
}

impl Signal {
    fn new(target: &Target) -> Signal {
        Signal {
            to: target.posted(),
            server: format!("{} to {}", target.protocol, target.shown()),
            ..Signal::default()
        }
    }

    /// Keeps what a request failed with.
    pub(super) fn keep(&self, failure: &dyn Display) {
        let failure = failure.to_string();
        *lock(&self.last_failure) = Some(failure);
    }

    /// By which protocol, and where.
    pub(super) fn to(&self) -> &str {
        &self.to
    }

    pub(super) fn last_failure(&self) -> Option<String> {
        lock(&self.last_failure).clone()
    }

    /// Says on stderr what is lost and why.
    fn say(&self, what: &str, why: &str, hint: &str) {
        let to = &self.to;
        say(&format!(
            "{what} are lost on their way to the collector: {why} ({to}{hint})"
        ));
    }
}

/// The counters behind [`Lost`].
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) spans: Signal,
    pub(super) metrics: Signal,
    lost: Counts,
    exported: AtomicU64,
}

impl Counters {
    pub(super) fn new(traces: &Target, metrics: &Target) -> Counters {
        Counters {
            spans: Signal::new(traces),
            metrics: Signal::new(metrics),
            lost: Counts::default(),
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

    /// Says on stderr how many were lost and why, and what to do about the most of them; at the end.
    pub(super) fn tell_in_total(&self) {
        let lost = self.lost();
        let Some(how) = lost.in_words() else {
            return;
        };
        let remedies = [
            (lost.queue_full, FULL),
            (lost.export_failed, FAILED),
            (lost.rejected, REJECTED),
            (lost.closed, CLOSED),
        ];
        let most = remedies.into_iter().max_by_key(|(count, _)| *count);
        let remedy = most.map_or("", |(_, remedy)| remedy);
        let (count, to) = (lost.total(), &self.spans.to);
        let all = count + self.exported();
        say(&format!(
            "{count} of {all} spans were lost: {how} ({to}; {remedy})"
        ));
    }

    /// Says on stderr that metrics are, once; not where it is said of the spans that go there too.
    pub(super) fn tell_of_metrics(&self) {
        let known = self.spans.told.load(Relaxed) && self.spans.server == self.metrics.server;
        if known || self.metrics.told.swap(true, Relaxed) {
            return;
        }
        let why = self.metrics.last_failure();
        self.metrics
            .say("metrics", why.as_deref().unwrap_or(NO_TIME), "");
    }

    pub(super) fn add(&self, why: Why, spans: usize) {
        self.lost.add(why, spans);
        // Those of all exporters of this process.
        global().lost.add(why, spans);
    }

    pub(super) fn count_exported(&self, spans: usize) {
        self.exported.fetch_add(spans as u64, Relaxed);
    }

    pub(super) fn exported(&self) -> u64 {
        self.exported.load(Relaxed)
    }

    pub(super) fn lost(&self) -> Lost {
        self.lost.get()
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
