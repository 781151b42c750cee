//! Connecting and sending in one (RFC 7413 A.1): MSG_FASTOPEN, TCP_FASTOPEN_CONNECT, as Linux has them.

use core::net::SocketAddr;

use crate::Errno;
use crate::config::FastOpenBits;
use crate::socket::data::note_write;
use crate::socket::{MsgFlags, SocketId};
use crate::stack::{Kind, Stack, key_of};
use crate::tcp::{Outcome, State};
use crate::time::Instant;

impl Stack {
    /// [`Stack::sendmsg`] to a peer. With MSG_FASTOPEN on a fresh socket it connects, and what the SYN takes of
    /// `data` goes along: how much that is. Without a cookie the SYN asks for one, nothing of `data` is
    /// taken, and it is EINPROGRESS. On a connected socket the address means nothing.
    ///
    /// With MSG_FASTOPEN: EOPNOTSUPP where `tcp_fastopen` has no client, EINVAL without an address, EALREADY while an
    /// attempt is under way, EISCONN after it and on a listener; then the errors of [`Stack::connect`].
    pub fn sendto(
        &mut self,
        now: Instant,
        id: SocketId,
        data: &[&[u8]],
        flags: MsgFlags,
        to: Option<SocketAddr>,
    ) -> Result<usize, Errno> {
        self.send_fast(now, id, data, 0, flags, to).unwrap_or_else(|| {
            let flags = flags - MsgFlags::FASTOPEN;
            self.send_from(now, id, data, 0, flags)
        })
    }

    /// What a send call means for a connection that is not open yet; `None` if it is an ordinary one.
    pub(super) fn send_fast(
        &mut self,
        now: Instant,
        id: SocketId,
        data: &[&[u8]],
        skip: usize,
        flags: MsgFlags,
        to: Option<SocketAddr>,
    ) -> Option<Result<usize, Errno>> {
        let asked = flags.contains(MsgFlags::FASTOPEN);
        let socket = match self.entry(id) {
            Ok(socket) => socket,
            Err(error) => return Some(Err(error)),
        };
        let deferred = socket.connection().is_some_and(|conn| conn.is_deferred());
        if !asked && !deferred {
            return None;
        }
        let open = match &socket.kind {
            _ if asked && !self.config().fastopen.contains(FastOpenBits::CLIENT) => Err(Errno::EOPNOTSUPP),
            _ if !MsgFlags::all().contains(flags) => Err(Errno::EOPNOTSUPP),
            Kind::Fresh => to.ok_or(Errno::EINVAL).and_then(|to| self.open_fast(now, id, to, true)),
            Kind::Connection(_) if deferred => Ok(()),
            Kind::Connection(conn) if matches!(conn.state(), State::SynSent | State::SynReceived) => {
                Err(Errno::EALREADY)
            }
            _ => Err(Errno::EISCONN),
        };
        Some(open.and_then(|()| self.fill_syn(now, id, data, skip, flags)))
    }

    /// The SYN of a connection that has just been made, with what it takes of the data.
    fn fill_syn(
        &mut self,
        now: Instant,
        id: SocketId,
        data: &[&[u8]],
        mut skip: usize,
        flags: MsgFlags,
    ) -> Result<usize, Errno> {
        let sent = self.with_connection(now, key_of(id), |conn, cx| {
            let mut room = conn.syn_room();
            let mut sent = 0;
            for slice in data {
                let from = skip.min(slice.len());
                skip -= from;
                let rest = &slice[from..];
                let written = conn.write(cx, &rest[..rest.len().min(room)]);
                room -= written;
                sent += written;
                if written < rest.len() {
                    break;
                }
            }
            note_write(conn, flags, sent, false);
            if conn.is_deferred() {
                conn.start_deferred();
            }
            sent
        });
        self.settle(now, key_of(id), Outcome::default());
        match sent {
            Some(sent) if sent > 0 => Ok(sent),
            _ => Err(Errno::EINPROGRESS),
        }
    }

    /// TCP_FASTOPEN_CONNECT's `connect`: with a cookie the SYN waits for the first data and the call succeeds at
    /// once; without one it asks for it.
    pub(super) fn connect_fast(
        &mut self,
        now: Instant,
        id: SocketId,
        remote: SocketAddr,
    ) -> Result<(), Errno> {
        self.open_fast(now, id, remote, false)?;
        if self.entry(id)?.connection().is_some_and(|conn| conn.is_deferred()) {
            return Ok(());
        }
        Err(Errno::EINPROGRESS)
    }

    /// Makes the connection, its SYN as the server is known.
    fn open_fast(
        &mut self,
        now: Instant,
        id: SocketId,
        remote: SocketAddr,
        has_data: bool,
    ) -> Result<(), Errno> {
        let remote = self.prepare_connect(now, id, remote)?;
        let options = alloc::sync::Arc::clone(&self.entry(id)?.options);
        let plan = self.plan_fast_open(remote.ip(), &options);
        self.connect_socket(now, id, remote)?;
        let Some(plan) = plan else { return Ok(()) };
        let deferred = !has_data && plan.carries_data();
        self.with_connection(now, key_of(id), |conn, _| conn.plan_fast_open(plan, deferred));
        if deferred {
            let socket = self.entry_mut(id)?;
            socket.flags.insert(crate::stack::SocketFlags::CONNECT_REPORTED);
            let key = key_of(id);
            self.raise(key, self.level(key));
        }
        Ok(())
    }
}
