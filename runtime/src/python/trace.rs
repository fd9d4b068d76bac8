//! Recording as Python sees it: sinks, statistics, what is in flight.
//!
//! Invariant: nothing here waits for the converter while it holds the GIL.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use gilscope_instrument::finding::{Findings, json_finding};
use gilscope_instrument::sink::{Chrome, JsonLines, Memory, MemoryHandle, json_line};
use gilscope_instrument::{Detail, PartStats, SinkId, Stats, clock};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::life::park::ParkOnExit;
use crate::watchdog::Watch;

/// Open traces by id.
static TRACES: Mutex<Option<HashMap<u64, Trace>>> = Mutex::new(None);

struct Trace {
    /// Of the process that opened it: its sink, and the lock in its memory, are nobody else's.
    generation: u64,
    sink: SinkId,
    memory: Option<MemoryHandle>,
    /// Who held the GIL, or a loop, is to be seen while it is open.
    watch: Option<Watch>,
}

fn with_traces<R>(use_them: impl FnOnce(&mut HashMap<u64, Trace>) -> R) -> R {
    let mut traces = TRACES.lock().unwrap_or_else(PoisonError::into_inner);
    use_them(traces.get_or_insert_default())
}

/// Start a trace into a file, or into memory; returns its id. Raises OSError.
#[pyfunction]
#[pyo3(signature = (path=None))]
pub(crate) fn trace_start(py: Python<'_>, path: Option<Bound<'_, PyAny>>) -> PyResult<u64> {
    let _parks = ParkOnExit::new();
    let path: Option<PathBuf> = path.map(|path| path.extract()).transpose()?;
    // A trace may be open at exit, and in a fork, without there having been any runtime.
    crate::life::exit::register(py)?;
    let generation = crate::life::fork::generation();
    let watch = Watch::start(py, None)?;
    let (sink, memory) = py
        .detach(|| open(path.clone()))
        .map_err(|error| match &path {
            Some(path) => super::awaitables::at(&error, path),
            None => error.into(),
        })?;
    let id = gilscope_instrument::new_id();
    let trace = Trace {
        generation,
        sink,
        memory,
        watch,
    };
    with_traces(|traces| traces.insert(id, trace));
    Ok(id)
}

fn open(path: Option<PathBuf>) -> std::io::Result<(SinkId, Option<MemoryHandle>)> {
    let Some(path) = path else {
        let (sink, handle) = Memory::new();
        return Ok((
            gilscope_instrument::attach_sink(Box::new(sink)),
            Some(handle),
        ));
    };
    let sink = if path.as_os_str().as_encoded_bytes().ends_with(b".jsonl") {
        gilscope_instrument::attach_sink(Box::new(JsonLines::new(path)?))
    } else {
        gilscope_instrument::attach_sink(Box::new(Chrome::new(path)?))
    };
    Ok((sink, None))
}

/// End a trace: everything recorded so far is in it. Returns its spans and findings, as in a `.jsonl` file,
/// or None for one that went to a file. Raises OSError if writing failed, and RuntimeStopped for one from
/// before a fork, which its own process ends.
#[pyfunction]
pub(crate) fn trace_stop(py: Python<'_>, id: u64) -> PyResult<Option<[Bound<'_, PyList>; 2]>> {
    let _parks = ParkOnExit::new();
    let trace = with_traces(|traces| {
        check(traces, id)?;
        traces.remove(&id).ok_or(Refused::Unknown)
    });
    let trace = trace.map_err(|refused| refused.raise(py, id))?;
    let Trace {
        sink,
        watch,
        memory,
        ..
    } = trace;
    py.detach(|| {
        drop(watch);
        gilscope_instrument::detach_sink(sink)
    })?;
    memory
        .map(|memory| {
            let [spans, findings] = py.detach(|| [span_lines(&memory), finding_lines(&memory)]);
            Ok([parsed(py, &spans)?, parsed(py, &findings)?])
        })
        .transpose()
}

