//! A runtime that is asked for before there is any Python.
//!
//! Invariant: alone in its process, for Python is initialized once in it.

use gilscope_runtime::{Config, Error, PyRuntime, Stopped, py_runtime};
use pyo3::Python;

#[test]
fn the_error_says_what_to_do_and_then_it_works() {
    for made in [py_runtime(), PyRuntime::new(Config::named("early"))] {
        let error = made.expect_err("there is no Python");
        assert!(
            error
                .to_string()
                .contains("call Python::initialize() first")
        );
        let why = Stopped::NotInitialized;
        assert!(matches!(error, Error::RuntimeStopped { why: it, .. } if it == why));
    }
    Python::initialize();
    let runtime = py_runtime().expect("there is Python now");
    assert!(!runtime.is_stopped());
}
