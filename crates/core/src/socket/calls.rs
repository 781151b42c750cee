//! Making, naming, opening and ending sockets: `socket`, `bind`, `listen`, `accept`, `connect`, `shutdown`,
//! `close`, and the names of both ends.
//!
//! Linux keeps two states of a socket: TCP's, and how far `connect` has told its result. Here the second is
//! one flag of a connection's socket, CONNECT_REPORTED; without it `connect` is still asked for the result.

use core::net::{IpAddr, SocketAddr};

use crate::Errno;
use crate::config::{Kept, Options, Profile};
use crate::socket::{Domain, How, Protocol, SocketId, SocketType, addr};
use crate::stack::{Kind, Socket, SocketFlags, Stack, key_of};
use crate::tcp::{Connection, State};
use crate::time::Instant;

/// SOCK_MAX: numbers from here on are no types.
const SOCK_MAX: i32 = 11;
/// IPPROTO_MAX: numbers from here on are no protocols.
const IPPROTO_MAX: i32 = 263;

impl Socket {
    /// AF_INET or AF_INET6.
    pub(super) fn domain(&self) -> Domain {
        if self.flags.contains(SocketFlags::IPV6) { Domain::INET6 } else { Domain::INET }
    }

    /// Its connection, an ended one included.
    pub(super) fn connection(&self) -> Option<&Connection> {
        match &self.kind {
            Kind::Connection(conn) => Some(conn),
            _ => None,
        }
    }

    /// TCP's state.
    pub(super) fn state(&self) -> State {
        match &self.kind {
            Kind::Fresh => State::Closed,
            Kind::Listener(_) => State::Listen,
            Kind::Connection(conn) => conn.state(),
        }
    }
}

impl Stack {
    /// An unbound, unconnected socket. The flags of the type are the caller's business (descriptors have them).
    ///
    /// EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT (a type that is not here), EPROTOTYPE (a protocol of another
    /// type; EPROTONOSUPPORT under the Linux profile), EINVAL (no such type, flag or protocol), ENFILE at
    /// `max_sockets`.
    pub fn socket(
        &mut self,
        domain: Domain,
        kind: SocketType,
        protocol: Protocol,
    ) -> Result<SocketId, Errno> {
        if !matches!(domain, Domain::INET | Domain::INET6) {
            return Err(Errno::EAFNOSUPPORT);
        }
        if !(1..SOCK_MAX).contains(&kind.base().0) || !(0..IPPROTO_MAX).contains(&protocol.0) {
            return Err(Errno::EINVAL);
        }
        match (kind.base(), protocol) {
            (SocketType::STREAM, Protocol::DEFAULT | Protocol::TCP) => {}
            (SocketType::STREAM, _) => return Err(Errno::EPROTONOSUPPORT),
            (_, Protocol::TCP) if self.config.profile == Profile::Linux => {
                return Err(Errno::EPROTONOSUPPORT);
            }
            (_, Protocol::TCP) => return Err(Errno::EPROTOTYPE),
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        }
        self.new_socket(domain, SocketFlags::empty())
    }

    /// Gives a socket its local address; port 0 is any free one (posix-bind-d).
    ///
    /// EAFNOSUPPORT, EINVAL (bound before, or not fresh), EADDRNOTAVAIL (not our address), EACCES (a privileged port),
    /// EADDRINUSE.
    pub fn bind(&mut self, id: SocketId, local: SocketAddr) -> Result<(), Errno> {
        let socket = self.entry(id)?;
        let (domain, options) = (socket.domain(), &socket.options);
        let address = addr::to_bind(domain, options, local)?;
        let device = addr::scope(&address, options.bind_to_device)?;
        let ip = address.ip();
        let foreign = options.freebind || options.kept.contains(Kept::TRANSPARENT);
        if !ip.is_unspecified() && !foreign && !self.routes.is_ours(ip) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let is_protected = (1..self.config.unprivileged_port_start).contains(&address.port());
        if is_protected && !self.config.privileged {
            return Err(Errno::EACCES);
        }
        if socket.binding.is_some() || !matches!(socket.kind, Kind::Fresh) {
            return Err(Errno::EINVAL);
        }
        let is_postponed = address.port() == 0 && options.kept.contains(Kept::BIND_ADDRESS_NO_PORT);
        self.bind_to_scope(id, device)?;
        // A scope id is the interface's business; the connection knows addresses alone.
        let address = SocketAddr::new(ip, address.port());
        if is_postponed { self.bind_address(id, ip) } else { self.bind_socket(id, address) }
    }

    /// Makes a socket a listener; a second time, changes how many connections may wait (posix-listen-a).
    /// An unbound one gets any free port (posix-listen-b).
    ///
    /// EINVAL if it is connected or connecting, EADDRINUSE if another listener has the address.
    pub fn listen(&mut self, now: Instant, id: SocketId, backlog: i32) -> Result<(), Errno> {
        self.now = now;
        self.listen_socket(id, backlog)
    }

