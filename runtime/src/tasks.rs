//! Rust tasks and time, through the host: tokio in production, one chooser and one clock in simulation.
//!
//! Invariant: a task keeps the host it was spawned on; in simulation only one-step runnables cross.

use std::future::Future;
use std::hash::{Hash as _, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::host::table as t;
use crate::host::{HostRef, TableTimer};

/// This library's tokio, with the generation of the process that it was made in.
static RUNTIME: Mutex<Option<(u64, &'static tokio::runtime::Runtime)>> = Mutex::new(None);

/// This library's tokio, made at first use in each process.
pub(crate) fn own_tokio() -> &'static tokio::runtime::Runtime {
    let generation = crate::life::fork::generation();
    let mut slot = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    match *slot {
        Some((of, runtime)) if of == generation => runtime,
        // First use, or a forked child: the workers of the old one are gone, so it is never dropped.
        _ => {
            let workers = std::thread::available_parallelism().map_or(2, |n| n.get().min(4));
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(workers)
                .thread_name_fn(thread_name)
                .enable_all()
                .build()
                .expect("threads and an epoll descriptor for tokio");
            let runtime = Box::leak(Box::new(runtime));
            *slot = Some((generation, runtime));
            runtime
        }
    }
}

/// Each has its own, as a trace has a lane for each.
fn thread_name() -> String {
    static THREADS: AtomicUsize = AtomicUsize::new(1);
    format!("gilscope-tokio{}", THREADS.fetch_add(1, Relaxed))
}

/// Whether blocking threads of this library's tokio are at work: what they will wake is not there
/// yet, so a simulator must not move its clock.
pub(crate) fn is_blocking() -> bool {
    #[cfg(tokio_unstable)]
    if let Some((_, runtime)) = *RUNTIME.lock().unwrap_or_else(PoisonError::into_inner) {
        let metrics = runtime.metrics();
        return metrics.blocking_queue_depth() > 0
            || metrics.num_blocking_threads() > metrics.num_idle_blocking_threads();
    }
    false
}

/// The tokio this thread is in, or this library's own.
pub(crate) fn tokio_handle() -> tokio::runtime::Handle {
    tokio::runtime::Handle::try_current().unwrap_or_else(|_| own_tokio().handle().clone())
}

/// The number of the tokio task that this thread runs, as tokio shows it, or 0.
#[inline]
pub(crate) fn current_number() -> u64 {
    /// An id tells its number to nobody else without a text being made of it.
    struct Number(u64);
    impl Hasher for Number {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, _: &[u8]) {}
        fn write_u64(&mut self, number: u64) {
            self.0 = number;
        }
    }
    tokio::task::try_id().map_or(0, |id| {
        let mut number = Number(0);
        id.hash(&mut number);
        number.finish()
    })
}

/// A spawned task. Dropping it detaches.
#[derive(Debug)]
pub struct SpawnHandle(Inner);

#[derive(Debug)]
enum Inner {
    /// With the generation of the process: in a forked child its tokio has no threads, and locks that
    /// are held for ever.
    Tokio(u64, tokio::task::AbortHandle),
    Simulated(Mutex<Option<async_task::Task<()>>>),
}

impl SpawnHandle {
    /// Drops the task's future at its next await. Idempotent; any thread.
    pub fn abort(&self) {
        match &self.0 {
            Inner::Tokio(of, handle) if *of == crate::life::fork::generation() => handle.abort(),
            Inner::Tokio(..) => {}
            Inner::Simulated(task) => {
                let task = task.lock().unwrap_or_else(PoisonError::into_inner).take();
                drop(task);
            }
        }
    }
}

impl Drop for SpawnHandle {
    fn drop(&mut self) {
        if let Inner::Simulated(task) = &self.0
            && let Some(task) = task.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            task.detach();
        }
    }
}

/// Spawns a task through the host table: on tokio, or on the simulator if one is installed. Starts no
/// runtime.
pub fn spawn(future: impl Future<Output = ()> + Send + 'static) -> SpawnHandle {
    match crate::host::cell::current_host() {
        Some(host) => spawn_on(&host, future),
        None => spawn_real(future),
    }
}

