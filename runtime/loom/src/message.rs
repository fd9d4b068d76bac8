//! Messages whose content the model checker watches.
//!
//! Invariant: the content is written before the push and read after the take, with nothing but the
//! list's own orders between the two.

use loom::cell::UnsafeCell;

use crate::stack::Link;

/// A message: the link at offset 0, and who posted it as which.
#[repr(C)]
#[derive(Debug)]
pub struct Message {
    link: Link,
    content: UnsafeCell<(usize, usize)>,
}

/// A message on the heap, as a producer hands it over.
#[must_use]
pub fn message(producer: usize, number: usize) -> *mut Link {
    let message = Message {
        link: Link::new(),
        content: UnsafeCell::new((0, 0)),
    };
    // SAFETY: nobody else knows the message yet.
    message
        .content
        .with_mut(|content| unsafe { *content = (producer, number) });
    Box::into_raw(Box::new(message)).cast()
}

/// Reads a message that was taken, and frees it.
///
/// # Safety
/// `link` is from [`message`], was taken, and is not used again.
#[must_use]
pub unsafe fn read(link: *mut Link) -> (usize, usize) {
    // SAFETY: see above.
    let message = unsafe { Box::from_raw(link.cast::<Message>()) };
    // SAFETY: the message is ours; the checker fails the test if its write is not visible.
    message.content.with(|content| unsafe { *content })
}
