//! Accurate ECN (RFC 9768).

use super::kit::*;
use super::*;
use crate::config::Ecn;
use crate::wire::tcp::AccEcn;

const AE: Flags = Flags::AE;
const CWR: Flags = Flags::CWR;
const ECE: Flags = Flags::ECE;
const CE: u8 = 3;

/// AE, CWR and ECE as a number.
fn ace(out: &Outgoing) -> u8 {
    let bit = |flag| u8::from(out.hdr.flags.contains(flag));
    bit(AE) << 2 | bit(CWR) << 1 | bit(ECE)
}

fn of(number: u8) -> Flags {
    let bit = |n: u8, flag| if number & n != 0 { flag } else { Flags::empty() };
    bit(4, AE) | bit(2, CWR) | bit(1, ECE)
}

/// Without options of its own.
fn asking(ecn: Ecn) -> Host {
    let mut h = Host::connecting(Config { ecn, ecn_option: 0, ..plain() }, Options::default(), 1_000);
    h.recv().expect("SYN");
    h
}

/// A client whose SYN-ACK had these flags and marks; its first ACK.
fn client(answer: u8, tos: u8) -> (Host, Outgoing) {
    let mut h = asking(Ecn::Accurate);
    let mut seg = Seg::new(SYN_ACK | of(answer), 5_000, 1_001).opt(|o| o.mss = Some(1_460));
    seg.0.tos = tos;
    h.send(seg);
    let ack = h.one();
    (h, ack)
}

/// A server in SYN-RECEIVED.
fn server(set: impl FnOnce(&mut HalfOpen)) -> Host {
    let config = Config { ecn: Ecn::Accurate, ..plain() };
    Host::passive(config, Options::default(), |half| {
        (half.ecn, half.accurate) = (true, true);
        set(half);
    })
}

/// A segment of the peer with these flags and marks.
fn seg(seq: u32, ack: u32, flags: u8, len: usize, tos: u8) -> Seg {
    let mut seg = Seg::new(ACK | of(flags), seq, ack).len(len);
    seg.0.tos = tos;
    seg
}

/// Marks of the data that leaves.
fn data_tos(h: &mut Host) -> u8 {
    h.write(&[1; 100]);
    h.one().tos & 3
}

/// Shows: rfc9768-s3.1.2-a, rfc9768-s3.1.1-a
#[test]
fn the_answer_decides_the_mode() {
    let classic = |h: &Host| h.conn.ecn.agreed;
    let accurate = |h: &Host| h.conn.ecn.accurate.is_some();
    for (answer, want) in [
        (0b000, (false, false)),
        (0b001, (true, false)),
        (0b010, (false, true)),
        (0b011, (false, true)),
        (0b100, (false, true)),
        (0b101, (false, true)),
        (0b110, (false, true)),
        (0b111, (false, false)),
    ] {
        let (mut h, _) = client(answer, 0);
        assert_eq!((classic(&h), accurate(&h)), want, "{answer:03b}");
        // A not-ECT SYN that is said to have arrived with marks: no marks on this path (3.2.2.3).
        let marks = matches!(answer, 0b001 | 0b010 | 0b101);
        assert_eq!(data_tos(&mut h), if marks { 2 } else { 0 }, "{answer:03b}");
    }
    // A SYN that asked for RFC 3168's takes no other answer.
    for answer in 0..8 {
        let mut h = Host::connecting(
            Config { ecn: Ecn::RequestAcceptAccurate, ..plain() },
            Options::default(),
            1_000,
        );
        assert_eq!(h.recv().expect("SYN").hdr.flags, SYN | ECE | CWR);
        h.send(Seg::new(SYN_ACK | of(answer), 5_000, 1_001));
        assert_eq!((classic(&h), accurate(&h)), (answer == 1, false));
    }
}

/// Shows: rfc9768-s3.1.4-a
#[test]
fn later_syns_ask_for_nothing() {
    let config = Config { ecn: Ecn::Accurate, ..plain() };
    let mut h = Host::connecting(config, Options::default(), 1_000);
    let syns: Vec<u8> = (0..4).map(|_| ace(&h.wait(secs(100)).expect("SYN"))).collect();
    assert_eq!(syns, [7, 7, 0, 0]);
    assert!(!h.conn.asked_in_vain() || h.conn.ecn.sent_plain);
    // The server may still answer the first: it is accurate ECN, without marks from us.
    h.send(Seg::new(SYN_ACK | CWR, 5_000, 1_001));
    h.recv_all();
    assert!(h.conn.ecn.accurate.is_some() && !h.conn.asked_in_vain());
    assert_eq!(data_tos(&mut h), 0);
}

