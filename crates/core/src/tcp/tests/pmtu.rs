//! The path MTU by ICMP (RFC 1191, RFC 8201, RFC 5927 7.2).

use super::kit::*;
use super::*;

/// The lengths of texts that leave now.
fn lens(h: &mut Host) -> Vec<usize> {
    h.recv_all().iter().map(|o| o.data.len()).collect()
}

/// Shows: rfc1191-s3-a
#[test]
fn next_hop_mtu_is_obeyed() {
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(2);
    let outcome = h.icmp(too_big(1_400), 1_001);
    assert_eq!(outcome.pmtu, Some(1_400));
    let out = h.recv_all();
    assert!(!out.is_empty() && out.iter().all(|o| o.data.len() <= 1_360 && o.dont_fragment));
    assert_eq!(h.info().pmtu, 1_400);
    h.ack(1_001 + 2 * MSS);
    h.write(&pattern(3_000));
    assert_eq!(lens(&mut h), [1_360, 1_360, 280]);
}

/// Shows: rfc1191-s6.4-a
#[test]
fn what_was_too_big_is_sent_again_once_and_is_no_congestion() {
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(10);
    let (ssthresh, cwnd) = (h.cwnd().1, h.info().snd_cwnd);
    let mut again = Vec::new();
    for i in 0..10 {
        let _ = h.icmp(too_big(1_000), 1_001 + i * MSS);
        again.extend(h.recv_all());
    }
    assert_eq!((h.cwnd().1, h.info().snd_cwnd), (ssthresh, cwnd), "as many segments as before");
    let mut seen = alloc::collections::BTreeSet::new();
    for o in &again {
        assert!(o.data.len() <= 960);
        for at in 0..o.data.len() as u32 {
            assert!(seen.insert(o.hdr.seq.0 + at), "each byte once");
        }
    }
    assert!(seen.len() >= 9 * 960 && seen.contains(&1_001));
}

/// Shows: rfc1191-s3-b, cve-2019-11479
#[test]
fn estimate_never_rises_and_has_a_floor() {
    for (mtu, want) in [
        (9_000, 1_500),
        (1_500, 1_500),
        (1_501, 1_500),
        (20, 1_500),
        (67, 1_500),
        (68, 552),
        (551, 552),
        (600, 600),
    ] {
        let mut h = Host::established(plain(), Options::default());
        h.send_segments(1);
        let _ = h.icmp(too_big(mtu), 1_001);
        assert_eq!(h.conn.pmtu(), want, "{mtu}");
    }
    // Nor from a lowered one back up.
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(1);
    for (mtu, want) in [(1_000, 1_000), (1_400, 1_000), (1_001, 1_000), (9_000, 1_000), (999, 999)] {
        let _ = h.icmp(too_big(mtu), 1_001);
        assert_eq!(h.conn.pmtu(), want, "{mtu}");
    }
}

/// Shows: rfc1191-s5-a
#[test]
fn router_that_names_no_mtu_leads_to_a_plateau() {
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(1);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let _ = h.icmp(too_big(0), 1_001);
        seen.push(h.conn.pmtu());
    }
    assert_eq!(seen, [1_492, 1_006, 552, 552]);
}

/// Shows: rfc8201-s4-a
#[test]
fn ipv6_takes_1280_and_above_and_never_more() {
    for (mtu, want) in [(1_400, 1_400), (1_280, 1_280), (1_279, 1_500), (1_000, 1_500), (9_000, 1_500)] {
        let mut h = Host::established_on(plain(), tuple_v6(), 1_500, |o| o.mss = Some(1_440));
        h.write(&pattern(1_440));
        h.one();
        let _ = h.icmp(too_big(mtu), 1_001);
        assert_eq!(h.conn.pmtu(), want, "{mtu}");
        if want == 1_400 {
            assert_eq!(lens(&mut h)[0], 1_340);
        }
    }
}

/// Shows: rfc8201-s4-b, rfc5927-s4.1-a
#[test]
fn report_must_quote_what_is_in_flight() {
    for (seq, want) in [(1_000, 1_500), (1_001, 1_400), (1_001 + MSS - 1, 1_400), (1_001 + MSS, 1_500)] {
        let mut h = Host::established(plain(), Options::default());
        h.send_segments(1);
        let _ = h.icmp(too_big(1_400), seq);
        assert_eq!(h.conn.pmtu(), want, "{seq}");
    }
}

/// Shows: rfc8201-s5.2-a
#[test]
fn other_connections_of_the_path_follow() {
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(2);
    h.call(|c, cx| c.set_pmtu(cx, 1_400));
    assert!(h.recv_all().iter().all(|o| o.data.len() <= 1_360));
    h.ack(1_001 + 2 * MSS);
    h.write(&pattern(1_400));
    assert_eq!(lens(&mut h)[0], 1_360);
}

