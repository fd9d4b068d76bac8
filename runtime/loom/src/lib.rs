//! The runtime's queue, compiled without Python so that the model checker can run it.
//!
//! Invariant: `stack`, `inbox` and `room` are the very files of the runtime; only the bell is another, since
//! `loom` has no file descriptors. Empty unless built with `--cfg loom`.
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --release --package gilscope-queue-model
//! python runtime/loom/mutants.py   # each of these changes must make a test fail
//! ```
#![cfg(loom)]

pub mod eventfd;
#[path = "../../src/queue/inbox.rs"]
pub mod inbox;
pub mod message;
#[path = "../../src/queue/room.rs"]
pub mod room;
#[path = "../../src/queue/stack.rs"]
pub mod stack;
