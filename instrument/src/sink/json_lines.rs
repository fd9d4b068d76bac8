//! One JSON object per span and line.
//!
//! Invariant: what `flush` promised is in the file: every batch is written through; after the
//! first failed write nothing more is written, and what is not is counted.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::{Sink, line};
use crate::finding::{Finding, json_finding};
use crate::span::Span;

/// Bytes that are written at once; a line has about 300.
const BLOCK: usize = 1 << 16;

/// Writes a file of one JSON object per line.
pub struct JsonLines {
    file: File,
    block: Vec<u8>,
    /// Spans in `block`.
    waiting: u64,
    /// Bytes of whole lines in the file.
    whole: u64,
    failed: Option<io::Error>,
    dropped: u64,
}

impl JsonLines {
    /// Creates or replaces the file. Fails at once if it cannot be written.
    pub fn new(path: impl AsRef<Path>) -> io::Result<JsonLines> {
        Ok(JsonLines {
            file: File::create(path)?,
            block: Vec::with_capacity(BLOCK + BLOCK / 16),
            waiting: 0,
            whole: 0,
            failed: None,
            dropped: 0,
        })
    }

    fn write(&mut self) {
        if self.failed.is_none() {
            self.failed = self.file.write_all(&self.block).err();
            match self.failed {
                None => self.whole += self.block.len() as u64,
                // Part of the block may be there. What is counted as dropped is taken out, where that
                // can be done (not of a pipe), and no line is left torn.
                Some(_) => drop(self.file.set_len(self.whole)),
            }
        }
        if self.failed.is_some() {
            self.dropped += self.waiting;
        }
        self.waiting = 0;
        self.block.clear();
    }
}

impl Sink for JsonLines {
    fn spans(&mut self, batch: &[Span]) {
        for span in batch {
            line::append(&mut self.block, span);
            self.block.push(b'\n');
            self.waiting += 1;
            if self.block.len() >= BLOCK {
                self.write();
            }
        }
        self.write();
    }

    fn finding(&mut self, finding: &Finding) {
        self.block.extend(json_finding(finding).bytes());
        self.block.push(b'\n');
        self.waiting += 1;
        self.write();
    }

    fn close(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// The line of one span, without its end of line.
pub fn json_line(span: &Span) -> String {
    let mut out = Vec::with_capacity(512);
    line::append(&mut out, span);
    String::from_utf8(out).unwrap_or_default()
}
