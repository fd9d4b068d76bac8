//! Chains of places: what awaits what, from the outermost coroutine to what it all waits for.
//!
//! Invariant: a link is never changed once it is made, so a chain can be read without a lock; there
//! is room for a bounded number of links, and a chain that finds none ends early.

use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::name::Name;

const CHUNK: usize = 1024;
const CHUNKS: usize = 64;
/// In a link's name: it is a Rust future.
const RUST: u32 = 1 << 31;

/// A chain of places; `Chain(0)`, the default, is empty.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Chain(u32);

/// One place in a chain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Link {
    /// A coroutine: `file:line in function`.
    Python(Name),
    /// A Rust future: its type, or what it was called.
    Rust(Name),
}

/// The chain that ends there, and the name.
type Chunk = [AtomicU64; CHUNK];

static LINKS: [AtomicPtr<Chunk>; CHUNKS] = [const { AtomicPtr::new(std::ptr::null_mut()) }; CHUNKS];
static COUNT: AtomicU32 = AtomicU32::new(1);

impl Chain {
    /// This chain with one more link at its inner end: a new one at each call, so keep the result.
    /// Any thread, no lock.
    #[must_use]
    pub fn then(self, link: Link) -> Chain {
        // Not past the end: so the count never wraps.
        let next = |count| (count < (CHUNK * CHUNKS) as u32).then_some(count + 1);
        let Ok(number) = COUNT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) else {
            return self;
        };
        let name = match link {
            Link::Python(name) => name.0,
            Link::Rust(name) => name.0 | RUST,
        };
        let value = u64::from(self.0) << 32 | u64::from(name);
        chunk(number)[number as usize % CHUNK].store(value, Ordering::Release);
        Chain(number)
    }

    /// Its links, the outermost first. Any thread, no lock.
    pub fn links(self) -> Vec<Link> {
        let (mut links, mut at) = (Vec::new(), self);
        while let Some((before, link)) = at.last() {
            links.push(link);
            at = before;
        }
        links.reverse();
        links
    }

    fn last(self) -> Option<(Chain, Link)> {
        if self.0 == 0 {
            return None;
        }
        let chunk = LINKS.get(self.0 as usize / CHUNK)?.load(Ordering::Acquire);
        // SAFETY: chunks are leaked once stored.
        let chunk = unsafe { chunk.as_ref() }?;
        let value = chunk[self.0 as usize % CHUNK].load(Ordering::Acquire);
        let (before, name) = ((value >> 32) as u32, value as u32);
        // Links point to older ones, so what is read of a link ends whatever is in it.
        let link = if name & RUST == 0 {
            Link::Python(Name(name))
        } else {
            Link::Rust(Name(name & !RUST))
        };
        (before < self.0).then_some((Chain(before), link))
    }
}

impl From<u64> for Chain {
    fn from(word: u64) -> Chain {
        Chain(word as u32)
    }
}

impl From<Chain> for u64 {
    fn from(chain: Chain) -> u64 {
        u64::from(chain.0)
    }
}

fn chunk(number: u32) -> &'static Chunk {
    let place = &LINKS[number as usize / CHUNK];
    let made = place.load(Ordering::Acquire);
    if !made.is_null() {
        // SAFETY: chunks are leaked once stored.
        return unsafe { &*made };
    }
    let fresh = Box::into_raw(Box::new([const { AtomicU64::new(0) }; CHUNK]));
    let null = std::ptr::null_mut();
    match place.compare_exchange(null, fresh, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: just stored, so leaked.
        Ok(_) => unsafe { &*fresh },
        Err(theirs) => {
            // SAFETY: it came from a box and nobody else has seen it.
            drop(unsafe { Box::from_raw(fresh) });
            // SAFETY: chunks are leaked once stored.
            unsafe { &*theirs }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Chain, Link};
    use crate::name::intern;

    #[test]
    fn a_chain_is_read_as_it_was_made() {
        let [outer, inner, rust] = ["outer", "inner", "rust"].map(intern);
        let first = Chain::default().then(Link::Python(outer));
        let whole = first.then(Link::Python(inner)).then(Link::Rust(rust));
        assert_eq!(first.links(), [Link::Python(outer)]);
        let expected = [Link::Python(outer), Link::Python(inner), Link::Rust(rust)];
        assert_eq!(whole.links(), expected);
        assert_eq!(Chain::from(u64::from(whole)), whole);
        assert_eq!(Chain::default().links(), []);
    }

    #[test]
    fn a_number_of_no_chain_is_an_empty_one() {
        assert_eq!(Chain(u32::MAX).links(), []);
        assert_eq!(Chain(60_000).links(), []);
    }
}