/// Shows: rfc9768-s3.2.2.1-a, rfc9768-s3.2.1-a
#[test]
fn the_first_ack_tells_how_the_syn_ack_arrived() {
    for (tos, want) in [(0, 0b010), (1, 0b011), (2, 0b100), (CE, 0b110)] {
        let (mut h, ack) = client(0b010, tos);
        assert_eq!(ace(&ack), want);
        h.write(&[1; 100]);
        assert_eq!(ace(&h.one()), if tos == CE { 6 } else { 5 }, "a counter from then on");
    }
    // The server takes it so: s.cep is 6 for CE, and zero forbids marks.
    for (first, s_cep, marks) in [
        (0b000, 0, false),
        (0b001, 0, true),
        (0b010, 0, true),
        (0b100, 0, true),
        (0b101, 0, true),
        (0b110, 1, true),
    ] {
        let mut h = server(|_| {});
        h.send(seg(5_001, 1_001, first, 0, 0));
        assert_eq!(h.conn.state(), State::Established);
        assert_eq!(h.info().delivered_ce, s_cep, "{first:03b}");
        assert_eq!(data_tos(&mut h), if marks { 2 } else { 0 }, "{first:03b}");
    }
    // With data it is the counter already.
    let mut h = server(|_| {});
    h.send(seg(5_001, 1_001, 5, 100, 2));
    assert_eq!(h.info().delivered_ce, 0);
    let ack = h.one();
    assert_eq!(ace(&ack), 5);
}

/// Shows: rfc9768-s3.1.5-b
#[test]
fn a_plain_syn_means_no_marks_but_feedback() {
    let mut h = server(|half| half.not_ect = true);
    h.send(seg(5_001, 1_001, 2, 0, 0));
    h.send(seg(5_001, 1_001, 5, 100, CE));
    assert_eq!(ace(&h.one()), 6);
    h.write(&[1; 100]);
    let data = h.one();
    assert_eq!((data.tos & 3, ace(&data)), (0, 6));
}

/// Data, pure ACKs and what was sent again count; what is outside of the window does not.
/// Shows: rfc9768-s3.2.2-a, rfc9768-s3.2.1-a
#[test]
fn marked_packets_are_counted() {
    let (mut h, _) = client(0b010, 0);
    let mut seq = 5_001;
    for n in 1..=10_u32 {
        h.send(seg(seq, 1_001, 5, 100, CE));
        seq += 100;
        h.wait(ms(300)).expect("ACK");
        h.write(&[1; 10]);
        let out = h.one();
        assert_eq!(u32::from(ace(&out)), (5 + n) & 7);
        h.ack(out.hdr.seq.0 + 10);
    }
    h.send(seg(seq, h.conn.snd.nxt.0, 5, 0, CE)); // a pure ACK
    h.write(&[1; 10]);
    assert_eq!(u32::from(ace(&h.one())), (5 + 11) & 7);
    h.send(seg(seq.wrapping_add(1 << 30), 1_001, 5, 100, CE));
    assert_eq!(u32::from(ace(&h.one())), (5 + 11) & 7);
    // A super-segment is as many packets as it stands for.
    let mut many = seg(seq, h.conn.snd.nxt.0, 5, 300, CE);
    many.0.gso_size = 100;
    h.send(many);
    assert_eq!(u32::from(ace(&h.one())), (5 + 14) & 7);
}

/// The sender reduces once a window, whatever the number; lost ACKs lose no marks; CWR keeps no old meaning.
/// Shows: rfc9768-s3.2.2-a, rfc9768-s3.1.5-b, rfc3168-s6.1.2-a
#[test]
fn the_sender_learns_how_many() {
    let (mut h, _) = client(0b010, 0);
    h.send(seg(5_001, 1_001, 2, 0, 0));
    h.write(&pattern(40 * 1_460));
    let sent = h.recv_all();
    assert!(sent.iter().all(|o| o.tos & 3 == 2 && ace(o) == 5));
    h.send(seg(5_001, 1_001 + MSS, 5, 0, 0));
    assert_eq!((h.info().delivered_ce, h.cwnd().1), (0, crate::tcp::congestion::INFINITE));
    h.send(seg(5_001, 1_001 + 2 * MSS, 6, 0, 0));
    let threshold = h.cwnd().1;
    assert!(threshold < 15 * MSS);
    // Two ACKs were lost: three more marks.
    h.send(seg(5_001, 1_001 + 5 * MSS, 1, 0, 0));
    assert_eq!(h.info().delivered_ce, 4);
    assert_eq!(h.cwnd().1, threshold, "once a window");
    let sent = h.recv_all();
    assert!(sent.iter().all(|o| ace(o) == 5), "no CWR");
    // An old ACK, or one without progress, says nothing.
    h.send(seg(5_001, 1_001 + 4 * MSS, 0, 0, 0));
    h.send(seg(5_001, 1_001 + 5 * MSS, 0, 0, 0));
    assert_eq!(h.info().delivered_ce, 4);
}

