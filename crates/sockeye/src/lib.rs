//! Sockeye as a library: a complete TCP with Berkeley sockets that runs in the program itself.

pub use sockeye_core as core;

pub mod device;
pub mod driver;
pub mod net;
mod sys;
pub mod view;

pub use driver::{Host, HostBuilder};

/// The program in the README is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
