//! Requests by gRPC, encoded before: all attempts send the same bytes.
//!
//! Invariant: used inside the export thread's runtime, which runs the connection as well.

use std::error::Error;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::pem;
use super::retry_info::RetryInfo;
use super::settings::{Invalid, Target};
use super::transport::{Failure, chain, invalid};

/// A connection to a collector.
pub(super) struct Grpc {
    client: tonic::client::Grpc<Channel>,
    metadata: MetadataMap,
    timeout: Duration,
}

impl Grpc {
    pub(super) fn new(target: &Target) -> Result<Grpc, Invalid> {
        connect(target)
    }

    pub(super) async fn send(
        &mut self,
        method: &'static str,
        body: Bytes,
    ) -> Result<Bytes, Failure> {
        let mut request = tonic::Request::new(body);
        *request.metadata_mut() = self.metadata.clone();
        let client = &mut self.client;
        let exchange = async {
            client.ready().await.map_err(|error| Failure::of(&error))?;
            let path = PathAndQuery::from_static(method);
            let response = client.unary(request, path, Raw).await;
            response.map_err(|status| of_status(&status))
        };
        let answered = tokio::time::timeout(self.timeout, exchange).await;
        let response = answered.map_err(|_| Failure::retry("no answer in time"))??;
        Ok(response.into_inner())
    }
}

fn connect(target: &Target) -> Result<Grpc, Invalid> {
    let unusable = |error: tonic::transport::Error| {
        invalid(
            &target.shown(),
            format!("cannot be used as an endpoint: {}", chain(&error)),
        )
    };
    let mut endpoint = Endpoint::from_shared(target.url.clone()).map_err(unusable)?;
    if target.url.starts_with("https://") {
        let mut tls = ClientTlsConfig::new().with_enabled_roots();
        if let Some(file) = &target.certificate {
            tls = tls.ca_certificate(Certificate::from_pem(pem::certificates(file)?));
        }
        if let Some((certificate, key)) = &target.client {
            tls = tls.identity(Identity::from_pem(
                pem::certificates(certificate)?,
                pem::key(key)?,
            ));
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
    let mut client = tonic::client::Grpc::new(endpoint.connect_lazy());
    if target.gzip {
        let gzip = CompressionEncoding::Gzip;
        client = client.send_compressed(gzip).accept_compressed(gzip);
    }
    Ok(Grpc {
        client,
        metadata,
        timeout: target.timeout,
    })
}

/// By the specification of OTLP: what may go well at another time.
fn of_status(status: &tonic::Status) -> Failure {
    use tonic::Code::{
        Aborted, Cancelled, DataLoss, DeadlineExceeded, OutOfRange, ResourceExhausted, Unavailable,
    };
    let problem = match status.source() {
        // What happened to the connection; the status says no more than that something did.
        Some(error) => format!("{}: {}", status.code(), chain(error)),
        None => format!("{}: {}", status.code(), status.message()),
    };
    let told = RetryInfo::of(status.details());
    match status.code() {
        // Not the collector's word: the connection was lost on the way, which says nothing of the spans.
        _ if status.source().is_some() => Failure::retry(problem),
        // It will not recover, unless it says when.
        ResourceExhausted if told.is_none() => Failure::Never(problem),
        Cancelled | DeadlineExceeded | ResourceExhausted | Aborted | OutOfRange | Unavailable
        | DataLoss => Failure::Retry {
            after: told.and_then(|told| told.after()),
            problem,
        },
        _ => Failure::Never(problem),
    }
}

/// Messages that are encoded already.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
