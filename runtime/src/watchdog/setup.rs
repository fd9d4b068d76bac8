//! What the watchdog sees with: its signal, and whose files are whose.
//!
//! Invariant: made once per process, attached, and never taken down: a signal may come late.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

use super::frames;
use super::gil_lock;
use super::signals::Signal;
use super::stack::Folders;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Eyes {
    pub(super) signal: Signal,
    pub(super) folders: Folders,
}

/// Leaked. A forked child inherits the handler too.
static EYES: Mutex<Option<&'static Eyes>> = Mutex::new(None);

/// The same as before, unless somebody has taken the signal since; `None` if there is none to be had.
pub(super) fn eyes(py: Python<'_>) -> Option<&'static Eyes> {
    let known = *EYES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(eyes) = known.filter(|eyes| eyes.signal.is_ours()) {
        return Some(eyes);
    }
    let folders = folders(py);
    frames::prepare(py);
    gil_lock::prepare();
    let signal = Signal::take()?;
    let eyes: &'static Eyes = Box::leak(Box::new(Eyes { signal, folders }));
    *EYES.lock().unwrap_or_else(PoisonError::into_inner) = Some(eyes);
    Some(eyes)
}

/// Where Python's own modules are, and the package's; empty where that is not known.
fn folders(py: Python<'_>) -> Folders {
    let file = |module: &str| {
        let modules = py.import("sys").and_then(|sys| sys.getattr("modules"));
        let module = modules.and_then(|modules| modules.get_item(module));
        let file = module.and_then(|module| module.getattr("__file__"));
        let file = file.and_then(|file| file.extract::<String>());
        file.unwrap_or_default()
    };
    let folder = |file: String| match file.rfind('/') {
        Some(end) => file[..=end].to_owned(),
        None => String::new(),
    };
    Folders {
        standard: folder(file("os")),
        ours: folder(file("gilscope")),
    }
}

/// The lock over them, for the time of a fork.
pub(super) fn hold() -> Box<dyn std::any::Any> {
    Box::new(EYES.lock().unwrap_or_else(PoisonError::into_inner))
}
