use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::tcp::SeqNum;
use crate::wire::ip::IpTemplate;
use crate::wire::tcp::{ChecksumMode, Flags, Header, build};
use crate::wire::{Malformed, Reject, Upper, parse};

const V4: (&str, &str) = ("192.0.2.1", "192.0.2.2");
const V6: (&str, &str) = ("2001:db8::1", "2001:db8::2");

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 256) as u8).collect()
}

/// A whole TCP packet.
fn whole(addresses: (&str, &str), ecn: u8, len: usize) -> Vec<u8> {
    let mut ip = IpTemplate::new(addresses.0.parse().unwrap(), addresses.1.parse().unwrap());
    ip.traffic_class = ecn;
    ip.dont_fragment = false;
    let tcp = Header { src_port: 1, dst_port: 2, seq: SeqNum(3), flags: Flags::ACK, ..Header::default() };
    build(&ip, &tcp, Payload::from(Bytes::from(data(len))), 0, ChecksumMode::Complete).to_vec()
}

/// One fragment of `whole`: the bytes `from..to` of what its IP header carries.
fn fragment(whole: &[u8], ident: u16, from: usize, to: usize, more: bool) -> Packet {
    raw_fragment(whole, ident, from, &whole[header_len(whole) + from..header_len(whole) + to], more)
}

fn header_len(whole: &[u8]) -> usize {
    if whole[0] >> 4 == 4 { 20 } else { 40 }
}

