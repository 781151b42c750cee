//! The send sequence space and the TX buffer (RFC 9293 3.3.1).
//!
//! ```text
//!          1           2             3              4
//!     ----------|-------------|-------------|---------------
//!            SND.UNA       SND.NXT     SND.UNA + SND.WND
//!
//!   1 acknowledged   2 in flight   3 may be sent   4 may not yet be sent
//! ```
//! The TX buffer holds what lies from SND.UNA on: in flight, and queued behind it. A FIN stands
//! right after its last byte once the user has shut down.

use crate::packet::Payload;
use crate::tcp::SeqNum;
use crate::tcp::txbuf::TxBuf;

/// Send variables of RFC 9293 3.3.1, and the TX buffer.
#[derive(Debug)]
pub(crate) struct Snd {
    /// SND.UNA: the oldest sequence number not acknowledged.
    pub una: SeqNum,
    /// SND.NXT: the next to be sent; never moves back (retransmission is the flight's business).
    pub nxt: SeqNum,
    /// SND.WND, bytes, after scaling.
    pub wnd: u32,
    /// MAX.SND.WND: the largest window ever announced (RFC 5961 5.2).
    pub max_wnd: u32,
    /// SND.WL1: SEG.SEQ of the last window update.
    pub wl1: SeqNum,
    /// SND.WL2: SEG.ACK of the last window update.
    pub wl2: SeqNum,
    /// ISS.
    pub iss: SeqNum,
    /// SND.UP: the octet after the last urgent one; meaningful while `urgent`.
    pub up: SeqNum,
    /// End of the last segment shorter than the MSS that was sent (Minshall's test, RFC 9293 A.3).
    pub sml: SeqNum,
    /// Sequence number of the first byte in the TX buffer.
    pub buf_seq: SeqNum,
    /// The TX buffer.
    pub buf: TxBuf,
    /// The user timeout adopted from the peer (RFC 5482), seconds; 0: none.
    pub adopted_timeout: u32,
    /// How many bytes the TX buffer may hold.
    pub capacity: u32,
    /// Shift of the windows that the peer announces.
    pub wscale: u8,
    /// Something urgent is not yet sent or acknowledged.
    pub urgent: bool,
    /// The user closed the sending direction: a FIN follows the last byte.
    pub fin_queued: bool,
    /// The FIN was sent at least once.
    pub fin_sent: bool,
    /// The user has more to come (MSG_MORE).
    pub more: bool,
    /// So a last short segment waits, until an ACK comes.
    pub holds: bool,
}

impl Snd {
    /// The space of a connection whose SYN has the number `iss`.
    pub fn new(iss: SeqNum, capacity: u32) -> Self {
        Snd {
            una: iss,
            nxt: iss,
            wnd: 0,
            max_wnd: 0,
            wl1: SeqNum(0),
            wl2: SeqNum(0),
            iss,
            up: iss,
            sml: iss,
            buf_seq: iss + 1,
            buf: TxBuf::new(),
            adopted_timeout: 0,
            capacity,
            wscale: 0,
            urgent: false,
            fin_queued: false,
            fin_sent: false,
            more: false,
            holds: false,
        }
    }

    /// The sequence number after the last byte in the TX buffer: where the FIN stands.
    pub fn end(&self) -> SeqNum {
        self.buf_seq + self.buf.len() as u32
    }

    /// Bytes of data that were never sent.
    pub fn unsent(&self) -> u32 {
        if self.fin_sent { 0 } else { self.end().since(self.nxt.max(self.buf_seq)) }
    }

    /// The right edge of the send window.
    pub fn wnd_end(&self) -> SeqNum {
        self.una + self.wnd
    }

    /// How many more sequence numbers the window admits; 0 if it was shrunk below SND.NXT (MUST-34).
    pub fn usable(&self) -> u32 {
        let edge = self.wnd_end();
        if edge.gt(self.nxt) { edge.since(self.nxt) } else { 0 }
    }

    /// Whether our FIN is acknowledged.
    pub fn fin_acked(&self) -> bool {
        self.fin_sent && self.una == self.nxt
    }

    /// The text of `[seq, seq + len)`, by reference.
    pub fn text(&mut self, seq: SeqNum, len: usize) -> Payload {
        self.buf.slice(seq.since(self.buf_seq) as usize, len)
    }

    /// Moves SND.UNA to `ack` and frees what is acknowledged; returns the bytes of data that were.
    #[inline(always)]
    pub fn acknowledge(&mut self, ack: SeqNum) -> u32 {
        self.una = ack;
        let mut bytes = 0;
        if ack.gt(self.buf_seq) {
            bytes = ack.since(self.buf_seq).min(self.buf.len() as u32);
            self.buf.advance(bytes as usize);
            self.buf_seq += bytes;
        }
        if self.urgent && ack.ge(self.up) {
            self.urgent = false;
        }
        bytes
    }
}
