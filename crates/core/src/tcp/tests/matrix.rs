//! Every arrival rule of RFC 9293 3.10.7.3 and 3.10.7.4 in every state that has a control block, with
//! the refinements of RFC 5961.

use super::kit::*;
use super::*;

/// What a segment draws, and where it leads.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Then {
    /// Nothing at all.
    Drop,
    /// `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>` and no change.
    Ack,
    /// `<SEQ=SEG.ACK><CTL=RST>` and no change.
    Rst,
    /// This state, perhaps with an ACK of what was received.
    To(State),
}
use State::*;
use Then::*;

const STATES: [State; 8] =
    [SynSent, SynReceived, Established, FinWait1, FinWait2, CloseWait, Closing, LastAck];

/// Where the segment stands: relative to RCV.NXT, and its ACK relative to SND.NXT.
struct Row {
    name: &'static str,
    flags: Flags,
    seq: i32,
    /// `None`: no ACK bit.
    ack: Option<i32>,
    len: usize,
    then: [Then; 8],
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let stay = |s: State| To(s);
    let row = |name, flags, seq, ack, len, then| Row { name, flags, seq, ack, len, then };
    let none = Flags::empty();
    alloc::vec![
        // Second check: RST. In SYN-SENT it needs an acceptable ACK (and is judged by its ACK first).
        row("RST at RCV.NXT", RST, 0, None, 0,
            [Drop, To(Closed), To(Closed), To(Closed), To(Closed), To(Closed), To(Closed), To(Closed)]),
        row("RST,ACK at RCV.NXT", RST, 0, Some(0), 0,
            [To(Closed), To(Closed), To(Closed), To(Closed), To(Closed), To(Closed), To(Closed), To(Closed)]),
        row("RST,ACK of nothing sent", RST, 0, Some(1), 0,
            [Drop, To(Closed), To(Closed), To(Closed), To(Closed), To(Closed), To(Closed), To(Closed)]),
        row("RST in the window", RST, 7, None, 0, [Drop, Ack, Ack, Ack, Ack, Ack, Ack, Ack]),
        row("RST before the window", RST, -1, None, 0, [Drop, Drop, Drop, Drop, Drop, Drop, Drop, Drop]),
        row("RST behind the window", RST, 70_000, None, 0, [Drop, Drop, Drop, Drop, Drop, Drop, Drop, Drop]),
        // Fourth check: SYN. In SYN-SENT it opens.
        row("SYN at RCV.NXT", SYN, 0, None, 0,
            [To(SynReceived), Ack, Ack, Ack, Ack, Ack, Ack, Ack]),
        row("SYN behind the window", SYN, 70_000, None, 0,
            [To(SynReceived), Ack, Ack, Ack, Ack, Ack, Ack, Ack]),
        row("SYN,ACK of our SYN", SYN, 0, Some(0), 0,
            [To(Established), Ack, Ack, Ack, Ack, Ack, Ack, Ack]),
        row("SYN,ACK of nothing sent", SYN, 0, Some(1), 0,
            [Rst, Ack, Ack, Ack, Ack, Ack, Ack, Ack]),
        // Fifth check: no ACK bit.
        row("no flags", none, 0, None, 0, [Drop; 8]),
        row("text without ACK", none, 0, None, 4, [Drop; 8]),
        row("FIN without ACK", FIN, 0, None, 0, [Drop; 8]),
        // Fifth check: the ACK field. SND.NXT acknowledges all there is: SYN, or FIN.
        row("ACK of all", none, 0, Some(0), 0,
            [Drop, stay(Established), stay(Established), To(FinWait2), stay(FinWait2), stay(CloseWait),
             To(TimeWait), To(Closed)]),
        row("ACK of all but the last", none, 0, Some(-1), 0,
            [Rst, Rst, stay(Established), stay(FinWait1), stay(FinWait2), stay(CloseWait), stay(Closing),
             stay(LastAck)]),
        row("ACK of nothing sent", none, 0, Some(1), 0, [Rst, Rst, Ack, Ack, Ack, Ack, Ack, Ack]),
        row("text with ACK of nothing sent", none, 0, Some(1), 4, [Rst, Rst, Ack, Ack, Ack, Ack, Ack, Ack]),
        // First check: the sequence number.
        row("ACK behind the window", none, 70_000, Some(0), 0, [Drop, Ack, Ack, Ack, Ack, Ack, Ack, Ack]),
        row("old text", none, -4, Some(0), 4, [Drop, Ack, Ack, Ack, Ack, Ack, Ack, Ack]),
        row("text behind the window", none, 70_000, Some(0), 4, [Drop, Ack, Ack, Ack, Ack, Ack, Ack, Ack]),
        // Seventh and eighth check.
        row("text", none, 0, Some(0), 4,
            [Drop, stay(Established), stay(Established), To(FinWait2), stay(FinWait2), stay(CloseWait),
             To(TimeWait), To(Closed)]),
        row("FIN", FIN, 0, Some(0), 0,
            [Drop, To(CloseWait), To(CloseWait), To(TimeWait), To(TimeWait), stay(CloseWait), To(TimeWait),
             To(Closed)]),
        row("FIN that does not acknowledge ours", FIN, 0, Some(-1), 0,
            [Rst, Rst, To(CloseWait), To(Closing), To(TimeWait), stay(CloseWait), stay(Closing),
             stay(LastAck)]),
        row("FIN ahead of a gap", FIN, 9, Some(0), 0,
            [Drop, stay(Established), stay(Established), To(FinWait2), stay(FinWait2), stay(CloseWait),
             To(TimeWait), To(Closed)]),
    ]
}

