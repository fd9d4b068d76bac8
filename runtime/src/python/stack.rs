//! The stack of an exception, of what it was raised from and of what is in it, for spans.
//!
//! Invariants: the walk is bounded, whatever the chain looks like; it reads no files, since the GIL is
//! held, and runs user code only where an exception's own `__str__` is. What there is no room for is left
//! out where it is farthest from the exception itself, which is always named.

use std::collections::VecDeque;
use std::fmt::Write;

use gilscope_instrument::ErrorText;
use pyo3::exceptions::PyBaseException;
use pyo3::ffi;
use pyo3::prelude::*;

use super::group::{leaves, notes};
use super::text::{cut, lossy};

/// Most exceptions of a chain, the newest; of the groups in it, the first; and frames of each, the newest.
const EXCEPTIONS: usize = 8;
const LEAVES: usize = 8;
const FRAMES: usize = 50;
/// Most frames that are walked to find the newest.
const WALKED: usize = 10_000;

const LEFT_OUT: &str = "[what went before is left out]\n";
const HEAD: &str = "Traceback (most recent call last):\n";
/// What stands before each line of what is in a group, and the line that ends it.
const MARGIN: &str = "  | ";
const MORE: &str = "  | [more of them are left out]\n";
const END: &str = "  +------------------------------------\n";
/// Room for the lines that say how much is left out, and for what Python says between two exceptions.
const SAID: usize = 128;

/// The stack for an exporter, the only one who wants it; empty while there is none. Attached.
pub(crate) fn exported(exception: &Bound<'_, PyAny>) -> String {
    if gilscope_instrument::exporting() {
        of(exception, ErrorText::LONGEST_STACK)
    } else {
        String::new()
    }
}

/// As Python prints it, without the source lines: oldest first, the exception itself last, and what is in
/// a group after it; in at most `room` bytes. Attached.
pub(crate) fn of(exception: &Bound<'_, PyAny>, room: usize) -> String {
    let mut room = room.saturating_sub(SAID);
    let (mut parts, mut seen, mut most) = (Vec::new(), Vec::new(), LEAVES);
    let mut next = Some((exception.clone(), ""));
    while let Some((exception, joint)) = next {
        let known = seen.contains(&exception.as_ptr()) || seen.len() >= EXCEPTIONS;
        let named = if known {
            String::new()
        } else {
            named(&exception, "")
        };
        // The exception itself is told in any case.
        if known || !seen.is_empty() && named.len() + joint.len() > room {
            parts.push([LEFT_OUT, joint].concat());
            break;
        }
        seen.push(exception.as_ptr());
        let mut text = framed(&exception, within(named, room), room - joint.len(), "");
        let inside = members(&exception, &mut most, room - joint.len() - text.len());
        text.push_str(&inside);
        text.push_str(joint);
        room -= text.len();
        parts.push(text);
        next = before(&exception);
    }
    parts.reverse();
    parts.concat()
}

/// What is in a group, each with an equal part of the room; nothing of what is no group.
fn members(exception: &Bound<'_, PyAny>, most: &mut usize, room: usize) -> String {
    let (leaves, mut more) = leaves(exception, *most);
    *most -= leaves.len();
    let mut text = String::new();
    let mut room = room.saturating_sub(MORE.len() + END.len());
    for (before, leaf) in leaves.iter().enumerate() {
        let rule = format!("  +---------------- {} ----------------\n", before + 1);
        let share = room / (leaves.len() - before);
        if share < rule.len() + SAID {
            more = true;
            break;
        }
        let share = share - rule.len();
        let told = framed(leaf, within(named(leaf, MARGIN), share), share, MARGIN);
        room -= rule.len() + told.len();
        text.push_str(&rule);
        text.push_str(&told);
    }
    if more && room > 0 {
        text.push_str(MORE);
    }
    if !text.is_empty() {
        text.push_str(END);
    }
    text
}

