//! Reads one loop's ring: joins its records, counts them and makes spans of them.
//!
//! Invariant: nothing but what was published is read, and no more than a part of the ring before
//! its slots are handed back.

use std::sync::Arc;

use super::expand::{self, Owner};
use super::join::{ById, Early, Errors, MAX_PER_CALL, MAX_WAITING, Waiting};
use crate::clock::Rate;
use crate::error::ErrorText;
use crate::finding::{Clues, Found};
use crate::finish::{self, GivenUp};
use crate::global::{LoopShared, lock};
use crate::name::Name;
use crate::notes::Notes;
use crate::open::{Copied, mode, word};
use crate::record::{self, Fused, Step, Turn, Wake};
use crate::ring::Consumer;
use crate::span::{Span, SpanKind};
use crate::stats::Tables;
use crate::status::Status;
use crate::trace::sampled;

/// Spans handed to sinks at once.
pub(super) const BATCH: usize = 4096;
/// Slots read before they are handed back to the producer.
const RELEASE: usize = 1024;

/// A loop as the converter sees it.
pub(super) struct Loop {
    pub(super) shared: Arc<LoopShared>,
    pub(super) consumer: Consumer,
    pub(super) waiting: ById<Waiting>,
    /// What was open when the loop was given up, until a record of its own is found.
    pub(super) ending: ById<Ending>,
    /// Ids of what got its spans while it was open.
    pub(super) told: ById<()>,
    pub(super) clues: Clues,
    /// Drops when the last sweep was made.
    pub(super) swept: u64,
}

/// What was open, and how it is to end.
pub(super) struct Ending {
    words: Copied,
    status: Status,
    error: Option<Arc<ErrorText>>,
}

/// What the joined spans go into.
pub(super) struct Out {
    /// Does a sink want spans?
    pub(super) wanted: bool,
    /// How many more sampled ones the sink with most room takes.
    pub(super) room: usize,
    /// How many were not built for want of it.
    pub(super) missed: usize,
    pub(super) spans: Vec<Span>,
    pub(super) errors: Errors,
    pub(super) notes: Early<Notes>,
    pub(super) kept: usize,
    pub(super) found: Found,
}

impl Out {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            wanted: false,
            room: usize::MAX,
            missed: 0,
            spans: Vec::with_capacity(BATCH + 64),
            errors: Errors::default(),
            notes: Early::default(),
            kept: 0,
            found: Found::new(rate),
        }
    }

    /// Whether it is time to hand out what there is.
    pub(super) fn is_full(&self) -> bool {
        self.spans.len() + self.missed >= BATCH
    }

    /// Whether the spans of a call or task are to be built, as a sink takes some of them.
    fn builds(&mut self, record: &Fused, steps: usize) -> bool {
        if !self.wanted {
            return false;
        }
        if !sampled(record.trace_flags) {
            return true; // who has no room does not take them anyway
        }
        let spans = expand::number(record, steps);
        if self.room == 0 {
            self.missed += spans;
            return false;
        }
        self.room = self.room.saturating_sub(spans);
        true
    }
}

impl Loop {
    pub(super) fn new(shared: Arc<LoopShared>, consumer: Consumer) -> Self {
        Self {
            shared,
            consumer,
            waiting: ById::default(),
            ending: ById::default(),
            told: ById::default(),
            clues: Clues::default(),
            swept: 0,
        }
    }

    /// Reads up to `RELEASE` slots. True if there are more below `end`.
    pub(super) fn drain(
        &mut self,
        end: usize,
        out: &mut Out,
        tables: &mut Tables,
        rate: &Rate,
    ) -> bool {
        let mut read = 0;
        while read < RELEASE && !out.is_full() {
            let Some(words) = self.consumer.next(end) else {
                return false;
            };
            read += 1;
            match record::kind(&words) {
                record::CALL | record::TASK => {
                    let tail = self.consumer.next(end).unwrap_or_default();
                    read += 1;
                    let record = Fused::decode(&words, &tail);
                    if !self.is_told(record.id) {
                        self.fused(&record, out, tables, rate);
                    }
                }
                record::STEP => {
                    let step = Step::decode(&words);
                    if let Some(ending) = self.ending.get_mut(&step.id) {
                        finish::advance(&mut ending.words, &step);
                    }
                    if !self.told.contains_key(&step.id) {
                        self.step(step, out, tables, rate);
                    }
                }
                record::WAKE => {
                    let wake = Wake::decode(&words);
                    if out.wanted && !self.told.contains_key(&wake.id) {
                        self.waiting.entry(wake.id).or_default().wake = Some(wake);
                    }
                }
                record::TURN => {
                    let turn = Turn::decode(&words);
                    self.clues.turn(&turn, &out.found);
                    tables.turns += 1;
                    tables.part(SpanKind::LoopTurn, rate.delta_ns(turn.end - turn.start));
                    tables.cpu_ns += turn.cpu_ns;
                    if turn.gil_wait != 0 {
                        tables.gil_wait.record(rate.delta_ns(turn.gil_wait));
                    }
                    if out.wanted {
                        out.spans.push(expand::turn(&turn, &self.shared));
                    }
                }
                other => debug_assert!(false, "record kind {other}"),
            }
        }
        true
    }

