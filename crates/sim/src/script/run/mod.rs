//! Running a script: its events one by one in virtual time ([`run`]), its packets as bytes, the stack's bytes as a
//! script's packets, the comparison of the two, and settings and statistics under the names that scripts use.
//!
//! Packets are taken apart and checked by code of its own here, not by the stack's: a mistake that the stack makes
//! both ways must not hide itself.

mod calls;
pub mod compare;
pub mod decode;
pub mod encode;
mod failure;
mod flow;
pub mod info;
#[cfg(target_os = "linux")]
pub mod kernel;
pub mod map;
mod packets;
mod runner;
mod setup;
pub mod sysctl;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use compare::{Difference, differences};
pub use decode::{Seen, decode};
pub use encode::encode;
pub use failure::{Failure, Rung};
pub use map::{Ends, Map};
#[cfg(target_os = "linux")]
pub use runner::run_on_kernel;
pub use runner::{Options, Report, run};

/// IP's number for TCP.
const TCP: u8 = 6;
/// IP's number for UDP.
const UDP: u8 = 17;
/// IP's number for ICMP.
const ICMP: u8 = 1;
/// IP's number for ICMPv6.
const ICMPV6: u8 = 58;

/// The Internet checksum of `bytes` (RFC 1071); 0 over data that contains its right checksum.
fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)));
    let mut sum = words.fold(0u64, |sum, word| sum + u64::from(word));
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The checksum of a transport packet, its pseudo-header before it (RFC 9293 3.1, RFC 8200 8.1). ICMP has none.
fn transport_checksum(src: IpAddr, dst: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    let mut all = Vec::with_capacity(40 + bytes.len());
    match (src, dst) {
        _ if protocol == ICMP => {}
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            all.extend_from_slice(&src.octets());
            all.extend_from_slice(&dst.octets());
            all.extend_from_slice(&[0, protocol]);
            all.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            all.extend_from_slice(&src.octets());
            all.extend_from_slice(&dst.octets());
            all.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
            all.extend_from_slice(&[0, 0, 0, protocol]);
        }
        // No packet has addresses of two families.
        _ => {}
    }
    all.extend_from_slice(bytes);
    checksum(&all)
}

/// The byte of a stream at `offset`: what a script's segments carry, so that a byte in the wrong place shows.
pub fn pattern(offset: u32) -> u8 {
    (offset ^ offset >> 8 ^ offset >> 16) as u8
}
