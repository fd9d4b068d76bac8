//! The line of an instruction, from a code object's table (CPython's `Objects/locations.md`).
//!
//! Invariant: reads a table as `bytes` of at most `MOST`, piece by piece; one that makes no sense has no lines.

use pyo3::ffi;

use super::{layout, memory};

/// Longer tables are not read: 64 kB are tens of thousands of instructions.
const MOST: usize = 1 << 16;

/// The line of that code unit, of the table at that address.
pub(super) fn line(table: usize, first: i32, unit: usize) -> Option<i32> {
    let head: [u8; layout::BYTES_CONTENT] = memory::bytes(table)?;
    let is_bytes = memory::word(&head, layout::TYPE) == (&raw const ffi::PyBytes_Type) as usize;
    let size = memory::word(&head, layout::SIZE);
    if !is_bytes || size > MOST {
        return None;
    }
    let mut pieces = Pieces::new(table + layout::BYTES_CONTENT, size);
    find(|| pieces.next(), first, unit)
}

/// The bytes of a table, a piece at a time.
struct Pieces {
    next: usize,
    left: usize,
    piece: [u8; 128],
    at: usize,
    end: usize,
}

impl Pieces {
    fn new(next: usize, left: usize) -> Self {
        Self {
            next,
            left,
            piece: [0; 128],
            at: 0,
            end: 0,
        }
    }

    fn next(&mut self) -> Option<u8> {
        if self.at == self.end {
            let size = self.left.min(self.piece.len());
            if size == 0 || !memory::fill(self.next, &mut self.piece[..size]) {
                return None;
            }
            (self.next, self.left) = (self.next + size, self.left - size);
            (self.at, self.end) = (0, size);
        }
        self.at += 1;
        Some(self.piece[self.at - 1])
    }
}

/// Walks entries up to the one that covers the unit; `None` if that one has no line, or there is none.
fn find(mut next: impl FnMut() -> Option<u8>, first: i32, unit: usize) -> Option<i32> {
    let (mut line, mut covered) = (first, 0);
    loop {
        let head = next()?;
        if head & 0x80 == 0 {
            return None; // not the beginning of an entry
        }
        let kind = head >> 3 & 0x0F;
        let (change, rest) = match kind {
            15 => (0, Rest::Bytes(0)),
            14 => (signed(&mut next)?, Rest::Numbers(3)),
            13 => (signed(&mut next)?, Rest::Bytes(0)),
            10..=12 => (i32::from(kind) - 10, Rest::Bytes(2)),
            _ => (0, Rest::Bytes(1)),
        };
        line = line.checked_add(change)?;
        covered += usize::from(head & 0x07) + 1;
        if unit < covered {
            return (kind != 15).then_some(line);
        }
        match rest {
            Rest::Bytes(count) => (0..count).try_for_each(|_| next().map(drop))?,
            Rest::Numbers(count) => (0..count).try_for_each(|_| number(&mut next).map(drop))?,
        }
    }
}

/// The columns, which nobody asked for.
enum Rest {
    Bytes(u8),
    Numbers(u8),
}

/// Six bits a byte, the lowest first.
fn number(next: &mut impl FnMut() -> Option<u8>) -> Option<u32> {
    let (mut value, mut shift) = (0_u32, 0);
    loop {
        let byte = next()?;
        value |= u32::from(byte & 0x3F).checked_shl(shift)?;
        shift += 6;
        if byte & 0x40 == 0 {
            return Some(value);
        }
    }
}

/// The lowest bit is the sign.
fn signed(next: &mut impl FnMut() -> Option<u8>) -> Option<i32> {
    let value = number(next)?;
    let size = i32::try_from(value >> 1).ok()?;
    Some(if value & 1 == 0 { size } else { -size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_in(table: &[u8], unit: usize) -> Option<i32> {
        let mut bytes = table.iter().copied();
        find(|| bytes.next(), 10, unit)
    }

    #[test]
    fn every_kind_of_entry_is_understood() {
        let table = [
            0x80 | 1,             // short: two units of line 10
            0x33,                 // its columns
            0x80 | (11 << 3),     // one unit a line below
            1,                    // columns
            2,                    //
            0x80 | (13 << 3),     // a unit, without columns
            3,                    // a line above
            0x80 | (15 << 3),     // one without a line
            0x80 | (14 << 3),     // long
            0x40 | 2,             // 130 / 2 below
            2,                    //
            1,                    // the end, and two columns
            0x41,                 //
            1,                    //
            5,                    //
            0x80 | (12 << 3) | 7, // eight units two below that
            0,
            0,
        ];
        let lines: Vec<_> = (0..15).map(|unit| find_in(&table, unit)).collect();
        let mut expected = vec![Some(10), Some(10), Some(11), Some(10), None, Some(75)];
        expected.extend([Some(77); 8]);
        expected.push(None); // beyond the end
        assert_eq!(lines, expected);
    }

    #[test]
    fn nonsense_has_no_lines() {
        assert_eq!(find_in(&[], 0), None);
        assert_eq!(find_in(&[0x01], 0), None);
        assert_eq!(
            find_in(&[0xF0, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F], 0),
            None
        );
    }
}
