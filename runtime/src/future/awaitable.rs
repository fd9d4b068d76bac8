//! `RustFuture`: a Rust future as a Python coroutine object.
//!
//! Invariant: lazy; the first poll is inline, detached, inside this library's own tokio, which owns
//! the future afterwards: the awaiting thread, busy with its Python loop, drives no tokio of its own.
//! Only the result comes back. Whoever abandons it aborts the Rust side.

use std::any::TypeId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use gilscope_instrument::{Cause, Name, clock};
use pyo3::exceptions::{PyException, PyRuntimeError, PyStopIteration};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::{IntoPyObjectExt, PyTraverseError};

use super::polled::Polled;
use super::port::{Foreign, Port};
use crate::error::{Error, panic_text};
use crate::life::park::{ParkOnExit, Parking};
use crate::loop_thread::state::current;
use crate::python::imports;
use crate::python::names::name;
use crate::tasks::{self, SpawnHandle};
use crate::trace::carried::Carried;

/// Makes the Python value of a result, attached, on the awaiting loop's thread.
pub(crate) type Resolve =
    Box<dyn for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyAny>> + Send>;
type BoxFuture = Pin<Box<dyn Future<Output = Resolve> + Send>>;
/// Asks the Rust side to stop; the outcome still comes.
pub(crate) type OnCancel = Box<dyn Fn() + Send + Sync>;

/// Makes a Python awaitable of a Rust future, to be used in `await`, `asyncio.run` or `create_task`
/// of any asyncio loop. Needs the GIL; the future is polled without it.
///
/// Cancelling the awaiting task drops the Rust future; so does letting go of the awaitable. It runs on
/// this library's tokio also where the thread is inside another one, which nobody drives while Python
/// runs; what needs a certain tokio is spawned there and its `JoinHandle` passed here.
///
/// # Errors
/// If the object cannot be allocated. What the future fails with, a panic included, is raised by the
/// `await`.
pub fn into_py_future<F, T, E>(py: Python<'_>, future: F) -> PyResult<Bound<'_, PyAny>>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: for<'py> IntoPyObject<'py> + Send + 'static,
    E: Into<PyErr> + Send + 'static,
{
    awaitable(py, resolving(future), None, std::any::type_name::<F>())
}

/// As [`into_py_future`], but a cancelled `await` asks by `on_cancel` and waits for the outcome. `what`
/// it is stands in the tree.
pub(crate) fn awaitable<'py>(
    py: Python<'py>,
    future: impl Future<Output = Resolve> + Send + 'static,
    on_cancel: Option<OnCancel>,
    what: &'static str,
) -> PyResult<Bound<'py, PyAny>> {
    let future: BoxFuture = Box::pin(Carried::from_here(future));
    let state = Mutex::new(State::New { future });
    Bound::new(
        py,
        RustFuture {
            state,
            what,
            on_cancel: Parking::new(on_cancel),
            thrown: Mutex::new(None),
        },
    )
    .map(Bound::into_any)
}

/// What an object is that Python awaits, if it is a Rust future. Runs no user code.
pub(crate) fn name_of(object: &Bound<'_, PyAny>) -> Option<Name> {
    let what = match object.cast_exact::<RustFuture>() {
        Ok(future) => future.get().what,
        // Another library's class, of the same name.
        Err(_) if type_name(object) == c"gilscope._native.RustFuture" => "of another library",
        Err(_) => return None,
    };
    Some(named(what))
}

/// The name of a type, or of what it is.
fn named(what: &'static str) -> Name {
    type Names = HashMap<usize, Name>;
    thread_local! {
        static NAMES: RefCell<Names> = RefCell::default();
    }
    // Static, so its address is its own; there are as many as the program has types.
    let key = what.as_ptr() as usize;
    NAMES.with_borrow_mut(|names| {
        *names
            .entry(key)
            .or_insert_with(|| gilscope_instrument::intern(&short(what)))
    })
}

fn type_name<'a>(object: &'a Bound<'_, PyAny>) -> &'a CStr {
    // SAFETY: the type of a live object lives, and its name ends with NUL.
    unsafe { CStr::from_ptr((*pyo3::ffi::Py_TYPE(object.as_ptr())).tp_name) }
}

