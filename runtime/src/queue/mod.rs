//! How messages reach a loop thread: the hand-over list, the bell, and the inbox made of both.
//!
//! Invariant: posting never blocks, never attaches and never fails for want of room; room is
//! counted by permits before a call is posted.

pub mod eventfd;
pub mod inbox;
pub mod room;
pub mod stack;
