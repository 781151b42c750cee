use std::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::packet::Payload;
use crate::tcp::SeqNum;
use crate::wire::ip::IpTemplate;
use crate::wire::tcp::{ChecksumMode, Header, Timestamps, build};
use crate::wire::{Upper, gso, parse};

const V4: (&str, &str) = ("192.0.2.1", "192.0.2.2");
const V6: (&str, &str) = ("2001:db8::1", "2001:db8::2");

#[derive(Clone)]
struct Seg {
    ip: IpTemplate<'static>,
    hdr: Header,
    len: usize,
}

fn template(addresses: (&str, &str)) -> IpTemplate<'static> {
    IpTemplate::new(addresses.0.parse().unwrap(), addresses.1.parse().unwrap())
}

/// A segment of 1,000 bytes whose place in the stream is told by its sequence number.
fn seg(seq: u32) -> Seg {
    let mut hdr = Header { src_port: 1, dst_port: 2, seq: SeqNum(seq), ..Header::default() };
    (hdr.ack, hdr.flags, hdr.window) = (SeqNum(9), Flags::ACK, 500);
    hdr.options.timestamps = Some(Timestamps { val: 1, ecr: 2 });
    Seg { ip: template(V4), hdr, len: 1_000 }
}

impl Seg {
    fn with(mut self, change: impl FnOnce(&mut Header)) -> Seg {
        change(&mut self.hdr);
        self
    }

