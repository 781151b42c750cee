//! The test world of Sockeye: hosts, routers and links in virtual time, programs as async tasks, what must
//! always hold, a swarm of random scenarios; flows measured; and scripts in the packetdrill language, read whole, then run
//! against a stack.
#![forbid(unsafe_code)]

pub mod check;
pub mod flows;
pub mod script;
pub mod swarm;
pub mod task;
pub mod topology;
pub mod world;
