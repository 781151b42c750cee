//! Urgent data (RFC 9293 3.8.5, RFC 6093), as the sockets interface shows it.
//!
//! The urgent pointer names the octet after the last urgent one (MUST-62). Sockets call the last urgent
//! octet "out-of-band": without SO_OOBINLINE it is taken out of the stream and handed out by MSG_OOB;
//! with it, it stays in line. New programs should not use it (SHLD-13): middleboxes clear the flag.

use super::*;
use crate::branch::{cold, unlikely};
use crate::wire::tcp::Flags;

/// Urgent data received and not yet passed by the reader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Urgent {
    /// The sequence number of the urgent octet: the mark.
    pub mark: SeqNum,
    /// The octet was handed out (MSG_OOB), or not asked for in line.
    pub taken: bool,
}

impl Connection {
    /// Sixth, the URG bit: the pointer only ever moves forward; each move is told anew (MUST-32).
    pub(super) fn check_urg(&mut self, seg: &Segment, out: &mut Outcome) {
        if !seg.hdr.flags.contains(Flags::URG) || !self.state.can_receive() {
            return;
        }
        // The pointer names the octet after the urgent one; 0 would name an octet before the segment
        // (URGENT/11): nothing is urgent then.
        if seg.hdr.urgent == 0 {
            return;
        }
        let mark = seg.hdr.seq + u32::from(seg.hdr.urgent) - 1;
        let read = self.read_seq();
        let known = self.urgent.as_ref().map(|u| u.mark);
        if mark.lt(read) || known.is_some_and(|k| mark.le(k)) {
            return;
        }
        self.urgent = Some(Box::new(Urgent { mark, taken: false }));
        out.ready |= Ready::PRI;
    }

    /// The sequence number of the next byte that the user reads.
    pub(super) fn read_seq(&self) -> SeqNum {
        let fin = self.rcv.fin.is_some_and(|fin| self.rcv.nxt.gt(fin));
        self.rcv.nxt - u32::from(fin) - self.rcv.buf.len() as u32
    }

    /// How many bytes may be read before the mark; `None` if there is no mark.
    pub fn urgent_offset(&self) -> Option<u32> {
        let urgent = self.urgent.as_ref()?;
        cold();
        Some(urgent.mark.since(self.read_seq()))
    }

    /// SIOCATMARK: the next byte to read is the urgent one (MUST-33).
    pub fn at_mark(&self) -> bool {
        self.urgent_offset() == Some(0)
    }

    /// Whether urgent data waits (POLLPRI).
    pub fn urgent_pending(&self) -> bool {
        self.urgent.as_ref().is_some_and(|u| !u.taken)
    }

    /// MSG_OOB: the urgent octet. `EINVAL`: there is none, it was taken, or it stays in line;
    /// `EAGAIN`: announced and not yet here. `peek` leaves it.
    pub fn take_urgent(&mut self, peek: bool) -> Result<u8, Errno> {
        let offset = self.urgent_offset().ok_or(Errno::EINVAL)?;
        if self.options.oobinline || !self.urgent_pending() {
            return Err(Errno::EINVAL);
        }
        let mut byte = [0];
        if self.rcv.buf.peek(offset as usize, &mut byte) == 0 {
            return Err(Errno::EAGAIN);
        }
        if !peek && let Some(urgent) = &mut self.urgent {
            urgent.taken = true;
        }
        Ok(byte[0])
    }

    /// How many of `len` bytes the user may read now. Reading stops at the mark; at the mark the octet
    /// is skipped unless it stays in line.
    #[inline(always)]
    pub(super) fn pass_mark(&mut self, consume: bool) -> Option<u32> {
        if unlikely(self.urgent.is_some()) { self.pass_some_mark(consume) } else { None }
    }

    #[inline(never)]
    fn pass_some_mark(&mut self, consume: bool) -> Option<u32> {
        let offset = self.urgent_offset()?;
        if offset != 0 {
            return Some(offset);
        }
        if !consume {
            return None;
        }
        if self.options.oobinline {
            self.urgent = None;
        } else if !self.rcv.buf.is_empty() {
            let skipped = self.rcv.buf.skip(1);
            self.rcv.drained(skipped);
            self.urgent = None;
        }
        None
    }

    /// Queues one urgent octet (`send` with MSG_OOB); false if the TX buffer is full.
    pub fn send_urgent(&mut self, cx: &mut Cx<'_>, byte: u8) -> bool {
        if self.send_room() == 0 || self.write(cx, &[byte]) == 0 {
            return false;
        }
        self.snd.up = self.snd.end();
        self.snd.urgent = true;
        self.due.output = true;
        true
    }
}
