//! A second extension module, as a user of `gilscope-runtime` would write one, for the tests.
//!
//! Invariant: it has its own statics and its own tokio, so whatever it shares with `gilscope` it
//! shares through the host table. Functions that wait do so without the GIL, at most 20 s.
//!
//! - `found`: whether `discover` met an imported `gilscope` at init
//! - `Runtime(...)`: a runtime of this library's own; `Runtime.default()`: a handle on the default one
//! - `runtime_id()`, `race(n)`: the default runtime's id; the ids that n threads get at once
//! - `call(fun, *args)`, `call_int`, `call_with(fun, args, …options)`: `call_async` from a tokio task
//! - `flood(fun, n, tasks=n)`: `fun(i)` for i < n from concurrent tokio tasks; the results
//! - `burst(fun, n)`: `fun(i)` for i < n submitted by one plain thread; outcomes as they arrived
//! - `send(kind, fun, *args, …)` → `Sent`: one call of each callback kind ("future", "oneshot",
//!   "channel", "closure", "closure_panics", "python", "discard"): what arrived, how many times;
//!   `Sent.cancel()`, `Sent.drop()` (the future or receiver), `Sent.wait()`
//! - `future_dropped(fun, *args)`: the future of a call, dropped before anybody polled it.
//! - `send_dropped(kind, fun, *args, polled)` → `Sent`: a `send` that waits for room and is dropped
//! - `stream_begun(fun, take)` → `StreamBegun`, items: a stream that awaits an item until `drop()`
//! - `channel_full(fun)`: what a channel without room does to a second and a third call
//! - `call_bad_args(mode, fun)`: "error", "panic", "drop_panics", "never_started"
//! - `call_bad_result(fun)`: a result type whose conversion panics
//! - `call_blocking(fun, *args)` on this thread, `call_blocking_on_worker` on a tokio worker
//! - `process(fun, items)`, `call_fun(fun, *args)`: `PyAsyncFun`, `process_coroutines`
//! - `future(kind, value, seconds)`: an awaitable: "ready", "pending", "error", "stop_iteration",
//!   "panic", "panic_later"; `tracked(seconds)` → awaitable and `Tracked` (started, finished, dropped)
//! - `bridged(fun, *args)`: an awaitable whose inner tokio task calls `fun`
//! - `host_sleep(seconds)`, `host_spawn(fun)`: `sleep` and `spawn` through the host table
//! - `cancelled(fun, *args)` → by whom, the text and the cause of a call's `Error::Cancelled`
//! - `told(fun, *args)` → display, debug and sources of the error of a call that fails
//! - `collect(fun, *args, take, pause, ints, runtime, parent)` → items and error: an async generator as a
//!   `Stream`, below a span of another process (`traceparent` and `tracestate`)
//! - `stream(n, fail_at, capacity)` → async generator and `Tracked`: a `Stream` as an async generator
//! - `drop_unattached(object)`: lets go of a handle on a tokio thread, without the GIL;
//!   `drop_on_thread(object, at_its_end)`: on a plain thread, by its function or after that
//! - `calls_below(fun, *args)`, `current_in_rust()`, `call_below(how, traceparent, tracestate, fun,
//!   *args)`: trace context in Rust
//! - `ticks_while_gil_held(fun, seconds, calls)`: how often a tokio task ran meanwhile
//! - `rounds_while_gil_held(fun, fails, seconds)`: how often each thing that needs no GIL was done
//! - `hold_gil(seconds)`, `spin_with_gil(seconds)`: native code that keeps the GIL, asleep or on a
//!   processor; its own stamps before and after; `submit_with_gil(fun)`: without letting go of it
//! - `racy_bump(get, put, seconds)`, `from_thread(value, seconds)`, `spawn_panic(seconds)`: for
//!   simulations
//! - `kept(fun, *args)` → `Kept`: a future that was polled once; `poll()`, `is_done`, `cancel()`
//! - `late_cancel(short, victim)`: a cancel that comes when another call has the place of its own
//! - `watched(kind, fun, *args, …)` → `Watched`, first poll: a closure or a hand-made waker that notes
//!   whether it has the GIL, and returns, panics or holds
//! - `one_producer(fun, n, runtime)`: `fun(i)` for i < n from one thread, none awaited before the last
//!   was submitted; `in_line(fun, n, woken)` → `InLine`: calls whose waker runs `woken()`
//! - `touchy(kind, fun)`: a result whose destructor panics, and that nobody receives
//! - `undriven(kind, fun, *args)` → `Undriven`: a call out of a `current_thread` tokio that then stops;
//!   `inside_undriven(fun)`: `fun()` on a thread that is inside such a tokio
//! - `keep_calling(fun, tasks)`: tokio tasks that call `fun` for ever
//!
//! The same library is the module `shop` of docs/host-table.md, under that name.

mod blocking;
mod calls;
mod dropped;
mod ended;
mod eye;
mod futures;
mod held;
mod kept;
mod late;
mod line;
mod own;
mod runtime;
mod sent;
mod shop;
mod sim;
mod streams;
mod touchy;
mod trace;
mod undriven;

use pyo3::prelude::*;

/// See the crate's text.
#[pymodule]
mod gilscope_test_ext {
    use super::{Bound, PyModule, PyModuleMethods, PyResult};

    #[pymodule_export]
    use crate::blocking::{
        call_blocking, call_blocking_on_worker, drop_on_thread, drop_unattached, keep_calling,
        ticks_while_gil_held,
    };
    #[pymodule_export]
    use crate::calls::{
        burst, call, call_bad_args, call_bad_result, call_fun, call_int, call_with, channel_full,
        flood, process,
    };
    #[pymodule_export]
    use crate::dropped::{StreamBegun, future_dropped, send_dropped, stream_begun};
    #[pymodule_export]
    use crate::ended::{cancelled, told};
    #[pymodule_export]
    use crate::eye::{Watched, watched};
    #[pymodule_export]
    use crate::futures::{Tracked, bridged, future, host_sleep, host_spawn, tracked};
    #[pymodule_export]
    use crate::held::{hold_gil, rounds_while_gil_held, spin_with_gil, submit_with_gil};
    #[pymodule_export]
    use crate::kept::{Kept, kept};
    #[pymodule_export]
    use crate::late::late_cancel;
    #[pymodule_export]
    use crate::line::{in_line, one_producer};
    #[pymodule_export]
    use crate::runtime::{Runtime, race, runtime_id};
    #[pymodule_export]
    use crate::sent::{Recorder, Sent, send};
    #[pymodule_export]
    use crate::sim::{from_thread, racy_bump, spawn_panic};
    #[pymodule_export]
    use crate::streams::{collect, stream};
    #[pymodule_export]
    use crate::touchy::touchy;
    #[pymodule_export]
    use crate::trace::{call_below, calls_below, current_in_rust};
    #[pymodule_export]
    use crate::undriven::{Undriven, inside_undriven, undriven};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("found", gilscope_runtime::discover(module.py())?)
    }
}
