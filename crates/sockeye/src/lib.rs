//! Sockeye as a library: a complete TCP with Berkeley sockets that runs in the program itself.

pub use sockeye_core as core;

pub mod device;
mod sys;
pub mod view;
