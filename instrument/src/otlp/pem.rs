//! Certificates and keys in files.
//!
//! Invariant: a file that holds none is an error that names the file and the variable, before anything is sent.

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::settings::{File, Invalid};
use super::transport::invalid;

/// A file with certificates, in PEM.
pub(super) fn certificates(file: &File) -> Result<Vec<u8>, Invalid> {
    let pem = read(file)?;
    let found: Result<Vec<_>, Error> = CertificateDer::pem_slice_iter(&pem).collect();
    match found.as_deref() {
        Ok([]) | Err(_) => Err(of(file, "has no certificate in PEM")),
        Ok(_) => Ok(pem),
    }
}

/// A file with a private key, in PEM.
pub(super) fn key(file: &File) -> Result<Vec<u8>, Invalid> {
    let pem = read(file)?;
    match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(_) => Ok(pem),
        Err(_) => Err(of(file, "has no private key in PEM")),
    }
}

fn read(file: &File) -> Result<Vec<u8>, Invalid> {
    std::fs::read(&file.path).map_err(|error| of(file, format!("cannot be read: {error}")))
}

fn of(file: &File, problem: impl std::fmt::Display) -> Invalid {
    let problem = format!("names {}, which {problem}", file.path.display());
    invalid(&file.name, problem)
}
