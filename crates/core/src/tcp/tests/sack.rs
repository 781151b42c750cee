//! SACK: what we report (RFC 2018 4, RFC 2883), and what we make of reports (RFC 2018 5).

use super::kit::*;
use super::*;

/// ESTABLISHED with SACK, RCV.NXT = `first`; perhaps with timestamps.
fn receiver(first: u32, timestamps: bool) -> Host {
    let config = with(|c| {
        c.sack = true;
        c.timestamps = timestamps;
    });
    let mut h = Host::connecting(config, Options::default(), 1_000);
    h.one();
    h.send(Seg::new(SYN_ACK, first - 1, 1_001).opt(|o| {
        o.mss = Some(1_460);
        o.sack_permitted = true;
        o.timestamps = timestamps.then_some(Timestamps { val: 7, ecr: 0 });
    }));
    h.one();
    h
}

/// `[from, to)` arrives; SEG.ACK and the SACK blocks of the answer.
fn answer(h: &mut Host, from: u32, to: u32) -> (u32, Vec<(u32, u32)>) {
    let timestamps = h.conn.agreed.timestamps;
    let seg = Seg::new(ACK, from, 1_001).len((to - from) as usize);
    h.send(if timestamps { seg.ts(8, 0) } else { seg });
    let out = h.one();
    (out.hdr.ack.0, blocks(&out))
}

/// ESTABLISHED with SACK, `n` full segments in flight; neither loss probes nor pacing of losses.
fn sender(n: usize) -> Host {
    let config = with(|c| {
        c.sack = true;
        c.tlp = false;
    });
    let mut h = Host::established_with(config, Options::default(), |o| o.sack_permitted = true);
    h.send_segments(n);
    h.advance(ms(10));
    h
}

/// The sequence number of the `n`th full segment of the sender, from 0.
fn nth(n: u32) -> u32 {
    1_001 + n * MSS
}

/// Shows: rfc2018-s4-a
#[test]
fn every_second_segment_lost() {
    // RFC 2018 7, case 3.
    let mut h = receiver(5_000, false);
    assert_eq!(answer(&mut h, 5_000, 5_500), (5_500, alloc::vec![]));
    assert_eq!(answer(&mut h, 6_000, 6_500), (5_500, alloc::vec![(6_000, 6_500)]));
    assert_eq!(answer(&mut h, 7_000, 7_500), (5_500, alloc::vec![(7_000, 7_500), (6_000, 6_500)]));
    let three = alloc::vec![(8_000, 8_500), (7_000, 7_500), (6_000, 6_500)];
    assert_eq!(answer(&mut h, 8_000, 8_500), (5_500, three));
    assert_eq!(answer(&mut h, 6_500, 7_000), (5_500, alloc::vec![(6_000, 7_500), (8_000, 8_500)]));
    assert_eq!(answer(&mut h, 5_500, 6_000), (7_500, alloc::vec![(8_000, 8_500)]));
    assert_eq!(answer(&mut h, 7_500, 8_000), (8_500, alloc::vec![]));
}

/// Shows: rfc2018-s4-a
#[test]
fn first_segment_lost() {
    // RFC 2018 7, case 2.
    let mut h = receiver(5_000, false);
    for i in 1..8 {
        let end = 5_500 + i * 500;
        assert_eq!(answer(&mut h, end - 500, end), (5_000, alloc::vec![(5_500, end)]));
    }
}

/// Shows: rfc2018-s4-b
#[test]
fn as_many_blocks_as_fit_and_each_at_least_three_times() {
    for (timestamps, fit) in [(true, 3), (false, 4)] {
        let mut h = receiver(5_000, timestamps);
        let mut seen = alloc::collections::BTreeMap::<(u32, u32), u32>::new();
        for i in 1..=6u32 {
            let from = 5_000 + i * 1_000;
            let (ack, list) = answer(&mut h, from, from + 100);
            assert_eq!((ack, list.len()), (5_000, (i as usize).min(fit)));
            assert_eq!(list[0], (from, from + 100), "the block that triggered it");
            for block in list {
                *seen.entry(block).or_default() += 1;
            }
        }
        for i in 1..=6 - fit as u32 + 1 {
            let from = 5_000 + i * 1_000;
            assert!(seen[&(from, from + 100)] >= 3, "block {i}: {seen:?}");
        }
    }
}

