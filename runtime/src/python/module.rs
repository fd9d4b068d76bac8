//! The module `gilscope._native`.
//!
//! Invariant: importing it starts nothing: no thread, no runtime, no recorder.

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

/// Why this interpreter cannot be served, if it cannot.
pub(crate) fn unsupported(free_threaded: bool) -> Option<&'static str> {
    free_threaded.then_some(
        "gilscope does not support free-threaded Python builds yet: use a build with the GIL",
    )
}

#[pymodule(name = "_native", gil_used = true)]
mod native {
    use super::{PyImportError, PyResult, unsupported};
    use pyo3::ffi;
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::python::awaitables::{rust_read_file, rust_sha256, rust_sleep};
    #[pymodule_export]
    use crate::python::batch::Batch;
    #[cfg(feature = "otlp")]
    #[pymodule_export]
    use crate::python::export::Export;
    #[pymodule_export]
    use crate::python::options::CallOptions;
    #[pymodule_export]
    use crate::python::outcome::{PyOutcome, refuse_async, result_of};
    #[pymodule_export]
    use crate::python::results::Results;
    #[pymodule_export]
    use crate::python::runtime::{Handle, Runtime};
    #[pymodule_export]
    use crate::python::simulation::{Simulation, ThreadEntry};
    #[pymodule_export]
    use crate::python::trace::{
        current_trace, in_flight, reset_stats, stats, trace_detail, trace_findings, trace_flush,
        trace_memory, trace_start, trace_stop,
    };
    #[pymodule_export]
    use crate::trace::call_span::CallSpan;

    #[pymodule_export]
    use crate::python::tree::Tree;

    #[pymodule_export]
    use crate::python::watch::Watch;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let _parks = crate::life::park::ParkOnExit::new();
        let py = module.py();
        // SAFETY: attached, so there is a current interpreter.
        let interpreter = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
        if interpreter != 0 {
            let why =
                "gilscope does not support subinterpreters: import it in the main interpreter";
            return Err(PyImportError::new_err(why));
        }
        // Now, while nobody else can be about it and fork.
        crate::life::fork::generation();
        crate::python::imports::make_types(py);
        // First imported on our loop thread, 3.11 would take that for the main thread.
        py.import("threading")?;
        let config = py.import("sysconfig")?;
        let free_threaded = config.call_method1("get_config_var", ("Py_GIL_DISABLED",))?;
        if let Some(why) = unsupported(free_threaded.is_truthy()?) {
            return Err(PyImportError::new_err(why));
        }
        let errors = crate::python::exceptions::module(py)?;
        for class in crate::python::exceptions::CLASSES {
            module.add(class, errors.getattr(class)?)?;
        }
        module.add("_host_cell", crate::host::cell::capsule(py)?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::unsupported;

    #[test]
    fn l10_free_threaded_builds_are_refused_by_one_line() {
        let why = unsupported(true).expect("refused");
        assert!(why.contains("free-threaded") && !why.contains('\n'));
        assert!(unsupported(false).is_none());
    }
}
