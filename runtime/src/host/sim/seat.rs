//! The simulated loop as a loop thread: the state by which calls are started, driven and handed over
//! as they are on a runtime's own thread.
//!
//! Invariant: at most one state per thread; recorder and queue are kept for the next simulation on
//! the same thread, because a ring per simulation would be far dearer than the simulation.

use std::cell::RefCell;
use std::sync::Arc;

use gilscope_instrument::{LoopRecorder, clock};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::loop_thread::shared::Shared;
use crate::loop_thread::state::{Current, Helpers, LoopState, current};
use crate::loop_thread::thread::module;
use crate::runtime::Config;

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

struct Kept {
    shared: Arc<Shared>,
    recorder: LoopRecorder,
}

impl Kept {
    fn take() -> PyResult<Self> {
        let kept = KEPT.with_borrow_mut(Option::take);
        // A forked child has a converter of its own, which knows nothing of the parent's rings.
        let here = |kept: &Self| kept.shared.generation == crate::life::fork::generation();
        match kept {
            Some(kept) if here(&kept) => Ok(kept),
            _ => {
                let shared = Shared::create(Config::named("simulation"))?;
                shared.enter_thread();
                let recorder = LoopRecorder::new(shared.number(), &shared.config.thread_name());
                Ok(Self { shared, recorder })
            }
        }
    }
}

/// Whether this thread is that of a simulation of this library.
pub(crate) fn is_seat() -> bool {
    current().is_some_and(|_| crate::host::cell::simulated_here().is_some())
}

/// Makes this thread a loop thread for as long as it lives.
pub(crate) struct Seat(Option<Current>);

impl Seat {
    /// Takes the seat for a loop. Attached.
    ///
    /// # Errors
    /// If this is a loop thread already, or there is no file descriptor to be had.
    pub(crate) fn take(event_loop: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = event_loop.py();
        if current().is_some() {
            let text = "a simulation cannot run on the thread of another loop of gilscope";
            return Err(PyRuntimeError::new_err(text));
        }
        crate::driver::install(py)?;
        let module = module(py)?;
        let helpers = Helpers {
            stopped: py.None(),
            drain: py.None(),
            await_any: module.getattr("await_any")?.unbind(),
            classify: module.getattr("classify")?.unbind(),
        };
        let Kept { shared, recorder } = Kept::take()?;
        recorder.returned(clock::now());
        recorder.attached();
        // Outcomes leave when the simulator says so, never by a callback of the loop.
        let state = LoopState::new(shared, recorder, event_loop, helpers, true)?;
        crate::loop_thread::hook::install(event_loop)?;
        Ok(Self(Some(Current::new(state))))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(seat) = self.0.take() else { return };
        let state = seat.into_state();
        state.close_children();
        state.recorder.turn_end();
        // Jobs that nobody drives any more still have callers.
        state
            .shared
            .fail_everything(crate::host::table::END_STOPPED, 1);
        let open = std::mem::take(&mut *state.shared.calls());
        drop(open);
        let LoopState {
            shared, recorder, ..
        } = state;
        KEPT.with_borrow_mut(|kept| *kept = Some(Kept { shared, recorder }));
    }
}
