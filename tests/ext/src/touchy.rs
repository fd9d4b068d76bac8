//! Results whose destructor panics, let go of in every place where the runtime does so.
//!
//! Invariant: whoever was to receive the result has gone when these functions return.

use std::any::Any;
use std::convert::Infallible;
use std::time::Duration;

use gilscope_runtime::{OnDrop, PyAsyncCallback, PyFun};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tokio::sync::{mpsc, oneshot};

use crate::own::wait;
use crate::runtime::{Runtime, given};

struct Touchy;

impl FromPyObject<'_, '_> for Touchy {
    type Error = Infallible;

    fn extract(_: Borrowed<'_, '_, PyAny>) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

impl Drop for Touchy {
    fn drop(&mut self) {
        // A second panic while the first unwinds would abort: that is Rust's rule, not ours.
        if !std::thread::panicking() {
            panic!("a result's destructor panics");
        }
    }
}

/// Calls `fun` for a result that panics when it is let go of, and sees to it that nobody receives it:
/// "closure" and "discard" let go of it themselves; "oneshot", "channel" and "future" are dropped,
/// "_detached": without cancelling, once the queue has the call and `until` has returned.
#[pyfunction]
#[pyo3(signature = (kind, fun, *, runtime=None, deadline=None, until=None))]
pub(crate) fn touchy(
    kind: &str,
    fun: &Bound<'_, PyAny>,
    runtime: Option<&Bound<'_, Runtime>>,
    deadline: Option<f64>,
    until: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let (kind, detach) = match kind.strip_suffix("_detached") {
        Some(kind) => (kind.to_owned(), OnDrop::Detach),
        None => (kind.to_owned(), OnDrop::Cancel),
    };
    let mut call = given(runtime)?.call(PyFun::new(fun), ()).on_drop(detach);
    if let Some(deadline) = deadline {
        call = call.deadline(Duration::from_secs_f64(deadline));
    }
    let sent = wait(fun.py(), async move {
        let mut receiver: Box<dyn Any + Send> = Box::new(());
        let callback = match kind.as_str() {
            "closure" => PyAsyncCallback::<Touchy>::Closure(Box::new(drop)),
            "discard" => PyAsyncCallback::Discard,
            "oneshot" => {
                let (sender, theirs) = oneshot::channel();
                receiver = Box::new(theirs);
                PyAsyncCallback::Oneshot(sender)
            }
            "channel" => {
                let (sender, theirs) = mpsc::channel(1);
                receiver = Box::new(theirs);
                PyAsyncCallback::Channel(sender)
            }
            "future" => {
                let mut future = call.wait::<Touchy>();
                let polled = futures_util::poll!(&mut future);
                assert!(polled.is_pending(), "the call is to wait");
                return Ok(Box::new(future) as Box<dyn Any + Send>);
            }
            _ => return Err(PyValueError::new_err("kind")),
        };
        call.send(callback).await?;
        Ok(receiver)
    })?;
    let receiver = sent?;
    until.map(PyAnyMethods::call0).transpose()?;
    // The result may have come at this very moment, and is then let go of here.
    let drop = std::panic::AssertUnwindSafe(|| drop(receiver));
    let _ = fun.py().detach(|| std::panic::catch_unwind(drop));
    Ok(())
}
