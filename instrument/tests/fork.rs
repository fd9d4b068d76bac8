//! A forked child records on its own.

mod common;

use common::{Capture, alone, one_call, stamped};
use gilscope_instrument::sink::Memory;
use gilscope_instrument::{
    LoopRecorder, SpanKind, after_fork_child, attach_sink, detach_sink, flush, intern, new_id,
    stats,
};

/// What the child saw; it must not unwind into the parent's test harness.
fn child(tell: bool, parents_next_id: u64) -> bool {
    if tell {
        after_fork_child();
    }
    let recorder = LoopRecorder::new(2, "child");
    let capture = Capture::begin();
    one_call(&recorder, &stamped(), intern("child"), 2);
    flush();
    let spans = capture.end();
    let calls = spans
        .iter()
        .filter(|span| span.kind == SpanKind::Call)
        .count();
    let fresh = stats().calls == 1 && calls == 1;
    fresh && spans.iter().all(|span| span.id != parents_next_id) && new_id() != parents_next_id
}

fn forked(tell: bool) {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "parent");
    let before = intern("parent");
    one_call(&recorder, &stamped(), before, 1);
    flush();
    // SAFETY: the child only uses this crate, which must bear this, and leaves by `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let passed = std::panic::catch_unwind(|| child(tell, 0) && intern("parent") == before);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!passed.unwrap_or(false))) };
    }
    let mut status = 0;
    // SAFETY: the pointer is valid, the child is ours.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0, "the child failed");
    one_call(&recorder, &stamped(), before, 1);
    flush();
    assert_eq!(stats().calls, 2, "the parent goes on");
}

#[test]
fn test_fork_child_is_fresh() {
    forked(true);
}

#[test]
fn test_fork_child_that_nobody_told_is_fresh_too() {
    forked(false);
}

#[test]
fn test_fork_child_has_other_ids() {
    let _alone = alone();
    new_id();
    let mut ends = [0; 2];
    // SAFETY: the array has room for two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: as above.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        after_fork_child();
        let id = new_id();
        // SAFETY: eight bytes of a local; then the child ends at once.
        unsafe {
            libc::write(ends[1], (&raw const id).cast(), 8);
            libc::_exit(0);
        }
    }
    let (mine, mut theirs) = (new_id(), 0u64);
    // SAFETY: eight bytes of a local; the child is ours.
    unsafe {
        assert_eq!(libc::read(ends[0], (&raw mut theirs).cast(), 8), 8);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
        libc::close(ends[0]);
        libc::close(ends[1]);
    }
    assert_ne!(mine, theirs);
}

#[test]
fn test_fork_child_leaves_its_parents_sinks() {
    let _alone = alone();
    let recorder = LoopRecorder::new(1, "parent");
    let (sink, handle) = Memory::new();
    let id = attach_sink(Box::new(sink));
    one_call(&recorder, &stamped(), intern("parent"), 1);
    flush();
    // SAFETY: the child only uses this crate, which must bear this, and leaves by `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let passed = std::panic::catch_unwind(|| {
            after_fork_child();
            let own: Vec<_> = (0..id.0).map(|_| Capture::begin()).collect();
            let refused = detach_sink(id).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
            own.into_iter().for_each(|capture| drop(capture.end()));
            refused && handle.spans().is_empty() && handle.take().is_empty()
        });
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!passed.unwrap_or(false))) };
    }
    let mut status = 0;
    // SAFETY: the pointer is valid, the child is ours.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0, "the child failed");
    detach_sink(id).unwrap();
    assert!(!handle.take().is_empty(), "the parent's are there");
}
