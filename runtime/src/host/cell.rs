//! The cell that holds the default runtime, and how libraries find one another's.
//!
//! Invariant: a cell is never freed, and neither is a default runtime once it was handed out, so a
//! handle made before a swap stays valid.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::{PyImportError, PyModuleNotFoundError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::HostRef;
use super::table::{HostCell, HostTable, SIZES, VERSION};
use crate::error::{Error, Stopped};
use crate::loop_thread::shared::Shared;
use crate::runtime::Config;

/// Name of the capsule, and of the attribute of `gilscope._native` that holds it.
pub const CAPSULE: &CStr = c"gilscope._native._host_cell";

static OWN: HostCell = HostCell {
    size: size_of::<HostCell>(),
    version: VERSION,
    sizes: SIZES,
    table: AtomicPtr::new(ptr::null_mut()),
    refill,
};

/// The cell in use: our own, or the one that [`discover`] adopted.
static CELL: AtomicPtr<HostCell> = AtomicPtr::new(ptr::null_mut());

/// Why the last refill failed, for the error message.
static LAST_ERROR: AtomicU64 = AtomicU64::new(Stopped::NotStarted as u64);

static DEFAULT: Mutex<Option<Arc<Shared>>> = Mutex::new(None);

fn cell() -> &'static HostCell {
    let adopted = CELL.load(Ordering::Acquire);
    if adopted.is_null() {
        return &OWN;
    }
    // SAFETY: cells are statics of libraries that are never unloaded.
    unsafe { &*adopted }
}

/// A handle on the default runtime, made if there is none.
pub(crate) fn default_host() -> Result<HostRef, Error> {
    let cell = cell();
    let table = cell.table.load(Ordering::Acquire).cast_const();
    if !table.is_null() {
        // SAFETY: default runtimes and simulators are never freed, so a table in a cell is valid.
        unsafe {
            ((*table).retain)((*table).ctx);
            return Ok(HostRef::adopt(table));
        }
    }
    // SAFETY: returns a table with one handle taken, or NULL.
    let table = unsafe { (cell.refill)() };
    if table.is_null() {
        let why = Stopped::of(LAST_ERROR.load(Ordering::Relaxed) as u32);
        return Err(why.into());
    }
    // SAFETY: as above.
    Ok(unsafe { HostRef::adopt(table) })
}

/// Makes this library's default runtime, or finds it made by another thread meanwhile.
unsafe extern "C" fn refill() -> *const HostTable {
    match find_or_make() {
        Ok(table) => table,
        Err(why) => {
            LAST_ERROR.store(why as u64, Ordering::Relaxed);
            ptr::null()
        }
    }
}

fn find_or_make() -> Result<*const HostTable, Stopped> {
    // Before the lock: from here on a fork waits for it.
    let _ = crate::life::fork::generation();
    let shared = {
        let mut default = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = default.as_ref()
            && shared.refusing().is_none()
        {
            return Ok(handle_table(shared));
        }
        let shared = Shared::create(Config::named("default")).map_err(|_| Stopped::NotStarted)?;
        // Never freed, and one handle is never given back: somebody may hold its table for ever.
        std::mem::forget((Arc::clone(&shared), shared.host()));
        *default = Some(Arc::clone(&shared));
        shared
    };
    // Outside the lock: starting the thread may let go of the GIL, which waiters may hold.
    crate::life::registry::add(&shared);
    if let Err(why) = crate::loop_thread::thread::start(&shared) {
        shared.end(why);
        return Err(why);
    }
    let table = handle_table(&shared);
    OWN.table.store(table.cast_mut(), Ordering::Release);
    if shared.refusing().is_some() {
        // Stopped between the start and the store.
        forget_if(table);
    }
    Ok(table)
}

fn handle_table(shared: &Arc<Shared>) -> *const HostTable {
    let host = shared.host();
    let table: *const HostTable = host.table();
    // The handle passes to the caller of refill.
    std::mem::forget(host);
    table
}

/// A handle on the default runtime, or the simulator, if there is one; makes none.
pub(crate) fn current_host() -> Option<HostRef> {
    let table = cell().table.load(Ordering::Acquire).cast_const();
    if table.is_null() {
        return None;
    }
    // SAFETY: tables in cells are never freed.
    unsafe {
        ((*table).retain)((*table).ctx);
        Some(HostRef::adopt(table))
    }
}

/// A handle on the simulator, if one is installed in the cell in use.
pub(crate) fn simulated_host() -> Option<HostRef> {
    current_host().filter(HostRef::is_simulated)
}

