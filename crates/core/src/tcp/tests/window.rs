//! Windows, ours and the peer's (RFC 9293 3.8.6, RFC 7323 2.4).

use super::kit::*;
use super::*;

/// Shows: rfc9293-MUST-1
#[test]
fn windows_of_32768_and_above_are_not_negative() {
    let mut h = Host::established(with(|c| c.initial_cwnd = 60), socket(|o| o.sndbuf = Some(100_000)));
    h.write(&pattern(60_000));
    assert_eq!(h.recv_all().iter().map(|o| o.data.len()).sum::<usize>(), 60_000);
}

/// Shows: rfc9293-MUST-34, rfc9293-SHLD-15, rfc9293-SHLD-16, rfc9293-MAY-7
#[test]
fn shrunken_window_stops_new_data_and_not_the_old() {
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(4);
    h.write(&pattern(2_000));
    h.send(Seg::new(ACK, 5_001, 1_001).win(MSS as u16));
    let out = h.timeline(ms(900));
    let mut again = out.iter().filter(|(_, o)| !o.data.is_empty());
    assert!(again.all(|(_, o)| o.hdr.seq.0 < 1_001 + 4 * MSS), "nothing new beyond the edge");
    assert!(
        out.iter().any(|(_, o)| o.hdr.seq.0 == 1_001 && o.data.len() == 1_460),
        "the first segment again"
    );
    h.send(Seg::new(ACK, 5_001, 1_001 + 4 * MSS).win(65_535));
    let rest: usize = h.timeline(secs(1)).iter().map(|(_, o)| o.data.len()).sum();
    assert!(rest >= 2_000, "it completes after the window reopens");
    h.check_invariants();
}

/// Shows: rfc9293-MUST-34, rfc9293-SHLD-15
#[test]
fn usable_window_may_become_negative() {
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(3);
    h.send(Seg::new(ACK, 5_001, 1_001 + MSS).win(100));
    assert_eq!(h.conn.snd.usable(), 0);
    h.write(b"more");
    h.quiet();
    h.send(Seg::new(ACK, 5_001, 1_001 + 2 * MSS).win(1_460));
    h.quiet();
    h.send(Seg::new(ACK, 5_001, 1_001 + 2 * MSS).win(3_000));
    let out = h.recv_all();
    assert!(out.is_empty() || out[0].hdr.seq.0 == 1_001 + 3 * MSS);
    h.send(Seg::new(ACK, 5_001, 1_001 + 3 * MSS).win(3_000));
    let sent = h.recv_all().len() + out.len();
    assert_eq!(sent, 1);
}

/// Shows: rfc9293-SHLD-17, rfc9293-MUST-35
#[test]
fn data_beyond_a_shrunken_edge_does_not_time_out() {
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(3);
    let end = h.now + secs(3_000);
    let mut probes = 0;
    h.send(Seg::new(ACK, 5_001, 1_001).win(0));
    while h.now < end {
        if h.wait(end.since(h.now)).is_some() {
            probes += 1;
            h.send(Seg::new(ACK, 5_001, 1_001).win(0));
        }
        assert_eq!(h.conn.state(), State::Established);
    }
    assert!(probes > 10, "{probes}");
    h.send(Seg::new(ACK, 5_001, 1_001).win(65_535));
    let out = h.wait(secs(200)).expect("again");
    assert_eq!(out.hdr.seq.0, 1_001);
}

