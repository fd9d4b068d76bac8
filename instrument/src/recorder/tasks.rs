//! Tasks made inside a call.
//!
//! Invariant: a task has the trace of its call and keeps it when the call ends first.

use super::steps::begin;
use super::{LoopRecorder, OpenCall, OpenTask};
use crate::chain::Chain;
use crate::name::Name;
use crate::notes::Notes;
use crate::open::{Entry, Read as _, mode, word};
use crate::status::{Flags, Status};
use crate::{clock, enabled, new_id};

impl LoopRecorder {
    /// A task was made inside a call.
    pub fn task_open(&self, parent: OpenCall, name: Name) -> OpenTask {
        self.open_below(parent.0, name, |call| call.get(word::ID))
    }

    /// A task was made inside another task, whose call may have ended.
    pub fn task_open_below(&self, parent: OpenTask, name: Name) -> OpenTask {
        self.open_below(parent.0, name, |task| task.get(word::ENQUEUED))
    }

    /// A task below an open call or task; a task keeps its call's id in the word that a call
    /// has no use for once it is open.
    fn open_below(&self, parent: u32, name: Name, call: impl Fn(&Entry) -> u64) -> OpenTask {
        let Some(parent) = self.slab.slab.get(parent) else {
            return OpenTask(0);
        };
        if !enabled() {
            return OpenTask(0);
        }
        let kept = mode::FULL | mode::TRACE_FLAGS;
        let (id, kept) = (parent.get(word::ID), parent.get(word::MODE) & kept);
        let call = call(parent);
        let trace = [parent.get(word::TRACE_HIGH), parent.get(word::TRACE_LOW)];
        let Some((entry, handle)) = self.slab.take() else {
            return OpenTask(0);
        };
        let now = clock::now();
        entry.write(|entry| {
            entry.set(word::TRACE_HIGH, trace[0]);
            entry.set(word::TRACE_LOW, trace[1]);
            entry.set(word::PARENT, id);
            entry.set(word::CALLED, now);
            entry.set(word::ENQUEUED, call);
            entry.set(word::RETURNED, now);
            entry.set(word::ATTACHED, now);
            begin(entry, new_id(), name, kept | mode::TASK);
        });
        OpenTask(handle)
    }

    /// A poll of the task begins.
    #[inline]
    pub fn task_poll_start(&self, task: OpenTask) {
        if let Some(entry) = self.slab.slab.get(task.0) {
            let outer = self.current_task.replace(task.0);
            self.start(entry, task.0, outer);
        }
    }

    /// The poll of the task ends.
    #[inline]
    pub fn task_poll_end(&self, task: OpenTask) {
        if let Some(entry) = self.slab.slab.get(task.0) {
            self.end(entry, task.0, clock::now());
            self.leave(entry, task.0);
        }
    }

    /// The task yielded, awaiting at a place (or `Name(0)`).
    #[inline]
    pub fn task_suspended(&self, task: OpenTask, at: Name) {
        self.mark_suspended(task.0, at);
    }

    /// The chain of places at which the task awaits. After `task_suspended`.
    #[inline]
    pub fn task_awaits(&self, task: OpenTask, chain: Chain) {
        self.mark_chain(task.0, chain);
    }

    /// The task was woken.
    #[inline]
    pub fn task_woken(&self, task: OpenTask) {
        self.mark_woken(task.0);
    }

    /// What ended the task, as [`error`](Self::error) has it. Before `task_close`.
    #[cold]
    pub fn task_error(&self, task: OpenTask, type_name: &str, message: &str, stack: &str) {
        self.record_error(task.0, type_name, message, stack);
    }

    /// What is known of the task's span beside its record. Before `task_close`, and once.
    #[cold]
    pub fn task_notes(&self, task: OpenTask, notes: Notes) {
        self.notes(OpenCall(task.0), notes);
    }

    /// The task ends.
    #[inline]
    pub fn task_close(&self, task: OpenTask, status: Status) {
        self.finish(task.0, status, Flags::default());
    }
}
