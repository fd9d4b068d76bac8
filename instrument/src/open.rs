//! The slab of open calls and tasks, written by one loop thread and readable from any thread.
//!
//! Invariant: a reader sees an entry as it was between two writes (seqlock); a handle carries a
//! generation, so that one kept past its call's end touches nothing.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};

const CHUNK: usize = 256;
const CHUNKS: usize = 1024;
const INDEX_BITS: u32 = 18;
const MAX_GENERATION: u64 = (1 << (32 - INDEX_BITS)) - 1;

/// The words of an entry.
pub(crate) mod word {
    pub(crate) const ID: usize = 0;
    pub(crate) const TRACE_HIGH: usize = 1;
    pub(crate) const TRACE_LOW: usize = 2;
    pub(crate) const PARENT: usize = 3;
    pub(crate) const CALLED: usize = 4;
    /// When the queue took a call; the id of the call of a task.
    pub(crate) const ENQUEUED: usize = 5;
    pub(crate) const RETURNED: usize = 6;
    pub(crate) const ATTACHED: usize = 7;
    pub(crate) const FIRST_START: usize = 8;
    pub(crate) const FIRST_END: usize = 9;
    /// Start of the newest poll.
    pub(crate) const START: usize = 10;
    /// End of the newest finished poll.
    pub(crate) const END: usize = 11;
    /// First wake since the newest poll began, or 0.
    pub(crate) const WOKEN: usize = 12;
    /// `WOKEN` as the newest poll found it.
    pub(crate) const STEP_WOKEN: usize = 13;
    /// Name, and number of polls begun.
    pub(crate) const NAME_POLLS: usize = 14;
    /// Where it awaits, and where it awaited before the newest poll.
    pub(crate) const AT: usize = 15;
    /// `mode` bits.
    pub(crate) const MODE: usize = 16;
    /// Turn of the first poll, and the newest turn that served it.
    pub(crate) const TURNS: usize = 17;
    /// Ticks in all polls.
    pub(crate) const POLLED: usize = 18;
    /// The call that was being polled when this one's poll began, and the CPU time of the first poll as
    /// `Step::cpu` has it.
    pub(crate) const OUTER: usize = 19;
    /// The chain at whose end it awaits; of no meaning unless it is suspended.
    pub(crate) const CHAIN: usize = 20;
    /// Who made a call, as `Maker` packs it; of no meaning without `mode::MADE`. With this word an entry
    /// is three cache lines to the last byte.
    pub(crate) const MADE: usize = 21;
    pub(crate) const COUNT: usize = 22;
}

/// Bits of the word `MODE`.
pub(crate) mod mode {
    pub(crate) const FULL: u64 = 1;
    pub(crate) const TASK: u64 = 2;
    pub(crate) const POLLING: u64 = 4;
    pub(crate) const SUSPENDED: u64 = 8;
    pub(crate) const ERROR: u64 = 16;
    pub(crate) const NOTES: u64 = 32;
    pub(crate) const MADE: u64 = 64;
    /// The trace flags and whether the parent is remote, as `CallStamps::flags` has them.
    pub(crate) const TRACE_SHIFT: u32 = 32;
    pub(crate) const TRACE_FLAGS: u64 = 0xFF << TRACE_SHIFT;
}

/// A consistent copy of an entry.
pub(crate) type Copied = [u64; word::COUNT];

/// The words of an entry, or of a copy.
pub(crate) trait Read {
    fn get(&self, word: usize) -> u64;
}

impl Read for Copied {
    fn get(&self, word: usize) -> u64 {
        self[word]
    }
}

impl Read for Entry {
    #[inline(always)]
    fn get(&self, word: usize) -> u64 {
        self.words[word].load(Ordering::Relaxed)
    }
}

/// One open call or task.
#[repr(align(64))]
pub(crate) struct Entry {
    sequence: AtomicU64,
    /// Low bits: generation of the handle that is valid now; the rest: index of the next free
    /// entry plus one.
    link: AtomicU64,
    words: [AtomicU64; word::COUNT],
}

impl Entry {
    fn empty() -> Entry {
        Entry {
            sequence: AtomicU64::new(0),
            link: AtomicU64::new(1),
            words: [const { AtomicU64::new(0) }; word::COUNT],
        }
    }

    /// Only inside [`Entry::write`].
    #[inline(always)]
    pub(crate) fn set(&self, word: usize, value: u64) {
        self.words[word].store(value, Ordering::Relaxed);
    }

    /// Runs `change` so that readers see all of it or nothing. Loop thread only.
    #[inline(always)]
    pub(crate) fn write(&self, change: impl FnOnce(&Entry)) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        change(self);
        self.sequence.store(sequence + 2, Ordering::Release);
    }

    /// A consistent copy, or `None` if the entry is free or was written all the time.
    fn read(&self) -> Option<Copied> {
        for attempt in 0..1024 {
            let before = self.sequence.load(Ordering::Acquire);
            let words = std::array::from_fn(|word| self.get(word));
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return (words[word::ID] != 0).then_some(words);
            }
            // The writer may have lost its processor in the middle of a write.
            if attempt > 64 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        None
    }

    fn generation(&self) -> u64 {
        self.link.load(Ordering::Relaxed) & MAX_GENERATION
    }
}

