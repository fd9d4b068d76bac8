//! What a call can end with besides a value: one enum, one conversion to Python.
//!
//! Invariant: `Display` and `Debug` never attach to the interpreter; whatever they show was rendered
//! on the loop thread when the error arose.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gilscope_instrument::Name;
use pyo3::prelude::*;

use crate::handle::PyHandle;
use crate::python::{group, raised, text};

/// Outcome of one call: what its callback receives, exactly once.
pub type Outcome<T> = Result<T, Error>;

/// Who cancelled a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelledBy {
    /// The caller: a dropped future, `CallHandle::cancel`, a cancelled awaiting task.
    Caller,
    /// The callee raised, or let out, a `CancelledError` that nobody asked for.
    Callee,
    /// The runtime was shut down while the call was in flight.
    Shutdown,
}

impl CancelledBy {
    /// The word used in Python, spans and docs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Where a call was when its deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Waiting for room or in the queue: the body never ran.
    Queued,
    /// Inside a poll, that is, holding the loop.
    Poll,
    /// Suspended at an await.
    Suspended,
    /// Cancelled before and still in its cleanup.
    Cleanup,
}

impl Place {
    /// The word used in Python, spans and docs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Poll => "poll",
            Self::Suspended => "suspended",
            Self::Cleanup => "cleanup",
        }
    }
}

/// A Python exception together with its text.
///
/// The exception object itself is kept, traceback, cause and notes included; it is released on the
/// loop thread when the last clone goes away, wherever that happens.
#[derive(Clone)]
pub struct PythonError {
    exception: PyHandle,
    shown: Arc<Shown>,
}

#[derive(Default)]
struct Shown {
    text: ErrorText,
    cause: Option<PythonError>,
    inside: Vec<PythonError>,
    more_inside: usize,
}

/// Most exceptions in a chain of causes, which may be a cycle.
const CAUSES: usize = 16;
/// Most exceptions of a group whose texts are kept.
const INSIDE: usize = 8;

/// Text of an exception, rendered once on the loop thread.
#[derive(Debug, Default)]
pub struct ErrorText {
    /// Qualified type name, for example `ValueError` or `app.errors.NotFound`.
    pub type_name: String,
    /// `str(exception)`, or a placeholder if that raised.
    pub message: String,
    /// The formatted traceback, or empty if it was not asked for.
    pub traceback: String,
    /// `file:line in function` of the innermost frame of user code, or empty as the traceback is.
    pub raised_at: String,
}

impl PythonError {
    pub(crate) fn new(exception: Bound<'_, PyAny>, with_traceback: bool) -> Self {
        let mut shown = Shown {
            text: text::render(&exception, with_traceback),
            ..Shown::default()
        };
        if with_traceback {
            shown.cause = text::cause(&exception).map(|cause| Self::cause_of(cause, CAUSES - 1));
            let (inside, more) = group::counted(&exception, INSIDE);
            shown.inside = inside.into_iter().map(Self::inside_of).collect();
            shown.more_inside = more;
        }
        Self::shown(exception, shown)
    }

    /// One of a chain; the traceback of the first tells those of the others.
    fn cause_of(exception: Bound<'_, PyAny>, causes: usize) -> Self {
        let cause = match causes {
            0 => None,
            _ => text::cause(&exception),
        };
        let shown = Shown {
            text: text::render(&exception, false),
            cause: cause.map(|cause| Self::cause_of(cause, causes - 1)),
            ..Shown::default()
        };
        Self::shown(exception, shown)
    }

    /// One of a group.
    fn inside_of(exception: Bound<'_, PyAny>) -> Self {
        let raised_at = raised::raised_at(&exception);
        let shown = Shown {
            text: ErrorText {
                raised_at: raised_at.unwrap_or_default(),
                ..text::render(&exception, false)
            },
            ..Shown::default()
        };
        Self::shown(exception, shown)
    }

    fn shown(exception: Bound<'_, PyAny>, shown: Shown) -> Self {
        Self {
            exception: PyHandle::new(exception.unbind()),
            shown: Arc::new(shown),
        }
    }

