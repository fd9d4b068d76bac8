//! What the watchdog sees with: its signals, the pipe, and whose files are whose.
//!
//! Invariant: made once per process, attached, and never taken down: a signal may come late.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::pipe::Pipe;
use super::signals::{self, Signals};
use super::stack::Folders;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Eyes {
    pub(super) signals: Signals,
    pub(super) pipe: Pipe,
    pub(super) folders: Folders,
}

/// With the generation of the process that made them. Leaked.
static EYES: Mutex<Option<(u64, &'static Eyes)>> = Mutex::new(None);
/// The last that were taken, which a forked child inherits with their handlers.
static SIGNALS: Mutex<Option<Signals>> = Mutex::new(None);

/// Those of this process; `None` if there are no signals to be had.
pub(super) fn eyes(py: Python<'_>, generation: u64) -> PyResult<Option<&'static Eyes>> {
    let known = *EYES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, eyes)) = known.filter(|(of, eyes)| *of == generation && eyes.signals.are_ours())
    {
        return Ok(Some(eyes));
    }
    let folders = folders(py);
    let Some(numbers) = numbers() else {
        return Ok(None);
    };
    let pipe = Pipe::new()?;
    register(py, numbers.1, &pipe)?;
    let Some(signals) = Signals::new(numbers) else {
        return Ok(None);
    };
    *SIGNALS.lock().unwrap_or_else(PoisonError::into_inner) = Some(signals);
    let eyes: &'static Eyes = Box::leak(Box::new(Eyes {
        signals,
        pipe,
        folders,
    }));
    *EYES.lock().unwrap_or_else(PoisonError::into_inner) = Some((generation, eyes));
    Ok(Some(eyes))
}

/// The same as before, unless somebody has taken one of them since.
fn numbers() -> Option<(i32, i32)> {
    let known = *SIGNALS.lock().unwrap_or_else(PoisonError::into_inner);
    match known.filter(Signals::are_ours) {
        Some(ours) => Some(ours.numbers()),
        None => signals::take(),
    }
}

fn register(py: Python<'_>, signal: i32, pipe: &Pipe) -> PyResult<()> {
    let options = PyDict::new(py);
    options.set_item("file", pipe.write_end())?;
    options.set_item("all_threads", false)?;
    options.set_item("chain", false)?;
    let faulthandler = py.import("faulthandler")?;
    faulthandler.call_method("register", (signal,), Some(&options))?;
    Ok(())
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

/// The locks over them, for the time of a fork.
pub(super) fn hold() -> Box<dyn std::any::Any> {
    let signals = SIGNALS.lock().unwrap_or_else(PoisonError::into_inner);
    Box::new((signals, EYES.lock().unwrap_or_else(PoisonError::into_inner)))
}
