//! A finding as one line of JSON.
//!
//! Invariant: one valid object; keys that are not known are absent, but for `call` and `trace`.

use serde_json::{Value, json};

use super::Finding;
use crate::clock;

/// The line of one finding, without its end of line.
pub fn json_finding(finding: &Finding) -> String {
    let problem = finding.problem;
    let known = |known: bool, text: String| if known { text.into() } else { Value::Null };
    let trace = format!("{:016x}{:016x}", finding.trace[0], finding.trace[1]);
    let start = clock::unix_ns(finding.start);
    let keys = [
        ("finding", problem.id().into()),
        ("name", problem.as_str().into()),
        (
            "call",
            known(finding.call != 0, format!("{:016x}", finding.call)),
        ),
        ("trace", known(finding.trace != [0; 2], trace)),
        ("runtime", finding.runtime.into()),
        ("thread", finding.thread.as_str().into()),
        ("start_ns", start.into()),
        (
            "dur_ns",
            clock::unix_ns(finding.end).saturating_sub(start).into(),
        ),
        ("sentence", finding.sentence.as_str().into()),
        ("hint", problem.hint().into()),
        ("stack", json!(finding.stack)),
    ];
    let empty = |value: &Value| value == "" || value.as_array().is_some_and(Vec::is_empty);
    let keys = keys.into_iter().filter(|(_, value)| !empty(value));
    // In this order, which a map of serde would not keep.
    let keys: Vec<_> = keys
        .map(|(key, value)| format!("\"{key}\":{value}"))
        .collect();
    format!("{{{}}}", keys.join(","))
}