    fn ip(mut self, change: impl FnOnce(&mut IpTemplate<'static>)) -> Seg {
        change(&mut self.ip);
        self
    }

    fn len(mut self, len: usize) -> Seg {
        self.len = len;
        self
    }

    fn packet(&self) -> Packet {
        let data: Vec<u8> = (0..self.len).map(|i| (self.hdr.seq.0 as usize + i) as u8).collect();
        build(&self.ip, &self.hdr, Payload::from(Bytes::from(data)), 0, ChecksumMode::Complete)
    }
}

/// What comes out of a batch.
fn merge(mut packets: Vec<Packet>) -> Vec<Packet> {
    let mut out = Vec::new();
    let mut deliver = |packet: &mut Packet| out.push(core::mem::take(packet));
    let mut merger = Merger::default();
    packets.iter_mut().for_each(|packet| merger.push(packet, &mut deliver));
    merger.finish(&mut deliver);
    out
}

fn merged(segments: &[Seg]) -> Vec<Packet> {
    merge(segments.iter().map(Seg::packet).collect())
}

/// Header and text of what must be intact.
fn read(packet: &Packet) -> (Header, Vec<u8>) {
    let Ok(crate::wire::Parsed { upper: Upper::Tcp(segment), .. }) = parse(packet) else {
        panic!("no TCP segment: {packet:?}")
    };
    (segment.header, packet.to_vec().split_off(segment.data_at))
}

/// Sequence number, length and `gso_size` of each.
fn summary(packets: &[Packet]) -> Vec<(u32, usize, u16)> {
    packets.iter().map(|p| (read(p).0.seq.0, read(p).1.len(), p.gso_size)).collect()
}

#[test]
fn what_was_cut_becomes_one_again() {
    for addresses in [V4, V6] {
        for from_device in [false, true] {
            let whole = seg(u32::MAX - 500).ip(|ip| *ip = template(addresses)).len(9_500);
            let whole = whole.with(|hdr| hdr.flags |= Flags::PSH);
            let data: Vec<u8> = (0..9_500).map(|i| i as u8).collect();
            let data = Payload::from(Bytes::from(data.clone()));
            let packet = build(&whole.ip, &whole.hdr, data, 1_000, ChecksumMode::Complete);
            let expected = read(&packet).1;
            let mut packets: Vec<Packet> = gso::segment(packet, ChecksumMode::Complete).collect();
            assert_eq!(packets.len(), 10);
            if from_device {
                packets = packets.iter().map(|p| Packet::from_bytes(p.to_vec().into())).collect();
            }
            let out = merge(packets);
            assert_eq!(out.len(), 1);
            assert_eq!((out[0].gso_size, out[0].checksum), (1_000, Checksum::Verified));
            let (header, text) = read(&out[0]);
            assert_eq!(header, whole.hdr);
            assert!(text == expected);
        }
    }
}

#[test]
fn what_is_not_in_common_keeps_them_apart() {
    let others = [
        seg(1_000).with(|hdr| hdr.ack = SeqNum(10)),
        seg(1_000).with(|hdr| hdr.window = 501),
        seg(1_000).with(|hdr| hdr.options.timestamps = Some(Timestamps { val: 2, ecr: 2 })),
        seg(1_000).with(|hdr| hdr.options.timestamps = None),
        seg(1_000).with(|hdr| hdr.flags |= Flags::FIN),
        seg(1_000).with(|hdr| hdr.flags |= Flags::CWR),
        seg(1_000).with(|hdr| hdr.flags |= Flags::AE),
        seg(1_000).with(|hdr| (hdr.flags, hdr.urgent) = (Flags::ACK | Flags::URG, 7)),
        seg(1_000).with(|hdr| hdr.src_port = 7),
        seg(1_000).with(|hdr| hdr.dst_port = 7),
        seg(1_000).ip(|ip| ip.traffic_class = 3),
        seg(1_000).ip(|ip| ip.hop_limit = 63),
        seg(1_000).ip(|ip| ip.dont_fragment = false),
        seg(1_000).ip(|ip| ip.ip_options = &[1, 1, 1, 0]),
        seg(1_000).ip(|ip| ip.src = "192.0.2.9".parse().unwrap()),
        seg(1_001),
        seg(999),
        seg(0),
        seg(1_000).len(1_001),
        seg(1_000).len(0),
        seg(1_000).len(MAX_INLINE),
    ];
    for other in others {
        let out = merged(&[seg(0), other.clone()]);
        assert_eq!(summary(&out), [(0, 1_000, 0), (other.hdr.seq.0, other.len, 0)]);
        assert_eq!(read(&out[1]).0, other.hdr);
    }
    assert_eq!(summary(&merged(&[seg(0), seg(1_000).len(MAX_INLINE + 1)])), [(0, 1_065, 1_000)]);
}

#[test]
fn a_corrupt_segment_stays_what_it_is() {
    for corrupt_at in [11, 60, 900] {
        let mut packets = [seg(0).packet(), seg(1_000).packet(), seg(2_000).packet()];
        let mut bytes = packets[1].to_vec();
        bytes[corrupt_at] ^= 1;
        packets[1] = Packet::from_bytes(bytes.into());
        let out = merge(packets.to_vec());
        assert_eq!((out.len(), out[0].gso_size, out[2].gso_size), (3, 0, 0));
        assert!(parse(&out[1]).is_err());
        assert_eq!((read(&out[0]).0.seq.0, read(&out[2]).0.seq.0), (0, 2_000));
    }
}

#[test]
fn a_push_or_a_short_segment_ends_a_super_segment() {
    let push = seg(1_000).with(|hdr| hdr.flags |= Flags::PSH);
    let out = merged(&[seg(0), push, seg(2_000), seg(3_000)]);
    assert_eq!(summary(&out), [(0, 2_000, 1_000), (2_000, 2_000, 1_000)]);
    assert!(read(&out[0]).0.flags.contains(Flags::PSH) && !read(&out[1]).0.flags.contains(Flags::PSH));
    let out = merged(&[seg(0), seg(1_000).len(500), seg(1_500), seg(2_500)]);
    assert_eq!(summary(&out), [(0, 1_500, 1_000), (1_500, 2_000, 1_000)]);
}

#[test]
fn a_super_segment_is_no_longer_than_a_packet_may_be() {
    let segments: Vec<Seg> = (0..100).map(|i| seg(i * 1_000)).collect();
    let out = merged(&segments);
    assert_eq!(summary(&out), [(0, 65_000, 1_000), (65_000, 35_000, 1_000)]);
}

/// Segments of many connections may be mixed; each connection's stay in order.
#[test]
fn connections_do_not_stand_in_each_others_way() {
    let of = |port: u16, seq: u32| seg(seq).with(|hdr| hdr.src_port = port);
    let flows = 2 * FLOWS as u16;
    let mixed: Vec<Seg> = (0..3)
        .flat_map(|turn| (0..FLOWS as u16).map(move |port| (port, turn * 1_000)))
        .map(|(p, s)| of(p, s))
        .collect();
    let out = merged(&mixed);
    assert_eq!(out.len(), FLOWS);
    assert!(out.iter().all(|packet| packet.gso_size == 1_000));
    // With more of them than may wait some are not merged, and none is lost.
    let mixed: Vec<Seg> = (0..3)
        .flat_map(|turn| (0..flows).map(move |port| (port, turn * 1_000)))
        .map(|(p, s)| of(p, s))
        .collect();
    let out = merged(&mixed);
    for port in 0..flows {
        let seqs = out.iter().map(read).filter(|(hdr, _)| hdr.src_port == port).map(|(hdr, _)| hdr.seq.0);
        assert!(seqs.is_sorted(), "port {port}");
    }
    assert_eq!(out.iter().map(|packet| read(packet).1.len()).sum::<usize>(), 3 * 1_000 * usize::from(flows));
}

#[test]
fn what_is_no_text_does_not_overtake() {
    let fin = seg(2_000).len(0).with(|hdr| hdr.flags |= Flags::FIN);
    let other = seg(0).with(|hdr| hdr.src_port = 7);
    let out = merged(&[seg(0), other, seg(1_000), fin.clone(), seg(2_000)]);
    assert_eq!(summary(&out), [(0, 2_000, 1_000), (2_000, 0, 0), (0, 1_000, 0), (2_000, 1_000, 0)]);
    assert_eq!(read(&out[1]).0, fin.hdr);
    // What cannot be told apart goes behind all that waits.
    let strange = Packet::from_bytes(Bytes::from_static(b"no packet"));
    let out = merge([seg(0).packet(), strange.clone(), seg(1_000).packet()].to_vec());
    assert_eq!(out[1].to_vec(), strange.to_vec());
    assert_eq!(out.len(), 3);
}

proptest! {
    /// Whatever comes in comes out: every byte of it if it is no segment that is merged.
    #[test]
    fn any_bytes_pass(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..90), 0..9)) {
        let batch = packets.iter().map(|bytes| Packet::from_bytes(Bytes::from(bytes.clone()))).collect();
        let out = merge(batch);
        prop_assert_eq!(out.iter().map(Packet::to_vec).collect::<Vec<_>>(), packets);
    }
}
