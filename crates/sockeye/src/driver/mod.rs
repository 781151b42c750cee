//! Who drives a stack: one lock, the callers' own threads, one thread for each device, the only clock.
//!
//! A [`Host`] is a stack with its devices and threads. It is a handle: clones name the same host, and so
//! do its sockets. When the last of them is gone the threads go on until the connections that were
//! closed have sent what they had to, at most [`HostBuilder::linger`] long.

#[cfg(all(target_os = "linux", feature = "run"))]
mod attend;
mod chunks;
mod clock;
mod host;
mod lead;
mod port;
mod records;
mod shard;
mod waiters;

#[cfg(all(target_os = "linux", feature = "run"))]
pub(crate) use attend::Attendance;
pub(crate) use chunks::Chunks;
pub use clock::Clock;
pub(crate) use host::into_io;
pub use host::{DeviceStatus, Host, HostBuilder, ShutdownReport, WeakHost};
pub use records::Records;

pub(crate) use shard::Polled;
pub(crate) use waiters::{Sleeper, Ticket};
