//! What SYNs offer and agree on (RFC 9293 3.1, 3.2, 3.7.1, RFC 7323 2).

use super::kit::*;
use super::*;

/// Every option on, as the profile has it.
fn full() -> Config {
    Config::new(Profile::Linux)
}

/// The longest text of a long write.
fn longest(h: &mut Host) -> usize {
    h.write(&pattern(10_000));
    h.recv_all().iter().map(|o| o.data.len()).max().expect("text")
}

/// Shows: rfc9293-MUST-14, rfc9293-SHLD-5, rfc9293-MUST-67, rfc9293-MAY-3
#[test]
fn mss_option_says_what_the_interface_takes() {
    for (tuple, mtu, mss) in [
        (tuple(), 1_500, 1_460),
        (tuple_v6(), 1_500, 1_440),
        (tuple(), 1_000, 960),
        (tuple(), 576, 536),
        (tuple(), 9_000, 8_960),
    ] {
        for config in [plain(), full()] {
            let path = Path { mtu, pmtu: mtu, gso_max: 0 };
            let mut h = Host::open_on(config, Options::default(), tuple, path, 1);
            assert_eq!(h.one().hdr.options.mss, Some(mss), "timestamps do not count");
        }
    }
}

/// Shows: rfc9293-MUST-14
#[test]
fn mss_option_stands_in_the_syn_ack_of_a_simultaneous_open() {
    let mut h = Host::in_state(plain(), State::SynSent);
    h.send(Seg::new(SYN, 5_000, 0));
    assert_eq!(h.one().hdr.options.mss, Some(1_460));
}

/// Shows: rfc9293-MUST-15, rfc9293-MUST-14
#[test]
fn peer_without_mss_option_gets_the_default() {
    for (tuple, want) in [(tuple(), 536), (tuple_v6(), 1_220)] {
        let mut h = Host::established_on(plain(), tuple, 1_500, |_| {});
        assert_eq!(longest(&mut h), want);
    }
    let mut h = Host::established_on(plain(), tuple(), 1_500, |o| o.mss = Some(700));
    assert_eq!(longest(&mut h), 700);
}

/// Shows: rfc9293-MUST-16
#[test]
fn options_in_the_header_make_the_text_shorter() {
    let agree = |o: &mut SegmentOptions| {
        o.mss = Some(1_460);
        o.timestamps = Some(Timestamps { val: 1, ecr: 0 });
    };
    let mut h = Host::established_on(with(|c| c.timestamps = true), tuple(), 1_500, agree);
    assert_eq!(longest(&mut h), 1_448);
    let mut h = Host::established_on(with(|c| c.timestamps = true), tuple(), 1_400, agree);
    assert_eq!(longest(&mut h), 1_348, "the path takes less than the peer");
    let mut h = Host::established_on(plain(), tuple_v6(), 1_500, |o| o.mss = Some(9_000));
    assert_eq!(longest(&mut h), 1_440);
}

/// Shows: rfc9293-MUST-16
#[test]
fn sack_blocks_make_the_text_shorter() {
    let mut h = Host::established_with(with(|c| c.sack = true), Options::default(), |o| {
        o.sack_permitted = true;
    });
    h.send(Seg::new(ACK, 6_001, 1_001).len(10));
    h.send(Seg::new(ACK, 7_001, 1_001).len(10));
    h.recv_all();
    h.write(&pattern(3_000));
    let out = h.recv().expect("text");
    assert_eq!(out.data.len(), 1_460 - 20, "2 NOPs, kind, length and two blocks");
}

/// Shows: rfc9293-MUST-65
#[test]
fn mss_option_stands_in_syns_only() {
    let mut h = Host::established_with(full(), Options::default(), |o| {
        o.sack_permitted = true;
        o.window_scale = Some(7);
        o.timestamps = Some(Timestamps { val: 1, ecr: 0 });
    });
    h.write(&pattern(5_000));
    let mut out = h.recv_all();
    let _ = h.icmp(too_big(1_300), 1_001);
    out.extend(h.recv_all());
    h.send(Seg::new(ACK, 5_001, 1_001).ts(2, 0).len(10));
    h.shutdown();
    out.extend(h.timeline(secs(3)).into_iter().map(|(_, o)| o));
    h.abort();
    out.extend(h.recv_all());
    assert!(out.iter().any(|o| o.hdr.flags.contains(FIN)) && out.iter().any(|o| o.hdr.flags.contains(RST)));
    for o in &out {
        let options = &o.hdr.options;
        assert_eq!((options.mss, options.window_scale, options.sack_permitted), (None, None, false));
    }
}

