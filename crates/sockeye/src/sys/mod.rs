//! The operating system: the only `unsafe` of the product, each block with the proof that it is sound.
#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
pub mod calls;
#[cfg(all(target_os = "linux", feature = "run"))]
pub(crate) mod memory;
#[cfg(target_os = "linux")]
pub(crate) mod namespace;
#[cfg(target_os = "linux")]
pub(crate) mod netlink;
#[cfg(all(target_os = "linux", feature = "run"))]
pub(crate) mod seccomp;
#[cfg(all(target_os = "linux", feature = "run"))]
pub(crate) mod spawn;
#[cfg(target_os = "linux")]
pub(crate) mod tun;
#[cfg(all(target_os = "linux", feature = "run"))]
pub(crate) mod urgent;
#[cfg(all(target_os = "linux", feature = "run"))]
pub(crate) mod watch;
