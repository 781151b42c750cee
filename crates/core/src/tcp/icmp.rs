//! ICMP errors that quote a segment of this connection (RFC 9293 3.9.2.2, RFC 5927, RFC 1191, RFC 8201).

use super::*;
use crate::trace::DropReason;

/// What an ICMP error says, as far as TCP minds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpKind {
    /// "Fragmentation needed" or "packet too big"; 0 if the router did not say the MTU.
    PacketTooBig {
        /// Next-hop MTU, bytes.
        mtu: u16,
    },
    /// A hard error (SHLD-26): aborts an attempt, nothing else.
    Hard(Errno),
    /// A soft error (MUST-56): aborts nothing.
    Soft(Errno),
}

/// An ICMP error and the sequence number that it quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IcmpError {
    /// What it says.
    pub kind: IcmpKind,
    /// SEG.SEQ of the quoted segment.
    pub seq: SeqNum,
}

/// RFC 1191 7.1: where to go when a router names no MTU.
const PLATEAUS: [u16; 10] = [32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296, 68];

impl Connection {
    /// Takes an ICMP error. It counts only if it quotes what is in flight (RFC 5927 4.1).
    pub fn on_icmp(&mut self, cx: &mut Cx<'_>, icmp: &IcmpError) -> Outcome {
        let in_flight = icmp.seq.ge(self.snd.una) && icmp.seq.lt(self.snd.nxt);
        if !in_flight {
            cx.stats.tcp_icmp_out_of_window += 1;
            if cx.trace.on() {
                self.record(cx, What::Dropped { reason: DropReason::BadIcmp, seq: Some(icmp.seq) });
            }
            return Outcome::default();
        }
        match icmp.kind {
            IcmpKind::PacketTooBig { mtu } => self.packet_too_big(cx, mtu),
            // Notes 3: hard errors abort only in SYN-SENT and SYN-RECEIVED (RFC 5927 5.2).
            IcmpKind::Hard(error) if matches!(self.state, State::SynSent | State::SynReceived) => {
                self.fail(cx, Some(error), Event::Abort)
            }
            // RFC 5461 4.1: Linux gives an attempt up at once, so that another address may be tried.
            IcmpKind::Soft(error)
                if self.state == State::SynSent && cx.config.profile == crate::Profile::Linux =>
            {
                self.fail(cx, Some(error), Event::Abort)
            }
            IcmpKind::Hard(error) | IcmpKind::Soft(error) => {
                self.soft_error = Some(error);
                if self.options.recverr {
                    self.error = Some(error);
                    return Outcome { ready: Ready::ERR, ..Outcome::default() };
                }
                Outcome::default()
            }
        }
    }

    fn packet_too_big(&mut self, cx: &mut Cx<'_>, mtu: u16) -> Outcome {
        if !self.options.pmtu_discovery.unwrap_or(cx.config.pmtu_discovery) {
            return Outcome::default();
        }
        let ipv6 = self.tuple.local.is_ipv6();
        if ipv6 && mtu < 1_280 {
            return Outcome::default(); // RFC 8201 4
        }
        let mtu = if mtu == 0 || mtu < 68 {
            if mtu != 0 {
                return Outcome::default(); // RFC 1191 3: never below 68
            }
            PLATEAUS.into_iter().find(|&p| p < self.path.pmtu).unwrap_or(68)
        } else {
            mtu
        };
        let mtu = if ipv6 { mtu } else { mtu.max(cx.config.min_pmtu) };
        if mtu >= self.path.pmtu {
            return Outcome::default(); // it never raises the estimate
        }
        // RFC 5927 7.2: a size that got through is given up only if nothing moves any more.
        let overhead = self.overhead();
        if self.proven_mss > 0 && u32::from(self.proven_mss) + u32::from(overhead) > u32::from(mtu) {
            self.doubted_pmtu = mtu;
            return Outcome::default();
        }
        self.set_pmtu(cx, mtu);
        Outcome { pmtu: Some(mtu), ..Outcome::default() }
    }

    /// The path takes at most `pmtu` bytes now (by ICMP, or another connection of the same path found out):
    /// what was sent in larger segments is lost and goes out again, and that is no sign of congestion
    /// (RFC 1191 6.4). A larger value is taken too, when an old one has expired.
    pub fn set_pmtu(&mut self, cx: &mut Cx<'_>, pmtu: u16) {
        let pmtu = pmtu.min(self.path.mtu);
        if pmtu == self.path.pmtu {
            return;
        }
        let smaller = pmtu < self.path.pmtu;
        self.path.pmtu = pmtu;
        self.bound_search(cx.now);
        self.update_mss(cx.config);
        self.cc.set_mss(u32::from(self.mss));
        if smaller {
            cx.stats.tcp_mtu_lowered += 1;
            if let Some(flight) = &mut self.flight {
                let outcome = flight.resegment(self.mss, &mut self.persist);
                self.account(cx, &outcome);
            }
        }
        self.due.output = true;
    }

    /// The path MTU in use, bytes.
    pub fn pmtu(&self) -> u16 {
        self.path.pmtu
    }

    /// The route has changed.
    pub fn set_path(&mut self, cx: &mut Cx<'_>, path: Path) {
        let pmtu = path.pmtu.min(path.mtu);
        self.path = Path { pmtu: self.path.pmtu.min(path.mtu), ..path };
        self.set_pmtu(cx, pmtu);
    }

    /// A retransmission timed out: a report that was doubted is believed now (RFC 5927 7.2).
    pub(super) fn believe_doubted_pmtu(&mut self, cx: &mut Cx<'_>) {
        let mtu = core::mem::take(&mut self.doubted_pmtu);
        if mtu != 0 && mtu < self.path.pmtu {
            self.proven_mss = 0;
            self.set_pmtu(cx, mtu);
        }
    }
}