/// Shows: rfc9293-s3.10.7.4-a, rfc9293-s3.10.7.4-b, rfc9293-s3.10.7.4-e, rfc9293-s3.10.7.4-f, rfc9293-s3.10.7.3-a
#[test]
fn every_arrival_in_every_state() {
    for config in [plain(), rfc()] {
        for row in rows() {
            for (state, then) in STATES.into_iter().zip(row.then) {
                let what = alloc::format!("{} in {state} ({})", row.name, config.profile.name());
                let mut h = Host::in_state(config.clone(), state);
                let (snd_nxt, rcv_nxt) = (h.conn.snd.nxt, h.conn.rcv.nxt);
                // SYN-SENT has no RCV.NXT: any number is as good.
                let base = if state == SynSent { 5_000 } else { rcv_nxt.0 };
                let ack = row.ack.map_or(0, |a| snd_nxt.0.wrapping_add_signed(a));
                let flags = if row.ack.is_some() { row.flags | ACK } else { row.flags };
                h.send(Seg::new(flags, base.wrapping_add_signed(row.seq), ack).len(row.len));
                let out: Vec<_> = h.recv_all().iter().map(brief).collect();
                let ended = match h.done {
                    Some(Done::Closed) => Closed,
                    Some(Done::TimeWait(_)) => TimeWait,
                    None => h.conn.state(),
                };
                match then {
                    Drop => assert_eq!((ended, out), (state, alloc::vec![]), "{what}"),
                    Ack => {
                        let want = (ACK, snd_nxt.0, rcv_nxt.0, 0);
                        assert_eq!((ended, out), (state, alloc::vec![want]), "{what}");
                    }
                    Rst => {
                        assert_eq!((ended, out.len()), (state, 1), "{what}");
                        assert_eq!((out[0].0, out[0].1), (RST, ack), "{what}");
                    }
                    To(to) => {
                        assert_eq!(ended, to, "{what}");
                        assert!(out.len() <= 1 && out.iter().all(|o| !o.0.contains(RST)), "{what}");
                        if to == Closed {
                            assert!(out.is_empty(), "{what}");
                        }
                    }
                }
                h.check_invariants();
            }
        }
    }
}

/// Shows: rfc9293-s3.10.7.4-a, rfc9293-s3.10.7.4-i
#[test]
fn text_is_delivered_only_where_it_may_be() {
    for state in STATES {
        let mut h = Host::in_state(plain(), state);
        let (seq, ack) = (h.conn.rcv.nxt.0, h.conn.snd.nxt.0);
        h.send(Seg::new(ACK, seq, ack).data(b"text"));
        let want = if matches!(state, SynReceived | Established | FinWait1 | FinWait2) { 4 } else { 0 };
        assert_eq!(h.conn.readable(), want, "{state}");
    }
}

/// Every combination of flags at every interesting number in every state: nothing panics, what is sent
/// is well-formed, and no state is reached that the table does not know.
///
/// Shows: rfc9293-s3.5.2-b, rfc9293-s3.10.7.4-a
#[test]
fn all_flags_at_all_places() {
    for state in STATES {
        for bits in 0..0x40u16 {
            for seq in [-70_000, -1, 0, 1, 9, 65_534, 65_535] {
                for ack in [-70_000, -1, 0, 1] {
                    for len in [0, 5] {
                        let mut h = Host::in_state(plain(), state);
                        let flags = Flags::from_bits_truncate(bits);
                        let seg = Seg::new(
                            flags,
                            h.conn.rcv.nxt.0.wrapping_add_signed(seq),
                            h.conn.snd.nxt.0.wrapping_add_signed(ack),
                        );
                        h.send(seg.len(len));
                        let out = h.recv_all();
                        assert!(out.len() <= 2);
                        let reset = out.iter().any(|o| o.hdr.flags.contains(RST));
                        assert!(!(reset && flags.contains(RST)), "a RST is never answered by one");
                        assert!(h.done.is_some() || h.conn.state() != State::Closed);
                        h.check_invariants();
                    }
                }
            }
        }
    }
}
