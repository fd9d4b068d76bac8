//! A `str` of the interpreter, copied as UTF-8.
//!
//! Invariant: only compact ones, as every name in a code object is; control characters do not come through.

use pyo3::ffi;

use super::layout::{self, Layout};
use super::memory;
use super::text::Text;

/// Characters that are taken of one name: more is cut off.
const MOST: usize = 400;

/// `None` where there is no string.
pub(super) fn write(address: usize, layout: &Layout, text: &mut Text<'_>) -> Option<()> {
    let head: [u8; 40] = memory::bytes(address)?;
    let state = memory::int(&head, layout::STRING_STATE);
    let (kind, is_compact, is_ascii) = (state >> 2 & 7, state >> 5 & 1 != 0, state >> 6 & 1 != 0);
    let is_string = memory::word(&head, layout::TYPE) == (&raw const ffi::PyUnicode_Type) as usize;
    if !is_string || !is_compact {
        return None;
    }
    let size = if is_ascii {
        layout.ascii
    } else {
        layout.compact
    };
    let width = usize::try_from(kind)
        .ok()
        .filter(|width| matches!(width, 1 | 2 | 4))?;
    let length = memory::word(&head, layout::STRING_LENGTH);
    let mut at = address.checked_add(size)?;
    let mut left = length.min(MOST);
    while left > 0 {
        let mut piece = [0; 128];
        let count = left.min(piece.len() / width);
        let piece = &mut piece[..count * width];
        if !memory::fill(at, piece) {
            return None;
        }
        piece
            .chunks(width)
            .for_each(|one| text.character(character(one)));
        (at, left) = (at + piece.len(), left - count);
    }
    if length > MOST {
        text.character('…');
    }
    Some(())
}

fn character(bytes: &[u8]) -> char {
    let code = match *bytes {
        [one] => one.into(),
        [low, high] => u16::from_ne_bytes([low, high]).into(),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]),
        _ => 0,
    };
    char::from_u32(code)
        .filter(|it| !it.is_control())
        .unwrap_or('?')
}
