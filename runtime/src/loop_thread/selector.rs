//! The loop's wait, made exact: detach, hand outcomes over, wait, stamp, attach, stamp.
//!
//! Invariant: between the two stamps around an attach there is nothing but the attach; with timeout
//! 0 the thread keeps the GIL.

use std::os::fd::RawFd;

use gilscope_instrument::clock;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::state::current;
use crate::attached::SameThread;
use crate::life::park::Parking;

/// Most events taken in one wait; the rest is there at the next.
const EVENTS: usize = 64;
/// `selectors.EVENT_READ`, `selectors.EVENT_WRITE`.
const READ: u32 = 1;
const WRITE: u32 = 2;

/// The `select` of a `selectors.EpollSelector`.
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct Select {
    epoll: RawFd,
    /// File descriptor → `SelectorKey`.
    keys: Parking<Py<PyDict>>,
}

// No guard: called on the loop's thread, which carries one all its life.
#[pymethods]
impl Select {
    #[pyo3(signature = (timeout=None))]
    fn __call__<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyList>> {
        super::inherited::check(py);
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        let ready = match milliseconds(timeout) {
            0 => self.look(py, &mut events),
            wait => self.wait(py, &mut events, wait),
        };
        if ready < 0 {
            let error = std::io::Error::last_os_error();
            if error.kind() != std::io::ErrorKind::Interrupted {
                return Err(error.into());
            }
        }
        self.keys_of(py, &events[..ready.max(0) as usize])
    }
}

impl Select {
    pub(crate) fn new(epoll: RawFd, keys: Py<PyDict>) -> Self {
        let keys = Parking::new(keys);
        Self { epoll, keys }
    }

    /// Looks for events without letting go of the GIL.
    fn look(&self, py: Python<'_>, events: &mut [libc::epoll_event; EVENTS]) -> i32 {
        if let Some(state) = current() {
            state.flush(py);
            state.recorder.turn_split();
        }
        epoll_wait(self.epoll, events, 0)
    }

    fn wait(&self, py: Python<'_>, events: &mut [libc::epoll_event; EVENTS], wait: i32) -> i32 {
        let Some(state) = current() else {
            return py.detach(|| epoll_wait(self.epoll, events, wait));
        };
        if state.finished.get() && state.wants_drain() {
            // What is delivered now lets queued calls start, or a shutdown end: no time to wait.
            return self.look(py, events);
        }
        state.recorder.turn_end();
        let (this, epoll) = (SameThread(state), self.epoll);
        let ready = py.detach(move || {
            let state = this.get();
            state.deliver_ready();
            let ready = epoll_wait(epoll, events, wait);
            // Before attaching: a watchdog is to see who keeps it from that.
            state.recorder.returned(clock::now());
            ready
        });
        state.recorder.attached();
        crate::watchdog::name_threads(py);
        ready
    }

    fn keys_of<'py>(
        &self,
        py: Python<'py>,
        events: &[libc::epoll_event],
    ) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        let keys = self.keys.bind(py);
        for event in events {
            let (fd, bits) = (event.u64 as RawFd, event.events);
            // As `selectors.EpollSelector.select`: errors and hang-ups count as both.
            let write = if bits & !(libc::EPOLLIN as u32) != 0 {
                WRITE
            } else {
                0
            };
            let read = if bits & !(libc::EPOLLOUT as u32) != 0 {
                READ
            } else {
                0
            };
            if let Some(key) = keys.get_item(fd)? {
                let wanted: u32 = key.get_item(2)?.extract()?;
                list.append((key, (read | write) & wanted))?;
            }
        }
        Ok(list)
    }
}

fn milliseconds(timeout: Option<f64>) -> i32 {
    match timeout {
        None => -1,
        Some(seconds) if seconds <= 0.0 => 0,
        // Rounds up, like the standard library, so that a timer is never looked for too early.
        Some(seconds) => (seconds * 1e3).ceil().min(f64::from(i32::MAX)) as i32,
    }
}

fn epoll_wait(epoll: RawFd, events: &mut [libc::epoll_event; EVENTS], wait: i32) -> i32 {
    // SAFETY: the buffer is valid for EVENTS entries during the call.
    unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), EVENTS as i32, wait) }
}

/// Makes a bell edge-triggered, so that nobody needs to read it.
pub(crate) fn edge_triggered(epoll: RawFd, bell: RawFd) -> std::io::Result<()> {
    let bits = (libc::EPOLLIN | libc::EPOLLET) as u32;
    let mut event = libc::epoll_event {
        events: bits,
        u64: bell as u64,
    };
    // SAFETY: the event outlives the call.
    if unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_MOD, bell, &raw mut event) } < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
