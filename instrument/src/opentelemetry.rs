//! The `opentelemetry` crate's idea of what is current, and ours.
//!
//! Invariant: what is entered here is in its Context, too, as a span of this process, so that users'
//! spans are below ours and ours below theirs.

use ::opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use ::opentelemetry::{Context, ContextGuard};

use crate::trace::TraceContext;

/// The span that is current on this thread.
pub(crate) fn current() -> Option<TraceContext> {
    Context::map_current(|context| {
        let active = context.has_active_span();
        active
            .then(|| TraceContext::try_from(context.span().span_context()).ok())
            .flatten()
    })
}

pub(crate) fn enter(context: &TraceContext) -> ContextGuard {
    let entered = Context::current().with_remote_span_context(context.into());
    entered.attach()
}

/// A `SpanContext` whose ids are not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotValid;

impl TryFrom<&SpanContext> for TraceContext {
    type Error = NotValid;

    fn try_from(theirs: &SpanContext) -> Result<Self, NotValid> {
        if !theirs.is_valid() {
            return Err(NotValid);
        }
        let trace = u128::from_be_bytes(theirs.trace_id().to_bytes());
        let read = TraceContext {
            trace: [(trace >> 64) as u64, trace as u64],
            span: u64::from_be_bytes(theirs.span_id().to_bytes()),
            flags: theirs.trace_flags().to_u8(),
            remote: theirs.is_remote(),
            state: None,
        };
        Ok(read.with_state(&theirs.trace_state().header()))
    }
}

impl From<&TraceContext> for SpanContext {
    fn from(ours: &TraceContext) -> SpanContext {
        let [high, low] = ours.trace;
        let trace = u128::from(high) << 64 | u128::from(low);
        let state = ours.state.as_deref().unwrap_or_default();
        SpanContext::new(
            TraceId::from_bytes(trace.to_be_bytes()),
            SpanId::from_bytes(ours.span.to_be_bytes()),
            TraceFlags::new(ours.flags),
            ours.remote,
            state.parse::<TraceState>().unwrap_or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_current_in_the_other() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ab";
        let ours = TraceContext::from_headers(header, Some("a=1")).expect("valid");
        let entered = ours.enter();
        let theirs = Context::map_current(|context| context.span().span_context().clone());
        assert_eq!(TraceContext::try_from(&theirs), Ok(ours.clone()));
        assert_eq!(TraceContext::current(), Some(ours));
        drop(entered);
        assert_eq!(TraceContext::current(), None);
        assert_eq!(TraceContext::try_from(&SpanContext::NONE), Err(NotValid));
    }
}
