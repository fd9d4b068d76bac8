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
        self.head(field, bytes.len());
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

    /// What is before a message of that many bytes, or before text.
    pub(super) fn head(&mut self, field: u32, len: usize) {
        self.key(field, DELIMITED);
        self.varint(len as u64);
    }

    /// A message in this one that is likely to be shorter than 128 bytes.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Wire)) {
        self.measured::<1>(field, write);
    }

    /// A message in this one that is likely to have 128 bytes or more, and less than 16 KiB.
    pub(super) fn long(&mut self, field: u32, write: impl FnOnce(&mut Wire)) {
        self.measured::<2>(field, write);
    }

    /// A message whose length is likely to take `SIZE` bytes: where it does not, the message is moved.
    #[inline]
    fn measured<const SIZE: usize>(&mut self, field: u32, write: impl FnOnce(&mut Wire)) {
        self.key(field, DELIMITED);
        let at = self.0.len();
        let start = at + SIZE;
        self.0.extend_from_slice(&[0; SIZE]);
        write(self);
        let mut len = self.0.len() - start;
        let size = size(len);
        if size != SIZE {
            self.shift(start, at + size);
        }
        for byte in &mut self.0[at..at + size - 1] {
            *byte = len as u8 | 0x80;
            len >>= 7;
        }
        self.0[at + size - 1] = len as u8;
    }

    /// Moves what begins at `from`, to the end, so that it begins at `to`.
    #[cold]
    fn shift(&mut self, from: usize, to: usize) {
        let end = self.0.len();
        self.0.resize(end.max(end + to - from), 0);
        self.0.copy_within(from..end, to);
        self.0.truncate(end + to - from);
    }
}

/// How many bytes a varint takes.
fn size(value: usize) -> usize {
    (usize::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use prost::encoding::{WireType, encode_key, encode_varint};

    use super::*;

    fn written(write: impl FnOnce(&mut Wire)) -> Vec<u8> {
        let mut wire = Wire::default();
        wire.int(1, 7);
        write(&mut wire);
        wire.int(3, 9);
        wire.0
    }

    #[test]
    fn a_message_has_its_length_before_it_whatever_that_takes() {
        for len in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            let text = vec![b'x'; len];
            let mut wanted = vec![1 << 3, 7];
            encode_key(2, WireType::LengthDelimited, &mut wanted);
            encode_varint(len as u64, &mut wanted);
            wanted.extend_from_slice(&text);
            wanted.extend_from_slice(&[3 << 3, 9]);
            let put = |wire: &mut Wire| wire.0.extend_from_slice(&text);
            assert!(written(|wire| wire.message(2, put)) == wanted, "{len}");
            assert!(written(|wire| wire.long(2, put)) == wanted, "{len}");
        }
    }
}
