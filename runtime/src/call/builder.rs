//! The builder of a call: what to call, with what, for how long, and who gets the outcome.
//!
//! Invariant: building touches neither Python nor the queue; only the last method submits.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use gilscope_instrument::{CallStamps, Name, TraceContext};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use tokio::sync::oneshot;

use super::args::{KwArgs, PyArgs, PyResultType, call_starter, convert_to};
use super::blocking::block_on;
use super::callback::{
    CallContext, Plain, PyAsyncCallback, ToAttached, ToChannel, ToClosure, ToNobody, ToOneshot,
    watch,
};
use super::deadline::{Timed, Timer};
use super::future::{CallFuture, Submission};
use super::handle::{CallHandle, CallId};
use super::job::{Callback, Convert, Delivered, Job, Parts, Starter};
use super::slot::slot;
use crate::error::{Error, Outcome};
use crate::handle::{PyFun, PyHandle};
use crate::host::HostRef;
use crate::host::table as t;

/// What dropping a [`CallFuture`] does to the Python side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDrop {
    /// Cancel the coroutine (the default).
    #[default]
    Cancel,
    /// Let it run to its end; its outcome is dropped and the span says `detached`.
    Detach,
}

/// What to do when the queue has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Full {
    /// Wait for room (the default); a deadline bounds the wait.
    #[default]
    Wait,
    /// Fail at once with [`Error::QueueFull`].
    Fail,
}

/// Everything about a call but the callee and its arguments.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<Name>,
    pub(crate) deadline: Option<Duration>,
    /// What an error says that the deadline was: of a stream it is that for all of its calls.
    pub(crate) whole: Option<Duration>,
    pub(crate) context: Option<PyHandle>,
    pub(crate) parent: Option<TraceContext>,
    pub(crate) on_drop: OnDrop,
    pub(crate) full: Full,
    pub(crate) flags: u32,
    /// Where in Rust the call was made; `None`: in Python, or by us.
    pub(crate) made_at: Option<&'static Location<'static>>,
}

impl Options {
    fn given(&self) -> Given {
        Given {
            context: self.context.clone(),
            shared: self.flags & t::JOB_SHARES_CONTEXT != 0,
        }
    }
}

/// The Context that a call was given, if any, and whether it is somebody else's, too.
struct Given {
    context: Option<PyHandle>,
    shared: bool,
}

impl Given {
    fn of(self, made: &Made<'_>) -> CallContext {
        CallContext {
            python: self.context,
            trace: made.context().filter(|_| !self.shared),
        }
    }
}

/// A call whose span has begun, as its callback may know it.
pub(crate) struct Made<'a> {
    stamps: &'a CallStamps,
    state: Option<&'a Arc<str>>,
}

impl Made<'_> {
    /// The call's span, for what runs on its behalf.
    fn context(&self) -> Option<TraceContext> {
        let state = self.state.cloned();
        let context = self.stamps.context()?;
        Some(TraceContext { state, ..context })
    }
}

/// See [`PyRuntime::call`](crate::PyRuntime::call).
#[must_use = "a call does nothing until it is awaited, sent or blocked on"]
pub struct CallBuilder<A> {
    pub(crate) host: HostRef,
    pub(crate) fun: PyFun,
    pub(crate) args: A,
    pub(crate) kwargs: Option<KwArgs>,
    pub(crate) options: Options,
}

impl<A: PyArgs> CallBuilder<A> {
    pub(crate) fn new(host: HostRef, fun: PyFun, args: A) -> Self {
        Self {
            host,
            fun,
            args,
            kwargs: None,
            options: Options::default(),
        }
    }

