//! The page that the thread that was asked writes its answer on.
//!
//! Invariant: one writer, of the question that the page was turned to: a handler that comes late finds
//! another question, or none. Nobody waits for anybody, and nothing is allocated by who writes.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::frames::Text;
use super::signals::Answer;

/// A hundred frames of long names; deeper or longer stacks lose their outermost.
const ROOM: usize = 1 << 15;

/// States that are not the number of a question, which are at least 2.
const BLANK: usize = 0;
const BEING_WRITTEN: usize = 1;
const WRITTEN: usize = usize::MAX;

pub(super) static PAGE: Page = Page {
    state: AtomicUsize::new(BLANK),
    answer: UnsafeCell::new(Written {
        tid: 0,
        waits: false,
        length: 0,
        text: [0; ROOM],
    }),
};

/// See the module's text.
pub(super) struct Page {
    state: AtomicUsize,
    answer: UnsafeCell<Written>,
}

struct Written {
    tid: u32,
    waits: bool,
    length: usize,
    text: [u8; ROOM],
}

// SAFETY: `answer` is touched by who brought `state` to `BEING_WRITTEN`, then by the watchdog at `WRITTEN`.
unsafe impl Sync for Page {}

impl Page {
    /// Makes it ready for answers to this question. The watchdog's thread only.
    pub(super) fn turn_to(&self, question: usize) -> bool {
        let ready = |state| (state != BEING_WRITTEN).then_some(question);
        self.state.fetch_update(SeqCst, SeqCst, ready).is_ok()
    }

    /// Writes the answer of this thread, if nobody has answered that question. Signal-safe, if `write` is.
    pub(super) fn write(&self, question: usize, waits: bool, write: impl FnOnce(&mut Text<'_>)) {
        let claimed = self
            .state
            .compare_exchange(question, BEING_WRITTEN, SeqCst, SeqCst);
        if claimed.is_err() {
            return;
        }
        // SAFETY: claimed.
        let answer = unsafe { &mut *self.answer.get() };
        // SAFETY: no arguments, no effect.
        answer.tid = unsafe { libc::gettid() } as u32;
        answer.waits = waits;
        let mut text = Text::new(&mut answer.text);
        write(&mut text);
        answer.length = text.written();
        self.state.store(WRITTEN, SeqCst);
    }

    pub(super) fn is_written(&self) -> bool {
        self.state.load(SeqCst) == WRITTEN
    }

    /// The answer, if there is one; none comes any more. The watchdog's thread only.
    pub(super) fn take(&self, question: usize) -> Option<Answer> {
        let given_up = self.state.compare_exchange(question, BLANK, SeqCst, SeqCst);
        if given_up != Err(WRITTEN) {
            return None;
        }
        // SAFETY: written, and only the watchdog, which is here, turns the page.
        let answer = unsafe { &*self.answer.get() };
        let frames = String::from_utf8_lossy(&answer.text[..answer.length]);
        Some(Answer {
            tid: answer.tid,
            waits: answer.waits,
            frames: frames.into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank() -> Box<Page> {
        Box::new(Page {
            state: AtomicUsize::new(BLANK),
            answer: UnsafeCell::new(Written {
                tid: 0,
                waits: false,
                length: 0,
                text: [0; ROOM],
            }),
        })
    }

    #[test]
    fn the_first_answer_to_the_question_counts_and_no_other() {
        let page = blank();
        assert!(page.turn_to(4));
        page.write(2, false, |_| panic!("an answer to what was asked before"));
        assert!(page.take(4).is_none(), "nobody answered");
        page.write(4, false, |_| panic!("too late"));
        assert!(page.turn_to(6));
        page.write(6, false, |_| ());
        page.write(6, false, |_| panic!("the second"));
        let answer = page.take(6).expect("there is one");
        // SAFETY: no arguments, no effect.
        assert_eq!(answer.tid, unsafe { libc::gettid() } as u32);
        assert_eq!(answer.frames, "");
    }

    #[test]
    fn a_page_that_is_being_written_is_not_turned() {
        let page = blank();
        assert!(page.turn_to(2));
        page.write(2, false, |_| {
            assert!(!page.turn_to(4));
            assert!(page.take(2).is_none());
        });
        assert!(page.turn_to(4));
    }
}
