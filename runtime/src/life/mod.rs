//! Life and death: the registry of runtimes, forks, interpreter exit.
//!
//! Invariant: no runtime of a parent process is ever touched by its forked child.

pub(crate) mod courier;
pub(crate) mod exit;
pub(crate) mod fork;
pub(crate) mod gate;
pub(crate) mod interrupt;
pub(crate) mod park;
pub(crate) mod ping;
pub(crate) mod registry;
pub(crate) mod shutdown;
