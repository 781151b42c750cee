//! Published attacks on one connection, and the defences of RFC 5961.

use super::kit::*;
use super::*;

/// Shows: rfc5961-s3.2-a, rfc5961-s3.2-b
#[test]
fn reset_must_hit_the_next_number_exactly() {
    for (seq, state, answered) in [
        (5_001, State::Closed, false),
        (5_002, State::Established, true),
        (5_101, State::Established, true),
        (5_000, State::Established, false),
        (5_001 + 64_239, State::Established, true),
        (5_001 + 64_240, State::Established, false),
    ] {
        let mut h = Host::established(plain(), Options::default());
        assert_eq!(h.info().rcv_wnd, 64_240);
        h.send(Seg::new(RST, seq, 0));
        assert_eq!(h.conn.state(), state, "{seq}");
        let out: Vec<_> = h.recv_all().iter().map(|o| (o.why, brief(o))).collect();
        let challenge = (Why::ChallengeAck, (ACK, 1_001, 5_001, 0));
        assert_eq!(out, if answered { alloc::vec![challenge] } else { alloc::vec![] }, "{seq}");
    }
}

/// Shows: rfc5961-s4.2-a, blind-syn
#[test]
fn syn_in_a_synchronized_state_draws_a_challenge() {
    for state in SYNCHRONIZED {
        for seq in [5_000, 5_001, 5_050, 100, 0x9000_0000] {
            for flags in [SYN, SYN_ACK] {
                let mut h = Host::in_state(plain(), state);
                let want = (ACK, h.conn.snd.nxt.0, h.conn.rcv.nxt.0, 0);
                h.send(Seg::new(flags, seq, h.conn.snd.nxt.0));
                assert_eq!(h.conn.state(), state);
                assert_eq!(brief(&h.one()), want, "{state} {seq}");
            }
        }
    }
}

/// Shows: rfc5961-s7-a, blind-syn, rfc5961-s4.2-a
#[test]
fn challenges_of_one_connection_are_limited_and_resume() {
    // Ten a second by RFC 5961 7's form; on Linux one in `tcp_invalid_ratelimit`, half a second.
    for (config, most) in [(plain(), 1), (rfc(), 10)] {
        let mut h = Host::established(config, Options::default());
        let burst = |h: &mut Host| -> usize {
            (0..1_000)
                .map(|i| {
                    h.send(Seg::new(RST, 5_100 + i, 0));
                    h.recv_all().len()
                })
                .sum()
        };
        assert_eq!(burst(&mut h), most);
        h.now += ms(1_000);
        assert_eq!(burst(&mut h), most, "a second later there are some again");
        assert_eq!(h.conn.state(), State::Established);
    }
}

/// Shows: cve-2016-5696, rfc5961-s7-a
#[test]
fn limit_of_challenges_is_no_ones_but_the_connections() {
    let mut victim = Host::established(plain(), Options::default());
    let mut own = Host::established(plain(), Options::default());
    for guess in 0..500 {
        victim.send(Seg::new(RST, 5_100 + guess, 0));
        victim.recv_all();
    }
    let mut seen = 0;
    for i in 0..10 {
        own.send(Seg::new(RST, 5_100 + i, 0));
        seen += own.recv_all().len();
    }
    let mut alone = Host::established(plain(), Options::default());
    let mut want = 0;
    for i in 0..10 {
        alone.send(Seg::new(RST, 5_100 + i, 0));
        want += alone.recv_all().len();
    }
    assert_eq!(seen, want, "what happens to the victim does not show");
}

/// Shows: cve-2004-0230-blind-rst, blind-syn
#[test]
fn spray_over_the_whole_space_kills_nothing() {
    for flags in [RST, RST_ACK, SYN, SYN_ACK, RST.union(SYN)] {
        let mut h = Host::established(plain(), Options::default());
        let mut answers = 0;
        for i in 0..66_000u32 {
            let seq = i.wrapping_mul(65_535);
            if flags.contains(RST) && seq == 5_001 {
                continue;
            }
            h.send(Seg::new(flags, seq, i.wrapping_mul(77_777)));
            answers += h.recv_all().len();
        }
        assert_eq!(h.conn.state(), State::Established);
        assert!(answers <= 10, "{answers}");
        h.send(Seg::new(ACK, 5_001, 1_001).data(b"alive"));
        assert_eq!(h.read(9), b"alive");
    }
}

/// Shows: blind-data, rfc9293-MAY-12
#[test]
fn data_with_a_guessed_ack_is_refused() {
    let mut h = Host::established(plain(), Options::default());
    h.write(&[1; 100]);
    h.one();
    let (oldest, newest) = (1_001u32.wrapping_sub(65_535), 1_101u32);
    let mut taken = 0;
    for i in 0..1_000u32 {
        let ack = i.wrapping_mul(0x9e37_79b9);
        let in_range = SeqNum(ack).within(SeqNum(oldest), newest.wrapping_sub(oldest) + 1);
        let before = h.conn.readable();
        h.now += ms(1_000);
        let at = h.conn.rcv.nxt.0;
        h.send(Seg::new(ACK, at, ack).data(b"x"));
        h.recv_all();
        let took = h.conn.readable() > before;
        assert_eq!(took, in_range, "{ack:#x}");
        taken += u32::from(took);
    }
    assert!(taken < 5);
}