/// The spans of a trace in memory, as in a `.jsonl` file. Raises RuntimeStopped for one from before a
/// fork.
#[pyfunction]
pub(crate) fn trace_memory(py: Python<'_>, id: u64) -> PyResult<Bound<'_, PyList>> {
    let _parks = ParkOnExit::new();
    lines_so_far(py, id, span_lines)
}

/// The findings of a trace in memory, as in a `.jsonl` file. Raises RuntimeStopped for one from before a
/// fork.
#[pyfunction]
pub(crate) fn trace_findings(py: Python<'_>, id: u64) -> PyResult<Bound<'_, PyList>> {
    let _parks = ParkOnExit::new();
    lines_so_far(py, id, finding_lines)
}

fn lines_so_far(
    py: Python<'_>,
    id: u64,
    lines: fn(&MemoryHandle) -> Vec<String>,
) -> PyResult<Bound<'_, PyList>> {
    let handle = memory_of(id).map_err(|refused| refused.raise(py, id))?;
    let lines = py.detach(|| {
        gilscope_instrument::flush();
        lines(&handle)
    });
    parsed(py, &lines)
}

fn span_lines(memory: &MemoryHandle) -> Vec<String> {
    memory.spans().iter().map(json_line).collect()
}

fn finding_lines(memory: &MemoryHandle) -> Vec<String> {
    memory.findings().iter().map(json_finding).collect()
}

fn memory_of(id: u64) -> Result<MemoryHandle, Refused> {
    with_traces(|traces| {
        let memory = check(traces, id)?.memory.clone();
        memory.ok_or(Refused::ToFile)
    })
}

fn parsed<'py>(py: Python<'py>, lines: &[String]) -> PyResult<Bound<'py, PyList>> {
    let loads = py.import("json")?.getattr("loads")?;
    let objects = lines.iter().map(|line| loads.call1((line,)));
    PyList::new(py, objects.collect::<PyResult<Vec<_>>>()?)
}

/// The trace and span id that are current in this thread, as hexadecimal digits, and the trace flags; or
/// None outside of any.
#[pyfunction]
pub(crate) fn current_trace(py: Python<'_>) -> Option<(String, String, u8)> {
    let _parks = ParkOnExit::new();
    let context = crate::trace::current(py)?;
    let [high, low] = context.trace;
    Some((
        format!("{high:016x}{low:016x}"),
        format!("{:016x}", context.span),
        context.flags,
    ))
}

/// Why a trace may not be used. Made under the lock, where no Python code may run; raised outside.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    Unknown,
    /// A parent of this process opened it.
    Parents,
    ToFile,
}

impl Refused {
    fn raise(&self, py: Python<'_>, id: u64) -> PyErr {
        match self {
            Self::Unknown => PyKeyError::new_err(format!("no trace {id} is open")),
            Self::Parents => {
                let text = "this trace was opened before a fork, and is the parent's; \
                            open one in the child";
                super::exceptions::runtime_stopped(py, text)
            }
            Self::ToFile => PyValueError::new_err("this trace goes to a file"),
        }
    }
}

/// The trace of that id, unless a parent of this process opened it.
fn check(traces: &HashMap<u64, Trace>, id: u64) -> Result<&Trace, Refused> {
    let trace = traces.get(&id).ok_or(Refused::Unknown)?;
    if trace.generation == crate::life::fork::generation() {
        return Ok(trace);
    }
    Err(Refused::Parents)
}

/// What is recorded: "off", "call" (one span a call) or "full". Returns what was.
#[pyfunction]
#[pyo3(signature = (detail=None))]
pub(crate) fn trace_detail(detail: Option<&str>) -> PyResult<&'static str> {
    gilscope_instrument::read_environment();
    let before = gilscope_instrument::detail().as_str();
    let Some(wanted) = detail else {
        return Ok(before);
    };
    let detail = Detail::named(wanted).ok_or_else(|| {
        let text = format!("detail must be \"off\", \"call\" or \"full\", not {wanted:?}");
        PyValueError::new_err(text)
    })?;
    gilscope_instrument::set_detail(detail);
    Ok(before)
}

