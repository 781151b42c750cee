//! Unix sockets that stand for TCP sockets: where ours and the program's end of a connection are joined.
//!
//! Listening sockets have a name, in a folder of its own, for a moment only: it is held open and unlinked, and
//! reached through `/proc/self/fd`. Nobody else can connect to it, and nothing is left behind, whatever ends us.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    listen, recv, send, socket_with, sockopt,
};

/// Connections that may lie between a `connect` of ours and our `accept`, or the program's.
const BACKLOG: i32 = 16;
/// What SO_SNDBUF is set to so that a few bytes fill it; the kernel makes it its least.
const LEAST: usize = 1;
/// A part of a plug: with its overhead it fills the rest of the least buffer in one piece.
const FILLER: [u8; 2_048] = [0; 2_048];

/// Makes the sockets and joins them.
pub(super) struct Door {
    inner: OwnedFd,
    path: OwnedFd,
    /// Of another type than any listener here: to connect to one of those fails in another way than to one that is gone.
    probe: OwnedFd,
    /// SO_SNDBUF of a connected socket.
    sndbuf: usize,
}

/// Bytes of no meaning in our end's queue. While SO_SNDBUF is at its least the program's end is not writable for them.
pub(super) struct Plug {
    bytes: usize,
}

impl Door {
    /// Names are made under the system's folder for temporary files.
    pub(super) fn new() -> io::Result<Door> {
        let inner = new_socket(SocketFlags::NONBLOCK)?;
        let sndbuf = sockopt::socket_send_buffer_size(&inner)?;
        let path = name_socket(&inner)?;
        listen(&inner, BACKLOG)?;
        let probe = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        Ok(Door { inner, path, probe, sndbuf })
    }

    /// A fresh socket as the program gets it. Its send buffer is the least there is: to change it later would wake
    /// those who watch the socket.
    pub(super) fn fresh(&self, nonblocking: bool) -> io::Result<OwnedFd> {
        let fresh = new_socket(if nonblocking { SocketFlags::NONBLOCK } else { SocketFlags::empty() })?;
        sockopt::set_socket_send_buffer_size(&fresh, LEAST)?;
        Ok(fresh)
    }

    /// Connects the program's socket, where it stands, to an end of ours, which is returned. Those who watch the program's
    /// see once that it is writable.
    pub(super) fn join(&self, theirs: &OwnedFd) -> io::Result<OwnedFd> {
        let ours = self.connect(theirs)?;
        self.widen(theirs)?;
        Ok(ours)
    }

    /// [`Door::join`] with a plug: poll does not call the program's end writable until [`Door::unplug`].
    pub(super) fn join_plugged(&self, theirs: &OwnedFd) -> io::Result<(OwnedFd, Plug)> {
        let ours = self.connect(theirs)?;
        let mut bytes = 0;
        // The first byte leaves room for one piece more, after which there is none.
        let mut part: &[u8] = &FILLER[..1];
        loop {
            match send(theirs, part, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => bytes += sent,
                Err(Errno::AGAIN) => return Ok((ours, Plug { bytes })),
                Err(error) => return Err(error.into()),
            }
            part = &FILLER;
        }
    }

    /// Makes the program's end writable, which those who watch it see once; the plug's bytes are left for the bridge
    /// to skip. Without `theirs` they are taken out, and the buffer stays small.
    pub(super) fn unplug(&self, plug: Plug, ours: &OwnedFd, theirs: Option<OwnedFd>) -> io::Result<usize> {
        match theirs {
            Some(theirs) => self.widen(&theirs).map(|()| plug.bytes),
            None => plug.pull(ours).map(|()| 0),
        }
    }

    fn connect(&self, theirs: &OwnedFd) -> io::Result<OwnedFd> {
        connect(theirs, &address_of(&self.path)?)?;
        Ok(accept_with(&self.inner, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?)
    }

    fn widen(&self, theirs: &OwnedFd) -> io::Result<()> {
        // Linux doubles what is set.
        Ok(sockopt::set_socket_send_buffer_size(theirs, self.sndbuf / 2)?)
    }

    /// Makes the program's socket a listening one; what is returned is where to connect to it.
    pub(super) fn open(theirs: &OwnedFd) -> io::Result<OwnedFd> {
        let path = name_socket(theirs)?;
        listen(theirs, BACKLOG)?;
        Ok(path)
    }

    /// Whether somebody has a listening socket of the program's open.
    pub(super) fn is_open(&self, path: &OwnedFd) -> bool {
        let answer = address_of(path).map(|address| connect(&self.probe, &address));
        !matches!(answer, Ok(Err(Errno::CONNREFUSED)))
    }

    /// An end of ours, connected to a listening socket of the program's. ECONNREFUSED if nobody has that open any more.
    pub(super) fn hand_over(path: &OwnedFd) -> io::Result<OwnedFd> {
        let ours = new_socket(SocketFlags::NONBLOCK)?;
        connect(&ours, &address_of(path)?)?;
        Ok(ours)
    }
}

impl Plug {
    fn pull(self, ours: &OwnedFd) -> io::Result<()> {
        let (mut left, mut scratch) = (self.bytes, FILLER);
        while left > 0 {
            let room = left.min(scratch.len());
            let (_, got) = recv(ours, &mut scratch[..room], RecvFlags::DONTWAIT)?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= got;
        }
        Ok(())
    }
}

fn new_socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags | SocketFlags::CLOEXEC, None)?)
}