/// More packets acknowledged than three bits tell apart: the safe number, unless the bytes say otherwise.
/// Shows: rfc9768-s3.2.2-a, rfc9768-s3.2.3-a
#[test]
fn wrapped_counters_are_resolved_by_bytes() {
    let ceb = |bytes: Option<u32>| bytes.map(|bytes| AccEcn::new(false, &[1, bytes, 1]));
    for (bytes, want) in
        [(None, 9), (Some(0), 1), (Some(MSS), 1), (Some(9 * MSS), 9), (Some(9 * MSS - 40), 9)]
    {
        let (mut h, _) = client(0b010, 0);
        h.write(&pattern(10 * 1_460));
        h.recv_all();
        h.send(seg(5_001, 1_001 + 10 * MSS, 6, 0, 0).opt(|o| o.accurate_ecn = ceb(bytes)));
        assert_eq!(h.info().delivered_ce, want, "{bytes:?}");
    }
    // The option vanishes in mid-connection: the flags go on.
    let (mut h, _) = client(0b010, 0);
    for (n, option) in [(1, Some(MSS)), (2, Some(2 * MSS)), (3, None), (4, None)] {
        h.send_segments(1);
        h.send(seg(5_001, 1_001 + n * MSS, (5 + n as u8) & 7, 0, 0).opt(|o| o.accurate_ecn = ceb(option)));
        assert_eq!(h.info().delivered_ce, n);
    }
}

/// Flags that are always zero come from a path that clears them: they mean nothing, and no marks are sent.
/// Shows: rfc9768-s3.2.2.1-a
#[test]
fn cleared_flags_mean_nothing() {
    let (mut h, _) = client(0b010, 0);
    h.send_segments(2);
    h.send(seg(5_001, 1_001 + MSS, 0, 0, 0));
    h.send(seg(5_001, 1_001 + 2 * MSS, 0, 0, 0));
    assert_eq!((h.info().delivered_ce, data_tos(&mut h)), (0, 0));
}

/// The first CE after none is acknowledged at once, then every second one; pure ACKs with CE every third.
/// Shows: rfc9768-s3.2.2.5-a
#[test]
fn marks_are_acknowledged_soon() {
    let mut config = Config { ecn: Ecn::Accurate, ..plain() };
    config.quick_acks = 0;
    let mut h = Host::passive(config, Options::default(), |half| {
        (half.ecn, half.accurate) = (true, true);
    });
    h.send(seg(5_001, 1_001, 2, 0, 0));
    h.recv_all();
    let mut acked = Vec::new();
    for i in 0..8 {
        let tos = if i == 0 { 0 } else { CE };
        h.send(seg(5_001 + 10 * i, 1_001, 5, 10, tos));
        acked.push(h.recv_all().len());
    }
    assert_eq!(acked, [0, 1, 0, 1, 0, 1, 0, 1]);
    h.advance(secs(1));
    h.recv_all();
    let mut acked = Vec::new();
    for _ in 0..6 {
        h.send(seg(5_081, 1_001, 5, 0, CE));
        acked.push(h.recv_all().len());
    }
    assert_eq!(acked, [0, 0, 1, 0, 0, 1]);
}

/// A client whose SYN-ACK had an option, and its first ACK.
fn client_with_option(config: Config, counters: &[u32]) -> (Host, Outgoing) {
    let mut h = Host::connecting(config, Options::default(), 1_000);
    assert!(h.one().hdr.options.accurate_ecn.is_none(), "a SYN");
    let option = AccEcn::new(true, counters);
    h.send(Seg::new(SYN_ACK | of(0b010), 5_000, 1_001).opt(|o| {
        o.mss = Some(1_460);
        o.accurate_ecn = Some(option);
    }));
    let ack = h.one();
    (h, ack)
}

fn counters(out: &Outgoing) -> Option<(bool, Vec<u32>)> {
    out.hdr.options.accurate_ecn.map(|o| (o.order1, o.counters().collect()))
}

