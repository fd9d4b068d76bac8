//! What counts as slow: the thresholds beyond which something is a finding.
//!
//! Invariant: a threshold is read from the environment once per process, and a value that makes no
//! sense is said in one line on stderr.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const DEFAULT_NS: u64 = 50_000_000;

static GIL: AtomicU64 = AtomicU64::new(DEFAULT_NS);
static POLL: AtomicU64 = AtomicU64::new(DEFAULT_NS);
static ROOM: AtomicU64 = AtomicU64::new(DEFAULT_NS);
static ENVIRONMENT_READ: AtomicBool = AtomicBool::new(false);

/// The thresholds, 50 ms each unless changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// A wait for the GIL (`GILSCOPE_SLOW_GIL`).
    pub gil: Duration,
    /// A poll, while another call waits for the loop (`GILSCOPE_SLOW_POLL`).
    pub poll: Duration,
    /// A wait for room in the queue (`GILSCOPE_SLOW_ROOM`).
    pub room: Duration,
}

impl Slow {
    /// The shortest of them, in nanoseconds.
    pub(crate) fn least(&self) -> u64 {
        ns(self.gil.min(self.poll).min(self.room))
    }
}

pub(crate) fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The thresholds now. Any thread.
pub fn slow() -> Slow {
    read_environment();
    let read = |threshold: &AtomicU64| Duration::from_nanos(threshold.load(Relaxed));
    Slow {
        gil: read(&GIL),
        poll: read(&POLL),
        room: read(&ROOM),
    }
}

/// Changes the thresholds, for what is found from now on. Any thread.
pub fn set_slow(slow: Slow) {
    read_environment();
    GIL.store(ns(slow.gil), Relaxed);
    POLL.store(ns(slow.poll), Relaxed);
    ROOM.store(ns(slow.room), Relaxed);
}

/// `GILSCOPE_SLOW` is for all of them, each has one of its own.
fn read_environment() {
    if ENVIRONMENT_READ.swap(true, Relaxed) {
        return;
    }
    if let Some(all) = wanted("GILSCOPE_SLOW") {
        for threshold in [&GIL, &POLL, &ROOM] {
            threshold.store(all, Relaxed);
        }
    }
    let each = [
        ("GILSCOPE_SLOW_GIL", &GIL),
        ("GILSCOPE_SLOW_POLL", &POLL),
        ("GILSCOPE_SLOW_ROOM", &ROOM),
    ];
    for (variable, threshold) in each {
        if let Some(value) = wanted(variable) {
            threshold.store(value, Relaxed);
        }
    }
}

fn wanted(variable: &str) -> Option<u64> {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty())?;
    let parsed = value.to_str().and_then(parse);
    if parsed.is_none() {
        let text = format!(
            "gilscope: {variable} must be a time such as 50ms, 1.5s or 800us, not {value:?}\n"
        );
        // Nobody to tell it to.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    parsed
}

/// Nanoseconds of a time with its unit; more than 100 µs, as what is shorter is how threads take turns.
fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let number = text.trim_end_matches(|it: char| it.is_alphabetic());
    let factor = match &text[number.len()..] {
        "s" => 1e9,
        "ms" => 1e6,
        "us" | "µs" => 1e3,
        _ => return None,
    };
    let value: f64 = number.trim().parse().ok()?;
    let ns = value * factor;
    (1e5..=1e18).contains(&ns).then_some(ns as u64)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse("50ms"), Some(50_000_000));
        assert_eq!(parse(" 1.5 s "), Some(1_500_000_000));
        assert_eq!(parse("800us"), Some(800_000));
        for wrong in ["50", "", "ms", "-1s", "NaNs", "50 min", "1us", "infs"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