/// Binds a socket to a name that is gone at once; what is returned still leads to it.
fn name_socket(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(io::Error::other)?;
    let folder = format!("sockeye-run-{}-{:016x}", std::process::id(), u64::from_ne_bytes(number));
    let folder = std::env::temp_dir().join(folder);
    rustix::fs::mkdir(&folder, Mode::RWXU)?;
    let name = folder.join("socket");
    let bound = SocketAddrUnix::new(&name).and_then(|address| bind(socket, &address));
    let path = bound.and_then(|()| rustix::fs::open(&name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()));
    // The first error is what there is to tell.
    let _ = rustix::fs::unlink(&name);
    let _ = rustix::fs::rmdir(&folder);
    Ok(path?)
}

fn address_of(path: &OwnedFd) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}", path.as_fd().as_raw_fd()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    fn events(fd: &OwnedFd) -> PollFlags {
        let mut fds = [PollFd::new(fd, PollFlags::IN | PollFlags::OUT)];
        poll(&mut fds, Some(&rustix::event::Timespec::default())).expect("poll");
        fds[0].revents()
    }

    #[test]
    fn a_plug_holds_writability_back_until_it_is_pulled() {
        let door = Door::new().expect("a door");
        let theirs = door.fresh(true).expect("a socket");
        assert_eq!(events(&theirs), PollFlags::OUT | PollFlags::HUP, "as a TCP socket that is not connected");
        let (ours, plug) = door.join_plugged(&theirs).expect("joined");
        assert_eq!(events(&theirs), PollFlags::empty());
        assert_eq!(send(&theirs, &[1], SendFlags::DONTWAIT), Err(Errno::AGAIN));
        let left = door.unplug(plug, &ours, Some(theirs.try_clone().expect("a duplicate"))).expect("pulled");
        assert_eq!(events(&theirs), PollFlags::OUT);
        assert_eq!(rustix::io::ioctl_fionread(&ours).expect("FIONREAD"), left as u64);
        assert_eq!(sockopt::socket_send_buffer_size(&theirs).expect("SO_SNDBUF"), door.sndbuf);
    }

    #[test]
    fn joining_wakes_once_who_watched_before() {
        use rustix::event::epoll;
        let door = Door::new().expect("a door");
        let theirs = door.fresh(true).expect("a socket");
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
        let flags = epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&watch, &theirs, epoll::EventData::new_u64(1), flags).expect("added");
        let events = || {
            let mut events =
                [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }];
            let n = epoll::wait(&watch, &mut events[..], Some(&rustix::event::Timespec::default()))
                .expect("waited");
            (n > 0).then_some(events[0].flags)
        };
        assert!(events().is_some_and(|flags| flags.contains(epoll::EventFlags::HUP)), "not connected yet");
        let _ours = door.join(&theirs).expect("joined");
        assert_eq!(events(), Some(epoll::EventFlags::OUT));
        assert_eq!(events(), None);
    }

    #[test]
    fn a_plug_is_taken_out_where_the_programs_end_is_not_to_be_had() {
        let door = Door::new().expect("a door");
        let theirs = door.fresh(true).expect("a socket");
        let (ours, plug) = door.join_plugged(&theirs).expect("joined");
        assert_eq!(door.unplug(plug, &ours, None).expect("pulled"), 0);
        assert_eq!(events(&theirs), PollFlags::OUT);
        assert_eq!(events(&ours), PollFlags::OUT, "nothing of the plug is left to read");
    }

    #[test]
    fn an_end_closed_over_a_plug_shows_as_an_error() {
        let door = Door::new().expect("a door");
        let theirs = door.fresh(true).expect("a socket");
        let (ours, _plug) = door.join_plugged(&theirs).expect("joined");
        drop(ours);
        assert!(events(&theirs).contains(PollFlags::ERR | PollFlags::HUP));
    }

    #[test]
    fn names_are_gone_and_lead_there_all_the_same() {
        let door = Door::new().expect("a door");
        let theirs = door.fresh(false).expect("a socket");
        let path = Door::open(&theirs).expect("listening");
        let name = std::fs::read_link(format!("/proc/self/fd/{}", path.as_raw_fd())).expect("a name");
        assert!(name.to_string_lossy().ends_with(" (deleted)"), "{}", name.display());
        assert!(!name.parent().expect("a folder").exists());
        assert!(door.is_open(&path));
        let ours = Door::hand_over(&path).expect("handed over");
        drop(ours);
        drop(theirs);
        assert!(!door.is_open(&path));
        let error = Door::hand_over(&path).expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
