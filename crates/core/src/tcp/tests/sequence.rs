//! The sequence check and what follows from it (RFC 9293 3.4, 3.10.7.4 first, fifth and seventh check).

use super::kit::*;
use super::*;

/// ESTABLISHED with a receive window of exactly `window` bytes at RCV.NXT = 6000. The `rfc` profile: Linux takes text across
/// the right edge whole or not at all.
fn with_window(window: u32) -> Host {
    with_window_in(rfc(), window)
}

fn with_window_in(config: Config, window: u32) -> Host {
    let mut h = Host::connecting(config, socket(|o| o.rcvbuf = Some(1_460)), 1_000);
    h.recv_all();
    let irs = 6_000 - 1 - (MSS - window);
    h.send(Seg::new(SYN_ACK, irs, 1_001).opt(|o| o.mss = Some(1_460)));
    h.send(Seg::new(ACK, irs + 1, 1_001).len((MSS - window) as usize));
    h.recv_all();
    assert_eq!((h.conn.rcv.nxt.0, h.conn.rcv.wnd()), (6_000, window));
    h
}

/// Whether a segment at RCV.NXT + `offset` is taken: an acceptable one has its ACK processed.
fn taken(window: u32, offset: i32, len: usize) -> bool {
    let mut h = with_window(window);
    h.write(b"x");
    h.one();
    h.send(Seg::new(ACK, 6_000u32.wrapping_add_signed(offset), 1_002).len(len));
    let taken = h.conn.snd.una.0 == 1_002;
    let answered = !h.recv_all().is_empty();
    assert!(taken || answered, "an unacceptable segment is answered: {window} {offset} {len}");
    taken
}

/// Shows: rfc9293-s3.10.7.4-a, rfc9293-s3.10.7.4-b
#[test]
fn table_6_decides_what_is_acceptable() {
    // Empty segments: at RCV.NXT only, or anywhere in the window.
    assert_eq!([-1, 0, 1].map(|o| taken(0, o, 0)), [false, true, false]);
    assert_eq!([-1, 0, 499, 500].map(|o| taken(500, o, 0)), [false, true, true, false]);
    // One byte: in the window.
    assert_eq!([-1, 0, 499, 500].map(|o| taken(500, o, 1)), [false, true, true, false]);
    // Several: the first or the last byte in the window.
    assert_eq!([-3, -2, 499, 500].map(|o| taken(500, o, 3)), [false, true, true, false]);
}

/// Shows: rfc9293-s3.10.7.4-a, rfc9293-MUST-66
#[test]
fn text_at_a_closed_window_is_not_accepted() {
    for offset in [-1, 0, 1] {
        let mut h = with_window(0);
        h.send(Seg::new(ACK, 6_000u32.wrapping_add_signed(offset), 1_001).data(b"y"));
        assert_eq!(brief(&h.one()), (ACK, 1_001, 6_000, 0), "{offset}");
        assert_eq!(h.conn.readable(), 1_460);
    }
}

/// Shows: rfc9293-s3.10.7.4-b
#[test]
fn old_duplicate_draws_one_ack() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"hello"));
    h.recv_all();
    h.write(b"out");
    h.one();
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"HELLO"));
    assert_eq!(brief(&h.one()), (ACK, 1_004, 5_006, 0), "<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>");
    assert_eq!(h.read(20), b"hello");
}

/// Shows: rfc9293-s3.10.7.4-b
#[test]
fn unacceptable_reset_is_only_dropped() {
    for seq in [5_000, 5_001 + 65_536, 1] {
        let mut h = Host::established(plain(), Options::default());
        h.send(Seg::new(RST, seq, 0));
        h.quiet();
        assert_eq!(h.conn.state(), State::Established);
    }
}

/// Shows: rfc9293-s3.10.7.4-c
#[test]
fn overlaps_are_trimmed_and_the_first_copy_wins() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"abcd"));
    h.send(Seg::new(ACK, 5_003, 1_001).data(b"XXefgh"));
    assert_eq!(h.read(20), b"abcdefgh");
    // Out of order: the copy that came first stays.
    h.send(Seg::new(ACK, 5_013, 1_001).data(b"mnop"));
    h.send(Seg::new(ACK, 5_011, 1_001).data(b"klYYYYqr"));
    h.send(Seg::new(ACK, 5_009, 1_001).data(b"ijZZZZ"));
    assert_eq!(h.read(20), b"ijklmnopqr");
    assert_eq!(h.conn.rcv.nxt.0, 5_019);
}

