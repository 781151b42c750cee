//! Explicit congestion notification (RFC 3168): marks instead of losses.
//!
//! The sender of data sets ECT(0) (RFC 8311: never ECT(1)) on new data only; the receiver echoes a CE mark by ECE on
//! every ACK until a segment with CWR says that the sender has heard.

use super::*;
use crate::wire::tcp::{Flags, Header};

/// The two ECN bits of the traffic class.
const MASK: u8 = 3;
const ECT0: u8 = 2;
const CE: u8 = 3;

/// What is to be told and done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EcnState {
    /// Both sides agreed.
    pub agreed: bool,
    /// Our SYN asks for it.
    pub asking: bool,
    /// A CE mark was received: ACKs carry ECE.
    pub echo: bool,
    /// The window was reduced: the next new data carries CWR.
    pub reduced: bool,
    /// A CE mark was ever seen (TCP_INFO).
    pub seen: bool,
}

/// Whether a SYN asks for ECN (RFC 3168 6.1.1): both flags, and no AE, which would ask for AccECN.
pub fn is_requested(flags: Flags) -> bool {
    flags.contains(Flags::ECE | Flags::CWR) && !flags.contains(Flags::AE)
}

impl Connection {
    /// The flags of our SYN: ECE and CWR on the first two, none later, for paths that drop such SYNs (6.1.1.1).
    pub(super) fn ecn_of_syn(&mut self, config: &Config) -> Flags {
        self.ecn.asking = config.ecn == crate::config::Ecn::Request && self.retries < 2;
        if self.ecn.asking { Flags::ECE | Flags::CWR } else { Flags::empty() }
    }

    /// The answer to our SYN: ECE alone accepts; anything else, a reflection of both flags too, refuses.
    pub(super) fn hear_ecn_of_syn_ack(&mut self, flags: Flags) {
        let accepted = flags & (Flags::ECE | Flags::CWR | Flags::AE) == Flags::ECE;
        self.ecn.agreed = self.ecn.asking && accepted;
    }

    /// The marks of a segment of data inside the window (6.1.3, 6.1.5). CWR first: CE on the same segment is
    /// a new mark.
    pub(super) fn hear_ecn(&mut self, cx: &mut Cx<'_>, flags: Flags, tos: u8) {
        if !self.ecn.agreed {
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

    /// ECE on what we send while a mark is to be echoed.
    pub(super) fn echo_ecn(&self, hdr: &mut Header) {
        if self.ecn.agreed && self.ecn.echo {
            hdr.flags |= Flags::ECE;
        }
    }

    /// ECT(0) and, after a reduction, CWR: on new data only (6.1.2, 6.1.4 to 6.1.6). Returns the ECN bits.
    pub(super) fn mark_ecn(&mut self, hdr: &mut Header, len: u32, why: Why) -> u8 {
        if !self.ecn.agreed || len == 0 || !matches!(why, Why::Data | Why::Fin) {
            return 0;
        }
        if core::mem::take(&mut self.ecn.reduced) {
            hdr.flags |= Flags::CWR;
        }
        ECT0
    }
}
