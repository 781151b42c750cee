//! A table of descriptors, as each process has one: POSIX's numbers over this stack's sockets.
//!
//! A descriptor names an open file description, several may name the same one (`dup`), and the
//! socket closes with the last of them. O_NONBLOCK belongs to the description, close-on-exec
//! to the descriptor. The table decides no more than that: who owns it makes the calls.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::Errno;
use crate::socket::{Domain, Protocol, SocketId, SocketType};
use crate::stack::Stack;
use crate::time::Instant;

/// The largest table there is (`fs.nr_open`).
pub const MAX_DESCRIPTORS: usize = 1 << 20;
/// O_RDWR, which F_GETFL shows for every socket.
pub const O_RDWR: i32 = 0o2;
/// O_NONBLOCK.
pub const O_NONBLOCK: i32 = 0o4000;
/// FD_CLOEXEC.
pub const FD_CLOEXEC: i32 = 1;

/// What `fcntl` is asked, by Linux's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum Fcntl {
    /// F_DUPFD: the lowest unused descriptor not below the argument.
    DupFd = 0,
    /// F_GETFD.
    GetFd = 1,
    /// F_SETFD.
    SetFd = 2,
    /// F_GETFL.
    GetFl = 3,
    /// F_SETFL: of its flags only O_NONBLOCK can change.
    SetFl = 4,
    /// F_DUPFD_CLOEXEC.
    DupFdCloexec = 1030,
}

impl Fcntl {
    /// The request of that number; `None` is EINVAL.
    pub const fn from_number(number: i32) -> Option<Fcntl> {
        Some(match number {
            0 => Fcntl::DupFd,
            1 => Fcntl::GetFd,
            2 => Fcntl::SetFd,
            3 => Fcntl::GetFl,
            4 => Fcntl::SetFl,
            1030 => Fcntl::DupFdCloexec,
            _ => return None,
        })
    }
}

/// The descriptors of one process.
#[derive(Debug)]
pub struct FdTable {
    slots: Vec<Option<Slot>>,
    /// Unused numbers below `slots.len()`.
    holes: BTreeSet<usize>,
    descriptions: Vec<Description>,
    free_descriptions: Vec<u32>,
    /// RLIMIT_NOFILE: one more than the highest number.
    limit: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    description: u32,
    cloexec: bool,
}

#[derive(Clone, Copy, Debug)]
struct Description {
    /// `None`: something that is not a socket.
    socket: Option<SocketId>,
    descriptors: u32,
    nonblocking: bool,
}

impl FdTable {
    /// An empty table whose numbers stay below `limit` (RLIMIT_NOFILE), at most [`MAX_DESCRIPTORS`].
    pub fn new(limit: usize) -> Self {
        FdTable {
            slots: Vec::new(),
            holes: BTreeSet::new(),
            descriptions: Vec::new(),
            free_descriptions: Vec::new(),
            limit: limit.min(MAX_DESCRIPTORS),
        }
    }

    /// `socket`: EMFILE before anything else is tried, then the errors of [`Stack::socket`].
    pub fn socket(
        &mut self,
        stack: &mut Stack,
        domain: Domain,
        kind: SocketType,
        protocol: Protocol,
    ) -> Result<i32, Errno> {
        self.lowest(0).ok_or(Errno::EMFILE)?;
        let id = stack.socket(domain, kind, protocol)?;
        self.insert(id, kind.is_nonblocking(), kind.is_cloexec())
    }

    /// `accept4`, not waiting: with no number free EMFILE, and the connection stays queued
    /// (posix-accept-b). `flags` are SOCK_NONBLOCK and SOCK_CLOEXEC, others are EINVAL.
    /// O_NONBLOCK is not inherited from the listener, as on Linux.
    pub fn accept4(
        &mut self,
        stack: &mut Stack,
        now: Instant,
        fd: i32,
        flags: i32,
    ) -> Result<(i32, core::net::SocketAddr), Errno> {
        if SocketType(flags).base().0 != 0 {
            return Err(Errno::EINVAL);
        }
        let listener = self.get(fd)?;
        self.lowest(0).ok_or(Errno::EMFILE)?;
        let (id, peer) = stack.accept(now, listener)?;
        let flags = SocketType(flags);
        Ok((self.insert(id, flags.is_nonblocking(), flags.is_cloexec())?, peer))
    }

    /// Gives a socket the lowest unused number (posix-socket-a); EMFILE if there is none.
    pub fn insert(&mut self, id: SocketId, nonblocking: bool, cloexec: bool) -> Result<i32, Errno> {
        self.open(Description { socket: Some(id), descriptors: 0, nonblocking }, cloexec)
    }

    /// Gives something that is not a socket the lowest unused number: the calls of sockets fail
    /// on it with ENOTSOCK. EMFILE if there is none.
    pub fn insert_other(&mut self) -> Result<i32, Errno> {
        self.open(Description { socket: None, descriptors: 0, nonblocking: false }, false)
    }

    /// The socket of a descriptor: EBADF if it is not open, ENOTSOCK if it is something else.
    pub fn get(&self, fd: i32) -> Result<SocketId, Errno> {
        self.description(fd)?.socket.ok_or(Errno::ENOTSOCK)
    }

    /// Whether O_NONBLOCK is set on the description; EBADF if the descriptor is not open.
    pub fn is_nonblocking(&self, fd: i32) -> Result<bool, Errno> {
        Ok(self.description(fd)?.nonblocking)
    }

