//! Urgent data of the kernel's sockets.

use std::os::fd::{AsFd, AsRawFd as _};

/// SIOCATMARK (asm-generic/sockios.h).
const SIOCATMARK: libc::Ioctl = 0x8905;

/// Whether the next byte to read is where the urgent mark lies; false where the socket knows no marks.
pub(crate) fn is_at_mark(fd: impl AsFd) -> bool {
    let mut at_mark: libc::c_int = 0;
    // SAFETY: SIOCATMARK writes one int, which `at_mark` is.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), SIOCATMARK, &raw mut at_mark) };
    result == 0 && at_mark != 0
}
