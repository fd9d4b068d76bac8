//! The panic strategy that the runtime relies on: a panic in one call ends that call only.
//!
//! Invariant: compiles by itself, so that a test can show the refusal without building the crate.

#[cfg(panic = "abort")]
compile_error!(
    "gilscope-runtime needs panic = \"unwind\": a panic in one call must not end the process"
);
