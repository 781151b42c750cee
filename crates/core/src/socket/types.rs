//! The arguments and results of the Berkeley calls, with Linux's numbers.

use core::fmt;

bitflags::bitflags! {
    /// The MSG_ flags of the send and receive calls.
    ///
    /// A flag that only the other direction knows is ignored, as Linux does; a bit without a name here
    /// fails with EOPNOTSUPP.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
    pub struct MsgFlags: u32 {
        /// The last byte sent is urgent; the byte received is the urgent one. New programs do not use it (SHLD-13).
        const OOB = 0x1;
        /// Look at the data and leave it.
        const PEEK = 0x2;
        /// Send to hosts of the same link only; without effect on TCP.
        const DONTROUTE = 0x4;
        /// Control data was cut; never set here.
        const CTRUNC = 0x8;
        /// Receive: discard the data instead of copying it (Linux's meaning for TCP).
        const TRUNC = 0x20;
        /// Do not wait, whatever O_NONBLOCK says.
        const DONTWAIT = 0x40;
        /// End of a record: later data does not share a segment with this, as on Linux.
        const EOR = 0x80;
        /// Wait until the whole buffer is full.
        const WAITALL = 0x100;
        /// The path works; without effect on TCP.
        const CONFIRM = 0x800;
        /// Read the error queue: [`Stack::take_notice`](crate::stack::Stack::take_notice) does; a receive call says EAGAIN.
        const ERRQUEUE = 0x2000;
        /// No SIGPIPE. In-process calls raise no signal in any case.
        const NOSIGNAL = 0x4000;
        /// More data follows: keep a part-filled segment back.
        const MORE = 0x8000;
        /// Send without copying: with SO_ZEROCOPY the error queue tells when the data is done with. It is copied all the
        /// same, as Linux does towards a TUN device.
        const ZEROCOPY = 0x400_0000;
        /// Connect and send in one (RFC 7413).
        const FASTOPEN = 0x2000_0000;
        /// Received descriptors are close-on-exec; there are none.
        const CMSG_CLOEXEC = 0x4000_0000;
    }
}

/// An address family, by its number. A number that is none of those named here is refused by `socket`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Domain(pub i32);

impl Domain {
    /// AF_INET.
    pub const INET: Domain = Domain(2);
    /// AF_INET6, which also speaks IPv4 unless IPV6_V6ONLY is set.
    pub const INET6: Domain = Domain(10);
}

/// A socket type and its flags, by their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SocketType(pub i32);

impl SocketType {
    /// SOCK_STREAM.
    pub const STREAM: SocketType = SocketType(1);
    /// SOCK_DGRAM, which this stack does not have.
    pub const DGRAM: SocketType = SocketType(2);
    /// SOCK_NONBLOCK, to be or-ed into a type.
    pub const NONBLOCK: i32 = 0o4000;
    /// SOCK_CLOEXEC, to be or-ed into a type.
    pub const CLOEXEC: i32 = 0o200_0000;

    /// This type with SOCK_NONBLOCK.
    #[must_use]
    pub const fn nonblocking(self) -> SocketType {
        SocketType(self.0 | SocketType::NONBLOCK)
    }

    /// Whether SOCK_NONBLOCK is in it.
    pub const fn is_nonblocking(self) -> bool {
        self.0 & SocketType::NONBLOCK != 0
    }

    /// Whether SOCK_CLOEXEC is in it.
    pub const fn is_cloexec(self) -> bool {
        self.0 & SocketType::CLOEXEC != 0
    }

    /// The type without its flags.
    #[must_use]
    pub const fn base(self) -> SocketType {
        SocketType(self.0 & !(SocketType::NONBLOCK | SocketType::CLOEXEC))
    }
}

/// A protocol, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Protocol(pub i32);

impl Protocol {
    /// 0: the protocol that goes with the type.
    pub const DEFAULT: Protocol = Protocol(0);
    /// IPPROTO_TCP.
    pub const TCP: Protocol = Protocol(6);
}

/// What `shutdown` ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum How {
    /// SHUT_RD.
    Read,
    /// SHUT_WR.
    Write,
    /// SHUT_RDWR.
    Both,
}

impl How {
    /// The meaning of `shutdown`'s second argument; `None` is EINVAL.
    pub const fn from_number(number: i32) -> Option<How> {
        match number {
            0 => Some(How::Read),
            1 => Some(How::Write),
            2 => Some(How::Both),
            _ => None,
        }
    }

    /// Whether the receiving direction ends.
    pub const fn read(self) -> bool {
        matches!(self, How::Read | How::Both)
    }

    /// Whether the sending direction ends.
    pub const fn write(self) -> bool {
        matches!(self, How::Write | How::Both)
    }
}

/// What `ioctl` asks of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ioctl {
    /// FIONREAD, SIOCINQ: bytes that can be read, up to the urgent mark.
    Inq,
    /// TIOCOUTQ, SIOCOUTQ: bytes not yet acknowledged, unsent ones included.
    OutQ,
    /// SIOCOUTQNSD: bytes not yet sent.
    OutQNotSent,
    /// SIOCATMARK: 1 if the next byte to read is the urgent one.
    AtMark,
}

impl Ioctl {
    /// The request of Linux's number; `None` is ENOTTY.
    pub const fn from_number(number: u32) -> Option<Ioctl> {
        match number {
            0x541B => Some(Ioctl::Inq),
            0x5411 => Some(Ioctl::OutQ),
            0x894B => Some(Ioctl::OutQNotSent),
            0x8905 => Some(Ioctl::AtMark),
            _ => None,
        }
    }
}

/// What `recvmsg` returns beside the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecvMsg {
    /// Bytes received (or discarded, with MSG_TRUNC). 0 is the end of the stream.
    pub len: usize,
    /// `msg_flags`: OOB with an urgent byte, TRUNC where it had no room.
    pub flags: MsgFlags,
    /// TCP_CM_INQ: bytes still to be read, if TCP_INQ is on.
    pub inq: Option<u32>,
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Domain::INET => f.write_str("AF_INET"),
            Domain::INET6 => f.write_str("AF_INET6"),
            Domain(other) => write!(f, "AF_{other}"),
        }
    }
}
