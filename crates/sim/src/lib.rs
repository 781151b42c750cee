//! The test world of Sockeye: scripts in the packetdrill language, read whole and checked before anything runs.
#![forbid(unsafe_code)]

pub mod script;
