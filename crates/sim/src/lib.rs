//! The test world of Sockeye: hosts and links in virtual time, and scripts in the packetdrill language, read whole,
//! then run against a stack.
#![forbid(unsafe_code)]

pub mod flows;
pub mod script;
pub mod world;
