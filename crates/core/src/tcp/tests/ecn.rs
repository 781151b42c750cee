//! Explicit congestion notification (RFC 3168).

use super::kit::*;
use super::*;
use crate::config::{CongestionKind, Ecn};

const CE: u8 = 3;

fn asking() -> Config {
    let mut config = plain();
    config.ecn = Ecn::Request;
    config
}

/// ESTABLISHED with ECN.
fn agreed() -> Host {
    answered(Flags::ECE)
}

fn answered(flags: Flags) -> Host {
    answered_under(asking(), flags)
}

fn answered_under(config: Config, flags: Flags) -> Host {
    let mut h = Host::connecting(config, Options::default(), 1_000);
    let syn = h.recv().expect("SYN");
    assert_eq!(syn.hdr.flags, Flags::SYN | Flags::ECE | Flags::CWR);
    assert_eq!(syn.tos & 3, 0);
    h.send(Seg::new(Flags::SYN | Flags::ACK | flags, 5_000, 1_001).opt(|o| o.mss = Some(1_460)));
    let ack = h.recv().expect("ACK");
    assert_eq!((ack.hdr.flags, ack.tos & 3), (Flags::ACK, 0));
    h
}

fn marked(seq: u32, flags: Flags, tos: u8) -> Seg {
    let mut seg = Seg::new(Flags::ACK | flags, seq, 1_001).data(&[7; 100]);
    seg.0.tos = tos;
    seg
}

/// Shows: rfc3168-s6.1.1-a, rfc3168-s6.1.1-b, rfc9293-SHLD-8, rfc8311-s4.2-a
#[test]
fn is_agreed_only_by_the_right_answer() {
    let both = Flags::ECE | Flags::CWR;
    for (answer, on) in [(Flags::ECE, true), (Flags::empty(), false), (both, false), (Flags::CWR, false)] {
        let mut h = answered(answer);
        h.write(&[1; 100]);
        let data = h.recv().expect("data");
        assert_eq!(data.tos & 3, if on { 2 } else { 0 }, "{answer:?}");
    }
}

/// Shows: rfc3168-s6.1.1.1-a
#[test]
fn later_syns_do_not_ask() {
    let mut h = Host::connecting(asking(), Options::default(), 1);
    let asked: Vec<bool> = (0..4)
        .map(|_| h.wait(Duration::from_secs(100)).expect("SYN").hdr.flags.contains(Flags::ECE))
        .collect();
    assert_eq!(asked, [true, true, false, false]);
}

/// Shows: rfc3168-s6.1.3-a, rfc3168-s6.1.4-a
#[test]
fn echoes_a_mark_until_the_sender_has_heard() {
    let mut h = agreed();
    let mut echoes = Vec::new();
    let marks =
        [(Flags::empty(), 2), (Flags::empty(), CE), (Flags::empty(), 2), (Flags::CWR, 2), (Flags::CWR, CE)];
    for (i, (flags, tos)) in marks.into_iter().enumerate() {
        h.send(marked(5_001 + 100 * i as u32, flags, tos));
        let ack = h.wait(Duration::from_millis(300)).expect("ACK");
        assert_eq!(ack.tos & 3, 0);
        echoes.push(ack.hdr.flags.contains(Flags::ECE));
    }
    assert_eq!(echoes, [false, true, true, false, true]);
}

/// Shows: rfc3168-s6.1.2-a, rfc3168-s6.1.2-b
#[test]
fn an_echo_reduces_once_a_window_and_is_answered_once() {
    let mut h = agreed();
    h.write(&[1; 20 * 1_460]);
    assert_eq!(h.recv_all().len(), 10);
    let before = h.conn.info(h.now, &h.config).snd_cwnd;
    for i in 1..=8 {
        h.send(Seg::new(Flags::ACK | Flags::ECE, 5_001, 1_001 + i * 1_460));
    }
    let sent = h.recv_all();
    let info = h.conn.info(h.now, &h.config);
    assert!(info.snd_ssthresh < before && info.snd_ssthresh >= before / 2, "{info:?}");
    let answers = sent.iter().filter(|o| o.hdr.flags.contains(Flags::CWR)).count();
    assert_eq!(answers, 1);
    assert!(sent.first().expect("data").hdr.flags.contains(Flags::CWR));
}

/// Every reduction is told by CWR, also one that follows the last at the same ACK: else the receiver would echo for ever,
/// and the window fall to nothing (seen at a queue that marks early).
///
/// Shows: rfc3168-s6.1.2-b
#[test]
fn each_reduction_is_answered() {
    let mut h = agreed();
    h.write(&[1; 60 * 1_460]);
    let mut sent = h.recv_all();
    let (mut answers, mut una) = (0, 1_001);
    for _ in 0..40 {
        h.advance(ms(1));
        una += 1_460;
        h.send(Seg::new(Flags::ACK | Flags::ECE, 5_001, una));
        let new = h.recv_all();
        answers += new.iter().filter(|o| o.hdr.flags.contains(Flags::CWR)).count();
        sent.extend(new);
    }
    // 10 segments, then 5, 3 and 2 for each window that follows.
    assert!(answers >= 5, "{answers} answers to echoes over {} segments", sent.len());
}