/// Shows: rfc9293-MUST-5
#[test]
fn options_count_in_any_segment() {
    let noise = |o: &mut SegmentOptions| {
        o.user_timeout = Some(300);
        o.mss = Some(9);
    };
    let mut h = Host::established(plain(), Options::default());
    h.write(b"abc");
    h.one();
    h.send(Seg::new(ACK, 5_001, 1_004).opt(noise));
    assert_eq!(h.conn.snd.una.0, 1_004);
    h.send(Seg::new(ACK, 5_001, 1_004).data(b"data").opt(noise));
    h.send(Seg::new(FIN_ACK, 5_005, 1_004).opt(noise));
    assert_eq!((h.read(9), h.conn.state()), (b"data".to_vec(), State::CloseWait));
    h.write(&pattern(2_000));
    assert_eq!(h.recv_all().iter().map(|o| o.data.len()).max(), Some(1_460), "no MSS outside of a SYN");
}

/// Shows: rfc7323-s2.2-a, rfc7323-s2.3-b
#[test]
fn window_scale_is_in_force_only_if_both_offer() {
    for (ours, theirs, scaled) in
        [(true, Some(3), true), (true, None, false), (false, Some(3), false), (false, None, false)]
    {
        let config = with(|c| c.window_scaling = ours);
        let mut h = Host::connecting(config, socket(|o| o.rcvbuf = Some(1 << 20)), 1_000);
        assert_eq!(h.one().hdr.options.window_scale.is_some(), ours);
        h.send(Seg::new(SYN_ACK, 5_000, 1_001).opt(|o| {
            o.mss = Some(1_460);
            o.window_scale = theirs;
        }));
        h.recv_all();
        h.send(Seg::new(ACK, 5_001, 1_001).win(1_000));
        assert_eq!(h.info().snd_wnd, if scaled { 8_000 } else { 1_000 });
        assert_eq!(h.conn.rcv.wscale > 0, scaled);
        if !scaled {
            assert!(h.info().rcv_wnd <= 65_535);
        }
    }
}

/// Shows: rfc7323-s2.2-b
#[test]
fn window_of_a_syn_is_not_scaled_and_scale_elsewhere_is_ignored() {
    let mut h = Host::connecting(with(|c| c.window_scaling = true), Options::default(), 1_000);
    h.one();
    h.send(Seg::new(SYN_ACK, 5_000, 1_001).win(1_000).opt(|o| {
        o.mss = Some(1_460);
        o.window_scale = Some(7);
    }));
    h.recv_all();
    assert_eq!(h.info().snd_wnd, 1_000);
    h.send(Seg::new(ACK, 5_001, 1_001).win(1_000).opt(|o| o.window_scale = Some(14)));
    assert_eq!(h.info().snd_wnd, 128_000);
    assert_eq!(h.info().snd_wscale, 7);
}

/// Shows: rfc7323-s2.2-b, rfc9293-MUST-10
#[test]
fn window_of_a_crossing_syn_ack_is_not_scaled() {
    let scale = |o: &mut SegmentOptions| o.window_scale = Some(10);
    let mut h = Host::connecting(with(|c| c.window_scaling = true), Options::default(), 1_000);
    h.one();
    h.send(Seg::new(SYN, 5_000, 0).win(600).opt(scale));
    h.recv_all();
    h.send(Seg::new(SYN_ACK, 5_000, 1_001).win(600).opt(scale));
    assert_eq!((h.conn.state(), h.info().snd_wnd), (State::Established, 600));
    h.send(Seg::new(ACK, 5_001, 1_001).win(600));
    assert_eq!(h.info().snd_wnd, 600 << 10);
}

/// Shows: rfc7323-s2.2-b
#[test]
fn our_syn_announces_an_unscaled_window() {
    let config = with(|c| c.window_scaling = true);
    let mut h = Host::connecting(config, socket(|o| o.rcvbuf = Some(4 << 20)), 1_000);
    let syn = h.one();
    assert!(syn.hdr.options.window_scale > Some(5));
    assert!(syn.hdr.window > 60_000, "{}", syn.hdr.window);
}

/// Shows: rfc7323-s2.3-a, rfc9293-REC-1
#[test]
fn shift_above_14_is_taken_as_14() {
    for (offered, taken) in [(13, 13), (14, 14), (15, 14), (255, 14)] {
        let config = with(|c| c.window_scaling = true);
        let mut h = Host::established_with(config, Options::default(), |o| o.window_scale = Some(offered));
        h.send(Seg::new(ACK, 5_001, 1_001).win(0xffff));
        assert_eq!(h.info().snd_wnd, 65_535 << taken);
    }
}

/// Shows: rfc7323-s2.3-a, posix-sockopt-b
#[test]
fn our_shift_is_enough_for_the_buffer_and_never_above_14() {
    for (buffer, least) in [(4 << 20, 7), (u32::MAX / 2, 14)] {
        let config = with(|c| c.window_scaling = true);
        let mut h = Host::connecting(config, socket(|o| o.rcvbuf = Some(buffer)), 1_000);
        let shift = h.one().hdr.options.window_scale.expect("offered");
        assert!((least..=14).contains(&shift), "{shift}");
    }
}

