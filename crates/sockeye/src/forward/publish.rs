//! Ports of the host that lead into the stack.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use sockeye_core::socket::{Domain, Protocol, SockOpt, SocketType as StackType};
use sockeye_core::stack::Stack;
use sockeye_core::stack::slab::Key;
use sockeye_core::{Errno, Instant, SocketId};

use super::canonical;
use super::connection::{Connection, Opening};
use super::record::{Direction, add};
use super::shared::{Entry, Shared, is_shortage};

/// Connections taken from one port before others have their turn.
const TURN: usize = 64;

/// A port of the host whose connections are opened in the stack.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Where the host's kernel listens; port 0 is any free one. `[::]` takes IPv4 as well.
    pub listen: SocketAddr,
    /// Where to in the stack: the first one of the peer's family, else the first one.
    pub to: Vec<SocketAddr>,
    /// From whom connections seem to come whose own address the stack cannot answer: loopback, one of the
    /// stack's own, or one of another family than the destination. The first one of the destination's family.
    pub stand_ins: Vec<IpAddr>,
}

/// A published port. Dropped, the port is closed; its connections go on.
pub struct Published {
    shared: Weak<Shared>,
    key: Key,
    local: SocketAddr,
}

/// A listening socket of the host.
pub(super) struct Door {
    key: Key,
    fd: OwnedFd,
    publish: Publish,
    paused: AtomicBool,
}

/// Listens.
pub(super) fn open(shared: &Arc<Shared>, publish: Publish) -> io::Result<Published> {
    let explain = |error: rustix::io::Errno| explain(publish.listen, error);
    if publish.to.is_empty() {
        let text = format!("port {} cannot be published: no address in the stack is given", publish.listen);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let fd = listen(publish.listen).map_err(explain)?;
    let local = rustix::net::getsockname(&fd).and_then(SocketAddr::try_from).map_err(explain)?;
    let door = shared.enter(
        |key| Arc::new(Door { key, fd, publish: publish.clone(), paused: AtomicBool::new(false) }),
        Entry::Door,
    );
    if let Err(error) = shared.watch(&door.fd, door.key, EventFlags::IN) {
        shared.leave(door.key);
        return Err(error);
    }
    Ok(Published { shared: Arc::downgrade(shared), key: door.key, local })
}

fn listen(address: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, !address.ip().is_unspecified())?;
    }
    rustix::net::bind(&fd, &address)?;
    rustix::net::listen(&fd, 4_096)?;
    Ok(fd)
}

/// What a person is told.
fn explain(address: SocketAddr, error: rustix::io::Errno) -> io::Error {
    use rustix::io::Errno;
    let why = match error {
        Errno::ADDRINUSE => "another program listens there; choose another port".into(),
        Errno::ACCESS => format!(
            "ports below {} need a privilege; choose a higher one",
            std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
                .map_or_else(|_| "1024".into(), |text| text.trim().to_owned())
        ),
        Errno::ADDRNOTAVAIL => "it is no address of this host".into(),
        Errno::AFNOSUPPORT => "this host has no IPv6".into(),
        error if is_shortage(error) => {
            "no file descriptors are left; raise the limit with `ulimit -n`".into()
        }
        error => io::Error::from(error).to_string(),
    };
    io::Error::new(io::Error::from(error).kind(), format!("port {address} cannot be published: {why}"))
}

impl Published {
    /// Where the host's kernel listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.leave(self.key);
        }
    }
}

