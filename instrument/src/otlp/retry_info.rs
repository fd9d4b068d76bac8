//! What a gRPC status says of when to come back: `google.rpc.RetryInfo`.
//!
//! Invariant: what cannot be read says nothing; it is no error of its own.

use std::time::Duration;

use prost::Message;

const NAME: &str = "google.rpc.RetryInfo";

/// `google.rpc.Status`, of which the rest is in headers too.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.protobuf.Duration`
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// That it may be sent again.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    delay: Option<Delay>,
}

impl RetryInfo {
    /// In a status' details, if it is there.
    pub(super) fn of(details: &[u8]) -> Option<RetryInfo> {
        let status = Status::decode(details).ok()?;
        let mut all = status.details.into_iter();
        let found = all.find(|any| any.type_url.rsplit('/').next() == Some(NAME))?;
        RetryInfo::decode(&found.value[..]).ok()
    }

    /// When, if it says so.
    pub(super) fn after(&self) -> Option<Duration> {
        let delay = self.delay.as_ref()?;
        let (seconds, nanos) = (delay.seconds.try_into(), delay.nanos.try_into());
        Some(Duration::from_secs(seconds.ok()?).saturating_add(Duration::from_nanos(nanos.ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(type_url: &str, value: Vec<u8>) -> Vec<u8> {
        let other = Any {
            type_url: "type.googleapis.com/google.rpc.DebugInfo".into(),
            value: vec![255],
        };
        let type_url = type_url.into();
        let details = vec![other, Any { type_url, value }];
        Status { details }.encode_to_vec()
    }

    fn after(seconds: i64, nanos: i32) -> Option<Duration> {
        let delay = Some(Delay { seconds, nanos });
        let value = RetryInfo { delay }.encode_to_vec();
        let found = RetryInfo::of(&details("type.googleapis.com/google.rpc.RetryInfo", value));
        found.expect("it is there").after()
    }

    #[test]
    fn its_delay_is_read() {
        assert_eq!(after(1, 500_000_000), Some(Duration::from_millis(1500)));
        assert_eq!(after(0, 0), Some(Duration::ZERO));
        assert_eq!(after(-1, 0), None);
        assert_eq!(
            after(i64::MAX, i32::MAX).map(|it| it > Duration::from_secs(9)),
            Some(true)
        );
    }

    #[test]
    fn what_is_something_else_says_nothing() {
        assert_eq!(RetryInfo::of(&[]), None);
        assert_eq!(RetryInfo::of(&[255, 255]), None);
        assert_eq!(
            RetryInfo::of(&details("x/google.rpc.ErrorInfo", vec![])),
            None
        );
        assert_eq!(
            RetryInfo::of(&details("x/google.rpc.RetryInfo", vec![255])),
            None
        );
        let without = RetryInfo::of(&details("x/google.rpc.RetryInfo", vec![]));
        assert_eq!(without.expect("it is there").after(), None);
    }
}
