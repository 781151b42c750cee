//! The thread that made a call: its memory and its descriptors.
//!
//! Numbers of threads are used again, so each look at a thread counts only if its call is still waiting
//! afterwards (or, for what is written, was after the file that names its memory was opened): a thread that
//! waits for an answer cannot have gone.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use sockeye_core::Errno;

use crate::sys::memory;
use crate::sys::seccomp::{Listener, Notification};

/// PIDFD_THREAD: the descriptor names a thread, which may share its table of descriptors with nobody.
const PIDFD_THREAD: u32 = libc::O_EXCL as u32;
/// Threads whose descriptors are kept; beyond that all are opened anew.
const MAX_TASKS: usize = 1_024;
/// `struct sockaddr_in6`, the longest address here.
const LONGEST: usize = 28;

/// A descriptor of the program's, as our own: it keeps the socket open as long as it is held.
pub(super) struct Held {
    pub(super) fd: OwnedFd,
    /// The socket's identity.
    pub(super) inode: u64,
}

impl Held {
    fn new(fd: OwnedFd) -> io::Result<Held> {
        let inode = rustix::fs::fstat(&fd)?.st_ino;
        Ok(Held { fd, inode })
    }

    /// O_NONBLOCK of the open file.
    pub(super) fn is_nonblocking(&self) -> bool {
        rustix::fs::fcntl_getfl(&self.fd).is_ok_and(|flags| flags.contains(rustix::fs::OFlags::NONBLOCK))
    }
}

/// The threads that have called, each by a descriptor.
#[derive(Default)]
pub(super) struct Tasks(Mutex<HashMap<u32, Arc<OwnedFd>>>);

impl Tasks {
    fn get(&self, tid: u32) -> io::Result<Arc<OwnedFd>> {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = tasks.get(&tid) {
            return Ok(task.clone());
        }
        let task = Arc::new(open(tid)?);
        if tasks.len() >= MAX_TASKS {
            tasks.clear();
        }
        tasks.insert(tid, task.clone());
        Ok(task)
    }

    fn forget(&self, tid: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&tid);
    }

    /// The descriptor `fd` of a thread that has called.
    pub(super) fn hold(&self, tid: u32, fd: i32) -> io::Result<Held> {
        if fd < 0 {
            return Err(rustix::io::Errno::BADF.into());
        }
        let get = |task: &OwnedFd| pidfd_getfd(task, fd, PidfdGetfdFlags::empty());
        let held = match get(&*self.get(tid)?) {
            Err(rustix::io::Errno::SRCH) => {
                // The number is another thread's by now.
                self.forget(tid);
                get(&*self.get(tid)?)?
            }
            result => result?,
        };
        Held::new(held)
    }

    /// Looks for the socket `inode` where it was seen last, then among all descriptors of the run's processes.
    pub(super) fn find(&self, inode: u64, seen: (u32, i32)) -> Option<OwnedFd> {
        let is_it = |held: io::Result<Held>| held.ok().filter(|held| held.inode == inode).map(|held| held.fd);
        if let Some(fd) = is_it(self.hold(seen.0, seen.1)) {
            return Some(fd);
        }
        let name = format!("socket:[{inode}]");
        for pid in descendants() {
            let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
            for entry in entries.flatten() {
                let points_to = std::fs::read_link(entry.path());
                if points_to.is_ok_and(|target| target.as_os_str() == name.as_str()) {
                    let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
                    let found = number.and_then(|number| is_it(self.hold(pid, number)));
                    if found.is_some() {
                        return found;
                    }
                }
            }
        }
        None
    }
}

/// The processes that this one has started, and those that they have: orphans are ours, too.
fn descendants() -> Vec<u32> {
    let children = |pid: u32| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let text = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children"));
        let all: Vec<String> = tasks.filter_map(|task| text(task).ok()).collect();
        all.join(" ").split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
    };
    let mut found = children(std::process::id());
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children(*pid));
        next += 1;
    }
    found
}

