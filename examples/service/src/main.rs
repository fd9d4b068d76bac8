//! An HTTP server whose handlers are async Python functions, called without touching the GIL.
//!
//! Invariant: a request that its client gives up, and one that takes too long, ends its call; the
//! server ends once all that it has accepted is answered.
//!
//! `make service` starts it. Spans go to an OpenTelemetry collector if `OTEL_EXPORTER_OTLP_ENDPOINT`
//! says where there is one, and into a file for `gilscope view` if `TRACE` names it; a request's
//! `traceparent` is the parent of its call. With `GILSCOPE_TREE=1` it can be asked what it awaits.
#![expect(clippy::print_stdout, reason = "an example says where it listens")]

use std::ffi::CString;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use gilscope_runtime::instrument::{Instrument, attach_sink, detach_sink, sink};
use gilscope_runtime::{Config, Error, ExitGuard, PyFun, PyRuntime, ShutdownMode, TraceContext};
use pyo3::prelude::*;
use pyo3::types::PyModule;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

type AnyError = Box<dyn std::error::Error>;

/// How long a request may take, and what is under way when the server is told to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What to try, and what is to be said above it.
const TRY: [(&str, &str); 4] = [
    ("", "URL/hello/world"),
    (
        "",
        "-H 'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' URL/relay/world",
    ),
    (
        "fails by design with status 500, since its handler raises:",
        "-i URL/hello/r2d2",
    ),
    (
        "fails by design with status 504, at its deadline of 2 s:",
        "-i URL/sleepy/beauty",
    ),
];

/// What every request needs: the runtime, and the Python functions, made once.
#[derive(Clone)]
struct App {
    rt: PyRuntime,
    hello: PyFun,
    relay: PyFun,
    sleepy: PyFun,
}

impl App {
    /// `upstream`: whom the handlers themselves ask.
    async fn start(upstream: String) -> Result<Self, AnyError> {
        let code = CString::new(include_str!("handlers.py"))?;
        let (app, start) = Python::attach(|py| {
            let module = PyModule::from_code(py, &code, c"handlers.py", c"handlers")?;
            let fun = |name: &str| module.getattr(name).map(|fun| PyFun::new(&fun));
            let config = Config {
                on_stop: Some(module.getattr("stop")?.unbind()),
                ..Config::named("service")
            };
            let app = Self {
                rt: PyRuntime::new(config)?,
                hello: fun("hello")?,
                relay: fun("relay")?,
                sleepy: fun("sleepy")?,
            };
            Ok::<_, AnyError>((app, fun("start")?))
        })?;
        app.rt.call_async::<Py<PyAny>>(&start, (upstream,)).await?;
        Ok(app)
    }

    /// Calls a handler. Whoever drops this future, as axum does when the client is gone, cancels it.
    async fn answer(&self, fun: &PyFun, name: String, headers: &HeaderMap) -> (StatusCode, String) {
        let mut call = self.rt.call(fun, (name,)).deadline(PATIENCE);
        if let Some(parent) = parent(headers) {
            call = call.parent(parent);
        }
        match call.wait::<String>().await {
            Ok(text) => (StatusCode::OK, text),
            Err(error) => (status(&error), error.to_string()),
        }
    }
}

/// The span of whoever sent the request.
fn parent(headers: &HeaderMap) -> Option<TraceContext> {
    let header = |name| headers.get(name)?.to_str().ok();
    TraceContext::from_headers(header("traceparent")?, header("tracestate"))
}

fn status(error: &Error) -> StatusCode {
    match error {
        Error::DeadlineExceeded { .. } => StatusCode::GATEWAY_TIMEOUT,
        Error::QueueFull | Error::RuntimeStopped { .. } => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

type Answer = (StatusCode, String);

async fn hello(State(app): State<App>, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    app.answer(&app.hello, name, &headers).await
}

async fn relay(State(app): State<App>, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    app.answer(&app.relay, name, &headers).await
}

async fn sleepy(State(app): State<App>, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    app.answer(&app.sleepy, name, &headers).await
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    Python::initialize();
    // Embedded, nobody runs Python's `atexit`: the guard stops every runtime when `main` returns.
    let _exit = ExitGuard::new();
    let collector = std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT");
    let instrument = match collector {
        Some(_) => Instrument::builder().otlp().install()?,
        None => Instrument::builder().install()?,
    };
    let trace = std::env::var_os("TRACE").map(sink::JsonLines::new);
    let trace = trace.transpose()?.map(|file| attach_sink(Box::new(file)));
    let port = std::env::args().nth(1).unwrap_or_else(|| "0".into());
    // Nobody but this machine is served.
    let listener = TcpListener::bind(("127.0.0.1", port.parse::<u16>()?)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let upstream = std::env::var("UPSTREAM").unwrap_or_else(|_| url.clone());
    let app = App::start(upstream).await?;
    let router = Router::new()
        .route("/hello/{name}", get(hello))
        .route("/relay/{name}", get(relay))
        .route("/sleepy/{name}", get(sleepy))
        .with_state(app.clone());

    let told = told_to_end()?;
    say_what_to_try(&url);
    axum::serve(listener, router)
        .with_graceful_shutdown(told)
        .await?;
    let rt = app.rt.clone();
    let stop = move || rt.shutdown(ShutdownMode::Drain, Some(PATIENCE));
    let report = tokio::task::spawn_blocking(stop).await?;
    instrument.close();
    trace.map_or(Ok(()), detach_sink)?;
    println!("stopped, calls abandoned: {}", report.abandoned);
    Ok(())
}

fn say_what_to_try(url: &str) {
    println!("listening on {url}; try");
    for (remark, what) in TRY {
        if !remark.is_empty() {
            println!("  # {remark}");
        }
        println!("  curl {}", what.replace("URL", url));
    }
    if std::env::var_os("GILSCOPE_TREE").is_some_and(|value| value == "1") {
        let pid = std::process::id();
        println!("  # and, from another terminal, what it awaits meanwhile:");
        println!("  gilscope tree {pid}");
    }
}

/// Ready at the first SIGTERM or Ctrl-C.
fn told_to_end() -> Result<impl Future<Output = ()>, AnyError> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}
