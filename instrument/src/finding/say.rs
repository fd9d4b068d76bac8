//! What a finding says: its sentence, and whom it blames.
//!
//! Invariant: one line, with the number; what is not known is not mentioned.

use super::look::{Look, Sight};
use super::{Finding, Problem, Whom, duration};
use crate::error::redact;
use crate::global::LoopShared;
use crate::name::{Name, text};

/// From when until when, in ticks, and how long that is, in nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Lasted {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) ns: u64,
}

pub(super) fn shown(name: Name) -> &'static str {
    match text(name) {
        "" => "a call",
        name => name,
    }
}

/// A finding about a call; its times are the caller's to fill in.
pub(super) fn about(problem: Problem, whom: Whom, shared: &LoopShared, what: &str) -> Finding {
    let name = shown(whom.name);
    Finding {
        problem,
        call: whom.call,
        trace: whom.trace,
        runtime: shared.thread.runtime,
        thread: shared.thread.name.clone(),
        start: 0,
        end: 0,
        sentence: format!("`{name}` {what}"),
        function: name.to_owned(),
        stack: Vec::new(),
    }
}

/// `whom` waited for the GIL.
pub(super) fn gil(
    waited: Lasted,
    whom: Whom,
    sight: Option<Sight>,
    shared: &LoopShared,
) -> Finding {
    let Lasted { start, end, ns } = waited;
    let mut what = format!("waited {} for the GIL", duration(ns));
    let Some(sight) = sight else {
        let finding = about(Problem::GilWait, whom, shared, &what);
        return Finding {
            start,
            end,
            ..finding
        };
    };
    what += &who(&sight);
    let finding = about(Problem::GilHeld, whom, shared, &what);
    Finding {
        start,
        end,
        ..blaming(finding, sight)
    }
}

/// A poll of `whom`, with so many nanoseconds of CPU time (0: not known), held the loop, and `due` waited
/// for so many nanoseconds of it. Without it, only that it waited for the GIL itself is worth a finding.
pub(super) fn held(
    (poll, cpu): (Lasted, u64),
    whom: Whom,
    due: Option<(Whom, u64)>,
    sight: Option<Sight>,
    shared: &LoopShared,
) -> Option<Finding> {
    if let Some(sight) = sight.as_ref().filter(|sight| sight.look.waits) {
        return Some(held_up(poll, whom, due, sight.clone(), shared));
    }
    let (due, wait) = due?;
    let Lasted { start, end, ns } = poll;
    let mut what = format!("held the loop for {} in one poll", duration(ns));
    if let Some(cpu) = little(cpu, ns) {
        what += &format!(", {} of it on a processor", duration(cpu));
    }
    if let Some(place) = sight.as_ref().and_then(Sight::place) {
        what += &format!(", at {}", Place::of(place));
    }
    what += &format!("; {} waited {} of it", beside(due, whom), duration(wait));
    let finding = about(Problem::LoopHeld, whom, shared, &what);
    Some(Finding {
        start,
        end,
        stack: sight.map(|sight| stack_of(sight.look)).unwrap_or_default(),
        ..finding
    })
}

/// The CPU time of a poll that did something else for most of its time: slept, or waited for the GIL, or was
/// not let run by the machine.
fn little(cpu: u64, ns: u64) -> Option<u64> {
    (cpu != 0 && cpu < ns / 2).then_some(cpu)
}

/// A poll of `whom` took long since it waited for the GIL within it.
fn held_up(
    poll: Lasted,
    whom: Whom,
    due: Option<(Whom, u64)>,
    sight: Sight,
    shared: &LoopShared,
) -> Finding {
    let Lasted { start, end, ns } = poll;
    let mut what = format!(
        "waited for the GIL within a poll of {}{}",
        duration(ns),
        who(&sight)
    );
    if let Some((due, wait)) = due {
        what += &format!("; {} waited {} of it", beside(due, whom), duration(wait));
    }
    let finding = about(Problem::GilHeld, whom, shared, &what);
    Finding {
        start,
        end,
        ..blaming(finding, sight)
    }
}

/// The second that a sentence is about: it may have the name of the first.
fn beside(due: Whom, first: Whom) -> String {
    let name = shown(due.name);
    if due.name != first.name {
        return format!("`{name}`");
    }
    let what = if due.id == due.call { "call" } else { "task" };
    format!("another {what} of `{name}`")
}

/// Who held the GIL, as far as the watchdog saw.
fn who(sight: &Sight) -> String {
    let mut who = format!(", which thread `{}` held", sight.thread);
    if let Some(place) = sight.place().map(Place::of) {
        who += &format!(" in {place}");
    }
    if sight.seen < sight.of {
        who += &format!(", by {} of {} looks", sight.seen, sight.of);
    }
    who
}

/// With the thread that was seen, where it was, and its stack.
fn blaming(finding: Finding, sight: Sight) -> Finding {
    let place = sight.place().map(Place::of);
    Finding {
        function: place.map_or_else(|| sight.thread.clone(), |place| place.function()),
        thread: sight.thread,
        stack: stack_of(sight.look),
        ..finding
    }
}

fn stack_of(look: Look) -> Vec<String> {
    if redact() { Vec::new() } else { look.stack }
}

/// A frame, `file:line in function`, taken apart.
struct Place<'a> {
    function: &'a str,
    file: &'a str,
    line: &'a str,
}

impl<'a> Place<'a> {
    fn of(frame: &'a str) -> Place<'a> {
        let (place, function) = frame.rsplit_once(" in ").unwrap_or(("", frame));
        let (file, line) = place.rsplit_once(':').unwrap_or((place, ""));
        Place {
            function,
            file,
            line,
        }
    }

    /// What it is called whatever line it is at.
    fn function(&self) -> String {
        format!("{} in {}", self.file, self.function)
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let file = self.file.rsplit('/').next().unwrap_or(self.file);
        write!(out, "`{}` ({file}:{})", self.function, self.line)
    }
}