/// Shows: ack-storm
#[test]
fn two_ends_that_disagree_fall_silent() {
    // Both have had 1,000 bytes injected: each is ahead of what the other sends.
    let mut a = Host::established(plain(), Options::default());
    let mut b = Host::established(plain(), Options::default());
    a.send(Seg::new(ACK, 5_001, 1_001).len(1_000));
    b.send(Seg::new(ACK, 5_001, 1_001).len(1_000));
    a.recv_all();
    b.recv_all();
    // As each sees it the other's segments are old, and acknowledge what was never sent.
    a.send(Seg::new(ACK, 5_001, 2_001));
    let mut exchanged = 0;
    for _ in 0..1_000 {
        for (from, to) in [(true, false), (false, true)] {
            let out = if from { a.recv_all() } else { b.recv_all() };
            for _ in out {
                exchanged += 1;
                if to { a.send(Seg::new(ACK, 5_001, 2_001)) } else { b.send(Seg::new(ACK, 5_001, 2_001)) }
            }
        }
        a.now += ms(1);
        b.now += ms(1);
    }
    assert!(exchanged <= 12, "in one second: {exchanged}");
}

/// Shows: ack-storm, rfc9293-s3.10.7.4-b
#[test]
fn answers_to_empty_segments_outside_of_the_window_are_limited() {
    for (seq, ack) in [(4_000, 1_001), (5_001 + 70_000, 1_001), (5_001, 9_999)] {
        let mut h = Host::established(plain(), Options::default());
        let mut answers = 0;
        for _ in 0..1_000 {
            h.send(Seg::new(ACK, seq, ack));
            answers += h.recv_all().len();
            h.now += ms(1);
        }
        assert!((1..=12).contains(&answers), "{seq} {ack}: {answers}");
    }
}

/// Shows: urgent11-2019-12258
#[test]
fn malformed_options_do_not_reset_a_connection() {
    for (seq, taken) in [(77, false), (5_001, true)] {
        let mut h = Host::established(plain(), Options::default());
        h.send(Seg::new(ACK, seq, 1_001).data(b"data").opt(|o| o.malformed = true));
        assert_eq!(h.conn.state(), State::Established);
        assert!(h.recv_all().iter().all(|o| !o.hdr.flags.contains(RST)));
        assert!(taken || h.conn.readable() == 0);
        h.send(Seg::new(RST, 77, 0).opt(|o| o.malformed = true));
        assert_eq!(h.conn.state(), State::Established);
    }
}

/// Shows: cve-2018-5390
#[test]
fn tiny_segments_out_of_order_stay_within_the_buffer() {
    let mut h = Host::established(plain(), socket(|o| o.rcvbuf = Some(60_000)));
    let wnd = h.info().rcv_wnd;
    for i in 0..100_000u32 {
        // Every second byte, from the far end, then anywhere.
        let at = if i < 25_000 { wnd - 2 - 2 * i } else { i.wrapping_mul(0x9e37_79b9) % wnd };
        h.send(Seg::new(ACK, 5_001 + at.max(1), 1_001).data(b"x"));
        h.recv_all();
        if i % 1_000 == 0 {
            h.check_invariants();
        }
    }
    assert!(h.conn.memory() <= 2 * 60_000 + 4_096, "{}", h.conn.memory());
}

/// Shows: cve-2019-11477, cve-2019-11478, cve-2019-11479
#[test]
fn sacks_that_split_everything_stay_bounded() {
    let config = with(|c| {
        c.sack = true;
        c.initial_cwnd = 255;
    });
    let mut h = Host::connecting(config, socket(|o| o.sndbuf = Some(1 << 20)), 1_000);
    h.one();
    h.send(Seg::new(SYN_ACK, 5_000, 1_001).opt(|o| {
        o.mss = Some(48);
        o.sack_permitted = true;
    }));
    h.write(&pattern(1 << 20));
    h.recv_all();
    let span = h.conn.snd.nxt.0 - 1_001;
    for i in 0..10_000u32 {
        let at = |k: u32| 1_002 + (i * 4 + k).wrapping_mul(0x9e37_79b9) % (span - 60);
        h.send(Seg::new(ACK, 5_001, 1_001).sack(&[
            (at(0), at(0) + 1),
            (at(1), at(1) + 13),
            (at(2), at(2) + 48),
            (at(3), at(3) + 2),
        ]));
        h.recv_all();
        h.now += Duration::from_micros(10);
    }
    h.check_invariants();
    let flight = h.conn.flight.as_ref().expect("in flight");
    let segments = (h.conn.snd.nxt.0 - 1_001) / 48 + 1;
    assert!(flight.runs() <= 2 * segments as usize, "{} runs of {segments} segments", flight.runs());
    let nxt = h.conn.snd.nxt.0;
    h.ack(nxt);
    h.check_invariants();
}

/// Shows: split-handshake, cve-1999-0016-land
#[test]
fn syn_of_ones_own_number_does_not_loop() {
    let mut h = Host::in_state(plain(), State::SynSent);
    let mut segments = 0;
    h.send(Seg::new(SYN, 1_000, 0));
    while let Some(out) = h.recv() {
        segments += 1;
        assert!(segments < 20);
        h.send(Seg(Segment { hdr: out.hdr, data: out.data, gso_size: 0, tos: 0, ttl: 64 }));
    }
}

/// Shows: rfc5961-s5.2-a
#[test]
fn pure_ack_far_too_old_is_challenged() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001u32.wrapping_sub(65_535)));
    h.quiet();
    h.send(Seg::new(ACK, 5_001, 1_001u32.wrapping_sub(65_536)));
    assert_eq!(h.one().why, Why::ChallengeAck);
}
