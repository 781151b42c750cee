//! Sockeye as a library: a complete TCP with Berkeley sockets that runs in the program itself.

pub use sockeye_core as core;

pub mod device;
pub mod driver;
pub mod net;
mod sys;
pub mod view;

pub use driver::{Host, HostBuilder};
