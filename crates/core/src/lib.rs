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

pub mod errno;
pub mod packet;
pub mod stack;
pub mod tcp;
pub mod time;
pub mod wire;

pub use errno::Errno;
pub use packet::{Checksum, Packet, Payload};
pub use time::{Duration, Instant};
