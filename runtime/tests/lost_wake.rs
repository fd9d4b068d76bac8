//! Futures whose waker is gone while a call awaits them, and those of which it only seems so.
//!
//! Invariant: alone in its process, for findings are the process' own.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use gilscope_instrument::finding::Problem;
use gilscope_instrument::{attach_sink, detach_sink, reset_stats, sink, stats};
use gilscope_runtime::{Error, PyFun, PyHandle, into_py_future, py_runtime};
use pyo3::prelude::*;
use pyo3::types::PyModule;

const PAUSE: Duration = Duration::from_millis(10);

/// Says when it is dropped.
struct Gone;

static IS_GONE: AtomicBool = AtomicBool::new(false);

impl Drop for Gone {
    fn drop(&mut self) {
        IS_GONE.store(true, SeqCst);
    }
}

/// What becomes of the waker.
#[pyfunction]
fn future<'py>(py: Python<'py>, kind: &str) -> PyResult<Bound<'py, PyAny>> {
    match kind {
        "not kept" => into_py_future(py, poll_fn(|_| Poll::<PyResult<()>>::Pending)),
        "dropped later" => into_py_future(
            py,
            poll_fn(|context| {
                let waker = context.waker().clone();
                std::thread::spawn(move || {
                    std::thread::sleep(PAUSE);
                    drop(waker);
                });
                Poll::<PyResult<()>>::Pending
            }),
        ),
        // The third poll is given a waker that is not kept, but one that was used comes.
        "used, then dropped" => {
            let mut polls = 0;
            into_py_future(
                py,
                poll_fn(move |context| {
                    polls += 1;
                    context.waker().wake_by_ref();
                    if polls < 5 {
                        return Poll::Pending;
                    }
                    Poll::Ready(PyResult::Ok(()))
                }),
            )
        }
        // Of each poll the waker is kept in the place of the one before.
        "kept" => {
            let kept: Arc<Mutex<Option<Waker>>> = Arc::default();
            let theirs = Arc::clone(&kept);
            std::thread::spawn(move || {
                for _ in 0..20 {
                    std::thread::sleep(PAUSE / 10);
                    let waker = theirs.lock().expect("nobody panics").clone();
                    waker.inspect(Waker::wake_by_ref);
                }
                let last = theirs.lock().expect("nobody panics").take();
                drop(theirs);
                last.expect("it was polled").wake();
            });
            into_py_future(
                py,
                poll_fn(move |context| {
                    let alone = Arc::strong_count(&kept) == 1;
                    let mut kept = kept.lock().expect("nobody panics");
                    *kept = Some(context.waker().clone());
                    if alone {
                        return Poll::Ready(PyResult::Ok(()));
                    }
                    Poll::Pending
                }),
            )
        }
        "kept for ever" => {
            let mut keeps = (None, Gone); // dropped in this order
            into_py_future(
                py,
                poll_fn(move |context| {
                    let keeps = &mut keeps;
                    keeps.0 = Some(context.waker().clone());
                    Poll::<PyResult<()>>::Pending
                }),
            )
        }
        _ => into_py_future(py, async {
            tokio::time::sleep(PAUSE).await;
            PyResult::Ok(())
        }),
    }
}

const PYTHON: &std::ffi::CStr = c"
async def awaits(future, kind):
    await future(kind)
";

/// How the call ended, and how many wakes were found lost.
fn call(kind: &'static str, deadline: Duration) -> (Result<PyHandle, Error>, u64) {
    let (fun, future) = Python::attach(|py| {
        let module = PyModule::from_code(py, PYTHON, c"app.py", c"app")?;
        let future = wrap_pyfunction!(future, py)?;
        PyResult::Ok((PyFun::new(&module.getattr("awaits")?), future.unbind()))
    })
    .expect("the functions are there");
    reset_stats();
    let id = attach_sink(Box::new(sink::Null));
    let call = py_runtime()
        .expect("Python is there")
        .call(&fun, (future.into_any(), kind));
    let ended = call.deadline(deadline).blocking::<PyHandle>();
    detach_sink(id).expect("it was attached");
    (ended, lost_wakes())
}

fn lost_wakes() -> u64 {
    let found = stats().findings;
    if let Some(told) = found.worst.first() {
        let said = &told.finding.sentence;
        assert!(
            said.starts_with("`app.awaits` awaits `") && said.contains("PollFn"),
            "{said}"
        );
    }
    let counts = &mut found.counts.iter();
    let count = counts.find(|(problem, _)| *problem == Problem::LostWake);
    count.map_or(0, |(_, count)| *count)
}

#[test]
fn a_waker_that_is_gone_unused_is_told_and_no_other() {
    Python::initialize();
    let short = Duration::from_millis(300);
    for kind in ["not kept", "dropped later"] {
        let (ended, lost) = call(kind, short);
        assert!(
            matches!(ended, Err(Error::DeadlineExceeded { .. })),
            "{ended:?}"
        );
        assert_eq!(lost, 1, "{kind}");
    }
    let long = Duration::from_secs(30);
    for kind in ["used, then dropped", "kept", "sleeps"] {
        let (ended, lost) = call(kind, long);
        assert!(ended.is_ok(), "{kind}: {ended:?}");
        assert_eq!(lost, 0, "{kind}");
    }
    // Given up by its deadline while it was kept: the future goes, and its waker with it.
    let (ended, lost) = call("kept for ever", PAUSE);
    assert!(ended.is_err());
    assert_eq!(lost, 0);
    while !IS_GONE.load(SeqCst) {
        std::thread::sleep(PAUSE);
    }
    assert_eq!(lost_wakes(), 0);
}
