//! What the server is started with: its port and the variables of its environment.
//!
//! Invariant: what cannot be used is one line that says what to do instead.

use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

/// What only whoever starts the server can mend.
#[derive(Debug)]
pub(crate) struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Listens on the port that is given, or on any. Nobody but this machine is served.
pub(crate) async fn listen() -> Result<TcpListener, Refused> {
    let given = std::env::args().nth(1).unwrap_or_else(|| "0".into());
    let port = given.parse::<u16>();
    let port = port.map_err(|_| Refused(format!("{given:?} is no port; {}", choose(0))))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).await.map_err(|error| {
        let why = match error.kind() {
            ErrorKind::AddrInUse => format!("{address} is taken by another program"),
            _ => format!("cannot listen on {address}: {error}"),
        };
        Refused(format!("{why}; {}", choose(port)))
    })
}

/// What to do about a port that cannot be had. Those below 1024 are the system's.
fn choose(port: u16) -> String {
    let other = port.checked_add(1).unwrap_or_default().max(8001);
    format!("choose another port: PORT={other} make service")
}

/// A variable of the environment; an empty one is as unset, as OpenTelemetry has it.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    (!value.to_string_lossy().trim().is_empty()).then_some(value)
}
