//! Urgent data (RFC 9293 3.8.5, RFC 6093), and the attacks that lie about its length.

use super::kit::*;
use super::*;

fn inline() -> Options {
    socket(|o| o.oobinline = true)
}

/// Reads to the end, in as many calls as it takes; the lengths of the pieces.
fn pieces(h: &mut Host) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let piece = h.read(1_000);
        if piece.is_empty() {
            return all;
        }
        all.push(piece);
    }
}

/// Shows: rfc9293-MUST-62, rfc9293-MUST-30
#[test]
fn pointer_names_the_octet_after_the_last_urgent_one() {
    let mut h = Host::established(plain(), Options::default());
    assert!(h.call(|c, cx| c.send_urgent(cx, b'a')));
    let out = h.one();
    assert!(out.hdr.flags.contains(Flags::URG));
    assert_eq!((out.hdr.seq.0, out.hdr.urgent, bytes_of(&out)), (1_001, 1, b"a".to_vec()));
    h.ack(1_002);
    h.write(b"plain");
    assert!(!h.one().hdr.flags.contains(Flags::URG), "once it is acknowledged nothing is urgent");
}

/// Shows: rfc9293-MUST-31, rfc9293-MUST-62
#[test]
fn pointer_may_lie_many_segments_ahead() {
    let mut h = Host::established(plain(), Options::default());
    h.write(&pattern(9_999));
    assert!(h.call(|c, cx| c.send_urgent(cx, b'!')));
    let out = h.recv_all();
    assert_eq!(out.iter().map(|o| o.data.len()).sum::<usize>(), 10_000);
    for o in &out {
        assert!(o.hdr.flags.contains(Flags::URG));
        assert_eq!(o.hdr.seq.0 + u32::from(o.hdr.urgent), 11_001);
    }
}

/// Shows: rfc9293-MUST-31
#[test]
fn pointer_beyond_reach_is_cut_to_65535() {
    let mut h = Host::established(with(|c| c.initial_cwnd = 60), socket(|o| o.sndbuf = Some(200_000)));
    h.write(&pattern(70_000));
    assert!(h.call(|c, cx| c.send_urgent(cx, b'!')));
    let out = h.recv_all();
    assert_eq!(out[0].hdr.urgent, 65_535);
    let last = out.last().expect("text");
    assert_eq!(last.hdr.seq.0 + u32::from(last.hdr.urgent), 71_002);
}

/// Shows: rfc9293-MUST-30, rfc9293-MUST-32
#[test]
fn each_forward_move_of_the_pointer_is_told_and_no_repeat() {
    let mut h = Host::established(plain(), inline());
    let mut told = |seg: Seg| h.call(|c, cx| c.on_segment(cx, seg.0)).ready.contains(Ready::PRI);
    assert!(told(Seg::new(ACK, 5_001, 1_001).urg(100)), "announced ahead of the data");
    assert!(!told(Seg::new(ACK, 5_001, 1_001).urg(100)), "the same again");
    assert!(!told(Seg::new(ACK, 5_001, 1_001).urg(99)), "never back");
    assert!(told(Seg::new(ACK, 5_001, 1_001).urg(101)));
    assert!(!told(Seg::new(ACK, 5_001, 1_001).data(b"text").urg(101)));
}

/// Shows: rfc9293-MUST-33, rfc6093-s3-a
#[test]
fn reading_stops_at_the_mark_in_line() {
    let mut h = Host::established(plain(), inline());
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"12345U7890").urg(6));
    assert!(!h.conn.at_mark());
    assert_eq!(h.read(100), b"12345");
    assert!(h.conn.at_mark());
    assert!(h.conn.urgent_pending());
    assert_eq!(h.read(100), b"U7890", "every byte, in order");
    assert!(!h.conn.at_mark() && !h.conn.urgent_pending());
}

