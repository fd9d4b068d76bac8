//! Where spans go.
//!
//! Invariant: a sink is used on one thread at a time, so it needs no lock of its own: on the converter's,
//! and at last by who closes it; what it cannot take it counts.

mod chrome;
mod json_lines;
mod line;
mod memory;
mod null;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

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

/// Called on whatever thread when a sink is to be closed, which may be long before it is its turn; with
/// true if that is because the process ends, which waits for none for long. Returns until when who asked
/// waits at most.
pub type Deadline = Box<dyn Fn(bool) -> Instant + Send>;

/// Takes spans, on the converter's thread; must not block for long.
pub trait Sink: Send {
    /// Takes a batch. The parts of a call may come in several batches, in any order.
    fn spans(&mut self, batch: &[Span]);

    /// Writes what is left, on the thread of who closes it, or on the converter's. Nothing is handed over
    /// after this.
    fn close(&mut self) -> io::Result<()>;

    /// Takes a finding: the first of its problem and function, and again when there is one at least
    /// twice as bad.
    fn finding(&mut self, _finding: &Finding) {}

    /// What bounds its close from when it is asked for; `None`: it takes as long as it takes. Asked once, as
    /// it is attached.
    fn deadline(&self) -> Option<Deadline> {
        None
    }

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

    /// For how many more spans it has room. Calls and tasks for which no sink has are not built, but told by
    /// [`Sink::missed`]: whoever asks for more calls than can be exported shall not pay for spans that nobody gets.
    fn room(&self) -> usize {
        usize::MAX
    }

    /// So many sampled spans were not built, as no sink had room for them.
    fn missed(&mut self, _spans: usize) {}

    /// If no sink wants spans, none are built: records are only joined and counted.
    fn wants_spans(&self) -> bool {
        true
    }
}
