//! The memory of all buffers together, and what gives way when it is short (Linux's `tcp_mem`).
//!
//! Under pressure a connection keeps what it holds and may queue up to the least buffer
//! (`tcp_wmem[0]`, `tcp_rmem[0]`) in each direction, so that everybody moves on slowly; and those who make
//! us hold data behind a window of zero are reset, the longest in that state first (sockstress,
//! RFC 6429 4, VU#723308).

use super::*;
use crate::branch::unlikely;

/// How many holders of a zero window are reset for one packet or deadline.
const VICTIMS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Bytes in the buffers of all connections.
    pub used: u64,
    /// Connections that came to probe a zero window, oldest first; some may have left that state.
    probing: VecDeque<Key>,
}

impl Memory {
    /// Whether the limit is reached.
    #[inline]
    pub fn is_short(&self, config: &Config) -> bool {
        self.used >= config.mem_limit
    }

    /// Brings the account of one connection up to date.
    #[inline(always)]
    pub fn charge(&mut self, key: Key, socket: &mut Socket) {
        let Kind::Connection(conn) = &socket.kind else { return };
        let (now, before) = (conn.buffered(), socket.charged);
        if now != before {
            socket.charged = now;
            self.used = self.used - u64::from(before) + u64::from(now);
        }
        if unlikely(conn.is_probing()) && !socket.flags.contains(SocketFlags::PROBING) {
            socket.flags.insert(SocketFlags::PROBING);
            self.probing.push_back(key);
        }
    }
}

impl Stack {
    /// Bytes in the buffers of all connections.
    pub fn buffered(&self) -> u64 {
        self.memory.used
    }
    /// A socket is gone, with what it held.
    pub(super) fn discharge(&mut self, bytes: u32) {
        self.memory.used -= u64::from(bytes);
    }

    /// Resets the longest holders of a zero window while memory is short.
    #[inline]
    pub(super) fn relieve(&mut self, now: Instant) {
        if self.memory.is_short(&self.config) {
            self.reset_holders(now);
        }
    }

    #[cold]
    fn reset_holders(&mut self, now: Instant) {
        for _ in 0..VICTIMS {
            if !self.memory.is_short(&self.config) {
                return;
            }
            let Some(key) = self.memory.probing.pop_front() else { return };
            let Some(socket) = self.sockets.get_mut(key) else { continue };
            socket.flags.remove(SocketFlags::PROBING);
            let Kind::Connection(conn) = &socket.kind else { continue };
            if !conn.is_probing() {
                continue;
            }
            self.stats.tcp_abort_on_memory += 1;
            if let Some(outcome) = self.with_connection(now, key, |conn, cx| conn.abort(cx)) {
                self.settle(now, key, outcome);
            }
        }
    }
}