/// Shows: rfc9293-s3.10.7.4-c
#[test]
fn segment_is_cut_at_the_right_edge() {
    for (len, kept) in [(500, 500), (501, 500), (1_460, 500)] {
        let mut h = with_window(500);
        h.send(Seg::new(ACK, 6_000, 1_001).len(len));
        assert_eq!(h.conn.readable(), 960 + kept);
        // At once, or when its delay is over.
        let (_, ack) = h.timeline(ms(500)).pop().expect("ACK");
        assert_eq!(ack.hdr.ack.0, 6_000 + kept as u32);
    }
}

/// Shows: rfc9293-s3.10.7.4-c
#[test]
fn fin_beyond_the_right_edge_is_cut_with_the_text() {
    let mut h = with_window(500);
    h.send(Seg::new(FIN_ACK, 6_000, 1_001).len(501));
    assert_eq!(h.conn.state(), State::Established);
    assert_eq!(h.conn.rcv.nxt.0, 6_500);
    h.recv_all();
    h.read(2_000);
    h.recv_all();
    h.send(Seg::new(FIN_ACK, 6_500, 1_001).data(b"z"));
    assert_eq!(h.conn.state(), State::CloseWait);
}

/// Linux 6.17's `tcp_sequence`: text across the right edge is dropped while anything is unread, taken whole otherwise;
/// never in part, so that a sender that goes beyond the window learns of it.
#[test]
fn linux_takes_all_or_nothing_across_the_right_edge() {
    for (len, taken) in [(500, 500), (501, 0), (1_460, 0)] {
        let mut h = with_window_in(plain(), 500);
        h.send(Seg::new(ACK, 6_000, 1_001).len(len));
        assert_eq!(h.conn.readable(), 960 + taken, "{len}");
        assert_eq!(h.stats.tcp_beyond_window, u64::from(taken == 0));
        // What fits but shrinks the window is acknowledged with the delay.
        let ack = h.recv_all().pop().or_else(|| h.wait(ms(200)));
        assert_eq!(ack.expect("ACK").hdr.ack.0, 6_000 + taken as u32);
    }
    let mut h = with_window_in(plain(), 500);
    assert_eq!(h.read(2_000).len(), 960);
    h.recv_all();
    let window = h.conn.rcv.wnd() as usize;
    h.send(Seg::new(ACK, 6_000, 1_001).len(window + 700));
    assert_eq!(h.conn.readable(), window + 700, "nothing was unread");
    let ack = h.wait(ms(200)).expect("ACK");
    assert_eq!((ack.hdr.ack.0, ack.hdr.window), (6_000 + window as u32 + 700, 0));
    // The window opens again where the text has ended, in whole segments of the peer's: of 2,920 bytes of memory
    // 960 in 2,304 were for text, as the first packet showed.
    h.read(5_000);
    let mss = h.conn.rcv.mss;
    assert_eq!(h.recv_all().pop().expect("window update").hdr.window, 1_209 / mss * mss);
}

/// Shows: rfc9293-s3.10.7.4-e
#[test]
fn segment_without_ack_is_dropped() {
    for state in SYNCHRONIZED {
        for flags in [Flags::empty(), FIN, Flags::PSH, FIN.union(Flags::URG)] {
            let mut h = Host::in_state(plain(), state);
            let rcv_nxt = h.conn.rcv.nxt;
            h.send(Seg::new(flags, rcv_nxt.0, 1_001).data(b"data"));
            assert_eq!((h.conn.state(), h.conn.readable()), (state, 0));
            assert_eq!(h.conn.rcv.nxt, rcv_nxt);
        }
    }
}

