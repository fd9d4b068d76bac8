//! The text of an exception or panic that ended a call.
//!
//! Invariant: bounded to 1 kB of message, and without the message where `GILSCOPE_REDACT` is set.

use std::sync::OnceLock;

const MAX_TYPE: usize = 256;
const MAX_MESSAGE: usize = 1024;

/// Type and message of what ended a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErrorText {
    /// Qualified name of the exception type.
    pub type_name: String,
    /// The message, cut to 1 kB; empty where `GILSCOPE_REDACT` is set.
    pub message: String,
    /// Where it was raised and what it was raised from, oldest first, and what is in a group; cut to 16 kB;
    /// empty where nothing [is exported](crate::exporting), or `GILSCOPE_REDACT` is set.
    pub stack: String,
}

impl ErrorText {
    /// Longest stack in bytes.
    pub const LONGEST_STACK: usize = 16 << 10;

    /// Each text cut; the type alone where `GILSCOPE_REDACT` is set.
    pub fn new(type_name: &str, message: &str, stack: &str) -> ErrorText {
        let (message, stack) = if redact() { ("", "") } else { (message, stack) };
        ErrorText {
            type_name: cut(type_name, MAX_TYPE),
            message: cut(message, MAX_MESSAGE),
            stack: cut_before(stack, Self::LONGEST_STACK),
        }
    }
}

/// The longest prefix of `text` that has at most `max` bytes and ends between two characters.
pub(crate) fn cut(text: &str, max: usize) -> String {
    let end = (0..=max.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

/// The longest suffix of that kind: a stack has the exception itself at its end.
fn cut_before(text: &str, max: usize) -> String {
    let least = text.len().saturating_sub(max);
    let begin = (least..=text.len()).find(|begin| text.is_char_boundary(*begin));
    text[begin.unwrap_or(text.len())..].to_owned()
}

pub(crate) fn redact() -> bool {
    static REDACT: OnceLock<bool> = OnceLock::new();
    *REDACT.get_or_init(|| {
        std::env::var_os("GILSCOPE_REDACT").is_some_and(|value| !value.is_empty() && value != "0")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_that_is_too_long_keeps_its_end() {
        let stack = "é".repeat(ErrorText::LONGEST_STACK) + "ValueError: it\n";
        let kept = ErrorText::new("ValueError", "it", &stack).stack;
        assert!(kept.ends_with("éValueError: it\n"));
        assert!((ErrorText::LONGEST_STACK - 1..=ErrorText::LONGEST_STACK).contains(&kept.len()));
    }
}
