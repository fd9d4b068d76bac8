//! What the standard `OTEL_…` variables, and an endpoint given in code, ask for.
//!
//! Invariant: what is malformed is an error that names the variable; nothing is guessed. Read once,
//! when an exporter is made.
//!
//! The variables are those of the OpenTelemetry specification, "OTLP Exporter Configuration" and
//! "Environment Variable Specification". A signal's own form (`…_TRACES_…`) goes before the common one.

use std::cell::OnceCell;
use std::env::VarError;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::resource::Resource;
use super::sampler;
use crate::sampling::Sampler;

/// Spans that wait to be exported, unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise: 16 MB of them, a
/// third of a second at 20,000 calls a second in full detail.
const QUEUE: usize = 65_536;
/// Bytes of the spans that wait or are being sent, by [`super::size`]; or, if that is more, `PER_SPAN` for
/// each span that the queue may have. A span without notes has some 250; what user code says of a call may
/// be a megabyte.
const BYTES: usize = 64 << 20;
const PER_SPAN: usize = 1 << 10;
/// Spans in a request, unless `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` says otherwise: some 600 kB. Larger ones
/// were not measurably faster, and take the processor from calls for longer at a time.
const BATCH: usize = 2_048;

/// What OpenTelemetry means by a time of 0: none at all. Thirty years, so that a moment can be told from it.
pub(super) const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 86_400);
/// For all tries of a batch of spans, or of a request of metrics, in milliseconds.
const EXPORT_TIMEOUT: u64 = 30_000;

/// How a request is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// gRPC, by default to port 4317.
    Grpc,
    /// Protobuf over HTTP, by default to port 4318.
    Http,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Grpc => "grpc",
            Protocol::Http => "http/protobuf",
        })
    }
}

/// Something that cannot be used, and which variable it is in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid {
    /// The variable, or "the endpoint" for what was given in code.
    pub name: String,
    /// What it must be, and what it is.
    pub problem: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.problem)
    }
}

impl std::error::Error for Invalid {}

/// A file, and which variable says so.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// Where and how one signal is sent.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) url: String,
    pub(super) protocol: Protocol,
    pub(super) headers: Vec<(String, String)>,
    pub(super) timeout: Duration,
    pub(super) gzip: bool,
    pub(super) certificate: Option<File>,
    pub(super) client: Option<(File, File)>,
}

impl Target {
    /// Its address without what must not be read: a name and a password before the host.
    pub(super) fn shown(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        format!("{scheme}://{host}")
    }

    /// To where its requests go, by which protocol: by HTTP with the path, where a collector may take nothing;
    /// a query may be as secret as a password.
    pub(super) fn posted(&self) -> String {
        let (protocol, shown) = (self.protocol, self.shown());
        let path = match protocol {
            Protocol::Grpc => "",
            Protocol::Http => {
                let url = self.url.split(['?', '#']).next().unwrap_or_default();
                let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
                rest.find('/').map_or("", |at| &rest[at..])
            }
        };
        format!("{protocol} to {shown}{path}")
    }
}

/// Everything an exporter is made from.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) traces: Target,
    pub(super) metrics: Target,
    pub(super) resource: Resource,
    pub(super) sampler: Sampler,
    pub(super) queue: usize,
    /// Of the queue, in bytes.
    pub(super) budget: usize,
    pub(super) batch: usize,
    pub(super) delay: Duration,
    /// For all requests of a batch of spans, each with all its tries.
    pub(super) spans_within: Duration,
    /// For a request of metrics, with all its tries.
    pub(super) metrics_within: Duration,
    /// Between two exports of metrics.
    pub(super) interval: Duration,
}

impl Settings {
    /// From the environment; `endpoint` goes before it. `None`: `OTEL_SDK_DISABLED`, nothing is exported.
    ///
    /// # Errors
    /// The first variable that cannot be used; no other is looked at where it is disabled.
    pub fn read(endpoint: Option<&str>) -> Result<Option<Settings>, Invalid> {
        let unreadable = OnceCell::new();
        let settings = Settings::from(endpoint, &|name| match std::env::var(name) {
            Ok(text) => Some(text),
            Err(VarError::NotPresent) => None,
            Err(VarError::NotUnicode(_)) => {
                // The first is told, as of those that cannot be used.
                let _ = unreadable.set(name.to_owned());
                None
            }
        });
        match unreadable.into_inner() {
            Some(name) => Env::invalid(&name, "must be UTF-8".into()),
            None => settings,
        }
    }