impl Door {
    /// Takes the connections that wait.
    pub(super) fn admit(&self, shared: &Arc<Shared>) {
        for _ in 0..TURN {
            if shared.inward_now.load(Ordering::Acquire) >= u64::from(shared.rules.max_connections) {
                return self.pause(shared);
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::acceptfrom_with(&self.fd, flags) {
                Ok((far, Some(peer))) => match SocketAddr::try_from(peer) {
                    Ok(peer) => self.admit_one(shared, far, canonical(peer)),
                    Err(_) => continue,
                },
                Ok((_, None)) => continue,
                Err(rustix::io::Errno::AGAIN) => return,
                Err(error) if is_shortage(error) => {
                    if !self.somebody_waits() {
                        return;
                    }
                    shared.lacks_descriptors();
                    return self.pause(shared);
                }
                // It was reset while it waited, or its network is in trouble (accept(2)).
                Err(_) => continue,
            }
        }
        shared.turn_again();
    }

    /// The kernel looks for a descriptor before it looks for a connection.
    fn somebody_waits(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        let ready = rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        ready.is_ok_and(|ready| ready > 0)
    }

    fn admit_one(&self, shared: &Arc<Shared>, far: OwnedFd, peer: SocketAddr) {
        add(&shared.counters.inward, 1);
        let here = rustix::net::getsockname(&far).and_then(SocketAddr::try_from);
        let mut opening = Opening::new(Direction::Inward, peer, here.map_or(self.publish.listen, canonical));
        let of_family = |ip: &SocketAddr| ip.is_ipv4() == peer.is_ipv4();
        let to = &self.publish.to;
        let destination = to.iter().copied().find(of_family).unwrap_or(to[0]);
        opening.target = Some(destination);
        // The kernel's own Nagle would wait for what was said in one piece.
        let _ = sockopt::set_tcp_nodelay(&far, true);
        let _ = sockopt::set_socket_oobinline(&far, true);
        let near = shared.host.with_stack(|stack, now| self.connect(stack, now, peer, destination));
        shared.inward_now.fetch_add(1, Ordering::AcqRel);
        let connection = shared.enter(
            |key| Arc::new(Connection::inward(shared, key, opening, far, near.ok())),
            Entry::Connection,
        );
        match near {
            Ok(_) if connection.watch_far(shared).is_ok() => connection.run(),
            Ok(_) => connection.fail(Errno::ENOMEM),
            Err(error) => connection.fail(error),
        }
    }

    /// Opens the connection in the stack, from the peer's own address and port if that can be.
    fn connect(
        &self,
        stack: &mut Stack,
        now: Instant,
        peer: SocketAddr,
        destination: SocketAddr,
    ) -> Result<SocketId, Errno> {
        let ours = stack.interfaces().any(|(_, i)| i.addresses.iter().any(|a| a.address == peer.ip()));
        let fits = peer.is_ipv4() == destination.is_ipv4() && !peer.ip().is_loopback() && !ours;
        let fits = fits && self.publish.to.iter().all(|to| to.ip() != peer.ip());
        let stand_in =
            self.publish.stand_ins.iter().copied().find(|ip| ip.is_ipv4() == destination.is_ipv4());
        let source = match (fits, stand_in) {
            (true, _) => peer,
            (false, Some(ip)) => SocketAddr::new(ip, peer.port()),
            (false, None) => return Err(Errno::EADDRNOTAVAIL),
        };
        let any_port = SocketAddr::new(source.ip(), 0);
        match connect_from(stack, now, source, destination) {
            // The tuple is in use still, by an earlier connection of the same peer.
            Err(Errno::EADDRINUSE | Errno::EADDRNOTAVAIL) => connect_from(stack, now, any_port, destination),
            result => result,
        }
    }

    fn pause(&self, shared: &Shared) {
        if !self.paused.swap(true, Ordering::AcqRel)
            && shared.watch_again(&self.fd, self.key, EventFlags::empty()).is_ok()
        {
            shared.rest();
        }
    }

    /// Goes on after a pause.
    pub(super) fn resume(&self, shared: &Shared) {
        if self.paused.swap(false, Ordering::AcqRel) {
            shared.paused.fetch_sub(1, Ordering::AcqRel);
            // Level-triggered: if there is still no descriptor it pauses again.
            let _ = shared.watch_again(&self.fd, self.key, EventFlags::IN);
        }
    }

    /// Stops listening, though the thread may still be at it.
    pub(super) fn close(&self) {
        // Of a listening socket it refuses who comes from here on; it cannot fail.
        let _ = rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Read);
    }

    /// Whether it waits for a descriptor.
    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }
}

fn connect_from(
    stack: &mut Stack,
    now: Instant,
    source: SocketAddr,
    destination: SocketAddr,
) -> Result<SocketId, Errno> {
    let domain = if destination.is_ipv4() { Domain::INET } else { Domain::INET6 };
    let id = stack.socket(domain, StackType::STREAM, Protocol::TCP)?;
    let options =
        [SockOpt::FreeBind(true), SockOpt::ReuseAddr(true), SockOpt::NoDelay(true), SockOpt::OobInline(true)];
    let opened = options
        .iter()
        .try_for_each(|option| stack.setsockopt(now, id, option))
        .and_then(|()| stack.bind(id, source))
        .and_then(|()| stack.connect(now, id, destination));
    match opened {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(id),
        Err(error) => {
            stack.close(now, id)?;
            Err(error)
        }
    }
}
