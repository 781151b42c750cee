//! The errors of the Berkeley calls: POSIX's names, one to one with errno.

use core::fmt;

macro_rules! errno {
    ($($(#[$doc:meta])* $name:ident = $linux:literal, $text:literal;)*) => {
        /// Why a call failed, under the name POSIX gives it.
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Errno { $($(#[$doc])* $name,)* }

        impl Errno {
            /// The number Linux gives this error (`asm-generic/errno.h`).
            pub const fn number(self) -> i32 {
                match self { $(Errno::$name => $linux,)* }
            }

            /// The error that Linux gives this number, if a socket call can return it.
            pub const fn from_number(number: i32) -> Option<Errno> {
                match number { $($linux => Some(Errno::$name),)* _ => None }
            }

            /// The symbolic name, as in `<errno.h>`.
            pub const fn name(self) -> &'static str {
                match self { $(Errno::$name => stringify!($name),)* }
            }

            /// The message, as `strerror` words it.
            pub const fn message(self) -> &'static str {
                match self { $(Errno::$name => $text,)* }
            }
        }
    };
}

errno! {
    /// A privileged port without the privilege, or a policy said no.
    EPERM = 1, "Operation not permitted";
    /// An unknown congestion control was named.
    ENOENT = 2, "No such file or directory";
    /// The wait was interrupted before anything was transferred.
    EINTR = 4, "Interrupted system call";
    /// No such device or interface.
    ENXIO = 6, "No such device or address";
    /// The descriptor is not open.
    EBADF = 9, "Bad file descriptor";
    /// The call would have to wait (the same as EWOULDBLOCK).
    EAGAIN = 11, "Resource temporarily unavailable";
    /// A bound on memory was reached.
    ENOMEM = 12, "Cannot allocate memory";
    /// The address is protected (a privileged port, a broadcast address).
    EACCES = 13, "Permission denied";
    /// A pointer or buffer outside of the caller's memory.
    EFAULT = 14, "Bad address";
    /// The option cannot be changed while something depends on it.
    EBUSY = 16, "Device or resource busy";
    /// The descriptor is registered with that epoll already.
    EEXIST = 17, "File exists";
    /// No such interface.
    ENODEV = 19, "No such device";
    /// An argument or the socket's state does not fit the call.
    EINVAL = 22, "Invalid argument";
    /// The system's table of open sockets is full.
    ENFILE = 23, "Too many open files in system";
    /// The process's table of descriptors is full.
    EMFILE = 24, "Too many open files";
    /// The ioctl is not one of a socket's.
    ENOTTY = 25, "Inappropriate ioctl for device";
    /// The sending direction is shut down or the connection is gone.
    EPIPE = 32, "Broken pipe";
    /// An argument is outside of its range.
    EDOM = 33, "Numerical argument out of domain";
    /// The call does not exist here.
    ENOSYS = 38, "Function not implemented";
    /// The descriptor is not a socket.
    ENOTSOCK = 88, "Socket operation on non-socket";
    /// No peer address was given.
    EDESTADDRREQ = 89, "Destination address required";
    /// The message is larger than can be sent.
    EMSGSIZE = 90, "Message too long";
    /// The protocol does not go with the socket's type.
    EPROTOTYPE = 91, "Protocol wrong type for socket";
    /// No such option at this level.
    ENOPROTOOPT = 92, "Protocol not available";
    /// No such protocol.
    EPROTONOSUPPORT = 93, "Protocol not supported";
    /// No such socket type.
    ESOCKTNOSUPPORT = 94, "Socket type not supported";
    /// The call or flag does not go with this socket.
    EOPNOTSUPP = 95, "Operation not supported";
    /// No such address family.
    EAFNOSUPPORT = 97, "Address family not supported by protocol";
    /// The address and port are taken.
    EADDRINUSE = 98, "Address already in use";
    /// The address is not ours, or no ephemeral port is free.
    EADDRNOTAVAIL = 99, "Cannot assign requested address";
    /// The interface is down.
    ENETDOWN = 100, "Network is down";
    /// There is no route.
    ENETUNREACH = 101, "Network is unreachable";
    /// The connection was ended on this side.
    ECONNABORTED = 103, "Software caused connection abort";
    /// The peer reset the connection.
    ECONNRESET = 104, "Connection reset by peer";
    /// A bound on buffers was reached.
    ENOBUFS = 105, "No buffer space available";
    /// The socket is connected already.
    EISCONN = 106, "Transport endpoint is already connected";
    /// The socket is not connected.
    ENOTCONN = 107, "Transport endpoint is not connected";
    /// The peer did not answer in time.
    ETIMEDOUT = 110, "Connection timed out";
    /// Nobody listens there.
    ECONNREFUSED = 111, "Connection refused";
    /// The host is down.
    EHOSTDOWN = 112, "Host is down";
    /// The host cannot be reached.
    EHOSTUNREACH = 113, "No route to host";
    /// A connection attempt is already under way.
    EALREADY = 114, "Operation already in progress";
    /// The connection attempt goes on in the background.
    EINPROGRESS = 115, "Operation now in progress";
    /// A protocol violation ended the connection attempt.
    EPROTO = 71, "Protocol error";
}

impl Errno {
    /// POSIX's other name for [`Errno::EAGAIN`].
    pub const EWOULDBLOCK: Errno = Errno::EAGAIN;
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message(), self.name())
    }
}

impl core::error::Error for Errno {}
