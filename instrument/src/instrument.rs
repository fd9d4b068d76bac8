//! What a Rust program sets up to see its calls: exporters that run for as long as the program wants.
//!
//! Invariant: dropping it ends what it started, and nothing else.

use std::time::Duration;

use crate::converter::{SinkId, attach_sink, detach_sink};
use crate::otlp::{Invalid, Otlp, OtlpHandle, Settings};

/// Exports that run until it is closed or dropped.
#[derive(Debug)]
pub struct Instrument {
    sink: Option<SinkId>,
    handle: Option<OtlpHandle>,
}

/// What an [`Instrument`] is to do.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    otlp: Option<Option<String>>,
    close_within: Option<Duration>,
}

impl Instrument {
    /// Nothing yet.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Spans that a collector has taken, and those that were lost; `None` if nothing is exported.
    pub fn export(&self) -> Option<&OtlpHandle> {
        self.handle.as_ref()
    }

    /// Sends what is left, for at most a second unless it was told otherwise, and ends it. Blocks for that time; any thread.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(sink) = self.sink.take() {
            // It was closed at the end of the process already, or it has told itself what failed.
            let _ = detach_sink(sink);
        }
    }
}

impl Drop for Instrument {
    fn drop(&mut self) {
        self.end();
    }
}

impl Builder {
    /// Exports to an OpenTelemetry collector, where the standard `OTEL_EXPORTER_OTLP_…` variables say.
    #[must_use]
    pub fn otlp(mut self) -> Builder {
        self.otlp.get_or_insert_default();
        self
    }

    /// Exports to the collector at this URL.
    #[must_use]
    pub fn otlp_to(mut self, url: &str) -> Builder {
        self.otlp = Some(Some(url.to_owned()));
        self
    }

    /// How long closing it may take, to send what is left; a second otherwise, and at most at the end of
    /// the process. Other sinks wait meanwhile.
    #[must_use]
    pub fn close_within(mut self, time: Duration) -> Builder {
        self.close_within = Some(time);
        self
    }

    /// Starts it. Nobody is connected to yet: a collector that is not there is no error.
    ///
    /// # Errors
    /// An address or a variable that cannot be used.
    pub fn install(self) -> Result<Instrument, Invalid> {
        let mut instrument = Instrument {
            sink: None,
            handle: None,
        };
        let Some(endpoint) = self.otlp else {
            return Ok(instrument);
        };
        if let Some(settings) = Settings::read(endpoint.as_deref())? {
            let (mut sink, handle) = Otlp::start(settings)?;
            if let Some(time) = self.close_within {
                sink = sink.close_within(time);
            }
            instrument.sink = Some(attach_sink(Box::new(sink)));
            instrument.handle = Some(handle);
        }
        Ok(instrument)
    }
}
