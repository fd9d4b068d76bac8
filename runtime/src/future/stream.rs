//! An async generator as a Rust `Stream`.
//!
//! Invariant: at most one item is under way, so whoever is slower sets the pace; dropping a stream
//! runs the generator's `finally` on its loop.

use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures_core::Stream;
use gilscope_instrument::TraceContext;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::call::builder::{Options, native};
use crate::call::{CallBuilder, CallFuture, OnDrop, PyArgs, PyAsyncCallback, PyResultType};
use crate::error::Error;
use crate::handle::{PyFun, PyHandle};
use crate::host::HostRef;
use crate::host::table as t;
use crate::runtime::PyRuntime;

impl PyRuntime {
    /// Calls a function that returns an async generator, or any async iterable, and streams its
    /// items, converted to `T`. To be configured, use [`CallBuilder::stream`].
    #[track_caller]
    pub fn stream<T: PyResultType>(&self, fun: impl Into<PyFun>, args: impl PyArgs) -> PyStream<T> {
        self.call(fun, args).stream()
    }
}

impl<A: PyArgs> CallBuilder<A> {
    /// Calls a function that returns an async generator, or any async iterable, and streams its
    /// items, converted to `T`. Nothing happens before the first poll; each item is a call of its
    /// own, so errors, deadlines and shutdown reach the stream as its last item.
    ///
    /// Of the options, `name` is that of the call that opens the stream, and those of its steps
    /// begin with it. `deadline` is for the stream as a whole, from its first poll on: when it has
    /// passed, the step under way is cancelled, or the next one fails. `context` is the one that
    /// every step runs in; by default they share a copy of the loop's own. `on_drop` decides whether
    /// a step under way is cancelled when the stream is dropped, or comes to its next item first; the
    /// generator is closed after it, either way. What a full queue does, and a thread for a blocking
    /// function, are about opening it.
    pub fn stream<T: PyResultType>(mut self) -> PyStream<T> {
        self.options.flags |= t::JOB_STREAM;
        let name = self.options.name.unwrap_or(self.fun.name());
        let steps = Steps {
            host: self.host.clone(),
            name: gilscope_instrument::resolve(name).to_string(),
            deadline: self.options.deadline.take(),
            until: None,
            context: self.options.context.clone(),
            shared: self.options.flags & t::JOB_SHARES_CONTEXT != 0,
            opened: None,
            caller: None,
            on_drop: self.options.on_drop,
            made_at: self.options.made_at,
        };
        self.options.whole = steps.deadline;
        let open = move |left| {
            self.options.deadline = left;
            self.wait::<PyHandle>()
        };
        PyStream {
            steps,
            state: State::New(Box::new(open)),
            iterator: None,
        }
    }
}

/// See [`CallBuilder::stream`]. Dropping it closes the generator.
#[must_use = "streams do nothing unless polled"]
pub struct PyStream<T> {
    steps: Steps,
    state: State<T>,
    iterator: Option<Iterator>,
}

/// What the calls of a stream have in common.
struct Steps {
    host: HostRef,
    name: String,
    deadline: Option<Duration>,
    /// On the host's clock, from the first poll on.
    until: Option<u64>,
    context: Option<PyHandle>,
    /// Others may be in that Context, which then is left as it is.
    shared: bool,
    /// The span of the call that opens it, below which the others are, so that they are in one trace; it
    /// is known once the call is made. Where nothing is recorded it is the caller's.
    opened: Option<TraceContext>,
    /// The span of the stream's caller.
    caller: Option<TraceContext>,
    on_drop: OnDrop,
    made_at: Option<&'static Location<'static>>,
}

/// The Python side of an open stream.
struct Iterator {
    next: PyFun,
    close: Option<PyFun>,
}

/// `__anext__`, what closes, and the Context of the steps unless one was given.
type Prepared = (PyHandle, Option<PyHandle>, Option<PyHandle>);

/// Makes the opening call, with its deadline.
type Open = Box<dyn FnOnce(Option<Duration>) -> CallFuture<PyHandle> + Send>;

enum State<T> {
    New(Open),
    Opening(CallFuture<PyHandle>),
    /// Looks up `__anext__` and `aclose`, on the loop thread.
    Preparing(CallFuture<Prepared>),
    Waiting(CallFuture<T>),
    Ready,
    Ended,
}

