use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn emit(options: &Options) -> Vec<u8> {
    let mut area = std::vec![0; options.wire_len()];
    options.emit(&mut area);
    area
}

fn blocks(n: u32) -> SackList {
    let mut list = SackList::new();
    for i in 0..n {
        list.push(SackBlock { left: SeqNum(i * 100), right: SeqNum(i * 100 + 50) });
    }
    list
}

const TS: Option<Timestamps> = Some(Timestamps { val: 0x0102_0304, ecr: 0x0506_0708 });

/// Linux's order and padding.
///
/// Shows: rfc9293-MUST-14, rfc9293-MUST-68, rfc9293-MUST-4
#[test]
fn layout_is_linuxs() {
    let syn = Options { mss: Some(1460), window_scale: Some(7), sack_permitted: true, ..Options::default() };
    assert_eq!(emit(&syn), [2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7]);
    let with_timestamps = Options { timestamps: TS, ..syn };
    assert_eq!(emit(&with_timestamps), [2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7]);
    let data = Options { timestamps: TS, ..Options::default() };
    assert_eq!(emit(&data), [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
    let sack = Options { sack: blocks(1), ..Options::default() };
    assert_eq!(emit(&sack), [1, 1, 5, 10, 0, 0, 0, 0, 0, 0, 0, 50]);
    let user_timeout = Options { user_timeout: Some(0x801e), ..Options::default() };
    assert_eq!(emit(&user_timeout), [28, 4, 0x80, 0x1e]);
    let request = Options { mss: Some(536), fast_open: Some(FastOpen::REQUEST), ..Options::default() };
    assert_eq!(emit(&request), [2, 4, 2, 0x18, 34, 2, 1, 1]);
    let cookie = Options { fast_open: FastOpen::cookie(&[9; 8]), ..Options::default() };
    assert_eq!(emit(&cookie), [34, 10, 9, 9, 9, 9, 9, 9, 9, 9, 1, 1]);
    assert_eq!(emit(&Options::default()), []);
}

/// Four blocks alone, three beside timestamps (RFC 2018 4).
///
/// Shows: rfc2018-s4-b
#[test]
fn as_many_sack_blocks_as_fit() {
    for (timestamps, user_timeout, fit) in
        [(None, None, 4), (TS, None, 3), (TS, Some(30), 2), (None, Some(30), 4)]
    {
        let options = Options { sack: blocks(4), timestamps, user_timeout, ..Options::default() };
        let parsed = Options::parse(&emit(&options), false);
        assert_eq!(parsed.sack, blocks(fit));
        assert_eq!(parsed.timestamps, timestamps);
    }
}

/// Shows: rfc7413-s4.2.2-a
#[test]
fn a_cookie_that_does_not_fit_is_left_out() {
    let full = Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: TS,
        fast_open: FastOpen::cookie(&[1; 16]),
        ..Options::default()
    };
    assert_eq!(full.wire_len(), 40);
    assert_eq!(Options::parse(&emit(&full), true), full);
    let over = Options { user_timeout: Some(30), ..full };
    assert_eq!(over.wire_len(), 24);
    assert_eq!(Options::parse(&emit(&over), true), Options { fast_open: None, ..over });
}

/// Shows: rfc9293-MUST-6, rfc9293-MUST-64, rfc9293-MUST-4, rfc9293-MUST-5
#[test]
fn any_alignment_and_unknown_kinds() {
    let parsed = Options::parse(&[200, 6, 1, 2, 3, 4, 2, 4, 3, 0x84], true);
    assert_eq!(parsed, Options { mss: Some(900), ..Options::default() });
    let parsed = Options::parse(&[1, 2, 4, 3, 0xe8, 3, 3, 5, 0, 9, 9, 9], true);
    assert_eq!(parsed, Options { mss: Some(1000), window_scale: Some(5), ..Options::default() });
    // Timestamps at an odd offset, on a segment that is no SYN.
    let parsed = Options::parse(&[1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 0], false);
    assert_eq!(parsed, Options { timestamps: TS, ..Options::default() });
}

/// Shows: rfc9293-MUST-7, amnesia33-2020-24337
#[test]
fn bad_lengths_end_the_parsing() {
    for bad in [&[2u8, 0, 0, 0][..], &[5, 1, 0, 0], &[8, 40, 0, 0], &[1, 1, 1, 2], &[3, 5, 1, 1]] {
        let mut area = std::vec![2, 4, 2, 0];
        area.extend_from_slice(bad);
        area.extend_from_slice(&[3, 3, 7, 0]);
        let end = if bad[3] == 2 || bad[0] == 8 || bad[0] == 3 { 8 } else { area.len() };
        let parsed = Options::parse(&area[..end], true);
        assert_eq!(parsed, Options { mss: Some(512), malformed: true, ..Options::default() }, "{bad:?}");
    }
}

/// A well-formed length that the kind does not have: that option is ignored, those behind it count.
#[test]
fn wrong_lengths_of_known_kinds() {
    for wrong in [
        &[2u8, 3, 9][..],
        &[2, 5, 9, 9, 9],
        &[3, 4, 9, 9],
        &[4, 3, 0],
        &[5, 2],
        &[5, 9, 0, 0, 0, 0, 0, 0, 0],
        &[8, 9, 0, 0, 0, 0, 0, 0, 0],
        &[28, 3, 1],
    ] {
        let mut area = wrong.to_vec();
        area.extend_from_slice(&[2, 4, 2, 0]);
        assert_eq!(
            Options::parse(&area, true),
            Options { mss: Some(512), ..Options::default() },
            "{wrong:?}"
        );
    }
}

/// Shows: rfc7323-s2.2-b, rfc7413-s4.1.1-a, rfc9293-MUST-5
#[test]
fn kinds_of_a_syn_are_ignored_elsewhere() {
    let area = [2, 4, 5, 0xb4, 4, 2, 3, 3, 7, 34, 2, 28, 4, 0, 30];
    let on_syn = Options::parse(&area, true);
    assert_eq!(on_syn.mss, Some(1460));
    assert_eq!(on_syn.window_scale, Some(7));
    assert!(on_syn.sack_permitted);
    assert_eq!(on_syn.fast_open, Some(FastOpen::REQUEST));
    assert_eq!(Options::parse(&area, false), Options { user_timeout: Some(30), ..Options::default() });
}

/// Shows: rfc7413-s4.1.1-a
#[test]
fn fast_open_lengths() {
    for len in 2..=20usize {
        let mut area = std::vec![7; len];
        area[0] = 34;
        area[1] = len as u8;
        let parsed = Options::parse(&area, true).fast_open;
        let good = len == 2 || (6..=18).contains(&len) && len % 2 == 0;
        assert_eq!(parsed.is_some(), good, "{len}");
    }
}

/// Shows: rfc5482-s3.3-a, rfc5482-s3.4-a
#[test]
fn user_timeout_of_zero() {
    for value in [0, 0x8000] {
        let options = Options { user_timeout: Some(value), ..Options::default() };
        assert_eq!(emit(&options), []);
        let [high, low] = value.to_be_bytes();
        assert_eq!(Options::parse(&[28, 4, high, low], false), Options::default());
    }
    for value in [0x801eu16, 0x001e] {
        let [high, low] = value.to_be_bytes();
        assert_eq!(Options::parse(&[28, 4, high, low], false).user_timeout, Some(value));
    }
}

/// Any length is taken for the whole counters in it, on data and elsewhere; the order is the kind's.
///
/// Shows: rfc9768-s3.2.3-a
#[test]
fn accurate_ecn_of_any_length() {
    for len in 2..=14_usize {
        for (kind, order1) in [(172, false), (174, true)] {
            let mut area = [0; 16];
            area[0] = kind;
            area[1] = len as u8;
            for (i, byte) in area[2..len].iter_mut().enumerate() {
                *byte = i as u8 + 1;
            }
            let option = Options::parse(&area, false).accurate_ecn.expect("parsed");
            let all = [0x01_0203, 0x04_0506, 0x07_0809];
            assert!(option.counters().eq(all[..((len - 2) / 3).min(3)].iter().copied()), "{len}");
            assert_eq!((option.order1, option.ceb().is_some()), (order1, len >= 8));
        }
    }
}

/// A counter whose last byte is that of a NOP is written whole, wherever it ends.
///
/// Shows: rfc9768-s3.2.3-a
#[test]
fn a_counter_that_ends_like_padding_is_whole() {
    for (window_scale, sack) in [(None, 0), (Some(7), 0), (None, 1), (Some(7), 1)] {
        let accurate_ecn = Some(AccEcn::new(false, &[0x16_bf01]));
        let options = Options { window_scale, sack: blocks(sack), accurate_ecn, ..Options::default() };
        let read = Options::parse(&emit(&options), true).accurate_ecn.expect("written");
        assert!(read.counters().eq([0x16_bf01]), "{window_scale:?} {sack}");
    }
}

/// Of several the last counts, as in Linux's tcp_parse_options.
#[test]
fn the_last_of_a_kind_counts() {
    let area = [2, 4, 2, 0, 3, 3, 1, 1, 2, 4, 3, 0, 3, 3, 2, 1, 2, 4, 0, 0];
    let parsed = Options::parse(&area, true);
    // An MSS of zero is no MSS.
    assert_eq!((parsed.mss, parsed.window_scale), (Some(768), Some(2)));
}

prop_compose! {
    fn any_options()(
        mss in prop::option::of(1u16..),
        window_scale in prop::option::of(any::<u8>()),
        sack_permitted in any::<bool>(),
        n in 0u32..=4,
        ts in prop::option::of(any::<(u32, u32)>()),
        user_timeout in prop::option::of(any::<u16>()),
        fast_open in prop::option::of(prop::collection::vec(any::<u8>(), 0..=16)),
        counters in prop::option::of((any::<bool>(), prop::collection::vec(0u32..1 << 24, 1..=3))),
        signature in prop::option::of(any::<[u8; 16]>()),
    ) -> Options {
        Options {
            mss, window_scale, sack_permitted, user_timeout, signature,
            sack: blocks(n),
            timestamps: ts.map(|(val, ecr)| Timestamps { val, ecr }),
            fast_open: fast_open.map(|cookie| FastOpen::cookie(&cookie).unwrap_or(FastOpen::REQUEST)),
            accurate_ecn: counters.map(|(order1, counters)| AccEcn::new(order1, &counters)),
            malformed: false,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// What is written is read back; what did not fit or is never sent is missing, nothing else.
    ///
    /// Shows: rfc9293-MUST-68, rfc9293-MUST-69
    #[test]
    fn emit_then_parse(options in any_options()) {
        let area = emit(&options);
        prop_assert!(area.len() <= MAX_OPTIONS && area.len() % 4 == 0);
        let parsed = Options::parse(&area, true);
        prop_assert!(!parsed.malformed);
        prop_assert_eq!(parsed.mss, options.mss);
        prop_assert_eq!(parsed.window_scale, options.window_scale);
        prop_assert_eq!(parsed.sack_permitted, options.sack_permitted);
        prop_assert_eq!(parsed.timestamps, options.timestamps);
        prop_assert_eq!(parsed.signature, options.signature);
        // Beside a signature, MSS, timestamps and a scale there is no room for more.
        let room = options.signature.is_none() || area.len() < MAX_OPTIONS || parsed.user_timeout.is_some();
        if room {
            prop_assert_eq!(parsed.user_timeout, options.user_timeout.filter(|value| value & 0x7fff != 0));
        }
        prop_assert!(options.sack.as_slice().starts_with(parsed.sack.as_slice()));
        prop_assert!(parsed.fast_open.is_none() || parsed.fast_open == options.fast_open);
        if let (Some(read), Some(written)) = (parsed.accurate_ecn, options.accurate_ecn) {
            prop_assert_eq!(read.order1, written.order1);
            prop_assert!(written.as_slice().starts_with(read.as_slice()) && read.counters().count() > 0);
        }
        prop_assert!(parsed.accurate_ecn.is_none() || options.accurate_ecn.is_some());
        let spare = MAX_OPTIONS - area.len();
        if parsed.sack.as_slice().len() < options.sack.as_slice().len() {
            prop_assert!(spare < 12 || parsed.fast_open.is_some() && spare < 20);
        }
    }

    /// Arbitrary bytes: no panic, and never more than there is.
    ///
    /// Shows: amnesia33-2020-24337, rfc9293-MUST-7, ripple20-2020-11912
    #[test]
    fn arbitrary_areas(area in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..12, Just(34)], 0..=40), syn in any::<bool>()) {
        let parsed = Options::parse(&area, syn);
        // An independent strict walk says where it breaks off.
        let mut at = 0;
        let mut malformed = false;
        for _ in 0..=40 {
            match area.get(at) {
                None | Some(0) => break,
                Some(1) => at += 1,
                Some(_) => match area.get(at + 1) {
                    Some(len) if *len >= 2 && at + usize::from(*len) <= area.len() => at += usize::from(*len),
                    _ => { malformed = true; break }
                },
            }
        }
        prop_assert_eq!(parsed.malformed, malformed);
        prop_assert!(syn || parsed.mss.is_none() && parsed.window_scale.is_none() && !parsed.sack_permitted);
    }
}
