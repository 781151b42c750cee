//! What the socket layer asks of the stack: the mechanics of the calls, without their argument checks.

use super::*;

impl Stack {
    /// A fresh socket. ENFILE at `max_sockets`.
    pub(crate) fn new_socket(&mut self, domain: Domain, flags: SocketFlags) -> Result<SocketId, Errno> {
        let mut flags = flags;
        flags.set(SocketFlags::IPV6, domain == Domain::INET6);
        let options = Arc::clone(&self.default_options);
        self.insert_socket(Kind::Fresh, options, flags).map(id_of)
    }

    /// The entry of a socket that is open. EBADF.
    pub(crate) fn entry(&self, id: SocketId) -> Result<&Socket, Errno> {
        self.sockets.get(key_of(id)).filter(|s| !s.flags.contains(SocketFlags::ORPHAN)).ok_or(Errno::EBADF)
    }

    /// The entry of a socket that is open. EBADF.
    pub(crate) fn entry_mut(&mut self, id: SocketId) -> Result<&mut Socket, Errno> {
        let entry = self.sockets.get_mut(key_of(id));
        entry.filter(|s| !s.flags.contains(SocketFlags::ORPHAN)).ok_or(Errno::EBADF)
    }

    /// The connection of a socket, ended ones included. EBADF, ENOTCONN.
    pub(crate) fn connection(&self, id: SocketId) -> Result<&Connection, Errno> {
        match &self.entry(id)?.kind {
            Kind::Connection(conn) => Ok(conn),
            _ => Err(Errno::ENOTCONN),
        }
    }

    /// Runs `f` on a socket's connection and does all that follows. EBADF, ENOTCONN.
    pub(crate) fn operate<R>(
        &mut self,
        now: Instant,
        id: SocketId,
        f: impl FnOnce(&mut Connection, &mut Cx<'_>) -> (R, Outcome),
    ) -> Result<R, Errno> {
        self.connection(id)?;
        let key = key_of(id);
        let (result, outcome) = self.with_connection(now, key, f).ok_or(Errno::ENOTCONN)?;
        self.settle(now, key, outcome);
        Ok(result)
    }

    /// Gives a fresh socket its local address; port 0 takes any. The caller has checked the arguments.
    /// EINVAL if it has one, EADDRNOTAVAIL if the address is not ours, EADDRINUSE.
    pub(crate) fn bind_socket(&mut self, id: SocketId, local: SocketAddr) -> Result<(), Errno> {
        let socket = self.entry(id)?;
        if socket.binding.is_some() || !matches!(socket.kind, Kind::Fresh) {
            return Err(Errno::EINVAL);
        }
        let ip = local.ip();
        if !ip.is_unspecified() && !socket.options.freebind && !self.routes.is_ours(ip) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let mut binding = Binding {
            addr: ip,
            port: local.port(),
            flags: BindFlags::of(&socket.options),
            device: socket.options.bind_to_device as u16,
        };
        if local.port() == 0 {
            binding = self.ports.bind_any(&self.config, &mut self.rng, binding)?;
        } else {
            binding.flags.insert(BindFlags::EXPLICIT);
            self.ports.bind(&self.config, binding)?;
        }
        self.entry_mut(id)?.binding = Some(binding);
        Ok(())
    }

    /// The wildcard address of a socket's family.
    pub(crate) fn wildcard(&self, id: SocketId) -> Result<IpAddr, Errno> {
        use core::net::{Ipv4Addr, Ipv6Addr};
        let ipv6 = self.entry(id)?.flags.contains(SocketFlags::IPV6);
        Ok(if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() })
    }