/// All that is in flight is acknowledged 10 ms later, with `flags`.
fn acknowledge_all(h: &mut Host, flags: Flags) {
    h.advance(ms(10));
    let nxt = h.conn.snd.nxt.0;
    h.send(Seg::new(Flags::ACK | flags, 5_001, nxt));
}

/// Persistent echoes take cwnd down to one segment, and from there the retransmission timer sets the pace.
///
/// Shows: rfc9438-s4.6-b, rfc3168-s6.1.2-c
#[test]
fn echoes_at_one_segment_wait_for_the_timer() {
    let mut h = answered_under(Config { ecn: Ecn::Request, ..rfc() }, Flags::ECE);
    h.write(&[1; 60 * 1_460]);
    let mut flights = Vec::new();
    while flights.len() < 12 && flights.last() != Some(&1) {
        flights.push(h.recv_all().len());
        acknowledge_all(&mut h, Flags::ECE);
    }
    assert!(flights.is_sorted_by(|a, b| a >= b) && flights.last() == Some(&1), "{flights:?}");
    assert_eq!(h.conn.info(h.now, &h.config).snd_cwnd, 1);
    for _ in 0..3 {
        // The smallest RTO of this profile is 200 ms; the round trip takes 10.
        assert!(h.wait(ms(199)).is_none(), "before the timer");
        let next = h.wait(ms(1)).expect("a segment");
        assert_eq!((next.why, next.data.len()), (Why::Data, 1_460));
        assert!(h.recv().is_none(), "one segment");
        acknowledge_all(&mut h, Flags::ECE);
    }
    // The marks have ended: what the last one held still waits, then ACKs let data go again.
    assert!(h.wait(ms(200)).is_some());
    acknowledge_all(&mut h, Flags::empty());
    assert!(!h.recv_all().is_empty());
    assert!(h.conn.info(h.now, &h.config).snd_cwnd >= 2);
}

/// Under the `linux` profile two segments are the least, and nothing waits.
#[test]
fn echoes_leave_two_segments_as_on_linux() {
    let mut h = agreed();
    h.write(&[1; 60 * 1_460]);
    let mut flights = Vec::new();
    for _ in 0..8 {
        flights.push(h.recv_all().len());
        acknowledge_all(&mut h, Flags::ECE);
    }
    assert_eq!(flights.last(), Some(&2), "{flights:?}");
}

/// Shows: rfc3168-s6.1.5-a, rfc3168-s6.1.6-a
#[test]
fn retransmissions_and_probes_are_not_marked_and_stray_marks_are_ignored() {
    let mut h = agreed();
    h.write(&[1; 100]);
    assert_eq!(h.recv().expect("data").tos & 3, 2);
    let again = h.wait(Duration::from_secs(2)).expect("retransmission");
    assert_eq!((again.tos & 3, again.hdr.flags.contains(Flags::CWR)), (0, false));
    let mut stray = marked(4_000, Flags::empty(), CE);
    stray.0.hdr.ack = SeqNum(1_001);
    h.send(stray);
    assert!(!h.recv().expect("ACK").hdr.flags.contains(Flags::ECE));
    h.send(Seg::new(Flags::ACK, 5_001, 1_101).win(0));
    h.write(&[2; 100]);
    let probe = h.wait(Duration::from_secs(5)).expect("probe");
    assert_eq!((probe.why, probe.tos & 3, probe.hdr.flags), (Why::WindowProbe, 0, Flags::ACK));
}

// ---- DCTCP ----

fn dctcp() -> Config {
    Config { congestion: CongestionKind::Dctcp, ..plain() }
}

/// An algorithm that lives on marks asks for ECN though the setting does not.
#[test]
fn dctcp_asks_for_ecn_by_itself() {
    let h = answered_under(dctcp(), Flags::ECE);
    assert_eq!(h.info().options & 8, 8, "agreed");
}

/// ECE follows the marks segment by segment, CWR does not end it, and when the mark changes what came before is
/// acknowledged at once as it came.
///
/// Shows: rfc8257-s3.2-a
#[test]
fn dctcp_echoes_each_change_of_the_mark() {
    let mut h = answered_under(dctcp(), Flags::ECE);
    h.set(|o| o.quickack = Some(false));
    let mut seq = 5_001;
    let mut arrive = |h: &mut Host, tos: u8, flags: Flags| -> alloc::vec::Vec<(bool, u32)> {
        h.send(marked(seq, flags, tos));
        seq += 100;
        h.recv_all().iter().map(|o| (o.hdr.flags.contains(Flags::ECE), o.hdr.ack.0)).collect()
    };
    assert_eq!(arrive(&mut h, 2, Flags::empty()), [], "delayed");
    assert_eq!(arrive(&mut h, CE, Flags::empty()), [(false, 5_101), (true, 5_201)]);
    assert_eq!(arrive(&mut h, CE, Flags::CWR), [], "still marked: delayed again");
    assert_eq!(arrive(&mut h, 2, Flags::empty()), [(true, 5_301), (false, 5_401)]);
    assert_eq!(arrive(&mut h, 2, Flags::empty()), []);
}
