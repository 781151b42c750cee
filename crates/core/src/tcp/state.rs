//! The eleven states and the one transition table (RFC 9293 3.3.2, figure 5).
//!
//! Every change of a connection's state passes [`State::next`]: it alone says which event
//! leads where, with the refinements of RFC 9293 3.5 (simultaneous open), 3.6 (simultaneous
//! close) and of RFC 1337 / RFC 5961 (a RST that was refused is no event at all).

use core::fmt;

/// The state of a connection, under RFC 9293's names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum State {
    /// No connection.
    #[default]
    Closed,
    /// Waiting for a connection request from any remote peer.
    Listen,
    /// A SYN was sent; waiting for a matching one.
    SynSent,
    /// A SYN was received and sent; waiting for the acknowledgment of ours.
    SynReceived,
    /// Open: data flows both ways.
    Established,
    /// Our FIN was sent, not yet acknowledged; the peer may still send.
    FinWait1,
    /// Our FIN is acknowledged; waiting for the peer's.
    FinWait2,
    /// The peer's FIN was received; ours waits for the user.
    CloseWait,
    /// Both FINs crossed; waiting for the acknowledgment of ours.
    Closing,
    /// The peer's FIN came first, ours was sent; waiting for its acknowledgment.
    LastAck,
    /// Both FINs are acknowledged; waiting until old segments have died out.
    TimeWait,
}

/// What moves a connection from one state to another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Event {
    /// The user opens passively (`listen`).
    PassiveOpen,
    /// The user opens actively (`connect`); a SYN goes out.
    ActiveOpen,
    /// A SYN without an acceptable ACK of ours arrives.
    RcvSyn,
    /// A SYN arrives that acknowledges ours.
    RcvSynAck,
    /// Our SYN is acknowledged.
    RcvAckOfSyn,
    /// The user closes, or shuts down the sending direction; a FIN goes out.
    Close,
    /// The peer's FIN arrives in order.
    RcvFin,
    /// Our FIN is acknowledged.
    RcvAckOfFin,
    /// 2 MSL have passed.
    TimeWaitOver,
    /// An acceptable RST arrives.
    RcvRst,
    /// The user aborts, or the connection is given up (time-out, ICMP, resource policy).
    Abort,
}

impl State {
    /// All states, in the order of RFC 9293 3.3.2.
    pub const ALL: [State; 11] = [
        State::Closed,
        State::Listen,
        State::SynSent,
        State::SynReceived,
        State::Established,
        State::FinWait1,
        State::FinWait2,
        State::CloseWait,
        State::Closing,
        State::LastAck,
        State::TimeWait,
    ];

    /// Where `event` leads from here; `None` if it has no place in this state.
    pub const fn next(self, event: Event) -> Option<State> {
        use Event as E;
        use State as S;
        Some(match (self, event) {
            (S::Closed, E::PassiveOpen) => S::Listen,
            (S::Closed, E::ActiveOpen) => S::SynSent,
            (S::Listen, E::RcvSyn) => S::SynReceived,
            (S::Listen, E::ActiveOpen) => S::SynSent,
            (S::SynSent, E::RcvSyn) => S::SynReceived, // simultaneous open (MUST-10)
            (S::SynSent, E::RcvSynAck) => S::Established,
            (S::SynReceived, E::RcvAckOfSyn) => S::Established,
            (S::SynReceived | S::Established, E::Close) => S::FinWait1,
            (S::SynReceived | S::Established, E::RcvFin) => S::CloseWait,
            (S::FinWait1, E::RcvAckOfFin) => S::FinWait2,
            (S::FinWait1, E::RcvFin) => S::Closing, // simultaneous close
            (S::FinWait2, E::RcvFin) => S::TimeWait,
            (S::Closing, E::RcvAckOfFin) => S::TimeWait,
            (S::CloseWait, E::Close) => S::LastAck,
            (S::LastAck, E::RcvAckOfFin) => S::Closed,
            (S::TimeWait, E::TimeWaitOver) => S::Closed,
            // RFC 9293 3.10.4: nothing was agreed yet, nothing is sent.
            (S::Listen | S::SynSent, E::Close) => S::Closed,
            // RFC 9293 3.10.7.4 second check and 3.10.5. A RST in TIME-WAIT comes here only
            // where the profile lets it (RFC 1337); in LISTEN it is ignored.
            (S::Closed | S::Listen, E::RcvRst) => return None,
            (S::Closed, E::Abort) => return None,
            (_, E::RcvRst | E::Abort) => S::Closed,
            _ => return None,
        })
    }

    /// From ESTABLISHED on: both SYNs are acknowledged (RFC 9293 3.4).
    pub const fn is_synchronized(self) -> bool {
        self as u8 >= State::Established as u8
    }

    /// Whether the user may still put data into the send queue.
    pub const fn can_send(self) -> bool {
        matches!(self, State::SynSent | State::SynReceived | State::Established | State::CloseWait)
    }

    /// Whether data may still arrive from the peer (RFC 9293 3.10.7.4, seventh check).
    pub const fn can_receive(self) -> bool {
        matches!(self, State::Established | State::FinWait1 | State::FinWait2)
    }

    /// The name as RFC 9293 prints it.
    pub const fn name(self) -> &'static str {
        match self {
            State::Closed => "CLOSED",
            State::Listen => "LISTEN",
            State::SynSent => "SYN-SENT",
            State::SynReceived => "SYN-RECEIVED",
            State::Established => "ESTABLISHED",
            State::FinWait1 => "FIN-WAIT-1",
            State::FinWait2 => "FIN-WAIT-2",
            State::CloseWait => "CLOSE-WAIT",
            State::Closing => "CLOSING",
            State::LastAck => "LAST-ACK",
            State::TimeWait => "TIME-WAIT",
        }
    }

    /// Linux's number for this state (`TCP_ESTABLISHED` = 1 ...), as TCP_INFO shows it.
    pub const fn linux_number(self) -> u8 {
        match self {
            State::Established => 1,
            State::SynSent => 2,
            State::SynReceived => 3,
            State::FinWait1 => 4,
            State::FinWait2 => 5,
            State::TimeWait => 6,
            State::Closed => 7,
            State::CloseWait => 8,
            State::LastAck => 9,
            State::Listen => 10,
            State::Closing => 11,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Event {
    /// All events.
    pub const ALL: [Event; 11] = [
        Event::PassiveOpen,
        Event::ActiveOpen,
        Event::RcvSyn,
        Event::RcvSynAck,
        Event::RcvAckOfSyn,
        Event::Close,
        Event::RcvFin,
        Event::RcvAckOfFin,
        Event::TimeWaitOver,
        Event::RcvRst,
        Event::Abort,
    ];

    /// The event as RFC 9293's figure 5 words it.
    pub const fn name(self) -> &'static str {
        match self {
            Event::PassiveOpen => "passive OPEN",
            Event::ActiveOpen => "active OPEN",
            Event::RcvSyn => "rcv SYN",
            Event::RcvSynAck => "rcv SYN,ACK",
            Event::RcvAckOfSyn => "rcv ACK of SYN",
            Event::Close => "CLOSE",
            Event::RcvFin => "rcv FIN",
            Event::RcvAckOfFin => "rcv ACK of FIN",
            Event::TimeWaitOver => "2 MSL",
            Event::RcvRst => "rcv RST",
            Event::Abort => "ABORT",
        }
    }
}