/// Shows: rfc9293-MUST-30, rfc6093-s3-a, posix-recv-e
#[test]
fn last_urgent_byte_is_taken_out_of_line() {
    let mut h = Host::established(plain(), Options::default());
    assert_eq!(h.conn.take_urgent(false), Err(Errno::EINVAL), "nothing urgent");
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"12345U7890").urg(6));
    assert_eq!(h.conn.take_urgent(true), Ok(b'U'), "peeked");
    assert_eq!(h.conn.take_urgent(false), Ok(b'U'));
    assert_eq!(h.conn.take_urgent(false), Err(Errno::EINVAL), "once");
    assert!(!h.conn.urgent_pending());
    assert_eq!(pieces(&mut h), [b"12345".to_vec(), b"7890".to_vec()], "exactly that byte is missing");
}

/// Shows: rfc6093-s3-a, posix-poll-d
#[test]
fn urgent_byte_not_fetched_is_lost_when_read_past() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"abUcd").urg(3));
    assert!(h.conn.readiness().contains(Ready::PRI));
    assert_eq!(pieces(&mut h), [b"ab".to_vec(), b"cd".to_vec()]);
    assert!(!h.conn.readiness().contains(Ready::PRI), "passed");
    assert_eq!(h.conn.take_urgent(false), Err(Errno::EINVAL));
}

/// Shows: rfc9293-MUST-32, rfc6093-s3-a
#[test]
fn second_urgent_byte_makes_the_first_ordinary() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"aUb").urg(2));
    h.send(Seg::new(ACK, 5_004, 1_001).data(b"cVd").urg(2));
    assert_eq!(h.conn.take_urgent(false), Ok(b'V'));
    assert_eq!(pieces(&mut h), [b"aUbc".to_vec(), b"d".to_vec()]);
}

/// Shows: rfc9293-MUST-30
#[test]
fn announced_byte_that_is_not_here_yet_is_waited_for() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).urg(4));
    assert!(h.conn.urgent_pending());
    assert_eq!(h.conn.take_urgent(false), Err(Errno::EAGAIN));
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"abcU"));
    assert_eq!(h.conn.take_urgent(false), Ok(b'U'));
    assert_eq!(pieces(&mut h), [b"abc".to_vec()]);
}

/// Shows: rfc9293-MUST-31
#[test]
fn urgent_mode_lasts_until_a_far_pointer_is_read() {
    let mut h = Host::established(plain(), inline());
    let data = pattern(60_000);
    let mut got = Vec::new();
    for (i, chunk) in data.chunks(1_000).enumerate() {
        let seq = 5_001 + i as u32 * 1_000;
        h.send(Seg::new(ACK, seq, 1_001).data(chunk).urg((65_001 - seq) as u16));
        got.extend(h.read(1_000));
        h.recv_all();
        assert_eq!(h.conn.urgent_pending(), got.len() < 60_000);
    }
    got.extend(h.read(1_000));
    assert!(got == data);
    assert!(!h.conn.urgent_pending());
}

/// Shows: urgent11-2019-12255, infrahalt-2021-31400, amnesia33-2020-17437
#[test]
fn lying_pointers_never_underflow() {
    for pointer in [0, 1, 2, 9, 10, 11, 65_534, 65_535] {
        for read in [0, 1, 5, 10] {
            for oobinline in [false, true] {
                let mut h = Host::established(plain(), socket(|o| o.oobinline = oobinline));
                h.send(Seg::new(ACK, 5_001, 1_001).data(b"0123456789"));
                let mut got = h.read(read);
                h.send(Seg::new(ACK, 5_001, 1_001).data(b"0123456789").urg(pointer));
                h.send(Seg::new(ACK, 5_011, 1_001).urg(pointer));
                h.send(Seg::new(ACK, 5_011, 1_001).data(b"abc").urg(pointer));
                let taken = h.conn.take_urgent(false).is_ok();
                assert!(h.conn.readable() <= 13);
                let _ = (h.conn.urgent_offset(), h.conn.at_mark(), h.conn.readiness());
                got.extend(pieces(&mut h).concat());
                let mut want = b"0123456789abc".to_vec();
                want.retain(|b| got.contains(b));
                assert_eq!(got, want, "in order, nothing twice");
                assert!(got.len() >= 12 && (!taken || got.len() == 12));
                assert!(!oobinline || got.len() == 13);
            }
        }
    }
}

