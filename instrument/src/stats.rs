//! Counts and histograms of everything joined so far.
//!
//! Invariant: bounded, whatever names and exceptions the users' code comes up with.

use std::collections::HashMap;

use crate::clock;
use crate::detail::{self, Detail};
#[cfg(feature = "otlp")]
use crate::finding::Problem;
use crate::finding::{Findings, Store};
use crate::gauges::{Gauges, gauges};
use crate::global;
use crate::histogram::Histogram;
use crate::lost::Lost;
use crate::name::{Name, intern};
use crate::span::SpanKind;
use crate::status::Status;

const MAX_FUNCTIONS: usize = 1024;
const MAX_ERROR_TYPES: usize = 256;

/// Everything joined since the start or the last [`reset_stats`].
#[derive(Clone, Debug)]
pub struct Stats {
    /// Calls that ended, refused ones included.
    pub calls: u64,
    /// Calls that raised or panicked, by type name, most frequent first.
    pub errors: Vec<(String, u64)>,
    /// Calls by how they ended; only those that occurred.
    pub by_status: Vec<(Status, u64)>,
    /// For each kind of span, in the order of [`SpanKind::ALL`].
    pub parts: Vec<PartStats>,
    /// For each function, most time first; at most 1,024, the rest under `<other>`.
    pub functions: Vec<FunctionStats>,
    /// From a wake until the next poll of its call or task; a part of what is `Suspended`.
    pub wake: PartStats,
    /// What is the case now.
    pub gauges: Gauges,
    /// Turns of all loops.
    pub turns: u64,
    /// CPU time of the loops' threads in them.
    pub cpu_ns: u64,
    /// How long the loops' threads waited for the GIL before a turn, whoever waited for them, also while all calls
    /// were suspended: each wait once. The part `GilWait` is that of calls that begin, once for each of them.
    pub gil_wait: PartStats,
    /// What was not recorded or not kept, by reason.
    pub dropped: Dropped,
    /// What was not exported though it was to be, by reason.
    pub lost: Lost,
    /// Slots read from all rings.
    pub records: u64,
    /// Slots of the ring of a loop that begins now.
    pub ring_slots: usize,
    /// Calls and tasks of which some step was lost, or whose loop went away before their end.
    pub incomplete: u64,
    /// What is recorded now.
    pub detail: Detail,
    /// How often a ring overflowed while everything was recorded, so that only calls were from then on.
    pub fell_back: u64,
    /// What was found, worst first.
    pub findings: Findings,
}

/// Durations of one kind of span. Quantiles are at most 12.5 % too high.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartStats {
    /// Which kind.
    pub kind: SpanKind,
    /// How many there were.
    pub count: u64,
    /// Their sum.
    pub sum_ns: u64,
    /// Their median.
    pub p50_ns: u64,
    /// Their 99th percentile.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// Durations of the calls of one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionStats {
    /// The function.
    pub name: Name,
    /// Its calls that ended.
    pub calls: u64,
    /// Those that did not end `Ok`.
    pub errors: u64,
    /// Sum of the calls' durations.
    pub sum_ns: u64,
    /// Their median.
    pub p50_ns: u64,
    /// Their 99th percentile.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// What was lost, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Records that found no room in a ring, and polls of Rust futures that found none in their lane.
    pub ring: u64,
    /// Error texts and refused calls that found no room in the side lane.
    pub side: u64,
    /// Spans that a sink did not take.
    pub sink: u64,
    /// Calls and tasks that found no room among the open ones.
    pub open: u64,
}

impl Dropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.ring + self.side + self.sink + self.open
    }

    /// Each reason and its count.
    pub fn by_reason(&self) -> [(&'static str, u64); 4] {
        [
            ("ring", self.ring),
            ("side", self.side),
            ("sink", self.sink),
            ("open", self.open),
        ]
    }

    pub(crate) fn since(&self, base: &Dropped) -> Dropped {
        Dropped {
            ring: self.ring.saturating_sub(base.ring),
            side: self.side.saturating_sub(base.side),
            sink: self.sink.saturating_sub(base.sink),
            open: self.open.saturating_sub(base.open),
        }
    }
}

/// What the converter counts. Durations in nanoseconds.
pub(crate) struct Tables {
    pub(crate) parts: [Histogram; SpanKind::ALL.len()],
    /// From the wake until the poll.
    pub(crate) woken: Histogram,
    /// Waits of loop threads for the GIL before a turn, whoever waited for them.
    pub(crate) gil_wait: Histogram,
    /// CPU time of loop threads in their turns.
    pub(crate) cpu_ns: u64,
    /// Ticks since when all of this is counted.
    #[cfg_attr(not(feature = "otlp"), allow(dead_code))] // only said when it is exported
    since: u64,
    functions: HashMap<Name, Function>,
    errors: HashMap<String, u64>,
    by_status: [u64; Status::ALL.len()],
    calls: u64,
    pub(crate) turns: u64,
    pub(crate) records: u64,
    pub(crate) incomplete: u64,
    pub(crate) dropped: Dropped,
    /// Drops before the last reset.
    dropped_base: Dropped,
    lost_base: Lost,
    falls_base: u64,
    pub(crate) findings: Store,
}

#[derive(Default)]
struct Function {
    durations: Histogram,
    errors: u64,
}