    /// Makes a socket a listener (binding it to any port if it has none), or changes a listener's limit.
    /// EINVAL if it is connected, EADDRINUSE if another listener stands against it.
    pub(crate) fn listen_socket(&mut self, id: SocketId, backlog: i32) -> Result<(), Errno> {
        let key = key_of(id);
        match &mut self.entry_mut(id)?.kind {
            Kind::Connection(_) => return Err(Errno::EINVAL),
            Kind::Listener(_) => {
                let Stack { sockets, config, .. } = self;
                if let Some(Kind::Listener(listening)) = sockets.get_mut(key).map(|s| &mut s.kind) {
                    listening.set_backlog(config, backlog);
                }
                return Ok(());
            }
            Kind::Fresh => {}
        }
        let binding = self.entry(id)?.binding;
        if binding.is_none_or(|binding| binding.port == 0) {
            let ip = binding.map_or(self.wildcard(id)?, |binding| binding.addr);
            self.entry_mut(id)?.binding = None;
            self.bind_socket(id, SocketAddr::new(ip, 0))?;
        }
        let Some(binding) = self.entry(id)?.binding else { return Err(Errno::EADDRINUSE) };
        let binding = self.ports.listen(&self.config, key.index, &binding)?;
        let listener = Listener::new(&self.config, backlog);
        let socket = self.entry_mut(id)?;
        socket.binding = Some(binding);
        socket.kind = Kind::Listener(Box::new(listener));
        Ok(())
    }

    /// The oldest established connection of a listener. EINVAL if it is none, EAGAIN if none waits.
    pub(crate) fn accept_socket(&mut self, id: SocketId) -> Result<SocketId, Errno> {
        let Kind::Listener(listening) = &mut self.entry_mut(id)?.kind else { return Err(Errno::EINVAL) };
        let child = listening.pop().ok_or(Errno::EAGAIN)?;
        if let Some(socket) = self.sockets.get_mut(key_of(child)) {
            socket.flags.remove(SocketFlags::IN_ACCEPT_QUEUE);
            if !socket.flags.contains(SocketFlags::EARLY) {
                socket.parent = None;
            }
        }
        Ok(child)
    }

    /// A listener becomes a fresh, bound socket again: who waits is reset, who is half-open forgotten.
    pub(crate) fn unlisten_socket(&mut self, now: Instant, id: SocketId) -> Result<(), Errno> {
        let key = key_of(id);
        let socket = self.entry_mut(id)?;
        let Kind::Listener(mut listening) = core::mem::replace(&mut socket.kind, Kind::Fresh) else {
            return Err(Errno::EINVAL);
        };
        if let Some(binding) = socket.binding {
            let binding = self.ports.unlisten(key.index, &binding);
            self.entry_mut(id)?.binding = Some(binding);
        }
        while let Some(child) = listening.pop() {
            self.kill_child(now, key_of(child));
        }
        while let Some(child) = listening.filtered.pop_front() {
            self.kill_child(now, child);
        }
        for child in listening.parking.iter_mut().flat_map(|parking| parking.take_open()) {
            self.kill_child(now, key_of(child));
        }
        self.leave_parking(key);
        // Only the half-open ones are looked through, and only if this listener has some.
        if listening.half_open > 0 {
            let indices: alloc::vec::Vec<u32> = self.half_open.of_listener(key).collect();
            for index in indices {
                self.remove_half_open(index);
            }
        }
        Ok(())
    }

