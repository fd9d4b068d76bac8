//! How much is recorded, for the whole process.
//!
//! Invariant: asking costs one relaxed load, so that recording is free when it is off.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

const VARIABLE: &str = "GILSCOPE_DETAIL";

/// How much is recorded.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub enum Detail {
    /// Nothing.
    Off = 0,
    /// One span per call, with the total of each of its parts.
    Call = 1,
    /// Every span.
    #[default]
    Full = 2,
}

impl Detail {
    /// Its name: `off`, `call` or `full`.
    pub fn as_str(self) -> &'static str {
        match self {
            Detail::Off => "off",
            Detail::Call => "call",
            Detail::Full => "full",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Detail> {
        let all = [Detail::Off, Detail::Call, Detail::Full];
        all.into_iter().find(|detail| detail.as_str() == name)
    }
}

const FULL: u8 = Detail::Full as u8;
/// In `DETAIL`: `Call`, because a ring overflowed, and nobody has chosen anything since.
const FALLEN: u8 = 3;

static DETAIL: AtomicU8 = AtomicU8::new(FULL);
static ENVIRONMENT_READ: AtomicBool = AtomicBool::new(false);
static FALLS: AtomicU64 = AtomicU64::new(0);

/// What is recorded now. `Full` unless it was changed, by [`set_detail`] or the environment variable
/// `GILSCOPE_DETAIL`, or a ring overflowed: then it is `Call` until the next sink is attached.
#[inline]
pub fn detail() -> Detail {
    match DETAIL.load(Relaxed) {
        0 => Detail::Off,
        1 | FALLEN => Detail::Call,
        _ => Detail::Full,
    }
}

/// Changes what is recorded. Calls that are open keep the detail they were opened with.
pub fn set_detail(detail: Detail) {
    read_environment();
    DETAIL.store(detail as u8, Relaxed);
}

/// Is anything recorded?
#[inline]
pub fn enabled() -> bool {
    DETAIL.load(Relaxed) != Detail::Off as u8
}

/// Sets what `GILSCOPE_DETAIL` says, once per process; says in one line on stderr if that is nothing.
/// Recorders do this themselves: it is for those that make calls before.
pub fn read_environment() {
    if ENVIRONMENT_READ.swap(true, Relaxed) {
        return;
    }
    let Some(wanted) = std::env::var_os(VARIABLE).filter(|wanted| !wanted.is_empty()) else {
        return;
    };
    match wanted.to_str().and_then(Detail::named) {
        // Not over what somebody has chosen meanwhile.
        Some(detail) => drop(DETAIL.compare_exchange(FULL, detail as u8, Relaxed, Relaxed)),
        None => {
            let text = format!(
                "gilscope: {VARIABLE} must be off, call or full, not {wanted:?}; recording in full\n"
            );
            // Nobody to tell it to.
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }
}

/// For the converter: a ring overflowed, so less is to be recorded.
pub(crate) fn fall_back() {
    if DETAIL
        .compare_exchange(FULL, FALLEN, Relaxed, Relaxed)
        .is_ok()
    {
        FALLS.fetch_add(1, Relaxed);
    }
}

/// Somebody wants to look: tries in full again, if nobody has chosen otherwise.
pub(crate) fn recover() {
    let _ = DETAIL.compare_exchange(FALLEN, FULL, Relaxed, Relaxed);
}

/// How often it fell back.
pub(crate) fn falls() -> u64 {
    FALLS.load(Relaxed)
}
