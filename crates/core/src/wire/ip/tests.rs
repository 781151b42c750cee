use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::wire::checksum::checksum;

fn v4<'a>(options: &'a [u8]) -> IpTemplate<'a> {
    let base = IpTemplate::new("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    IpTemplate { ip_options: options, traffic_class: 0xb9, ident: 77, ..base }
}

fn v6() -> IpTemplate<'static> {
    let base = IpTemplate::new("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    IpTemplate { traffic_class: 0xb9, flow_label: 0xa_bcde, hop_limit: 3, ..base }
}

fn emit(ip: &IpTemplate<'_>, payload: &[u8]) -> Vec<u8> {
    let mut head = Head::new();
    ip.emit(&mut head, protocol::TCP, payload.len());
    assert_eq!(head.as_slice().len(), ip.header_len());
    let mut out = head.as_slice().to_vec();
    out.extend_from_slice(payload);
    out
}

fn parse(bytes: &[u8]) -> Result<IpHeader, Reject> {
    IpHeader::parse(bytes, bytes.len(), false)
}

fn reason(bytes: &[u8]) -> Malformed {
    parse(bytes).unwrap_err().reason()
}

fn fix_checksum(bytes: &mut [u8]) {
    let len = (usize::from(bytes[0] & 15) * 4).clamp(20, bytes.len());
    bytes[10..12].fill(0);
    let sum = checksum(&bytes[..len]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Shows: rfc9293-SHLD-22, rfc9293-MUST-49
#[test]
fn what_is_written_is_read() {
    let ip = parse(&emit(&v4(&[]), &[1; 7])).unwrap();
    assert_eq!((ip.traffic_class, ip.hop_limit, ip.ident, ip.dont_fragment), (0xb9, 64, 77, true));
    assert_eq!((ip.header_len, ip.total_len, ip.payload_len(), ip.protocol), (20, 27, 7, 6));
    assert_eq!((ip.src, ip.dst), (v4(&[]).src, v4(&[]).dst));
    let ip = parse(&emit(&v6(), &[1; 7])).unwrap();
    assert_eq!((ip.traffic_class, ip.hop_limit, ip.flow_label), (0xb9, 3, 0xa_bcde));
    assert_eq!((ip.header_len, ip.total_len, ip.payload_len(), ip.protocol), (40, 47, 7, 6));
    assert_eq!((ip.src, ip.dst), (v6().src, v6().dst));
}

/// Shows: rfc1122-s3.2.1.7-a
#[test]
fn never_sent_with_a_hop_limit_of_zero() {
    for template in [v4(&[]), v6()] {
        let mut bytes = emit(&IpTemplate { hop_limit: 0, ..template }, &[]);
        assert_eq!(parse(&bytes).unwrap().hop_limit, 1);
        // And not refused for it.
        let at = if bytes[0] >> 4 == 4 { 8 } else { 7 };
        bytes[at] = 0;
        if at == 8 {
            fix_checksum(&mut bytes);
        }
        assert_eq!(parse(&bytes).unwrap().hop_limit, 0);
    }
}

/// Shows: rfc1122-s3.2.1.2-a
#[test]
fn version_header_length_checksum() {
    let good = emit(&v4(&[]), &[0; 20]);
    for version in 0..16u8 {
        let mut bytes = good.clone();
        bytes[0] = version << 4 | 5;
        match version {
            4 => assert!(parse(&bytes).is_ok()),
            6 => assert!(parse(&bytes).is_err()),
            _ => assert_eq!(reason(&bytes), Malformed::BadVersion),
        }
    }
    for at in 0..20 {
        let mut bytes = good.clone();
        bytes[at] ^= 0x01;
        assert!(parse(&bytes).is_err(), "byte {at}");
    }
    assert_eq!(reason(&[]), Malformed::TooShort);
}

/// Shows: rfc791-s3.1-a, amnesia33-2020-24341
#[test]
fn padding_is_no_data_and_lengths_beyond_the_frame_are_refused() {
    for template in [v4(&[]), v6()] {
        let mut bytes = emit(&template, &[0; 20]);
        let len = bytes.len();
        bytes.resize(len + 6, 0xaa);
        assert_eq!(parse(&bytes).unwrap().total_len, len);
        assert_eq!(
            IpHeader::parse(&bytes, bytes.len(), true).unwrap_err().reason(),
            Malformed::BadTotalLength
        );
        bytes.truncate(len);
        assert!(IpHeader::parse(&bytes, len, true).is_ok());
        for beyond in [1u16, 2, 1000, 65_000] {
            let at = if template.src.is_ipv4() { 2 } else { 4 };
            let said = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let mut bytes = bytes.clone();
            bytes[at..at + 2].copy_from_slice(&said.saturating_add(beyond).to_be_bytes());
            if at == 2 {
                fix_checksum(&mut bytes);
            }
            assert_eq!(reason(&bytes), Malformed::BadTotalLength);
        }
    }
}

/// Shows: ripple20-2020-11912
#[test]
fn cut_at_each_byte() {
    for template in [v4(&[7, 7, 4, 0, 0, 0, 0, 0]), v6()] {
        let bytes = emit(&template, &[0; 20]);
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len]).is_err());
        }
    }
}