/// Shows: rfc9293-MUST-38
#[test]
fn sender_waits_for_a_full_segment_or_half_of_the_largest_window() {
    for (opened, sent) in [(100, 0), (1_459, 0), (1_460, 1)] {
        let mut h = Host::established_with(plain(), Options::default(), |_| {});
        h.send(Seg::new(ACK, 5_001, 1_001).win(0));
        h.write(&pattern(20_000));
        h.quiet();
        h.send(Seg::new(ACK, 5_001, 1_001).win(opened));
        assert_eq!(h.recv_all().len(), sent, "{opened}");
    }
    for (opened, sent) in [(499, 0), (500, 1)] {
        let mut h = Host::connecting(plain(), Options::default(), 1_000);
        h.one();
        h.send(Seg::new(SYN_ACK, 5_000, 1_001).win(1_000).opt(|o| o.mss = Some(1_460)));
        h.recv_all();
        h.send(Seg::new(ACK, 5_001, 1_001).win(0));
        h.write(&pattern(20_000));
        h.send(Seg::new(ACK, 5_001, 1_001).win(opened));
        assert_eq!(h.recv_all().len(), sent, "half of 1,000: {opened}");
    }
}

/// Shows: rfc9293-MUST-38, rfc9293-MUST-60
#[test]
fn override_timer_ends_the_wait() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).win(100));
    h.write(&pattern(20_000));
    h.quiet();
    let start = h.now;
    let out = h.wait(secs(2)).expect("the override timer");
    assert_eq!((out.hdr.seq.0, out.data.len()), (1_001, 100));
    let waited = h.now.since(start);
    assert!(waited >= ms(100) && waited <= secs(1), "{waited:?}");
}

/// Shows: rfc9293-MUST-38
#[test]
fn window_opened_a_little_at_a_time_draws_no_silly_segments() {
    let mut h = Host::connecting(plain(), Options::default(), 1_000);
    h.one();
    h.send(Seg::new(SYN_ACK, 5_000, 1_001).win(8_000).opt(|o| o.mss = Some(1_460)));
    h.recv_all();
    h.write(&pattern(30_000));
    let (mut sent, mut acked) = (0, 0);
    let mut lens = Vec::new();
    for _ in 0..60 {
        for out in h.recv_all() {
            lens.push(out.data.len());
            sent += out.data.len() as u32;
        }
        acked = sent.min(acked + 100);
        h.advance(ms(1));
        h.send(Seg::new(ACK, 5_001, 1_001 + acked).win((8_000 - (sent - acked)) as u16));
    }
    assert!(lens.iter().all(|&len| len == 1_460 || len >= 4_000), "{lens:?}");
}

/// Shows: rfc9293-MUST-39, rfc9293-SHLD-14
#[test]
fn receiver_reopens_its_window_only_by_a_good_piece() {
    // min(RCV.BUFF / 2, MSS): 1,460 of 8,000, and 500 of 1,000.
    let profiles = [Profile::Linux, Profile::FreeBsd, Profile::Rfc];
    let buffers = [(8_000u32, 536), (1_000, 500)];
    for (profile, (buffer, step)) in profiles.into_iter().flat_map(|p| buffers.map(|b| (p, b))) {
        let config = Config { profile, ..plain() };
        let mut h = Host::established(config, socket(|o| o.rcvbuf = Some(buffer)));
        let mut seq = 5_001;
        while h.conn.rcv.wnd() > 0 {
            let n = h.conn.rcv.wnd().min(1_460);
            h.send(Seg::new(ACK, seq, 1_001).len(n as usize));
            seq += n;
            h.recv_all();
        }
        let edge = h.conn.rcv.adv;
        let mut read = 0;
        while h.conn.rcv.adv == edge && read < buffer {
            assert!(h.recv_all().is_empty() || h.conn.rcv.adv != edge);
            read += h.read(10).len() as u32;
            h.recv_all();
        }
        let opened = h.conn.rcv.adv.since(edge);
        assert!(opened >= step, "{profile:?} {buffer}: {opened}");
    }
}