/// Shows: rfc9293-s3.10.7.4-f
#[test]
fn ack_of_something_never_sent_is_answered_and_dropped() {
    let mut h = Host::established(plain(), Options::default());
    h.write(b"abc");
    h.one();
    h.send(Seg::new(ACK, 5_001, 1_005).data(b"no"));
    assert_eq!(brief(&h.one()), (ACK, 1_004, 5_001, 0));
    assert_eq!((h.conn.snd.una.0, h.conn.readable()), (1_001, 0));
    h.send(Seg::new(ACK, 5_001, 1_004).data(b"yes"));
    assert_eq!((h.conn.snd.una.0, h.conn.readable()), (1_004, 3));
}

/// Shows: rfc9293-MAY-12, rfc5961-s5.2-a
#[test]
fn ack_may_be_as_old_as_the_largest_window_seen() {
    for (age, fresh) in [(50_000, true), (50_001, false)] {
        let mut h = Host::established_with(plain(), Options::default(), |_| {});
        h.conn.snd.max_wnd = 0; // the SYN-ACK's own window, which no script can avoid
        for window in [1_000, 50_000, 2_000] {
            h.send(Seg::new(ACK, 5_001, 1_001).win(window));
        }
        h.recv_all();
        h.send(Seg::new(ACK, 5_001, 1_001u32.wrapping_sub(age)).win(2_000).data(b"data"));
        assert_eq!(h.conn.readable(), if fresh { 4 } else { 0 }, "{age}");
        let out = h.recv_all();
        assert_eq!(out.len(), 1, "an ACK, or a challenge ACK");
        assert_eq!(brief(&out[0]), (ACK, 1_001, if fresh { 5_005 } else { 5_001 }, 0));
    }
}

/// Shows: rfc9293-SHLD-31, rfc9293-MAY-13, rfc5681-s4.2-a
#[test]
fn out_of_order_segments_are_kept_and_each_acknowledged_at_once() {
    let mut h = Host::established(rfc(), Options::default());
    for i in [1, 2, 3] {
        h.send(Seg::new(ACK, 5_001 + i * 100, 1_001).len(100));
        assert_eq!(h.one().hdr.ack.0, 5_001, "a duplicate ACK, at once");
    }
    h.send(Seg::new(ACK, 5_001, 1_001).len(100));
    assert_eq!(h.one().hdr.ack.0, 5_401, "one ACK covers all four");
    assert_eq!(h.conn.readable(), 400);
}

/// Shows: rfc5681-s4.2-a
#[test]
fn segment_that_fills_part_of_a_gap_is_acknowledged_at_once() {
    let mut h = Host::established(rfc(), Options::default());
    h.send(Seg::new(ACK, 5_301, 1_001).len(100));
    h.one();
    h.send(Seg::new(ACK, 5_001, 1_001).len(100));
    assert_eq!(h.one().hdr.ack.0, 5_101);
    h.send(Seg::new(ACK, 5_201, 1_001).len(100));
    assert_eq!(h.one().hdr.ack.0, 5_101);
    h.send(Seg::new(ACK, 5_101, 1_001).len(100));
    assert_eq!(h.one().hdr.ack.0, 5_401);
}

/// Shows: rfc5681-s4.2-b
#[test]
fn at_most_one_ack_for_each_segment() {
    let mut h = Host::established(plain(), Options::default());
    let mut acks = 0;
    for i in 0..100 {
        h.send(Seg::new(ACK, 5_101 + i * 100, 1_001).len(50));
        let out = h.recv_all();
        assert!(out.len() <= 1);
        acks += out.len();
    }
    assert_eq!(acks, 100, "each out-of-order segment has its own");
}

/// Shows: rfc9293-s3.1-a
#[test]
fn reserved_and_unnegotiated_bits_change_nothing() {
    let mut h = Host::established(plain(), Options::default());
    for (i, bit) in [Flags::AE, Flags::CWR, Flags::ECE].into_iter().enumerate() {
        h.send(Seg::new(ACK.union(bit), 5_001 + i as u32, 1_001).data(b"x"));
        let out = h.one();
        assert_eq!(out.hdr.flags, ACK);
        assert_eq!(out.hdr.ack.0, 5_002 + i as u32);
    }
    assert_eq!(h.read(9), b"xxx");
}