    /// Adds keyword arguments; later ones win.
    pub fn kwargs<V, const N: usize>(self, kwargs: [(&'static str, V); N]) -> Self
    where
        V: Send + 'static + for<'py> IntoPyObject<'py>,
    {
        self.fill_kwargs(Box::new(move |dict| {
            kwargs
                .into_iter()
                .try_for_each(|(key, value)| dict.set_item(key, value))
        }))
    }

    /// Adds the keyword arguments of a dict.
    pub fn kwargs_dict(self, kwargs: Py<PyDict>) -> Self {
        self.fill_kwargs(Box::new(move |dict| {
            dict.update(kwargs.bind(dict.py()).as_mapping())
        }))
    }

    fn fill_kwargs(mut self, more: KwArgs) -> Self {
        self.kwargs = Some(match self.kwargs.take() {
            None => more,
            Some(first) => Box::new(move |dict| first(dict).and_then(|()| more(dict))),
        });
        self
    }

    /// Names the call's span, instead of the function's qualified name.
    pub fn name(mut self, name: &str) -> Self {
        self.options.name = Some(gilscope_instrument::intern(name));
        self
    }

    /// Fails the call with [`Error::DeadlineExceeded`] after this time, waiting for room included,
    /// and cancels the Python side. Zero: at once.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// Runs the call in this `contextvars.Context` as it is, instead of a copy of the loop's own.
    /// While somebody else is in it, the call cannot begin (`RuntimeError`), and once begun it waits.
    pub fn context(mut self, context: Py<PyAny>) -> Self {
        self.options.flags |= t::JOB_SHARES_CONTEXT;
        self.own_context(context)
    }

    /// Runs the call in a Context that is nobody else's.
    pub(crate) fn own_context(mut self, context: Py<PyAny>) -> Self {
        self.options.context = Some(PyHandle::new(context));
        self
    }

    /// Puts the call below this span, instead of the one that is current where the call is made: see
    /// [`TraceContext::enter`].
    pub fn parent(mut self, parent: TraceContext) -> Self {
        self.options.parent = Some(parent);
        self
    }

    /// What dropping the future does.
    pub fn on_drop(mut self, on_drop: OnDrop) -> Self {
        self.options.on_drop = on_drop;
        self
    }

    /// What a full queue does.
    pub fn when_full(mut self, full: Full) -> Self {
        self.options.full = full;
        self
    }

    /// Runs a blocking `def` in the runtime's thread pool instead of on the loop thread.
    pub fn in_thread(mut self) -> Self {
        self.options.flags |= t::JOB_THREAD;
        self
    }

    /// A future of the outcome. Lazy: the call is submitted at the first poll.
    pub fn wait<T: PyResultType>(self) -> CallFuture<T> {
        let (sender, receiver) = slot();
        let detach = self.options.on_drop == OnDrop::Detach;
        CallFuture::new(self.submission(convert_to(), sender), receiver, detach)
    }

    /// As [`wait`](Self::wait), for callers that have no use for the text of tracebacks.
    pub(crate) fn wait_plain<T: PyResultType>(self) -> CallFuture<T> {
        let (sender, receiver) = slot();
        let detach = self.options.on_drop == OnDrop::Detach;
        CallFuture::new(
            self.submission(convert_to(), Plain(sender)),
            receiver,
            detach,
        )
    }

    /// Submits, waiting for room if there is none, and returns once the queue took the call.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::RuntimeStopped`]: the queue refused the call, and the callback is
    /// dropped unused; every other failure goes to the callback. Dropping the returned future while
    /// it waits for room in the queue withdraws the call: the callback receives [`Error::Cancelled`].
    /// Dropped before its first poll, or while it waits for room in a channel, it has made no call,
    /// and the callback is dropped unused.
    pub async fn send<T: PyResultType>(
        self,
        callback: PyAsyncCallback<T>,
    ) -> Result<CallHandle, Error> {
        let permit = match &callback {
            PyAsyncCallback::Channel(sender) => Some(sender.clone().reserve_owned().await),
            _ => None,
        };
        let permit = match permit {
            None => None,
            Some(Ok(permit)) => Some(permit),
            Some(Err(_)) => {
                return Err(Error::Cancelled {
                    by: crate::error::CancelledBy::Caller,
                    cause: None,
                });
            }
        };
        self.submission_for(callback, permit).sent().await
    }

    /// Submits without waiting.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`Error::QueueFull`] where that would wait.
    pub fn try_send<T: PyResultType>(
        mut self,
        callback: PyAsyncCallback<T>,
    ) -> Result<CallHandle, Error> {
        self.options.full = Full::Fail;
        let permit = match &callback {
            PyAsyncCallback::Channel(sender) => match sender.clone().try_reserve_owned() {
                Ok(permit) => Some(permit),
                Err(_) => return Err(Error::QueueFull),
            },
            _ => None,
        };
        self.submission_for(callback, permit).try_sent()
    }

    /// Blocks the calling thread until the outcome is there, detached if it was attached.
    ///
    /// # Errors
    /// [`Error::WrongThread`] at once on a loop thread or inside a tokio runtime, where blocking
    /// would deadlock (from `spawn_blocking`, use `Handle::block_on(call_async(…))`); else the call's.
    pub fn blocking<T: PyResultType>(self) -> Outcome<T> {
        super::blocking::check_thread(&self.host)?;
        block_on(self.wait::<T>())
    }

    pub(crate) fn submission_for<T: PyResultType>(
        self,
        callback: PyAsyncCallback<T>,
        permit: Option<tokio::sync::mpsc::OwnedPermit<(CallId, Outcome<T>)>>,
    ) -> Submission {
        match callback {
            PyAsyncCallback::Oneshot(sender) => self.oneshot_submission(sender),
            PyAsyncCallback::Closure(work) => {
                self.submission_with(convert_to::<T>(), |made| ToClosure {
                    context: made.context(),
                    work,
                })
            }
            PyAsyncCallback::Discard => self.submission(convert_to::<T>(), ToNobody),
            PyAsyncCallback::Channel(sender) => {
                let permit = permit.expect("callers reserve room before they submit to a channel");
                self.submission_with(convert_to::<T>(), |made| ToChannel {
                    id: CallId::of(made.stamps),
                    sender,
                    permit,
                })
            }
            PyAsyncCallback::Python(fun) => self.python_submission(fun),
        }
    }

    /// The outcome goes to `work`, attached: on the loop thread, or on the courier's if the caller has
    /// to be freed while somebody's code holds the loop.
    pub(crate) fn attached<F>(self, work: F) -> Submission
    where
        F: FnOnce(Python<'_>, Outcome<PyHandle>) -> Delivered + Send + 'static,
    {
        let callback = ToAttached {
            host: self.host.clone(),
            context: None,
            work,
        };
        self.submission(convert_to::<PyHandle>(), callback)
    }

    /// The outcome goes to `work`, attached, on the loop thread, in the call's context.
    pub(crate) fn attached_in_context<F>(mut self, work: F) -> Submission
    where
        F: FnOnce(Python<'_>, Outcome<PyHandle>) -> Delivered + Send + 'static,
    {
        self.options.flags |= t::JOB_IN_CONTEXT;
        let (host, given) = (self.host.clone(), self.options.given());
        self.submission_with(convert_to::<PyHandle>(), |made| ToAttached {
            host,
            context: Some(given.of(made)),
            work,
        })
    }

    fn oneshot_submission<T: PyResultType>(
        self,
        sender: oneshot::Sender<Outcome<T>>,
    ) -> Submission {
        if self.options.on_drop == OnDrop::Detach {
            return self.submission(convert_to::<T>(), ToOneshot(sender));
        }
        let (to, from) = slot();
        let submission = self.submission(convert_to::<T>(), to);
        let handle = submission.handle().clone();
        let host = handle.host.clone();
        crate::tasks::spawn_ours(&host, watch(from, sender, handle));
        submission
    }

    fn python_submission(mut self, fun: PyFun) -> Submission {
        self.options.flags |= t::JOB_IN_CONTEXT;
        let refused = fun.clone();
        let work =
            move |py: Python<'_>, outcome| crate::python::outcome::hand_over(py, &fun, outcome);
        let (host, given) = (self.host.clone(), self.options.given());
        let callback = |made: &Made<'_>| ToAttached {
            host,
            context: Some(given.of(made)),
            work,
        };
        let inner = self.fun.clone();
        let (args, kwargs) = (self.args, self.kwargs);
        let call = call_starter(inner, args, kwargs, self.options.flags & t::JOB_THREAD != 0);
        let start = super::args::starter(move |py| {
            crate::python::outcome::refuse_async(refused.callable().bind(py))
                .map_err(super::job::StartError::Raised)?;
            call(py)
        });
        let fun = self.fun;
        submission(
            self.host,
            fun.name(),
            start,
            convert_to::<PyHandle>(),
            callback,
            self.options,
        )
    }

    fn submission<T, D>(self, convert: Convert<T>, callback: D) -> Submission
    where
        T: Send + 'static,
        D: Callback<T> + 'static,
    {
        self.submission_with(convert, |_| callback)
    }

    fn submission_with<T, D>(
        self,
        convert: Convert<T>,
        callback: impl FnOnce(&Made<'_>) -> D,
    ) -> Submission
    where
        T: Send + 'static,
        D: Callback<T> + 'static,
    {
        let name = self.fun.name();
        let in_thread = self.options.flags & t::JOB_THREAD != 0;
        let start = call_starter(self.fun, self.args, self.kwargs, in_thread);
        submission(self.host, name, start, convert, callback, self.options)
    }
}

/// A call of Rust code that needs to be attached on the loop thread.
pub(crate) fn native<T: PyResultType>(
    host: &HostRef,
    name: &str,
    mut options: Options,
    start: impl Starter + 'static,
) -> CallFuture<T> {
    let (sender, receiver) = slot();
    options.flags |= t::JOB_STREAM; // what `start` returns is the result, whatever it is
    let detach = options.on_drop == OnDrop::Detach;
    let name = gilscope_instrument::intern(name);
    let callback = |_: &Made<'_>| sender;
    let submission = submission(host.clone(), name, start, convert_to(), callback, options);
    CallFuture::new(submission, receiver, detach)
}

/// Stamps the call's begin and allocates its job.
pub(crate) fn submission<S, T, D>(
    host: HostRef,
    name: Name,
    start: S,
    convert: Convert<T>,
    callback: impl FnOnce(&Made<'_>) -> D,
    options: Options,
) -> Submission
where
    S: Starter + 'static,
    T: Send + 'static,
    D: Callback<T> + 'static,
{
    let parent = options.parent.or_else(crate::trace::here);
    let stamps: CallStamps = host.begin(parent.as_ref());
    let id = CallId::of(&stamps);
    let timer = Timer::new(options.deadline);
    let detach = if options.on_drop == OnDrop::Detach {
        t::JOB_DETACH
    } else {
        0
    };
    let name = options.name.unwrap_or(name);
    let job = Job::allocate(Parts {
        start,
        convert,
        callback: Timed {
            inner: callback(&Made {
                stamps: &stamps,
                state: parent.as_ref().and_then(|parent| parent.state.as_ref()),
            }),
            timer: timer.clone(),
        },
        flags: options.flags | detach,
        name,
        host_name: host.intern(name),
        deadline: options.whole.or(options.deadline).unwrap_or_default(),
        stamps,
        tracestate: parent.and_then(|parent| parent.state),
        context: options.context,
        made_at: options.made_at,
    });
    if let Some(deadline) = options.deadline {
        timer.start(&host, &job, deadline);
    }
    Submission::new(CallHandle::new(host, job, id), options.full)
}
