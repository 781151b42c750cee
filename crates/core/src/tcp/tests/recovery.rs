//! Loss recovery as a connection does it: reneging, late D-SACKs, the rescue of a tail, reports of duplicates.

use super::kit::*;
use super::*;

/// ESTABLISHED with SACK.
fn sacking(mut config: Config) -> Host {
    config.sack = true;
    Host::established_with(config, Options::default(), |o| o.sack_permitted = true)
}

fn at(segment: u32) -> u32 {
    1_001 + segment * MSS
}

/// An ACK of all before `segment` with blocks of segments.
fn sack(h: &mut Host, segment: u32, ranges: &[(u32, u32)]) {
    let ranges: Vec<(u32, u32)> = ranges.iter().map(|&(l, r)| (at(l), at(r))).collect();
    h.send(Seg::new(ACK, 5_001, at(segment)).sack(&ranges));
}

/// Shows: rfc2018-s5-a, rfc2018-s5-b
#[test]
fn reneging_is_answered_soon_and_in_full() {
    let mut h = sacking(with(|c| c.tlp = false));
    h.send_segments(10);
    h.advance(ms(100));
    sack(&mut h, 0, &[(1, 6)]);
    let first = h.one();
    assert_eq!(first.hdr.seq.0, at(0));
    h.advance(ms(100));
    // Segment 0 is acknowledged, but no longer those after it that had been SACKed.
    sack(&mut h, 1, &[]);
    assert_eq!(h.stats.tcp_sack_reneging, 1);
    h.recv_all();
    let srtt = h.info().rtt;
    let out = h.wait(ms(400)).expect("a timeout");
    assert_eq!((out.why, out.hdr.seq.0), (Why::RetransmitRto, at(1)));
    assert!(h.info().rto > srtt, "sooner than the timer");
    let mut again = alloc::vec![1];
    for n in 2..6 {
        h.advance(ms(10));
        sack(&mut h, n, &[]);
        again.extend(
            h.recv_all().iter().filter(|o| o.why.is_retransmission()).map(|o| (o.hdr.seq.0 - 1_001) / MSS),
        );
    }
    for n in 1..6 {
        assert!(again.contains(&n), "{n} is not among {again:?}");
    }
}

/// A flight is kept after a recovery for what may undo it, one RTO, and not for ever by a connection that is idle.
#[test]
fn idle_connection_keeps_no_flight() {
    let mut h = sacking(plain());
    h.send_segments(10);
    h.advance(ms(100));
    sack(&mut h, 0, &[(1, 10)]);
    h.recv_all();
    h.advance(ms(100));
    sack(&mut h, 10, &[]);
    assert!(h.conn.flight.is_some());
    let rto = h.info().rto;
    h.advance(rto);
    assert!(h.conn.flight.is_none());
    assert!(h.conn.next_deadline().is_never());
}

/// Shows: rfc2883-s5-a
#[test]
fn duplicates_reported_while_nothing_is_in_flight_count() {
    let mut h = sacking(plain());
    h.send_segments(2);
    h.advance(ms(10));
    sack(&mut h, 2, &[]);
    assert!(h.conn.flight.is_none());
    sack(&mut h, 2, &[(0, 1)]);
    assert_eq!((h.stats.tcp_dsack_recv, h.info().dsack_dups), (1, 1));
    sack(&mut h, 2, &[(3, 4)]);
    assert_eq!(h.stats.tcp_dsack_recv, 1, "above SEG.ACK it is no D-SACK");
}

/// Shows: rfc6675-s4-d
#[test]
fn rfc_profile_rescues_the_tail() {
    for (config, rescued) in [(rfc(), true), (plain(), false)] {
        let mut h = sacking(Config { tlp: false, ..config });
        h.send_segments(10);
        h.advance(ms(100));
        sack(&mut h, 0, &[(1, 9)]);
        let mut seqs: Vec<u32> = h.recv_all().iter().map(|o| o.hdr.seq.0).collect();
        h.advance(ms(1));
        sack(&mut h, 0, &[(1, 9)]);
        seqs.extend(h.recv_all().iter().map(|o| o.hdr.seq.0));
        let want: &[u32] = if rescued { &[at(0), at(9)] } else { &[at(0)] };
        assert_eq!(seqs, want);
    }
}

/// Data at `seq` of `n` bytes from the peer.
fn data(seq: u32, n: usize) -> Seg {
    Seg::new(ACK, seq, 1_001).data(&alloc::vec![7; n])
}

/// RFC 2883 4.1 and its examples 4 to 6.
///
/// Shows: rfc2883-s4-a, rfc2883-s4-b
#[test]
fn duplicate_is_reported_once_and_exactly() {
    let mut h = sacking(plain());
    h.send(data(5_001, 4_000));
    h.recv_all();
    h.send(data(8_001, 500));
    let ack = h.one();
    assert_eq!((ack.hdr.ack.0, blocks(&ack)), (9_001, alloc::vec![(8_001, 8_501)]));
    // The next ACK, of new data, does not say it again.
    h.send(data(9_001, 500));
    h.send(data(10_001, 500));
    let last = h.recv_all().pop().expect("out of order: at once");
    assert_eq!(blocks(&last), [(10_001, 10_501)]);
    // Two parts of one segment are duplicates: the first is reported.
    h.send(data(9_501, 2_000));
    let ack = h.recv_all().pop().expect("the gap is filled");
    assert_eq!(ack.hdr.ack.0, 11_501);
    assert_eq!(blocks(&ack), [(10_001, 10_501)]);
    h.send(data(9_301, 2_200));
    let ack = h.one();
    assert_eq!((ack.hdr.ack.0, blocks(&ack)), (11_501, alloc::vec![(9_301, 11_501)]));
}

/// Shows: rfc2018-s4-c
#[test]
fn data_the_other_way_carries_the_blocks_too() {
    let mut h = sacking(plain());
    h.send(data(6_001, 500));
    assert_eq!(blocks(&h.one()), [(6_001, 6_501)]);
    h.write(&pattern(3 * MSS as usize));
    let out = h.recv_all();
    assert!(out.len() >= 3);
    for o in &out {
        assert_eq!(blocks(o), [(6_001, 6_501)], "{:?}", brief(o));
        assert!(o.data.len() <= MSS as usize - 12, "there is room for them");
    }
}
