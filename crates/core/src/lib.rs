//! Sockeye's core: a complete TCP with Berkeley sockets that does no I/O of its own.
//!
//! Time comes in as an [`time::Instant`], random bytes as a seed, packets through
//! calls; what to do next comes out as packets, events and one deadline.
//! `no_std` + `alloc`, no `unsafe`, no clock, no thread, no lock.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod branch;
pub mod config;
pub mod errno;
pub mod link;
pub mod md5;
pub mod packet;
pub mod rng;
pub mod socket;
pub mod stack;
pub mod stats;
pub mod tcp;
pub mod time;
pub mod trace;
pub mod wire;

pub use config::{Config, Options, Profile};
pub use errno::Errno;
pub use packet::{Checksum, Packet, Payload};
pub use socket::{Ready, SocketId};
pub use stats::Stats;
pub use time::{Duration, Instant};
