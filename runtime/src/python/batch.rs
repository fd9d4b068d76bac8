//! `gilscope run`: one tokio task per input calls the function; one thread writes a line per outcome.
//!
//! Invariant: every input that was fed gets exactly one row, whatever happens to its call.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use super::given::{self, Given};
use super::row::{self, Failure};
use super::runtime::Runtime;
use crate::call::CallBuilder;
use crate::error::{CancelledBy, Error};
use crate::handle::{PyFun, PyHandle};
use crate::life::park::{ParkOnExit, Parking};
use crate::life::ping::Ping;
use crate::runtime::PyRuntime;
use crate::tasks;

/// How long a wait goes on before it looks for signals.
const SLICE: Duration = Duration::from_millis(100);

/// How many types of errors are counted each on its own; the rest counts as `OTHERS`.
const KINDS: usize = 256;
const OTHERS: &str = "<other>";

/// What is fed.
enum Input {
    Value(u64, PyHandle),
    Unusable(u64, String, String),
}

/// What the calls of one batch share.
struct Shared {
    runtime: PyRuntime,
    fun: PyFun,
    /// Calls a function and encodes its result; see `loop.py`.
    encoded: PyFun,
    encode: PyHandle,
    deadline: Option<Duration>,
    cancelled: AtomicBool,
    cancel: Notify,
    counts: Counts,
    /// How many rows have an error of each type, a group's counted as the first in it.
    failed: Mutex<BTreeMap<String, u64>>,
    end: (Mutex<End>, Condvar),
}

#[derive(Default)]
struct Counts {
    fed: AtomicU64,
    ok: AtomicU64,
    errors: AtomicU64,
    cancelled: AtomicU64,
    /// Those of the cancelled that no call was made for.
    unstarted: AtomicU64,
}

#[derive(Default)]
struct End {
    ended: bool,
    error: Option<std::io::Error>,
}

/// See the module's text.
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct Batch {
    shared: Parking<Arc<Shared>>,
    inputs: Mutex<Option<mpsc::Sender<Input>>>,
    asked: Mutex<Option<Ping>>,
}

#[pymethods]
impl Batch {
    #[new]
    #[pyo3(signature = (runtime, fun, concurrency, deadline, out_fd, *, encode))]
    fn new(
        runtime: &Bound<'_, Runtime>,
        fun: &Bound<'_, PyAny>,
        concurrency: usize,
        deadline: Given<'_, '_>,
        out_fd: i32,
        encode: Py<PyAny>,
    ) -> PyResult<Self> {
        let _parks = ParkOnExit::new();
        let py = fun.py();
        let helper = crate::loop_thread::thread::module(py)?.getattr("call_and_encode")?;
        let fun = PyFun::new(fun);
        let shared = Arc::new(Shared {
            runtime: runtime.get().inner.clone(),
            encoded: PyFun::named(PyHandle::new(helper.unbind()), fun.name()),
            fun,
            encode: PyHandle::new(encode),
            deadline: given::deadline(deadline)?,
            cancelled: AtomicBool::new(false),
            cancel: Notify::new(),
            counts: Counts::default(),
            failed: Mutex::default(),
            end: Default::default(),
        });
        let (inputs, queue) = mpsc::channel(concurrency.clamp(1, 1024));
        let rows = writer(&shared, out_fd)?;
        let theirs = Arc::clone(&shared);
        py.detach(|| tasks::own_tokio().spawn(dispatch(theirs, queue, rows, concurrency)));
        Ok(Self {
            shared: Parking::new(shared),
            inputs: Mutex::new(Some(inputs)),
            asked: Mutex::new(None),
        })
    }

    /// Hand over an input; waits, without the GIL, while too many are queued. False after `cancel`.
    fn feed(&self, py: Python<'_>, index: u64, value: Py<PyAny>) -> PyResult<bool> {
        let _parks = ParkOnExit::new();
        self.send(py, Input::Value(index, PyHandle::new(value)))
    }

