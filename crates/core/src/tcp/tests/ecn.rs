//! Explicit congestion notification (RFC 3168).

use super::*;
use crate::config::Ecn;

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
    let mut h = Host::connecting(asking(), Options::default(), 1_000);
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
