//! Which function a coroutine runs: its name, and where it is defined.
//!
//! Invariant: of a function that was seen before nothing is read but its coroutine's code and name.

use std::cell::RefCell;
use std::collections::HashMap;

use super::awaited::Suspended;
use super::names::name;
use super::place::first_line;
use super::text::readable;
use gilscope_instrument::{Name, define, intern, is_defined};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// Code object and `__qualname__`, by which functions that were wrapped differ: kept alive by their entry.
type Seen = HashMap<(usize, usize), (Name, [Py<PyAny>; 2])>;

thread_local! {
    static SEEN: RefCell<Seen> = RefCell::default();
}

/// Most functions per loop thread that are remembered; generated code could make ever more.
const MOST: usize = 4096;

/// `module.qualname`, as calls are named; `qualname` of coroutines that are not Python's own, and
/// `Name(0)` of what has none.
pub(crate) fn of(coroutine: &Bound<'_, PyAny>) -> Name {
    let qualname = coroutine
        .getattr(name!(coroutine.py(), c"__qualname__"))
        .ok();
    let Some(qualname) = qualname.and_then(|it| it.cast_into::<PyString>().ok()) else {
        return Name(0);
    };
    let at = Suspended::new(coroutine.clone());
    match at.and_then(|at| Some((at.code()?, at))) {
        Some((code, at)) => seen(&code, &qualname, &at),
        None => intern(&readable(&qualname)),
    }
}

fn seen(code: &Bound<'_, PyAny>, qualname: &Bound<'_, PyString>, at: &Suspended<'_>) -> Name {
    let key = (code.as_ptr() as usize, qualname.as_ptr() as usize);
    if let Some(name) = SEEN.with_borrow(|seen| seen.get(&key).map(|(name, _)| *name)) {
        return name;
    }
    let name = match module(at) {
        Some(module) => intern(&format!("{module}.{}", readable(qualname))),
        None => intern(&readable(qualname)),
    };
    if !is_defined(name)
        && let Some((file, line)) = first_line(code)
    {
        define(name, &file, line);
    }
    SEEN.with_borrow_mut(|seen| {
        if seen.len() < MOST {
            let alive = [code.clone().unbind(), qualname.clone().into_any().unbind()];
            seen.insert(key, (name, alive));
        }
    });
    name
}

/// The module in which it was written.
fn module(at: &Suspended<'_>) -> Option<String> {
    let py = at.frame()?.py();
    let globals = at.frame()?.getattr(name!(py, c"f_globals")).ok()?;
    let name = globals
        .cast::<PyDict>()
        .ok()?
        .get_item(name!(py, c"__name__"));
    let name = name.ok()??.cast_into::<PyString>().ok()?;
    Some(readable(&name).into_owned())
}
