//! Protocol Buffers, written straight into one buffer: each attribute of a span is two messages, which
//! would otherwise be built, measured and thrown away.
//!
//! Invariant: what is written is what prost would write of the same message, byte by byte, as long as
//! fields are written in the order of their numbers.

/// The wire types.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

/// A message that is being written.
#[derive(Default)]
pub(super) struct Wire(pub(super) Vec<u8>);

impl Wire {
    fn key(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A number; one of a `oneof` is also written where it is 0.
    pub(super) fn int(&mut self, field: u32, value: u64) {
        self.key(field, VARINT);
        self.varint(value);
    }

    /// Text or bytes; of a `oneof`, also where it is empty.
    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, DELIMITED);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn fixed64(&mut self, field: u32, value: u64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn fixed32(&mut self, field: u32, value: u32) {
        self.key(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Text, unless it is empty: what is not there reads as that.
    pub(super) fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    /// How many there are, unless there are none.
    pub(super) fn count(&mut self, field: u32, count: u32) {
        if count != 0 {
            self.int(field, count.into());
        }
    }

    /// A message in this one.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Wire)) {
        self.key(field, DELIMITED);
        let at = self.0.len();
        // Nearly all are shorter than 128 bytes, whose length takes one.
        self.0.push(0);
        write(self);
        let len = self.0.len() - at - 1;
        if len < 0x80 {
            self.0[at] = len as u8;
        } else {
            self.lengthen(at, len);
        }
    }

    /// Makes room for a longer length.
    fn lengthen(&mut self, at: usize, len: usize) {
        let mut length = Wire::default();
        length.varint(len as u64);
        self.0.splice(at..=at, length.0);
    }
}
