//! Certificates and keys in files.
//!
//! Invariant: a file that holds none is an error that names the file, before anything is sent.

use std::path::Path;

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::settings::Invalid;
use super::transport::invalid;

/// A file with certificates, in PEM.
pub(super) fn certificates(path: &Path) -> Result<Vec<u8>, Invalid> {
    let pem = read(path)?;
    let found: Result<Vec<_>, Error> = CertificateDer::pem_slice_iter(&pem).collect();
    match found.as_deref() {
        Ok([]) | Err(_) => Err(of(path, "has no certificate in PEM")),
        Ok(_) => Ok(pem),
    }
}

/// A file with a private key, in PEM.
pub(super) fn key(path: &Path) -> Result<Vec<u8>, Invalid> {
    let pem = read(path)?;
    match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(_) => Ok(pem),
        Err(_) => Err(of(path, "has no private key in PEM")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Invalid> {
    std::fs::read(path).map_err(|error| of(path, format!("cannot be read: {error}")))
}

fn of(path: &Path, problem: impl std::fmt::Display) -> Invalid {
    invalid(&path.display().to_string(), problem)
}