/// What it was raised from, or while, and what Python says between the two.
fn before<'py>(exception: &Bound<'py, PyAny>) -> Option<(Bound<'py, PyAny>, &'static str)> {
    let (py, raised) = (
        exception.py(),
        exception.cast::<PyBaseException>().ok()?.as_ptr(),
    );
    // Not the attributes, which a class may have overridden.
    // SAFETY: an exception; new references, or NULL where there is none.
    let (cause, context) = unsafe {
        (
            Bound::from_owned_ptr_or_opt(py, ffi::PyException_GetCause(raised)),
            Bound::from_owned_ptr_or_opt(py, ffi::PyException_GetContext(raised)),
        )
    };
    if let Some(cause) = cause {
        let joint = "\nThe above exception was the direct cause of the following exception:\n\n";
        return Some((cause, joint));
    }
    let suppressed = py
        .get_type::<PyBaseException>()
        .getattr("__suppress_context__")
        .and_then(|attribute| attribute.call_method1("__get__", (exception,)))
        .and_then(|suppressed| suppressed.is_truthy());
    let suppressed = suppressed.unwrap_or(true);
    let joint = "\nDuring handling of the above exception, another exception occurred:\n\n";
    context.filter(|_| !suppressed).map(|it| (it, joint))
}

/// Its type, message and notes, in lines that begin with `margin`.
fn named(exception: &Bound<'_, PyAny>, margin: &str) -> String {
    let rendered = super::text::render(exception, false);
    let mut text = rendered.type_name;
    if !rendered.message.is_empty() {
        text.push_str(": ");
        text.push_str(&rendered.message);
    }
    for note in notes(exception) {
        text.push('\n');
        text.push_str(&note);
    }
    text.push('\n');
    if margin.is_empty() {
        return text;
    }
    let lines = text.lines().map(|line| [margin, line, "\n"].concat());
    lines.collect()
}

/// The beginning, if it is too long.
fn within(named: String, room: usize) -> String {
    if named.len() <= room {
        return named;
    }
    cut(named, room.saturating_sub("…\n".len())) + "\n"
}

/// With its newest frames before it, as many as there is room for.
fn framed(exception: &Bound<'_, PyAny>, named: String, room: usize, margin: &str) -> String {
    let Some((frames, mut left_out)) = frames(exception) else {
        return named;
    };
    let mut room = room.saturating_sub(named.len() + HEAD.len() + SAID);
    let mut kept = Vec::new();
    for frame in frames.iter().rev() {
        let line = [margin, &line(frame).unwrap_or_default()].concat();
        if line.len() > room {
            break;
        }
        room -= line.len();
        kept.push(line);
    }
    if kept.is_empty() {
        return named;
    }
    left_out += frames.len() - kept.len();
    let mut text = [margin, HEAD].concat();
    if left_out > 0 {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{margin}  [{left_out} frames are left out]");
    }
    kept.iter().rev().for_each(|line| text.push_str(line));
    text + &named
}

/// The newest frames of its traceback, and how many there are before them.
fn frames<'py>(exception: &Bound<'py, PyAny>) -> Option<(VecDeque<Bound<'py, PyAny>>, usize)> {
    let (py, raised) = (
        exception.py(),
        exception.cast::<PyBaseException>().ok()?.as_ptr(),
    );
    // SAFETY: an exception; a new reference, or NULL where it was never raised.
    let first = unsafe { ffi::PyException_GetTraceback(raised) };
    // SAFETY: as above.
    let mut trace = unsafe { Bound::from_owned_ptr_or_opt(py, first)? };
    let (mut newest, mut before) = (VecDeque::with_capacity(FRAMES), 0);
    while !trace.is_none() && before + newest.len() < WALKED {
        if newest.len() == FRAMES {
            newest.pop_front();
            before += 1;
        }
        let next = trace.getattr("tb_next").ok()?;
        newest.push_back(std::mem::replace(&mut trace, next));
    }
    Some((newest, before))
}

fn line(trace: &Bound<'_, PyAny>) -> PyResult<String> {
    let code = trace.getattr("tb_frame")?.getattr("f_code")?;
    let file = lossy(&code.getattr("co_filename")?)?;
    let name = lossy(&code.getattr("co_name")?)?;
    let line: i32 = trace.getattr("tb_lineno")?.extract()?;
    Ok(format!("  File \"{file}\", line {line}, in {name}\n"))
}
