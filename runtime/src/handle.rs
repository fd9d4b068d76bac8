//! Python references that may be cloned and dropped on any thread without the GIL.
//!
//! Invariant: a reference that a Rust thread lets go of is released by an attached thread, never in
//! a destructor on a tokio thread, and is leaked rather than touched once the interpreter finalizes.

use std::sync::Arc;

use pyo3::prelude::*;

use gilscope_instrument::Name;

/// Shared reference to a Python object.
#[derive(Clone)]
pub struct PyHandle(Arc<Inner>);

struct Inner(Option<Py<PyAny>>);

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            release::release(object);
        }
    }
}

impl PyHandle {
    /// Wraps a reference.
    #[must_use]
    pub fn new(object: Py<PyAny>) -> Self {
        Self(Arc::new(Inner(Some(object))))
    }

    /// The reference. Needs no GIL; using what it refers to does.
    ///
    /// # Panics
    /// Never: the reference is only taken in `drop`.
    #[must_use]
    pub fn get(&self) -> &Py<PyAny> {
        self.0
            .0
            .as_ref()
            .expect("a handle holds its object until it is dropped")
    }

    /// The object, for an attached thread.
    #[must_use]
    pub fn bind<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyAny> {
        self.get().bind(py)
    }

    /// A new `Py` to the same object.
    #[must_use]
    pub fn clone_ref(&self, py: Python<'_>) -> Py<PyAny> {
        self.get().clone_ref(py)
    }
}

impl std::fmt::Debug for PyHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PyHandle({:p})", self.get().as_ptr())
    }
}

impl From<Py<PyAny>> for PyHandle {
    fn from(object: Py<PyAny>) -> Self {
        Self::new(object)
    }
}

impl<'py> FromPyObject<'_, 'py> for PyHandle {
    type Error = std::convert::Infallible;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> Result<Self, Self::Error> {
        Ok(Self::new(object.to_owned().unbind()))
    }
}

impl<'py> IntoPyObject<'py> for PyHandle {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = std::convert::Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        Ok(self.bind(py).clone())
    }
}

/// A callable to be called through a runtime, with the name its spans carry.
///
/// Clone it freely and on any thread; make it once per function, not once per call.
#[derive(Clone, Debug)]
pub struct PyFun {
    callable: PyHandle,
    name: Name,
}

impl PyFun {
    /// Wraps a callable; its span name is `module.qualname`. Needs the GIL.
    #[must_use]
    pub fn new(callable: &Bound<'_, PyAny>) -> Self {
        let name = gilscope_instrument::intern(&qualified_name(callable));
        if !gilscope_instrument::is_defined(name) {
            crate::python::place::define(name, callable);
        }
        Self {
            callable: PyHandle::new(callable.clone().unbind()),
            name,
        }
    }

    /// Wraps a callable under a given span name. Needs no GIL.
    #[must_use]
    pub fn with_name(callable: PyHandle, name: &str) -> Self {
        Self {
            callable,
            name: gilscope_instrument::intern(name),
        }
    }

    pub(crate) fn named(callable: PyHandle, name: Name) -> Self {
        Self { callable, name }
    }

    /// The callable.
    #[must_use]
    pub fn callable(&self) -> &PyHandle {
        &self.callable
    }

    /// The span name.
    #[must_use]
    pub fn name(&self) -> Name {
        self.name
    }
}

impl From<&PyFun> for PyFun {
    fn from(fun: &PyFun) -> Self {
        fun.clone()
    }
}

impl From<&Bound<'_, PyAny>> for PyFun {
    fn from(callable: &Bound<'_, PyAny>) -> Self {
        Self::new(callable)
    }
}

impl From<Py<PyAny>> for PyFun {
    /// Attaches for a moment to read the name.
    fn from(callable: Py<PyAny>) -> Self {
        Python::attach(|py| Self::new(callable.bind(py)))
    }
}

/// `module.qualname` where the object has them, else its type's; never fails, never runs a property twice.
fn qualified_name(object: &Bound<'_, PyAny>) -> String {
    let text = |object: &Bound<'_, PyAny>, attribute: &str| -> Option<String> {
        let value = object.getattr(attribute).ok()?;
        crate::python::text::lossy(&value).ok()
    };
    let inner = object
        .getattr("func")
        .ok()
        .filter(|_| text(object, "__qualname__").is_none());
    let object = inner.as_ref().unwrap_or(object);
    let name = text(object, "__qualname__").or_else(|| {
        object
            .get_type()
            .qualname()
            .ok()
            .map(|s| s.to_string_lossy().into_owned())
    });
    match (text(object, "__module__"), name) {
        (Some(module), Some(name)) => format!("{module}.{name}"),
        (None, Some(name)) => name,
        _ => "?".to_owned(),
    }
}