/// Shows: urgent11-2019-12255
#[test]
fn pointer_before_consumed_data_is_ignored() {
    for (pointer, pending) in [(0, false), (5, false), (10, false), (11, true)] {
        let mut h = Host::established(plain(), Options::default());
        h.send(Seg::new(ACK, 5_001, 1_001).data(b"0123456789"));
        h.read(10);
        h.send(Seg::new(ACK, 5_001, 1_001).data(b"0123456789X").urg(pointer));
        assert_eq!(h.conn.urgent_pending(), pending, "{pointer}");
    }
    // A pointer of zero names the octet before the segment, also where that is still to be read.
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"0123456789"));
    h.send(Seg::new(ACK, 5_011, 1_001).data(b"abc").urg(0));
    assert_eq!((h.conn.urgent_pending(), h.read(20).len()), (false, 13));
}

/// Shows: urgent11-2019-12261
#[test]
fn urgent_data_in_the_handshake_is_consistent() {
    let mut h = Host::in_state(rfc(), State::SynSent);
    h.send(Seg::new(SYN_ACK, 5_000, 1_001).data(b"abU").urg(4));
    assert_eq!(h.conn.state(), State::Established);
    if h.conn.urgent_pending() {
        let mark = h.conn.urgent_offset().expect("a mark");
        assert!(mark <= 3);
    }
    let got = pieces(&mut h).concat();
    assert!(got == b"ab" || got == b"abU");
    let mut h = Host::in_state(plain(), State::SynSent);
    h.send(Seg::new(SYN, 5_000, 0).urg(60_000));
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"xyz"));
    assert!(!h.conn.urgent_pending(), "a SYN carries no urgent data");
    assert_eq!(h.read(9), b"xyz");
}

/// Shows: infrahalt-2021-31400, rfc9293-MUST-31
#[test]
fn pointer_beyond_the_buffer_ends_with_the_connection() {
    let mut h = Host::established(plain(), socket(|o| o.rcvbuf = Some(1_000)));
    h.send(Seg::new(ACK, 5_001, 1_001).len(1_000).urg(65_535));
    assert_eq!(h.conn.take_urgent(false), Err(Errno::EAGAIN));
    assert_eq!(h.read(2_000).len(), 1_000);
    h.recv_all();
    h.send(Seg::new(FIN_ACK, 6_001, 1_001));
    assert_eq!(h.conn.state(), State::CloseWait);
    assert_eq!(h.read(10), b"");
    assert_eq!(h.conn.readable(), 0);
}

/// Shows: rfc9293-MUST-62
#[test]
fn urgent_byte_out_of_line_across_retransmission() {
    let mut h = Host::established(plain(), Options::default());
    h.write(b"abc");
    h.call(|c, cx| c.send_urgent(cx, b'U'));
    h.recv_all();
    let again = h.wait(secs(5)).expect("retransmission");
    assert_eq!(again.hdr.seq.0 + u32::from(again.hdr.urgent), 1_005);
}

/// Shows: rfc9293-MUST-60, rfc9293-MUST-30
#[test]
fn urgent_byte_does_not_wait_for_nagle() {
    let mut h = Host::established(rfc(), Options::default());
    h.write(b"first");
    h.one();
    h.call(|c, cx| c.send_urgent(cx, b'U'));
    let out = h.one();
    assert!(out.hdr.flags.contains(Flags::URG));
    assert_eq!(bytes_of(&out), b"U");
}