    /// Hand over an input that no call can be made of: it gets an error row.
    fn feed_error(
        &self,
        py: Python<'_>,
        index: u64,
        r#type: String,
        message: String,
    ) -> PyResult<bool> {
        let _parks = ParkOnExit::new();
        self.send(py, Input::Unusable(index, r#type, message))
    }

    /// No more inputs.
    fn finish(&self) {
        drop(
            self.inputs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    /// Cancel what runs; what has not started gets a "cancelled" row.
    fn cancel(&self) {
        self.shared.cancelled.store(true, Relaxed);
        self.shared.cancel.notify_waiters();
    }

    /// For how many seconds the loop has not answered: it is asked by this, and again after each answer.
    /// 0 for a loop that was stopped.
    fn unanswered(&self) -> f64 {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(silence) = asked.as_ref().and_then(Ping::unanswered) {
            return silence.as_secs_f64();
        }
        *asked = Ping::send(&self.shared.runtime.host, |_| true);
        0.0
    }

    // No guard around the conversion: our own code gives a float.
    /// Whether all rows are written, waiting `timeout` seconds for it. Raises OSError if they cannot be.
    fn wait(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let _parks = ParkOnExit::new();
        let patience = Duration::try_from_secs_f64(timeout.max(0.0)).unwrap_or(Duration::MAX);
        let end = Instant::now() + patience.min(Duration::from_secs(86_400));
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if py.detach(|| self.shared.wait_end(left.min(SLICE))) {
                self.shared.check_rows()?;
                return Ok(true);
            }
            py.check_signals()?;
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    fn progress<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let _parks = ParkOnExit::new();
        let counts = &self.shared.counts;
        let load = |count: &AtomicU64| count.load(Relaxed);
        let (ok, errors, cancelled) = (
            load(&counts.ok),
            load(&counts.errors),
            load(&counts.cancelled),
        );
        let dict = PyDict::new(py);
        dict.set_item("fed", load(&counts.fed))?;
        dict.set_item("done", ok + errors + cancelled)?;
        dict.set_item("ok", ok)?;
        dict.set_item("errors", errors)?;
        dict.set_item("cancelled", cancelled)?;
        dict.set_item("unstarted", load(&counts.unstarted))?;
        Ok(dict)
    }

    /// How many rows have an error of each type, under the name that they have there; an exception group
    /// counts as the first exception in it.
    fn failed<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let _parks = ParkOnExit::new();
        let failed = self.shared.failed().clone();
        let dict = PyDict::new(py);
        for (kind, count) in failed {
            dict.set_item(kind, count)?;
        }
        Ok(dict)
    }
}

impl Batch {
    fn send(&self, py: Python<'_>, input: Input) -> PyResult<bool> {
        let sender = self
            .inputs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(sender) = sender else {
            return Ok(false);
        };
        self.shared.check_rows()?;
        self.shared.counts.fed.fetch_add(1, Relaxed);
        let sent = py.detach(|| {
            crate::call::block_on_interruptible(sender.reserve(), crate::call::check_signals)
                .map(|permit| permit.map(|permit| permit.send(input)).is_ok())
        });
        if !matches!(sent, Ok(true)) {
            self.shared.counts.fed.fetch_sub(1, Relaxed);
        }
        Ok(sent? && !self.shared.cancelled.load(Relaxed))
    }
}

/// Takes inputs in their order and starts a task for each, as many at once as allowed.
async fn dispatch(
    shared: Arc<Shared>,
    mut queue: mpsc::Receiver<Input>,
    rows: mpsc::Sender<String>,
    concurrency: usize,
) {
    let room = Arc::new(Semaphore::new(concurrency));
    while let Some(input) = queue.recv().await {
        let permit = shared.room(&room).await;
        let (shared, rows) = (Arc::clone(&shared), rows.clone());
        tokio::spawn(async move {
            let row = match input {
                Input::Value(index, value) => shared.call(index, value).await,
                Input::Unusable(index, kind, message) => {
                    let failure = Failure::new(&kind, message);
                    shared.error_row(index, &failure, None)
                }
            };
            // The writer has gone only if writing failed, which `feed` and `wait` report.
            let _ = rows.send(row).await;
            drop(permit);
        });
    }
}

impl Shared {
    /// Room for one more call; none after a cancel, which makes no more calls, and whose rows must not
    /// wait for calls that hold the loop.
    async fn room(&self, room: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        let mut cancel = std::pin::pin!(self.cancel.notified());
        cancel.as_mut().enable();
        if self.cancelled.load(Relaxed) {
            return None;
        }
        tokio::select! {
            permit = Arc::clone(room).acquire_owned() => permit.ok(),
            () = cancel => None,
        }
    }

    async fn call(&self, index: u64, value: PyHandle) -> String {
        // Armed before the flag is read, so that a cancel in between is not missed.
        let mut cancel = std::pin::pin!(self.cancel.notified());
        cancel.as_mut().enable();
        if self.cancelled.load(Relaxed) {
            self.counts.unstarted.fetch_add(1, Relaxed);
            return self.cancelled_row(index, "cancelled before it started", None);
        }
        let start = Instant::now();
        let args = (self.fun.callable().clone(), self.encode.clone(), value);
        let mut call = CallBuilder::new(self.runtime.host.clone(), self.encoded.clone(), args);
        if let Some(deadline) = self.deadline {
            call = call.deadline(deadline);
        }
        let mut future = call.wait::<String>();
        let handle = future.handle();
        let outcome = tokio::select! {
            outcome = &mut future => outcome,
            () = cancel => {
                handle.cancel();
                future.await
            }
        };
        self.row(index, outcome, start.elapsed())
    }

    fn row(&self, index: u64, outcome: Result<String, Error>, took: Duration) -> String {
        let ms = took.as_secs_f64() * 1e3;
        match outcome {
            Ok(json) => {
                self.counts.ok.fetch_add(1, Relaxed);
                row::ok(index, &json, ms)
            }
            // A runtime that is aborted after a cancel stops the calls that do not let themselves be.
            Err(
                Error::Cancelled {
                    by: CancelledBy::Caller | CancelledBy::Shutdown,
                    ..
                }
                | Error::RuntimeStopped { .. },
            ) if self.cancelled.load(Relaxed) => {
                self.cancelled_row(index, "cancelled before it ended", Some(ms))
            }
            Err(error) => self.error_row(index, &Failure::of(&error), Some(ms)),
        }
    }

    fn cancelled_row(&self, index: u64, message: &str, ms: Option<f64>) -> String {
        self.counts.cancelled.fetch_add(1, Relaxed);
        row::failed(index, &Failure::new("cancelled", message), ms)
    }

    fn error_row(&self, index: u64, failure: &Failure<'_>, ms: Option<f64>) -> String {
        self.counts.errors.fetch_add(1, Relaxed);
        self.count(failure.counts_as());
        row::failed(index, failure, ms)
    }

    fn count(&self, kind: &str) {
        let mut failed = self.failed();
        if let Some(count) = failed.get_mut(kind) {
            *count += 1;
            return;
        }
        let kind = if failed.len() < KINDS { kind } else { OTHERS };
        *failed.entry(kind.to_owned()).or_default() += 1;
    }

    fn failed(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, detached, until all rows are written or cannot be.
    fn wait_end(&self, patience: Duration) -> bool {
        let (end, changed) = (&self.end.0, &self.end.1);
        let end = end.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(end, patience, |end| !end.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// Fails once rows can no longer be written.
    fn check_rows(&self) -> std::io::Result<()> {
        let end = self.end.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &end.error {
            None => Ok(()),
            Some(error) => Err(match error.raw_os_error() {
                Some(code) => std::io::Error::from_raw_os_error(code),
                None => std::io::Error::new(error.kind(), error.to_string()),
            }),
        }
    }

    fn end(&self, error: Option<std::io::Error>) {
        *self.end.0.lock().unwrap_or_else(PoisonError::into_inner) = End { ended: true, error };
        self.end.1.notify_all();
    }
}

/// Starts the thread that writes rows to a duplicate of `fd`, and says when all are written.
fn writer(shared: &Arc<Shared>, fd: i32) -> std::io::Result<mpsc::Sender<String>> {
    let (rows, mut queue) = mpsc::channel::<String>(1024);
    // SAFETY: no memory is involved; a bad descriptor is an error.
    let own = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    if own < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the duplicate is owned by nobody else.
    let mut file = BufWriter::new(unsafe { File::from_raw_fd(own) });
    let shared = Arc::clone(shared);
    let write = move || {
        let mut write_all = || {
            while let Some(row) = queue.blocking_recv() {
                file.write_all(row.as_bytes())?;
                // A reader may be watching: write through whenever there is nothing more to add.
                if queue.is_empty() {
                    file.flush()?;
                }
            }
            file.flush()
        };
        let written = write_all();
        drop(queue);
        shared.end(written.err());
    };
    std::thread::Builder::new()
        .name("gilscope-rows".into())
        .spawn(write)?;
    Ok(rows)
}
