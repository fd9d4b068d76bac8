//! What is open now, on every loop, for whoever asks.
//!
//! Invariant: reading never waits for a loop thread, and a loop thread never for a reader.

use std::sync::Arc;

use crate::chain::Chain;
use crate::global::{self, LoopShared};
use crate::maker::Maker;
use crate::name::Name;
use crate::open::{Copied, mode, word};
use crate::span::{SpanKind, ThreadInfo};

/// What an open call or task is doing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// Taken from the queue, not polled yet.
    Ready,
    /// Being polled.
    Polling,
    /// Waiting for a wake.
    Suspended,
    /// Woken, waiting for its next poll.
    Woken,
    /// Finished, its outcome is being delivered.
    Callback,
}

impl Phase {
    /// The word used in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Ready => "ready",
            Phase::Polling => "poll",
            Phase::Suspended => "suspended",
            Phase::Woken => "woken",
            Phase::Callback => "callback",
        }
    }
}

/// A call or task that has begun and not ended. Stamps in ticks.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// `Call` or `Task`.
    pub kind: SpanKind,
    /// The runtime it runs on.
    pub runtime: u16,
    /// Its span id.
    pub id: u64,
    /// Its trace.
    pub trace: [u64; 2],
    /// The span it is a child of, or 0.
    pub parent: u64,
    /// The call it belongs to; its own id if it is a call.
    pub call: u64,
    /// Its function.
    pub name: Name,
    /// When it was called or made.
    pub called: u64,
    /// What it is doing.
    pub phase: Phase,
    /// Since when.
    pub since: u64,
    /// Where it awaits, if it is suspended.
    pub at: Name,
    /// The chain of what awaits what, if it is suspended and [`tree::wanted`](crate::tree::wanted).
    pub chain: Chain,
    /// Who made it, if that was Rust code and [`tree::wanted`](crate::tree::wanted) when it began.
    pub maker: Option<Maker>,
    /// How many polls have begun.
    pub polls: u32,
    /// Its loop's thread.
    pub thread: Arc<ThreadInfo>,
}

impl InFlight {
    fn new(words: &Copied, thread: &Arc<ThreadInfo>) -> InFlight {
        let task = words[word::MODE] & mode::TASK != 0;
        let (phase, since) = phase(words);
        let (at, chain) = if matches!(phase, Phase::Suspended | Phase::Woken) {
            (words[word::AT], words[word::CHAIN])
        } else {
            (0, 0)
        };
        InFlight {
            kind: if task { SpanKind::Task } else { SpanKind::Call },
            runtime: thread.runtime,
            id: words[word::ID],
            trace: [words[word::TRACE_HIGH], words[word::TRACE_LOW]],
            parent: words[word::PARENT],
            call: words[if task { word::ENQUEUED } else { word::ID }],
            name: Name(words[word::NAME_POLLS] as u32),
            called: words[word::CALLED],
            phase,
            since,
            at: Name(at as u32),
            chain: chain.into(),
            maker: (words[word::MODE] & mode::MADE != 0).then(|| words[word::MADE].into()),
            polls: (words[word::NAME_POLLS] >> 32) as u32,
            thread: thread.clone(),
        }
    }
}

fn phase(words: &Copied) -> (Phase, u64) {
    let bits = words[word::MODE];
    if bits & mode::POLLING != 0 {
        (Phase::Polling, words[word::START])
    } else if words[word::NAME_POLLS] >> 32 == 0 {
        (Phase::Ready, words[word::ATTACHED])
    } else if bits & mode::SUSPENDED == 0 {
        (Phase::Callback, words[word::END])
    } else if words[word::WOKEN] != 0 {
        (Phase::Woken, words[word::WOKEN].max(words[word::END]))
    } else {
        (Phase::Suspended, words[word::END])
    }
}

/// All calls and tasks that are open now, on every loop, oldest first. Any thread; never blocks
/// a loop.
pub fn in_flight() -> Vec<InFlight> {
    let loops = global::current().loops();
    let mut open: Vec<InFlight> = loops.iter().flat_map(|each| open_on(each)).collect();
    open.sort_by_key(|entry| (entry.called, entry.id));
    open
}

/// What is open on one loop, in no order.
pub(crate) fn open_on(shared: &LoopShared) -> impl Iterator<Item = InFlight> {
    let open = shared.slab.read_all();
    open.map(|words| InFlight::new(&words, &shared.thread))
}