impl<T: PyResultType> Stream for PyStream<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::New(_) => {
                    this.steps.begin();
                    if let State::New(open) = std::mem::replace(&mut this.state, State::Ended) {
                        let opening = open(this.steps.left());
                        this.steps.below(&opening);
                        this.state = State::Opening(opening);
                    }
                }
                State::Opening(opening) => {
                    let opened = ready!(Pin::new(opening).poll(context));
                    this.state = match opened {
                        Ok(iterable) => State::Preparing(this.steps.prepare(iterable)),
                        Err(error) => return this.end(Some(Err(error))),
                    };
                }
                State::Preparing(preparing) => {
                    let prepared = ready!(Pin::new(preparing).poll(context));
                    match prepared {
                        Ok(prepared) => this.open(prepared),
                        Err(error) => return this.end(Some(Err(error))),
                    }
                }
                State::Ready => {
                    let Some(iterator) = &this.iterator else {
                        return this.end(None);
                    };
                    let mut call = this.steps.call(&iterator.next);
                    call.options.flags |= t::JOB_STEP;
                    call.options.deadline = this.steps.left();
                    call.options.whole = this.steps.deadline;
                    this.state = State::Waiting(call.wait());
                }
                State::Waiting(waiting) => {
                    let item = ready!(Pin::new(waiting).poll(context));
                    this.state = State::Ready;
                    return match item {
                        Ok(item) => Poll::Ready(Some(Ok(item))),
                        Err(Error::Python(error)) if is_end(&error) => this.end(None),
                        Err(error) => this.end(Some(Err(error))),
                    };
                }
                State::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl Steps {
    /// The deadline runs from now.
    fn begin(&mut self) {
        let now = self.host.now();
        let deadline = self.deadline.map(|deadline| deadline.as_nanos());
        let deadline = deadline.and_then(|ns| u64::try_from(ns).ok());
        self.until = deadline.and_then(|ns| now.checked_add(ns));
    }

    /// What comes after the opening call is below it.
    fn below(&mut self, opening: &CallFuture<PyHandle>) {
        let handle = opening.handle();
        self.opened = crate::trace::of_call(handle.job.raw());
        self.caller = crate::trace::callers(handle.job.raw());
    }

    /// The deadline of the next call.
    fn left(&self) -> Option<Duration> {
        let until = self.until?;
        Some(Duration::from_nanos(until.saturating_sub(self.host.now())))
    }

    /// That the Context may be somebody else's, of all steps, as it is the same for all; and that it is the
    /// stream's own.
    fn flags(&self) -> u32 {
        let shares = self.context.as_ref().map_or(0, |_| t::JOB_SHARES_CONTEXT);
        shares | if self.shared { 0 } else { t::JOB_OF_STREAM }
    }

    fn call(&self, method: &PyFun) -> CallBuilder<()> {
        let mut call = CallBuilder::new(self.host.clone(), method.clone(), ());
        call.options.context = self.context.clone();
        call.options.parent = self.opened.clone();
        call.options.flags |= self.flags();
        call.options.made_at = self.made_at;
        call.on_drop(self.on_drop)
    }

    /// A bound method under the stream's name, made without attaching.
    fn method(&self, callable: PyHandle, name: &str) -> PyFun {
        PyFun::with_name(callable, &format!("{}.{name}", self.name))
    }

    fn prepare(&self, iterable: PyHandle) -> CallFuture<Prepared> {
        let options = Options {
            deadline: self.left(),
            whole: self.deadline,
            context: self.context.clone(),
            parent: self.opened.clone(),
            on_drop: self.on_drop,
            flags: self.flags(),
            made_at: self.made_at,
            ..Options::default()
        };
        let own_context = self.context.is_none();
        let caller = self.caller.clone().filter(|_| own_context);
        let fun = self.name.clone();
        let start = crate::call::args::starter(move |py| {
            crate::trace::enter_callers(py, caller);
            let prepared = prepare(iterable.bind(py), &fun, own_context);
            prepared.map_err(crate::call::job::StartError::Raised)
        });
        let name = format!("{}.__aiter__", self.name);
        native(&self.host, &name, options, start)
    }
}

impl<T> PyStream<T> {
    fn open(&mut self, (next, close, context): Prepared) {
        self.iterator = Some(Iterator {
            next: self.steps.method(next, "__anext__"),
            close: close.map(|close| self.steps.method(close, "aclose")),
        });
        self.steps.context = self.steps.context.take().or(context);
        self.state = State::Ready;
    }

    fn end(&mut self, last: Option<Result<T, Error>>) -> Poll<Option<Result<T, Error>>> {
        self.state = State::Ended;
        self.close();
        Poll::Ready(last)
    }

    fn close(&mut self) {
        let Some(close) = self.iterator.take().and_then(|iterator| iterator.close) else {
            return;
        };
        let call = self.steps.call(&close);
        let mut closing = call.submission_for::<PyHandle>(PyAsyncCallback::Discard, None);
        let polled = closing.poll_taken(&mut Context::from_waker(Waker::noop()));
        if polled.is_pending() {
            // No room: whoever drops a stream does not wait for it. Refused only if the runtime is
            // stopped, and then its loop has closed the generator.
            crate::tasks::spawn_ours(&self.steps.host, closing.sent_or_told());
        }
    }
}

impl<T> Drop for PyStream<T> {
    fn drop(&mut self) {
        // A pending item is cancelled first, else the generator would still be running.
        self.state = State::Ended;
        self.close();
    }
}

impl<T> std::fmt::Debug for PyStream<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PyStream").finish_non_exhaustive()
    }
}

/// The type name is there without attaching.
fn is_end(error: &crate::error::PythonError) -> bool {
    error.type_name() == "StopAsyncIteration"
}

/// Looks up what the steps of a stream call, and in which Context.
fn prepare<'py>(
    iterable: &Bound<'py, PyAny>,
    fun: &str,
    own_context: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = iterable.py();
    if !iterable.hasattr("__aiter__")? {
        let text = format!(
            "{fun} returned {} ({}), which is no async iterable: a stream needs an async generator \
             function; for one result use call_async",
            crate::python::given::shown(iterable),
            iterable.get_type().name()?
        );
        return Err(PyTypeError::new_err(text));
    }
    let iterator = iterable.call_method0("__aiter__")?;
    let next = iterator.getattr("__anext__")?;
    let close = match iterator.hasattr("aclose")? {
        true => Some(closer(&iterator)?),
        false => None,
    };
    let context = match own_context {
        // SAFETY: attached; a new reference or NULL with an error set.
        true => Some(unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())? }),
        false => None,
    };
    let prepared = (next, close, context).into_pyobject(py)?;
    Ok(prepared.into_any())
}

/// Closes a generator as soon as its last item, which may be being cancelled, is out of it.
fn closer<'py>(iterator: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = iterator.py();
    let close = crate::loop_thread::thread::module(py)?.getattr("close_generator")?;
    py.import("functools")?
        .call_method1("partial", (close, iterator))
}
