//! Who made a call, kept for whoever asks for the tree.
//!
//! Invariant: a place that was seen before costs one look-up, and one that nobody asks for nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

use gilscope_instrument::{Maker, Name, OpenCall, intern, tree};

use super::state::LoopState;
use crate::host::JobRef;
use crate::host::table as t;

thread_local! {
    /// (a file's static name, line) → its place; as many as there are calls in the program's source.
    static PLACES: RefCell<HashMap<(usize, u32), Name>> = RefCell::default();
}

impl LoopState {
    /// Says of a call that begins who made it, if that was Rust and somebody may ask.
    #[inline]
    pub(super) fn tell_maker(&self, job: &JobRef, call: OpenCall) {
        if tree::wanted()
            && call != OpenCall::default()
            && let Some(place) = place(job)
        {
            let task = job.raw().task.load(Ordering::Relaxed);
            self.recorder.made(call, Maker { place, task });
        }
    }
}

#[cold]
fn place(job: &JobRef) -> Option<Name> {
    let mut file = t::RawText {
        bytes: std::ptr::null(),
        length: 0,
    };
    // SAFETY: the job is live, and the out pointer outlives the call.
    let line = unsafe { (job.vtable().made_at)(job.as_ptr(), &raw mut file) };
    if line == 0 {
        return None;
    }
    let key = (file.bytes.addr(), line);
    Some(PLACES.with_borrow_mut(|seen| {
        *seen.entry(key).or_insert_with(|| {
            // SAFETY: a line was told, so the file was set to a static.
            let file = unsafe { std::slice::from_raw_parts(file.bytes, file.length) };
            intern(&format!("{}:{line}", String::from_utf8_lossy(file)))
        })
    }))
}