fn open(tid: u32) -> io::Result<OwnedFd> {
    let pid = |number: u32| {
        Pid::from_raw(i32::try_from(number).unwrap_or(0)).ok_or(io::Error::from(io::ErrorKind::NotFound))
    };
    match pidfd_open(pid(tid)?, PidfdFlags::from_bits_retain(PIDFD_THREAD)) {
        // Before Linux 6.9 only processes have such descriptors.
        Err(rustix::io::Errno::INVAL) => Ok(pidfd_open(pid(process_of(tid)?)?, PidfdFlags::empty())?),
        result => Ok(result?),
    }
}

/// The process of a thread.
pub(super) fn process_of(tid: u32) -> io::Result<u32> {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    line.and_then(|number| number.trim().parse().ok()).ok_or(io::ErrorKind::InvalidData.into())
}

/// Who waits for an answer.
pub(super) struct Caller<'a> {
    pub(super) listener: &'a Listener,
    pub(super) tasks: &'a Tasks,
    pub(super) notification: Notification,
}

impl Caller<'_> {
    /// An argument that is an int.
    pub(super) fn int(&self, at: usize) -> i32 {
        self.notification.args[at] as i32
    }

    /// An argument that is a pointer or a size.
    pub(super) fn word(&self, at: usize) -> u64 {
        self.notification.args[at]
    }

    /// What the descriptor in the first argument names; EBADF if nothing.
    pub(super) fn hold(&self) -> io::Result<Held> {
        self.tasks.hold(self.notification.tid, self.int(0))
    }

    /// Where the socket in the first argument was seen: for [`Tasks::find`].
    pub(super) fn seen(&self) -> (u32, i32) {
        (self.notification.tid, self.int(0))
    }

    fn memory(&self) -> Result<File, Errno> {
        let path = format!("/proc/{}/mem", self.notification.tid);
        let file = File::options().read(true).write(true).open(path).map_err(|_| Errno::EFAULT)?;
        // From here on the file is this caller's memory and nobody else's.
        if self.listener.is_valid(self.notification.id) { Ok(file) } else { Err(Errno::EFAULT) }
    }

    /// Bytes of its memory. EFAULT.
    pub(super) fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; len];
        if len == 0 {
            return Ok(bytes);
        }
        match memory::read(self.notification.tid, at, &mut bytes) {
            // Read from the caller, if it still is one.
            Ok(()) if self.listener.is_valid(self.notification.id) => {}
            // A kernel without the call.
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                self.memory()?.read_exact_at(&mut bytes, at).map_err(|_| Errno::EFAULT)?;
            }
            Ok(()) | Err(_) => return Err(Errno::EFAULT),
        }
        Ok(bytes)
    }

    /// Changes its memory, here and there. EFAULT.
    pub(super) fn write(&self, parts: [(u64, &[u8]); 2]) -> Result<(), Errno> {
        let memory = self.memory()?;
        for (at, bytes) in parts {
            memory.write_all_at(bytes, at).map_err(|_| Errno::EFAULT)?;
        }
        Ok(())
    }

    /// The length that `socklen_t *` points to. EINVAL if it is negative, EFAULT.
    pub(super) fn length(&self, at: u64) -> Result<usize, Errno> {
        let bytes = self.read(at, 4)?;
        let length = i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        usize::try_from(length).map_err(|_| Errno::EINVAL)
    }

    /// Puts an address where `at` says, cut to the room there, and its whole length where `len_at` says.
    pub(super) fn write_address(
        &self,
        address: SocketAddr,
        at: u64,
        room: usize,
        len_at: u64,
    ) -> Result<(), Errno> {
        let bytes = encode(address);
        let len = (bytes.len() as u32).to_ne_bytes();
        self.write([(at, &bytes[..bytes.len().min(room)]), (len_at, &len)])
    }

    /// A `struct sockaddr` in its memory; `None` is AF_UNSPEC.
    ///
    /// EINVAL if it is too short or too long, EAFNOSUPPORT, EFAULT.
    pub(super) fn address(&self, at: u64, len: i32) -> Result<Option<SocketAddr>, Errno> {
        let len = usize::try_from(len).ok().filter(|len| *len <= 128).ok_or(Errno::EINVAL)?;
        let bytes = self.read(at, len.min(LONGEST))?;
        decode(&bytes)
    }

    /// Whether the descriptor `fd` of the caller is close-on-exec.
    pub(super) fn is_cloexec(&self, fd: i32) -> bool {
        let text = std::fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", self.notification.tid));
        let flags = text.unwrap_or_default().lines().find_map(|line| {
            let octal = line.strip_prefix("flags:")?.trim();
            i32::from_str_radix(octal, 8).ok()
        });
        flags.is_some_and(|flags| flags & libc::O_CLOEXEC != 0)
    }
}

