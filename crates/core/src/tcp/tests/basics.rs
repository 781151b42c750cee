//! The whole life of a connection, once each way.

use super::*;

/// Shows: rfc9293-s3.5-a, rfc9293-s3.6-a, rfc9293-MUST-61
#[test]
fn opens_sends_and_closes_actively() {
    let mut h = Host::established(plain(), Options::default());
    assert_eq!(h.write(&[1; 3_000]), 3_000);
    let out = h.recv_all();
    let lens: Vec<usize> = out.iter().map(|o| o.data.len()).collect();
    assert_eq!(lens, [1_460, 1_460, 80]);
    let push: Vec<bool> = out.iter().map(|o| o.hdr.flags.contains(Flags::PSH)).collect();
    assert_eq!(push, [false, false, true]);
    h.send(Seg::new(Flags::ACK, 5_001, 4_001));
    h.send(Seg::new(Flags::ACK, 5_001, 4_001).data(b"hello"));
    assert_eq!(h.read(10), b"hello");
    h.close();
    let fin = h.recv().expect("FIN");
    assert_eq!((fin.hdr.flags, fin.hdr.seq), (Flags::FIN | Flags::ACK, SeqNum(4_001)));
    assert_eq!(fin.hdr.ack, SeqNum(5_006));
    assert_eq!(h.conn.state(), State::FinWait1);
    h.send(Seg::new(Flags::ACK, 5_006, 4_002));
    assert_eq!(h.conn.state(), State::FinWait2);
    h.send(Seg::new(Flags::ACK | Flags::FIN, 5_006, 4_002));
    let ack = h.recv().expect("ACK of FIN");
    assert_eq!((ack.hdr.flags, ack.hdr.seq, ack.hdr.ack), (Flags::ACK, SeqNum(4_002), SeqNum(5_007)));
    assert_eq!(h.conn.state(), State::TimeWait);
    assert!(matches!(h.done, Some(Done::TimeWait(_))));
}

/// Shows: rfc9293-s3.6-a, posix-recv-b
#[test]
fn closes_passively() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(Flags::ACK | Flags::FIN, 5_001, 1_001));
    assert_eq!(h.recv().expect("ACK").hdr.ack, SeqNum(5_002));
    assert_eq!(h.conn.state(), State::CloseWait);
    assert!(h.conn.fin_received());
    h.close();
    assert_eq!(h.recv().expect("FIN").hdr.seq, SeqNum(1_001));
    assert_eq!(h.conn.state(), State::LastAck);
    h.send(Seg::new(Flags::ACK, 5_002, 1_002));
    assert_eq!(h.conn.state(), State::Closed);
    assert_eq!(h.done, Some(Done::Closed));
}

/// Shows: rfc9293-MUST-22, rfc6298-s2-a
#[test]
fn retransmits_its_syn_with_back_off_until_it_gives_up() {
    // Linux sends four more before, an initial RTO apart.
    let cases: [(u8, &[u64]); 2] =
        [(0, &[0, 1, 3, 7, 15, 31, 63]), (4, &[0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67])];
    for (linear, times) in cases {
        let mut config = plain();
        config.syn_linear_timeouts = linear;
        let mut h = Host::connecting(config, Options::default(), 1);
        let start = h.now;
        let mut at = Vec::new();
        while let Some(syn) = h.wait(Duration::from_secs(200)) {
            assert_eq!(syn.hdr.flags, Flags::SYN);
            at.push(h.now.since(start).as_secs());
        }
        assert_eq!(at, times);
        assert_eq!(h.conn.error(), Some(Errno::ETIMEDOUT));
        assert_eq!(h.done, Some(Done::Closed));
    }
}

/// Shows: rfc9293-MUST-36, rfc9293-SHLD-29, rfc9293-SHLD-30
#[test]
fn probes_a_closed_window_ever_more_slowly() {
    let mut h = Host::established(plain(), Options::default());
    h.write(&[1; 100]);
    let _ = h.recv_all();
    h.send(Seg::new(Flags::ACK, 5_001, 1_101).win(0));
    h.write(&[2; 100]);
    let mut last = h.now;
    let mut gaps = Vec::new();
    for _ in 0..4 {
        let probe = h.wait(Duration::from_secs(10)).expect("probe");
        assert_eq!(probe.hdr.seq, SeqNum(1_100));
        gaps.push(h.now.since(last));
        last = h.now;
        h.send(Seg::new(Flags::ACK, 5_001, 1_101).win(0));
    }
    assert!(gaps.windows(2).all(|w| w[1] >= w[0]), "{gaps:?}");
    h.send(Seg::new(Flags::ACK, 5_001, 1_101).win(1_000));
    assert_eq!(h.recv().expect("data").data.len(), 100);
}
