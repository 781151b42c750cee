//! Explicit congestion notification (RFC 3168): marks instead of losses.
//!
//! The sender of data sets ECT(0) (RFC 8311: never ECT(1)) on new data only; the receiver echoes a CE mark by ECE on
//! every ACK until a segment with CWR says that the sender has heard.

use super::accecn::{ALL, Accurate};
use super::*;
use crate::wire::tcp::{Flags, Header};

/// The two ECN bits of the traffic class.
const MASK: u8 = 3;
const ECT0: u8 = 2;
const CE: u8 = 3;

/// What is to be told and done.
#[derive(Debug, Default)]
pub(super) struct EcnState {
    /// Both sides agreed on RFC 3168's.
    pub agreed: bool,
    /// Our SYN asks for it.
    pub asking: bool,
    /// A CE mark was received: ACKs carry ECE.
    pub echo: bool,
    /// The window was reduced: the next new data carries CWR.
    pub reduced: bool,
    /// A CE mark was ever seen (TCP_INFO).
    pub seen: bool,
    /// Our SYN asked for accurate ECN, at least once.
    pub asked_accurate: bool,
    /// Our SYN asked for nothing after it had asked for accurate ECN.
    pub sent_plain: bool,
    /// Toward this peer asking was in vain lately.
    pub shy: bool,
    /// Both sides agreed on accurate ECN.
    pub accurate: Option<Box<Accurate>>,
}

/// Whether a SYN asks for ECN (RFC 3168 6.1.1): both flags, and no AE, which would ask for AccECN.
pub fn is_requested(flags: Flags) -> bool {
    flags.contains(Flags::ECE | Flags::CWR) && !flags.contains(Flags::AE)
}

impl Connection {
    /// The flags of our SYN: ECE and CWR on the first two, none later, for paths that drop such SYNs (6.1.1.1).
    pub(super) fn ecn_of_syn(&mut self, config: &Config) -> Flags {
        if config.ecn.asks_accurate() && !self.ecn.shy {
            // RFC 9768 3.1.4: the first one sent again still asks.
            if self.retries < 2 {
                self.ecn.asked_accurate = true;
                return ALL;
            }
            self.ecn.sent_plain = true;
            return Flags::empty();
        }
        let asks = config.ecn.asks() || self.cc.kind().needs_ecn();
        self.ecn.asking = asks && self.retries < 2;
        if self.ecn.asking { Flags::ECE | Flags::CWR } else { Flags::empty() }
    }

    /// The answer to our SYN: ECE alone accepts; anything else, a reflection of both flags too, refuses.
    pub(super) fn hear_ecn_of_syn_ack(&mut self, config: &Config, flags: Flags, tos: u8) {
        if self.ecn.asked_accurate {
            // RFC 9768 3.1.2, table 2.
            match flags & ALL {
                Flags::ECE => self.ecn.agreed = !self.ecn.sent_plain,
                none if none.is_empty() || none == ALL => {}
                answer => {
                    // Our SYN was not-ECT: another mark was made on the way. 101 is not defined: unchanged.
                    let changed = answer != accecn::reflection(0) && answer != (Flags::AE | Flags::ECE);
                    let linux = config.profile == crate::Profile::Linux;
                    let not_ect = changed || self.ecn.sent_plain;
                    self.ecn.accurate = Some(Accurate::new(tos, true, not_ect, linux));
                }
            }
            return;
        }
        let accepted = flags & (Flags::ECE | Flags::CWR | Flags::AE) == Flags::ECE;
        self.ecn.agreed = self.ecn.asking && accepted;
    }

    /// The marks of a segment of data inside the window (6.1.3, 6.1.5). CWR first: CE on the same segment is
    /// a new mark.
    pub(super) fn hear_ecn(&mut self, cx: &mut Cx<'_>, flags: Flags, tos: u8, out: &mut Outcome) {
        if !self.ecn.agreed {
            return;
        }
        if self.echoes_each_mark() {
            self.ecn.seen |= tos & MASK == CE;
            if self.ecn.echo != (tos & MASK == CE) {
                // RFC 8257 3.2: what came before is acknowledged as it came, so that the sender can count.
                if self.rcv.ack.pending {
                    let mut reply = Box::<Outgoing>::default();
                    self.build_ack(cx, Why::Ack, &mut reply);
                    out.reply = Some(reply);
                }
                self.ecn.echo = !self.ecn.echo;
                self.rcv.ack.now = true;
            }
            return;
        }
        if flags.contains(Flags::CWR) {
            self.ecn.echo = false;
        }
        if tos & MASK == CE {
            self.ecn.seen = true;
            if !self.ecn.echo {
                self.ecn.echo = true;
                self.rcv.enter_quick_ack(cx.config);
            }
            self.rcv.ack.now = true;
        }
    }

    /// DCTCP's echo (RFC 8257 3.2): ECE says of each segment whether it was marked, whatever CWR says.
    pub(super) fn echoes_each_mark(&self) -> bool {
        self.ecn.agreed && self.cc.kind().needs_ecn()
    }

    /// ECE on what we send while a mark is to be echoed; or the counters of accurate ECN, with which Linux marks whatever it
    /// sends. Returns the ECN bits.
    #[inline]
    pub(super) fn echo_ecn(&mut self, cx: &Cx<'_>, hdr: &mut Header) -> u8 {
        if self.ecn.agreed && self.ecn.echo {
            hdr.flags |= Flags::ECE;
        } else if let Some(accurate) = &self.ecn.accurate {
            hdr.flags |= accurate.flags();
            let marks = accurate.may_mark() && cx.config.profile == crate::Profile::Linux;
            self.tell_bytes(cx, hdr);
            return if marks { ECT0 } else { 0 };
        }
        0
    }

    /// The flags of the SYN-ACK of a connection that its SYN opened.
    pub(super) fn ecn_of_syn_ack(&self) -> Flags {
        match &self.ecn.accurate {
            Some(accurate) => accurate.reflected(),
            None if self.ecn.agreed => Flags::ECE,
            None => Flags::empty(),
        }
    }

    /// Toward this peer accurate ECN is not asked for.
    pub(crate) fn be_shy(&mut self) {
        self.ecn.shy = true;
    }

    /// Only SYNs that asked for nothing got an answer (RFC 9768 3.1.4).
    pub(crate) fn asked_in_vain(&self) -> bool {
        self.ecn.sent_plain && self.ecn.accurate.is_none()
    }

    /// ECT(0) and, after a reduction, CWR: on new data only (6.1.2, 6.1.4 to 6.1.6). Returns the ECN bits.
    pub(super) fn mark_ecn(&mut self, hdr: &mut Header, len: u32, why: Why) -> u8 {
        let marks = self.ecn.agreed || self.ecn.accurate.as_ref().is_some_and(|a| a.may_mark());
        if !marks || len == 0 || !matches!(why, Why::Data | Why::Fin | Why::MtuProbe) {
            return 0;
        }
        // CWR in its old meaning is RFC 3168's alone (RFC 9768 3.1.5).
        if core::mem::take(&mut self.ecn.reduced) && self.ecn.agreed {
            hdr.flags |= Flags::CWR;
        }
        ECT0
    }
}
