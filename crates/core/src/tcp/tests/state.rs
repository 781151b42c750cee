//! The transition table against RFC 9293's figure 5, written down here a second time.

use super::kit::*;
use super::*;
use crate::tcp::state::Event;
use Event::*;
use State::*;

/// Figure 5, its notes, and 3.10.4, 3.10.5 and 3.10.7.4 for what the figure leaves out.
const FIGURE_5: &[(State, Event, State)] = &[
    (Closed, PassiveOpen, Listen),
    (Closed, ActiveOpen, SynSent),
    (Listen, RcvSyn, SynReceived),
    (Listen, ActiveOpen, SynSent), // SEND
    (Listen, Close, Closed),
    (SynSent, RcvSyn, SynReceived),
    (SynSent, RcvSynAck, Established),
    (SynSent, Close, Closed),
    (SynReceived, RcvAckOfSyn, Established),
    (SynReceived, Close, FinWait1),
    (SynReceived, RcvFin, CloseWait), // 3.10.7.4, eighth check
    (Established, Close, FinWait1),
    (Established, RcvFin, CloseWait),
    (FinWait1, RcvAckOfFin, FinWait2),
    (FinWait1, RcvFin, Closing),
    (FinWait2, RcvFin, TimeWait),
    (Closing, RcvAckOfFin, TimeWait),
    (CloseWait, Close, LastAck),
    (LastAck, RcvAckOfFin, Closed),
    (TimeWait, TimeWaitOver, Closed),
];

/// Shows: rfc9293-s3.6-a, rfc9293-s3.6-b, rfc9293-MUST-10, rfc9293-s3.10.4-a
#[test]
fn table_is_figure_5() {
    let mut seen = 0;
    for from in State::ALL {
        for event in Event::ALL {
            let drawn = FIGURE_5.iter().find(|(f, e, _)| (*f, *e) == (from, event)).map(|t| t.2);
            let want = match event {
                // Note 2 and 3.10.7.4: a RST ends every state but CLOSED and LISTEN; 3.10.5: ABORT likewise.
                RcvRst if !matches!(from, Closed | Listen) => Some(Closed),
                Abort if from != Closed => Some(Closed),
                _ => drawn,
            };
            assert_eq!(from.next(event), want, "{from} on {}", event.name());
            seen += u32::from(drawn.is_some());
        }
    }
    assert_eq!(seen as usize, FIGURE_5.len());
}

/// Shows: rfc9293-s3.6-a
#[test]
fn every_state_can_be_reached_and_left() {
    let mut reached = alloc::vec![Closed];
    while let Some(next) = reached
        .iter()
        .flat_map(|s| Event::ALL.into_iter().filter_map(|e| s.next(e)))
        .find(|s| !reached.contains(s))
    {
        reached.push(next);
    }
    assert_eq!(reached.len(), State::ALL.len());
    for state in State::ALL {
        assert!(Event::ALL.into_iter().any(|e| state.next(e).is_some_and(|to| to != state)));
    }
}

/// Shows: rfc9293-s3.6-a, rfc9293-s3.6.1-a
#[test]
fn properties_of_states_agree_with_the_text() {
    for state in State::ALL {
        assert_eq!(
            state.is_synchronized(),
            !matches!(state, Closed | Listen | SynSent | SynReceived),
            "{state}"
        );
        assert_eq!(state.can_receive(), matches!(state, Established | FinWait1 | FinWait2), "{state}");
        let sends = matches!(state, SynSent | SynReceived | Established | CloseWait);
        assert_eq!(state.can_send(), sends, "{state}");
    }
    let numbers: alloc::collections::BTreeSet<u8> = State::ALL.iter().map(|s| s.linux_number()).collect();
    assert_eq!(numbers.len(), 11);
}

/// Shows: rfc9293-s3.6-a, rfc9293-s3.6-b
#[test]
fn every_recorded_change_is_in_the_table() {
    let lives: [fn(&mut Host); 4] = [
        |h| {
            h.close();
            h.recv_all();
            h.send(Seg::new(FIN_ACK, 5_001, 1_002));
        },
        |h| {
            h.send(Seg::new(FIN_ACK, 5_001, 1_001));
            h.close();
            h.recv_all();
            h.send(Seg::new(ACK, 5_002, 1_002));
        },
        |h| {
            h.close();
            h.recv_all();
            h.send(Seg::new(FIN_ACK, 5_001, 1_001));
            h.send(Seg::new(ACK, 5_002, 1_002));
        },
        |h| h.send(Seg::new(RST, 5_001, 0)),
    ];
    for live in lives {
        let mut h = Host::connecting(plain(), Options::default(), 1_000);
        h.trace.enable(1_000);
        h.one();
        h.send(Seg::new(SYN_ACK, 5_000, 1_001));
        h.one();
        live(&mut h);
        let mut at = SynSent;
        while let Some(record) = h.trace.next_record() {
            if let What::State { from, to, why } = record.what {
                assert_eq!((from, from.next(why)), (at, Some(to)));
                at = to;
            }
        }
        assert!(h.done.is_some());
        assert_eq!(at, if matches!(h.done, Some(Done::TimeWait(_))) { TimeWait } else { Closed });
    }
}
