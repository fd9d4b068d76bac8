//! The names that exports use, and the page of the manual that lists them.
//!
//! Invariant: what is sent is named here and nowhere else.

use std::fmt::Write;

use crate::span::SpanKind;

/// An attribute of spans.
#[derive(Clone, Copy)]
pub(super) struct Attribute {
    pub(super) key: &'static str,
    on: &'static str,
    about: &'static str,
}

const fn attribute(key: &'static str, on: &'static str, about: &'static str) -> Attribute {
    Attribute { key, on, about }
}

const OWNERS: &str = "`call`, `task`";
/// What is no part of another span.
const PLACED: &str = "`call`, `task`, `rust.poll`, `loop.turn`";

pub(super) const SPAN: Attribute = attribute(
    "gilscope.span",
    "all",
    "what it is, by the words of [spans.md](spans.md)",
);
pub(super) const RUNTIME: Attribute = attribute(
    "gilscope.runtime",
    PLACED,
    "the runtime's number in its process; of parts, see their call or task",
);
pub(super) const THREAD_NAME: Attribute = attribute(
    "thread.name",
    PLACED,
    "the thread it was recorded on, and its parts but `enqueue`, which is on its caller's",
);
pub(super) const THREAD_ID: Attribute = attribute(
    "thread.id",
    PLACED,
    "that thread's `threading.get_ident()`, where it is known",
);
pub(super) const FUNCTION: Attribute = attribute(
    "code.function.name",
    "`call`, `task`, `rust.poll`",
    "the function, `module.qualname`; the awaited Rust future",
);
pub(super) const FILE: Attribute = attribute(
    "code.file.path",
    OWNERS,
    "where it is defined, if it is Python's",
);
pub(super) const LINE: Attribute =
    attribute("code.line.number", OWNERS, "the line at which it begins");
pub(super) const STATUS: Attribute = attribute("gilscope.status", OWNERS, "how it ended");
const TASK_NAME: Attribute = attribute(
    crate::notes::TASK_NAME,
    "`task`",
    "the name that it was given, if it was: by `asyncio.create_task(…, name=…)`, say",
);
pub(super) const ERROR: Attribute = attribute(
    "error.type",
    OWNERS,
    "the exception's type, else how it ended, unless that is `ok`",
);
pub(super) const POLLS: Attribute = attribute("gilscope.polls", OWNERS, "how many polls it had");
pub(super) const POLL: Attribute = attribute(
    "gilscope.poll",
    "`poll`, `suspended`, `rust.poll`",
    "which poll of its call or task (of its future) it is, or precedes, from 1",
);
pub(super) const AWAIT: Attribute = attribute(
    "gilscope.await",
    "`suspended`",
    "where the coroutine awaits, `file:line in function`",
);
pub(super) const WAKE_TO_POLL: Attribute = attribute(
    "gilscope.wake_to_poll_ns",
    "`suspended`",
    "from its wake until its next poll, in nanoseconds, where the wake is known",
);
pub(super) const CALLS: Attribute = attribute(
    "gilscope.calls",
    "`loop.turn`",
    "calls and tasks that the turn served",
);
pub(super) const CPU: Attribute = attribute(
    "gilscope.cpu_ns",
    "`loop.turn`, `poll` of 1 ms or more",
    "CPU time of the loop's thread in it, in nanoseconds; what is left of its length is not ours",
);
pub(super) const GIL_WAIT: Attribute = attribute(
    "gilscope.gil_wait_ns",
    "`loop.turn`; `call` without its parts",
    "for how long the loop's thread waited for the GIL right before it; its `gil.wait`; in nanoseconds",
);

const CALL_ALONE: &str = "`call` without its parts";
const ALONE: &str = "`call`, `task` without their parts";

/// How long the parts of a call or task took that are no spans, in the order of [`Span::totals`].
///
/// [`Span::totals`]: crate::span::Span::totals
pub(super) const PARTS: [Attribute; 7] = [
    attribute(
        "gilscope.enqueue_ns",
        CALL_ALONE,
        "its `enqueue`, in nanoseconds",
    ),
    attribute(
        "gilscope.queued_ns",
        CALL_ALONE,
        "its `queued`, in nanoseconds",
    ),
    GIL_WAIT,
    attribute("gilscope.ready_ns", ALONE, "its `ready`, in nanoseconds"),
    attribute(
        "gilscope.poll_ns",
        ALONE,
        "all of its `poll`, in nanoseconds",
    ),
    attribute(
        "gilscope.suspended_ns",
        ALONE,
        "all of its `suspended`, in nanoseconds",
    ),
    attribute(
        "gilscope.callback_ns",
        ALONE,
        "its `callback`, of a task what came after its last poll, in nanoseconds",
    ),
];

pub(super) const LINK: Attribute = attribute(
    "gilscope.link",
    "links of `poll`",
    "`turn`: to the turn it ran in; `wake`: to the poll of a call or task of the same loop, or of the awaited Rust future, that woke it",
);