    pub(super) fn from(
        endpoint: Option<&str>,
        variables: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Settings>, Invalid> {
        let env = Env(variables);
        if env.flag("OTEL_SDK_DISABLED")? {
            return Ok(None);
        }
        let batch = env.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE")?;
        let queue = env.number("OTEL_BSP_MAX_QUEUE_SIZE")?.unwrap_or(QUEUE);
        let delay = env.number("OTEL_BSP_SCHEDULE_DELAY")?.unwrap_or(1_000);
        let interval = env.number("OTEL_METRIC_EXPORT_INTERVAL")?.unwrap_or(60_000);
        Ok(Some(Settings {
            traces: env.target("TRACES", "v1/traces", endpoint)?,
            metrics: env.target("METRICS", "v1/metrics", endpoint)?,
            resource: Resource::from(&env)?,
            sampler: sampler::read(&env)?,
            queue: queue.max(1),
            budget: queue.saturating_mul(PER_SPAN).max(BYTES),
            batch: batch.unwrap_or(BATCH).clamp(1, queue.max(1)),
            // Not without a pause: the other signal's turn would not come.
            delay: Duration::from_millis(delay.max(1)),
            spans_within: env.limit("OTEL_BSP_EXPORT_TIMEOUT", EXPORT_TIMEOUT)?,
            metrics_within: env.limit("OTEL_METRIC_EXPORT_TIMEOUT", EXPORT_TIMEOUT)?,
            interval: Duration::from_millis(interval.max(1)),
        }))
    }
}

/// Whether a URL is written as it will be sent: a browser would also take `http:host` and line breaks.
fn is_plain(url: &str) -> bool {
    let rest = url.split_once("://").map_or("/", |(_, rest)| rest);
    !rest.starts_with(['/', '\\'])
        && !url.contains(|it: char| it.is_whitespace() || it.is_control())
}

/// Whether it is an address as gRPC's own libraries take it, without a scheme.
fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_port = !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit());
        is_port && !host.is_empty() && !host.contains(['/', '\\', '@', '?', '#'])
    })
}

/// The environment; empty is unset, as the specification has it.
pub(super) struct Env<'a>(pub(super) &'a dyn Fn(&str) -> Option<String>);

