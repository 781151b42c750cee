//! Resets, in and out (RFC 9293 3.5.1 to 3.5.3, 3.10.5, RFC 5961 3).

use super::kit::*;
use super::*;

/// Shows: rfc9293-s3.5.1-a, rfc5961-s4.2-a
#[test]
fn half_open_connection_is_found_out_and_cleared() {
    let mut h = Host::established(plain(), Options::default());
    // The peer has rebooted and connects again from the same port.
    h.send(Seg::new(SYN, 77, 0));
    let ack = h.one();
    assert_eq!(brief(&ack), (ACK, 1_001, 5_001, 0));
    h.send(Seg::new(RST, ack.hdr.ack.0, 0));
    assert_eq!((h.conn.state(), h.conn.error()), (State::Closed, Some(Errno::ECONNRESET)));
    assert_eq!(h.done, Some(Done::Closed));
    h.quiet();
}

/// Shows: rfc9293-s3.5.3-a
#[test]
fn reset_in_syn_sent_must_acknowledge_the_syn() {
    let reset_by = |flags, ack| {
        let mut h = Host::in_state(plain(), State::SynSent);
        h.send(Seg::new(flags, 0, ack));
        h.quiet();
        (h.conn.state(), h.conn.error())
    };
    let ignored = (State::SynSent, None);
    assert_eq!(reset_by(RST, 1_001), ignored, "without ACK");
    assert_eq!(reset_by(RST_ACK, 1_000), ignored);
    assert_eq!(reset_by(RST_ACK, 1_002), ignored);
    assert_eq!(reset_by(RST_ACK, 1_001), (State::Closed, Some(Errno::ECONNREFUSED)));
}

/// Shows: rfc9293-s3.5.2-b
#[test]
fn reset_is_never_answered_by_a_reset() {
    for state in [State::SynSent, State::SynReceived].into_iter().chain(SYNCHRONIZED) {
        for flags in [RST, RST_ACK, RST.union(SYN), RST.union(FIN_ACK)] {
            for seq in [5_001, 5_100, 4_000, 0x9000_0000] {
                for ack in [1_000, 1_001, 2_000] {
                    let mut h = Host::in_state(plain(), state);
                    h.send(Seg::new(flags, seq, ack));
                    assert!(h.recv_all().iter().all(|o| !o.hdr.flags.contains(RST)), "{state} {flags:?}");
                }
            }
        }
    }
}

/// Shows: rfc9293-s3.10.5-a
#[test]
fn abort_says_so_where_the_peer_may_still_count_on_us() {
    let told = [State::SynReceived, State::Established, State::FinWait1, State::FinWait2, State::CloseWait];
    for state in [State::SynSent, State::SynReceived].into_iter().chain(SYNCHRONIZED) {
        let mut h = Host::in_state(plain(), state);
        let snd_nxt = h.conn.snd.nxt;
        h.write(&[1; 100]);
        h.abort();
        assert_eq!((h.conn.state(), h.done), (State::Closed, Some(Done::Closed)));
        let out = h.recv_all();
        if told.contains(&state) {
            assert_eq!(out.len(), 1, "{state}");
            assert!(out[0].hdr.flags.contains(RST));
            assert_eq!(out[0].hdr.seq, snd_nxt, "{state}");
        } else {
            assert!(out.is_empty(), "{state}");
        }
        assert!(h.timeline(secs(600)).is_empty(), "nothing is sent again");
        assert_eq!(h.conn.memory(), 0, "all queues are flushed");
    }
}

/// Shows: posix-linger-a, rfc9293-s3.10.5-a
#[test]
fn abort_with_data_in_flight_resets_at_snd_nxt() {
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(3);
    h.abort();
    let rst = h.one();
    assert_eq!(rst.hdr.seq.0, 1_001 + 3 * MSS);
    assert!(!rst.hdr.flags.contains(FIN));
}

/// Shows: rfc9293-MUST-12, rfc9293-SHLD-2
#[test]
fn reset_with_text_counts_and_its_text_does_not() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(RST, 5_001, 0).len(20));
    assert_eq!((h.conn.state(), h.conn.error()), (State::Closed, Some(Errno::ECONNRESET)));
    assert_eq!(h.read(100), b"");
}

/// Shows: rfc9293-MUST-12
#[test]
fn end_by_fin_and_end_by_reset_are_told_apart() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(FIN_ACK, 5_001, 1_001));
    assert!(h.conn.fin_received());
    assert_eq!(h.conn.error(), None);
    assert!(h.ready.contains(Ready::IN | Ready::RDHUP));
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(RST, 5_001, 0));
    assert!(!h.conn.fin_received());
    assert!(h.ready.contains(Ready::ERR | Ready::HUP));
    assert_eq!(h.conn.take_error(), Some(Errno::ECONNRESET));
    assert_eq!(h.conn.take_error(), None, "once");
}

/// Shows: rfc9293-MUST-66
#[test]
fn reset_counts_while_the_window_is_closed() {
    for (seq, state) in [(5_000, State::Established), (6_000, State::Closed), (6_001, State::Established)] {
        let mut h = Host::established(plain(), socket(|o| o.rcvbuf = Some(999)));
        h.send(Seg::new(ACK, 5_001, 1_001).len(999));
        assert_eq!(h.one().hdr.window, 0);
        h.send(Seg::new(RST, seq, 0));
        assert_eq!(h.conn.state(), state, "{seq}");
    }
}

/// Shows: rfc9293-MUST-66
#[test]
fn urgent_pointer_counts_while_the_window_is_closed() {
    let mut h = Host::established(plain(), socket(|o| o.rcvbuf = Some(999)));
    h.send(Seg::new(ACK, 5_001, 1_001).len(999));
    h.recv_all();
    assert!(!h.conn.urgent_pending());
    h.send(Seg::new(ACK, 6_000, 1_001).urg(5));
    assert!(h.conn.urgent_pending());
    assert!(h.ready.contains(Ready::PRI));
}

/// Shows: rfc9293-s3.10.7.4-a, rfc9293-MUST-12
#[test]
fn reset_in_each_state_says_what_it_means() {
    let want = [
        (State::SynReceived, Some(Errno::ECONNREFUSED)),
        (State::Established, Some(Errno::ECONNRESET)),
        (State::FinWait1, Some(Errno::ECONNRESET)),
        (State::FinWait2, Some(Errno::ECONNRESET)),
        (State::CloseWait, Some(Errno::ECONNRESET)),
        (State::Closing, None),
        (State::LastAck, None),
    ];
    for (state, error) in want {
        let mut h = Host::in_state(rfc(), state);
        h.send(Seg::new(RST, h.conn.rcv.nxt.0, 0));
        assert_eq!((h.done, h.conn.error()), (Some(Done::Closed), error), "{state}");
        h.quiet();
        assert!(h.conn.next_deadline().is_never());
    }
}

/// Shows: posix-send-d
#[test]
fn nothing_can_be_written_after_a_reset() {
    let mut h = Host::established(plain(), Options::default());
    h.write(&[1; 100]);
    h.send(Seg::new(RST, 5_001, 0));
    assert_eq!((h.conn.send_room(), h.write(b"x")), (0, 0));
    h.quiet();
}
