//! The fuzz targets of the wire over a bounded number of seeded inputs: random ones, and well-formed packets
//! with a few bytes changed. The same bodies run under cargo-fuzz in `fuzz/`.

#[path = "fuzz_bodies/wire.rs"]
mod wire;

use bytes::Bytes;
use sockeye_core::tcp::SeqNum;
use sockeye_core::wire::checksum;
use sockeye_core::wire::ip::IpTemplate;
use sockeye_core::wire::tcp::{ChecksumMode, FastOpen, Flags, Header, SackBlock, Timestamps, build};
use sockeye_core::wire::{Malformed, icmp};
use sockeye_core::{Packet, Payload};

/// xorshift64*: the inputs are the same in each run.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = self.below(most + 1);
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Well-formed packets of many kinds.
fn corpus() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (src, dst) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
        let ip = IpTemplate {
            dont_fragment: false,
            ..IpTemplate::new(src.parse().unwrap(), dst.parse().unwrap())
        };
        for len in [0, 1, 100, 700] {
            let mut tcp =
                Header { src_port: 1, dst_port: 2, seq: SeqNum(3), flags: Flags::SYN, ..Header::default() };
            let options = &mut tcp.options;
            match len {
                0 => {
                    (options.mss, options.window_scale, options.sack_permitted) = (Some(1460), Some(7), true);
                    options.fast_open = FastOpen::cookie(&[1; 8]);
                }
                1 => {
                    options.sack.push(SackBlock { left: SeqNum(1), right: SeqNum(2) });
                    options.user_timeout = Some(30);
                }
                _ => {}
            }
            options.timestamps = Some(Timestamps { val: 1, ecr: 2 });
            let payload = Payload::from(Bytes::from(vec![7; len]));
            let packet = build(&ip, &tcp, payload, 0, ChecksumMode::Complete);
            out.push(packet.to_vec());
            out.push(icmp::error(&ip, icmp::Error::TimeExceeded { code: 0 }, &packet).unwrap().to_vec());
            out.extend(with_extensions(&packet));
        }
        let echo = icmp::Echo { ident: 1, seq: 2 };
        let ping = Packet::from_bytes(Bytes::from_static(b"hello"));
        out.push(icmp::echo_reply(&ip, echo, ping, 0, 5).to_vec());
    }
    out
}

/// An IPv6 packet behind hop-by-hop options and a fragment header; a fragment of an IPv4 one.
fn with_extensions(packet: &Packet) -> Option<Vec<u8>> {
    let mut bytes = packet.to_vec();
    if bytes[0] >> 4 == 4 {
        bytes[6] |= 0x20;
        let len = (bytes.len() - 20) / 8 * 8 + 20;
        bytes.truncate(len);
        bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        fix_header(&mut bytes);
        return Some(bytes);
    }
    let mut out = bytes[..40].to_vec();
    out[6] = 0;
    out[4..6].copy_from_slice(&((bytes.len() - 40 + 16) as u16).to_be_bytes());
    out.extend_from_slice(&[44, 0, 1, 4, 0, 0, 0, 0]);
    out.extend_from_slice(&[6, 0, 0, 0, 0, 0, 0, 9]);
    out.extend_from_slice(&bytes[40..]);
    Some(out)
}