/// As [`simulated_host`], on the simulation's own thread; other threads are outside of it.
pub(crate) fn simulated_here() -> Option<HostRef> {
    simulated_host().filter(HostRef::is_this_thread)
}

/// After a stop of the default runtime: the next use makes a fresh one.
pub(crate) fn forget_if(table: *const HostTable) {
    let (table, null) = (table.cast_mut(), ptr::null_mut());
    let _ = OWN
        .table
        .compare_exchange(table, null, Ordering::AcqRel, Ordering::Relaxed);
}

/// In a forked child. Only stores.
pub(crate) fn forget_default() {
    OWN.table.store(ptr::null_mut(), Ordering::SeqCst);
}

/// Puts another table into the cell in use and returns the one before; for simulators.
pub(crate) fn swap(table: *const HostTable) -> *const HostTable {
    cell().table.swap(table.cast_mut(), Ordering::AcqRel)
}

/// Undoes a [`swap`], unless somebody else has swapped since.
pub(crate) fn restore(table: *const HostTable, before: *const HostTable) {
    let (table, before) = (table.cast_mut(), before.cast_mut());
    let _ = cell()
        .table
        .compare_exchange(table, before, Ordering::AcqRel, Ordering::Relaxed);
}

/// The capsule by which other libraries find this one's cell.
pub(crate) fn capsule(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let cell: *const HostCell = cell();
    // SAFETY: the cell is a static, and so is the name; no destructor.
    unsafe {
        let capsule = ffi::PyCapsule_New(cell.cast_mut().cast::<c_void>(), CAPSULE.as_ptr(), None);
        Bound::from_owned_ptr_or_err(py, capsule)
    }
}

/// Lets this library use the runtime of an imported `gilscope`; call it in your module's init.
///
/// Returns whether one was found. It never imports `gilscope`, but loads the native part of one that
/// was imported, which does not do so by itself before it is used. Needs the GIL.
///
/// # Errors
/// `ImportError` if the versions do not fit; the library then keeps its own runtime.
pub fn discover(py: Python<'_>) -> PyResult<bool> {
    // First imported on our loop thread, 3.11 would take that for the main thread.
    py.import("threading")?;
    let native = native_module(py)?;
    // Made while nobody else can be making it, so that no fork finds it half made.
    crate::python::exceptions::module(py)?;
    let Some(native) = native else {
        return Ok(false);
    };
    let capsule = native.getattr("_host_cell")?;
    // SAFETY: attached; checks the capsule's name.
    let found = unsafe { ffi::PyCapsule_GetPointer(capsule.as_ptr(), CAPSULE.as_ptr()) };
    if found.is_null() {
        return Err(PyErr::fetch(py));
    }
    let found = found.cast::<HostCell>();
    // SAFETY: the first two fields are there in every version.
    let (size, version) = unsafe { ((*found).size, (*found).version) };
    if version != VERSION || size < size_of::<HostCell>() {
        return Err(PyImportError::new_err(format!(
            "the installed gilscope speaks version {version} of the host table and this extension \
             version {VERSION}: rebuild the extension against the installed gilscope-runtime"
        )));
    }
    // SAFETY: the size says that the field is there.
    let theirs = unsafe { (*found).sizes };
    // Tables only grow at their end; jobs and their functions are read by both sides.
    if theirs[0] < SIZES[0] || theirs[1..] != SIZES[1..] {
        return Err(PyImportError::new_err(format!(
            "the installed gilscope and this extension disagree on the host table (sizes {theirs:?} \
             and {SIZES:?}): rebuild the extension against the installed gilscope-runtime"
        )));
    }
    CELL.store(found, Ordering::Release);
    Ok(true)
}

/// `gilscope._native`, if it is there or its package is.
fn native_module(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let modules = py.import("sys")?.getattr("modules")?;
    let native = modules.call_method1("get", ("gilscope._native",))?;
    if !native.is_none() {
        return Ok(Some(native));
    }
    if !modules.contains("gilscope")? {
        return Ok(None);
    }
    match py.import("gilscope._native") {
        Ok(native) => Ok(Some(native.into_any())),
        // Something else of that name.
        Err(error) if error.is_instance_of::<PyModuleNotFoundError>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The lock over the default runtime, for the time of a fork.
pub(crate) fn hold() -> Box<dyn std::any::Any> {
    Box::new(DEFAULT.lock().unwrap_or_else(PoisonError::into_inner))
}
