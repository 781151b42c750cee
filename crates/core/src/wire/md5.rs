//! The digest of the TCP MD5 signature option (RFC 2385 2.0).

use core::net::IpAddr;

use md5::{Digest, Md5};

use super::gso::{change_front, offsets};
use super::ip::protocol;
use super::tcp::{CHECKSUM_AT, MIN_HEADER};
use crate::packet::Packet;

/// The digest's length.
pub const DIGEST: usize = 16;

/// Where the digest stands in the options of [`super::tcp::Options::emit`]: behind NOP, NOP, kind and length.
const DIGEST_AT: usize = MIN_HEADER + 4;

/// The digest of a segment: pseudo-header, TCP header without options and with a checksum of zero, text, key.
///
/// `source` and `destination` are those of the pseudo-header, `tcp_at`, `data_at` and `end` say where the segment's TCP
/// header and its text begin and where it ends.
pub fn digest(
    packet: &Packet,
    (source, destination): (IpAddr, IpAddr),
    (tcp_at, data_at, end): (usize, usize, usize),
    key: &[u8],
) -> [u8; DIGEST] {
    let mut sum = Md5::new();
    let len = (end - tcp_at) as u32;
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            sum.update(source.octets());
            sum.update(destination.octets());
            sum.update([0, protocol::TCP]);
            sum.update((len as u16).to_be_bytes());
        }
        _ => {
            for address in [source, destination] {
                if let IpAddr::V6(address) = address {
                    sum.update(address.octets());
                }
            }
            sum.update(len.to_be_bytes());
            sum.update([0, 0, 0, protocol::TCP]);
        }
    }
    let mut header = [0; MIN_HEADER];
    if let Some(bytes) = packet.front().get(tcp_at..tcp_at + MIN_HEADER) {
        header.copy_from_slice(bytes);
        header[CHECKSUM_AT..CHECKSUM_AT + 2].fill(0);
    }
    sum.update(header);
    let mut at = 0;
    for slice in
        core::iter::once(packet.head.as_slice()).chain(packet.payload.slices().iter().map(|s| &s[..]))
    {
        let (from, to) = (data_at.max(at), end.min(at + slice.len()));
        if from < to {
            sum.update(&slice[from - at..to - at]);
        }
        at += slice.len();
    }
    sum.update(key);
    sum.finalize().into()
}

/// Writes the digest into a packet of ours that was built with a place for it, before its checksum is completed.
pub fn sign(packet: &mut Packet, addresses: (IpAddr, IpAddr), key: &[u8]) {
    let Some(at) = offsets(packet) else { return };
    let digest = digest(packet, addresses, (at.tcp_at, at.data_at, at.end), key);
    change_front(packet, at.data_at, |header| {
        if let Some(place) = header.get_mut(at.tcp_at + DIGEST_AT..at.tcp_at + DIGEST_AT + DIGEST) {
            place.copy_from_slice(&digest);
        }
    });
}