    /// The exception object. Clone and drop it anywhere; look into it attached.
    #[must_use]
    pub fn exception(&self) -> &PyHandle {
        &self.exception
    }

    /// Its qualified type name, for example `ValueError` or `app.errors.NotFound`.
    #[must_use]
    pub fn type_name(&self) -> &str {
        &self.shown.text.type_name
    }

    /// Its message; a placeholder if `__str__` raised.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.shown.text.message
    }

    /// Its traceback as text.
    #[must_use]
    pub fn traceback(&self) -> &str {
        &self.shown.text.traceback
    }

    /// Where it was raised, as `file:line in function`: the innermost frame outside of the standard
    /// library and of installed packages, if there is one. Empty where no frame is known.
    #[must_use]
    pub fn raised_at(&self) -> &str {
        &self.shown.text.raised_at
    }

    /// What it was raised from, or while: `__cause__`, or `__context__` unless that is suppressed. At
    /// most 16 in a row; `None` too where the traceback was not asked for.
    #[must_use]
    pub fn cause(&self) -> Option<&Self> {
        self.shown.cause.as_ref()
    }

    /// What is in it, if it is an exception group: the first eight exceptions that are no groups
    /// themselves, with where they were raised and without traceback or cause. Empty too where the
    /// traceback was not asked for.
    #[must_use]
    pub fn inside(&self) -> &[Self] {
        &self.shown.inside
    }

    /// How many exceptions more than [`inside`](PythonError::inside) tells are in it; of those of a huge
    /// group some 4,000 are counted.
    #[must_use]
    pub fn more_inside(&self) -> usize {
        self.shown.more_inside
    }

    /// The same exception as a `PyErr`, for callers that are attached.
    #[must_use]
    pub fn to_py_err(&self, py: Python<'_>) -> PyErr {
        PyErr::from_value(self.exception.bind(py).clone())
    }
}

impl fmt::Display for PythonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}",
            self.shown.text.type_name, self.shown.text.message
        )
    }
}

impl fmt::Debug for PythonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PythonError({self})")?;
        if !self.shown.text.traceback.is_empty() {
            write!(f, "\n{}", self.shown.text.traceback)?;
        }
        Ok(())
    }
}

impl std::error::Error for PythonError {
    /// Its [`cause`](PythonError::cause).
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause().map(|cause| cause as _)
    }
}

/// Every way in which a call can fail.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The callee raised; delivered as itself.
    Python(PythonError),
    /// The call was cancelled.
    Cancelled {
        /// Who asked for it.
        by: CancelledBy,
        /// By the callee: its own `CancelledError`. Else `None`: the caller knows why.
        cause: Option<PythonError>,
    },
    /// The caller's deadline passed; the Python side is being cancelled.
    DeadlineExceeded {
        /// Where the call was.
        place: Place,
        /// The call's name, as in its spans.
        name: Name,
        /// What the deadline was, of a stream for the whole of it.
        deadline: Duration,
    },
    /// The arguments could not be converted to Python; the callee never ran.
    Argument(PythonError),
    /// The callee returned, but its value does not convert to the type asked for.
    Result {
        /// What the conversion raised.
        error: PythonError,
        /// What the callee returned.
        value: PyHandle,
    },
    /// Rust code panicked on behalf of this call; the text of the panic.
    RustPanic(String),
    /// The runtime is stopped, or was made before a `fork` and this is the child.
    RuntimeStopped {
        /// Why.
        why: Stopped,
        /// What kept it from starting, if Python raised it. Else `None`.
        cause: Option<PythonError>,
    },
    /// The queue had no room and the caller did not want to wait.
    QueueFull,
    /// A blocking call on a thread that must not block (a loop thread or a tokio worker).
    WrongThread(&'static str),
}

/// Why a runtime does not take or finish calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stopped {
    /// `shutdown` was called.
    Shutdown = 1,
    /// Somebody closed the event loop under the runtime.
    LoopClosed = 2,
    /// The handle is from before a `fork`; `py_runtime()` in the child makes a fresh runtime.
    Forked = 3,
    /// The loop thread could not start.
    NotStarted = 4,
    /// The `on_start` hook raised.
    StartHook = 5,
    /// There is no Python in this process yet, or no more; `Python::initialize()` comes first.
    NotInitialized = 6,
}