/// Shows: rfc9293-SHLD-14, rfc7323-s2.4-a
#[test]
fn announced_edge_never_moves_left() {
    for shift in [true, false] {
        let config = with(|c| {
            c.window_scaling = shift;
            c.rmem[2] = 8 << 20;
        });
        let mut h = Host::established_with(config, socket(|o| o.rcvbuf = Some(60_001)), |o| {
            o.window_scale = Some(0);
        });
        let (mut seq, mut edge, mut i) = (5_001u32, 0u32, 0u32);
        while i < 2_000 {
            i += 1;
            let n = (i * 37 % 1_460).min(h.conn.rcv.wnd());
            h.send(Seg::new(ACK, seq, 1_001).len(n as usize));
            seq += n;
            h.read((i * 53 % 1_000) as usize);
            if i == 700 {
                h.set(|o| o.rcvbuf = Some(20_000));
            }
            h.advance(ms(3));
            for out in h.recv_all() {
                let right = out.hdr.ack.0 + (u32::from(out.hdr.window) << h.conn.rcv.wscale);
                assert!(right >= edge, "{i}: {right} < {edge}");
                edge = right;
            }
        }
        assert!(seq > 100_000, "it goes on: {seq}");
    }
}

/// Shows: rfc7323-s2.4-a
#[test]
fn all_that_was_ever_announced_is_accepted() {
    let config = with(|c| {
        c.window_scaling = true;
        c.rmem = [4_096, 100_002, 8 << 20];
    });
    let mut h = Host::established_with(config, Options::default(), |o| {
        o.window_scale = Some(0);
    });
    assert_eq!(h.conn.rcv.wscale, 8);
    h.send(Seg::new(ACK, 5_001, 1_001).len(1));
    let out = h.one();
    let edge = out.hdr.ack.0 + (u32::from(out.hdr.window) << 8);
    for i in 0..30 {
        h.send(Seg::new(ACK, 5_002 + i * 7, 1_001).len(7));
    }
    h.recv_all();
    h.send(Seg::new(ACK, edge - 100, 1_001).len(100));
    assert!(h.conn.rcv.buf.has_ooo());
    assert_eq!(h.conn.rcv.buf.ooo_len(), 100, "up to the highest edge announced");
}

/// Shows: rfc9293-s3.10.7.4-g
#[test]
fn older_ack_does_not_overwrite_the_window() {
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(2);
    h.send(Seg::new(ACK, 5_001, 1_001 + 2 * MSS).win(9_000));
    h.send(Seg::new(ACK, 5_001, 1_001 + MSS).win(5_000));
    assert_eq!(h.info().snd_wnd, 9_000, "WL2 > SEG.ACK");
    h.send(Seg::new(ACK, 5_001, 1_001 + 2 * MSS).win(7_000));
    assert_eq!(h.info().snd_wnd, 7_000, "WL2 = SEG.ACK");
    h.send(Seg::new(ACK, 5_011, 1_001 + 2 * MSS).win(6_000).len(1));
    assert_eq!(h.info().snd_wnd, 6_000, "WL1 < SEG.SEQ");
    h.send(Seg::new(ACK, 5_001, 1_001 + 2 * MSS).win(4_000).len(1));
    assert_eq!(h.info().snd_wnd, 6_000, "WL1 > SEG.SEQ");
}

/// The peer sends old data again, and with it the acknowledgment of all of ours: its window is the newest.
/// Shows: rfc9293-s3.10.7.4-g
#[test]
fn nothing_is_sent_beyond_the_edge_that_a_retransmission_announces() {
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(2);
    h.send(Seg::new(ACK, 5_002, 1_001 + MSS).win(3_000));
    h.send(Seg::new(ACK, 5_001, 1_001 + 2 * MSS).win(2_000).len(1));
    h.write(&pattern(10_000));
    let out = h.recv_all();
    let end = out.iter().map(|o| o.hdr.seq.0 + o.data.len() as u32).max();
    assert!(end.is_some_and(|end| end > 1_001 + 2 * MSS && end <= 1_001 + 2 * MSS + 2_000), "{end:?}");
}