/// Shows: rfc7323-s2.3-b
#[test]
fn our_window_is_shifted_right_by_our_scale() {
    let config = with(|c| {
        c.window_scaling = true;
        c.rmem[2] = 1 << 20;
    });
    let mut h = Host::connecting(config, socket(|o| o.rcvbuf = Some(1 << 20)), 1_000);
    assert_eq!(h.one().hdr.options.window_scale, Some(5), "1 MiB >> 5 fits");
    h.send(Seg::new(SYN_ACK, 5_000, 1_001).opt(|o| {
        o.mss = Some(1_460);
        o.window_scale = Some(0);
    }));
    // Linux keeps room for one segment, and rounds up.
    assert_eq!(h.one().hdr.window, ((1_u32 << 20) - 1_460).div_ceil(32) as u16);
}

/// Shows: cve-2019-11479
#[test]
fn tiny_mss_is_refused_by_the_floor() {
    for offered in [1, 8, 48, 100, 535] {
        let mut h = Host::established_on(rfc(), tuple(), 1_500, |o| o.mss = Some(offered));
        assert_eq!(longest(&mut h), 536);
        let mut h = Host::established_on(with(|c| c.min_snd_mss = 216), tuple(), 1_500, |o| {
            o.mss = Some(offered);
        });
        assert_eq!(longest(&mut h), usize::from(offered.max(216)));
    }
    let mut h = Host::established_on(plain(), tuple(), 1_500, |o| o.mss = Some(1));
    assert_eq!(longest(&mut h), 48, "Linux's tcp_min_snd_mss");
}

/// Shows: cve-2019-11479, rfc9293-MUST-15
#[test]
fn mss_of_zero_is_no_mss() {
    let mut h = Host::established_on(plain(), tuple(), 1_500, |o| o.mss = Some(0));
    assert_eq!(longest(&mut h), 536);
}

/// Shows: rfc9293-MUST-14, rfc9293-MUST-16
#[test]
fn maxseg_lowers_what_is_announced_and_sent() {
    let mut h = Host::connecting(plain(), socket(|o| o.maxseg = 1_000), 1_000);
    assert_eq!(h.one().hdr.options.mss, Some(1_000));
    h.send(Seg::new(SYN_ACK, 5_000, 1_001).opt(|o| o.mss = Some(1_460)));
    h.recv_all();
    assert_eq!(longest(&mut h), 1_000);
}

/// Shows: rfc2018-s2-a
#[test]
fn sack_needs_the_consent_of_both() {
    for (ours, theirs) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut h = Host::connecting(with(|c| c.sack = ours), Options::default(), 1_000);
        assert_eq!(h.one().hdr.options.sack_permitted, ours);
        h.send(Seg::new(SYN_ACK, 5_000, 1_001).opt(|o| o.sack_permitted = theirs));
        assert!(!h.one().hdr.options.sack_permitted);
        h.send(Seg::new(ACK, 5_101, 1_001).len(100));
        let out = h.one();
        assert_eq!(blocks(&out), if ours && theirs { alloc::vec![(5_101, 5_201)] } else { alloc::vec![] });
        assert!(!out.hdr.options.sack_permitted, "in SYNs only");
    }
}

/// Shows: rfc9293-MUST-48, rfc9293-SHLD-21, rfc9293-SHLD-22, rfc9293-SHLD-23
#[test]
fn traffic_class_is_the_users_and_nobody_elses() {
    let mut h = Host::connecting(plain(), socket(|o| o.tos = 46 << 2 | 3), 1_000);
    let mut seen = alloc::vec![h.one().tos];
    h.send(Seg::new(SYN_ACK, 5_000, 1_001));
    h.write(b"abc");
    h.send(Seg::new(ACK, 5_001, 1_001).len(10));
    h.shutdown();
    seen.extend(h.timeline(secs(2)).iter().map(|(_, o)| o.tos));
    assert!(seen.len() > 3 && seen.iter().all(|&tos| tos == 46 << 2), "the ECN bits are not the user's");
    for dscp in 0..64 {
        h.set(|o| o.tos = dscp << 2);
        h.send(Seg::new(ACK, 5_005, 1_001).len(1));
        h.send(Seg::new(ACK, 5_003, 1_001).len(1));
        assert!(h.recv_all().iter().all(|o| o.tos == dscp << 2));
    }
    h.abort();
    assert_eq!(h.one().tos, 63 << 2);
}

/// Shows: rfc9293-MAY-9
#[test]
fn traffic_class_last_received_can_be_asked_for() {
    let mut h = Host::established(plain(), Options::default());
    let mut seg = Seg::new(ACK, 5_001, 1_001).data(b"x");
    seg.0.tos = 0x28;
    h.send(seg);
    assert_eq!(h.conn.received_tos(), 0x28);
}

/// Shows: rfc9293-MUST-49
#[test]
fn ttl_is_the_sockets_or_the_stacks() {
    let mut h = Host::connecting(with(|c| c.default_ttl = 40), Options::default(), 1);
    assert_eq!(h.one().ttl, 40);
    let mut h = Host::connecting(with(|c| c.default_ttl = 40), socket(|o| o.ttl = Some(5)), 1);
    assert_eq!(h.one().ttl, 5);
}