    /// `dup`: EBADF, EMFILE.
    pub fn dup(&mut self, fd: i32) -> Result<i32, Errno> {
        let slot = self.slot(fd)?;
        let to = self.lowest(0).ok_or(Errno::EMFILE)?;
        self.place(to, Slot { cloexec: false, ..slot });
        Ok(to as i32)
    }

    /// `dup2`: EBADF if `fd` is not open or `to` is no possible number. The second result is a socket whose
    /// last descriptor `to` was: the caller closes it in the stack.
    pub fn dup2(&mut self, fd: i32, to: i32) -> Result<(i32, Option<SocketId>), Errno> {
        let slot = self.slot(fd)?;
        let at = usize::try_from(to).ok().filter(|&at| at < self.limit).ok_or(Errno::EBADF)?;
        if fd == to {
            return Ok((to, None));
        }
        let closed = if self.slot(to).is_ok() { self.close(to)? } else { None };
        self.place(at, Slot { cloexec: false, ..slot });
        Ok((to, closed))
    }

    /// `fcntl` (EBADF; EINVAL for an F_DUPFD argument that is no possible number, EMFILE if none is free).
    pub fn fcntl(&mut self, fd: i32, command: Fcntl, argument: i32) -> Result<i32, Errno> {
        let slot = self.slot(fd)?;
        match command {
            Fcntl::DupFd | Fcntl::DupFdCloexec => {
                let least =
                    usize::try_from(argument).ok().filter(|&n| n < self.limit).ok_or(Errno::EINVAL)?;
                let to = self.lowest(least).ok_or(Errno::EMFILE)?;
                self.place(to, Slot { cloexec: command == Fcntl::DupFdCloexec, ..slot });
                Ok(to as i32)
            }
            Fcntl::GetFd => Ok(if slot.cloexec { FD_CLOEXEC } else { 0 }),
            Fcntl::SetFd => {
                self.slots[fd as usize] = Some(Slot { cloexec: argument & FD_CLOEXEC != 0, ..slot });
                Ok(0)
            }
            Fcntl::GetFl => {
                let description = self.descriptions[slot.description as usize];
                Ok(O_RDWR | if description.nonblocking { O_NONBLOCK } else { 0 })
            }
            Fcntl::SetFl => {
                let nonblocking = argument & O_NONBLOCK != 0;
                self.descriptions[slot.description as usize].nonblocking = nonblocking;
                Ok(0)
            }
        }
    }

    /// `close`: frees the number. `Some` is a socket whose last descriptor this was: the caller closes
    /// it in the stack, waiting as SO_LINGER says (posix-close-b). EBADF.
    pub fn close(&mut self, fd: i32) -> Result<Option<SocketId>, Errno> {
        let slot = self.slot(fd)?;
        self.slots[fd as usize] = None;
        self.holes.insert(fd as usize);
        let description = &mut self.descriptions[slot.description as usize];
        description.descriptors -= 1;
        if description.descriptors > 0 {
            return Ok(None);
        }
        let socket = description.socket.take();
        self.free_descriptions.push(slot.description);
        Ok(socket)
    }

    /// What `exec` does: closes every close-on-exec descriptor; the sockets to be closed.
    pub fn exec(&mut self) -> Vec<SocketId> {
        let fds: Vec<i32> =
            self.open_numbers().filter(|&fd| self.slot(fd).is_ok_and(|s| s.cloexec)).collect();
        fds.into_iter().filter_map(|fd| self.close(fd).ok().flatten()).collect()
    }

    /// The open descriptors, lowest first.
    pub fn open_numbers(&self) -> impl Iterator<Item = i32> + '_ {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.is_some()).map(|(fd, _)| fd as i32)
    }

    fn open(&mut self, description: Description, cloexec: bool) -> Result<i32, Errno> {
        let to = self.lowest(0).ok_or(Errno::EMFILE)?;
        let index = match self.free_descriptions.pop() {
            Some(index) => {
                self.descriptions[index as usize] = description;
                index
            }
            None => {
                self.descriptions.push(description);
                (self.descriptions.len() - 1) as u32
            }
        };
        self.place(to, Slot { description: index, cloexec });
        Ok(to as i32)
    }

    /// The lowest unused number from `least` on, if it is below the limit.
    fn lowest(&self, least: usize) -> Option<usize> {
        let hole = self.holes.range(least..).next().copied();
        let lowest = hole.unwrap_or(self.slots.len().max(least));
        (lowest < self.limit).then_some(lowest)
    }

    /// Lets the unused number `at` name `slot`'s description.
    fn place(&mut self, at: usize, slot: Slot) {
        while self.slots.len() <= at {
            self.holes.insert(self.slots.len());
            self.slots.push(None);
        }
        self.holes.remove(&at);
        self.slots[at] = Some(slot);
        self.descriptions[slot.description as usize].descriptors += 1;
    }

    fn slot(&self, fd: i32) -> Result<Slot, Errno> {
        usize::try_from(fd).ok().and_then(|fd| *self.slots.get(fd)?).ok_or(Errno::EBADF)
    }

    fn description(&self, fd: i32) -> Result<Description, Errno> {
        Ok(self.descriptions[self.slot(fd)?.description as usize])
    }
}
