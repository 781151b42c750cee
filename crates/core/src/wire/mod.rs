//! Bytes to meaning and back, without state.

/// The Internet checksum.
pub mod checksum;
pub(crate) mod gro;
/// Super-segments cut into wire segments; partial checksums completed.
pub mod gso;
/// ICMP for IPv4 and IPv6.
pub mod icmp;
/// What IPv4 and IPv6 headers have in common.
pub mod ip;
/// The IPv4 header.
pub mod ipv4;
/// The IPv6 header and its extension headers.
pub mod ipv6;
pub(crate) mod lean;
/// Why a packet is not taken.
pub mod malformed;
/// The digest of MD5 signatures.
pub mod md5;
/// TCP options.
pub mod options;
/// From a packet to its headers.
pub mod parse;
/// The TCP header.
pub mod tcp;

pub use ip::{IpHeader, IpTemplate, Problem, Reject};
pub use malformed::Malformed;
pub use parse::{Parsed, Upper, parse, take_payload};
