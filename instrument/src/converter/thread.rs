//! The converter's loop.
//!
//! Invariant: what was published in a ring when a pass began is joined, counted and handed to
//! the sinks when it ends; requests are answered after that.

use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Thread;
use std::time::Duration;

use super::control::{Detached, Request, SinkId, Unclosed};
use super::drain::{Loop, Out};
use super::expand;
use crate::clock::{self, Rate};
use crate::detail;
use crate::finding::Heard;
use crate::global::{Global, lock};
use crate::open::word;
use crate::side::{Item, Refused};
use crate::sink::Sink;
use crate::span::{SpanKind, ThreadInfo};
use crate::stats::Dropped;

/// Between two passes while loops turn.
const PERIOD: Duration = Duration::from_millis(100);
/// Between two passes while nothing is recorded. The next turn's end wakes the converter; should
/// that wake be lost, to a store that is not visible yet, this bounds how long records wait.
const IDLE_PERIOD: Duration = Duration::from_secs(10);

/// Starts the converter. Where that fails, rings fill up and their drops are counted.
pub(super) fn spawn(global: &'static Global) -> Option<Thread> {
    let builder = std::thread::Builder::new().name("gilscope-converter".into());
    let handle = builder.spawn(move || {
        let _ended = Ended(global);
        Converter::new(global).run();
    });
    handle.ok().map(|handle| handle.thread().clone())
}

/// Says so when the converter ends, which only a bug in it can cause.
struct Ended(&'static Global);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.control.set_ended();
    }
}

struct Attached {
    id: SinkId,
    sink: Box<dyn Sink>,
    heard: Heard,
}

struct Converter {
    global: &'static Global,
    rate: Rate,
    loops: Vec<Loop>,
    sinks: Vec<Attached>,
    /// How it went with the sinks that were closed at the end of the process.
    closed: Vec<(SinkId, io::Result<()>)>,
    out: Out,
    /// All sinks are to be closed after this pass.
    closing: bool,
    /// Some are, or one is.
    last: bool,
    caller: Arc<ThreadInfo>,
    /// Drops of loops and sinks that are gone.
    dropped: Dropped,
    /// Of all rings, when last counted.
    overflowed: u64,
}

impl Converter {
    fn new(global: &'static Global) -> Converter {
        Converter {
            global,
            rate: clock::rate(),
            loops: Vec::new(),
            sinks: Vec::new(),
            closed: Vec::new(),
            out: Out::new(clock::rate()),
            closing: false,
            last: false,
            caller: Arc::new(ThreadInfo {
                name: "caller".into(),
                tid: 0,
                ident: 0,
                runtime: 0,
            }),
            dropped: Dropped::default(),
            overflowed: 0,
        }
    }

    fn run(mut self) {
        loop {
            let control = &self.global.control;
            let requests = control.take_requests();
            let before = lock(&self.global.tables).records;
            let asks = |kind: fn(&Request) -> bool| requests.iter().any(kind);
            self.closing = asks(|request| matches!(request, Request::CloseAll(_)));
            self.last = self.closing || asks(|request| matches!(request, Request::Detach(..)));
            self.pass();
            let idle = lock(&self.global.tables).records == before && !self.seeks();
            for request in requests {
                self.answer(request);
            }
            control.set_sleeping(true, idle);
            if !control.has_requests() {
                std::thread::park_timeout(if idle { IDLE_PERIOD } else { PERIOD });
            }
            control.set_sleeping(false, false);
        }
    }
}

impl Converter {
    /// Joins everything published when it begins.
    fn pass(&mut self) {
        clock::refine();
        self.rate = clock::rate();
        self.out.found.begin(self.rate);
        self.look_for_room();
        let incoming = self.global.take_incoming();
        let incoming = incoming.into_iter();
        self.loops
            .extend(incoming.map(|(shared, consumer)| Loop::new(shared, consumer)));
        for each in &mut self.loops {
            each.look_at_open(self.closing);
        }
        let lost = self.possibly_lost();
        // A loop that is gone publishes nothing after this; errors are pushed before the record
        // of their call is published, so every record up to here finds its error.
        let gone: Vec<bool> = self
            .loops
            .iter()
            .map(|each| each.shared.gone.load(Ordering::Acquire))
            .collect();
        let ends: Vec<usize> = self
            .loops
            .iter()
            .map(|each| each.consumer.published())
            .collect();
        self.drain_side();
        self.drain_rust_polls();
        for (index, end) in ends.into_iter().enumerate() {
            self.drain(index, end);
            self.drain_newest(index);
            self.tell_open(index);
            let each = &mut self.loops[index];
            each.clues
                .judge(&each.shared, self.last, &mut self.out.found);
        }
        self.sweep(&lost);
        self.deliver();
        self.deliver_findings();
        for index in (0..gone.len()).rev().filter(|index| gone[*index]) {
            self.retire(index);
        }
        self.count_drops();
    }

