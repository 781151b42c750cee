//! What was forwarded: one record a connection, and sums.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sockeye_core::Errno;

/// Who opened a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// A peer of the stack, toward the host's network.
    Outward,
    /// A peer on the host's network, toward the stack, by a published port.
    Inward,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Both sides sent a FIN, and what was before it was delivered.
    Closed,
    /// Who opened it reset it, or was given up.
    ResetByPeer,
    /// Whom it was for reset it, or was given up.
    ResetByDestination,
    /// Nobody listens at the destination, or the rules say so.
    Refused,
    /// The destination is unreachable, or the rules say so.
    Unreachable,
    /// The destination did not answer.
    TimedOut,
    /// The rules leave it without an answer, or there were no means to carry it on.
    Dropped,
    /// Who opened it gave up before the destination had answered.
    Abandoned,
    /// The forwarder was stopped.
    Stopped,
}

impl Ending {
    /// In a few words.
    pub const fn text(self) -> &'static str {
        match self {
            Ending::Closed => "closed in order",
            Ending::ResetByPeer => "reset by who opened it",
            Ending::ResetByDestination => "reset by the destination",
            Ending::Refused => "refused",
            Ending::Unreachable => "unreachable",
            Ending::TimedOut => "timed out",
            Ending::Dropped => "dropped",
            Ending::Abandoned => "given up before it was open",
            Ending::Stopped => "open when the forwarder stopped",
        }
    }

    /// What an attempt that failed came to.
    pub(super) fn of_attempt(error: Errno) -> Ending {
        match error {
            Errno::ECONNREFUSED | Errno::ECONNRESET => Ending::Refused,
            Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EPERM | Errno::ENETDOWN => {
                Ending::Unreachable
            }
            Errno::ETIMEDOUT => Ending::TimedOut,
            _ => Ending::Dropped,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// One connection, when it has ended.
#[derive(Clone, Debug)]
pub struct Record {
    /// Who opened it, and toward where.
    pub direction: Direction,
    /// The address of who opened it.
    pub peer: SocketAddr,
    /// The address it was opened to, as the peer named it: in the stack's world (outward), on the host (inward).
    pub destination: SocketAddr,
    /// The address it was carried on to; `None` if it was not.
    pub target: Option<SocketAddr>,
    /// How long it took until both sides were connected; `None` if they never were.
    pub opened_after: Option<Duration>,
    /// From its first sign to its end.
    pub lasted: Duration,
    /// Bytes from the peer that were handed to the destination's side.
    pub sent: u64,
    /// Bytes from the destination that were handed to the peer's side.
    pub received: u64,
    /// How it ended.
    pub ending: Ending,
    /// The error behind it, if there is one.
    pub error: Option<Errno>,
}

macro_rules! totals {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a forwarder has done since it was made.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Totals { $($(#[$doc])* pub $name: u64,)* }

        /// [`Totals`] as several threads count them.
        #[derive(Debug, Default)]
        pub(super) struct Counters { $(pub(super) $name: AtomicU64,)* }

        impl Counters {
            pub(super) fn read(&self) -> Totals {
                Totals { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        impl Totals {
            /// Every counter with its name.
            pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

totals! {
    /// Connections that peers of the stack asked for.
    outward,
    /// Connections that came by published ports.
    inward,
    /// Connections whose both sides were connected.
    opened,
    /// Connections that exist now, those that are being opened included.
    current,
    /// Ended in order.
    closed,
    /// Reset by who opened them.
    reset_by_peer,
    /// Reset by the destination.
    reset_by_destination,
    /// Refused.
    refused,
    /// Unreachable.
    unreachable,
    /// Timed out.
    timed_out,
    /// Left without an answer.
    dropped,
    /// Given up before they were open.
    abandoned,
    /// Open when the forwarder stopped.
    stopped,
    /// Bytes from the stack's side to the host's.
    bytes_out,
    /// Bytes from the host's side to the stack's.
    bytes_in,
    /// Times that no descriptor was left: a SYN was left unanswered, or a published port paused.
    out_of_descriptors,
}

impl Counters {
    pub(super) fn count_end(&self, ending: Ending) {
        let counter = match ending {
            Ending::Closed => &self.closed,
            Ending::ResetByPeer => &self.reset_by_peer,
            Ending::ResetByDestination => &self.reset_by_destination,
            Ending::Refused => &self.refused,
            Ending::Unreachable => &self.unreachable,
            Ending::TimedOut => &self.timed_out,
            Ending::Dropped => &self.dropped,
            Ending::Abandoned => &self.abandoned,
            Ending::Stopped => &self.stopped,
        };
        add(counter, 1);
    }
}

pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}
