//! Interned names: functions and places, as numbers in records.
//!
//! Invariant: a name is never removed or changed, so that a number in any record can be resolved
//! without a lock; there is room for a bounded number, and all later ones share one name.

use std::collections::HashMap;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::cut;

pub(crate) const CHUNK: usize = 1024;
pub(crate) const CHUNKS: usize = 64;
const MAX_LENGTH: usize = 512;
const OVERFLOW: &str = "<names full>";

/// An interned name. `Name(0)`, the default, is "no name" and resolves to the empty string.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Name(pub u32);

type Chunk = [AtomicPtr<Arc<str>>; CHUNK];

static TABLE: [AtomicPtr<Chunk>; CHUNKS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS];
static COUNT: AtomicU32 = AtomicU32::new(1);

/// The way from text to number. Part of the process' state, replaced after a fork.
pub(crate) struct Index(Mutex<HashMap<Arc<str>, u32>>);

impl Index {
    /// An index of all names that exist.
    pub(crate) fn rebuild() -> Index {
        let count = COUNT.load(Ordering::Acquire);
        let names = (1..count).filter_map(|number| Some((slot(number)?.clone(), number)));
        Index(Mutex::new(names.collect()))
    }
}

/// The number of `text`, which is cut to 512 bytes. Any thread; takes a lock, so keep the result.
pub fn intern(text: &str) -> Name {
    if text.is_empty() {
        return Name(0);
    }
    let cut_text;
    let text = if text.len() > MAX_LENGTH {
        cut_text = cut(text, MAX_LENGTH);
        &cut_text
    } else {
        text
    };
    let mut index = crate::global::global()
        .names
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(number) = index.get(text) {
        return Name(*number);
    }
    let number = COUNT.load(Ordering::Relaxed);
    let last = (CHUNK * CHUNKS - 1) as u32;
    if number > last {
        return Name(last);
    }
    let text: Arc<str> = Arc::from(if number == last { OVERFLOW } else { text });
    store(number, text.clone());
    COUNT.store(number + 1, Ordering::Release);
    index.insert(text, number);
    Name(number)
}

/// The text of a name. Any thread, no lock.
pub fn resolve(name: Name) -> Arc<str> {
    slot(name.0).cloned().unwrap_or_else(|| Arc::from(""))
}

/// The text of a name, which lives as long as the process.
pub(crate) fn text(name: Name) -> &'static str {
    slot(name.0).map_or("", |text| text)
}

fn slot(number: u32) -> Option<&'static Arc<str>> {
    let chunk = TABLE.get(number as usize / CHUNK)?.load(Ordering::Acquire);
    // SAFETY: chunks are leaked once stored.
    let chunk = unsafe { chunk.as_ref() }?;
    let text = chunk[number as usize % CHUNK].load(Ordering::Acquire);
    // SAFETY: names are leaked once stored.
    unsafe { text.as_ref() }
}

/// Called under the lock of the index, so there is one writer.
fn store(number: u32, text: Arc<str>) {
    let place = &TABLE[number as usize / CHUNK];
    if place.load(Ordering::Relaxed).is_null() {
        let chunk: Box<Chunk> = Box::new([const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNK]);
        place.store(Box::into_raw(chunk), Ordering::Release);
    }
    // SAFETY: not null, and chunks are leaked once stored.
    let chunk = unsafe { &*place.load(Ordering::Relaxed) };
    chunk[number as usize % CHUNK].store(Box::into_raw(Box::new(text)), Ordering::Release);
}