    /// Whether what ends now was told to have ended before. If not, its record is the one to be told.
    #[inline]
    fn is_told(&mut self, id: u64) -> bool {
        if self.told.is_empty() && self.ending.is_empty() {
            return false;
        }
        self.ending.remove(&id);
        self.told.remove(&id).is_some()
    }

    /// Copies what is open, if the loop was given up or `closing`. Before the ring is looked at: a
    /// call that ends meanwhile is found there.
    pub(super) fn look_at_open(&mut self, closing: bool) {
        let given_up = std::mem::take(&mut *lock(&self.shared.given_up));
        if given_up.is_empty() && !closing {
            return;
        }
        let given_up: ById<GivenUp> = given_up.into_iter().map(|call| (call.id, call)).collect();
        let open = self.shared.slab.read_all();
        let ending =
            open.filter_map(|words| Some((words[word::ID], ending(words, &given_up, closing)?)));
        self.ending = ending.collect();
    }

    /// Makes the spans of what was open and left no record in the ring, as if it ended now.
    pub(super) fn tell_open(&mut self, now: u64, out: &mut Out, tables: &mut Tables, rate: &Rate) {
        for (id, ending) in std::mem::take(&mut self.ending) {
            let (step, mut record) = finish::unfinished(ending.words, now, ending.status);
            if self.told.insert(id, ()).is_none() {
                if let Some(error) = ending.error {
                    record.has_error = out.errors.insert(id, error);
                }
                if let Some(step) = step {
                    self.step(step, out, tables, rate);
                }
                self.fused(&record, out, tables, rate);
            }
        }
    }

    fn step(&mut self, step: Step, out: &mut Out, tables: &mut Tables, rate: &Rate) {
        self.clues.step(&step, &out.found);
        if !step.task {
            let suspended = rate.delta_ns(step.start - step.suspended);
            tables.part(SpanKind::Suspended, suspended);
            if step.woken != 0 {
                tables
                    .woken
                    .record(rate.delta_ns(step.start.saturating_sub(step.woken)));
            }
            tables.part(SpanKind::Poll, rate.delta_ns(step.end - step.start));
        }
        let waiting = self.waiting.entry(step.id).or_default();
        waiting.open = step.open;
        waiting.steps += 1;
        if !out.wanted {
            return;
        }
        let wake = waiting.wake.take().filter(|wake| wake.poll == step.poll);
        waiting.kept.push((step, wake));
        out.kept += 1;
        if waiting.kept.len() >= MAX_PER_CALL || out.kept >= MAX_WAITING {
            early(&self.shared, waiting, step.id, out);
        }
    }

    fn fused(&mut self, record: &Fused, out: &mut Out, tables: &mut Tables, rate: &Rate) {
        count(record, tables, rate);
        self.clues.fused(record, &self.shared, &mut out.found);
        let error = if record.has_error {
            out.errors.remove(record.id)
        } else {
            None
        };
        if let Some(error) = error.as_ref().filter(|_| !record.task) {
            tables.error(&error.type_name);
        }
        let waiting = if record.full && !self.waiting.is_empty() {
            self.waiting.remove(&record.id)
        } else {
            None
        };
        let steps = waiting.as_ref().map_or(0, |waiting| waiting.steps);
        if record.full && steps != record.polls.saturating_sub(1) {
            tables.incomplete += 1;
        }
        let kept = waiting.map(|waiting| waiting.kept).unwrap_or_default();
        out.kept -= kept.len();
        let notes = if record.has_notes {
            out.notes.remove(record.id)
        } else {
            None
        };
        if out.builds(record, kept.len()) {
            expand::fused(record, &self.shared, &kept, error, notes, &mut out.spans);
        }
    }
}

/// How an open entry is to end: as its call did for everybody else; at the end of the process, all.
fn ending(words: Copied, given_up: &ById<GivenUp>, closing: bool) -> Option<Ending> {
    let task = words[word::MODE] & mode::TASK != 0;
    let call = words[if task { word::ENQUEUED } else { word::ID }];
    let known = given_up.get(&call);
    if known.is_none() && !closing {
        return None; // it has ended, and its record follows
    }
    let known = known.filter(|_| !task);
    let error = known.and_then(|call| call.error.as_ref());
    Some(Ending {
        words,
        status: known.map_or(Status::CancelledByShutdown, |call| call.status),
        error: error.map(|(type_name, message)| Arc::new(ErrorText::new(type_name, message, ""))),
    })
}

