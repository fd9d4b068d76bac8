//! The tracestates of calls, and of the tasks made in them.
//!
//! Invariant: a call or task is in here while it is open and has one, which few have; for all others it costs
//! a look at an empty map.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use gilscope_instrument::exporting;
use gilscope_instrument::notes::Notes;

/// By the handle of the open call or task.
#[derive(Default)]
pub(crate) struct Tracestates(RefCell<HashMap<u32, Arc<str>>>);

impl Tracestates {
    /// A call, if it is recorded, or a task has this one.
    #[cold]
    pub(crate) fn insert(&self, open: u32, state: Arc<str>) {
        if open != 0 {
            self.0.borrow_mut().insert(open, state);
        }
    }

    /// That of an open call or task.
    #[inline]
    pub(crate) fn get(&self, open: u32) -> Option<Arc<str>> {
        let states = self.0.borrow();
        if states.is_empty() {
            return None;
        }
        states.get(&open).cloned()
    }

    /// The call or task ends: what is to be said of its span, where that is exported.
    #[inline]
    pub(crate) fn end(&self, open: u32) -> Option<Notes> {
        if self.0.borrow().is_empty() {
            return None;
        }
        let state = self.0.borrow_mut().remove(&open)?;
        exporting().then(|| Notes::new(Some(state)))
    }
}
