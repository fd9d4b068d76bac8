//! Where a suspended coroutine awaits: `file:line in function` of its innermost frame of user code.
//!
//! Invariant: looking does not run user code, and a place that was seen before costs one look-up.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::awaited::Suspended;
use super::text::lossy;
use super::whose::{Whose, whose};
use gilscope_instrument::{Chain, Link, Name};
use pyo3::ffi;
use pyo3::prelude::*;

/// (code object, last instruction) → interned place; the code is kept alive by the entry.
type Places = Cache<(usize, i32), (Name, Py<PyAny>)>;

/// Code object → whether it says where user code awaits; it is kept alive by the entry.
type Codes = Cache<usize, (Rank, Py<PyAny>)>;

/// (chain, what it goes on with) → the longer chain.
type Chains = Cache<(u64, usize), Chain>;

type Cache<K, V> = HashMap<K, V, BuildHasherDefault<Mixed>>;

thread_local! {
    static PLACES: RefCell<Places> = RefCell::default();
    static CODES: RefCell<Codes> = RefCell::default();
    static CHAINS: RefCell<Chains> = RefCell::default();
}

/// Most entries of each kind per loop thread; generated code could make ever more.
const MOST: usize = 4096;

/// Longest chain of coroutines that is followed; beyond it the place is not the innermost.
const DEEPEST: usize = 64;

