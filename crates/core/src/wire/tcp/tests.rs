use proptest::prelude::*;

use super::*;

fn emit(header: &Header) -> std::vec::Vec<u8> {
    let mut head = Head::new();
    header.emit(&mut head);
    head.as_slice().to_vec()
}

/// Shows: rfc9293-s3.1-a
#[test]
fn reserved_bits_are_ignored_and_sent_as_zero() {
    let header = Header { flags: Flags::ACK | Flags::AE, window: 65_535, ..Header::default() };
    let mut bytes = emit(&header);
    assert_eq!(bytes[12..14], [0x51, 0x10]);
    for bit in [0x02, 0x04, 0x08] {
        bytes[12] |= bit;
        assert_eq!(Header::parse(&bytes), Ok((header, 20)));
    }
    assert_eq!(emit(&Header { flags: Flags::all(), ..header })[12] & 0x0e, 0);
}

/// Shows: ripple20-2020-11912, infrahalt-2020-35684
#[test]
fn data_offset_against_what_is_there() {
    for offset in 0..16u8 {
        for len in 0..64usize {
            let mut bytes = std::vec![1; len];
            if len > 12 {
                bytes[12] = offset << 4;
            }
            let parsed = Header::parse(&bytes);
            if len < 20 {
                assert_eq!(parsed, Err(Malformed::TooShort));
            } else if offset < 5 || usize::from(offset) * 4 > len {
                assert_eq!(parsed, Err(Malformed::BadDataOffset));
            } else {
                assert_eq!(parsed.unwrap().1, usize::from(offset) * 4);
            }
        }
    }
}

/// Small payloads go inline, and the checksum is the same wherever the bytes are.
///
/// Shows: rfc9293-MUST-2
#[test]
fn inline_and_by_reference() {
    let ip = IpTemplate::new("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    let tcp = Header { flags: Flags::ACK, ..Header::default() };
    let data = std::vec![7u8; 65];
    for len in [0, 1, 63, 64, 65] {
        let mut split = Payload::new();
        split.push(bytes::Bytes::copy_from_slice(&data[..len / 3]));
        split.push(bytes::Bytes::copy_from_slice(&data[len / 3..len]));
        let packet = build(&ip, &tcp, split, 0, ChecksumMode::Complete);
        assert_eq!(packet.payload.is_empty(), len <= MAX_INLINE);
        assert_eq!(packet.checksum, Checksum::Unverified);
        let inline = build_inline(&ip, &tcp, &data[..len], ChecksumMode::Complete);
        assert_eq!(packet.to_vec(), inline.to_vec());
        assert!(crate::wire::parse(&packet).is_ok());
    }
}

/// A gso_size that the payload does not exceed says nothing.
#[test]
fn gso_size_only_where_there_is_something_to_cut() {
    let ip = IpTemplate::new("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    for (len, expected) in [(100usize, 0), (1000, 0), (1001, 1000)] {
        let payload = Payload::from(bytes::Bytes::from(std::vec![0; len]));
        assert_eq!(build(&ip, &Header::default(), payload, 1000, ChecksumMode::Partial).gso_size, expected);
    }
}

/// The convention of a partial checksum, worked out by hand.
#[test]
fn partial_checksum_is_the_pseudo_header_alone() {
    let ip = IpTemplate::new("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    let packet = build_inline(&ip, &Header::default(), b"abc", ChecksumMode::Partial);
    assert_eq!(packet.checksum, Checksum::Partial);
    let field = u16::from_be_bytes([packet.front()[36], packet.front()[37]]);
    assert_eq!(field, 0x0a00 + 1 + 0x0a00 + 2 + 6 + 23);
}

proptest! {
    #[test]
    fn emit_then_parse(ports in any::<(u16, u16)>(), seq in any::<u32>(), ack in any::<u32>(), bits in 0u16..0x200, window in any::<u16>(), urgent in any::<u16>(), data in prop::collection::vec(any::<u8>(), 0..40)) {
        let header = Header {
            src_port: ports.0, dst_port: ports.1, seq: SeqNum(seq), ack: SeqNum(ack),
            flags: Flags::from_bits_truncate(bits), window, urgent, options: Options::default(),
        };
        let mut bytes = emit(&header);
        bytes.extend_from_slice(&data);
        let (parsed, len) = Header::parse(&bytes).unwrap();
        prop_assert_eq!(len, 20);
        let ack = if header.flags.contains(Flags::ACK) { header.ack } else { SeqNum(0) };
        let urgent = if header.flags.contains(Flags::URG) { urgent } else { 0 };
        prop_assert_eq!(parsed, Header { ack, urgent, ..header });
    }

    /// Shows: ripple20-2020-11912, amnesia33-2020-17437
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok((_, len)) = Header::parse(&bytes) {
            prop_assert!((20..=60).contains(&len) && len <= bytes.len());
        }
    }
}