/// Wait until everything recorded so far is joined and handed to the sinks.
#[pyfunction]
pub(crate) fn trace_flush(py: Python<'_>) {
    let _parks = ParkOnExit::new();
    py.detach(gilscope_instrument::flush);
}

/// Counts and durations of everything that this process has recorded.
///
/// A dict. `calls`: how many ended, refused ones included; `by_status`: how many ended "ok", "error",
/// "deadline" and so on; `errors`: how many had an error, by its type. `parts`: for each kind of span
/// ("call" and what it is made of, "task", "loop.turn", "rust.poll") its `count`, `sum_ns`, `p50_ns`, `p99_ns` and
/// `max_ns`. `wake`: the same from the wake of a call or task until its next poll. `functions`: a list of the same by `name`, with `calls` and, of them, `errors`, which are
/// all that did not end "ok"; most time first, at most 1,024, the rest under "<other>". `turns`: of all
/// loops, with `cpu_ns`, the CPU time of their threads in them, and `gil_wait`, how often and how long those threads
/// waited for the GIL before a turn: also while every call was suspended, which `parts` does not say.
///
/// `gauges`: what is the case now: `queue_depth`: calls that a queue has taken and no loop has begun;
/// `in_flight`: calls that have begun and not ended; `gil_waiters`: loop threads that wait for the GIL.
///
/// What was lost: `dropped`, by reason: of the record `ring`, `side`, `sink` and `open`; of what was to be
/// exported, by all exporters of this process, `queue_full`, `export_failed`, `rejected` and `closed`, as
/// `instrument.lost` has them of one. `incomplete`: calls and tasks
/// without one of their steps, or without an end; `records`: slots read from the rings; `ring_slots`:
/// of the ring that a loop which begins now would have (`GILSCOPE_RING`); `detail`: what is recorded
/// now; `fell_back`: how often a ring overflowed, so that only calls were from then on.
///
/// `findings`: `counts` by id ("GS03"), and `worst`, a list of what docs/findings.md describes: of each
/// problem and function the one that lasted longest, and the `count` of its like; longest first, at most
/// 64, the rest is only counted, and `dropped` says how often that was so.
///
/// Durations are nanoseconds. Count, sum and maximum are exact; `p50_ns` and `p99_ns` are upper bounds,
/// those of a histogram's bucket: never below the true value, and at most 12.5 % above it.
#[pyfunction]
pub(crate) fn stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let _parks = ParkOnExit::new();
    let stats = py.detach(|| {
        gilscope_instrument::flush();
        gilscope_instrument::stats()
    });
    to_dict(py, &stats)
}

/// Start all counts afresh.
#[pyfunction]
pub(crate) fn reset_stats(py: Python<'_>) {
    let _parks = ParkOnExit::new();
    py.detach(|| {
        gilscope_instrument::flush();
        gilscope_instrument::reset_stats();
    });
}