/// Cheaper than the default hasher; nobody chooses addresses to collide.
#[derive(Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_i32(&mut self, number: i32) {
        self.write_usize(number as usize);
    }

    fn write_u64(&mut self, number: u64) {
        self.write_usize(number as usize);
    }

    fn write_usize(&mut self, number: usize) {
        self.0 = (self.0 ^ number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// What the place of a frame says, from least to most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Ours,
    /// Where everybody waits, such as in `asyncio.sleep`.
    StandardLibrary,
    Told,
}

/// The place at which `coroutine` is suspended, or `Name(0)` where no frame is known but ours.
pub(crate) fn awaiting(coroutine: &Bound<'_, PyAny>) -> Name {
    let Some(outermost) = Suspended::new(coroutine.clone()) else {
        return Name(0);
    };
    let place = match outermost.awaits() {
        None => place_of(&outermost),
        Some(next) => innermost(outermost, next).and_then(|it| place_of(&it)),
    };
    place.unwrap_or_default()
}

/// What awaits what, from `coroutine` on; frames of ours are left out.
pub(crate) fn chain(coroutine: &Bound<'_, PyAny>) -> Chain {
    let mut chain = Chain::default();
    let mut object = coroutine.clone();
    for _ in 0..DEEPEST {
        let Some(at) = Suspended::new(object.clone()) else {
            break;
        };
        if let Some(place) = place_of(&at).filter(|place| *place != Name(0)) {
            chain = longer(chain, Link::Python(place));
        }
        match at.awaited() {
            Some(next) => object = next,
            None => return chain,
        }
    }
    match crate::future::awaitable::name_of(&object) {
        Some(name) => longer(chain, Link::Rust(name)),
        None => chain,
    }
}

fn longer(chain: Chain, link: Link) -> Chain {
    let number = match link {
        Link::Python(name) => name.0 as usize,
        Link::Rust(name) => name.0 as usize | 1 << 32,
    };
    let key = (chain.into(), number);
    CHAINS.with_borrow_mut(|seen| match seen.get(&key) {
        Some(known) => *known,
        None if seen.len() < MOST => *seen.entry(key).or_insert_with(|| chain.then(link)),
        None => chain,
    })
}

/// The innermost one of the highest rank.
fn innermost<'py>(outermost: Suspended<'py>, next: Suspended<'py>) -> Option<Suspended<'py>> {
    let (mut rank, mut found) = (rank_of(&outermost)?, outermost);
    let mut next = Some(next);
    for _ in 1..DEEPEST {
        let Some(at) = next else { break };
        next = at.awaits();
        let its = rank_of(&at)?;
        if its >= rank {
            (rank, found) = (its, at);
        }
    }
    Some(found)
}

fn rank_of(at: &Suspended<'_>) -> Option<Rank> {
    let code = at.code()?;
    let key = code.as_ptr() as usize;
    if let Some(rank) = CODES.with_borrow(|codes| codes.get(&key).map(|(rank, _)| *rank)) {
        return Some(rank);
    }
    let rank = match whose(&at.frame()?).ok()? {
        Whose::Ours => Rank::Ours,
        Whose::StandardLibrary => Rank::StandardLibrary,
        Whose::Package | Whose::User => Rank::Told,
    };
    CODES.with_borrow_mut(|codes| {
        if codes.len() < MOST {
            codes.insert(key, (rank, code.unbind()));
        }
    });
    Some(rank)
}

fn place_of(at: &Suspended<'_>) -> Option<Name> {
    let frame = at.frame()?;
    let frame_ptr = frame.as_ptr().cast::<ffi::PyFrameObject>();
    // SAFETY: a frame; the code is a new reference.
    let (last, code) = unsafe {
        let code = ffi::PyFrame_GetCode(frame_ptr).cast::<ffi::PyObject>();
        (
            ffi::PyFrame_GetLasti(frame_ptr),
            Bound::from_owned_ptr(frame.py(), code),
        )
    };
    let key = (code.as_ptr() as usize, last);
    if let Some(name) = PLACES.with_borrow(|seen| seen.get(&key).map(|(name, _)| *name)) {
        return Some(name);
    }
    let name = if whose(&frame).ok()? == Whose::Ours {
        Name(0)
    } else {
        // SAFETY: as above.
        let line = unsafe { ffi::PyFrame_GetLineNumber(frame_ptr) };
        gilscope_instrument::intern(&describe(&code, line))
    };
    PLACES.with_borrow_mut(|seen| {
        if seen.len() < MOST {
            seen.insert(key, (name, code.unbind()));
        }
    });
    Some(name)
}

/// Says where a function is defined, if it is one of Python's, or a method or `partial` of one.
pub(crate) fn define(name: Name, callable: &Bound<'_, PyAny>) {
    let mut function = callable.clone();
    // As often as makes sense: a partial can be made to hold itself.
    for _ in 0..4 {
        // SAFETY: a check of a live object's type.
        if unsafe { ffi::PyFunction_Check(function.as_ptr()) } != 0 {
            break;
        }
        let Some(inner) = wrapped(&function) else {
            return;
        };
        function = inner;
    }
    let Ok(code) = function.getattr("__code__") else {
        return;
    };
    if let Some((file, line)) = first_line(&code) {
        gilscope_instrument::define(name, &file, line);
    }
}

pub(super) fn first_line(code: &Bound<'_, PyAny>) -> Option<(String, u32)> {
    let file = lossy(&code.getattr("co_filename").ok()?).ok()?;
    Some((file, code.getattr("co_firstlineno").ok()?.extract().ok()?))
}

/// What a bound method or a `functools.partial` calls. Of other types, whose attributes may be the
/// user's code, nothing is known.
fn wrapped<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let class = object.get_type();
    let is = |module: &str, name: &str| {
        class.name().is_ok_and(|it| it == name) && class.module().is_ok_and(|it| it == module)
    };
    let attribute = if is("builtins", "method") {
        "__func__"
    } else if is("functools", "partial") {
        "func"
    } else {
        return None;
    };
    object.getattr(attribute).ok()
}

/// `file:line in function`.
pub(super) fn describe(code: &Bound<'_, PyAny>, line: i32) -> String {
    let text = |attribute: &str| {
        code.getattr(attribute)
            .and_then(|value| lossy(&value))
            .unwrap_or_default()
    };
    format!("{}:{line} in {}", text("co_filename"), text("co_qualname"))
}
