//! The sink that takes nothing: records are joined, histograms fed, nothing is written.
//!
//! Invariant: attached alone, it makes the converter build no span at all.

use std::io;

use super::Sink;
use crate::span::Span;

/// Takes nothing.
#[derive(Clone, Copy, Default, Debug)]
pub struct Null;

impl Sink for Null {
    fn spans(&mut self, _batch: &[Span]) {}

    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn wants_spans(&self) -> bool {
        false
    }
}