fn to_dict<'py>(py: Python<'py>, stats: &Stats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("calls", stats.calls)?;
    let by_status = PyDict::new(py);
    for (status, count) in &stats.by_status {
        by_status.set_item(status.as_str(), count)?;
    }
    dict.set_item("by_status", by_status)?;
    let errors = PyDict::new(py);
    for (kind, count) in &stats.errors {
        errors.set_item(kind, count)?;
    }
    dict.set_item("errors", errors)?;
    let parts = PyDict::new(py);
    for part in &stats.parts {
        parts.set_item(part.kind.as_str(), durations(py, part)?)?;
    }
    dict.set_item("parts", parts)?;
    let functions = PyList::empty(py);
    for function in &stats.functions {
        let row = PyDict::new(py);
        row.set_item("name", &*gilscope_instrument::resolve(function.name))?;
        row.set_item("calls", function.calls)?;
        row.set_item("errors", function.errors)?;
        row.set_item("sum_ns", function.sum_ns)?;
        row.set_item("p50_ns", function.p50_ns)?;
        row.set_item("p99_ns", function.p99_ns)?;
        row.set_item("max_ns", function.max_ns)?;
        functions.append(row)?;
    }
    dict.set_item("functions", functions)?;
    let dropped = PyDict::new(py);
    let reasons = stats.dropped.by_reason();
    for (reason, count) in reasons.into_iter().chain(stats.lost.by_reason()) {
        dropped.set_item(reason, count)?;
    }
    dict.set_item("dropped", dropped)?;
    dict.set_item("records", stats.records)?;
    dict.set_item("ring_slots", stats.ring_slots)?;
    dict.set_item("wake", durations(py, &stats.wake)?)?;
    let gauges = PyDict::new(py);
    gauges.set_item("queue_depth", stats.gauges.queue_depth)?;
    gauges.set_item("in_flight", stats.gauges.in_flight)?;
    gauges.set_item("gil_waiters", stats.gauges.gil_waiters)?;
    dict.set_item("gauges", gauges)?;
    dict.set_item("turns", stats.turns)?;
    dict.set_item("cpu_ns", stats.cpu_ns)?;
    dict.set_item("gil_wait", durations(py, &stats.gil_wait)?)?;
    dict.set_item("incomplete", stats.incomplete)?;
    dict.set_item("detail", stats.detail.as_str())?;
    dict.set_item("fell_back", stats.fell_back)?;
    dict.set_item("findings", findings(py, &stats.findings)?)?;
    Ok(dict)
}

fn findings<'py>(py: Python<'py>, findings: &Findings) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let counts = PyDict::new(py);
    for (problem, count) in &findings.counts {
        counts.set_item(problem.id(), count)?;
    }
    dict.set_item("counts", counts)?;
    let lines = findings.worst.iter();
    let lines: Vec<_> = lines.map(|told| json_finding(&told.finding)).collect();
    let worst = parsed(py, &lines)?;
    for (line, told) in worst.iter().zip(&findings.worst) {
        line.set_item("count", told.count)?;
    }
    dict.set_item("worst", worst)?;
    dict.set_item("dropped", findings.dropped)?;
    Ok(dict)
}

fn durations<'py>(py: Python<'py>, part: &PartStats) -> PyResult<Bound<'py, PyDict>> {
    let row = PyDict::new(py);
    row.set_item("count", part.count)?;
    row.set_item("sum_ns", part.sum_ns)?;
    row.set_item("p50_ns", part.p50_ns)?;
    row.set_item("p99_ns", part.p99_ns)?;
    row.set_item("max_ns", part.max_ns)?;
    Ok(row)
}

/// The calls and tasks that are open now, on every loop of this process.
#[pyfunction]
pub(crate) fn in_flight(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let _parks = ParkOnExit::new();
    let open = py.detach(gilscope_instrument::in_flight);
    let now = clock::now();
    let list = PyList::empty(py);
    for call in open {
        let row = PyDict::new(py);
        row.set_item("span", call.kind.as_str())?;
        row.set_item("runtime", call.runtime)?;
        row.set_item("id", format!("{:016x}", call.id))?;
        row.set_item("call", format!("{:016x}", call.call))?;
        row.set_item("name", &*gilscope_instrument::resolve(call.name))?;
        row.set_item("phase", call.phase.as_str())?;
        row.set_item(
            "age_ns",
            clock::to_ns(now).saturating_sub(clock::to_ns(call.called)),
        )?;
        row.set_item(
            "since_ns",
            clock::to_ns(now).saturating_sub(clock::to_ns(call.since)),
        )?;
        row.set_item("polls", call.polls)?;
        let at = gilscope_instrument::resolve(call.at);
        row.set_item("at", if at.is_empty() { None } else { Some(&*at) })?;
        list.append(row)?;
    }
    Ok(list)
}