    /// Active OPEN. The caller has checked the arguments and that the socket is fresh; IPv4-mapped
    /// addresses come as IPv4. ENETUNREACH, ENETDOWN, EADDRNOTAVAIL (no source address, no free port toward
    /// this peer), EADDRINUSE (the tuple exists).
    pub(crate) fn connect_socket(
        &mut self,
        now: Instant,
        id: SocketId,
        remote: SocketAddr,
    ) -> Result<(), Errno> {
        let key = key_of(id);
        let socket = self.entry(id)?;
        if !matches!(socket.kind, Kind::Fresh) {
            return Err(Errno::EISCONN);
        }
        let (held, options) = (socket.binding, Arc::clone(&socket.options));
        let way = self.routes.way(&self.config, remote.ip())?;
        let ip = match held {
            Some(binding) if !binding.addr.is_unspecified() => binding.addr,
            _ => self.routes.source(&self.config, remote.ip())?,
        };
        let (tuple, after, binding) = match held.filter(|binding| binding.port != 0) {
            Some(binding) => {
                let tuple = Tuple { local: SocketAddr::new(ip, binding.port), remote };
                let after = self.claim_tuple(now, &tuple).ok_or(Errno::EADDRNOTAVAIL)?;
                let mut new = Binding { addr: ip, ..binding };
                if binding.addr.is_unspecified() {
                    new.flags.insert(BindFlags::WAS_WILDCARD);
                }
                self.ports.change(&binding, new);
                (tuple, after, new)
            }
            None => self.choose_tuple(now, ip, remote, &options)?,
        };
        let mut iss = self.secrets.iss(now, &tuple);
        if let Some(after) = after.filter(|after| !iss.gt(*after)) {
            iss = after;
        }
        let ts_offset = self.secrets.ts_offset(&tuple);
        let generation = self.routes.generation();
        let Stack { config, rules, stats, trace, rng, spare, sockets, hosts, .. } = &mut *self;
        let mut cx = Cx { now, config, rules, stats, trace, rng, spare, id, pressure: false };
        let mut conn = Connection::open_active(&mut cx, tuple, iss, ts_offset, options, way.path);
        if hosts.is_shy(now, tuple.remote.ip()) {
            conn.be_shy();
        }
        if let Some(socket) = sockets.get_mut(key) {
            socket.kind = Kind::Connection(Box::new(conn));
            socket.binding = Some(binding);
            socket.route_generation = generation;
            socket.link = Link::from(&Ok(way));
        }
        self.enter_demux(key, &tuple);
        self.settle(now, key, Outcome::default());
        Ok(())
    }

    /// RFC 6056: a port for this peer that makes no tuple that is in use.
    fn choose_tuple(
        &mut self,
        now: Instant,
        ip: IpAddr,
        remote: SocketAddr,
        options: &Options,
    ) -> Result<(Tuple, Option<SeqNum>, Binding), Errno> {
        let peer = Tuple { local: SocketAddr::new(ip, 0), remote };
        let peer_key = TupleKey::new(&peer);
        let mut after = None;
        let Stack { ports, config, rng, demux, sockets, time_waits, half_open, hash, .. } = &mut *self;
        let mut taken_over = None;
        let port = ports.choose(config, rng, now, peer_key.as_bytes(), |port| {
            let tuple = Tuple { local: SocketAddr::new(ip, port), remote };
            let key = TupleKey::new(&tuple);
            let hashed = hash.of(key.as_bytes());
            let live = demux.find(hashed, |index| {
                let entry = sockets.key_at(index).and_then(|k| sockets.get(k));
                matches!(entry.map(|s| &s.kind), Some(Kind::Connection(c)) if *c.tuple() == tuple)
            });
            if live.is_some() || half_open.find(hashed, key.as_bytes()).is_some() {
                return false;
            }
            let Some(index) = time_waits.find(hashed, key.as_bytes()) else { return true };
            let reusable = if config.tw_reuse { time_waits.reusable(index, now) } else { None };
            after = reusable;
            taken_over = reusable.map(|_| index);
            reusable.is_some()
        })?;
        if let Some(index) = taken_over {
            self.end_time_wait(index);
            self.stats.tw_recycled += 1;
        }
        let flags = BindFlags::of(options) | BindFlags::AUTO;
        let binding = Binding { addr: ip, port, flags, device: options.bind_to_device as u16 };
        self.ports.hold(binding);
        Ok((Tuple { local: SocketAddr::new(ip, port), remote }, after, binding))
    }