/// Makes the IPv4 header checksum hold again, so that what is behind it is reached.
fn fix_header(bytes: &mut [u8]) {
    let len = bytes.first().map_or(0, |first| usize::from(first & 15) * 4);
    if len >= 20 && len <= bytes.len() && bytes[0] >> 4 == 4 {
        bytes[10..12].fill(0);
        let sum = checksum::checksum(&bytes[..len]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// A packet of the corpus with a few bytes of its front changed, and perhaps cut or longer.
fn mutated(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[rng.below(corpus.len())].clone();
    for _ in 0..rng.below(4) {
        let at = rng.below(bytes.len().min(100));
        bytes[at] = match rng.below(4) {
            0 => rng.next() as u8,
            1 => bytes[at] ^ 1 << rng.below(8),
            2 => bytes[at].wrapping_add(1),
            _ => [0, 1, 0xff, 0x80][rng.below(4)],
        };
    }
    match rng.below(8) {
        0 => bytes.truncate(rng.below(bytes.len() + 1)),
        1 => bytes.extend(rng.bytes(40)),
        _ => {}
    }
    if rng.below(4) != 0 {
        fix_header(&mut bytes);
    }
    bytes
}

/// Shows: ripple20-2020-11912, infrahalt-2020-35684, amnesia33-2020-24341, cve-2024-38063-exthdr, amnesia33-2020-17437
#[test]
fn packets() {
    let corpus = corpus();
    let mut rng = Rng(1);
    let mut accepted = 0;
    for i in 0..800_000 {
        let mut input = (rng.next() as u32).to_be_bytes().to_vec();
        input.extend(if i % 8 == 0 { rng.bytes(120) } else { mutated(&mut rng, &corpus) });
        accepted += u32::from(wire::packet(&input));
    }
    assert!((200_000..600_000).contains(&accepted), "both ways are gone: {accepted}");
}

/// Shows: amnesia33-2020-24337, rfc9293-MUST-7
#[test]
fn options() {
    let mut rng = Rng(2);
    let mut well_formed = 0;
    for _ in 0..2_000_000 {
        let mut input = rng.bytes(44);
        for byte in &mut input[..] {
            // Mostly kinds and lengths that mean something.
            if rng.below(3) != 0 {
                *byte = [0, 1, 2, 3, 4, 5, 8, 10, 18, 26, 28, 34][rng.below(12)];
            }
        }
        well_formed += u32::from(wire::options(&input));
    }
    assert!((200_000..1_800_000).contains(&well_formed), "both ways are gone: {well_formed}");
}

/// One fragment of 24 bytes, the `index`th, as a packet of either family.
fn piece(v6: bool, index: usize, more: bool) -> Vec<u8> {
    let (src, dst) = if v6 { ("2001:db8::1", "2001:db8::2") } else { ("192.0.2.1", "192.0.2.2") };
    let ip =
        IpTemplate { dont_fragment: false, ..IpTemplate::new(src.parse().unwrap(), dst.parse().unwrap()) };
    let packet =
        build(&ip, &Header::default(), Payload::from(Bytes::from_static(&[7; 4])), 0, ChecksumMode::Complete);
    let mut bytes = packet.to_vec();
    if v6 {
        bytes[6] = 44;
        bytes[5] = 32;
        let place = (index as u16 * 24) | u16::from(more);
        let [high, low] = place.to_be_bytes();
        bytes.splice(40..40, [6, 0, high, low, 0, 0, 0, 9]);
    } else {
        let place = (index as u16 * 3) | (u16::from(more) << 13);
        bytes[6..8].copy_from_slice(&place.to_be_bytes());
        fix_header(&mut bytes);
    }
    bytes
}

/// Shows: teardrop, cve-2018-5391, tiny-fragment
#[test]
fn reassembly() {
    let mut rng = Rng(3);
    let mut whole = 0;
    for _ in 0..60_000 {
        let mut input = Vec::new();
        let (v6, count) = (rng.below(2) == 0, 2 + rng.below(4));
        // Enough picks that often, but not always, all have come; some of them damaged.
        for _ in 0..count * 3 {
            let index = rng.below(count);
            let mut packet = piece(v6, index, index + 1 < count);
            if rng.below(12) == 0 {
                packet = mutated(&mut rng, &[packet]);
                packet.truncate(255);
            }
            input.extend([rng.below(3) as u8, packet.len() as u8]);
            input.extend(packet);
        }
        whole += u32::from(wire::reassembly(&input));
    }
    assert!((10_000..59_000).contains(&whole), "both ways are gone: {whole}");
}

/// Counters are told apart by their names.
#[test]
fn reasons_have_names_of_their_own() {
    let names: std::collections::BTreeSet<&str> = Malformed::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), Malformed::ALL.len());
    for (i, reason) in Malformed::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, i);
    }
}