type Chunk = [Entry; CHUNK];

/// The entries of one loop.
pub(crate) struct Slab {
    chunks: [AtomicPtr<Chunk>; CHUNKS],
    refused: AtomicU64,
}

impl Slab {
    pub(crate) fn new() -> Slab {
        let chunks = [const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS];
        Slab {
            chunks,
            refused: AtomicU64::new(0),
        }
    }

    #[inline(always)]
    fn entry(&self, index: usize) -> Option<&Entry> {
        let chunk = self.chunks.get(index / CHUNK)?.load(Ordering::Acquire);
        // SAFETY: a chunk lives, once stored, as long as the slab.
        unsafe { chunk.as_ref() }.map(|chunk| &chunk[index % CHUNK])
    }

    /// The entry of a handle, unless it is 0 or its call ended.
    #[inline(always)]
    pub(crate) fn get(&self, handle: u32) -> Option<&Entry> {
        if handle == 0 {
            return None;
        }
        let index = handle as usize & (CHUNK * CHUNKS - 1);
        let entry = self.entry(index)?;
        (entry.generation() == u64::from(handle >> INDEX_BITS)).then_some(entry)
    }

    /// How many calls found no room.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// A consistent copy of the entry of a handle, if it is still `id`'s. Any thread.
    pub(crate) fn read(&self, handle: u32, id: u64) -> Option<Copied> {
        let words = self.entry(handle as usize & (CHUNK * CHUNKS - 1))?.read()?;
        (words[word::ID] == id).then_some(words)
    }

    /// Consistent copies of all open entries. Any thread.
    pub(crate) fn read_all(&self) -> impl Iterator<Item = Copied> {
        let chunks = self
            .chunks
            .iter()
            .map(|chunk| chunk.load(Ordering::Acquire));
        // SAFETY: a chunk lives, once stored, as long as the slab.
        let chunks = chunks.map_while(|chunk| unsafe { chunk.as_ref() });
        chunks.flatten().filter_map(Entry::read)
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        for chunk in &self.chunks {
            let chunk = chunk.load(Ordering::Relaxed);
            if !chunk.is_null() {
                // SAFETY: it came from a box, and nobody else can refer to it any more.
                drop(unsafe { Box::from_raw(chunk) });
            }
        }
    }
}

/// The loop thread's side of a slab: takes and gives back entries.
pub(crate) struct SlabWriter {
    pub(crate) slab: Arc<Slab>,
    /// Index plus one of the first free entry, or 0.
    free: Cell<usize>,
    chunks: Cell<usize>,
}

impl SlabWriter {
    pub(crate) fn new() -> SlabWriter {
        let writer = SlabWriter {
            slab: Arc::new(Slab::new()),
            free: Cell::new(0),
            chunks: Cell::new(0),
        };
        writer.grow();
        writer
    }

    /// A free entry and its handle; counted if there is none.
    #[inline]
    pub(crate) fn take(&self) -> Option<(&Entry, u32)> {
        if self.free.get() == 0 && !self.grow() {
            let refused = &self.slab.refused;
            refused.store(refused.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            return None;
        }
        let index = self.free.get() - 1;
        let entry = self.slab.entry(index)?;
        self.free
            .set((entry.link.load(Ordering::Relaxed) >> 32) as usize);
        Some((
            entry,
            index as u32 | (entry.generation() as u32) << INDEX_BITS,
        ))
    }

    /// Gives an entry back: its handle is void from now on.
    #[inline]
    pub(crate) fn release(&self, entry: &Entry, handle: u32) {
        let generation = entry.generation() % MAX_GENERATION + 1;
        entry.write(|entry| entry.set(word::ID, 0));
        entry.link.store(
            (self.free.get() as u64) << 32 | generation,
            Ordering::Relaxed,
        );
        self.free.set((handle as usize & (CHUNK * CHUNKS - 1)) + 1);
    }

    #[cold]
    fn grow(&self) -> bool {
        let number = self.chunks.get();
        if number == CHUNKS {
            return false;
        }
        let chunk: Box<Chunk> = Box::new([const { 0 }; CHUNK].map(|_: i32| Entry::empty()));
        for (offset, entry) in chunk.iter().enumerate() {
            let index = number * CHUNK + offset;
            let next = if offset + 1 == CHUNK { 0 } else { index + 2 };
            entry.link.store((next as u64) << 32 | 1, Ordering::Relaxed);
        }
        self.slab.chunks[number].store(Box::into_raw(chunk), Ordering::Release);
        self.chunks.set(number + 1);
        self.free.set(number * CHUNK + 1);
        true
    }
}