/// Sleeps on the host's clock: tokio's, or the simulator's if one is installed. Starts no runtime.
pub async fn sleep(duration: Duration) {
    match crate::host::cell::current_host() {
        Some(host) => sleep_on(&host, duration).await,
        None => tokio::time::sleep(duration).await,
    }
}

/// Spawns on this library's own tokio, for work of ours that must not depend on whether the caller's
/// tokio is being driven, has timers, or lives on.
pub(crate) fn spawn_own(future: impl Future<Output = ()> + Send + 'static) -> SpawnHandle {
    spawned(own_tokio().spawn(future).abort_handle())
}

/// As [`spawn_own`], or on the simulator where the host is one.
pub(crate) fn spawn_ours(
    host: &HostRef,
    future: impl Future<Output = ()> + Send + 'static,
) -> SpawnHandle {
    if host.is_simulated() {
        spawn_on(host, future)
    } else {
        spawn_own(future)
    }
}

/// Spawns on real threads, whatever the host.
pub(crate) fn spawn_real(future: impl Future<Output = ()> + Send + 'static) -> SpawnHandle {
    spawned(tokio_handle().spawn(future).abort_handle())
}

fn spawned(handle: tokio::task::AbortHandle) -> SpawnHandle {
    SpawnHandle(Inner::Tokio(crate::life::fork::generation(), handle))
}

pub(crate) fn spawn_on(
    host: &HostRef,
    future: impl Future<Output = ()> + Send + 'static,
) -> SpawnHandle {
    let table = host.table();
    let Some(schedule) = table.schedule else {
        return spawn_real(future);
    };
    // SAFETY: callable from any thread.
    let task = unsafe { (table.new_task)(table.ctx) };
    let keep = host.clone();
    let (runnable, handle) = async_task::spawn(future, move |runnable: async_task::Runnable| {
        let table = keep.table();
        let raw = t::RawRunnable {
            ptr: runnable.into_raw().as_ptr().cast(),
            task,
            run: run_step,
            drop: drop_step,
        };
        // SAFETY: the host copies the struct and calls one of its functions once.
        unsafe { schedule(table.ctx, &raw const raw) };
    });
    runnable.schedule();
    SpawnHandle(Inner::Simulated(Mutex::new(Some(handle))))
}

unsafe extern "C" fn run_step(ptr: *mut std::ffi::c_void) -> i32 {
    // SAFETY: made by `into_raw` above; run or dropped once.
    let runnable = unsafe { runnable(ptr) };
    let _entered = own_tokio().enter();
    let step = std::panic::AssertUnwindSafe(|| runnable.run());
    i32::from(std::panic::catch_unwind(step).is_err())
}

unsafe extern "C" fn drop_step(ptr: *mut std::ffi::c_void) {
    // SAFETY: as in `run_step`.
    let runnable = unsafe { runnable(ptr) };
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(runnable)));
}

/// # Safety
/// `ptr` is from `Runnable::into_raw` and is used once.
unsafe fn runnable(ptr: *mut std::ffi::c_void) -> async_task::Runnable {
    // SAFETY: see above.
    unsafe { async_task::Runnable::from_raw(std::ptr::NonNull::new_unchecked(ptr.cast())) }
}

pub(crate) async fn sleep_on(host: &HostRef, duration: Duration) {
    if host.table().timer.is_none() {
        return tokio::time::sleep(duration).await;
    }
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let deadline = host.now().saturating_add(nanoseconds);
    TableTimer::new(host.clone(), deadline).await;
}

/// The lock over the library's tokio, for the time of a fork.
pub(crate) fn hold() -> Box<dyn std::any::Any> {
    Box::new(RUNTIME.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::{current_number, own_tokio};

    #[test]
    fn a_tasks_number_is_the_one_that_tokio_shows() {
        let of_task = async { (current_number().to_string(), tokio::task::id().to_string()) };
        let joined = own_tokio().block_on(own_tokio().spawn(of_task));
        let (number, shown) = joined.expect("it does not panic");
        assert_eq!(number, shown);
        assert_eq!(current_number(), 0, "this thread runs no task");
        assert_eq!(own_tokio().block_on(async { current_number() }), 0);
    }
}
