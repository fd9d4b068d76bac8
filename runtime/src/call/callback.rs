//! The ways in which an outcome reaches its receiver: five adapters over one "hand over once".
//!
//! Invariant: an adapter hands over without attaching, except the Python one, which runs on the
//! loop thread in the call's own context.

use gilscope_instrument::TraceContext;
use pyo3::ffi;
use pyo3::prelude::*;
use tokio::sync::{mpsc, oneshot};

use super::CallId;
use super::handle::{CallHandle, request_cancel};
use super::job::{Callback, Delivered};
use super::slot::FromSlot;
use crate::error::Outcome;
use crate::handle::{PyFun, PyHandle};
use crate::host::HostRef;
use crate::host::table as t;
use crate::loop_thread::context::Entered;

/// Who receives the outcome of a call, exactly once.
pub enum PyAsyncCallback<T> {
    /// One receiver, one outcome. Dropping the receiver cancels the call, unless it was built with
    /// [`OnDrop::Detach`](super::OnDrop); a small task on tokio watches it. Awaiting a
    /// [`CallFuture`](super::CallFuture) is cheaper.
    Oneshot(oneshot::Sender<Outcome<T>>),
    /// Many calls, one receiver. Room is taken when the call is submitted, so that an outcome never
    /// waits for a slow receiver; a dropped receiver is counted.
    Channel(mpsc::Sender<(CallId, Outcome<T>)>),
    /// Runs detached, on the loop thread, or on whichever thread ends the call when that is a deadline
    /// or a shutdown: keep it short, and do not block in it.
    Closure(Box<dyn FnOnce(Outcome<T>) + Send>),
    /// A Python callable, called attached on the loop thread in the call's context with one
    /// `gilscope.Outcome`. `async def` is refused when dispatched.
    Python(PyFun),
    /// Nobody: fire and forget.
    Discard,
}

impl<T> std::fmt::Debug for PyAsyncCallback<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Oneshot(_) => "Oneshot",
            Self::Channel(_) => "Channel",
            Self::Closure(_) => "Closure",
            Self::Python(_) => "Python",
            Self::Discard => "Discard",
        })
    }
}

pub(crate) struct ToOneshot<T>(pub(crate) oneshot::Sender<Outcome<T>>);

impl<T: Send> Callback<T> for ToOneshot<T> {
    fn deliver(self, outcome: Outcome<T>) -> Delivered {
        if self.0.send(outcome).is_ok() {
            Delivered::Yes
        } else {
            Delivered::Nobody
        }
    }
}

/// Passes an outcome on to a oneshot whose receiver may go away, which cancels the call.
pub(crate) async fn watch<T>(
    mut outcome: FromSlot<T>,
    mut sender: oneshot::Sender<Outcome<T>>,
    handle: CallHandle,
) {
    let received = tokio::select! {
        biased;
        received = &mut outcome => received,
        () = sender.closed() => {
            request_cancel(&handle.host, &handle.job, t::CANCEL | t::CALLER_DROPPED);
            return;
        }
    };
    if let Some(outcome) = received
        && let Err(unreceived) = sender.send(outcome)
    {
        handle.host.undelivered();
        // Last: the destructor of a result is user code, which may panic.
        drop(unreceived);
    }
}

/// A receiver that looks at the exception object, never at its text.
pub(crate) struct Plain<D>(pub(crate) D);

impl<T, D: Callback<T>> Callback<T> for Plain<D> {
    const TEXT: bool = false;
    const WAKES: bool = D::WAKES;

    fn publish(&mut self, outcome: Outcome<T>) -> Delivered {
        self.0.publish(outcome)
    }

    fn deliver(self, outcome: Outcome<T>) -> Delivered {
        self.0.deliver(outcome)
    }
}

pub(crate) struct ToChannel<T> {
    pub(crate) id: CallId,
    pub(crate) sender: mpsc::Sender<(CallId, Outcome<T>)>,
    pub(crate) permit: mpsc::OwnedPermit<(CallId, Outcome<T>)>,
}

impl<T: Send> Callback<T> for ToChannel<T> {
    fn deliver(self, outcome: Outcome<T>) -> Delivered {
        // Asked before: a receiver may take this outcome and go.
        let closed = self.sender.is_closed();
        self.permit.send((self.id, outcome));
        if closed {
            Delivered::Nobody
        } else {
            Delivered::Yes
        }
    }
}

pub(crate) struct ToClosure<F> {
    /// The call's span: calls that the closure makes are below it.
    pub(crate) context: Option<TraceContext>,
    pub(crate) work: F,
}

impl<T, F: FnOnce(Outcome<T>) + Send> Callback<T> for ToClosure<F> {
    fn deliver(self, outcome: Outcome<T>) -> Delivered {
        let _entered = self.context.as_ref().map(TraceContext::enter);
        (self.work)(outcome);
        Delivered::Yes
    }
}

pub(crate) struct ToNobody;

impl<T> Callback<T> for ToNobody {
    const TEXT: bool = false;

    fn deliver(self, _outcome: Outcome<T>) -> Delivered {
        Delivered::Yes
    }
}

/// Hands over attached; what Python callbacks and Python futures are made of.
pub(crate) struct ToAttached<F> {
    pub(crate) host: HostRef,
    /// `None`: any attached thread will do. `Some`: only the loop thread, in the call's Context.
    pub(crate) context: Option<CallContext>,
    pub(crate) work: F,
}

/// What a callback runs in whose call ended without it: by a deadline, say.
pub(crate) struct CallContext {
    /// `None`: a copy of the loop's.
    pub(crate) python: Option<PyHandle>,
    /// The call's span, unless the Context is left as it is.
    pub(crate) trace: Option<TraceContext>,
}

impl CallContext {
    /// Refused where somebody else is in it.
    fn enter(self, py: Python<'_>) -> PyResult<Entered<'_>> {
        let context = match &self.python {
            Some(context) => context.bind(py).clone(),
            // SAFETY: attached; a new reference, or NULL with an error set.
            None => unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())? },
        };
        let entered = Entered::new(context)?;
        if let Some(trace) = self.trace {
            crate::trace::enter_late(py, trace);
        }
        Ok(entered)
    }
}

impl<T, F> Callback<T> for ToAttached<F>
where
    T: Send + 'static,
    F: FnOnce(Python<'_>, Outcome<T>) -> Delivered + Send + 'static,
{
    const ATTACHED: bool = true;
    const TEXT: bool = false;

    fn deliver(self, outcome: Outcome<T>) -> Delivered {
        self.deliver_later(outcome)
    }

    fn deliver_attached(self, py: Python<'_>, outcome: Outcome<T>) -> Delivered {
        (self.work)(py, outcome)
    }

    fn deliver_later(self, outcome: Outcome<T>) -> Delivered {
        let work = self.work;
        let context = match self.context {
            // A simulation has no thread but its own.
            None if !self.host.is_simulated() => {
                return crate::life::courier::run(move |py| {
                    work(py, outcome);
                });
            }
            context => context,
        };
        let in_context = move |py: Python<'_>| {
            let _entered = context.and_then(|context| context.enter(py).ok());
            work(py, outcome);
        };
        match self.host.post(in_context) {
            Ok(()) => Delivered::Yes,
            // The loop has gone: what is left may run wherever Python still does.
            Err(work) => crate::life::courier::run(work),
        }
    }
}
