//! What says whose spans they are: `service.name` and the other attributes of this process.
//!
//! Invariant: what the user sets by `OTEL_RESOURCE_ATTRIBUTES` goes before ours, `OTEL_SERVICE_NAME`
//! before that.

use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;

use super::settings::{Env, Invalid};

/// Attributes in the order in which they are sent.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Resource(Vec<(String, Value)>);

impl Resource {
    pub(super) fn from(env: &Env<'_>) -> Result<Resource, Invalid> {
        let mut all = Resource(Vec::new());
        all.set("telemetry.sdk.name", Value::StringValue("gilscope".into()));
        all.set("telemetry.sdk.language", Value::StringValue("rust".into()));
        let version = env!("CARGO_PKG_VERSION").to_owned();
        all.set("telemetry.sdk.version", Value::StringValue(version));
        let pid = i64::from(std::process::id());
        all.set("process.pid", Value::IntValue(pid));
        let program = std::env::current_exe().ok();
        let program = program.as_deref().and_then(|path| path.file_name());
        let program = program.map(|name| name.to_string_lossy().into_owned());
        let unknown = program.map_or("unknown_service".into(), |it| {
            format!("unknown_service:{it}")
        });
        all.set("service.name", Value::StringValue(unknown));
        for (key, value) in env.pairs("OTEL_RESOURCE_ATTRIBUTES")? {
            all.set(&key, Value::StringValue(value));
        }
        if let Some(name) = env.text("OTEL_SERVICE_NAME") {
            all.set("service.name", Value::StringValue(name));
        }
        Ok(all)
    }

    #[cfg(test)]
    pub(super) fn none() -> Resource {
        Resource(Vec::new())
    }

    fn set(&mut self, key: &str, value: Value) {
        self.0.retain(|(known, _)| known != key);
        self.0.push((key.to_owned(), value));
    }

    pub(super) fn proto(&self) -> ProtoResource {
        let attributes = self.0.iter();
        ProtoResource {
            attributes: attributes.map(|(key, it)| pair(key, it.clone())).collect(),
            ..Default::default()
        }
    }
}

/// A value as the protocol has it.
pub(super) fn any(value: Value) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

/// Who recorded it.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "gilscope".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..Default::default()
    }
}

pub(super) fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: any(value),
        ..Default::default()
    }
}
