//! What a socket is ready for: `poll`, level-triggered, in every state as POSIX and Linux have it.
//!
//! | socket | bits |
//! |---|---|
//! | fresh | OUT, HUP (Linux) |
//! | listener | IN while a connection waits |
//! | SYN-SENT | none |
//! | open | IN from SO_RCVLOWAT bytes on, OUT with room, PRI with urgent data |
//! | the peer's FIN has come | and IN, RDHUP |
//! | both directions over | and HUP |
//! | ended by an error | IN, OUT, RDHUP, HUP, and ERR until it is told |
//! | closed | NVAL |

use crate::Errno;
use crate::socket::{Ready, SocketId};
use crate::stack::{Kind, Socket, Stack, key_of};
use crate::tcp::State;

impl Stack {
    /// What holds now. ERR, HUP and NVAL are never to be masked out (posix-poll-c).
    pub fn poll(&self, id: SocketId) -> Ready {
        match self.entry(id) {
            Ok(_) => self.level(key_of(id)),
            Err(_) => Ready::NVAL,
        }
    }

    /// The pending error, which stays: for views. SO_ERROR takes it.
    pub fn pending_error(&self, id: SocketId) -> Option<Errno> {
        match &self.entry(id).ok()?.kind {
            Kind::Connection(conn) => conn.error(),
            _ => None,
        }
    }

    /// SO_ERROR: the pending error, cleared (posix-soerror-a).
    pub(super) fn take_pending_error(&mut self, id: SocketId) -> Result<Option<Errno>, Errno> {
        Ok(match &mut self.entry_mut(id)?.kind {
            Kind::Connection(conn) => conn.take_error(),
            _ => None,
        })
    }

    /// Of a listener: how many connections wait for `accept`, and how many may.
    pub(super) fn accept_queue(&self, id: SocketId) -> Result<Option<(u32, u32)>, Errno> {
        Ok(match &self.entry(id)?.kind {
            Kind::Listener(listener) => Some((listener.queued(), listener.limit())),
            _ => None,
        })
    }
}

impl Socket {
    /// Whether our FIN is not acknowledged yet: Linux's `sk_stream_closing`.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.state(), State::FinWait1 | State::Closing | State::LastAck)
    }
}
