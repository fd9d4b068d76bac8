//! Where functions are defined, by their interned names.
//!
//! Invariant: the first one who says where a name's function is defined is believed; looking takes no
//! lock, so that a process may fork at any time.

use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::name::{CHUNK, CHUNKS, Name, intern, text};

/// For each name: the file's name above the line, or 0.
type Chunk = [AtomicU64; CHUNK];

static TABLE: [AtomicPtr<Chunk>; CHUNKS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS];

/// Whether [`define`] was told about this name. Any thread; two loads.
pub fn is_defined(name: Name) -> bool {
    slot(name).is_some_and(|slot| slot.load(Ordering::Relaxed) != 0)
}

/// The function of that name begins in this file, at this line (from 1). Any thread.
pub fn define(name: Name, file: &str, line: u32) {
    let file = intern(file);
    if name.0 == 0 || file.0 == 0 {
        return;
    }
    let Some(place) = TABLE.get(name.0 as usize / CHUNK) else {
        return;
    };
    if place.load(Ordering::Acquire).is_null() {
        let chunk: Box<Chunk> = Box::new([const { AtomicU64::new(0) }; CHUNK]);
        let chunk = Box::into_raw(chunk);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        if place
            .compare_exchange(std::ptr::null_mut(), chunk, set, fetch)
            .is_err()
        {
            // SAFETY: just made, and nobody else has seen it.
            drop(unsafe { Box::from_raw(chunk) });
        }
    }
    if let Some(slot) = slot(name) {
        let both = u64::from(file.0) << 32 | u64::from(line);
        let _ = slot.compare_exchange(0, both, Ordering::Release, Ordering::Relaxed);
    }
}

/// File and line of the function of that name. Any thread, no lock.
#[cfg_attr(not(feature = "otlp"), allow(dead_code))] // only said when it is exported
pub(crate) fn definition(name: Name) -> Option<(&'static str, u32)> {
    match slot(name)?.load(Ordering::Acquire) {
        0 => None,
        both => Some((text(Name((both >> 32) as u32)), both as u32)),
    }
}

fn slot(name: Name) -> Option<&'static AtomicU64> {
    let chunk = TABLE.get(name.0 as usize / CHUNK)?.load(Ordering::Acquire);
    // SAFETY: chunks are leaked once stored.
    let chunk = unsafe { chunk.as_ref() }?;
    Some(&chunk[name.0 as usize % CHUNK])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_definition_is_believed() {
        let name = intern("definition::tests::fun");
        assert!(!is_defined(name) && definition(name).is_none());
        define(name, "a.py", 7);
        define(name, "b.py", 8);
        assert!(is_defined(name));
        assert_eq!(definition(name), Some(("a.py", 7)));
        define(Name(0), "a.py", 7);
        assert_eq!(definition(Name(0)), None);
        assert_eq!(definition(Name(u32::MAX)), None);
    }
}
