//! Where spans go.
//!
//! Invariant: a sink is used on the converter's thread only, so it needs no lock of its own; what
//! it cannot take it counts.

mod chrome;
mod json_lines;
mod line;
mod memory;
mod null;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

pub use chrome::Chrome;
pub use json_lines::{JsonLines, json_line};
pub use memory::{Memory, MemoryHandle};
pub use null::Null;

use crate::finding::Finding;
use crate::span::Span;

/// Whether a sink is attached that exports.
static EXPORTING: AtomicBool = AtomicBool::new(false);

/// Whether spans leave the process: see [`Sink::exports`]. Any thread; one relaxed load.
pub fn exporting() -> bool {
    EXPORTING.load(Relaxed)
}

/// For the converter.
pub(crate) fn set_exporting(exporting: bool) {
    EXPORTING.store(exporting, Relaxed);
}

/// Whether a sink is attached that wants spans.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Whether somebody wants spans: see [`Sink::wants_spans`]. Any thread; one relaxed load.
pub fn watched() -> bool {
    WATCHED.load(Relaxed)
}

/// For the converter.
pub(crate) fn set_watched(watched: bool) {
    WATCHED.store(watched, Relaxed);
}

/// Whether all sinks are being closed since the process ends.
static THE_END: AtomicBool = AtomicBool::new(false);

/// For the converter.
pub(crate) fn set_at_the_end(ends: bool) {
    THE_END.store(ends, Relaxed);
}

/// Whether a sink that is closed now is so because the process ends, which waits for none for long.
#[cfg_attr(not(feature = "otlp"), allow(dead_code))]
pub(crate) fn at_the_end() -> bool {
    THE_END.load(Relaxed)
}

/// Takes spans. Used on the converter's thread only; must not block for long.
pub trait Sink: Send {
    /// Takes a batch. The parts of a call may come in several batches, in any order.
    fn spans(&mut self, batch: &[Span]);

    /// Writes what is left. Nothing is handed over after this.
    fn close(&mut self) -> io::Result<()>;

    /// Takes a finding: the first of its problem and function, and again when there is one at least
    /// twice as bad.
    fn finding(&mut self, _finding: &Finding) {}

    /// How many spans it did not take so far; 0 of one that counts them by reasons of its own, which
    /// would else be counted twice.
    fn dropped(&self) -> u64 {
        0
    }

    /// Whether its spans leave the process. While they do, errors come with their stacks, and calls are
    /// the parents of the spans that user code makes inside them.
    fn exports(&self) -> bool {
        false
    }

    /// If no sink wants spans, none are built: records are only joined and counted.
    fn wants_spans(&self) -> bool {
        true
    }
}