fn raw_fragment(whole: &[u8], ident: u16, offset: usize, body: &[u8], more: bool) -> Packet {
    let mut out = whole[..header_len(whole)].to_vec();
    if out.len() == 20 {
        let len = (20 + body.len()) as u16;
        out[2..4].copy_from_slice(&len.to_be_bytes());
        out[4..6].copy_from_slice(&ident.to_be_bytes());
        let place = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
        out[6..8].copy_from_slice(&place.to_be_bytes());
        out[10..12].fill(0);
        let sum = checksum(&out);
        out[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        out[4..6].copy_from_slice(&((8 + body.len()) as u16).to_be_bytes());
        out[6] = 44;
        let place = offset as u16 | u16::from(more);
        out.extend_from_slice(&[6, 0, (place >> 8) as u8, place as u8, 0, 0]);
        out.extend_from_slice(&ident.to_be_bytes());
    }
    out.extend_from_slice(body);
    Packet::from_bytes(Bytes::from(out))
}

fn with_ecn(mut packet: Packet, ecn: u8) -> Packet {
    let mut bytes = packet.to_vec();
    if bytes[0] >> 4 == 4 {
        bytes[1] = bytes[1] & !3 | ecn;
        bytes[10..12].fill(0);
        let sum = checksum(&bytes[..20]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        bytes[1] = bytes[1] & !0x30 | ecn << 4;
    }
    packet.payload = Payload::from(Bytes::from(bytes));
    packet
}

fn push(reassembler: &mut Reassembler, now: Instant, packet: Packet) -> Option<Packet> {
    let parsed = parse(&packet).expect("a well-formed fragment");
    assert_eq!(parsed.upper, Upper::Fragment);
    reassembler.push(now, &parsed.ip, packet)
}

fn new() -> Reassembler {
    Reassembler::new(Limits::default(), (1, 2))
}

fn check_whole(packet: Packet, len: usize) {
    let parsed = parse(&packet).expect("the whole packet");
    let Upper::Tcp(segment) = parsed.upper else { panic!("{parsed:?}") };
    let payload = segment.take_payload(packet);
    let mut got = std::vec![0; len + 1];
    assert_eq!(payload.copy_to(0, &mut got), len);
    assert_eq!(&got[..len], data(len));
}

/// Shows: rfc791-s3.2-a, rfc1122-s3.3.2-a, rfc8200-s5-a
#[test]
fn either_order() {
    for addresses in [V4, V6] {
        let len = 1_440;
        let packet = whole(addresses, 0, len);
        let end = packet.len() - header_len(&packet);
        let parts = [(0, 800, true), (800, end, false)];
        for order in [[0, 1], [1, 0]] {
            let mut reassembler = new();
            let [a, b] = order.map(|i| fragment(&packet, 9, parts[i].0, parts[i].1, parts[i].2));
            assert!(push(&mut reassembler, Instant::ZERO, a).is_none());
            let done = push(&mut reassembler, Instant::ZERO, b).expect("complete");
            check_whole(done, len);
            assert_eq!((reassembler.bytes(), reassembler.sets()), (0, 0));
            assert_eq!(reassembler.counters().reassembled, 1);
            assert!(reassembler.next_deadline().is_never());
        }
    }
}

/// Shows: rfc791-s3.2-a
#[test]
fn the_longest_packet() {
    // 65,535 bytes with the IPv4 header.
    let len = 65_535 - 40;
    let packet = whole(V4, 0, len);
    let mut reassembler = new();
    let end = packet.len() - 20;
    let mut done = None;
    for from in (0..end).step_by(1_480) {
        let to = (from + 1_480).min(end);
        done = push(&mut reassembler, Instant::ZERO, fragment(&packet, 1, from, to, to < end));
    }
    check_whole(done.expect("complete"), len);
}

/// Ping of death: the last fragment ends beyond 65,535.
///
/// Shows: rfc791-s3.2-a, teardrop, rfc8200-s4.5-a
#[test]
fn ping_of_death() {
    let body = [0; 400];
    let v4 = raw_fragment(&whole(V4, 0, 8), 1, 65_528, &body, false);
    assert_eq!(parse(&v4).unwrap_err().reason(), Malformed::FragmentTooLong);
    let v6 = raw_fragment(&whole(V6, 0, 8), 1, 65_528, &body, false);
    let Err(Reject::Answer { reason, problem, .. }) = parse(&v6) else { panic!() };
    // RFC 8200 4.5: Parameter Problem code 0, pointing to the fragment offset.
    assert_eq!((reason, problem.code, problem.pointer), (Malformed::FragmentTooLong, 0, 42));
}

/// Shows: rfc8200-s4.5-a
#[test]
fn not_a_multiple_of_eight() {
    let v6 = raw_fragment(&whole(V6, 0, 8), 1, 0, &[0; 61], true);
    let Err(Reject::Answer { reason, problem, .. }) = parse(&v6) else { panic!() };
    assert_eq!((reason, problem.code, problem.pointer), (Malformed::BadFragment, 0, 4));
    let v4 = raw_fragment(&whole(V4, 0, 8), 1, 0, &[0; 61], true);
    assert_eq!(parse(&v4), Err(Reject::Silent(Malformed::BadFragment)));
    for packet in [V4, V6] {
        let empty = raw_fragment(&whole(packet, 0, 8), 1, 80, &[], false);
        assert_eq!(parse(&empty), Err(Reject::Silent(Malformed::BadFragment)));
    }
}

/// Shows: teardrop, rfc8200-s4.5-a, tiny-fragment
#[test]
fn overlaps_discard_the_set_and_what_still_comes() {
    for addresses in [V4, V6] {
        let packet = whole(addresses, 0, 400);
        let end = packet.len() - header_len(&packet);
        // Teardrop: the second fragment lies inside the first. Then: reaching over its end, over its front.
        for (from, to, more) in
            [(24, 40, true), (24, 40, false), (80, 160, true), (0, 160, true), (0, 40, true)]
        {
            let mut reassembler = new();
            assert!(push(&mut reassembler, Instant::ZERO, fragment(&packet, 5, 0, 104, true)).is_none());
            assert!(push(&mut reassembler, Instant::ZERO, fragment(&packet, 5, from, to, more)).is_none());
            assert_eq!(reassembler.counters().overlapped, 1, "{from} {to} {more}");
            assert!(push(&mut reassembler, Instant::ZERO, fragment(&packet, 5, 104, end, false)).is_none());
            assert!(push(&mut reassembler, Instant::ZERO, fragment(&packet, 5, 0, 104, true)).is_none());
            assert_eq!(reassembler.counters().reassembled, 0);
            assert_eq!(reassembler.counters().failed, 1);
            // Silent when its time is over, and another set of the same name works again.
            assert!(reassembler.expire(Instant::from_secs(60)).is_empty());
            assert_eq!(reassembler.bytes(), 0);
            assert!(
                push(&mut reassembler, Instant::from_secs(61), fragment(&packet, 5, 104, end, false))
                    .is_none()
            );
            let done = push(&mut reassembler, Instant::from_secs(61), fragment(&packet, 5, 0, 104, true));
            check_whole(done.expect("complete"), 400);
        }
    }
}

#[test]
fn two_ends_contradict() {
    let packet = whole(V4, 0, 400);
    for second in [(200, 304, false), (352, 400, false), (352, 400, true)] {
        let mut reassembler = new();
        assert!(push(&mut reassembler, Instant::ZERO, fragment(&packet, 5, 304, 352, false)).is_none());
        let (from, to, more) = second;
        assert!(push(&mut reassembler, Instant::ZERO, fragment(&packet, 5, from, to, more)).is_none());
        assert_eq!(reassembler.counters().overlapped, 1, "{second:?}");
    }
}

/// Shows: tiny-fragment, rfc8200-s4.5-b
#[test]
fn tiny_fragments() {
    let v4 = whole(V4, 0, 64);
    for to in [8, 16] {
        assert_eq!(parse(&fragment(&v4, 1, 0, to, true)), Err(Reject::Silent(Malformed::TinyFragment)));
    }
    assert!(parse(&fragment(&v4, 1, 0, 24, true)).is_ok());
    // At offset 8 a fragment could rewrite the flags.
    assert_eq!(parse(&fragment(&v4, 1, 8, 64, true)), Err(Reject::Silent(Malformed::TinyFragment)));
    assert!(parse(&fragment(&v4, 1, 16, 64, true)).is_ok());
    let v6 = whole(V6, 0, 64);
    assert_eq!(parse(&fragment(&v6, 1, 0, 16, true)), Err(Reject::Silent(Malformed::TinyFragment)));
    assert!(parse(&fragment(&v6, 1, 0, 24, true)).is_ok());
}

/// Shows: rfc8200-s4.5-b, rfc6864-s4-a
#[test]
fn atomic_fragments_stand_alone() {
    let packet = whole(V6, 0, 20);
    let atomic = fragment(&packet, 7, 0, 40, false);
    let parsed = parse(&atomic).unwrap();
    assert!(matches!(parsed.upper, Upper::Tcp(segment) if segment.data_len == 20));
    let other = whole(V4, 0, 20);
    let atomic = fragment(&other, 7, 0, 40, false);
    assert!(matches!(parse(&atomic).unwrap().upper, Upper::Tcp(_)));
}

/// Shows: rfc1122-s3.3.2-a, rfc8200-s4.5-a
#[test]
fn time_exceeded_wants_the_first_fragment() {
    for addresses in [V4, V6] {
        let packet = whole(addresses, 0, 400);
        let mut reassembler = new();
        let first = fragment(&packet, 1, 0, 80, true);
        assert!(push(&mut reassembler, Instant::from_secs(1), first.clone()).is_none());
        assert!(push(&mut reassembler, Instant::from_secs(2), fragment(&packet, 2, 80, 160, true)).is_none());
        assert_eq!(reassembler.next_deadline(), Instant::from_secs(61));
        assert!(reassembler.expire(Instant::from_nanos(60_999_999_999)).is_empty());
        let expired = reassembler.expire(Instant::from_secs(61));
        assert_eq!(expired.len(), 1);
        assert_eq!(expired[0].to_vec(), first.to_vec());
        assert_eq!(reassembler.next_deadline(), Instant::from_secs(62));
        assert!(reassembler.expire(Instant::from_secs(62)).is_empty(), "no first fragment, no message");
        assert_eq!((reassembler.bytes(), reassembler.sets()), (0, 0));
        assert_eq!(reassembler.counters().timed_out, 2);
    }
}

/// Shows: rfc3168-s5.3-a
#[test]
fn congestion_marks_survive() {
    for addresses in [V4, V6] {
        let (not_ect, ect0, ce) = (0, 2, 3);
        for (a, b, expected) in [
            (ect0, ect0, Some(ect0)),
            (ect0, ce, Some(ce)),
            (ce, ect0, Some(ce)),
            (ce, ce, Some(ce)),
            (not_ect, not_ect, Some(not_ect)),
            (not_ect, ce, None),
            (ce, not_ect, None),
        ] {
            let packet = whole(addresses, 0, 200);
            let end = packet.len() - header_len(&packet);
            let mut reassembler = new();
            let first = with_ecn(fragment(&packet, 1, 0, 80, true), a);
            let last = with_ecn(fragment(&packet, 1, 80, end, false), b);
            assert!(push(&mut reassembler, Instant::ZERO, first).is_none());
            let done = push(&mut reassembler, Instant::ZERO, last);
            let ecn = done.map(|packet| parse(&packet).unwrap().ip.traffic_class & 3);
            assert_eq!(ecn, expected);
            assert_eq!(reassembler.counters().bad_ecn, u64::from(expected.is_none()));
        }
    }
}

/// Shows: cve-2018-5391
#[test]
fn memory_is_bounded_and_genuine_traffic_gets_through() {
    let limits = Limits::default();
    let mut reassembler = new();
    let packet = whole(V4, 0, 3_000);
    let end = packet.len() - 20;
    for i in 0..100_000u32 {
        let now = Instant::from_micros(u64::from(i));
        let mut body = whole(V4, 0, 1_480);
        // From one source until the middle, then from as many as there are.
        let source = if i < 50_000 { 7 } else { i };
        body[12..16].copy_from_slice(&(0x0a00_0000 + source).to_be_bytes());
        let attack = raw_fragment(&body, i as u16, 800, &[0; 640], true);
        assert!(push(&mut reassembler, now, attack).is_none());
        assert!(reassembler.bytes() <= limits.bytes && reassembler.sets() <= limits.sets);
        if i == 49_999 {
            assert!(reassembler.sets() <= limits.source_sets);
            assert!(reassembler.bytes() <= limits.source_bytes);
        }
        if i % 1_000 == 0 {
            assert!(push(&mut reassembler, now, fragment(&packet, i as u16, 0, 1_480, true)).is_none());
            assert!(push(&mut reassembler, now, fragment(&packet, i as u16, 2_960, end, false)).is_none());
            let done = push(&mut reassembler, now, fragment(&packet, i as u16, 1_480, 2_960, true));
            check_whole(done.expect("complete"), 3_000);
        }
        assert!(reassembler.order.len() <= 2 * limits.sets + 17);
    }
    assert_eq!(reassembler.counters().reassembled, 100);
    assert!(reassembler.counters().evicted > 90_000);
    reassembler.expire(Instant::from_secs(1_000));
    assert_eq!((reassembler.bytes(), reassembler.sets(), reassembler.sources.len()), (0, 0, 0));
}

#[test]
fn too_many_fragments_discard_the_set() {
    let packet = whole(V4, 0, 8 * 300);
    let mut reassembler = new();
    for i in 0..=256 {
        let at = 80 + 8 * i;
        assert!(push(&mut reassembler, Instant::ZERO, fragment(&packet, 1, at, at + 8, true)).is_none());
    }
    assert_eq!(reassembler.counters().too_many, 1);
    assert!(reassembler.bytes() <= OVERHEAD);
}

/// Shows: ripple20-2020-11896
#[test]
fn inner_length_beyond_the_reassembled_data() {
    let packet = whole(V4, 0, 400);
    // The TCP data offset says 60 bytes, the first fragment holds 24.
    let mut first = packet.clone();
    first[20 + 12] = 0xf0;
    assert_eq!(parse(&fragment(&first, 1, 0, 24, true)), Err(Reject::Silent(Malformed::TinyFragment)));
    // A length field longer than what came.
    let mut long = fragment(&packet, 1, 0, 80, true).to_vec();
    long[2..4].copy_from_slice(&200u16.to_be_bytes());
    let long = Packet::from_bytes(Bytes::from(long));
    assert_eq!(parse(&long), Err(Reject::Silent(Malformed::BadTotalLength)));
}

/// IPv6 with an unfragmentable part: hop-by-hop options before the fragment header stay, it goes.
///
/// Shows: rfc8200-s4.5-a, rfc8200-s5-a
#[test]
fn unfragmentable_part_is_kept() {
    let packet = whole(V6, 0, 160);
    let mut reassembler = new();
    let mut done = None;
    for (from, to, more) in [(0, 80, true), (80, 180, false)] {
        let plain = fragment(&packet, 3, from, to, more).to_vec();
        let mut out = plain[..40].to_vec();
        out[6] = 0;
        let len = u16::from_be_bytes([plain[4], plain[5]]) + 8;
        out[4..6].copy_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&[44, 0, 1, 4, 0, 0, 0, 0]);
        out.extend_from_slice(&plain[40..]);
        done = push(&mut reassembler, Instant::ZERO, Packet::from_bytes(Bytes::from(out)));
    }
    let done = done.expect("complete");
    let parsed = parse(&done).unwrap();
    assert_eq!(parsed.ip.header_len, 48);
    check_whole(done, 160);
}

proptest! {
    /// Any cuts in any order, with duplicates, give back the packet as soon as all bytes were there.
    ///
    /// Shows: rfc791-s3.2-a, rfc8200-s4.5-a
    #[test]
    fn permutations(
        v6 in any::<bool>(),
        len in 40usize..4_000,
        cuts in prop::collection::btree_set(4usize..500, 0..12),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..60),
    ) {
        let packet = whole(if v6 { V6 } else { V4 }, 0, len);
        let end = packet.len() - header_len(&packet);
        let mut borders: Vec<usize> = cuts.into_iter().map(|cut| cut * 8).filter(|cut| *cut < end).collect();
        borders.insert(0, 0);
        borders.push(end);
        prop_assume!(borders.len() > 2);
        let parts: Vec<(usize, usize)> = borders.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let mut reassembler = new();
        let mut seen = std::collections::BTreeSet::new();
        let rest: Vec<usize> = (0..parts.len()).collect();
        let picks = order.iter().map(|index| index.index(parts.len())).chain(rest);
        for pick in picks {
            let (from, to) = parts[pick];
            let done = push(&mut reassembler, Instant::ZERO, fragment(&packet, 1, from, to, to < end));
            seen.insert(pick);
            if seen.len() == parts.len() {
                check_whole(done.expect("complete"), len);
                prop_assert_eq!(reassembler.bytes(), 0);
                return Ok(());
            }
            prop_assert!(done.is_none());
        }
        prop_assert!(false, "never complete");
    }

    /// Whatever comes, bounds hold, and what is put together has no hole and no byte twice.
    ///
    /// Shows: teardrop, cve-2018-5391
    #[test]
    fn arbitrary_fragments(
        pieces in prop::collection::vec((0usize..40, 1usize..20, any::<bool>(), 0u16..3), 1..60),
    ) {
        let base = whole(V6, 0, 800);
        let limits = Limits { bytes: 8_000, sets: 4, source_bytes: 6_000, source_sets: 2, fragments: 16, ..Limits::default() };
        let mut reassembler = Reassembler::new(limits, (3, 4));
        for (i, (at, blocks, more, ident)) in pieces.into_iter().enumerate() {
            let (from, to) = (at * 8, (at + blocks) * 8);
            let packet = fragment(&base, ident, from, to, more);
            let Ok(parsed) = parse(&packet) else { continue };
            if parsed.ip.fragment.is_none() { continue }
            if let Some(done) = reassembler.push(Instant::from_secs(i as u64), &parsed.ip, packet) {
                let bytes = done.to_vec();
                prop_assert_eq!(&bytes[40..], &base[40..bytes.len()]);
            }
            prop_assert!(reassembler.bytes() <= limits.bytes);
            prop_assert!(reassembler.sets() <= limits.source_sets);
        }
        reassembler.expire(Instant::from_secs(1_000));
        prop_assert_eq!((reassembler.bytes(), reassembler.sets(), reassembler.sources.len()), (0, 0, 0));
    }
}