    /// The oldest established connection of a listener, and its peer. It has the listener's options.
    ///
    /// One that was reset meanwhile comes with its error pending, as on Linux (posix-accept-c). EAGAIN if none waits,
    /// EINVAL if the socket does not listen.
    pub fn accept(&mut self, now: Instant, id: SocketId) -> Result<(SocketId, SocketAddr), Errno> {
        self.now = now;
        let domain = self.entry(id)?.domain();
        let child = self.accept_socket(id)?;
        let socket = self.entry_mut(child)?;
        socket.flags.insert(SocketFlags::CONNECT_REPORTED);
        socket.flags.set(SocketFlags::IPV6, domain == Domain::INET6);
        let peer = socket.connection().map(|conn| conn.tuple().remote).ok_or(Errno::ECONNABORTED)?;
        Ok((child, addr::to_user(domain, peer, socket.options.bind_to_device)))
    }

    /// Opens a connection in the background: EINPROGRESS, EALREADY while it is under way, 0 once when it is
    /// established, EISCONN from then on; if it failed, why, once, and the socket is fresh again (posix-connect-g).
    ///
    /// Before that EAFNOSUPPORT, EINVAL, ENETUNREACH (no route, or no single host is meant), ENETDOWN, EADDRNOTAVAIL
    /// (no source address, no free port toward this peer, or the tuple is in use).
    pub fn connect(&mut self, now: Instant, id: SocketId, remote: SocketAddr) -> Result<(), Errno> {
        self.now = now;
        let socket = self.entry(id)?;
        match socket.kind {
            Kind::Listener(_) => return Err(Errno::EISCONN),
            Kind::Connection(_) if socket.flags.contains(SocketFlags::CONNECT_REPORTED) => {
                return Err(Errno::EISCONN);
            }
            Kind::Connection(_) => return self.connect_result(now, id),
            Kind::Fresh => {}
        }
        if socket.options.fastopen_connect {
            return self.connect_fast(now, id, remote);
        }
        let remote = self.prepare_connect(now, id, remote)?;
        self.connect_socket(now, id, remote)?;
        Err(Errno::EINPROGRESS)
    }

    /// The checks of `connect` on a fresh socket; returns the peer's address without its scope.
    pub(super) fn prepare_connect(
        &mut self,
        now: Instant,
        id: SocketId,
        remote: SocketAddr,
    ) -> Result<SocketAddr, Errno> {
        self.now = now;
        let socket = self.entry(id)?;
        let options = &socket.options;
        let local = socket.binding.map(|binding| binding.addr);
        let remote = addr::to_connect(socket.domain(), options, local, remote)?;
        let device = addr::scope(&remote, options.bind_to_device)?;
        // RFC 1122 4.2.3.14, MUST-46: the directed broadcast of one of our networks is no host either.
        if self.routes.is_group(remote.ip()) {
            return Err(Errno::ENETUNREACH);
        }
        // RFC 1122 3.2.1.3 (g): a loopback source never leaves the host.
        if local.is_some_and(|local| local.is_loopback()) && !self.routes.is_ours(remote.ip()) {
            return Err(Errno::EINVAL);
        }
        self.bind_to_scope(id, device)?;
        Ok(SocketAddr::new(remote.ip(), remote.port()))
    }

    /// How the attempt that is under way ended: EALREADY if it has not. Never starts one.
    pub(super) fn connect_result(&mut self, now: Instant, id: SocketId) -> Result<(), Errno> {
        let socket = self.entry_mut(id)?;
        let Kind::Connection(conn) = &mut socket.kind else {
            return Err(Errno::ECONNRESET); // taken back meanwhile, by `shutdown` or `disconnect`
        };
        if socket.flags.contains(SocketFlags::CONNECT_REPORTED) {
            return Ok(()); // told to another caller
        }
        match conn.state() {
            State::SynSent | State::SynReceived => Err(Errno::EALREADY),
            State::Closed => {
                let error = conn.take_error().unwrap_or(Errno::ECONNABORTED);
                self.disconnect_socket(now, id)?;
                Err(error)
            }
            _ => {
                socket.flags.insert(SocketFlags::CONNECT_REPORTED);
                Ok(())
            }
        }
    }

    /// `connect` to AF_UNSPEC: the socket is fresh again, a live connection is reset, a listener stops. A port
    /// that `bind` named is kept.
    pub fn disconnect(&mut self, now: Instant, id: SocketId) -> Result<(), Errno> {
        match self.entry(id)?.kind {
            Kind::Fresh => Ok(()),
            Kind::Listener(_) => self.unlisten_socket(now, id),
            Kind::Connection(_) => self.disconnect_socket(now, id),
        }
    }

