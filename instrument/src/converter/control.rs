//! How other threads talk to the converter: wake, flush, attach and detach sinks.
//!
//! Invariant: every request is answered, or its sender learns that the converter is gone; the
//! converter asking itself never waits.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::finish::GivenUp;
use crate::global::{self, Global, lock};
use crate::sink::{Deadline, Sink};

/// A sink that is attached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SinkId(pub u64);

pub(crate) enum Request {
    Flush(Sender<()>),
    Attach(SinkId, Box<dyn Sink>, Sender<()>),
    Detach(SinkId, Sender<Detached>),
    CloseAll(Sender<()>),
}

/// A sink that is no longer fed, to be closed by who asked for it; or how its close went before.
pub(crate) enum Detached {
    Open(Unclosed),
    Closed(io::Result<()>),
}

/// A sink that is not lost on its way to who closes it: dropped, it is closed.
pub(crate) struct Unclosed {
    sink: Option<Box<dyn Sink>>,
    global: &'static Global,
}

impl Unclosed {
    /// What it dropped so far has been counted.
    pub(crate) fn new(sink: Box<dyn Sink>, global: &'static Global) -> Unclosed {
        Unclosed {
            sink: Some(sink),
            global,
        }
    }

    /// Closes it, and counts what it dropped meanwhile.
    pub(crate) fn close(mut self) -> io::Result<()> {
        self.take_and_close()
    }

    fn take_and_close(&mut self) -> io::Result<()> {
        let Some(mut sink) = self.sink.take() else {
            return Ok(());
        };
        let before = sink.dropped();
        let closed = catch_unwind(AssertUnwindSafe(|| sink.close()));
        let dropped = sink.dropped() - before;
        // Both at once, or else the converter could count them in between.
        let mut tables = lock(&self.global.tables);
        let control = &self.global.control;
        control.dropped.fetch_add(dropped, Ordering::SeqCst);
        tables.dropped.sink += dropped;
        drop(tables);
        closed.unwrap_or_else(|_| Err(io::Error::other("the sink panicked")))
    }
}

impl Drop for Unclosed {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.take_and_close();
    }
}

/// Goes on in a forked child, where the ids of its parent's sinks are nobody's.
static NEXT_SINK: AtomicU64 = AtomicU64::new(1);

/// How long all sinks together may take at the end, as long as one of them takes spans now and then.
const CLOSE_AT_MOST: Duration = Duration::from_secs(5);

/// The converter as other threads see it.
pub(crate) struct Control {
    /// `None` inside if it could not be started.
    thread: OnceLock<Option<Thread>>,
    ended: AtomicBool,
    sleeping: AtomicBool,
    /// Nothing was recorded for a while: the end of a turn is to wake the converter.
    idle: AtomicBool,
    requests: Mutex<Vec<Request>>,
    /// How many sinks are attached.
    attached: AtomicUsize,
    /// Of the sinks that have one.
    deadlines: Mutex<Vec<(SinkId, Deadline)>>,
    /// Spans that sinks dropped as they were closed.
    dropped: AtomicU64,
    /// Batches that the sinks took.
    batches: AtomicU64,
    /// A sink holds the converter and was given up: nobody waits for either any more.
    stuck: AtomicBool,
}

impl Control {
    pub(crate) fn new() -> Control {
        Control {
            thread: OnceLock::new(),
            ended: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            requests: Mutex::new(Vec::new()),
            attached: AtomicUsize::new(0),
            deadlines: Mutex::default(),
            dropped: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            stuck: AtomicBool::new(false),
        }
    }

    /// The converter's thread, started if need be.
    pub(crate) fn start(&self, global: &'static Global) -> Option<Thread> {
        self.thread
            .get_or_init(|| super::thread::spawn(global))
            .clone()
    }

    pub(crate) fn wake(&self) {
        if let Some(Some(thread)) = self.thread.get() {
            self.wake_thread(thread);
        }
    }

    /// Wakes the converter if it sleeps. No lock.
    #[cold]
    pub(crate) fn wake_thread(&self, thread: &Thread) {
        if self.sleeping.swap(false, Ordering::SeqCst) {
            thread.unpark();
        }
    }

    /// For the converter: it is about to park, or has just returned from it.
    pub(crate) fn set_sleeping(&self, sleeping: bool, idle: bool) {
        self.idle.store(idle, Ordering::SeqCst);
        self.sleeping.store(sleeping, Ordering::SeqCst);
    }