/// In the number of a [`Stopped`] that a host gives to a job: above this, which runtime has the cause.
const RUNTIME_SHIFT: u32 = 8;

impl Stopped {
    /// As a host gives it to a job, with the number of its runtime if that has the cause.
    pub(crate) fn detail(self, runtime: u16) -> u32 {
        match self {
            Self::NotStarted | Self::StartHook => self as u32 | u32::from(runtime) << RUNTIME_SHIFT,
            _ => self as u32,
        }
    }

    /// The reason a number stands for.
    pub(crate) fn of(detail: u32) -> Self {
        match detail & ((1 << RUNTIME_SHIFT) - 1) {
            2 => Self::LoopClosed,
            3 => Self::Forked,
            4 => Self::NotStarted,
            5 => Self::StartHook,
            6 => Self::NotInitialized,
            _ => Self::Shutdown,
        }
    }
}

impl From<Stopped> for Error {
    fn from(why: Stopped) -> Self {
        Self::RuntimeStopped { why, cause: None }
    }
}

impl Error {
    /// What a number from a host stands for.
    pub(crate) fn stopped(detail: u32) -> Self {
        let runtime = (detail >> RUNTIME_SHIFT) as u16;
        let cause = match runtime {
            0 => None,
            _ => crate::life::registry::cause_of(runtime),
        };
        let why = Stopped::of(detail);
        Self::RuntimeStopped { why, cause }
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shutdown => "it was shut down",
            Self::LoopClosed => "its event loop was closed",
            Self::Forked => {
                "this handle was made before a fork; call py_runtime() in the child for a fresh one"
            }
            Self::NotStarted => "its loop thread could not start",
            Self::StartHook => "its on_start hook raised",
            Self::NotInitialized => "Python is not initialized: call Python::initialize() first",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Python(error) => error.fmt(f),
            Self::Cancelled { by, cause } => {
                write!(f, "the call was cancelled by the {}", by.as_str())?;
                match cause.as_ref().map(PythonError::message) {
                    None | Some("") => Ok(()),
                    Some(message) => write!(f, ": {message}"),
                }
            }
            Self::DeadlineExceeded {
                place,
                name,
                deadline,
            } => write!(
                f,
                "{} did not end within {} s (it was {})",
                gilscope_instrument::resolve(*name),
                deadline.as_secs_f64(),
                match place {
                    Place::Queued | Place::Suspended => place.as_str(),
                    Place::Poll => "in a poll",
                    Place::Cleanup => "in its cleanup",
                }
            ),
            Self::Argument(error) => write!(f, "an argument could not be converted: {error}"),
            Self::Result { error, .. } => write!(f, "the result could not be converted: {error}"),
            Self::RustPanic(text) => write!(f, "Rust code panicked: {text}"),
            Self::RuntimeStopped { why, cause } => {
                write!(f, "the runtime is stopped: {why}")?;
                let Some(cause) = cause else { return Ok(()) };
                f.write_str(if *why == Stopped::StartHook {
                    " "
                } else {
                    ": "
                })?;
                match cause.message() {
                    "" => f.write_str(cause.type_name()),
                    _ => cause.fmt(f),
                }
            }
            Self::QueueFull => f.write_str("the call queue is full"),
            Self::WrongThread(what) => write!(
                f,
                "a blocking call from {what} would deadlock; use call_async there"
            ),
        }
    }
}

impl std::error::Error for Error {
    /// What the Python exception, whose text this error's contains, was raised from.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let shown = match self {
            Self::Python(error) | Self::Argument(error) | Self::Result { error, .. } => error,
            Self::Cancelled { cause, .. } | Self::RuntimeStopped { cause, .. } => cause.as_ref()?,
            _ => return None,
        };
        shown.source()
    }
}

impl From<Error> for PyErr {
    /// Attaches; a Python exception comes back as itself.
    fn from(error: Error) -> Self {
        Python::attach(|py| crate::python::exceptions::to_py_err(py, error))
    }
}

/// The text of a caught panic.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without text".to_owned())
}