    /// Ends a direction. SHUT_WR sends what is queued, then a FIN (posix-shutdown-a); SHUT_RD sends nothing: what is there
    /// is still read, what comes is acknowledged, then 0 (posix-shutdown-b). On a listener SHUT_RD stops it, in
    /// SYN-SENT either takes the attempt back, as on Linux.
    ///
    /// ENOTCONN without a connection or after its end.
    pub fn shutdown(&mut self, now: Instant, id: SocketId, how: How) -> Result<(), Errno> {
        let socket = self.entry(id)?;
        match &socket.kind {
            Kind::Fresh => return Err(Errno::ENOTCONN),
            Kind::Listener(_) if how.read() => self.unlisten_socket(now, id)?,
            Kind::Listener(_) => {}
            Kind::Connection(conn) => match conn.state() {
                State::Closed | State::TimeWait => return Err(Errno::ENOTCONN),
                State::SynSent => self.disconnect_socket(now, id)?,
                _ => self.operate(now, id, |conn, cx| {
                    if how.read() {
                        conn.shutdown_read(cx);
                    }
                    let outcome = if how.write() { conn.shutdown_write(cx) } else { Default::default() };
                    ((), outcome)
                })?,
            },
        }
        let key = key_of(id);
        self.raise(key, self.level(key)); // whoever waits sees it
        Ok(())
    }

    /// Closes a socket: the name is dead. Data that is queued goes out in the background (posix-close-a); data that was
    /// received and not read, or SO_LINGER with no time, means a RST (SHLD-3, posix-linger-a). A listener resets
    /// who waits in its queue.
    pub fn close(&mut self, now: Instant, id: SocketId) -> Result<(), Errno> {
        let socket = self.entry(id)?;
        let unread = socket.connection().is_some_and(|conn| conn.readable() > 0);
        if socket.options.linger.is_some_and(|time| time.is_zero()) && !unread {
            return self.abort(now, id);
        }
        self.close_socket(now, id)
    }

    /// Closes a socket with a RST (RFC 9293 3.10.5): nothing more is sent, nothing stays.
    pub fn abort(&mut self, now: Instant, id: SocketId) -> Result<(), Errno> {
        self.abort_socket(now, id)
    }

    /// Whether a closed socket's data or FIN is still unacknowledged: what SO_LINGER waits for. False for every
    /// other name.
    pub fn is_lingering(&self, id: SocketId) -> bool {
        let socket = self.sockets.get(key_of(id));
        socket.is_some_and(|socket| socket.flags.contains(SocketFlags::ORPHAN) && socket.is_closing())
    }

    /// The local name; the wildcard address and port 0 if there is none.
    pub fn getsockname(&self, id: SocketId) -> Result<SocketAddr, Errno> {
        let socket = self.entry(id)?;
        let domain = socket.domain();
        let local = match (&socket.kind, &socket.binding) {
            (Kind::Connection(conn), _) => conn.tuple().local,
            (_, Some(binding)) => SocketAddr::new(binding.addr, binding.port),
            (_, None) => return Ok(addr::wildcard(domain)),
        };
        Ok(addr::to_user(domain, local, socket.options.bind_to_device))
    }

    /// The peer's name. ENOTCONN before the handshake is done and after the end (posix-getname-a).
    pub fn getpeername(&self, id: SocketId) -> Result<SocketAddr, Errno> {
        let socket = self.entry(id)?;
        match socket.connection() {
            Some(conn) if !matches!(conn.state(), State::Closed | State::SynSent | State::TimeWait) => {
                Ok(addr::to_user(socket.domain(), conn.tuple().remote, socket.options.bind_to_device))
            }
            _ => Err(Errno::ENOTCONN),
        }
    }

    /// Traffic class of the last segment received (MAY-9): DSCP in the upper six bits, ECN in the lower two.
    /// ENOTCONN without a connection.
    pub fn received_tos(&self, id: SocketId) -> Result<u8, Errno> {
        Ok(self.connection(id)?.received_tos())
    }

    /// Why the network could not deliver lately, if an ICMP error said so (MUST-47, SHLD-25); the connection goes on,
    /// and progress clears it. ENOTCONN without a connection.
    pub fn soft_error(&self, id: SocketId) -> Result<Option<Errno>, Errno> {
        Ok(self.connection(id)?.soft_error())
    }

    /// Binds to an address and leaves the port to `connect` (IP_BIND_ADDRESS_NO_PORT).
    fn bind_address(&mut self, id: SocketId, ip: IpAddr) -> Result<(), Errno> {
        let socket = self.entry_mut(id)?;
        let flags = crate::stack::BindFlags::of(&socket.options);
        let device = socket.options.bind_to_device as u16;
        socket.binding = Some(crate::stack::Binding { addr: ip, port: 0, flags, device });
        Ok(())
    }

    /// The scope of a link-local address ties the socket to that interface, as Linux does. ENODEV if there is none.
    fn bind_to_scope(&mut self, id: SocketId, device: Option<u32>) -> Result<(), Errno> {
        let Some(device) = device else { return Ok(()) };
        if !self.has_device(device) {
            return Err(Errno::ENODEV);
        }
        let socket = self.entry_mut(id)?;
        if socket.options.bind_to_device != device {
            let options = Options { bind_to_device: device, ..Options::clone(&socket.options) };
            socket.options = alloc::sync::Arc::new(options);
        }
        Ok(())
    }
}