/// `struct sockaddr_in` or `sockaddr_in6` to an address; `None` is AF_UNSPEC.
fn decode(bytes: &[u8]) -> Result<Option<SocketAddr>, Errno> {
    let family = bytes.first_chunk::<2>().ok_or(Errno::EINVAL)?;
    let port = || bytes.get(2..4).map(|port| u16::from_be_bytes([port[0], port[1]])).ok_or(Errno::EINVAL);
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_UNSPEC => Ok(None),
        libc::AF_INET => {
            // The eight bytes of padding belong to it: Linux asks for them.
            let octets: [u8; 4] = match bytes {
                [_, _, _, _, a, b, c, d, rest @ ..] if rest.len() >= 8 => [*a, *b, *c, *d],
                _ => return Err(Errno::EINVAL),
            };
            Ok(Some(SocketAddrV4::new(Ipv4Addr::from(octets), port()?).into()))
        }
        libc::AF_INET6 => {
            // Linux takes it without the scope, as RFC 2133 had it.
            let octets = bytes.get(8..24).and_then(|octets| <[u8; 16]>::try_from(octets).ok());
            let address = Ipv6Addr::from(octets.ok_or(Errno::EINVAL)?);
            let flow = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            let scope = bytes.get(24..28).and_then(|scope| <[u8; 4]>::try_from(scope).ok());
            let scope = scope.map_or(0, u32::from_ne_bytes);
            Ok(Some(SocketAddrV6::new(address, port()?, flow, scope).into()))
        }
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

fn encode(address: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LONGEST);
    match address {
        SocketAddr::V4(v4) => {
            bytes.extend((libc::AF_INET as u16).to_ne_bytes());
            bytes.extend(v4.port().to_be_bytes());
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(v6) => {
            bytes.extend((libc::AF_INET6 as u16).to_ne_bytes());
            bytes.extend(v6.port().to_be_bytes());
            bytes.extend(v6.flowinfo().to_be_bytes());
            bytes.extend(v6.ip().octets());
            bytes.extend(v6.scope_id().to_ne_bytes());
        }
    }
    bytes
}

/// Whether two descriptors name the same socket.
pub(super) fn inode_of(fd: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(fd)?.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_linux_reads_them() {
        for text in ["192.0.2.1:80", "[2001:db8::1]:443", "[fe80::1%3]:1"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(decode(&encode(address)), Ok(Some(address)));
        }
        let v4 = encode("192.0.2.1:80".parse().expect("an address"));
        assert_eq!(decode(&v4[..15]), Err(Errno::EINVAL));
        let v6 = encode("[2001:db8::1]:443".parse().expect("an address"));
        assert!(decode(&v6[..24]).is_ok(), "the scope may be left out");
        assert_eq!(decode(&v6[..23]), Err(Errno::EINVAL));
        assert_eq!(decode(&[0, 0]), Ok(None));
        assert_eq!(decode(&[0]), Err(Errno::EINVAL));
        assert_eq!(decode(&[1, 0, 0, 0]), Err(Errno::EAFNOSUPPORT));
    }
}
