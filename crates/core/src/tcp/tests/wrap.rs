//! Sequence numbers across 2^32 (RFC 9293 3.4).

use super::kit::*;
use super::*;

/// ESTABLISHED with SND.NXT = `iss` + 1 and RCV.NXT = `irs` + 1.
fn at(iss: u32, irs: u32) -> Host {
    let mut h = Host::connecting(plain(), Options::default(), iss);
    h.recv().expect("SYN");
    h.advance(ms(10));
    h.send(Seg::new(SYN_ACK, irs, iss.wrapping_add(1)).opt(|o| o.mss = Some(1_460)));
    let ack = h.one();
    assert_eq!(brief(&ack), (ACK, iss.wrapping_add(1), irs.wrapping_add(1), 0));
    h
}

/// The places where arithmetic breaks, if it breaks.
const PLACES: [u32; 8] =
    [u32::MAX, u32::MAX - 1, u32::MAX - 100, 0, 0x7fff_ffff, 0x7fff_fffe, 0x8000_0000, 0xffff_0000];

/// Shows: rfc9293-s3.4-a
#[test]
fn handshake_data_and_close_work_at_every_place() {
    for iss in PLACES {
        for irs in PLACES {
            let mut h = at(iss, irs);
            let (snd, rcv) = (iss.wrapping_add(1), irs.wrapping_add(1));
            h.write(&pattern(5_000));
            let out = h.recv_all();
            assert_eq!(out.iter().map(|o| o.data.len()).sum::<usize>(), 5_000);
            assert_eq!(out[3].hdr.seq.0, snd.wrapping_add(4_380));
            h.send(Seg::new(ACK, rcv.wrapping_add(2_000), snd.wrapping_add(5_000)).len(2_000));
            h.send(Seg::new(ACK, rcv, snd.wrapping_add(5_000)).len(2_000));
            assert_eq!((h.conn.snd.una, h.conn.readable()), (h.conn.snd.nxt, 4_000));
            h.read(4_000);
            h.recv_all();
            h.shutdown();
            h.one();
            h.send(Seg::new(FIN_ACK, rcv.wrapping_add(4_000), snd.wrapping_add(5_001)));
            assert_eq!(h.one().hdr.ack.0, rcv.wrapping_add(4_001));
            assert!(matches!(h.done, Some(Done::TimeWait(_))));
        }
    }
}

/// Shows: rfc9293-s3.4-a
#[test]
fn old_and_new_are_told_apart_across_the_wrap() {
    let mut h = at(0xffff_ff00, 0xffff_fff0);
    h.send(Seg::new(ACK, 0xffff_fff1, 0xffff_ff01).len(100));
    h.recv_all();
    assert_eq!(h.conn.rcv.nxt.0, 0x55);
    h.send(Seg::new(ACK, 0xffff_fff1, 0xffff_ff01).len(100));
    assert_eq!(h.one().hdr.ack.0, 0x55, "an old duplicate");
    assert_eq!(h.conn.readable(), 100);
    h.send(Seg::new(RST, 0x55, 0));
    assert_eq!(h.conn.state(), State::Closed);
}

/// Shows: rfc9293-s3.4-a
#[test]
fn retransmission_across_the_wrap() {
    let mut h = at(u32::MAX - 2_000, 9);
    h.write(&pattern(4_000));
    let first = h.recv_all();
    let again = h.wait(secs(3)).expect("retransmission");
    assert!(again.hdr.seq == first[0].hdr.seq || again.hdr.seq == first[2].hdr.seq);
    h.send(Seg::new(ACK, 10, 2_000));
    assert_eq!(h.conn.snd.una, h.conn.snd.nxt);
    assert!(h.timeline(secs(60)).is_empty());
}

/// Shows: rfc9293-s3.4-a, rfc9293-MUST-62
#[test]
fn urgent_pointer_across_the_wrap() {
    let mut h = at(5, u32::MAX - 10);
    h.send(Seg::new(ACK, u32::MAX - 9, 6).len(20).urg(15));
    assert_eq!(h.conn.urgent_offset(), Some(14));
    assert_eq!(h.read(100).len(), 14);
    assert!(h.conn.at_mark());
}
