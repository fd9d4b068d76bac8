//! The recorder's hot path does not allocate.
//!
//! A binary of its own, for the allocator is the whole process'.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use gilscope_instrument::{
    CallStamps, Detail, Flags, LoopRecorder, Name, Status, clock, flush, intern, set_detail, stats,
};

thread_local! {
    /// Allocations of this thread; no destructor, so that the allocator may always look at it.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is the system allocator's own; the count is beside it and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(memory, layout) }
    }
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many allocations of this thread something costs.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

/// A turn with `calls` calls open at once: each is polled three times, and has a child task that
/// is polled twice.
fn turn(recorder: &LoopRecorder, name: Name, calls: usize) {
    let mut open = [Default::default(); 64];
    let open = &mut open[..calls];
    recorder.returned(clock::now());
    recorder.attached();
    for call in open.iter_mut() {
        let mut stamps = CallStamps::begin();
        stamps.enqueued();
        *call = recorder.open(&stamps, name);
    }
    for call in open.iter().copied() {
        for _ in 0..2 {
            recorder.poll_start(call);
            recorder.poll_end(call);
            recorder.suspended(call, name);
            recorder.woken(call);
        }
        recorder.poll_start(call);
        let task = recorder.task_open(call, name);
        recorder.poll_end(call);
        recorder.task_poll_start(task);
        recorder.task_poll_end(task);
        recorder.task_suspended(task, name);
        recorder.task_woken(task);
        recorder.turn_split();
        recorder.task_poll_start(task);
        recorder.task_poll_end(task);
        recorder.task_close(task, Status::Ok);
        recorder.close(call, Status::Ok, Flags::default());
    }
    recorder.turn_end();
}

#[test]
fn test_after_a_warm_up_recording_allocates_nothing() {
    set_detail(Detail::Full);
    let name = intern("allocates");
    let recorder = LoopRecorder::new(1, "allocations");
    let seen = allocations(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(seen, 1, "the count counts");

    turn(&recorder, name, 64);
    flush();
    let before = stats().records;
    let mut seen = 0;
    for _ in 0..20 {
        seen += allocations(|| (0..10).for_each(|_| turn(&recorder, name, 64)));
        flush(); // room in the ring again, so that everything is recorded
    }
    assert_eq!(seen, 0);
    assert!(stats().records > before + 200 * 64, "they were recorded");
}

/// What does allocate: more calls open at once than ever before, one chunk for every so many.
#[test]
fn test_only_more_open_calls_than_ever_take_a_chunk() {
    set_detail(Detail::Full);
    let name = intern("grows");
    let recorder = LoopRecorder::new(1, "chunks");
    let stamps = CallStamps::begin();
    let first = recorder.open(&stamps, name);
    recorder.close(first, Status::Ok, Flags::default());
    let calls = 10_000;
    let mut open = Vec::with_capacity(calls);
    let chunks = allocations(|| open.extend((0..calls).map(|_| recorder.open(&stamps, name))));
    assert!(
        (1..=calls as u64 / 256).contains(&chunks),
        "{chunks} chunks"
    );
    let again = allocations(|| {
        for call in open.drain(..) {
            recorder.close(call, Status::Ok, Flags::default());
        }
        for _ in 0..calls {
            let call = recorder.open(&stamps, name);
            recorder.close(call, Status::Ok, Flags::default());
        }
    });
    assert_eq!(again, 0, "the chunks are used again");
}
