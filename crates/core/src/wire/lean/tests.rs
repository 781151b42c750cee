use std::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::packet::Payload;
use crate::wire::tcp::{build, build_short_into};
use crate::wire::{Parsed, Upper, gso, parse};

fn header() -> impl Strategy<Value = Header> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u16>(), any::<u16>(), any::<u16>(), any::<u16>());
    (numbers, any::<bool>(), proptest::option::of((any::<u32>(), any::<u32>()))).prop_map(
        |((seq, ack, src_port, dst_port, window, urgent), push, ts)| {
            let flags = if push { Flags::ACK | Flags::PSH } else { Flags::ACK };
            let (seq, ack) = (SeqNum(seq), SeqNum(ack));
            let mut hdr = Header { src_port, dst_port, seq, ack, flags, window, urgent, ..Header::default() };
            hdr.options.timestamps = ts.map(|(val, ecr)| Timestamps { val, ecr });
            hdr
        },
    )
}

fn template() -> impl Strategy<Value = IpTemplate<'static>> {
    (any::<u32>(), any::<u32>(), any::<u8>(), 1u8.., any::<u16>(), any::<bool>()).prop_map(
        |(src, dst, traffic_class, hop_limit, ident, dont_fragment)| IpTemplate {
            traffic_class,
            hop_limit,
            ident,
            dont_fragment,
            ..IpTemplate::new(Ipv4Addr::from_bits(src).into(), Ipv4Addr::from_bits(dst).into())
        },
    )
}

/// The general way's reading of a packet.
fn general(packet: &Packet) -> Option<(Header, Read)> {
    let Ok(Parsed { ip, upper: Upper::Tcp(segment) }) = parse(packet) else { return None };
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (ip.src, ip.dst) else { return None };
    let (tos, ttl) = (ip.traffic_class, ip.hop_limit);
    let read = Read { src, dst, tos, ttl, data_at: segment.data_at, data_len: segment.data_len };
    Some((segment.header, read))
}

proptest! {
    /// What is written is what the general way reads: every field, both checksums, and the text.
    #[test]
    fn written_as_the_general_way_reads(hdr in header(), ip in template(), text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let packet = build(&ip, &hdr, Payload::from(Bytes::from(text.clone())), 0, ChecksumMode::Complete);
        let (read, place) = general(&packet).expect("intact");
        // The urgent pointer is nothing without its bit.
        prop_assert_eq!(read, Header { urgent: 0, ..hdr });
        prop_assert_eq!((IpAddr::V4(place.src), IpAddr::V4(place.dst)), (ip.src, ip.dst));
        prop_assert_eq!((place.tos, place.ttl), (ip.traffic_class, ip.hop_limit));
        prop_assert_eq!(&packet.to_vec()[place.data_at..], &text[..]);
        let mut partial = build(&ip, &hdr, Payload::from(Bytes::from(text.clone())), 0, ChecksumMode::Partial);
        gso::complete_checksum(&mut partial);
        prop_assert_eq!(partial.to_vec(), packet.to_vec());
        if text.len() <= 64 {
            let mut short = Packet::default();
            let copy = |to: &mut [u8]| to.copy_from_slice(&text);
            build_short_into(&mut short, &ip, &hdr, text.len(), copy, ChecksumMode::Complete);
            prop_assert_eq!(short.to_vec(), packet.to_vec());
            let mut lean = Packet::default();
            let addresses = addresses(&ip, &hdr).expect("the usual headers");
            text_in(&mut lean, &hdr, text.len()).copy_from_slice(&text);
            write(&mut lean, addresses, (&ip, &hdr), text.len(), ChecksumMode::Complete);
            prop_assert_eq!(lean.to_vec(), packet.to_vec());
        }
    }

    /// What is read is what the general way reads, in a packet as we make it and in one as a device delivers it; and
    /// what it would refuse is not read.
    #[test]
    fn read_as_the_general_way_reads(
        hdr in header(),
        ip in template(),
        text in proptest::collection::vec(any::<u8>(), 0..200),
        flip in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let packet = build(&ip, &hdr, Payload::from(Bytes::from(text)), 0, ChecksumMode::Complete);
        let mut bytes = packet.to_vec();
        if let Some(at) = flip {
            let at = at.index(bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
        }
        let mut head = Packet::default();
        head.head.extend(&bytes[..bytes.len().min(52)]);
        head.payload = Payload::from(Bytes::from(bytes.split_off(bytes.len().min(52))));
        let device = Packet::from_bytes(head.to_vec().into());
        for packet in [head, device] {
            let mut lean = Header::default();
            let read = read(&packet, &mut lean);
            if flip.is_none() {
                prop_assert!(read.is_some());
            }
            let Some(read) = read else { continue };
            let (expected, place) = general(&packet).expect("read, and so intact");
            prop_assert_eq!(lean, expected);
            prop_assert_eq!(read, place);
        }
    }

    /// A header is not what an earlier one has left.
    #[test]
    fn nothing_is_left_of_earlier_headers(first in header(), second in header(), ip in template()) {
        let mut hdr = Header::default();
        for next in [first, second] {
            let packet = build(&ip, &next, Payload::new(), 0, ChecksumMode::Complete);
            prop_assert!(read(&packet, &mut hdr).is_some());
            prop_assert_eq!(hdr, Header { urgent: 0, ..next });
        }
    }
}

#[test]
fn other_segments_are_left_to_the_general_way() {
    let ip = IpTemplate::new("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
    let read = |change: &dyn Fn(&mut Header)| {
        let mut hdr = Header { flags: Flags::ACK, ..Header::default() };
        change(&mut hdr);
        let packet = build(&ip, &hdr, Payload::new(), 0, ChecksumMode::Complete);
        assert!(general(&packet).is_some());
        super::read(&packet, &mut Header::default()).is_some()
    };
    assert!(read(&|_| {}));
    let others: [&dyn Fn(&mut Header); 6] = [
        &|hdr| hdr.flags = Flags::SYN,
        &|hdr| hdr.flags |= Flags::FIN,
        &|hdr| hdr.flags |= Flags::URG,
        &|hdr| hdr.flags |= Flags::AE,
        &|hdr| hdr.options.user_timeout = Some(5),
        &|hdr| _ = hdr.options.sack.push(Default::default()),
    ];
    for change in others {
        assert!(!read(change));
    }
    let mut padded: Vec<u8> = build(
        &ip,
        &Header { flags: Flags::ACK, ..Header::default() },
        Payload::new(),
        0,
        ChecksumMode::Complete,
    )
    .to_vec();
    padded.push(0);
    assert!(super::read(&Packet::from_bytes(padded.into()), &mut Header::default()).is_none());
}
