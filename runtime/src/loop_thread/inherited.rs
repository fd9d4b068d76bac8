//! A child that is forked inside a call, and comes back to the loop that made the call.
//!
//! Invariant: it ends before it goes on with that loop, which is the parent's: it would run the parent's
//! calls a second time, and take the events of the epoll and the bell that both have, for which the
//! parent would then wait for ever.

use pyo3::prelude::*;

use crate::life::park::ParkOnExit;

use super::drain::Drain;
use super::state::{inherited_loop, is_inherited};

/// Ends the process if the loop that this code runs for is that of its parent. One relaxed load where
/// nobody forks.
#[inline]
pub(crate) fn check(py: Python<'_>) {
    if is_inherited() {
        end(py, None);
    }
}

/// As [`check`], after user code has returned, or raised `error`.
#[inline]
pub(crate) fn check_after<'py>(py: Python<'py>, error: impl FnOnce() -> Option<Bound<'py, PyAny>>) {
    if is_inherited() {
        end(py, error());
    }
}

/// In a child that `os.fork` has made: it ends at the next thing that its parent's loop would run there,
/// for tasks and callbacks that are not ours do not ask.
#[pyfunction]
pub(crate) fn end_next(py: Python<'_>) -> PyResult<()> {
    let _parks = ParkOnExit::new();
    let Some(event_loop) = inherited_loop(py) else {
        return Ok(());
    };
    // It does nothing but end the process.
    let ends = Bound::new(py, Drain)?;
    super::thread::module(py)?.call_method1("put_first", (event_loop, ends))?;
    Ok(())
}

#[cold]
fn end(py: Python<'_>, error: Option<Bound<'_, PyAny>>) -> ! {
    // Says why, and exits; should it fail, there is nothing left to say it with.
    let _ = super::thread::module(py).and_then(|module| module.call_method1("end_child", (error,)));
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(1) }
}
