//! seccomp with user notification: the filter, and the descriptor through which its calls are answered
//! (`linux/seccomp.h`, seccomp_unotify(2)).

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_ulong, sock_filter};

/// `struct seccomp_data`: where the filter finds what it judges.
mod data {
    pub(super) const NR: u32 = 0;
    pub(super) const ARCH: u32 = 4;

    /// The low half of an argument, on a little-endian machine.
    pub(super) const fn low(argument: u32) -> u32 {
        16 + 8 * argument
    }

    pub(super) const fn high(argument: u32) -> u32 {
        low(argument) + 4
    }
}

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xC000_003E; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xC000_00B7; // AUDIT_ARCH_AARCH64
#[cfg(target_arch = "riscv64")]
const ARCH: u32 = 0xC000_00F3; // AUDIT_ARCH_RISCV64

/// Calls of the x32 table have this bit; no other number is as large.
const FOREIGN_TABLE: u32 = 0x4000_0000;
/// SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP: caller and supervisor take turns on one processor.
const SYNC_WAKE_UP: u64 = 1;
/// What is no ordinary sending: it connects, or its byte is urgent.
const SENT_OTHERWISE: u32 = (libc::MSG_FASTOPEN | libc::MSG_OOB) as u32;
/// SOCK_TYPE_MASK.
const TYPE_MASK: u32 = 0xf;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// Always taken, whatever their arguments are: which socket it is the filter cannot see.
const TAKEN: [libc::c_long; 10] = [
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
];
/// A ring would carry calls past the filter.
const REFUSED: [libc::c_long; 3] =
    [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

const fn load(offset: u32) -> sock_filter {
    sock_filter { code: 0x20, jt: 0, jf: 0, k: offset } // BPF_LD | BPF_W | BPF_ABS
}

const fn and(mask: u32) -> sock_filter {
    sock_filter { code: 0x54, jt: 0, jf: 0, k: mask } // BPF_ALU | BPF_AND | BPF_K
}

/// Skips `yes` instructions if the accumulator is `value`, else `no`.
const fn if_equal(value: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code: 0x15, jt: yes, jf: no, k: value } // BPF_JMP | BPF_JEQ | BPF_K
}

const fn if_at_least(value: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code: 0x35, jt: yes, jf: no, k: value } // BPF_JMP | BPF_JGE | BPF_K
}

const fn if_any_bit(mask: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { code: 0x45, jt: yes, jf: no, k: mask } // BPF_JMP | BPF_JSET | BPF_K
}

const fn done(action: u32) -> sock_filter {
    sock_filter { code: 0x06, jt: 0, jf: 0, k: action } // BPF_RET | BPF_K
}

/// Which calls come to the supervisor: those that name or change a TCP socket. Reading and writing stay the kernel's.
pub(crate) fn program() -> Vec<sock_filter> {
    let mut program = vec![load(data::ARCH), if_equal(ARCH, 1, 0), done(ENOSYS), load(data::NR)];
    program.extend([if_at_least(FOREIGN_TABLE, 0, 1), done(ENOSYS)]);
    for call in REFUSED {
        program.extend([if_equal(call as u32, 0, 1), done(ENOSYS)]);
    }
    for call in TAKEN {
        program.extend([if_equal(call as u32, 0, 1), done(NOTIFY)]);
    }
    // socket: AF_INET or AF_INET6, and SOCK_STREAM.
    program.extend([
        if_equal(libc::SYS_socket as u32, 0, 8),
        load(data::low(0)),
        if_equal(libc::AF_INET as u32, 1, 0),
        if_equal(libc::AF_INET6 as u32, 0, 4),
        load(data::low(1)),
        and(TYPE_MASK),
        if_equal(libc::SOCK_STREAM as u32, 0, 1),
        done(NOTIFY),
        done(ALLOW),
    ]);
    // sendto: with an address (TCP ignores it, a Unix socket does not), MSG_FASTOPEN or MSG_OOB.
    program.extend([
        if_equal(libc::SYS_sendto as u32, 0, 8),
        load(data::low(4)),
        if_equal(0, 0, 4),
        load(data::high(4)),
        if_equal(0, 0, 2),
        load(data::low(3)),
        if_any_bit(SENT_OTHERWISE, 0, 1),
        done(NOTIFY),
        done(ALLOW),
    ]);
    program.extend([
        if_equal(libc::SYS_sendmsg as u32, 0, 3),
        load(data::low(2)),
        if_any_bit(SENT_OTHERWISE, 0, 1),
        done(NOTIFY),
        done(ALLOW),
    ]);
    program
}

