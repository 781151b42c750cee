use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::tcp::SeqNum;
use crate::wire::checksum;
use crate::wire::ip::{IpTemplate, SourceRoute};
use crate::wire::tcp::{Header, Timestamps, build};
use crate::wire::{Upper, parse};

const V4: (&str, &str) = ("192.0.2.1", "192.0.2.2");
const V6: (&str, &str) = ("2001:db8::1", "2001:db8::2");

fn template(addresses: (&str, &str)) -> IpTemplate<'static> {
    IpTemplate::new(addresses.0.parse().unwrap(), addresses.1.parse().unwrap())
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn super_segment(
    ip: &IpTemplate<'_>,
    flags: Flags,
    urgent: u16,
    len: usize,
    size: u16,
    mode: ChecksumMode,
) -> Packet {
    let mut tcp =
        Header { src_port: 1, dst_port: 2, seq: SeqNum(u32::MAX - 500), flags, urgent, ..Header::default() };
    tcp.options.timestamps = Some(Timestamps { val: 1, ecr: 2 });
    build(ip, &tcp, Payload::from(Bytes::from(data(len))), size, mode)
}

/// Checks that the segments together are the super-segment; returns their headers.
fn check(packets: Vec<Packet>, len: usize, size: usize) -> Vec<Header> {
    let mut got = Vec::new();
    let mut headers = Vec::new();
    let count = packets.len();
    for (i, packet) in packets.into_iter().enumerate() {
        assert_eq!((packet.gso_size, packet.checksum), (0, Checksum::Unverified));
        let Ok(crate::wire::Parsed { ip, upper: Upper::Tcp(segment) }) = parse(&packet) else {
            panic!("segment {i}")
        };
        assert_eq!(ip.total_len, packet.len());
        assert_eq!(segment.header.seq, SeqNum(u32::MAX - 500) + got.len() as u32);
        if i + 1 < count {
            assert_eq!(segment.data_len, size);
        }
        if !ip.is_ipv6() {
            assert_eq!(ip.ident, i as u32);
        }
        let payload = segment.take_payload(packet);
        for slice in payload.slices() {
            got.extend_from_slice(slice);
        }
        headers.push(segment.header);
    }
    assert_eq!(got, data(len));
    headers
}

#[test]
fn flags_stand_where_they_belong() {
    let flags = Flags::ACK | Flags::PSH | Flags::FIN | Flags::CWR | Flags::ECE | Flags::AE;
    for addresses in [V4, V6] {
        let packet = super_segment(&template(addresses), flags, 0, 2_500, 1_000, ChecksumMode::Partial);
        let headers = check(segment(packet, ChecksumMode::Complete).collect(), 2_500, 1_000);
        let every = Flags::ACK | Flags::ECE | Flags::AE;
        let expected = [every | Flags::CWR, every, every | Flags::PSH | Flags::FIN];
        assert_eq!(headers.iter().map(|header| header.flags).collect::<Vec<_>>(), expected);
        assert!(headers.iter().all(|header| header.options == headers[0].options));
    }
}

#[test]
fn the_urgent_pointer_keeps_pointing_at_the_same_byte() {
    for (urgent, expected) in
        [(500, [500, 0, 0]), (1_000, [1_000, 0, 0]), (1_001, [1_001, 1, 0]), (2_400, [2_400, 1_400, 400])]
    {
        let flags = Flags::ACK | Flags::URG;
        let packet = super_segment(&template(V4), flags, urgent, 2_500, 1_000, ChecksumMode::Complete);
        let headers = check(segment(packet, ChecksumMode::Complete).collect(), 2_500, 1_000);
        for (header, pointer) in headers.iter().zip(expected) {
            assert_eq!((header.urgent, header.flags.contains(Flags::URG)), (pointer, pointer != 0));
        }
    }
}

/// A device's single buffer, a partial checksum: completed without changing anything else.
#[test]
fn partial_checksums_are_completed() {
    for addresses in [V4, V6] {
        for len in [0, 1, 64, 65, 1_001] {
            let build = |mode| super_segment(&template(addresses), Flags::ACK, 0, len, 0, mode);
            let (complete, mut partial) = (build(ChecksumMode::Complete), build(ChecksumMode::Partial));
            let mut flat =
                Packet { checksum: Checksum::Partial, ..Packet::from_bytes(Bytes::from(partial.to_vec())) };
            complete_checksum(&mut partial);
            complete_checksum(&mut flat);
            assert_eq!(partial.to_vec(), complete.to_vec());
            assert_eq!(flat.to_vec(), complete.to_vec());
            assert_eq!((partial.checksum, flat.checksum), (Checksum::Unverified, Checksum::Unverified));
        }
    }
}

/// The checksum covers the final destination, wherever the packet goes first.
///
/// Shows: rfc9293-MUST-51
#[test]
fn source_routed_super_segments() {
    let (option, len) = SourceRoute::new(false, &["10.9.9.9".parse().unwrap()]).unwrap().to_option();
    let ip = IpTemplate { ip_options: &option[..len], ..template(V4) };
    let packet = super_segment(&ip, Flags::ACK, 0, 2_500, 1_000, ChecksumMode::Partial);
    for packet in segment(packet, ChecksumMode::Complete) {
        let bytes = packet.to_vec();
        assert_eq!(bytes[16..20], [10, 9, 9, 9]);
        let mut sum = checksum::pseudo_header(ip.src, ip.dst, 6, bytes.len() - 28);
        sum.add(&bytes[28..]);
        assert!(sum.is_valid());
    }
}

#[test]
fn other_packets_stay_as_they_are() {
    let plain = super_segment(&template(V4), Flags::ACK, 0, 100, 0, ChecksumMode::Partial);
    let same: Vec<Packet> = segment(plain.clone(), ChecksumMode::Partial).collect();
    assert_eq!((same.len(), same[0].checksum), (1, Checksum::Partial));
    assert_eq!(same[0].to_vec(), plain.to_vec());
    let junk = Packet { gso_size: 10, ..Packet::from_bytes(Bytes::from_static(&[0x45, 0, 0])) };
    assert_eq!(segment(junk, ChecksumMode::Complete).count(), 1);
}

proptest! {
    /// Shows: rfc9293-MUST-2
    #[test]
    fn any_cut(v6 in any::<bool>(), flat in any::<bool>(), partial in any::<bool>(), len in 1usize..20_000, size in 300u16..3_000) {
        let mode = if partial { ChecksumMode::Partial } else { ChecksumMode::Complete };
        let mut packet = super_segment(&template(if v6 { V6 } else { V4 }), Flags::ACK, 0, len, size, mode);
        if flat {
            let whole = Packet::from_bytes(Bytes::from(packet.to_vec()));
            packet = Packet { gso_size: packet.gso_size, checksum: packet.checksum, ..whole };
        }
        prop_assert!(parse(&packet).is_ok());
        // Partial segments complete to the very same.
        let partials = segment(packet.clone(), ChecksumMode::Partial).map(|mut cut| {
            if cut.checksum == Checksum::Partial {
                complete_checksum(&mut cut);
            }
            cut.to_vec()
        });
        let whole: Vec<Packet> = segment(packet.clone(), ChecksumMode::Complete).collect();
        prop_assert!(partials.eq(whole.iter().map(Packet::to_vec)));
        prop_assert_eq!(whole.len(), len.div_ceil(usize::from(size)));
        check(whole, len, usize::from(size));
    }
}
