//! Where which CPython has what is needed of frames, code objects and strings, on 64 bits.
//!
//! Invariant: offsets in bytes, of `Include/cpython/{pystate,code,unicodeobject}.h` and
//! `Include/internal/pycore_frame.h` of that version; what no version changed is a constant.

use super::memory;

/// Of `PyObject` and `PyVarObject`.
pub(super) const TYPE: usize = 8;
pub(super) const SIZE: usize = 16;
/// Of `PyBytesObject`.
pub(super) const BYTES_CONTENT: usize = 32;
/// Of `PyASCIIObject`.
pub(super) const STRING_LENGTH: usize = 16;
pub(super) const STRING_STATE: usize = 32;

/// The size of `_PyInterpreterFrame`, and of the part of `PyCodeObject` that is read.
pub(super) const FRAME: usize = 72;
pub(super) const CODE: usize = 144;
/// The same in all of them.
pub(super) const FRAME_INSTRUCTION: usize = 56;
pub(super) const CODE_FILE: usize = 112;
pub(super) const CODE_FUNCTION: usize = 128;
pub(super) const CODE_LINES: usize = 136;

/// What differs.
#[derive(Debug)]
pub(super) struct Layout {
    /// From `PyThreadState` to the frame that runs: pointers to follow.
    state_frame: &'static [usize],
    pub(super) frame_code: usize,
    pub(super) frame_previous: usize,
    pub(super) frame_owner: usize,
    /// The owner of the frame by which C called Python: `FRAME_OWNED_BY_CSTACK`.
    pub(super) owned_by_c: Option<u8>,
    pub(super) code_first_line: usize,
    pub(super) code_instructions: usize,
    /// The sizes of `PyASCIIObject` and `PyCompactUnicodeObject`: the characters follow them.
    pub(super) ascii: usize,
    pub(super) compact: usize,
}

static V3_11: Layout = Layout {
    state_frame: &[56, 8],
    frame_code: 32,
    frame_previous: 48,
    frame_owner: 69,
    owned_by_c: None,
    code_first_line: 72,
    code_instructions: 184,
    ascii: 48,
    compact: 72,
};

static V3_12: Layout = Layout {
    state_frame: &[56, 0],
    frame_code: 0,
    frame_previous: 8,
    frame_owner: 70,
    owned_by_c: Some(3),
    code_first_line: 68,
    code_instructions: 192,
    ascii: 40,
    compact: 56,
};

static V3_13: Layout = Layout {
    state_frame: &[72],
    code_instructions: 200,
    ..V3_12
};

/// That of this version, if it is known.
pub(super) fn of(version: (u8, u8)) -> Option<&'static Layout> {
    if cfg!(not(target_pointer_width = "64")) {
        return None;
    }
    match version {
        (3, 11) => Some(&V3_11),
        (3, 12) => Some(&V3_12),
        (3, 13) => Some(&V3_13),
        _ => None,
    }
}

impl Layout {
    /// The address of the frame that a thread state runs; 0 if it runs none.
    pub(super) fn innermost(&self, state: usize) -> Option<usize> {
        self.state_frame.iter().try_fold(state, |at, offset| {
            memory::word_at(at.checked_add(*offset)?)
        })
    }
}
