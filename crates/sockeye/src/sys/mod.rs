//! The operating system: the only `unsafe` of the product, each block with the proof that it is sound.
#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
pub(crate) mod netlink;
#[cfg(target_os = "linux")]
pub(crate) mod tun;