/// A type's name without its parameters, and without what an `async` block adds.
fn short(what: &str) -> String {
    let (mut short, mut depth) = (String::new(), 0_usize);
    for character in what.replace("::{{closure}}", "").chars() {
        match character {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => short.push(character),
            _ => {}
        }
    }
    // Under the name by which Python code knows them.
    match short.strip_prefix("gilscope_runtime::python::awaitables::rust_") {
        Some(ours) => format!("gilscope.rust.{ours}"),
        None => short,
    }
}

async fn resolving<F, T, E>(future: F) -> Resolve
where
    F: Future<Output = Result<T, E>> + Send,
    T: for<'py> IntoPyObject<'py> + Send + 'static,
    E: Into<PyErr> + Send + 'static,
{
    let result = future.await;
    Box::new(move |py| match result {
        Ok(value) => into_python(py, value),
        Err(error) => Err(error.into()),
    })
}

/// A value for Python; `()` is `None` there, as what a `#[pyfunction]` returns is, and no empty tuple.
pub(super) fn into_python<T>(py: Python<'_>, value: T) -> PyResult<Bound<'_, PyAny>>
where
    T: for<'py> IntoPyObject<'py> + 'static,
{
    if TypeId::of::<T>() == TypeId::of::<()>() {
        return Ok(py.None().into_bound(py));
    }
    value.into_bound_py_any(py)
}

/// See the module's text.
#[pyclass(frozen, weakref, module = "gilscope._native")]
pub(crate) struct RustFuture {
    state: Mutex<State>,
    /// A type's name, or what it is.
    what: &'static str,
    /// May own the call, as the future does, and with it the arguments.
    on_cancel: Parking<Option<OnCancel>>,
    /// The `CancelledError` that was thrown in: if the cancel takes effect, the very same comes out.
    /// `asyncio.timeout` looks at its type, and callers at its message.
    thrown: Mutex<Option<Py<PyAny>>>,
}

enum State {
    New { future: BoxFuture },
    Waiting(Waiting),
    Done,
}

struct Waiting {
    pending: Arc<Pending>,
    task: SpawnHandle,
}

/// Where the result meets the asyncio future that waits for it.
struct Pending {
    result: Mutex<Option<Resolve>>,
    future: Mutex<Option<Py<PyAny>>>,
    /// A second reference, which the garbage collector does not know: who completes the future holds it,
    /// and with it the task that awaits it, which often nobody else does. Empty for a foreign loop.
    held: Mutex<Option<Py<PyAny>>>,
    /// The foreign loop, which holds it instead.
    foreign: Option<Weak<Foreign>>,
}

impl Pending {
    fn new(port: &Port) -> Self {
        Self {
            result: Mutex::default(),
            future: Mutex::default(),
            held: Mutex::default(),
            foreign: port.foreign(),
        }
    }

    /// Holds the future that waits, instead of the one before. Attached.
    fn hold(&self, waiter: Py<PyAny>) {
        let key = std::ptr::from_ref(self) as usize;
        let before = match &self.foreign {
            None => lock(&self.held).replace(waiter),
            Some(foreign) => foreign
                .upgrade()
                .and_then(|foreign| foreign.waiters().insert(key, waiter)),
        };
        drop(before);
    }

    /// Nobody is to complete it any more. Attached.
    fn let_go(&self) {
        let key = std::ptr::from_ref(self) as usize;
        let held = match &self.foreign {
            None => lock(&self.held).take(),
            Some(foreign) => foreign
                .upgrade()
                .and_then(|foreign| foreign.waiters().remove(&key)),
        };
        drop(held);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RustFuture {
    fn step<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // Never locked across a poll or a call into Python: the state is taken out and put back.
        let state = std::mem::replace(&mut *lock(&self.state), State::Done);
        match state {
            State::New { future } => self.first_poll(py, future),
            State::Waiting(waiting) => self.woken(py, waiting),
            State::Done => Err(PyRuntimeError::new_err(
                "cannot reuse an awaited RustFuture",
            )),
        }
    }

    fn first_poll<'py>(
        &self,
        py: Python<'py>,
        mut future: BoxFuture,
    ) -> PyResult<Bound<'py, PyAny>> {
        let event_loop = imports::get_running_loop(py).call0()?;
        let polled = py.detach(|| {
            let _entered = tasks::own_tokio().enter();
            let mut context = Context::from_waker(Waker::noop());
            let poll = std::panic::AssertUnwindSafe(|| future.as_mut().poll(&mut context));
            let start = gilscope_instrument::first_poll();
            let poll = std::panic::catch_unwind(poll);
            // Before attaching again, which may take long; not for one that is ready, which is to cost
            // next to nothing.
            let pending = start != 0 && matches!(poll, Ok(Poll::Pending));
            let times = [start, if pending { clock::now() } else { 0 }];
            poll.map(|poll| (poll, future, times))
        });
        match polled {
            Ok((Poll::Ready(resolve), ..)) => finish(py, resolve),
            Err(payload) => finish(py, panicked(&*payload)),
            Ok((Poll::Pending, future, times)) => {
                let future = Polled::new(future, times, || named(self.what));
                self.hand_to_tokio(py, &event_loop, future)
            }
        }
    }

    fn hand_to_tokio<'py>(
        &self,
        py: Python<'py>,
        event_loop: &Bound<'py, PyAny>,
        future: Polled<BoxFuture>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let port = Port::of(event_loop)?;
        let pending = Arc::new(Pending::new(&port));
        let waiter = new_waiter(py, event_loop, &pending)?;
        let theirs = Arc::clone(&pending);
        let work = async move {
            let mut future = future;
            let whole = std::panic::AssertUnwindSafe(&mut future).catch_unwind();
            let outcome = whole.await;
            let by = future.newest();
            // Before the result is there for its loop, as it would be if the await had owned it.
            drop(future);
            let resolve = outcome.unwrap_or_else(|payload| panicked(&*payload));
            *lock(&theirs.result) = Some(resolve);
            port.post(move |py| wake(py, &theirs, by));
        };
        let task = match crate::host::cell::simulated_here() {
            Some(host) => tasks::spawn_on(&host, work),
            None => py.detach(|| tasks::spawn_own(work)),
        };
        *lock(&self.state) = State::Waiting(Waiting { pending, task });
        Ok(waiter)
    }

    fn woken<'py>(&self, py: Python<'py>, waiting: Waiting) -> PyResult<Bound<'py, PyAny>> {
        waiting.pending.let_go();
        let result = lock(&waiting.pending.result).take();
        match result {
            Some(resolve) => finish(py, resolve).map_err(|error| self.as_thrown(py, error)),
            None => {
                waiting.task.abort();
                let text = "a RustFuture was resumed before it was ready";
                Err(PyRuntimeError::new_err(text))
            }
        }
    }

    /// The awaiting task was cancelled, but the outcome decides: wait on for it.
    fn keep_waiting<'py>(&self, py: Python<'py>, waiting: Waiting) -> PyResult<Bound<'py, PyAny>> {
        let event_loop = imports::get_running_loop(py).call0()?;
        let waiter = new_waiter(py, &event_loop, &waiting.pending)?;
        if lock(&waiting.pending.result).is_some() {
            return self.woken(py, waiting);
        }
        *lock(&self.state) = State::Waiting(waiting);
        Ok(waiter)
    }

    fn as_thrown(&self, py: Python<'_>, error: PyErr) -> PyErr {
        let thrown = lock(&self.thrown).take();
        match thrown {
            Some(thrown) if error.is_instance(py, imports::cancelled_error(py)) => {
                PyErr::from_value(thrown.into_bound(py))
            }
            _ => error,
        }
    }

    fn abandon(&self) {
        // Letting go of a future lets go of the arguments in it.
        let _parks = ParkOnExit::new();
        let state = std::mem::replace(&mut *lock(&self.state), State::Done);
        if let State::Waiting(waiting) = state {
            waiting.task.abort();
            waiting.pending.let_go();
        }
    }
}