    /// Whether a tuple is free for an active open, and what its ISS must be after; `None` if it is not.
    fn claim_tuple(&mut self, now: Instant, tuple: &Tuple) -> Option<Option<SeqNum>> {
        let key = TupleKey::new(tuple);
        let hash = self.hash.of(key.as_bytes());
        let taken = self.find_connection(hash, tuple).is_some()
            || self.half_open.find(hash, key.as_bytes()).is_some();
        if taken {
            return None;
        }
        let Some(index) = self.time_waits.find(hash, key.as_bytes()) else { return Some(None) };
        let after = if self.config.tw_reuse { self.time_waits.reusable(index, now) } else { None };
        after?;
        self.end_time_wait(index);
        self.stats.tw_recycled += 1;
        Some(after)
    }

    /// Ends a socket's use. A live connection goes on as an orphan until it is done; too many orphans
    /// (`tcp_max_orphans`) are reset at once. EBADF.
    pub(crate) fn close_socket(&mut self, now: Instant, id: SocketId) -> Result<(), Errno> {
        self.end_use(now, id, false)
    }

    /// Ends a socket's use with a RST (RFC 9293 3.10.5). EBADF.
    pub(crate) fn abort_socket(&mut self, now: Instant, id: SocketId) -> Result<(), Errno> {
        self.end_use(now, id, true)
    }

    /// Resets a connection that was closed and has not ended yet. EBADF if there is none of that name.
    pub fn abort_orphan(&mut self, now: Instant, id: SocketId) -> Result<(), Errno> {
        let key = key_of(id);
        let orphan = self.sockets.get(key).is_some_and(|s| s.flags.contains(SocketFlags::ORPHAN));
        let outcome = if orphan { self.with_connection(now, key, |conn, cx| conn.abort(cx)) } else { None };
        self.settle(now, key, outcome.ok_or(Errno::EBADF)?);
        Ok(())
    }