/// Puts the calling thread and all that it starts under the filter; the descriptor through which to answer.
///
/// Async-signal-safe. Without CAP_SYS_ADMIN no_new_privs is set first, as the kernel demands.
pub(crate) fn install(program: &[sock_filter]) -> io::Result<OwnedFd> {
    match install_once(program) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            rustix::thread::set_no_new_privs(true)?;
            install_once(program)
        }
        result => result,
    }
}

fn install_once(program: &[sock_filter]) -> io::Result<OwnedFd> {
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: seccomp(2) reads `struct sock_fprog` and the instructions that it points to, both alive here;
    // it writes to neither.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: with NEW_LISTENER the result is a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notification {
    pub(crate) id: u64,
    /// The thread that called.
    pub(crate) tid: u32,
    pub(crate) call: libc::c_long,
    pub(crate) args: [u64; 6],
}

/// Where the calls of filtered programs come in.
#[derive(Debug)]
pub(crate) struct Listener(OwnedFd);

impl Listener {
    /// Takes over the descriptor that [`install`] made.
    ///
    /// # Errors
    /// EOVERFLOW if this kernel's structures are larger than the ones known here.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Listener> {
        // SAFETY: all zeros are a valid `seccomp_notif_sizes`.
        let mut sizes: libc::seccomp_notif_sizes = unsafe { zeroed() };
        // SAFETY: SECCOMP_GET_NOTIF_SIZES writes one `struct seccomp_notif_sizes`.
        let result =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_NOTIF_SIZES, 0, &raw mut sizes) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        let fits = usize::from(sizes.seccomp_notif) <= size_of::<libc::seccomp_notif>()
            && usize::from(sizes.seccomp_notif_resp) <= size_of::<libc::seccomp_notif_resp>();
        if !fits {
            return Err(io::Error::from_raw_os_error(libc::EOVERFLOW));
        }
        let listener = Listener(fd);
        // Older kernels do not know it: then a call costs more, and all else is the same. The flags are the argument.
        let _ = listener.ioctl(libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP as *mut libc::c_void);
        Ok(listener)
    }

    fn ioctl(&self, request: libc::Ioctl, argument: *mut libc::c_void) -> io::Result<c_int> {
        // SAFETY: every caller passes the request's own structure, alive and writable, or a number where the
        // request takes one.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), request, argument) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
    }

    /// The next call; `None` if its caller has gone meanwhile. Waits if there is none.
    pub(crate) fn receive(&self) -> io::Result<Option<Notification>> {
        // SAFETY: all zeros are a valid `seccomp_notif`, and what the kernel wants to be given.
        let mut notif: libc::seccomp_notif = unsafe { zeroed() };
        match self.ioctl(libc::SECCOMP_IOCTL_NOTIF_RECV, (&raw mut notif).cast()) {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        Ok(Some(Notification {
            id: notif.id,
            tid: notif.pid,
            call: libc::c_long::from(notif.data.nr),
            args: notif.data.args,
        }))
    }

    /// Whether the caller still waits: then its number is its own, and nobody else's.
    pub(crate) fn is_valid(&self, id: u64) -> bool {
        let mut id = id;
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ID_VALID, (&raw mut id).cast()).is_ok()
    }

    /// Ends the call with this result, or with an errno. False if the caller has gone or was interrupted.
    pub(crate) fn answer(&self, id: u64, result: Result<i64, i32>) -> bool {
        let (val, error) = match result {
            Ok(val) => (val, 0),
            Err(errno) => (0, -errno),
        };
        let mut response = libc::seccomp_notif_resp { id, val, error, flags: 0 };
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_SEND, (&raw mut response).cast()).is_ok()
    }

    /// Lets the kernel make the call.
    pub(crate) fn let_through(&self, id: u64) -> bool {
        let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        let mut response = libc::seccomp_notif_resp { id, val: 0, error: 0, flags };
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_SEND, (&raw mut response).cast()).is_ok()
    }

    /// Gives the caller a descriptor of its own for what `fd` names, and ends the call with its number.
    ///
    /// # Errors
    /// ENOENT if the caller has gone or was interrupted; EMFILE if it has no room.
    pub(crate) fn answer_with_fd(&self, id: u64, fd: BorrowedFd<'_>, cloexec: bool) -> io::Result<i32> {
        self.add_fd(id, fd, cloexec, None)
    }

    /// Puts what `fd` names in the place of the caller's descriptor `place`; the call still waits.
    pub(crate) fn replace_fd(
        &self,
        id: u64,
        fd: BorrowedFd<'_>,
        cloexec: bool,
        place: i32,
    ) -> io::Result<i32> {
        self.add_fd(id, fd, cloexec, Some(place))
    }

    fn add_fd(&self, id: u64, fd: BorrowedFd<'_>, cloexec: bool, place: Option<i32>) -> io::Result<i32> {
        let mut request = libc::seccomp_notif_addfd {
            id,
            flags: match place {
                Some(_) => libc::SECCOMP_ADDFD_FLAG_SETFD as u32,
                None => libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            },
            srcfd: fd.as_raw_fd() as u32,
            newfd: place.unwrap_or(0) as u32,
            newfd_flags: if cloexec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        self.ioctl(libc::SECCOMP_IOCTL_NOTIF_ADDFD, (&raw mut request).cast())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

// The requests' numbers hold the sizes of their structures; libc's must be the kernel's.
const _: () = assert!(size_of::<libc::seccomp_notif>() == 80 && size_of::<c_ulong>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter says of a call: the program run as the kernel runs it.
    fn judge(arch: u32, call: u32, args: [u64; 6]) -> u32 {
        let mut bytes = [call.to_ne_bytes(), arch.to_ne_bytes(), [0; 4], [0; 4]].concat();
        bytes.extend(args.iter().flat_map(|arg| arg.to_ne_bytes()));
        let (program, mut at, mut acc) = (program(), 0, 0u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            let jump = |yes: bool| usize::from(if yes { jt } else { jf });
            at += 1;
            match code {
                0x20 => {
                    let word = &bytes[k as usize..k as usize + 4];
                    acc = u32::from_ne_bytes(word.try_into().expect("four bytes"));
                }
                0x54 => acc &= k,
                0x15 => at += jump(acc == k),
                0x35 => at += jump(acc >= k),
                0x45 => at += jump(acc & k != 0),
                0x06 => return k,
                _ => panic!("an instruction the filter does not use"),
            }
        }
    }

    fn of(call: libc::c_long, args: [u64; 6]) -> u32 {
        judge(ARCH, call as u32, args)
    }

    #[test]
    fn control_calls_come_to_the_supervisor_and_data_does_not() {
        for call in TAKEN {
            assert_eq!(of(call, [0; 6]), NOTIFY);
        }
        for call in [libc::SYS_read, libc::SYS_write, libc::SYS_recvfrom, libc::SYS_close, libc::SYS_execve] {
            assert_eq!(of(call, [3, 1, 2, 0, 0, 0]), ALLOW);
        }
    }

    #[test]
    fn only_stream_sockets_of_the_internet_are_ours() {
        let socket = |domain: i32, kind: i32| of(libc::SYS_socket, [domain as u64, kind as u64, 0, 0, 0, 0]);
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        assert_eq!(socket(libc::AF_INET, libc::SOCK_STREAM), NOTIFY);
        assert_eq!(socket(libc::AF_INET6, libc::SOCK_STREAM | flags), NOTIFY);
        assert_eq!(socket(libc::AF_INET, libc::SOCK_DGRAM | flags), ALLOW);
        assert_eq!(socket(libc::AF_UNIX, libc::SOCK_STREAM), ALLOW);
        assert_eq!(socket(libc::AF_NETLINK, libc::SOCK_RAW), ALLOW);
        assert_eq!(socket(libc::AF_INET, libc::SOCK_SEQPACKET), ALLOW);
    }

    #[test]
    fn sends_with_an_address_fast_open_or_urgent_are_taken() {
        let sendto = |flags: i32, addr: u64| of(libc::SYS_sendto, [3, 0, 0, flags as u64, addr, 16]);
        assert_eq!(sendto(0, 0), ALLOW);
        assert_eq!(sendto(libc::MSG_NOSIGNAL | libc::MSG_MORE, 0), ALLOW);
        assert_eq!(sendto(libc::MSG_NOSIGNAL | libc::MSG_OOB, 0), NOTIFY);
        assert_eq!(sendto(0, 0x1000), NOTIFY);
        assert_eq!(sendto(0, 0x7f00_0000_0000), NOTIFY);
        assert_eq!(sendto(libc::MSG_FASTOPEN, 0), NOTIFY);
        let sendmsg = |flags: i32| of(libc::SYS_sendmsg, [3, 0, flags as u64, 0, 0, 0]);
        assert_eq!((sendmsg(libc::MSG_MORE), sendmsg(libc::MSG_FASTOPEN)), (ALLOW, NOTIFY));
        assert_eq!(sendmsg(libc::MSG_OOB), NOTIFY);
    }

    #[test]
    fn rings_and_foreign_tables_are_refused() {
        assert_eq!(of(libc::SYS_io_uring_setup, [0; 6]), ENOSYS);
        assert_eq!(judge(0x4000_0003, 359, [2, 1, 0, 0, 0, 0]), ENOSYS); // i386's socket
        assert_eq!(judge(ARCH, FOREIGN_TABLE | 41, [2, 1, 0, 0, 0, 0]), ENOSYS); // x32's
    }
}