#[pymethods]
impl RustFuture {
    // No guard: itself.
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    // No guard: itself.
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let _parks = ParkOnExit::new();
        self.step(py)
    }

    fn send<'py>(&self, py: Python<'py>, _value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let _parks = ParkOnExit::new();
        self.step(py)
    }

    #[pyo3(signature = (typ, val=None, tb=None))]
    fn throw<'py>(
        &self,
        py: Python<'py>,
        typ: Bound<'py, PyAny>,
        val: Option<Bound<'py, PyAny>>,
        tb: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _parks = ParkOnExit::new();
        let error = crate::python::raise::thrown(&typ, val, tb)?;
        let cancelled = error.is_instance(py, imports::cancelled_error(py));
        if cancelled && let Some(on_cancel) = &*self.on_cancel {
            let state = std::mem::replace(&mut *lock(&self.state), State::Done);
            if let State::Waiting(waiting) = state {
                let before = lock(&self.thrown).replace(error.into_value(py).into_any());
                drop(before);
                on_cancel();
                return self.keep_waiting(py, waiting);
            }
        }
        self.abandon();
        Err(error)
    }

    fn close(&self) {
        self.abandon();
    }

    fn __repr__(&self) -> &'static str {
        match &*lock(&self.state) {
            State::New { .. } => "<RustFuture not started>",
            State::Waiting(_) => "<RustFuture pending>",
            State::Done => "<RustFuture done>",
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Locks are held for moments only, but not by this thread's caller: never wait in here.
        if let Ok(state) = self.state.try_lock()
            && let State::Waiting(waiting) = &*state
            && let Ok(future) = waiting.pending.future.try_lock()
        {
            visit.call(&*future)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let _parks = ParkOnExit::new();
        self.abandon();
    }
}