    /// Whether the converter sleeps for long. One relaxed load.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
    }

    pub(crate) fn has_requests(&self) -> bool {
        !lock(&self.requests).is_empty()
    }

    pub(crate) fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut *lock(&self.requests))
    }

    /// For the converter: how many sinks it has.
    pub(crate) fn set_attached(&self, sinks: usize) {
        self.attached.store(sinks, Ordering::SeqCst);
    }

    /// For the converter: see the field.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::SeqCst)
    }

    /// From now on a sink that is to be closed has so much time; until when who asked waits at most.
    fn begin_to_close(&self, id: SinkId) -> Option<Instant> {
        // Not called under the lock: it is the sink's own code.
        let deadline = {
            let mut deadlines = lock(&self.deadlines);
            let at = deadlines.iter().position(|(of, _)| *of == id)?;
            deadlines.swap_remove(at).1
        };
        Some(deadline(false))
    }

    /// The same of all of them, at the end of the process.
    fn begin_to_close_all(&self) {
        let deadlines = std::mem::take(&mut *lock(&self.deadlines));
        for (_, deadline) in deadlines {
            deadline(true);
        }
    }

    /// For the converter: the sinks took a batch.
    pub(crate) fn count_batch(&self) {
        self.batches.fetch_add(1, Ordering::SeqCst);
    }

    /// For the converter: no sink holds it.
    pub(crate) fn set_free(&self) {
        self.stuck.store(false, Ordering::SeqCst);
    }

    /// For the converter: it ends, and answers nothing any more.
    pub(crate) fn set_ended(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.take_requests();
    }

    /// False if there is no converter, if a sink holds it for good, or if the calling thread is the
    /// converter itself.
    fn send(&self, global: &'static Global, request: Request) -> bool {
        if self.stuck.load(Ordering::SeqCst) {
            return false;
        }
        let Some(thread) = self.start(global) else {
            return false;
        };
        if thread.id() == std::thread::current().id() {
            return false;
        }
        lock(&self.requests).push(request);
        if self.ended.load(Ordering::SeqCst) {
            // Dropping a request tells its sender.
            self.take_requests();
        }
        self.wake_thread(&thread);
        true
    }
}

/// Adds a sink: it gets every span that ends from now on. Returns when it is in place. Of a call
/// that is open by then it may get the `call` span without the polls before. Any thread.
pub fn attach_sink(sink: Box<dyn Sink>) -> SinkId {
    crate::detail::recover();
    let global = global::current();
    let id = SinkId(NEXT_SINK.fetch_add(1, Ordering::Relaxed));
    let deadline = sink.deadline().map(|deadline| (id, deadline));
    lock(&global.control.deadlines).extend(deadline);
    let (answer, answered) = channel();
    if global
        .control
        .send(global, Request::Attach(id, sink, answer))
    {
        // An error means that the converter died; there is nothing to wait for then.
        let _ = answered.recv();
    }
    id
}

/// Hands everything recorded so far to a sink, removes it, and closes it on this thread: other sinks go on
/// meanwhile. Of one that has a [deadline](Sink::deadline) all this takes no longer than that; what was not
/// handed over by then is lost to it. Errors: what the sink failed to write, or `NotFound`. Any thread but
/// the converter's.
pub fn detach_sink(id: SinkId) -> io::Result<()> {
    let global = global::current();
    let control = &global.control;
    let end = control.begin_to_close(id);
    let (answer, answered) = channel();
    if !control.send(global, Request::Detach(id, answer)) {
        return Err(io::Error::other("no converter, or called by a sink"));
    }
    let detached = match end {
        None => answered.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(end) => answered.recv_timeout(end.saturating_duration_since(Instant::now())),
    };
    match detached {
        Ok(Detached::Open(sink)) => sink.close(),
        Ok(Detached::Closed(closed)) => closed,
        // The converter closes it when it comes to it.
        Err(RecvTimeoutError::Timeout) => Ok(()),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the converter is gone")),
    }
}

/// Returns when everything recorded before is joined and handed to the sinks. Any thread; on the
/// converter's own thread it does nothing.
pub fn flush() {
    let global = global::current();
    let (answer, answered) = channel();
    if global.control.send(global, Request::Flush(answer)) {
        let _ = answered.recv();
    }
}

/// The loop of a runtime does not answer, and whoever waited for these calls was told so: they and their
/// tasks get their spans now, as if they ended, with the flag `UNFINISHED`. Should they end after all,
/// they get no others. Any thread; does not wait.
pub fn abandon(runtime: u16, calls: Vec<GivenUp>) {
    let global = global::current();
    let loops = global.loops();
    if let Some(shared) = loops
        .iter()
        .rfind(|shared| shared.thread.runtime == runtime)
    {
        lock(&shared.given_up).extend(calls);
    }
    global.control.wake();
}

/// For the end of the process: hands everything recorded so far to all sinks, closes and removes them.
/// What is open by then gets its spans as if it ended, with the flag `UNFINISHED`.
/// A later [`detach_sink`] of one of them says how its closing went. Waits only while there are sinks,
/// and gives up on one that takes nothing for as long as `stall`; whatever it did not take by then is
/// lost. Returns whether all were closed.
pub fn close_sinks(stall: Duration) -> bool {
    let Some(global) = global::existing() else {
        return true;
    };
    let control = &global.control;
    if control.attached.load(Ordering::SeqCst) == 0 {
        return true;
    }
    control.begin_to_close_all();
    let (answer, answered) = channel();
    if !control.send(global, Request::CloseAll(answer)) {
        return false;
    }
    let end = Instant::now() + CLOSE_AT_MOST;
    loop {
        let before = control.batches.load(Ordering::SeqCst);
        match answered.recv_timeout(stall) {
            Ok(()) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if control.batches.load(Ordering::SeqCst) == before || Instant::now() >= end {
            control.stuck.store(true, Ordering::SeqCst);
            // The answer is sent before the converter calls itself free: it is not missed.
            let closed = answered.try_recv().is_ok();
            if closed {
                control.set_free();
            }
            return closed;
        }
    }
}