/// Feeds the histograms with a call and its parts but for the steps.
fn count(record: &Fused, tables: &mut Tables, rate: &Rate) {
    let whole = rate.delta_ns(record.end - record.called);
    if record.task {
        // The parts are those of calls, so that their sums add up to the calls' sum.
        tables.part(SpanKind::Task, whole);
        return;
    }
    tables.call(record.name, record.status, whole);
    if !record.full {
        return;
    }
    let totals = expand::totals(record);
    tables.part(SpanKind::Enqueue, rate.delta_ns(totals[0]));
    tables.part(SpanKind::Queued, rate.delta_ns(totals[1]));
    tables.part(SpanKind::GilWait, rate.delta_ns(totals[2]));
    tables.part(SpanKind::Ready, rate.delta_ns(totals[3]));
    if record.polls > 0 {
        tables.part(
            SpanKind::Poll,
            rate.delta_ns(record.first_end - record.first_start),
        );
        tables.part(SpanKind::Callback, rate.delta_ns(totals[6]));
    }
}

/// Hands out the steps of a call that is still open, with what its slab entry says. If it has
/// just ended, its record follows in the ring and the steps wait for it.
fn early(shared: &LoopShared, waiting: &mut Waiting, id: u64, out: &mut Out) {
    let Some(words) = shared.slab.read(waiting.open, id) else {
        return;
    };
    let task = words[word::MODE] & mode::TASK != 0;
    let owner = Owner {
        shared,
        id,
        call: words[if task { word::ENQUEUED } else { word::ID }],
        trace: [words[word::TRACE_HIGH], words[word::TRACE_LOW]],
        name: Name(words[word::NAME_POLLS] as u32),
        trace_flags: (words[word::MODE] >> mode::TRACE_SHIFT) as u16,
    };
    out.kept -= waiting.kept.len();
    waiting
        .kept
        .drain(..)
        .for_each(|kept| owner.step(&kept, &mut out.spans));
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::clock;
    use crate::open::SlabWriter;
    use crate::ring::{self, Producer};
    use crate::span::ThreadInfo;
    use crate::status::Flags;

    const ID: u64 = 7;

    /// A loop with one call on it that is being polled.
    fn one_open() -> (Loop, Producer) {
        let writer = SlabWriter::new();
        let (entry, _) = writer.take().expect("there is room");
        entry.write(|entry| {
            entry.set(word::MODE, mode::FULL | mode::POLLING);
            entry.set(word::NAME_POLLS, 1 << 32);
            entry.set(word::ID, ID);
        });
        let (producer, consumer) = ring::ring(64);
        let thread = ThreadInfo {
            name: "loop".to_owned(),
            tid: 0,
            ident: 0,
            runtime: 1,
        };
        let shared = Arc::new(LoopShared {
            doing: Default::default(),
            thread: Arc::new(thread),
            slab: writer.slab.clone(),
            turn_base: 0,
            gone: AtomicBool::new(false),
            polling: Default::default(),
            given_up: Mutex::default(),
        });
        (Loop::new(shared, consumer), producer)
    }

    /// What is told of the call if these records are found only after the look at what is open.
    fn told_of(records: impl FnOnce(&Producer), now: u64) -> (Out, Tables) {
        let (mut each, producer) = one_open();
        let (mut out, mut tables, rate) =
            (Out::new(clock::rate()), Tables::default(), clock::rate());
        out.wanted = true;
        each.look_at_open(true);
        records(&producer);
        let end = each.consumer.published();
        each.drain(end, &mut out, &mut tables, &rate);
        each.tell_open(now, &mut out, &mut tables, &rate);
        (out, tables)
    }

    #[test]
    fn a_poll_that_ends_between_the_look_and_the_reading_is_told_once() {
        let two_polls = |producer: &Producer| {
            for (poll, suspended, start) in [(2, 50, 100), (3, 150, 300)] {
                let step = Step {
                    id: ID,
                    suspended,
                    start,
                    end: start + 50,
                    poll,
                    ..Step::default()
                };
                producer.push([step.encode()]);
            }
        };
        let (out, tables) = told_of(two_polls, 1000);
        assert_eq!(tables.incomplete, 0);
        let parts = out.spans.iter().filter(|span| span.parent == ID);
        let polls = parts.clone().filter(|span| span.kind == SpanKind::Poll);
        assert_eq!(polls.map(|span| span.poll).collect::<Vec<_>>(), [1, 2, 3]);
        let sum: u64 = parts.map(|span| span.end - span.start).sum();
        assert_eq!(sum, 1000);
    }

    #[test]
    fn a_call_that_ends_between_the_look_and_the_reading_is_told_once_and_as_it_ended() {
        let its_end = |producer: &Producer| {
            let ended = Fused {
                id: ID,
                polls: 1,
                ..Fused::default()
            };
            producer.push(ended.encode());
        };
        let (out, _) = told_of(its_end, clock::now());
        let calls = out.spans.iter().filter(|span| span.id == ID);
        let ends: Vec<_> = calls.map(|span| (span.status, span.flags)).collect();
        assert_eq!(ends, [(Status::Ok, Flags::default())]);
    }
}
