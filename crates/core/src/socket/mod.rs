//! What the Berkeley calls mean, never blocking.

//!
//! | what | where |
//! |---|---|
//! | arguments and results | `types` |
//! | making, naming, opening, ending sockets | `calls`, `addr` |
//! | bytes in and out | `data` |
//! | connecting and sending in one | `fast` |
//! | options | `options` |
//! | what a socket is ready for | `readiness` |
//! | calls that may wait | `op` |
//! | descriptors | `fd` |

mod addr;
mod calls;
mod data;
mod fast;
pub mod fd;
pub mod op;
pub mod options;
mod readiness;
#[cfg(test)]
mod tests;
pub mod types;

pub use options::{Md5Sig, SockOpt, SockOptName};
pub use types::{Domain, How, Ioctl, MsgFlags, Protocol, RecvMsg, SocketType};

use core::fmt;

/// The name of a socket in its stack: an index, and a generation so that a name outlives no socket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl SocketId {
    /// As one number, for tables outside of the core.
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The inverse of [`SocketId::to_u64`]; a number that never was a name finds no socket.
    pub const fn from_u64(n: u64) -> Self {
        SocketId { index: n as u32, generation: (n >> 32) as u32 }
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "socket {}.{}", self.index, self.generation)
    }
}

bitflags::bitflags! {
    /// What a socket is ready for: the bits of `poll`, under POSIX's (and Linux's) names and numbers.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
    pub struct Ready: u16 {
        /// POLLIN: data, EOF, an error, or a connection to accept.
        const IN = 0x001;
        /// POLLPRI: urgent data.
        const PRI = 0x002;
        /// POLLOUT: room to send, a connection attempt ended, or an error.
        const OUT = 0x004;
        /// POLLERR: an error is pending.
        const ERR = 0x008;
        /// POLLHUP: both directions are closed.
        const HUP = 0x010;
        /// POLLNVAL: no such socket.
        const NVAL = 0x020;
        /// POLLRDHUP: the peer shut down its sending direction.
        const RDHUP = 0x2000;
    }
}