    fn drain_side(&mut self) {
        while let Some(item) = self.global.side.pop() {
            match item {
                Item::Error { id, text } => {
                    if !self.out.errors.insert(id, text) {
                        self.global.side.count_drop();
                    }
                }
                Item::Notes { id, notes } => {
                    if !self.out.notes.insert(id, notes) {
                        self.global.side.count_drop();
                    }
                }
                Item::Refused(item) => self.refused(&item),
                Item::Look(look) => self.out.found.looks.add(look),
                Item::Thread(tid, name) => self.out.found.looks.name(tid, name),
                Item::LostWake(lost, at) => self.out.found.lost_wake(&lost, at),
            }
        }
    }

    /// Polls of Rust futures belong to what awaits them, and wait for nothing.
    fn drain_rust_polls(&mut self) {
        // No more than there are now: threads may be faster than this one.
        let mut left = self.global.rust_polls.len();
        while left > 0 {
            self.rust_polls_batch(&mut left);
            self.deliver_full();
        }
    }

    fn rust_polls_batch(&mut self, left: &mut usize) {
        let mut tables = lock(&self.global.tables);
        while *left > 0 && !self.out.is_full() {
            *left -= 1;
            let Some(poll) = self.global.rust_polls.pop() else {
                continue;
            };
            tables.records += 1;
            let took = self.rate.delta_ns(poll.end - poll.start);
            tables.part(SpanKind::RustPoll, took);
            if self.out.wanted {
                self.out.spans.push(expand::rust_poll(poll));
            }
        }
    }

    fn refused(&mut self, item: &Refused) {
        self.out.found.refused(item);
        let ns = self.rate.delta_ns(item.end - item.stamps.called);
        lock(&self.global.tables).call(item.name, item.status, ns);
        if self.out.wanted {
            expand::refused(item, &self.caller, &mut self.out.spans);
            self.deliver_full();
        }
    }

    fn drain(&mut self, index: usize, end: usize) {
        let start = self.loops[index].consumer.position();
        loop {
            let each = &mut self.loops[index];
            let mut tables = lock(&self.global.tables);
            let more = each.drain(end, &mut self.out, &mut tables, &self.rate);
            drop(tables);
            each.consumer.release();
            self.deliver_full();
            if !more {
                break;
            }
        }
        let read = self.loops[index].consumer.position().wrapping_sub(start);
        lock(&self.global.tables).records += read as u64;
    }

    /// Who waited for a poll that held the loop may have ended since the pass began.
    fn drain_newest(&mut self, index: usize) {
        let each = &mut self.loops[index];
        if each.clues.seeks() {
            each.clues.look_around(&each.shared);
            let end = self.loops[index].consumer.published();
            self.drain_side(); // errors come before the record of their call
            self.drain(index, end);
        }
    }

    /// Whether findings are to be told soon, even if nothing more is recorded.
    fn seeks(&self) -> bool {
        self.loops.iter().any(|each| each.clues.seeks())
    }

    /// Makes the spans of what ends without a record of its own.
    fn tell_open(&mut self, index: usize) {
        let each = &mut self.loops[index];
        if each.ending.is_empty() {
            return;
        }
        let mut tables = lock(&self.global.tables);
        each.tell_open(clock::now(), &mut self.out, &mut tables, &self.rate);
        drop(tables);
        self.deliver_full();
    }

    fn deliver_full(&mut self) {
        if self.out.is_full() {
            self.deliver();
        }
    }

    /// Hands the batch to all sinks. One that panics is removed.
    fn deliver(&mut self) {
        let missed = std::mem::take(&mut self.out.missed);
        if self.out.spans.is_empty() && missed == 0 {
            return;
        }
        let (spans, dropped) = (&self.out.spans, &mut self.dropped);
        self.sinks.retain_mut(|attached| {
            let mut sink = AssertUnwindSafe(&mut attached.sink);
            let taken = catch_unwind(move || {
                sink.spans(spans);
                sink.missed(missed);
            });
            if taken.is_err() {
                dropped.sink += (spans.len() + missed) as u64 + attached.sink.dropped();
            }
            taken.is_ok()
        });
        self.out.spans.clear();
        self.global.control.count_batch();
        self.sinks_changed();
    }

    /// Counts what was found in this pass and tells the sinks what is news to them.
    fn deliver_findings(&mut self) {
        for finding in std::mem::take(&mut self.out.found.findings) {
            lock(&self.global.tables).findings.add(&finding);
            let dropped = &mut self.dropped;
            self.sinks.retain_mut(|attached| {
                if !attached.heard.is_news(&finding) {
                    return true;
                }
                let sink = AssertUnwindSafe(&mut attached.sink);
                let taken = catch_unwind(|| { sink }.finding(&finding)).is_ok();
                if !taken {
                    dropped.sink += 1 + attached.sink.dropped();
                }
                taken
            });
            self.sinks_changed();
        }
    }

