use bytes::Bytes;

use super::*;
use crate::packet::Payload;
use crate::tcp::SeqNum;
use crate::wire::ip::IpTemplate;
use crate::wire::tcp::{ChecksumMode, Flags, Header, Timestamps, build};

/// Shows: rfc9293-MUST-2, rfc9293-s3.1-b
#[test]
fn what_is_built_parses() {
    for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")] {
        for len in [0usize, 1, 2, 63, 64, 65, 1459, 1460] {
            for mode in [ChecksumMode::Complete, ChecksumMode::Partial] {
                let ip = IpTemplate::new(src.parse().unwrap(), dst.parse().unwrap());
                let mut header = Header {
                    src_port: 80,
                    dst_port: 1234,
                    seq: SeqNum(7),
                    ack: SeqNum(9),
                    flags: Flags::ACK,
                    ..Header::default()
                };
                header.options.timestamps = Some(Timestamps { val: 1, ecr: 2 });
                let data: std::vec::Vec<u8> = (0..len).map(|i| i as u8 ^ 0x5a).collect();
                let packet = build(&ip, &header, Payload::from(Bytes::from(data.clone())), 0, mode);
                let parsed = parse(&packet).unwrap();
                let Upper::Tcp(segment) = parsed.upper else { panic!("{parsed:?}") };
                assert_eq!(segment.header, header);
                assert_eq!(segment.data_len, len);
                let payload = segment.take_payload(packet);
                let mut got = std::vec![0; len];
                assert_eq!(payload.copy_to(0, &mut got), len);
                assert_eq!(got, data);
            }
        }
    }
}
