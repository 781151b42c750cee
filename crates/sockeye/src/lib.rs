//! Sockeye as a library: a complete TCP with Berkeley sockets that runs in the program itself.

pub use sockeye_core as core;

pub mod device;
pub mod driver;
#[cfg(target_os = "linux")]
pub mod forward;
pub mod net;
#[cfg(all(target_os = "linux", feature = "run"))]
pub mod run;
mod sys;
pub mod view;

pub use driver::{Host, HostBuilder};
#[cfg(target_os = "linux")]
#[doc(hidden)]
pub use sys::calls as host_calls;

/// The program in the README is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
