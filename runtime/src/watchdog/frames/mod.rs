//! A thread's Python stack, read by the thread itself in a signal's handler, wherever that interrupted it.
//!
//! Invariant: signal-safe, and no pointer of the interpreter is followed: everything is copied by the kernel,
//! which says no where nothing is mapped, and is used only if its type is what it should be. A frame that
//! was just being made or taken down is missing, or wrong; it cannot harm.

mod layout;
mod lines;
mod memory;
mod strings;
mod text;

use std::sync::OnceLock;

use pyo3::ffi;
use pyo3::prelude::*;

use layout::Layout;

pub(super) use text::{Frame, Text, frames_of};

/// Frames that are written at most, and that are looked at: those of C calls are left out.
const MOST: usize = 100;

/// That of this process's Python, once it was seen to be right.
static LAYOUT: OnceLock<Option<&'static Layout>> = OnceLock::new();

/// Finds out how frames are to be read, before the first signal. Attached. Where they cannot be, as in a
/// version that is not known here, no stack is written.
pub(super) fn prepare(py: Python<'_>) {
    LAYOUT.get_or_init(|| {
        let version = py.version_info();
        layout::of((version.major, version.minor)).filter(|layout| is_right(py, layout))
    });
}

/// Whether the frame that the interpreter says is innermost is the one that is found. A program that just
/// began has none: then it is believed.
fn is_right(_py: Python<'_>, layout: &'static Layout) -> bool {
    // SAFETY: attached; the frame is borrowed.
    let frame = unsafe { ffi::PyEval_GetFrame() };
    if frame.is_null() {
        return true;
    }
    // SAFETY: attached, and a frame. Its code is ours to give back; the frame keeps it.
    let code = unsafe {
        let code = ffi::PyFrame_GetCode(frame);
        ffi::Py_DECREF(code.cast());
        code as usize
    };
    // SAFETY: allowed on any thread.
    let state = unsafe { ffi::PyGILState_GetThisThreadState() };
    let mut frames = Walk::of(layout, state);
    frames.find_map(|frame| Some(frame.code(layout)?.address)) == Some(code)
}

/// Whether these bytes are there. Signal-safe.
pub(super) fn are_at<const N: usize>(address: usize, bytes: [u8; N]) -> bool {
    memory::bytes(address) == Some(bytes)
}

/// Writes the frames of a thread state, innermost first, as far as they can be read and there is room.
/// On the thread whose state it is.
pub(super) fn write(state: *mut ffi::PyThreadState, text: &mut Text<'_>) {
    if let Some(Some(layout)) = LAYOUT.get() {
        for frame in Walk::of(layout, state) {
            if let Some(code) = frame.code(layout) {
                code.write(frame.instruction, layout, text);
            }
        }
    }
}

/// The frames of a thread, innermost first.
struct Walk {
    layout: &'static Layout,
    next: Option<usize>,
    left: usize,
}

impl Walk {
    fn of(layout: &'static Layout, state: *mut ffi::PyThreadState) -> Self {
        Self {
            layout,
            next: layout.innermost(state as usize),
            left: MOST,
        }
    }
}

impl Iterator for Walk {
    type Item = InterpreterFrame;

    fn next(&mut self) -> Option<InterpreterFrame> {
        self.left = self.left.checked_sub(1)?;
        let frame = InterpreterFrame::read(self.next.take()?, self.layout)?;
        self.next = Some(frame.previous);
        Some(frame)
    }
}

/// What is needed of a `_PyInterpreterFrame`.
struct InterpreterFrame {
    previous: usize,
    code: usize,
    /// Where it is: the instruction that runs, or the one before the first.
    instruction: usize,
    owner: u8,
}

impl InterpreterFrame {
    fn read(address: usize, layout: &Layout) -> Option<Self> {
        let bytes: [u8; layout::FRAME] = memory::bytes(address)?;
        Some(Self {
            previous: memory::word(&bytes, layout.frame_previous),
            code: memory::word(&bytes, layout.frame_code),
            instruction: memory::word(&bytes, layout::FRAME_INSTRUCTION),
            owner: bytes[layout.frame_owner],
        })
    }

    /// `None` for the frame by which C called Python, and for what is no code.
    fn code(&self, layout: &Layout) -> Option<Code> {
        if layout.owned_by_c == Some(self.owner) {
            return None;
        }
        Code::read(self.code, layout)
    }
}

/// What is needed of a `PyCodeObject`.
struct Code {
    address: usize,
    file: usize,
    function: usize,
    lines: usize,
    first_line: i32,
}

impl Code {
    fn read(address: usize, layout: &Layout) -> Option<Self> {
        let bytes: [u8; layout::CODE] = memory::bytes(address)?;
        let is_code = memory::word(&bytes, layout::TYPE) == (&raw const ffi::PyCode_Type) as usize;
        is_code.then(|| Self {
            address,
            file: memory::word(&bytes, layout::CODE_FILE),
            function: memory::word(&bytes, layout::CODE_FUNCTION),
            lines: memory::word(&bytes, layout::CODE_LINES),
            first_line: memory::int(&bytes, layout.code_first_line),
        })
    }

    fn write(&self, instruction: usize, layout: &Layout, text: &mut Text<'_>) {
        let written = text.frame(|text| {
            strings::write(self.file, layout, text)?;
            text.end_of_field();
            match self.line(instruction, layout) {
                Some(line) => text.number(line.unsigned_abs()),
                None => text.character('?'),
            }
            text.end_of_field();
            strings::write(self.function, layout, text)?;
            text.end_of_field();
            Some(())
        });
        let _ = written; // the room has ended, or a name is none: what is whole stays
    }

    fn line(&self, instruction: usize, layout: &Layout) -> Option<i32> {
        const UNIT: usize = 2;
        let Some(offset) = instruction.checked_sub(self.address + layout.code_instructions) else {
            return Some(self.first_line);
        };
        lines::line(self.lines, self.first_line, offset / UNIT)
    }
}