    fn end_use(&mut self, now: Instant, id: SocketId, abort: bool) -> Result<(), Errno> {
        let key = key_of(id);
        match &self.entry(id)?.kind {
            Kind::Fresh => {
                self.remove_socket(key);
                return Ok(());
            }
            Kind::Listener(_) => {
                self.unlisten_socket(now, id)?;
                self.remove_socket(key);
                return Ok(());
            }
            Kind::Connection(_) => {}
        }
        let live = self.entry(id)?.flags.contains(SocketFlags::IN_DEMUX);
        if !live {
            self.remove_socket(key);
            return Ok(());
        }
        let crowded = self.orphans >= self.config.max_orphans;
        if crowded && !abort {
            self.stats.tcp_abort_on_memory += 1;
        }
        self.orphans += 1;
        let socket = self.entry_mut(id)?;
        socket.flags.insert(SocketFlags::ORPHAN);
        if !socket.interest.is_empty() {
            socket.interest = Ready::NVAL;
            self.raise(key, Ready::NVAL);
        }
        let end = |conn: &mut Connection, cx: &mut Cx<'_>| {
            if abort || crowded { conn.abort(cx) } else { conn.close(cx) }
        };
        if let Some(outcome) = self.with_connection(now, key, end) {
            self.settle(now, key, outcome);
        }
        Ok(())
    }

    /// A connection's socket becomes a fresh one (`connect` with AF_UNSPEC, or again after a failure): a live
    /// connection is reset. A port that the user named is kept.
    pub(crate) fn disconnect_socket(&mut self, now: Instant, id: SocketId) -> Result<(), Errno> {
        let key = key_of(id);
        if self.entry(id)?.flags.contains(SocketFlags::IN_DEMUX) {
            self.operate(now, id, |conn, cx| ((), conn.abort(cx)))?;
        }
        if matches!(self.entry(id)?.kind, Kind::Listener(_)) {
            self.unlisten_socket(now, id)?;
        }
        self.wheel.cancel(key.index);
        let socket = self.entry_mut(id)?;
        socket.kind = Kind::Fresh;
        socket.flags.remove(SocketFlags::CONNECT_REPORTED | SocketFlags::SHUT_RD | SocketFlags::SHUT_WR);
        if let Some(binding) = socket.binding {
            if binding.flags.contains(BindFlags::EXPLICIT) {
                return self.restore_wildcard(id);
            }
            socket.binding = None;
            self.ports.release(&binding);
        }
        Ok(())
    }

    /// A socket that was bound to a wildcard is so again.
    fn restore_wildcard(&mut self, id: SocketId) -> Result<(), Errno> {
        let addr = self.wildcard(id)?;
        let socket = self.entry_mut(id)?;
        let Some(old) = socket.binding.filter(|b| b.flags.contains(BindFlags::WAS_WILDCARD)) else {
            return Ok(());
        };
        let new = Binding { addr, flags: old.flags - BindFlags::WAS_WILDCARD, ..old };
        socket.binding = Some(new);
        self.ports.change(&old, new);
        Ok(())
    }

    /// Gives a socket other options; its connection and its port follow.
    pub(crate) fn replace_options(&mut self, now: Instant, key: Key, options: Arc<Options>) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        socket.options = Arc::clone(&options);
        self.saves_syns |= options.save_syn;
        self.signs |= options.md5.is_some();
        if let Some(old) = socket.binding {
            let mask = BindFlags::REUSEADDR | BindFlags::REUSEPORT;
            let flags = (old.flags - mask) | (BindFlags::of(&options) & mask);
            if flags != old.flags && !old.flags.contains(BindFlags::LISTENING) {
                let new = Binding { flags, ..old };
                socket.binding = Some(new);
                self.ports.change(&old, new);
            }
        }
        let changed = self.with_connection(now, key, |conn, cx| conn.set_options(cx, options));
        if changed.is_some() {
            self.settle(now, key, Outcome::default());
        }
    }

    /// The headers of the SYN that opened a connection, once (TCP_SAVED_SYN); empty if there are none. EBADF.
    pub(crate) fn take_saved_syn(&mut self, id: SocketId) -> Result<Box<[u8]>, Errno> {
        self.entry(id)?;
        Ok(self.saved_syns.remove(&id.index).unwrap_or_default())
    }

    /// How long they are.
    pub(crate) fn saved_syn_len(&self, id: SocketId) -> usize {
        self.saved_syns.get(&id.index).map_or(0, |saved| saved.len())
    }

    /// Which readiness makes events. What holds already is reported at once.
    pub fn set_interest(&mut self, id: SocketId, interest: Ready) {
        let key = key_of(id);
        let Some(socket) = self.sockets.get_mut(key) else { return };
        socket.interest = interest;
        let level = self.level(key);
        self.raise(key, level);
    }

    /// The readiness that holds now.
    pub(crate) fn level(&self, key: Key) -> Ready {
        let socket = self.sockets.get(key);
        match socket.map(|socket| &socket.kind) {
            Some(Kind::Connection(conn)) => match socket {
                // Closed: HUP says that the FIN is acknowledged, which SO_LINGER waits for.
                Some(orphan) if orphan.flags.contains(SocketFlags::ORPHAN) => {
                    if orphan.is_closing() {
                        Ready::empty()
                    } else {
                        Ready::HUP
                    }
                }
                // Under memory pressure the buffer takes no more than the least; ACKs raise OUT again.
                _ if self.memory.is_short(&self.config)
                    && !conn.fin_queued()
                    && conn.state().can_send()
                    && conn.send_queue().0 >= self.config.wmem[0] =>
                {
                    conn.readiness() - Ready::OUT
                }
                _ => conn.readiness(),
            },
            Some(Kind::Listener(listening)) if listening.queued() > 0 => Ready::IN,
            Some(Kind::Listener(_)) => Ready::empty(),
            Some(Kind::Fresh) => Ready::OUT | Ready::HUP,
            None => Ready::NVAL,
        }
    }
}
