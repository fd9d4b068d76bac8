//! Trace context: which trace something belongs to, below which span, as W3C Trace Context has it.
//!
//! Invariant: all eight bits of the flags and the tracestate survive every crossing, and an id of zero
//! is no context at all.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::marker::PhantomData;
use std::sync::Arc;

/// Flag of W3C Trace Context: the trace is recorded.
pub const SAMPLED: u8 = 1;
/// Flag of W3C Trace Context, level 2: the trace id is random.
pub(crate) const RANDOM: u8 = 2;

/// Whether flags, as spans have them, say that the trace is recorded.
pub(crate) fn sampled(flags: u16) -> bool {
    flags & u16::from(SAMPLED) != 0
}

/// Longest tracestate that is carried, in bytes: what the specification asks to propagate at least.
const LONGEST_STATE: usize = 512;
/// An entry that is longer is the first to go.
const LONGEST_ENTRY: usize = 128;

/// A span of a trace, to be the parent of others. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct TraceContext {
    /// The trace's id, high word first; not zero.
    pub trace: [u64; 2],
    /// The span's id; not zero.
    pub span: u64,
    /// The eight trace flags.
    pub flags: u8,
    /// Whether it came from another process.
    pub remote: bool,
    /// The tracestate, as its header has it; `None` where it is empty.
    pub state: Option<Arc<str>>,
}

impl TraceContext {
    /// Reads the headers `traceparent` and `tracestate` of a request; `None` if the first is not valid.
    /// Of a tracestate of more than 512 bytes the last entries are left out.
    ///
    /// ```
    /// use gilscope_instrument::TraceContext;
    ///
    /// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    /// let parent = TraceContext::from_headers(header, None).expect("it is valid");
    /// assert!(parent.is_sampled() && parent.remote);
    /// assert_eq!(parent.traceparent(), header);
    /// ```
    pub fn from_headers(traceparent: &str, tracestate: Option<&str>) -> Option<TraceContext> {
        let mut fields = traceparent.trim().split('-');
        let version = hex(fields.next()?, 2)?;
        let trace = fields.next()?;
        if trace.len() != 32 {
            return None;
        }
        let trace = [hex(trace.get(..16)?, 16)?, hex(trace.get(16..)?, 16)?];
        let span = hex(fields.next()?, 16)?;
        let flags = hex(fields.next()?, 2)? as u8;
        // A later version may have more fields; 255 is forbidden.
        if version == 0xFF || version == 0 && fields.next().is_some() {
            return None;
        }
        if trace == [0, 0] || span == 0 {
            return None;
        }
        Some(TraceContext {
            trace,
            span,
            flags,
            remote: true,
            state: None,
        })
        .map(|context| context.with_state(tracestate.unwrap_or_default()))
    }

    /// With this tracestate, unless it is empty. Of more than 512 bytes as many of the last entries are left
    /// out as it takes, long ones first.
    #[must_use]
    pub fn with_state(mut self, state: &str) -> TraceContext {
        let state = state.trim();
        self.state = match state.len() {
            0 => None,
            1..=LONGEST_STATE => Some(state.into()),
            _ => bounded(state),
        };
        self
    }

    /// The header `traceparent` for a request made below this span.
    pub fn traceparent(&self) -> String {
        let mut text = String::with_capacity(55);
        let [high, low] = self.trace;
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "00-{high:016x}{low:016x}-{:016x}-{:02x}",
            self.span, self.flags
        );
        text
    }

    /// Whether its trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// What is current on this thread: see [`TraceContext::enter`]. With the feature `opentelemetry` that
    /// is first of all the span that is current in that crate.
    pub fn current() -> Option<TraceContext> {
        #[cfg(feature = "opentelemetry")]
        if let Some(theirs) = crate::opentelemetry::current() {
            return Some(theirs);
        }
        CURRENT.with_borrow(Clone::clone)
    }

    /// Makes it current on this thread for as long as the guard lives. Not to be held across an
    /// `.await`: a task may go on on another thread, and others run on this one meanwhile.
    pub fn enter(&self) -> EnteredTrace {
        let before = CURRENT.replace(Some(self.clone()));
        EnteredTrace {
            before,
            #[cfg(feature = "opentelemetry")]
            _theirs: crate::opentelemetry::enter(self),
            _here: PhantomData,
        }
    }
}

