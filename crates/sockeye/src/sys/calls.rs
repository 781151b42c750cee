//! Calls on the host's own sockets that `rustix` has no general form of: options by number, ioctls with one int,
//! messages with control data. For what is compared with the host's TCP.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_void, socklen_t};

/// What a message brought: bytes of text, bytes of control data, flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of text.
    pub len: usize,
    /// Bytes of control data, as `cmsg(3)` lays them out.
    pub control: usize,
    /// `msg_flags`.
    pub flags: i32,
}

/// `setsockopt` with a value of any layout.
pub fn setsockopt(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let len = socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel reads `len` bytes from the slice, which has that many, and keeps no pointer.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), len) };
    done(result as isize).map(|_| ())
}

/// `getsockopt` into `value`; how many bytes the option has of that room.
pub fn getsockopt(fd: BorrowedFd<'_>, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
    let mut len = socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let room = value.as_mut_ptr().cast::<c_void>();
    // SAFETY: the kernel writes at most `len` bytes into the slice, which has that many, and the length back.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, room, &raw mut len) };
    done(result as isize).map(|_| len as usize)
}

/// An `ioctl` of those that tell one int: `SIOCOUTQ`, `SIOCINQ`, `SIOCATMARK`, `SIOCOUTQNSD`. Others are refused.
pub fn ioctl_int(fd: BorrowedFd<'_>, request: u32) -> io::Result<i32> {
    const ONE_INT: [u32; 4] = [0x5411, 0x541b, 0x8905, 0x894b];
    if !ONE_INT.contains(&request) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut value: c_int = 0;
    // SAFETY: each of these requests writes one int, and `value` is one.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request.into(), &raw mut value) };
    done(result as isize).map(|_| value)
}

/// `recvmsg`: text into `text`, control data into `control`.
pub fn recvmsg(fd: BorrowedFd<'_>, text: &mut [u8], control: &mut [u8], flags: i32) -> io::Result<Received> {
    let mut iov = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
    // SAFETY: a `msghdr` of zeros names nothing at all, which is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control.len() as _;
    // SAFETY: the header names one slice for text and one for control data with their true lengths; both outlive
    // the call, and the kernel keeps no pointer.
    let result = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) };
    let len = done(result)?;
    Ok(Received { len, control: message.msg_controllen as usize, flags: message.msg_flags })
}

fn done(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
