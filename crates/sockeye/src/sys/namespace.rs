//! Namespaces of this process' own.

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves this thread, and all that it makes from here on, into a network namespace of its own; with `user` the process,
/// which must have no other thread, into a user namespace that owns it as well.
pub(crate) fn unshare(user: bool) -> rustix::io::Result<()> {
    let flags = if user { UnshareFlags::NEWUSER | UnshareFlags::NEWNET } else { UnshareFlags::NEWNET };
    // SAFETY: what unshare can make unsound is a table of descriptors that other threads do not share any more
    // (CLONE_FILES), and that is not among the flags.
    unsafe { unshare_unsafe(flags) }
}