impl Default for Tables {
    fn default() -> Self {
        Tables {
            parts: std::array::from_fn(|_| Histogram::default()),
            woken: Histogram::default(),
            gil_wait: Histogram::default(),
            cpu_ns: 0,
            since: clock::now(),
            functions: HashMap::new(),
            errors: HashMap::new(),
            by_status: [0; Status::ALL.len()],
            calls: 0,
            turns: 0,
            records: 0,
            incomplete: 0,
            dropped: Dropped::default(),
            dropped_base: Dropped::default(),
            lost_base: Lost::default(),
            falls_base: 0,
            findings: Store::default(),
        }
    }
}

impl Tables {
    #[inline]
    pub(crate) fn part(&mut self, kind: SpanKind, ns: u64) {
        self.parts[kind as usize].record(ns);
    }

    pub(crate) fn call(&mut self, name: Name, status: Status, ns: u64) {
        self.calls += 1;
        self.by_status[status as usize] += 1;
        self.part(SpanKind::Call, ns);
        let known = self.functions.len() < MAX_FUNCTIONS || self.functions.contains_key(&name);
        let name = if known { name } else { intern("<other>") };
        let function = self.functions.entry(name).or_default();
        function.durations.record(ns);
        function.errors += u64::from(status != Status::Ok);
    }

    pub(crate) fn error(&mut self, type_name: &str) {
        if let Some(count) = self.errors.get_mut(type_name) {
            *count += 1;
            return;
        }
        let known = self.errors.len() < MAX_ERROR_TYPES;
        let name = if known { type_name } else { "<other>" };
        *self.errors.entry(name.to_owned()).or_default() += 1;
    }

    fn reset(&mut self) {
        *self = Tables {
            dropped: self.dropped,
            dropped_base: self.dropped,
            lost_base: global::global().lost.get(),
            falls_base: detail::falls(),
            ..Tables::default()
        };
    }

    fn snapshot(&self) -> Stats {
        let mut errors: Vec<_> = self
            .errors
            .iter()
            .map(|(name, n)| (name.clone(), *n))
            .collect();
        errors.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let mut functions: Vec<_> = self.functions.iter().map(function_stats).collect();
        functions.sort_by_key(|function| (std::cmp::Reverse(function.sum_ns), function.name.0));
        let statuses = Status::ALL.into_iter().zip(self.by_status);
        Stats {
            calls: self.calls,
            errors,
            by_status: statuses.filter(|(_, count)| *count != 0).collect(),
            parts: SpanKind::ALL
                .into_iter()
                .map(|kind| self.part_stats(kind))
                .collect(),
            functions,
            wake: PartStats::of(SpanKind::Suspended, &self.woken),
            gauges: gauges(),
            turns: self.turns,
            cpu_ns: self.cpu_ns,
            gil_wait: PartStats::of(SpanKind::GilWait, &self.gil_wait),
            dropped: self.dropped.since(&self.dropped_base),
            lost: global::global().lost.get().since(&self.lost_base),
            records: self.records,
            ring_slots: crate::recorder::ring_slots(),
            incomplete: self.incomplete,
            detail: detail::detail(),
            fell_back: detail::falls().saturating_sub(self.falls_base),
            findings: self.findings.snapshot(),
        }
    }

    fn part_stats(&self, kind: SpanKind) -> PartStats {
        PartStats::of(kind, &self.parts[kind as usize])
    }
}

impl PartStats {
    fn of(kind: SpanKind, histogram: &Histogram) -> PartStats {
        PartStats {
            kind,
            count: histogram.count(),
            sum_ns: histogram.sum(),
            p50_ns: histogram.quantile(0.5),
            p99_ns: histogram.quantile(0.99),
            max_ns: histogram.max(),
        }
    }
}

fn function_stats((name, function): (&Name, &Function)) -> FunctionStats {
    FunctionStats {
        name: *name,
        calls: function.durations.count(),
        errors: function.errors,
        sum_ns: function.durations.sum(),
        p50_ns: function.durations.quantile(0.5),
        p99_ns: function.durations.quantile(0.99),
        max_ns: function.durations.max(),
    }
}

/// What metrics are made of.
#[cfg(feature = "otlp")]
pub(crate) struct Meters {
    /// Ticks since when it is counted.
    pub(crate) since: u64,
    /// In the order of [`SpanKind::ALL`].
    pub(crate) parts: [Histogram; SpanKind::ALL.len()],
    pub(crate) woken: Histogram,
    pub(crate) gil_wait: Histogram,
    pub(crate) by_status: [u64; Status::ALL.len()],
    pub(crate) dropped: Dropped,
    /// All of them, also those that did not occur.
    pub(crate) findings: [(Problem, u64); Problem::ALL.len()],
}

/// A copy of them. Any thread.
#[cfg(feature = "otlp")]
pub(crate) fn meters() -> Meters {
    let tables = global::lock(&global::current().tables);
    Meters {
        since: tables.since,
        parts: tables.parts.clone(),
        woken: tables.woken.clone(),
        gil_wait: tables.gil_wait.clone(),
        by_status: tables.by_status,
        dropped: tables.dropped.since(&tables.dropped_base),
        findings: tables.findings.counts(),
    }
}

/// Records that found no room in a ring since the process began, as far as the converter has looked. Any thread.
#[cfg(feature = "otlp")]
pub(crate) fn overflow() -> u64 {
    let global = global::current();
    let all = global::lock(&global.tables).dropped.ring;
    // These are counted with them, but have a lane of their own.
    all.saturating_sub(global.rust_polls.dropped())
}

/// What was joined so far; call [`crate::flush`] first to have all that was recorded. Any thread.
pub fn stats() -> Stats {
    global::lock(&global::current().tables).snapshot()
}

/// Starts all counts and histograms afresh. Any thread.
pub fn reset_stats() {
    global::lock(&global::current().tables).reset();
}
