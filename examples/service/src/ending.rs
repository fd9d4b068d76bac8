//! When the server ends: at the first SIGTERM, or SIGINT, which is Ctrl-C.
//!
//! Invariant: both signals are tokio's before Python is there, and stay so.
//!
//! Python's handler of SIGINT raises `KeyboardInterrupt` in whatever Python code the main thread runs
//! next: in a callback, a finalizer, at exit. `Python::initialize` installs none (`Py_InitializeEx(0)`),
//! but the first `import signal` does, and `import asyncio` is one; though only where SIGINT has no
//! handler yet. So ours has to be the first.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// All of the ending, whatever holds it up: `docker stop` kills after 10 s.
const END: Duration = Duration::from_secs(9);

/// Tells that the server was told to end.
#[derive(Clone)]
pub(crate) struct Told(watch::Receiver<bool>);

impl Told {
    /// Takes the signals over; those after the first change nothing. Needs tokio, and comes before Python.
    ///
    /// From the first on the process has [`END`] left, and exits with 1 if that was too little: somebody
    /// holds the GIL, say, for which a tokio thread never waits.
    pub(crate) fn by_signals() -> io::Result<Self> {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let (tell, told) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            tell.send_replace(true);
            tokio::time::sleep(END).await;
            let end = END.as_secs();
            eprintln!("gilscope-service: not ended within {end} s, and left as it is");
            std::process::exit(1);
        });
        Ok(Self(told))
    }

    /// Ready once it was told.
    pub(crate) async fn heard(mut self) {
        let _ = self.0.wait_for(|told| *told).await;
    }
}
