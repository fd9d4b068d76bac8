//! An extension module with two functions, for Python code that may or may not use gilscope.

use pyo3::prelude::*;

/// Calls Python from tokio, on the runtime that it shares with gilscope.
#[pymodule]
mod shop {
    use gilscope_runtime::{Error, PyFun, discover, into_py_future, py_runtime};
    use pyo3::prelude::*;

    /// Await `price(item)` for each item, from a tokio task; the sum.
    #[pyfunction]
    fn total<'py>(price: &Bound<'py, PyAny>, items: Vec<String>) -> PyResult<Bound<'py, PyAny>> {
        let (py, price) = (price.py(), PyFun::new(price));
        into_py_future(py, async move {
            let mut sum = 0;
            for item in items {
                sum += py_runtime()?.call_async::<i64>(&price, (item,)).await?;
            }
            Ok::<_, Error>(sum)
        })
    }

    /// The identity of the runtime that `total` calls through.
    #[pyfunction]
    fn runtime_id() -> PyResult<u64> {
        Ok(py_runtime()?.id())
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        discover(module.py())?; // the one line that makes it one runtime
        Ok(())
    }
}
