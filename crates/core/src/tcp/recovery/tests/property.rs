//! Random sends, ACKs, losses and timeouts against a model that keeps each segment by itself.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Send(u32),
    /// Cumulative ACK by so many segments, and SACK of these, counted from there.
    Ack(u32, Vec<(u32, u32)>),
    Duplicate,
    Wait(u64),
    Rto,
    Reo,
    Tlp,
    Resend(u32),
    Shrink,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (1u32..20).prop_map(Op::Send),
        6 => (0u32..6, prop::collection::vec((1u32..30, 1u32..6), 0..4)).prop_map(|(a, b)| Op::Ack(a, b)),
        1 => Just(Op::Duplicate),
        3 => (1u64..400).prop_map(Op::Wait),
        1 => Just(Op::Rto),
        1 => Just(Op::Reo),
        1 => Just(Op::Tlp),
        4 => (1u32..30).prop_map(Op::Resend),
        1 => Just(Op::Shrink),
    ];
    prop::collection::vec(op, 1..120)
}

/// What the peer said it has, by bytes' thousands; cleared where the sender may forget it.
#[derive(Default)]
struct Model {
    sacked: BTreeSet<u32>,
    /// The path takes half segments by now: what is sent again is of these, and none of them reaches over the border of
    /// two old ones, of which the peer may have SACKed the first.
    halved: bool,
}

fn apply(s: &mut Sender, m: &mut Model, op: &Op) {
    let una = |s: &Sender| s.una.since(SeqNum(ISS)) / MSS;
    let nxt = |s: &Sender| s.nxt.since(SeqNum(ISS)) / MSS;
    let mss = if m.halved { MSS as u16 / 2 } else { MSS as u16 };
    match op {
        Op::Send(n) => s.send(*n),
        Op::Ack(n, blocks) => {
            let before = una(s);
            let ack = (before + n).min(nxt(s));
            let blocks: Vec<(u32, u32)> = blocks
                .iter()
                .map(|&(from, len)| (ack + from, (ack + from + len).min(nxt(s))))
                .filter(|&(l, r)| l < r)
                .collect();
            let out = s.ack(ack, &blocks);
            assert_eq!(out.acked, (ack - before) * MSS);
            if s.sack && !blocks.iter().skip(1).any(|b| blocks[0].0 >= b.0 && blocks[0].1 <= b.1) {
                m.sacked.extend(blocks.iter().flat_map(|&(l, r)| l..r));
            }
            m.sacked = m.sacked.split_off(&ack);
        }
        Op::Duplicate => {
            let _ = s.ack(una(s), &[]);
        }
        Op::Wait(ms) => s.wait(*ms),
        Op::Rto => {
            if s.rto().reneging {
                m.sacked.clear();
            }
        }
        Op::Reo => {
            let _ = s.flight.on_timer_reo(s.now, &s.rtt, &mut s.cc, &mut s.p, &s.cfg);
            s.check();
        }
        Op::Tlp => {
            let armed = !s.flight.tlp_deadline(&s.rtt, &s.p, &s.cfg, Instant::NEVER).is_never();
            if let Some(Probe::Retransmit(r)) =
                armed.then(|| s.flight.on_tlp(s.now, false, &mut s.p)).flatten()
            {
                s.flight.on_sent(s.now, r.seq, r.len, mss, true, &mut s.p, &mut s.cc);
                s.check();
            }
        }
        Op::Resend(most) => {
            if let Some(r) = s.flight.next_retransmit(&s.cc, most * MSS) {
                assert!(r.len <= most * MSS && r.seq.ge(s.una) && (r.seq + r.len).le(s.nxt));
                let first = r.seq.since(SeqNum(ISS)) / MSS;
                for n in first..first + r.len.div_ceil(MSS) {
                    assert!(!m.sacked.contains(&n), "{n} was SACKed");
                }
                s.flight.on_sent(s.now, r.seq, r.len, mss, true, &mut s.p, &mut s.cc);
                s.check();
            }
        }
        Op::Shrink => {
            m.halved = true;
            let _ = s.flight.resegment(MSS as u16 / 2, &mut s.p);
            s.check();
        }
    }
    assert!(s.cc.cwnd() >= MSS && s.cc.cwnd() <= crate::tcp::congestion::INFINITE);
    assert_eq!(s.flight.outstanding(), s.nxt.since(s.una));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Shows: rfc6675-s4-b
    #[test]
    fn sums_hold_and_sacked_data_stays(ops in ops(), sack: bool, rack: bool, cubic: bool) {
        let kind = if cubic { CongestionKind::Cubic } else { CongestionKind::Reno };
        let mut s = Sender::new(kind, 10);
        s.sack = sack;
        s.cfg.rack = rack;
        let mut m = Model::default();
        for op in &ops {
            apply(&mut s, &mut m, op);
        }
        // Whatever happened: timeouts and ACKs bring it to its end.
        let mut rounds = 0;
        while s.una != s.nxt {
            rounds += 1;
            prop_assert!(rounds < 2_000, "stuck in {:?}", s.flight);
            s.wait(3_000);
            let _ = s.rto();
            let sent = s.resend();
            prop_assert!(!sent.is_empty());
            s.wait(100);
            let next = sent.iter().map(|(n, _)| n + 1).max().map_or(0, |n| n.min(s.nxt.since(SeqNum(ISS)) / MSS));
            let _ = s.ack(next, &[]);
        }
        prop_assert!(s.flight.is_empty());
        prop_assert_eq!(s.flight.bytes_in_flight(), 0);
    }
}
