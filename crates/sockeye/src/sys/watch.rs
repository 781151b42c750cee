//! Descriptors in the reactor of an async runtime.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches `fd` for `interest` on the current runtime.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor of an `OwnedFd` is always the same one, and open until the `AsyncFd` has dropped it or
    // given it back, which both take it out of the reactor first.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}
