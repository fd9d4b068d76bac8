//! Head sampling: whether a trace that begins here is exported.
//!
//! Invariant: the choice is made once, where a trace begins, and depends on its id alone, as it does in
//! OpenTelemetry's SDKs for Python and Rust, so that both halves of a trace choose alike.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::global;
use crate::ids::{mix, new_id};
use crate::trace::{RANDOM, SAMPLED};

/// Which traces are exported.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sampler {
    /// Ids whose low 64 bits are below are exported; `None`: all.
    pub below: Option<u64>,
    /// What has a parent does as the parent does.
    pub parent_based: bool,
}

impl Default for Sampler {
    /// OpenTelemetry's default, `parentbased_always_on`.
    fn default() -> Self {
        Sampler {
            below: None,
            parent_based: true,
        }
    }
}

static BELOW: AtomicU64 = AtomicU64::new(u64::MAX);
static ALL: AtomicBool = AtomicBool::new(true);
static PARENT_BASED: AtomicBool = AtomicBool::new(true);

/// A sampler chooses for as long as this lives, unless another was installed after it. Any thread.
#[must_use = "the sampler from before holds again once it is dropped"]
#[derive(Debug)]
pub struct Installed(u64);

/// Those that are installed, the last of which chooses.
pub(crate) type All = Mutex<Vec<(u64, Sampler)>>;

impl Drop for Installed {
    fn drop(&mut self) {
        let mut all = global::lock(&global::current().samplers);
        // A forked child has none of its parent's.
        if let Some(at) = all.iter().position(|(id, _)| *id == self.0) {
            all.remove(at);
            let before = all.last().map(|(_, sampler)| *sampler);
            before.unwrap_or_default().choose();
        }
    }
}

impl Sampler {
    /// Makes it the one that chooses for calls that begin from now on, until what it returns is dropped: then the
    /// one from before does again. Any thread.
    pub fn install(self) -> Installed {
        let id = new_id();
        let mut all = global::lock(&global::current().samplers);
        all.push((id, self));
        self.choose();
        Installed(id)
    }

    fn choose(self) {
        BELOW.store(self.below.unwrap_or(u64::MAX), Relaxed);
        ALL.store(self.below.is_none(), Relaxed);
        PARENT_BASED.store(self.parent_based, Relaxed);
    }

    /// The one that chooses.
    fn installed() -> Sampler {
        Sampler {
            below: (!ALL.load(Relaxed)).then(|| BELOW.load(Relaxed)),
            parent_based: PARENT_BASED.load(Relaxed),
        }
    }

    /// Whether a trace without a parent is exported.
    pub fn takes(&self, trace: [u64; 2]) -> bool {
        self.below.is_none_or(|below| trace[1] < below)
    }

    /// The flags of a span below `parent`'s flags, or of a root.
    fn flags(&self, trace: [u64; 2], parent: Option<u8>) -> u8 {
        match parent {
            Some(flags) if self.parent_based => flags,
            Some(flags) if self.takes(trace) => flags | SAMPLED,
            Some(flags) => flags & !SAMPLED,
            None => RANDOM | u8::from(self.takes(trace)),
        }
    }
}

/// The trace flags of a call that begins now.
#[inline]
pub(crate) fn flags(trace: [u64; 2], parent: Option<u8>) -> u8 {
    Sampler::installed().flags(trace, parent)
}

/// The trace of a turn of a loop, which serves many and is one of its own. Its low half, by which is chosen,
/// is well spread; ids of turns are not.
pub(crate) fn turn_trace(id: u64) -> [u64; 2] {
    [id, mix(id)]
}

/// The trace flags of a turn, which a link to it has to know as well. One that served only what is not sampled
/// is not exported: nobody has a link to it.
pub(crate) fn turn_flags(id: u64, sampled: bool) -> u8 {
    let flags = flags(turn_trace(id), None);
    if sampled { flags } else { flags & !SAMPLED }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Sampler = Sampler {
        below: Some(0),
        parent_based: true,
    };

    #[test]
    fn the_last_that_is_installed_chooses_and_then_the_one_from_before() {
        let third = Sampler {
            below: Some(1 << 62),
            parent_based: false,
        };
        let (first, second) = (NONE.install(), third.install());
        assert_eq!(Sampler::installed(), third);
        drop(second);
        assert_eq!(Sampler::installed(), NONE);
        let second = third.install();
        drop(first);
        assert_eq!(Sampler::installed(), third);
        drop(second);
        assert_eq!(Sampler::installed(), Sampler::default());
    }

    #[test]
    fn a_parent_decides_and_keeps_all_its_bits() {
        for flags in [0x00, 0x01, 0xfe, 0xff] {
            assert_eq!(NONE.flags([0, 0], Some(flags)), flags);
        }
        assert_eq!(NONE.flags([1, 1], None), RANDOM);
        assert_eq!(Sampler::default().flags([1, 1], None), RANDOM | SAMPLED);
    }

    #[test]
    fn a_sampler_that_looks_at_no_parent_changes_the_sampled_bit_only() {
        let never = Sampler {
            parent_based: false,
            ..NONE
        };
        let always = Sampler {
            below: None,
            ..never
        };
        assert_eq!(never.flags([0, 0], Some(0xff)), 0xfe);
        assert_eq!(always.flags([0, 0], Some(0x80)), 0x81);
    }
}