/// Shows: rfc8201-s5.4-a
#[test]
fn peers_mss_stays_the_bound_whatever_the_path() {
    let mut h = Host::established_on(plain(), tuple_v6(), 9_000, |o| o.mss = Some(1_440));
    h.write(&pattern(9_000));
    assert_eq!(lens(&mut h).into_iter().max(), Some(1_440));
    h.call(|c, cx| c.set_pmtu(cx, 9_000));
    h.ack(h.conn.snd.nxt.0);
    h.write(&pattern(9_000));
    assert_eq!(lens(&mut h).into_iter().max(), Some(1_440));
}

/// Shows: rfc5927-s7.2-a
#[test]
fn size_that_got_through_is_kept_while_acks_advance() {
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(2);
    h.ack(1_001 + 2 * MSS);
    h.send_segments(2);
    let outcome = h.icmp(too_big(576), 1_001 + 2 * MSS);
    assert_eq!((outcome.pmtu, h.info().snd_mss), (None, 1_460), "doubted");
    h.ack(1_001 + 4 * MSS);
    h.send_segments(2);
    assert!(h.conn.pmtu() == 1_500);
}

/// Shows: rfc5927-s7.2-a, rfc1191-s3-a
#[test]
fn doubted_report_is_believed_when_nothing_moves() {
    let mut h = Host::established(with(|c| c.tlp = false), Options::default());
    h.send_segments(2);
    h.ack(1_001 + 2 * MSS);
    h.send_segments(2);
    let _ = h.icmp(too_big(576), 1_001 + 2 * MSS);
    h.quiet();
    let out = h.wait(secs(5)).expect("after the timeout");
    assert_eq!((out.data.len(), h.conn.pmtu()), (536, 576));
}

/// Shows: rfc5927-s7.2-a
#[test]
fn doubted_report_is_forgotten_by_progress() {
    let mut h = Host::established(with(|c| c.tlp = false), Options::default());
    h.send_segments(2);
    h.ack(1_001 + 2 * MSS);
    h.send_segments(2);
    let _ = h.icmp(too_big(576), 1_001 + 2 * MSS);
    h.ack(1_001 + 4 * MSS);
    for round in 0..3 {
        h.send_segments(1);
        if round == 1 {
            h.wait(secs(30)).expect("an ordinary timeout, much later");
        }
        let nxt = h.conn.snd.nxt.0;
        h.ack(nxt);
        h.recv_all();
    }
    assert_eq!(h.conn.pmtu(), 1_500, "a forged report does not lie in wait");
}

/// Shows: rfc1191-s3-a
#[test]
fn without_discovery_reports_are_ignored_and_packets_may_be_fragmented() {
    let mut h = Host::established(with(|c| c.pmtu_discovery = false), Options::default());
    h.write(&pattern(1_460));
    assert!(!h.one().dont_fragment);
    let _ = h.icmp(too_big(1_000), 1_001);
    assert_eq!(h.conn.pmtu(), 1_500);
    let mut h = Host::established(plain(), socket(|o| o.pmtu_discovery = Some(false)));
    h.write(b"x");
    assert!(!h.one().dont_fragment);
}

/// Shows: rfc1191-s3-a
#[test]
fn report_in_the_handshake_makes_the_first_data_smaller() {
    let mut h = Host::in_state(plain(), State::SynSent);
    let _ = h.icmp(too_big(1_400), 1_000);
    assert_eq!(h.conn.state(), State::SynSent);
    h.recv_all();
    h.send(Seg::new(SYN_ACK, 5_000, 1_001).opt(|o| o.mss = Some(1_460)));
    h.recv_all();
    h.write(&pattern(3_000));
    assert_eq!(lens(&mut h)[0], 1_360);
}

/// Shows: rfc2525-s2.4-a, rfc1191-s6.4-a
#[test]
fn fin_survives_resegmenting() {
    let mut h = Host::established(plain(), Options::default());
    h.write(&pattern(2_920));
    h.shutdown();
    h.recv_all();
    let _ = h.icmp(too_big(1_000), 1_001);
    let mut got = alloc::collections::BTreeMap::new();
    let mut fin = None;
    for _ in 0..20 {
        let Some(out) = h.recv().or_else(|| h.wait(secs(10))) else { break };
        for (i, b) in bytes_of(&out).into_iter().enumerate() {
            got.insert(out.hdr.seq.0 + i as u32, b);
        }
        if out.hdr.flags.contains(FIN) {
            fin = Some(out.hdr.seq.0 + out.data.len() as u32);
        }
        let mut ack = 1_001;
        while got.contains_key(&ack) {
            ack += 1;
        }
        h.ack(ack + u32::from(fin == Some(ack)));
    }
    assert_eq!((fin, h.conn.state()), (Some(3_921), State::FinWait2));
    assert!(got.into_values().eq(pattern(2_920)));
}
