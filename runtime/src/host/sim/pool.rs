//! The hosts there are.
//!
//! Invariant: a host and its table live for ever, because somebody may hold the table; a host is
//! used again only when no handle on it is left.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{SimHost, table};
use crate::host::HostRef;
use crate::host::table::HostTable;

/// A host with its table; both live for ever.
#[derive(Clone, Copy)]
pub(crate) struct Simulator {
    pub(crate) host: &'static SimHost,
    pub(crate) table: &'static HostTable,
}

static POOL: Mutex<Vec<Simulator>> = Mutex::new(Vec::new());

/// The lock over the hosts, for the time of a fork.
pub(crate) fn hold() -> Box<dyn std::any::Any> {
    Box::new(POOL.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Simulator {
    /// A host at virtual time 0, owned by the calling thread.
    pub(crate) fn open() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        let free = pool
            .iter()
            .copied()
            .find(|simulator| simulator.host.is_free());
        let simulator = free.unwrap_or_else(|| {
            let host: &'static SimHost = Box::leak(Box::default());
            let ctx = std::ptr::from_ref(host).cast_mut().cast();
            let simulator = Self {
                host,
                table: Box::leak(Box::new(table::table(ctx))),
            };
            pool.push(simulator);
            simulator
        });
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Its top bit tells a simulation from the runtimes with threads.
        simulator
            .host
            .reopen(1 << 63 | u64::from(std::process::id()) << 32 | number & 0xffff_ffff);
        simulator
    }

    /// One more handle on the host, which keeps it from being used again.
    pub(crate) fn handle(self) -> HostRef {
        self.host.handles.fetch_add(1, Ordering::AcqRel);
        // SAFETY: tables of simulators live for ever, and the handle was just taken.
        unsafe { HostRef::adopt(self.table) }
    }
}