/// Shows: rfc2018-s4-c
#[test]
fn data_in_the_other_direction_carries_the_blocks_too() {
    let mut h = receiver(5_000, false);
    answer(&mut h, 6_000, 6_500);
    h.write(&pattern(3_000));
    let out = h.recv_all();
    assert!(out.len() >= 2 && out.iter().all(|o| blocks(o) == [(6_000, 6_500)]));
    answer(&mut h, 5_000, 6_000);
    h.ack(4_001);
    h.write(b"x");
    assert_eq!(blocks(&h.one()), []);
}

/// Shows: rfc2883-s4-a
#[test]
fn duplicate_below_the_cumulative_ack_is_reported() {
    // RFC 2883 4.1.1 and 4.1.2.
    let mut h = receiver(3_000, false);
    answer(&mut h, 3_000, 3_500);
    answer(&mut h, 3_500, 4_000);
    assert_eq!(answer(&mut h, 3_000, 3_500), (4_000, alloc::vec![(3_000, 3_500)]));
    assert_eq!(answer(&mut h, 4_500, 5_000), (4_000, alloc::vec![(4_500, 5_000)]));
    assert_eq!(answer(&mut h, 3_000, 3_500), (4_000, alloc::vec![(3_000, 3_500), (4_500, 5_000)]));
}

/// Shows: rfc2883-s4-c
#[test]
fn duplicate_inside_a_queued_block_is_followed_by_it() {
    // RFC 2883 4.1.3.
    let mut h = receiver(4_000, false);
    assert_eq!(answer(&mut h, 4_500, 5_000), (4_000, alloc::vec![(4_500, 5_000)]));
    assert_eq!(answer(&mut h, 5_000, 5_500), (4_000, alloc::vec![(4_500, 5_500)]));
    assert_eq!(answer(&mut h, 5_000, 5_500), (4_000, alloc::vec![(5_000, 5_500), (4_500, 5_500)]));
}

/// Shows: rfc2883-s4-b
#[test]
fn single_duplicate_subsegment() {
    // RFC 2883 4.2.1.
    let mut h = receiver(500, false);
    assert_eq!(answer(&mut h, 500, 1_000), (1_000, alloc::vec![]));
    assert_eq!(answer(&mut h, 2_000, 2_500), (1_000, alloc::vec![(2_000, 2_500)]));
    assert_eq!(answer(&mut h, 1_000, 1_500), (1_500, alloc::vec![(2_000, 2_500)]));
    let (ack, list) = answer(&mut h, 1_000, 2_000);
    assert_eq!((ack, list), (2_500, alloc::vec![(1_000, 1_500)]));
    assert_eq!(answer(&mut h, 2_500, 3_000), (3_000, alloc::vec![]), "reported once");
}

/// Shows: rfc2883-s4-b
#[test]
fn two_duplicate_subsegments_covered_by_the_ack() {
    // RFC 2883 4.2.2.
    let mut h = receiver(500, false);
    answer(&mut h, 500, 1_000);
    answer(&mut h, 3_000, 3_500);
    assert_eq!(answer(&mut h, 1_000, 1_500), (1_500, alloc::vec![(3_000, 3_500)]));
    assert_eq!(answer(&mut h, 2_000, 2_500), (1_500, alloc::vec![(2_000, 2_500), (3_000, 3_500)]));
    assert_eq!(answer(&mut h, 1_000, 2_500), (2_500, alloc::vec![(1_000, 1_500), (3_000, 3_500)]));
    assert_eq!(answer(&mut h, 4_000, 4_100).1, [(4_000, 4_100), (3_000, 3_500)], "and not again");
}

/// Shows: rfc2883-s4-b, rfc2883-s4-c
#[test]
fn two_duplicate_subsegments_above_the_ack() {
    // RFC 2883 4.2.3.
    let mut h = receiver(500, false);
    answer(&mut h, 500, 1_000);
    answer(&mut h, 3_500, 4_000);
    answer(&mut h, 1_500, 2_000);
    let three = alloc::vec![(2_500, 3_000), (1_500, 2_000), (3_500, 4_000)];
    assert_eq!(answer(&mut h, 2_500, 3_000), (1_000, three));
    let three = alloc::vec![(1_500, 2_000), (1_500, 3_000), (3_500, 4_000)];
    assert_eq!(answer(&mut h, 1_500, 3_000), (1_000, three));
}