impl Drop for RustFuture {
    fn drop(&mut self) {
        let _parks = ParkOnExit::new();
        self.abandon();
        drop(lock(&self.thrown).take());
    }
}

/// A fresh asyncio future, marked as being awaited, in the place where the result looks for it.
fn new_waiter<'py>(
    py: Python<'py>,
    event_loop: &Bound<'py, PyAny>,
    pending: &Pending,
) -> PyResult<Bound<'py, PyAny>> {
    let waiter = event_loop.call_method0(name!(py, c"create_future"))?;
    waiter.setattr(name!(py, c"_asyncio_future_blocking"), true)?;
    pending.hold(waiter.clone().unbind());
    let before = lock(&pending.future).replace(waiter.clone().unbind());
    drop(before);
    Ok(waiter)
}

/// The result is there, since that poll: ends the wait of whoever still waits. Attached, on the loop's
/// thread.
fn wake(py: Python<'_>, pending: &Pending, by: Cause) {
    let Some(future) = lock(&pending.future)
        .as_ref()
        .map(|future| future.clone_ref(py))
    else {
        return;
    };
    pending.let_go();
    let woken = future
        .call_method0(py, name!(py, c"done"))
        .and_then(|done| {
            if done.is_truthy(py)? {
                return Ok(());
            }
            // Its loop may have been closed, and this be the courier: nobody waits any more.
            let event_loop = future.call_method0(py, name!(py, c"get_loop"))?;
            if !imports::get_running_loop(py)
                .call0()
                .is_ok_and(|running| running.is(&event_loop))
            {
                super::port::count_lost();
                return Ok(());
            }
            let set = || future.call_method1(py, name!(py, c"set_result"), (py.None(),));
            match current() {
                Some(state) => state.recorder.caused(by, set),
                None => set(),
            }
            .map(drop)
        });
    let Err(error) = woken else { return };
    let foreign = pending.foreign.as_ref().and_then(Weak::upgrade);
    match foreign.filter(|_| !error.is_instance_of::<PyException>(py)) {
        Some(foreign) => foreign.throw(error),
        None => error.write_unraisable(py, None),
    }
}

/// Ends the await: by `StopIteration`, the protocol of a coroutine's return, or by the error.
fn finish<'py>(py: Python<'py>, resolve: Resolve) -> PyResult<Bound<'py, PyAny>> {
    match resolve(py) {
        Ok(value) => Err(crate::python::raise::stop_iteration(py, value)),
        Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
            let outer = PyRuntimeError::new_err("a Rust future raised StopIteration");
            outer.set_cause(py, Some(error));
            Err(outer)
        }
        Err(error) => Err(error),
    }
}

fn panicked(payload: &(dyn std::any::Any + Send)) -> Resolve {
    let text = panic_text(payload);
    Box::new(move |_py| Err(Error::RustPanic(text).into()))
}
