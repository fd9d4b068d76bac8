//! An HTTP server whose handlers are async Python functions, called without touching the GIL.
//!
//! Invariant: a request that its client gives up, and one that takes too long, ends its call; the
//! server ends once all that it has accepted is answered, and within seconds in any case.
//!
//! `make service` starts it. Spans go to an OpenTelemetry collector if `OTEL_EXPORTER_OTLP_ENDPOINT`
//! says where there is one, and into a file for `gilscope view` if `TRACE` names it; a request's
//! `traceparent` is the parent of its call. With `GILSCOPE_TREE=1` it can be asked what it awaits.
//!
//! The exit code is 0 if it ended as SIGTERM or Ctrl-C told it to, with every handler at its end; 1 if it
//! could not start, or had to leave a handler behind; 2 if it cannot have the port that it was given.
#![expect(clippy::print_stdout, reason = "an example says where it listens")]
#![expect(clippy::print_stderr, reason = "and what went wrong, in one line")]

mod ending;
mod given;

use std::ffi::CString;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use gilscope_runtime::instrument::{Instrument, attach_sink, detach_sink, sink};
use gilscope_runtime::{
    Config, Error, ExitGuard, PyFun, PyRuntime, ShutdownMode, ShutdownReport, TraceContext,
};
use pyo3::prelude::*;
use pyo3::types::PyModule;
use tokio::net::TcpListener;
use tokio::time::timeout;

use ending::Told;
use given::{Refused, listen, variable};

type AnyError = Box<dyn std::error::Error>;

/// How long a request may take, and what is under way when the server is told to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much longer a client may take to send its request, or to read its answer, when the server ends.
const SLACK: Duration = Duration::from_secs(1);

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
        // An upstream that is not there. Who asks itself is not, once it is told to end.
        Error::Python(raised) if raised.type_name() == "ConnectionError" => {
            StatusCode::SERVICE_UNAVAILABLE
        }
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
async fn main() -> ExitCode {
    match serve().await {
        Ok(report) => {
            println!("stopped, calls abandoned: {}", report.abandoned);
            if !report.joined {
                eprintln!("gilscope-service: a handler holds the loop, and is left as it is");
            }
            let clean = report.joined && report.abandoned == 0;
            ExitCode::from(if clean { 0 } else { 1 })
        }
        Err(error) => {
            eprintln!("gilscope-service: {error}");
            ExitCode::from(if error.is::<Refused>() { 2 } else { 1 })
        }
    }
}

/// Serves from beginning to end; what was left behind.
async fn serve() -> Result<ShutdownReport, AnyError> {
    let told = Told::by_signals()?;
    let listener = listen().await?;
    Python::initialize();
    // Embedded, nobody runs Python's `atexit`: the guard stops every runtime at the end of this function.
    let _exit = ExitGuard::new();
    let instrument = match variable("OTEL_EXPORTER_OTLP_ENDPOINT") {
        Some(_) => Instrument::builder().otlp().install()?,
        None => Instrument::builder().install()?,
    };
    let trace = variable("TRACE").map(sink::JsonLines::new).transpose()?;
    let trace = trace.map(|file| attach_sink(Box::new(file)));
    let url = format!("http://{}", listener.local_addr()?);
    let upstream = variable("UPSTREAM").and_then(|text| text.into_string().ok());
    let upstream = upstream.unwrap_or_else(|| url.clone());
    let app = App::start(upstream).await?;

    say_what_to_try(&url);
    answer_until(told, listener, &app).await;
    let rt = app.rt.clone();
    let stop = move || rt.shutdown(ShutdownMode::Drain, Some(PATIENCE));
    let report = tokio::task::spawn_blocking(stop).await?;
    instrument.close();
    trace.map_or(Ok(()), detach_sink)?;
    Ok(report)
}

/// Serves until it is told to end, and then until what was accepted by then is answered.
async fn answer_until(told: Told, listener: TcpListener, app: &App) {
    let router = Router::new()
        .route("/hello/{name}", get(hello))
        .route("/relay/{name}", get(relay))
        .route("/sleepy/{name}", get(sleepy))
        .with_state(app.clone());
    let served = axum::serve(listener, router).with_graceful_shutdown(told.clone().heard());
    let served = tokio::spawn(async { served.await });
    told.heard().await;
    // Each call ends by its deadline. A client that never sends the rest of its request has none: it is
    // not waited for, and gets a 503 if it does send it while the runtime ends.
    let _ = timeout(PATIENCE + SLACK, served).await;
}

fn say_what_to_try(url: &str) {
    println!("listening on {url}; try");
    for (remark, what) in TRY {
        if !remark.is_empty() {
            println!("  # {remark}");
        }
        println!("  curl {}", what.replace("URL", url));
    }
    if variable("GILSCOPE_TREE").is_some_and(|value| value == "1") {
        let pid = std::process::id();
        println!("  # and, from another terminal, what it awaits meanwhile:");
        println!("  gilscope tree {pid}");
    }
}