const ATTRIBUTES: [Attribute; 24] = [
    SPAN,
    RUNTIME,
    THREAD_NAME,
    THREAD_ID,
    FUNCTION,
    FILE,
    LINE,
    STATUS,
    TASK_NAME,
    ERROR,
    POLLS,
    POLL,
    AWAIT,
    WAKE_TO_POLL,
    CALLS,
    CPU,
    GIL_WAIT,
    PARTS[0],
    PARTS[1],
    PARTS[3],
    PARTS[4],
    PARTS[5],
    PARTS[6],
    LINK,
];

/// A metric that is a histogram of durations, in seconds.
pub(super) const fn duration(kind: SpanKind) -> (&'static str, &'static str) {
    match kind {
        SpanKind::Call => (
            "gilscope.call.duration",
            "From a call until its callback returned.",
        ),
        SpanKind::Enqueue => (
            "gilscope.enqueue.duration",
            "From a call until the queue took it.",
        ),
        SpanKind::Queued => (
            "gilscope.queued.duration",
            "In the queue, until the loop thread returned from its wait.",
        ),
        SpanKind::GilWait => (
            "gilscope.gil.wait.duration",
            "A call that its loop was to begin waits until the loop thread has the GIL.",
        ),
        SpanKind::Ready => (
            "gilscope.ready.duration",
            "From the GIL until the call's first poll.",
        ),
        SpanKind::Poll => ("gilscope.poll.duration", "One step of a coroutine."),
        SpanKind::Suspended => (
            "gilscope.suspended.duration",
            "From a coroutine's yield until its next poll.",
        ),
        SpanKind::Callback => (
            "gilscope.callback.duration",
            "From a ready outcome until it was delivered.",
        ),
        SpanKind::Task => (
            "gilscope.task.duration",
            "A task that was made inside a call.",
        ),
        SpanKind::LoopTurn => (
            "gilscope.gil.hold.duration",
            "The loop thread holds the GIL.",
        ),
        SpanKind::RustPoll => (
            "gilscope.rust.poll.duration",
            "One poll of a Rust future that a coroutine awaits.",
        ),
    }
}

pub(super) const WAKE: (&str, &str) = (
    "gilscope.wake.duration",
    "From the wake of a call or task until its next poll.",
);
pub(super) const LOOP_GIL_WAIT: (&str, &str) = (
    "gilscope.loop.gil.wait.duration",
    "The loop thread waits for the GIL before a turn, whether a call is to begin or all are suspended.",
);

/// A metric that counts, or measures: name, unit, what it is.
pub(super) type Number = (&'static str, &'static str, &'static str);

pub(super) const ENDED: Number = (
    "gilscope.calls",
    "{call}",
    "Calls that ended, by `gilscope.status`.",
);
pub(super) const DROPPED: Number = (
    "gilscope.dropped",
    "{record}",
    "Records and spans that were not kept, by `error.type`, the reason.",
);
pub(super) const FINDINGS: Number = (
    "gilscope.findings",
    "{finding}",
    "What was found, by `gilscope.finding`, the id of [findings.md](findings.md).",
);
/// The attribute of that metric.
pub(super) const FINDING: &str = "gilscope.finding";
pub(super) const IN_FLIGHT: Number = (
    "gilscope.calls.in_flight",
    "{call}",
    "Calls that have begun and not ended.",
);
pub(super) const QUEUED: Number = (
    "gilscope.queue.depth",
    "{call}",
    "Calls that a queue has taken and no loop has begun.",
);
pub(super) const GIL_WAITERS: Number = (
    "gilscope.gil.waiters",
    "{thread}",
    "Loop threads that wait for the GIL.",
);

/// The attributes of spans, in Markdown.
pub fn attribute_table() -> String {
    let mut table = String::from("| attribute | on | what it says |\n|---|---|---|\n");
    for Attribute { key, on, about } in ATTRIBUTES {
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| `{key}` | {on} | {about} |");
    }
    table
}

/// The metrics, in Markdown.
pub fn metric_table() -> String {
    let mut table = String::from("| metric | kind | unit | what it says |\n|---|---|---|---|\n");
    let durations = SpanKind::ALL
        .into_iter()
        .map(duration)
        .chain([WAKE, LOOP_GIL_WAIT]);
    for (name, about) in durations {
        let _ = writeln!(table, "| `{name}` | histogram | `s` | {about} |");
    }
    for ((name, unit, about), kind) in [
        (ENDED, "counter"),
        (DROPPED, "counter"),
        (FINDINGS, "counter"),
        (IN_FLIGHT, "gauge"),
        (QUEUED, "gauge"),
        (GIL_WAITERS, "gauge"),
    ] {
        let _ = writeln!(table, "| `{name}` | {kind} | `{unit}` | {about} |");
    }
    table
}
