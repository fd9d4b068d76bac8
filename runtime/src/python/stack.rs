//! The stack of an exception and of what it was raised from, for spans.
//!
//! Invariant: the walk is bounded, whatever the chain looks like; it reads no files, since the GIL is
//! held, and runs user code only where an exception's own `__str__` is.

use std::fmt::Write;

use pyo3::exceptions::PyBaseException;
use pyo3::ffi;
use pyo3::prelude::*;

use super::text::lossy;

/// Most exceptions of a chain, and most frames of each: the newest of both.
const EXCEPTIONS: usize = 8;
const FRAMES: usize = 50;

/// As Python prints it, without the source lines: oldest first, the exception itself last. Attached.
pub(crate) fn of(exception: &Bound<'_, PyAny>) -> String {
    let mut parts = Vec::new();
    let mut seen = Vec::new();
    let mut next = Some((exception.clone(), ""));
    while let Some((exception, joint)) = next {
        if seen.contains(&exception.as_ptr()) || parts.len() >= EXCEPTIONS {
            parts.push(format!("[what went before is left out]\n{joint}"));
            break;
        }
        seen.push(exception.as_ptr());
        parts.push(part(&exception) + joint);
        next = before(&exception);
    }
    parts.reverse();
    parts.concat()
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

fn part(exception: &Bound<'_, PyAny>) -> String {
    let mut text = String::new();
    if let Some(frames) = frames(exception) {
        text.push_str("Traceback (most recent call last):\n");
        let left_out = frames.len().saturating_sub(FRAMES);
        if left_out > 0 {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  [{left_out} frames are left out]");
        }
        frames[left_out..]
            .iter()
            .for_each(|frame| text.push_str(frame));
    }
    let rendered = super::text::render(exception, false);
    text.push_str(&rendered.type_name);
    if !rendered.message.is_empty() {
        text.push_str(": ");
        text.push_str(&rendered.message);
    }
    text.push('\n');
    text
}

/// The lines of its traceback, at most a thousand.
fn frames(exception: &Bound<'_, PyAny>) -> Option<Vec<String>> {
    let (py, raised) = (
        exception.py(),
        exception.cast::<PyBaseException>().ok()?.as_ptr(),
    );
    // SAFETY: an exception; a new reference, or NULL where it was never raised.
    let first = unsafe { ffi::PyException_GetTraceback(raised) };
    // SAFETY: as above.
    let mut trace = unsafe { Bound::from_owned_ptr_or_opt(py, first)? };
    let mut lines = Vec::new();
    while !trace.is_none() && lines.len() < 1000 {
        lines.push(line(&trace).unwrap_or_default());
        trace = trace.getattr("tb_next").ok()?;
    }
    Some(lines)
}

fn line(trace: &Bound<'_, PyAny>) -> PyResult<String> {
    let code = trace.getattr("tb_frame")?.getattr("f_code")?;
    let file = lossy(&code.getattr("co_filename")?)?;
    let name = lossy(&code.getattr("co_name")?)?;
    let line: i32 = trace.getattr("tb_lineno")?.extract()?;
    Ok(format!("  File \"{file}\", line {line}, in {name}\n"))
}