    fn sinks_changed(&mut self) {
        self.out.wanted = self
            .sinks
            .iter()
            .any(|attached| attached.sink.wants_spans());
        crate::sink::set_watched(self.out.wanted);
        self.look_for_room();
        let exports = self.sinks.iter().any(|each| each.sink.exports());
        crate::sink::set_exporting(exports);
        self.global.control.set_attached(self.sinks.len());
    }

    fn look_for_room(&mut self) {
        let sinks = self.sinks.iter().map(|attached| &attached.sink);
        let room = sinks
            .filter(|sink| sink.wants_spans())
            .map(|sink| sink.room());
        self.out.room = room.max().unwrap_or(0);
    }

    fn answer(&mut self, request: Request) {
        // A requester that went away does not matter.
        match request {
            Request::Flush(answer) => answer.send(()).unwrap_or_default(),
            Request::Attach(id, sink, answer) => {
                let heard = Heard::default();
                self.sinks.push(Attached { id, sink, heard });
                self.sinks_changed();
                answer.send(()).unwrap_or_default();
            }
            Request::Detach(id, answer) => {
                // Who asked may have had no time to wait: then it is closed here.
                let _ = answer.send(self.detach(id));
            }
            Request::CloseAll(answer) => {
                while !self.sinks.is_empty() {
                    let (id, sink) = self.remove(0);
                    self.closed.push((id, sink.close()));
                }
                answer.send(()).unwrap_or_default();
                self.global.control.set_free();
            }
        }
    }

    /// The sink, or how it went with it if it was closed.
    fn detach(&mut self, id: SinkId) -> Detached {
        if let Some(at) = self.sinks.iter().position(|attached| attached.id == id) {
            return Detached::Open(self.remove(at).1);
        }
        let at = self.closed.iter().position(|(closed, _)| *closed == id);
        let missing = || Err(io::ErrorKind::NotFound.into());
        Detached::Closed(at.map_or_else(missing, |at| self.closed.swap_remove(at).1))
    }

    /// It gets nothing more, and what it dropped so far is counted.
    fn remove(&mut self, at: usize) -> (SinkId, Unclosed) {
        let Attached { id, sink, .. } = self.sinks.remove(at);
        self.dropped.sink += sink.dropped();
        self.sinks_changed();
        (id, Unclosed::new(sink, self.global))
    }

    fn retire(&mut self, index: usize) {
        let each = self.loops.swap_remove(index);
        self.dropped.ring += each.consumer.dropped();
        self.dropped.open += each.shared.slab.refused();
        self.out.kept -= each
            .waiting
            .values()
            .map(|waiting| waiting.kept.len())
            .sum::<usize>();
        let open = each.shared.slab.read_all();
        let lost = open.filter(|words| !each.told.contains_key(&words[word::ID]));
        lock(&self.global.tables).incomplete += lost.count() as u64;
        self.global.unregister(&each.shared);
    }

    fn count_drops(&mut self) {
        let mut dropped = self.dropped;
        dropped.side = self.global.side.dropped();
        dropped.ring += self.global.rust_polls.dropped();
        for each in &self.loops {
            dropped.ring += each.consumer.dropped();
            dropped.open += each.shared.slab.refused();
        }
        dropped.sink += self
            .sinks
            .iter()
            .map(|attached| attached.sink.dropped())
            .sum::<u64>();
        if dropped.ring > std::mem::replace(&mut self.overflowed, dropped.ring) {
            detail::fall_back();
        }
        let mut tables = lock(&self.global.tables);
        dropped.sink += self.global.control.dropped();
        tables.dropped = dropped;
    }

    /// Ids that wait for a record of a call which is not open any more. That record was pushed
    /// or dropped by now: if the pass does not find it, it was dropped. Looked for only after
    /// new drops, or when too many error texts wait.
    fn possibly_lost(&mut self) -> Vec<u64> {
        let mut needed = self.out.errors.is_full() || self.out.notes.is_full();
        for each in &mut self.loops {
            let dropped = each.consumer.dropped();
            needed |= dropped != each.swept;
            each.swept = dropped;
        }
        if !needed {
            return Vec::new();
        }
        let slabs = self.loops.iter().map(|each| &each.shared.slab);
        let open: HashSet<u64> = slabs
            .flat_map(|slab| slab.read_all().map(|words| words[word::ID]))
            .collect();
        let waiting = self.loops.iter().flat_map(|each| each.waiting.keys());
        waiting
            .chain(self.out.errors.ids())
            .chain(self.out.notes.ids())
            .filter(|id| !open.contains(id))
            .copied()
            .collect()
    }

    fn sweep(&mut self, lost: &[u64]) {
        for id in lost {
            self.out.errors.remove(*id);
            self.out.notes.remove(*id);
            for each in &mut self.loops {
                if let Some(waiting) = each.waiting.remove(id) {
                    self.out.kept -= waiting.kept.len();
                    lock(&self.global.tables).incomplete += 1;
                }
            }
        }
    }
}
