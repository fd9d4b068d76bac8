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

pub use chrome::Chrome;
pub use json_lines::{JsonLines, json_line};
pub use memory::{Memory, MemoryHandle};
pub use null::Null;

use crate::span::Span;

/// Takes spans. Used on the converter's thread only; must not block for long.
pub trait Sink: Send {
    /// Takes a batch. The parts of a call may come in several batches, in any order.
    fn spans(&mut self, batch: &[Span]);

    /// Writes what is left. Nothing is handed over after this.
    fn close(&mut self) -> io::Result<()>;

    /// How many spans it did not take so far.
    fn dropped(&self) -> u64 {
        0
    }

    /// Whether errors are to come with their stacks.
    fn wants_stacks(&self) -> bool {
        false
    }

    /// If no sink wants spans, none are built: records are only joined and counted.
    fn wants_spans(&self) -> bool {
        true
    }
}
