//! A request on its way to a collector, by gRPC or by HTTP.
//!
//! Invariant: each ends in "taken", with the number of spans that were not, in "again later", or in
//! "never"; and within the timeout of its target.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

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
    fn retry(problem: impl fmt::Display) -> Failure {
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

/// A connection, made at its first use.
pub(super) enum Transport {
    Grpc(Box<TraceServiceClient<Channel>>, MetadataMap, Duration),
    Http(reqwest::Client, Target),
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
            Protocol::Grpc => grpc(target),
            Protocol::Http => http(target),
        }
    }

    /// Sends it once. Returns how many of its spans were not taken.
    pub(super) async fn send(
        &mut self,
        request: &ExportTraceServiceRequest,
    ) -> Result<u64, Failure> {
        let response = match self {
            Transport::Grpc(client, metadata, timeout) => {
                let mut request = tonic::Request::new(request.clone());
                *request.metadata_mut() = metadata.clone();
                let sent = tokio::time::timeout(*timeout, client.export(request)).await;
                let sent = sent.map_err(|_| Failure::retry("no answer in time"))?;
                sent.map_err(|status| of_status(&status))?.into_inner()
            }
            Transport::Http(client, target) => post(client, target, request).await?,
        };
        let rejected = response.partial_success.map_or(0, |it| it.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or(0))
    }
}

fn invalid(what: &str, problem: impl fmt::Display) -> Invalid {
    Invalid {
        name: what.to_owned(),
        problem: problem.to_string(),
    }
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, Invalid> {
    let told = |error| {
        invalid(
            &path.display().to_string(),
            format!("cannot be read: {error}"),
        )
    };
    std::fs::read(path).map_err(told)
}

fn grpc(target: &Target) -> Result<Transport, Invalid> {
    let unusable = |error: tonic::transport::Error| {
        invalid(
            &target.url,
            format!("cannot be used as an endpoint: {error}"),
        )
    };
    let mut endpoint = Endpoint::from_shared(target.url.clone()).map_err(unusable)?;
    if target.url.starts_with("https://") {
        let mut tls = ClientTlsConfig::new().with_enabled_roots();
        if let Some(path) = &target.certificate {
            tls = tls.ca_certificate(Certificate::from_pem(read(path)?));
        }
        if let Some((certificate, key)) = &target.client {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        endpoint = endpoint.tls_config(tls).map_err(unusable)?;
    }
    let mut metadata = MetadataMap::new();
    for (name, value) in &target.headers {
        let key = MetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes());
        let value = MetadataValue::try_from(value.as_str());
        let (Ok(key), Ok(value)) = (key, value) else {
            return Err(invalid(
                "OTEL_EXPORTER_OTLP_HEADERS",
                format!("has no usable {name}"),
            ));
        };
        metadata.insert(key, value);
    }
    let mut client = TraceServiceClient::new(endpoint.connect_lazy());
    if target.gzip {
        let gzip = tonic::codec::CompressionEncoding::Gzip;
        client = client.send_compressed(gzip).accept_compressed(gzip);
    }
    Ok(Transport::Grpc(Box::new(client), metadata, target.timeout))
}

/// By the specification of OTLP: what may go well at another time.
fn of_status(status: &tonic::Status) -> Failure {
    use tonic::Code::{
        Aborted, Cancelled, DataLoss, DeadlineExceeded, OutOfRange, ResourceExhausted, Unavailable,
    };
    let problem = format!("{}: {}", status.code(), status.message());
    match status.code() {
        Cancelled | DeadlineExceeded | ResourceExhausted | Aborted | OutOfRange | Unavailable
        | DataLoss => Failure::retry(problem),
        _ => Failure::Never(problem),
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
    let unusable = |error: reqwest::Error| invalid(&target.url, format!("cannot be used: {error}"));
    if let Some(path) = &target.certificate {
        let bundle = reqwest::Certificate::from_pem_bundle(&read(path)?);
        client = client.tls_certs_merge(bundle.map_err(|error| {
            invalid(
                &path.display().to_string(),
                format!("is no certificate: {error}"),
            )
        })?);
    }
    if let Some((certificate, key)) = &target.client {
        let pem = [read(certificate)?, read(key)?].concat();
        client = client.identity(reqwest::Identity::from_pem(&pem).map_err(unusable)?);
    }
    let client = client.build().map_err(unusable)?;
    Ok(Transport::Http(client, target.clone()))
}

async fn post(
    client: &reqwest::Client,
    target: &Target,
    request: &ExportTraceServiceRequest,
) -> Result<ExportTraceServiceResponse, Failure> {
    let mut body = request.encode_to_vec();
    let mut post = client
        .post(&target.url)
        .header(CONTENT_TYPE, "application/x-protobuf");
    if target.gzip {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let packed = packed.write_all(&body).and_then(|()| packed.finish());
        body = packed.map_err(|error| Failure::Never(error.to_string()))?;
        post = post.header(CONTENT_ENCODING, "gzip");
    }
    let response = post.body(body).send().await.map_err(Failure::retry)?;
    let status = response.status();
    if !status.is_success() {
        return Err(of_response(status, response.headers()));
    }
    let body = response.bytes().await.map_err(Failure::retry)?;
    // A collector that answers something else has taken it all the same.
    Ok(ExportTraceServiceResponse::decode(body).unwrap_or_default())
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
