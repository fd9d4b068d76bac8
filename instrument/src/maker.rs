//! Who made a call, as far as Rust knows: the place in its source and the tokio task.
//!
//! Invariant: it is one word of an open call's entry, so that a sleeping call takes no more than before.

use crate::name::{CHUNK, CHUNKS, Name};

/// Bits of a word that say the place; names are fewer.
const PLACE_BITS: u32 = 16;
const _: () = assert!(CHUNK * CHUNKS <= 1 << PLACE_BITS);

/// What made a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Maker {
    /// `file:line`.
    pub place: Name,
    /// The number of the tokio task that submitted it, as tokio shows it, or 0. Each copy of tokio in a
    /// process counts by itself.
    pub task: u64,
}

impl From<Maker> for u64 {
    /// A task's number beyond 2⁴⁸ wraps: at a million tasks a second that is after nine years.
    fn from(maker: Maker) -> u64 {
        maker.task << PLACE_BITS | u64::from(maker.place.0) & ((1 << PLACE_BITS) - 1)
    }
}

impl From<u64> for Maker {
    fn from(word: u64) -> Maker {
        Maker {
            place: Name((word & ((1 << PLACE_BITS) - 1)) as u32),
            task: word >> PLACE_BITS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Maker;
    use crate::name::Name;

    #[test]
    fn a_maker_is_read_as_it_was_written() {
        for (place, task) in [(0, 0), (1, 0), (65_535, 1), (7, (1 << 48) - 1)] {
            let place = Name(place);
            let maker = Maker { place, task };
            assert_eq!(Maker::from(u64::from(maker)), maker);
        }
    }
}