/// What is kept of a tracestate that is too long, as the specification has it: entries that are long go first,
/// from the last on, and then the last.
fn bounded(state: &str) -> Option<Arc<str>> {
    let entries = state.split(',').map(str::trim);
    let mut kept: Vec<&str> = entries.filter(|entry| !entry.is_empty()).collect();
    let mut length = kept.iter().map(|entry| entry.len() + 1).sum::<usize>();
    for longest in [LONGEST_ENTRY, 0] {
        // Without the comma after the last.
        for at in (0..kept.len()).rev() {
            if length > LONGEST_STATE + 1 && kept[at].len() > longest {
                length -= kept[at].len() + 1;
                kept[at] = "";
            }
        }
        kept.retain(|entry| !entry.is_empty());
    }
    (!kept.is_empty()).then(|| kept.join(",").into())
}

/// Hexadecimal digits, in lower case as the specification has them.
fn hex(text: &str, digits: usize) -> Option<u64> {
    let valid = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != digits || !text.bytes().all(valid) {
        return None;
    }
    u64::from_str_radix(text, 16).ok()
}

thread_local! {
    static CURRENT: RefCell<Option<TraceContext>> = const { RefCell::new(None) };
}

/// What [`TraceContext::enter`] returns; dropped, what was current before is so again.
#[derive(Debug)]
pub struct EnteredTrace {
    before: Option<TraceContext>,
    #[cfg(feature = "opentelemetry")]
    _theirs: opentelemetry::ContextGuard,
    /// Of the thread it was made on.
    _here: PhantomData<*const ()>,
}

impl Drop for EnteredTrace {
    fn drop(&mut self) {
        let before = self.before.take();
        // At the thread's end there is nothing to restore.
        let _ = CURRENT.try_with(|current| current.replace(before));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ab";

    fn read(header: &str) -> Option<TraceContext> {
        TraceContext::from_headers(header, None)
    }

    #[test]
    fn headers_survive_with_all_their_bits() {
        let context = TraceContext::from_headers(VALID, Some("a=1,b=2")).expect("valid");
        assert_eq!(context.flags, 0xab);
        assert_eq!(context.state.as_deref(), Some("a=1,b=2"));
        assert_eq!(context.traceparent(), VALID);
    }

    #[test]
    fn what_is_not_valid_is_no_context() {
        for invalid in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47\u{e9}-00f067aa0ba902b7-01",
        ] {
            assert_eq!(read(invalid), None, "{invalid:?}");
        }
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert!(read(later).is_some());
    }

    #[test]
    fn of_a_state_that_is_too_long_the_last_entries_are_left_out() {
        let kept = |given: &str| {
            let context = TraceContext::from_headers(VALID, Some(given)).expect("valid");
            context.state.map(|state| state.to_string())
        };
        let entry = |key: char, length: usize| format!("{key}={}", "v".repeat(length - 2));
        let all = |entries: &[String]| entries.join(",");
        let [a, b, c, d] = ['a', 'b', 'c', 'd'].map(|key| entry(key, 127));
        let full = all(&[a.clone(), b.clone(), c.clone(), entry('d', 128)]);
        assert_eq!(full.len(), LONGEST_STATE);
        for given in [full.clone(), all(&[full.clone(), entry('e', 2)])] {
            assert_eq!(kept(&given).as_ref(), Some(&full));
        }
        let (five, four) = (entry('e', 2), [a.clone(), b.clone(), c.clone(), d.clone()]);
        assert_eq!(kept(&all(&[&four[..], &[five]].concat())), Some(all(&four)));
        // The long one, though it is not the last.
        let mixed = [a.clone(), entry('l', 129), c.clone(), d.clone(), b.clone()];
        assert_eq!(kept(&all(&mixed)), Some(all(&[a.clone(), c, d, b])));
        assert_eq!(kept(&all(&[a.clone(), entry('l', 600)])), Some(a));
        assert_eq!(kept(&entry('l', LONGEST_STATE + 1)), None);
        assert_eq!(kept(&",".repeat(LONGEST_STATE + 1)), None);
    }

    #[test]
    fn what_is_entered_is_current_until_it_is_left() {
        let (outer, inner) = (read(VALID).expect("valid"), TraceContext::default());
        assert_eq!(TraceContext::current(), None);
        let entered = outer.enter();
        {
            let _inner = inner.enter();
            assert_eq!(TraceContext::current(), Some(inner));
        }
        assert_eq!(TraceContext::current(), Some(outer));
        drop(entered);
        assert_eq!(TraceContext::current(), None);
    }
}