/// Shows: rfc2883-s4-a
#[test]
fn duplicates_are_not_reported_where_that_is_switched_off() {
    let mut h = receiver(3_000, false);
    h.config.dsack = false;
    answer(&mut h, 3_000, 3_500);
    assert_eq!(answer(&mut h, 3_000, 3_500), (3_500, alloc::vec![]));
}

/// Shows: rfc2018-s5.1-a
#[test]
fn one_report_of_out_of_order_data_changes_nothing() {
    let mut h = sender(10);
    let before = h.cwnd();
    h.send(Seg::new(ACK, 5_001, 1_001).sack(&[(nth(1), nth(2))]));
    assert!(h.recv_all().iter().all(|o| o.hdr.seq.0 >= nth(10)), "no retransmission");
    assert_eq!(h.cwnd(), before);
    h.ack(nth(2));
    assert_eq!(h.conn.ca_state().name(), "open");
}

/// Shows: rfc2018-s5-a
#[test]
fn reneging_receiver_loses_nothing() {
    let mut h = sender(6);
    h.send(Seg::new(ACK, 5_001, 1_001).sack(&[(nth(1), nth(5))]));
    h.recv_all();
    h.ack(nth(1));
    let mut got = alloc::collections::BTreeSet::new();
    let mut una = nth(1);
    for _ in 0..40 {
        let Some(out) = h.recv().or_else(|| h.wait(secs(30))) else { break };
        let at = (out.hdr.seq.0 - 1_001) as usize;
        assert!(bytes_of(&out) == pattern(6 * 1_460)[at..at + out.data.len()]);
        got.extend(out.hdr.seq.0..out.hdr.seq.0 + out.data.len() as u32);
        while got.contains(&una) {
            una += 1;
        }
        h.ack(una);
    }
    assert_eq!((h.conn.snd.una.0, h.conn.snd.una), (nth(6), h.conn.snd.nxt));
}

/// Shows: rfc2018-s5-b
#[test]
fn timeout_sends_the_left_edge_whatever_its_mark() {
    let mut h = sender(6);
    h.send(Seg::new(ACK, 5_001, nth(1)).sack(&[(nth(1), nth(4))]));
    h.recv_all();
    let out = h.wait(secs(5)).expect("retransmission");
    assert_eq!((out.hdr.seq.0, out.data.len()), (nth(1), 1_460));
}

/// Shows: rfc2018-s5-a, rfc2018-s5.1-a
#[test]
fn holes_are_filled_and_what_was_reported_is_not_sent_again() {
    let mut h = sender(10);
    let mut sent = Vec::new();
    for n in 2..10 {
        h.send(Seg::new(ACK, 5_001, nth(1)).sack(&[(nth(2), nth(n + 1))]));
        sent.extend(h.recv_all().iter().map(|o| o.hdr.seq.0));
        h.advance(ms(1));
    }
    assert!(sent.contains(&nth(1)));
    assert!(sent.iter().all(|&seq| seq == nth(1) || seq >= nth(10)), "{sent:?}");
    assert_eq!(sent.iter().filter(|&&seq| seq == nth(1)).count(), 1);
    h.ack(nth(10));
    h.check_invariants();
}

/// Shows: cve-2019-11477, cve-2019-11478
#[test]
fn nonsense_in_blocks_is_ignored() {
    let wrong = [
        (nth(10), nth(11)),
        (nth(3), nth(3)),
        (nth(4), nth(3)),
        (0, 500),
        (u32::MAX, 0),
        (nth(2), nth(2) + 0x8000_0000),
        (500, nth(1)),
    ];
    let mut h = sender(8);
    for a in wrong {
        for b in wrong {
            h.send(Seg::new(ACK, 5_001, 1_001).sack(&[a, b]));
            h.check_invariants();
        }
    }
    assert_eq!(h.info().sacked, 0);
    h.ack(nth(8));
    assert_eq!(h.conn.snd.una, h.conn.snd.nxt);
}
