//! The virtio header says what the kernel has to finish.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use sockeye_core::Payload;
use sockeye_core::wire::IpTemplate;
use sockeye_core::wire::tcp::{ChecksumMode, Flags, Header, build};

use super::*;

const V4: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2))];
const V6: [IpAddr; 2] = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

fn header(flags: Flags) -> Header {
    Header { src_port: 1, dst_port: 2, flags, ..Header::default() }
}

fn made(addresses: [IpAddr; 2], flags: Flags, len: usize, gso: u16, mode: ChecksumMode) -> Packet {
    let payload = Payload::from(Bytes::from(vec![7; len]));
    build(&IpTemplate::new(addresses[0], addresses[1]), &header(flags), payload, gso, mode)
}

/// flags, gso_type, hdr_len, gso_size, csum_start, csum_offset.
fn fields(packet: &Packet) -> (u8, u8, u16, u16, u16, u16) {
    let h = vnet_header(packet);
    let u16_at = |at: usize| u16::from_ne_bytes([h[at], h[at + 1]]);
    (h[0], h[1], u16_at(2), u16_at(4), u16_at(6), u16_at(8))
}

#[test]
fn a_complete_segment_leaves_nothing_to_do() {
    assert_eq!(fields(&made(V4, Flags::ACK, 100, 0, ChecksumMode::Complete)), (0, 0, 0, 0, 0, 0));
}

#[test]
fn an_open_checksum_is_located() {
    assert_eq!(fields(&made(V4, Flags::ACK, 100, 0, ChecksumMode::Partial)), (1, 0, 0, 0, 20, 16));
    assert_eq!(fields(&made(V6, Flags::ACK, 100, 0, ChecksumMode::Partial)), (1, 0, 0, 0, 40, 16));
}

#[test]
fn super_segments_name_their_family_headers_and_size() {
    assert_eq!(fields(&made(V4, Flags::ACK, 5_000, 1_460, ChecksumMode::Partial)), (1, 1, 40, 1_460, 20, 16));
    assert_eq!(fields(&made(V6, Flags::ACK, 5_000, 1_440, ChecksumMode::Partial)), (1, 4, 60, 1_440, 40, 16));
    let cwr = made(V4, Flags::ACK | Flags::CWR, 5_000, 1_460, ChecksumMode::Partial);
    assert_eq!(fields(&cwr).1, 1 | GSO_ECN);
}

#[test]
fn a_packet_that_is_no_tcp_gets_an_empty_header() {
    let mut nonsense = Packet::from_bytes(Bytes::from_static(&[0x45, 0, 0]));
    nonsense.checksum = Checksum::Partial;
    assert_eq!(fields(&nonsense), (0, 0, 0, 0, 0, 0));
}

#[test]
fn errors_say_what_to_do() {
    let denied = explain("tun9", &io::Error::from_raw_os_error(1));
    assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
    for hint in ["root", "setcap cap_net_admin+ep", "ip tuntap add tun9"] {
        assert!(denied.to_string().contains(hint), "{denied}");
    }
    assert!(explain("tun9", &io::Error::from_raw_os_error(16)).to_string().contains("busy"));
    assert!(explain_open(&io::Error::from_raw_os_error(2)).to_string().contains("modprobe tun"));
}
