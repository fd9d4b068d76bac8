//! A request on its way to a collector, by gRPC or by HTTP.
//!
//! Invariant: each ends in "taken", in "again later", or in "never"; and within the timeout of its target.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};

use super::grpc::Grpc;
use super::pem;
use super::settings::{Invalid, Protocol, Target};

/// Why a request was not taken.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// It may be sent again, after that time if the collector says one.
    Retry {
        after: Option<Duration>,
        problem: String,
    },
    /// It will never be taken.
    Never(String),
}

impl Failure {
    pub(super) fn of(error: &dyn Error) -> Failure {
        Failure::retry(chain(error))
    }

    pub(super) fn retry(problem: impl fmt::Display) -> Failure {
        let (after, problem) = (None, problem.to_string());
        Failure::Retry { after, problem }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Retry { problem, .. } | Failure::Never(problem) => f.write_str(problem),
        }
    }
}

/// An error with what it comes from: a library's own words are "transport error".
pub(super) fn chain(error: &dyn Error) -> String {
    let mut said = vec![error.to_string()];
    let mut from = error.source();
    while let Some(error) = from {
        let text = error.to_string();
        if !said.iter().any(|said| said.contains(&text)) {
            said.push(text);
        }
        from = error.source();
    }
    said.join(": ")
}

/// A connection, made at its first use.
pub(super) enum Transport {
    Grpc(Box<Grpc>),
    Http(reqwest::Client, Box<Target>),
}

impl Transport {
    /// Inside the runtime of the export thread.
    ///
    /// # Errors
    /// A header, a certificate or an endpoint that cannot be used.
    pub(super) fn new(target: &Target) -> Result<Transport, Invalid> {
        // Ours alone: a library's statics are its own. An error: it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        match target.protocol {
            Protocol::Grpc => Ok(Transport::Grpc(Box::new(Grpc::new(target)?))),
            Protocol::Http => http(target),
        }
    }

    /// Sends an encoded request once; the encoded response. `method` is that of gRPC.
    pub(super) async fn send(
        &mut self,
        method: &'static str,
        body: Bytes,
    ) -> Result<Bytes, Failure> {
        match self {
            Transport::Grpc(grpc) => grpc.send(method, body).await,
            Transport::Http(client, target) => post(client, target, body).await,
        }
    }
}

pub(super) fn invalid(what: &str, problem: impl fmt::Display) -> Invalid {
    Invalid {
        name: what.to_owned(),
        problem: problem.to_string(),
    }
}

fn http(target: &Target) -> Result<Transport, Invalid> {
    let mut headers = HeaderMap::new();
    for (name, value) in &target.headers {
        let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value),
        ) else {
            return Err(invalid(
                "OTEL_EXPORTER_OTLP_HEADERS",
                format!("has no usable {name}"),
            ));
        };
        headers.insert(name, value);
    }
    let mut client = reqwest::Client::builder()
        .timeout(target.timeout)
        .default_headers(headers)
        .user_agent(concat!("gilscope/", env!("CARGO_PKG_VERSION")));
    let unusable = |error: reqwest::Error| {
        let problem = format!("cannot be used: {}", chain(&error));
        invalid(&target.shown(), problem)
    };
    if let Some(file) = &target.certificate {
        let bundle = reqwest::Certificate::from_pem_bundle(&pem::certificates(file)?);
        client = client.tls_certs_merge(bundle.map_err(unusable)?);
    }
    if let Some((certificate, key)) = &target.client {
        let pem = [pem::certificates(certificate)?, pem::key(key)?].concat();
        client = client.identity(reqwest::Identity::from_pem(&pem).map_err(unusable)?);
    }
    let client = client.build().map_err(unusable)?;
    Ok(Transport::Http(client, Box::new(target.clone())))
}

async fn post(client: &reqwest::Client, target: &Target, body: Bytes) -> Result<Bytes, Failure> {
    let mut body = body;
    let mut post = client
        .post(&target.url)
        .header(CONTENT_TYPE, "application/x-protobuf");
    if target.gzip {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let packed = packed.write_all(&body).and_then(|()| packed.finish());
        body = packed
            .map_err(|error| Failure::Never(error.to_string()))?
            .into();
        post = post.header(CONTENT_ENCODING, "gzip");
    }
    let response = post
        .body(body)
        .send()
        .await
        .map_err(|error| Failure::of(&error.without_url()))?;
    let status = response.status();
    if !status.is_success() {
        return Err(of_response(status, response.headers()));
    }
    response
        .bytes()
        .await
        .map_err(|error| Failure::of(&error.without_url()))
}

fn of_response(status: reqwest::StatusCode, headers: &HeaderMap) -> Failure {
    let problem = format!("HTTP {status}");
    if !matches!(status.as_u16(), 429 | 502 | 503 | 504) {
        return Failure::Never(problem);
    }
    let after = headers.get(RETRY_AFTER);
    let after = after.and_then(|value| value.to_str().ok()?.parse().ok());
    Failure::Retry {
        after: after.map(Duration::from_secs),
        problem,
    }
}
