//! When acknowledgments leave (RFC 9293 3.8.6.3, RFC 5681 4.2, quick ACK mode).

use super::kit::*;
use super::*;

/// Shows: rfc9293-SHLD-18, rfc9293-MUST-40
#[test]
fn lone_segment_is_acknowledged_after_a_delay_below_half_a_second() {
    let mut h = Host::established(rfc(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"lone"));
    h.quiet();
    let at = h.times(secs(5));
    assert!(matches!(at[..], [at] if at > 0 && at < 500), "{at:?}");
}

/// Shows: rfc9293-MUST-40
#[test]
fn delay_stays_below_half_a_second_whatever_the_pace() {
    for config in [plain(), rfc(), Config { window_scaling: false, ..Config::new(Profile::FreeBsd) }] {
        let mut h = Host::established(Config { timestamps: false, ..config }, Options::default());
        for i in 0..200u32 {
            h.send(Seg::new(ACK, 5_001 + i, 1_001).data(b"x"));
            let start = h.now;
            assert!(h.wait(secs(2)).is_some());
            assert!(h.now.since(start) < ms(500), "segment {i}");
            h.recv_all();
            h.advance(ms(u64::from(i) * 7));
        }
    }
}

/// Shows: rfc9293-SHLD-18
#[test]
fn answer_carries_the_acknowledgment() {
    let mut h = Host::established(rfc(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"ask"));
    h.write(b"answer");
    assert_eq!(brief(&h.one()), (PSH_ACK, 1_001, 5_004, 6));
    h.ack(1_007);
    assert!(h.timeline(secs(5)).is_empty(), "nothing is left to acknowledge");
}

/// Shows: rfc9293-SHLD-19, rfc9293-MUST-58
#[test]
fn every_second_full_segment_is_acknowledged() {
    for config in [rfc(), plain()] {
        let mut h = Host::established(config, Options::default());
        let (mut acks, mut last) = (Vec::new(), 5_001);
        for i in 0..20 {
            h.send(Seg::new(ACK, 5_001 + i * MSS, 1_001).len(1_460));
            for out in h.recv_all() {
                assert!(out.hdr.ack.0 - last <= 2 * MSS, "at most two new segments");
                last = out.hdr.ack.0;
                acks.push(last);
            }
            h.read(5_000);
        }
        acks.extend(h.timeline(ms(499)).iter().map(|(_, o)| o.hdr.ack.0));
        assert!(acks.len() >= 10, "{acks:?}");
        assert_eq!(acks.last(), Some(&(5_001 + 20 * MSS)));
    }
}

/// Shows: rfc9293-SHLD-19
#[test]
fn second_full_segment_and_not_the_first() {
    let mut h = Host::established(rfc(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).len(1_460));
    h.quiet();
    h.send(Seg::new(ACK, 6_461, 1_001).len(1_460));
    assert_eq!(h.one().hdr.ack.0, 7_921);
}

/// Shows: rfc9293-MUST-58, rfc9293-MUST-59
#[test]
fn batch_is_handled_before_an_ack_is_sent() {
    let mut h = Host::established(rfc(), Options::default());
    for i in 0..10 {
        h.send(Seg::new(ACK, 5_001 + i * MSS, 1_001).len(1_460));
    }
    let out = h.recv_all();
    assert!(!out.is_empty() && out.len() <= 5, "{}", out.len());
    assert_eq!(out[0].hdr.ack.0, 5_001 + 10 * MSS, "already the first covers all");
}

/// Shows: rfc9293-MUST-59
#[test]
fn gap_and_its_filling_in_one_batch_draw_one_ack_of_all() {
    let mut h = Host::established(plain(), Options::default());
    for i in [1, 2, 0, 3] {
        h.send(Seg::new(ACK, 5_001 + i * MSS, 1_001).len(1_460));
    }
    assert_eq!(h.recv().expect("ACK").hdr.ack.0, 5_001 + 4 * MSS);
}

/// Shows: rfc9293-SHLD-19, rfc9293-MUST-58
#[test]
fn super_segment_counts_as_the_segments_it_holds() {
    let mut h = Host::established(rfc(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).len(14_600).gso(1_460));
    assert_eq!(h.one().hdr.ack.0, 5_001 + 14_600);
    assert_eq!(h.info().data_segs_in, 10);
    h.send(Seg::new(ACK, 19_601, 1_001).len(1_460));
    h.quiet();
}

/// Shows: rfc9293-SHLD-18
#[test]
fn quick_acks_at_the_start_and_then_the_delay() {
    let mut h = Host::established(plain(), Options::default());
    let mut at_once = 0;
    for i in 0..30 {
        h.send(Seg::new(ACK, 5_001 + i * 10, 1_001).len(10));
        at_once += h.recv_all().len();
        h.advance(ms(60));
        h.recv_all();
    }
    assert!((1..30).contains(&at_once), "Linux's quick ACK mode has an end: {at_once}");
}

/// Window updates are no ACKs of data: a reader who causes them does not use the quick ACKs up, which a peer in slow
/// start waits for (a segment that then met the delayed ACK cost a transfer 40 ms).
///
/// Shows: rfc9293-SHLD-18
#[test]
fn window_updates_are_no_quick_acks() {
    let quick = |reads: bool| {
        let mut config = rfc(); // on Linux a buffer half full ends quick ACK mode
        (config.quick_acks, config.rmem) = (16, [4_096, 40_000, 40_000]);
        let mut h = Host::established(config, Options::default());
        let window = h.info().rcv_wnd;
        let fill = window * 3 / 4 / 1_460 * 1_460;
        h.send(Seg::new(ACK, 5_001, 1_001).len(fill as usize).gso(1_460));
        assert_eq!(h.recv_all().len(), 1, "the ACK of the data");
        let mut updates = 0;
        if reads {
            h.read(100_000);
            updates = h.recv_all().len();
        }
        let mut at_once = 0;
        for i in 0..30 {
            h.send(Seg::new(ACK, 5_001 + fill + i * 10, 1_001).len(10));
            at_once += h.recv_all().len();
            h.timeline(ms(60));
        }
        (at_once, updates)
    };
    let ((without, _), (with, updates)) = (quick(false), quick(true));
    assert_eq!(updates, 1, "reading opened the window");
    assert_eq!((with, without), (15, 15), "as many data segments are acknowledged at once");
}

/// Shows: rfc9293-SHLD-18
#[test]
fn quickack_option_rules() {
    let mut h = Host::established(rfc(), socket(|o| o.quickack = Some(true)));
    for i in 0..40 {
        h.send(Seg::new(ACK, 5_001 + i * 10, 1_001).len(10));
        assert_eq!(h.one().hdr.ack.0, 5_011 + i * 10);
    }
    let mut h = Host::established(plain(), socket(|o| o.quickack = Some(false)));
    h.send(Seg::new(ACK, 5_001, 1_001).len(10));
    h.quiet();
}

/// Shows: rfc5681-s4.2-b
#[test]
fn pure_acks_are_never_acknowledged() {
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(3);
    for i in 1..=3 {
        h.ack(1_001 + i * MSS);
        h.ack(1_001 + i * MSS);
        h.quiet();
    }
    assert!(h.timeline(secs(1_000)).is_empty());
}

/// Shows: rfc9293-MUST-58
#[test]
fn fin_is_acknowledged_at_once() {
    let mut h = Host::established(rfc(), Options::default());
    h.send(Seg::new(FIN_ACK, 5_001, 1_001).data(b"x"));
    assert_eq!(brief(&h.one()), (ACK, 1_001, 5_003, 0));
}