/// Once the peer has sent the option every segment carries the bytes by mark, SYNs never; under the `rfc` profile ECT(1) changes
/// the order, Linux always has ECT(1) first.
/// Shows: rfc9768-s3.2.3-a, rfc9768-s3.2.1-a
#[test]
fn the_option_counts_bytes() {
    for (profile, order1, want) in [
        (crate::Profile::Linux, true, [[1, 0, 101], [1, 50, 101]]),
        (crate::Profile::Rfc, false, [[101, 0, 1], [101, 50, 1]]),
    ] {
        let config = Config { ecn: Ecn::Accurate, profile, ..plain() };
        let (mut h, ack) = client_with_option(config, &[1, 0, 1]);
        assert_eq!(counters(&ack), Some((order1, Vec::from([1, 0, 1]))));
        let mut next = 5_001;
        let mut tell = |h: &mut Host, len: usize, tos| {
            h.send(seg(next, 1_001, 5, len, tos));
            next += len as u32;
            counters(&h.wait(ms(300)).expect("ACK"))
        };
        assert_eq!(tell(&mut h, 100, 2), Some((order1, Vec::from(want[0]))));
        assert_eq!(tell(&mut h, 50, CE), Some((order1, Vec::from(want[1]))));
        assert_eq!(tell(&mut h, 7, 1), Some((true, Vec::from([8, 50, 101]))));
        assert_eq!(tell(&mut h, 7, 0), Some((true, Vec::from([8, 50, 101]))));
        // Text has it too, and gives way to it.
        h.write(&pattern(1_460));
        let sent = h.recv_all().swap_remove(0);
        assert_eq!(sent.data.len(), 1_448);
        assert_eq!(counters(&sent), Some((true, Vec::from([8, 50, 101]))));
    }
}

/// A peer that sends no option gets none.
/// Shows: rfc9768-s3.2.3-a
#[test]
fn no_option_is_answered_by_none() {
    let mut h = Host::connecting(Config { ecn: Ecn::Accurate, ..plain() }, Options::default(), 1_000);
    h.recv().expect("SYN");
    h.send(Seg::new(SYN_ACK | of(0b010), 5_000, 1_001).opt(|o| o.mss = Some(1_460)));
    assert_eq!(counters(&h.one()), None);
    h.send(seg(5_001, 1_001, 5, 100, CE));
    assert_eq!(counters(&h.wait(ms(300)).expect("ACK")), None);
}

/// Counters that begin at zero were cleared on the way: what they say of our bytes is not believed.
/// Shows: rfc9768-s3.2.3-a
#[test]
fn cleared_counters_are_not_believed() {
    for (first, want) in [(&[1, 0, 1], 1), (&[0, 0, 0], 9)] {
        let config = Config { ecn: Ecn::Accurate, ..plain() };
        let (mut h, _) = client_with_option(config, first);
        h.write(&pattern(10 * 1_448));
        h.recv_all();
        let option = AccEcn::new(true, first);
        h.send(seg(5_001, 1_001 + 14_480, 6, 0, 0).opt(|o| o.accurate_ecn = Some(option)));
        assert_eq!(h.info().delivered_ce, want);
    }
}

/// At `tcp_ecn_option` = 1 changes are told, twice, and else so many times a round trip; at 0 nothing is.
/// Shows: rfc9768-s3.2.3-a
#[test]
fn the_option_may_be_sparing() {
    let told = |rule, beacon, wait| {
        let mut config = Config { ecn: Ecn::Accurate, ..plain() };
        (config.ecn_option, config.ecn_option_beacon) = (rule, beacon);
        let mut h = Host::connecting(config, Options::default(), 1_000);
        h.recv().expect("SYN");
        h.now += ms(90); // the round trip
        let option = AccEcn::new(true, &[1, 0, 1]);
        h.send(Seg::new(SYN_ACK | of(0b010), 5_000, 1_001).opt(|o| o.accurate_ecn = Some(option)));
        let mut told = Vec::from([h.one()]);
        for i in 0..4 {
            h.now += ms(wait);
            h.send(seg(5_001 + 1_000 * i, 1_001, 5, 1_000, 2));
            told.extend(h.recv_all());
        }
        told.iter().map(|o| u8::from(counters(o).is_some())).collect::<Vec<_>>()
    };
    assert_eq!(told(0, 3, 1), [0, 0, 0, 0, 0]);
    assert_eq!(told(1, 0, 60), [1, 1, 1, 0, 0]);
    assert_eq!(told(1, 3, 20), [1, 1, 1, 0, 1]);
    assert_eq!(told(1, 3, 31), [1, 1, 1, 1, 1]);
    assert_eq!(told(2, 3, 1), [1, 1, 1, 1, 1]);
}