/// The lane by which references reach an attached thread.
pub(crate) mod release {
    use super::{Py, PyAny, Python};
    use std::cell::Cell;
    use std::ptr;
    use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

    use crossbeam_queue::SegQueue;
    use pyo3::ffi;

    type Lane = SegQueue<Py<PyAny>>;

    /// Made at first use in each process.
    static LANE: AtomicPtr<Lane> = AtomicPtr::new(ptr::null_mut());
    /// A host has been asked to look at the lane and has not done so yet.
    static ASKED: AtomicBool = AtomicBool::new(false);

    fn lane() -> &'static Lane {
        if let Some(lane) = existing() {
            return lane;
        }
        let made = Box::into_raw(Box::new(Lane::new()));
        let null = ptr::null_mut();
        let decided = LANE.compare_exchange(null, made, Ordering::AcqRel, Ordering::Acquire);
        if decided.is_err() {
            // SAFETY: it came from a box and nobody else has seen it.
            drop(unsafe { Box::from_raw(made) });
        }
        existing().expect("made above, by this thread or another")
    }

    fn existing() -> Option<&'static Lane> {
        // SAFETY: only boxes that are never freed are stored.
        unsafe { LANE.load(Ordering::Acquire).as_ref() }
    }

    /// In a forked child: leaves the lane to the parent. Somebody may have been in the middle of a push,
    /// for whose end a pop would wait for ever. Only stores.
    pub(crate) fn forget() {
        LANE.store(ptr::null_mut(), Ordering::Release);
        ASKED.store(false, Ordering::Release);
    }

    /// Lets go of a reference now if this thread is attached, else hands it to a loop thread.
    pub(crate) fn release(object: Py<PyAny>) {
        // SAFETY: allowed on any thread at any time.
        if unsafe { ffi::Py_IsInitialized() } == 0 {
            std::mem::forget(object);
        } else if crate::attached::is_attached() {
            drop(object);
        } else {
            lane().push(object);
            // A simulated loop looks by itself after every step of this thread.
            if !crate::host::sim::is_seat() && !crate::life::registry::ring_any() {
                ask();
            }
        }
    }

    /// This library has no loop of its own: has the one it uses look at our lane, else the courier. At
    /// exit somebody looks anyway.
    fn ask() {
        if crate::life::exit::begun() || ASKED.swap(true, Ordering::AcqRel) {
            return;
        }
        // However it ends: run, refused or disposed of.
        struct Asked;
        impl Drop for Asked {
            fn drop(&mut self) {
                // Read as well: what those who found it set had pushed before is seen by who looks next.
                ASKED.swap(false, Ordering::AcqRel);
            }
        }
        let asked = Asked;
        let look = move |py: Python<'_>| {
            drop(asked);
            drain(py);
        };
        let refused = match crate::host::cell::current_host() {
            // One that has just stopped takes nothing more.
            Some(host) => host.post(look).err(),
            None => Some(look),
        };
        let Some(look) = refused else { return };
        let _ = crate::life::courier::run(move |py| {
            // Without any runtime so far nobody would stop the courier at exit.
            let _ = crate::life::exit::register(py);
            look(py);
        });
    }

    /// Releases what has come in. Called attached; by loop threads between calls.
    pub(crate) fn drain(_py: Python<'_>) {
        while let Some(object) = existing().and_then(Lane::pop) {
            drop(object);
        }
    }

    /// As [`drain`], by a caller that was refused: refused calls come at any rate while every loop, whose
    /// matter this else is, may be held. Not within itself: what is let go of may call and be refused.
    pub(crate) fn drain_refused(py: Python<'_>) {
        thread_local! {
            static WITHIN: Cell<bool> = const { Cell::new(false) };
        }
        if !WITHIN.replace(true) {
            drain(py);
            WITHIN.set(false);
        }
    }

    /// Whether there is nothing to release.
    pub(crate) fn is_empty() -> bool {
        existing().is_none_or(Lane::is_empty)
    }
}