/// Shows: rfc9293-MUST-50, rfc9293-MAY-10, rfc9293-MAY-11
#[test]
fn unknown_ip_options_are_passed_over() {
    for options in [
        &[0x94u8, 4, 0, 0][..],
        &[7, 7, 4, 0, 0, 0, 0, 0],
        &[0x44, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[1, 1, 1, 0],
    ] {
        let ip = parse(&emit(&v4(options), &[0; 20])).unwrap();
        assert_eq!(ip.header_len, 20 + options.len());
        assert_eq!(ip.source_route_at, None);
    }
    for (bad, pointer) in
        [(&[0x94u8, 0, 0, 0][..], 21), (&[1, 0x94, 1, 0], 22), (&[0x94, 5, 0, 0], 21), (&[1, 1, 1, 7], 24)]
    {
        let Err(Reject::Answer { reason, problem, .. }) = parse(&emit(&v4(bad), &[])) else {
            panic!("{bad:?}")
        };
        assert_eq!((reason, problem), (Malformed::BadIpOption, Problem { code: 0, pointer }));
    }
}

/// Shows: rfc9293-MUST-51
#[test]
fn a_source_route_goes_to_its_first_hop() {
    let hops: [Ipv4Addr; 2] = ["192.0.2.7".parse().unwrap(), "192.0.2.8".parse().unwrap()];
    let (option, len) = SourceRoute::new(false, &hops).unwrap().to_option();
    let bytes = emit(&v4(&option[..len]), &[]);
    assert_eq!(bytes[16..20], [192, 0, 2, 7]);
    assert_eq!(bytes[20..32], [131, 11, 4, 192, 0, 2, 8, 10, 0, 0, 2, 0]);
    assert_eq!(crate::wire::ipv4::final_destination(&bytes), [10, 0, 0, 2]);
    // As it stands it would have to be carried on.
    assert_eq!(parse(&bytes), Err(Reject::Silent(Malformed::SourceRouted)));
}

/// Shows: rfc9293-MUST-53, source-route-policy
#[test]
fn a_finished_source_route_is_read_and_reversed() {
    let mut bytes = emit(&v4(&[]), &[]);
    bytes[0] = 0x48;
    bytes[3] = 32;
    bytes.extend_from_slice(&[137, 11, 12, 1, 1, 1, 1, 2, 2, 2, 2, 0]);
    fix_checksum(&mut bytes);
    let ip = parse(&bytes).unwrap();
    let route = SourceRoute::read(&ip, &bytes).unwrap();
    assert!(route.is_strict());
    assert_eq!(route.hops(), [Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(2, 2, 2, 2)]);
    assert_eq!(route.reversed().hops(), [Ipv4Addr::new(2, 2, 2, 2), Ipv4Addr::new(1, 1, 1, 1)]);
    let without = parse(&emit(&v4(&[]), &[])).unwrap();
    assert_eq!(SourceRoute::read(&without, &bytes), None);
    assert_eq!(SourceRoute::new(true, &[]), None);
    assert_eq!(SourceRoute::new(true, &[Ipv4Addr::LOCALHOST; 10]), None);
}

/// An IPv6 packet with extension headers: (its number, its bytes with the next header left open).
fn chain(headers: &[(u8, Vec<u8>)], last: u8) -> Vec<u8> {
    let mut body = Vec::new();
    for (i, (_, bytes)) in headers.iter().enumerate() {
        let mut bytes = bytes.clone();
        bytes[0] = headers.get(i + 1).map_or(last, |next| next.0);
        body.extend_from_slice(&bytes);
    }
    body.extend_from_slice(&[0; 20]);
    let mut out = emit(&v6(), &body);
    out[6] = headers.first().map_or(last, |first| first.0);
    out
}

/// Shows: rfc8200-s4-a
#[test]
fn extension_headers_are_walked() {
    let pad = std::vec![0, 0, 1, 4, 0, 0, 0, 0];
    let routed = std::vec![0, 0, 0, 0, 0, 0, 0, 0];
    let ip = parse(&chain(&[(0, pad.clone()), (60, pad.clone()), (43, routed.clone())], 6)).unwrap();
    assert_eq!((ip.protocol, ip.header_len, ip.protocol_at), (6, 64, 56));
    let ip = parse(&chain(&[(60, pad.clone())], 200)).unwrap();
    assert_eq!((ip.protocol, ip.protocol_at), (200, 40));
    assert_eq!(reason(&chain(&[(60, pad.clone())], 59)), Malformed::NoNextHeader);
    // Hop-by-hop anywhere but first is an unknown next header.
    let Err(Reject::Answer { problem, .. }) = parse(&chain(&[(60, pad.clone()), (0, pad.clone())], 6)) else {
        panic!()
    };
    assert_eq!(problem, Problem { code: 1, pointer: 40 });
    // Segments left.
    let routed = std::vec![0, 0, 4, 1, 0, 0, 0, 0];
    let Err(Reject::Answer { problem, .. }) = parse(&chain(&[(43, routed)], 6)) else { panic!() };
    assert_eq!(problem, Problem { code: 0, pointer: 42 });
    // A length past the packet.
    assert_eq!(reason(&chain(&[(0, std::vec![0, 255, 1, 4, 0, 0, 0, 0])], 6)), Malformed::BadExtensionHeader);
}

/// Shows: rfc8200-s4-a
#[test]
fn option_action_bits() {
    let with = |kind: u8| chain(&[(60, std::vec![0, 0, kind, 4, 0, 0, 0, 0])], 6);
    assert!(parse(&with(0x1e)).is_ok());
    assert_eq!(parse(&with(0x5e)), Err(Reject::Silent(Malformed::UnknownOption)));
    for kind in [0x80, 0xc0] {
        let mut bytes = with(kind);
        let Err(Reject::Answer { reason, problem, .. }) = parse(&bytes) else { panic!() };
        assert_eq!((reason, problem), (Malformed::UnknownOption, Problem { code: 2, pointer: 42 }));
        bytes[24] = 0xff;
        assert_eq!(matches!(parse(&bytes), Err(Reject::Answer { .. })), kind == 0x80, "to a group");
    }
    // An option that runs over its header, and one without a length.
    for body in [[0u8, 0, 0x1e, 5, 0, 0, 0, 0], [0, 0, 1, 3, 0, 0, 0, 1]] {
        assert_eq!(reason(&chain(&[(60, body.to_vec())], 6)), Malformed::BadExtensionHeader);
    }
}

/// Shows: cve-2024-38063-exthdr
#[test]
fn chains_are_bounded() {
    let pad = std::vec![0, 0, 1, 4, 0, 0, 0, 0];
    let n = |n: usize| chain(&std::vec![(60, pad.clone()); n], 6);
    assert!(parse(&n(8)).is_ok());
    assert_eq!(reason(&n(9)), Malformed::TooManyExtensionHeaders);
    assert_eq!(reason(&n(8_000)), Malformed::TooManyExtensionHeaders);
    let mut long = std::vec![0; 8 + 255 * 8];
    long[1] = 255;
    assert!(parse(&chain(&[(60, long.clone())], 6)).is_ok());
    assert_eq!(reason(&chain(&[(60, long.clone()), (60, long)], 6)), Malformed::TooManyExtensionHeaders);
}

/// Shows: infrahalt-2020-35684
#[test]
fn lengths_are_checked_against_each_other() {
    for total in 0..=60u8 {
        for ihl in 0..16u8 {
            for offset in 0..16u8 {
                let mut bytes = std::vec![0; 60];
                bytes[0] = 0x40 | ihl;
                bytes[3] = total;
                bytes[8] = 64;
                bytes[9] = 6;
                bytes[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
                let header_len = usize::from(ihl) * 4;
                bytes[20..header_len.max(20)].fill(1);
                if let Some(byte) = bytes.get_mut(header_len + 12) {
                    *byte = offset << 4;
                }
                fix_checksum(&mut bytes);
                let mut packet = crate::Packet::from_bytes(bytes::Bytes::from(bytes));
                packet.checksum = crate::Checksum::Verified;
                let good =
                    ihl >= 5 && offset >= 5 && usize::from(total) >= header_len + usize::from(offset) * 4;
                let parsed = crate::wire::parse(&packet);
                assert_eq!(parsed.is_ok(), good, "{total} {ihl} {offset} {parsed:?}");
                if let Ok(crate::wire::Parsed { upper: crate::wire::Upper::Tcp(segment), .. }) = parsed {
                    assert_eq!(segment.data_at + segment.data_len, usize::from(total));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Shows: cve-2024-38063-exthdr, rfc8200-s4-a
    #[test]
    fn arbitrary_chains(
        kinds in prop::collection::vec((prop::sample::select(std::vec![0u8, 43, 44, 59, 60]), any::<u8>(), prop::collection::vec(any::<u8>(), 6..80)), 1..12),
        last in any::<u8>(),
    ) {
        let headers: Vec<(u8, Vec<u8>)> = kinds.into_iter().map(|(kind, len, body)| {
            let mut bytes = std::vec![0, if len < 128 { (body.len() / 8) as u8 } else { len }];
            bytes.extend(body);
            (kind, bytes)
        }).collect();
        let bytes = chain(&headers, last);
        if let Ok(ip) = parse(&bytes) {
            prop_assert!(ip.header_len <= ip.total_len && ip.total_len <= bytes.len());
            prop_assert_eq!(bytes[ip.protocol_at], ip.protocol);
        }
    }

    /// Shows: ripple20-2020-11912, amnesia33-2020-24341
    #[test]
    fn arbitrary_bytes(mut bytes in prop::collection::vec(any::<u8>(), 20..120), version in prop::sample::select(std::vec![0x45u8, 0x46, 0x4f, 0x60])) {
        bytes[0] = version;
        if version & 0xf0 == 0x40 {
            bytes[2] = 0;
            fix_checksum(&mut bytes);
        } else {
            bytes[4] = 0;
        }
        if let Ok(ip) = parse(&bytes) {
            prop_assert!(ip.header_len <= ip.total_len && ip.total_len <= bytes.len());
        }
    }
}