/// Shows: rfc9293-SHLD-27, rfc9293-SHLD-28, rfc9293-MUST-61
#[test]
fn small_writes_leave_as_full_segments() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).win(0));
    for _ in 0..10 {
        h.write(&pattern(500));
    }
    h.quiet();
    h.send(Seg::new(ACK, 5_001, 1_001).win(65_535));
    let out = h.recv_all();
    assert_eq!(out.iter().map(|o| o.data.len()).collect::<Vec<_>>(), [1_460, 1_460, 1_460, 620]);
    let psh: Vec<bool> = out.iter().map(|o| o.hdr.flags.contains(Flags::PSH)).collect();
    assert_eq!(psh, [false, false, false, true]);
}

/// Shows: rfc9293-SHLD-28
#[test]
fn long_write_leaves_in_segments_of_the_full_size() {
    let mut h = Host::established(plain(), socket(|o| o.sndbuf = Some(200_000)));
    assert_eq!(h.write(&pattern(100_000)), 100_000);
    let (mut lens, mut acked) = (Vec::new(), 1_001);
    while acked < 101_001 {
        for out in h.recv_all() {
            lens.push(out.data.len());
            acked = (out.hdr.seq + out.data.len() as u32).0;
        }
        h.advance(ms(10));
        h.ack(acked);
    }
    let (last, full) = lens.split_last().expect("text");
    assert!(full.iter().all(|&len| len == 1_460));
    assert_eq!(*last, 100_000 % 1_460);
}

/// Shows: rfc9293-MAY-8
#[test]
fn reader_who_never_reads_keeps_the_window_closed() {
    let mut h = Host::established(plain(), socket(|o| o.rcvbuf = Some(1_000)));
    h.send(Seg::new(ACK, 5_001, 1_001).len(1_000));
    h.recv_all();
    for _ in 0..200 {
        h.advance(secs(60));
        h.send(Seg::new(ACK, 6_001, 1_001).len(1));
        let out = h.one();
        assert_eq!((out.hdr.ack.0, out.hdr.window), (6_001, 0), "every probe is answered");
    }
    assert_eq!(h.read(2_000).len(), 1_000);
    assert!(h.one().hdr.window >= 500, "a window update tells of the room");
}

/// Shows: rfc9293-MUST-39, rfc7323-s2.3-b
#[test]
fn window_of_a_small_buffer_is_not_scaled_away() {
    for buffer in [600, 1_023, 1_024, 1_500, 5_000] {
        let config = with(|c| {
            c.window_scaling = true;
            c.moderate_rcvbuf = false;
            c.rmem = [buffer, 2 * buffer, 32 << 20]; // a scale of 10: units of 1,024 bytes
        });
        let mut h = Host::established_with(config, Options::default(), |o| {
            o.window_scale = Some(0);
        });
        let (mut seq, mut window) = (5_001, 500);
        for _ in 0..20 {
            let n = window.min(500);
            h.send(Seg::new(ACK, seq, 1_001).len(n as usize));
            seq += n;
            assert_eq!(h.read(1_000).len(), n as usize, "what was announced is taken");
            let out = h.recv_all().pop().or_else(|| h.wait(ms(500))).expect("ACK");
            window = u32::from(out.hdr.window) << 10;
            assert!(window > 0, "{buffer}: the buffer is empty");
            assert!(window <= buffer + 1_024);
        }
    }
}

/// What comes again out of order, or is dropped because too much is, is held once or not at all, and takes as much room:
/// a peer that repeats it neither closes the window for good nor makes a counter run over.
///
/// Shows: cve-2018-5390
#[test]
fn what_is_repeated_out_of_order_takes_room_once() {
    let after = |times: u32| {
        let mut h = Host::established(plain(), Options::default());
        for _ in 0..times {
            h.send(Seg::new(ACK, 5_001 + MSS, 1_001).len(43_800).gso(1_460));
            h.recv_all();
        }
        h.check_invariants();
        h.send(Seg::new(ACK, 5_001, 1_001).len(1_460));
        h.check_invariants();
        let window = h.recv_all().pop().expect("ACK").hdr.window;
        assert_eq!(h.read(100_000).len(), 45_260);
        h.check_invariants();
        (window, h.info().rcv_wnd)
    };
    assert_eq!(after(1), after(100_000));
}
