//! The memory of another process.

use std::io;

/// Reads `bytes.len()` bytes at the address `at` of the process that the thread `tid` belongs to.
///
/// The number may be another thread's by now: what was read counts only if `tid` is known to have lived on.
///
/// # Errors
/// EFAULT if not all of it is there; ESRCH; EPERM without the right to trace it; ENOSYS.
pub(crate) fn read(tid: u32, at: u64, bytes: &mut [u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: at as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: process_vm_readv writes at most `iov_len` bytes to `iov_base` of `local`, which is `bytes`, alive and
    // borrowed for it alone; `remote` is an address of the other process, never looked at in this one.
    let read =
        unsafe { libc::process_vm_readv(tid as libc::pid_t, &raw const local, 1, &raw const remote, 1, 0) };
    match usize::try_from(read) {
        Ok(read) if read == bytes.len() => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}