impl Env<'_> {
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let value = (self.0)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    pub(super) fn invalid<T>(name: &str, problem: String) -> Result<T, Invalid> {
        let name = name.to_owned();
        Err(Invalid { name, problem })
    }

    fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Invalid> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Env::invalid(name, format!("must be a whole number, not {text:?}")),
        }
    }

    /// A signal's own flag, or the one for all signals.
    fn flag_of(&self, signal: &str, what: &str) -> Result<bool, Invalid> {
        let given = self.either(signal, what);
        given.map_or(Ok(false), |(name, _)| self.flag(&name))
    }

    fn flag(&self, name: &str) -> Result<bool, Invalid> {
        match self.text(name).map(|text| text.to_ascii_lowercase()) {
            None => Ok(false),
            Some(text) if text == "true" => Ok(true),
            Some(text) if text == "false" => Ok(false),
            Some(text) => Env::invalid(name, format!("must be true or false, not {text:?}")),
        }
    }

    /// `key=value,key=value`, percent-encoded, as in W3C baggage.
    pub(super) fn pairs(&self, name: &str) -> Result<Vec<(String, String)>, Invalid> {
        let text = self.text(name).unwrap_or_default();
        let entries = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        let pair = |entry: &str| {
            let decode = |part: &str| {
                let decoded = percent_encoding::percent_decode_str(part.trim());
                let text = decoded.decode_utf8().ok();
                text.map(std::borrow::Cow::into_owned)
            };
            let (key, value) = entry.split_once('=')?;
            Some((decode(key)?, decode(value)?)).filter(|(key, _)| !key.is_empty())
        };
        entries
            .map(|entry| match pair(entry) {
                Some(pair) => Ok(pair),
                // Not the value, which may be a secret.
                None => Env::invalid(name, "must be key=value,key=value, percent-encoded".into()),
            })
            .collect()
    }

    /// A signal's own variable, or the one for all signals, with its name.
    fn either(&self, signal: &str, what: &str) -> Option<(String, String)> {
        let names = [
            format!("OTEL_EXPORTER_OTLP_{signal}_{what}"),
            format!("OTEL_EXPORTER_OTLP_{what}"),
        ];
        names
            .into_iter()
            .find_map(|name| self.text(&name).map(|value| (name, value)))
    }

    /// A file that such a variable says.
    fn file(&self, signal: &str, what: &str) -> Option<File> {
        let given = self.either(signal, what);
        given.map(|(name, path)| File {
            name,
            path: path.into(),
        })
    }

    fn target(&self, signal: &str, path: &str, endpoint: Option<&str>) -> Result<Target, Invalid> {
        let protocol = self.protocol(signal)?;
        let headers = format!("OTEL_EXPORTER_OTLP_{signal}_HEADERS");
        let headers = match self.text(&headers) {
            Some(_) => self.pairs(&headers)?,
            None => self.pairs("OTEL_EXPORTER_OTLP_HEADERS")?,
        };
        Ok(Target {
            url: self.url(signal, path, protocol, endpoint)?,
            protocol,
            headers,
            timeout: self.timeout(signal)?,
            gzip: self.gzip(signal)?,
            certificate: self.file(signal, "CERTIFICATE"),
            client: self.client(signal)?,
        })
    }

    /// Certificate and key, of which one is of no use without the other.
    fn client(&self, signal: &str) -> Result<Option<(File, File)>, Invalid> {
        let missing = |what: &str, given: File| {
            let problem = format!("is needed with {}", given.name);
            Env::invalid(&format!("OTEL_EXPORTER_OTLP_{what}"), problem)
        };
        let certificate = self.file(signal, "CLIENT_CERTIFICATE");
        match (certificate, self.file(signal, "CLIENT_KEY")) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
            (Some(given), None) => missing("CLIENT_KEY", given),
            (None, Some(given)) => missing("CLIENT_CERTIFICATE", given),
        }
    }

    fn protocol(&self, signal: &str) -> Result<Protocol, Invalid> {
        match self.either(signal, "PROTOCOL") {
            None => Ok(Protocol::Http),
            Some((_, text)) if text == "grpc" => Ok(Protocol::Grpc),
            Some((_, text)) if text == "http/protobuf" => Ok(Protocol::Http),
            Some((name, text)) => {
                let problem = format!("must be grpc or http/protobuf, not {text:?}");
                Env::invalid(&name, problem)
            }
        }
    }

    fn url(
        &self,
        signal: &str,
        path: &str,
        protocol: Protocol,
        endpoint: Option<&str>,
    ) -> Result<String, Invalid> {
        let own = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
        let (name, text, whole) = match (endpoint, self.text(&own)) {
            (Some(given), _) => ("the endpoint".to_owned(), given.to_owned(), false),
            (None, Some(text)) => (own, text, true),
            (None, None) => {
                let name = "OTEL_EXPORTER_OTLP_ENDPOINT";
                let standard = match protocol {
                    Protocol::Grpc => "http://localhost:4317",
                    Protocol::Http => "http://localhost:4318",
                };
                let text = self.text(name).unwrap_or_else(|| standard.to_owned());
                (name.to_owned(), text, false)
            }
        };
        let address = match protocol {
            Protocol::Grpc if is_host_and_port(&text) => {
                // As the specification has it, which knows no other default.
                let secure = !self.flag_of(signal, "INSECURE")?;
                format!("{}://{text}", if secure { "https" } else { "http" })
            }
            _ => text.clone(),
        };
        let url = reqwest::Url::parse(&address).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if url.is_none() || !is_plain(&address) {
            // Not what stands before the host, which may be a password.
            let text = text.rsplit_once('@').map_or(&*text, |(_, host)| host);
            let like = match protocol {
                Protocol::Grpc => "a URL like http://localhost:4317, or host:port",
                Protocol::Http => "a URL like http://localhost:4318",
            };
            let problem = format!("must be {like}, not {text:?}");
            return Env::invalid(&name, problem);
        }
        Ok(match protocol {
            // The path of a signal's own endpoint is used as it is.
            Protocol::Http if !whole => format!("{}/{path}", address.trim_end_matches('/')),
            _ => address,
        })
    }

    fn timeout(&self, signal: &str) -> Result<Duration, Invalid> {
        let Some((name, _)) = self.either(signal, "TIMEOUT") else {
            return Ok(Duration::from_secs(10));
        };
        self.limit(&name, 10_000)
    }

    /// A time in milliseconds, of which 0 is no limit.
    fn limit(&self, name: &str, standard: u64) -> Result<Duration, Invalid> {
        let limit = match self.number(name)?.unwrap_or(standard) {
            0 => FOR_EVER,
            limit => Duration::from_millis(limit),
        };
        Ok(limit.min(FOR_EVER))
    }

    fn gzip(&self, signal: &str) -> Result<bool, Invalid> {
        match self.either(signal, "COMPRESSION") {
            None => Ok(false),
            Some((_, text)) if text == "none" => Ok(false),
            Some((_, text)) if text == "gzip" => Ok(true),
            Some((name, text)) => {
                Env::invalid(&name, format!("must be gzip or none, not {text:?}"))
            }
        }
    }
}
