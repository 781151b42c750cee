use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// RFC 1071 as it is written: big-endian words, one after the other.
fn naive(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[test]
fn rfc_1071_section_3_example() {
    let mut sum = Sum::new();
    sum.add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
    assert_eq!(sum.folded(), 0xddf2);
    assert_eq!(sum.checksum(), 0x220d);
}

#[test]
fn ipv4_header_of_the_literature() {
    let header = [
        0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8,
        0x00, 0xc7,
    ];
    assert_eq!(checksum(&header), 0xb861);
}

/// Shows: rfc9293-s3.1-b
#[test]
fn pseudo_headers() {
    let v4 = pseudo_header("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap(), 6, 0x1234);
    assert_eq!(v4.folded(), 0x0a00 + 0x0001 + 0x0a00 + 0x0002 + 6 + 0x1234);
    // The 32-bit length of IPv6: 0x1_0002 is 1 + 2.
    let v6 = pseudo_header("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap(), 6, 0x1_0002);
    assert_eq!(v6.folded(), 2 * (0x2001 + 0x0db8) + 1 + 2 + 6 + 1 + 2);
}

/// The longest packet of all ones does not overflow anything.
#[test]
fn longest_packet() {
    for byte in [0xff, 0x80, 0x01] {
        for len in [65_534, 65_535] {
            let bytes = std::vec![byte; len];
            let mut sum = Sum::new();
            sum.add(&bytes);
            assert_eq!(sum.folded(), naive(&bytes));
        }
    }
}

proptest! {
    /// Shows: rfc9293-s3.1-b
    #[test]
    fn agrees_with_the_naive_sum(bytes in prop::collection::vec(any::<u8>(), 0..3_000)) {
        let mut sum = Sum::new();
        sum.add(&bytes);
        prop_assert_eq!(sum.folded(), naive(&bytes));
    }

    #[test]
    fn any_split_sums_to_the_same(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        cuts in prop::collection::vec(0usize..600, 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.sort_unstable();
        let mut sum = Sum::new();
        let mut from = 0;
        for cut in cuts {
            sum.add(&bytes[from..cut]);
            from = cut;
        }
        sum.add(&bytes[from..]);
        prop_assert_eq!(sum.folded(), naive(&bytes));
    }

    #[test]
    fn a_checksum_in_its_field_verifies(mut bytes in prop::collection::vec(any::<u8>(), 2..200), flip in any::<(u8, usize)>()) {
        bytes[0..2].fill(0);
        let field = checksum(&bytes);
        bytes[0..2].copy_from_slice(&field.to_be_bytes());
        let mut sum = Sum::new();
        sum.add(&bytes);
        prop_assert!(sum.is_valid());
        let at = flip.1 % bytes.len();
        bytes[at] ^= 1 << (flip.0 % 8);
        let mut sum = Sum::new();
        sum.add(&bytes);
        prop_assert!(!sum.is_valid());
    }
}
