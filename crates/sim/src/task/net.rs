//! A host's sockets as programs see them.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::task::{Context, Poll};

use sockeye_core::socket::op::{AcceptOp, CloseOp, ConnectOp, OpPoll, RecvOp, SendOp};
use sockeye_core::socket::{Domain, How, MsgFlags, Protocol, SockOpt, SocketType};
use sockeye_core::stack::Stack;
use sockeye_core::tcp::TcpInfo;
use sockeye_core::{Errno, Instant, SocketId};

use super::{Join, Net};
use crate::world::HostId;

/// A host, for the programs on it.
#[derive(Clone)]
pub struct Host {
    net: Net,
    id: HostId,
    boots: u32,
}

/// An open socket; closed when dropped. After its host was started anew every call is EBADF.
struct Socket {
    host: Host,
    id: SocketId,
    open: bool,
}

/// A listener.
pub struct TcpListener(Socket);

/// A connection.
pub struct TcpStream(Socket);

impl Host {
    pub(super) fn new(net: Net, id: HostId) -> Host {
        let boots = net.inner.borrow().world.boots(id);
        Host { net, id, boots }
    }

    /// Which it is.
    pub fn id(&self) -> HostId {
        self.id
    }

    /// The handle to everything else.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Starts a program on this host; it ends when the host is started anew.
    pub fn spawn<T: 'static>(&self, program: impl Future<Output = T> + 'static) -> Join<T> {
        self.net.spawn_at(Some(self.id), program)
    }

    /// A listener with these options, set before it listens.
    pub fn listen(&self, at: SocketAddr, backlog: i32, options: &[SockOpt]) -> Result<TcpListener, Errno> {
        let socket = self.socket(at, options)?;
        self.call(|stack, now| {
            stack.bind(socket.id, at)?;
            stack.listen(now, socket.id, backlog)
        })?;
        Ok(TcpListener(socket))
    }

    /// A connection with these options, set before it is opened.
    pub async fn connect(&self, to: SocketAddr, options: &[SockOpt]) -> Result<TcpStream, Errno> {
        let socket = self.socket(to, options)?;
        let mut op = ConnectOp::new(socket.id, to, false);
        poll_fn(|cx| self.wait_for(cx, socket.id, |stack, now| op.poll(stack, now))).await?;
        Ok(TcpStream(socket))
    }

    fn socket(&self, like: SocketAddr, options: &[SockOpt]) -> Result<Socket, Errno> {
        let domain = if like.is_ipv4() { Domain::INET } else { Domain::INET6 };
        let id = self.call(|stack, _| stack.socket(domain, SocketType::STREAM, Protocol::TCP))?;
        let socket = Socket { host: self.clone(), id, open: true };
        for option in options {
            self.call(|stack, now| stack.setsockopt(now, id, option))?;
        }
        Ok(socket)
    }

    fn call<T>(&self, f: impl FnOnce(&mut Stack, Instant) -> Result<T, Errno>) -> Result<T, Errno> {
        let mut inner = self.net.inner.borrow_mut();
        if inner.world.boots(self.id) != self.boots {
            return Err(Errno::EBADF);
        }
        inner.world.host(self.id, f)
    }

    fn wait_for<T>(
        &self,
        cx: &mut Context<'_>,
        id: SocketId,
        f: impl FnOnce(&mut Stack, Instant) -> OpPoll<T>,
    ) -> Poll<Result<T, Errno>> {
        let mut inner = self.net.inner.borrow_mut();
        if inner.world.boots(self.id) != self.boots {
            return Poll::Ready(Err(Errno::EBADF));
        }
        match inner.world.host(self.id, f) {
            OpPoll::Ready(result) => Poll::Ready(result),
            OpPoll::Wait { interest, deadline } => {
                inner.wait(self.id, id, interest, deadline, cx.waker());
                Poll::Pending
            }
        }
    }
}

impl Socket {
    fn call<T>(&self, f: impl FnOnce(&mut Stack, Instant, SocketId) -> Result<T, Errno>) -> Result<T, Errno> {
        self.host.call(|stack, now| f(stack, now, self.id))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.open {
            // A host that was started anew knows nothing of it.
            let _ = self.call(|stack, now, id| stack.close(now, id));
        }
    }
}

impl TcpListener {
    /// The next connection and its peer.
    pub async fn accept(&self) -> Result<(TcpStream, SocketAddr), Errno> {
        let Socket { host, id, .. } = &self.0;
        let mut op = AcceptOp::new(*id, false);
        let (id, peer) = poll_fn(|cx| host.wait_for(cx, *id, |stack, now| op.poll(stack, now))).await?;
        Ok((TcpStream(Socket { host: host.clone(), id, open: true }), peer))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> Result<SocketAddr, Errno> {
        self.0.call(|stack, _, id| stack.getsockname(id))
    }
}

impl TcpStream {
    /// Sends all of `data`. An error after some of it is told by the next call, as POSIX has it.
    pub async fn send(&self, data: &[u8]) -> Result<usize, Errno> {
        self.send_with(data, MsgFlags::NOSIGNAL).await
    }

    /// [`TcpStream::send`] with flags.
    pub async fn send_with(&self, data: &[u8], flags: MsgFlags) -> Result<usize, Errno> {
        let Socket { host, id, .. } = &self.0;
        let mut op = SendOp::new(*id, flags);
        poll_fn(|cx| host.wait_for(cx, *id, |stack, now| op.poll(stack, now, data))).await
    }

    /// Receives what is there; 0 is the end of the stream.
    pub async fn recv(&self, out: &mut [u8]) -> Result<usize, Errno> {
        self.recv_with(out, MsgFlags::empty()).await
    }

    /// [`TcpStream::recv`] with flags.
    pub async fn recv_with(&self, out: &mut [u8], flags: MsgFlags) -> Result<usize, Errno> {
        let Socket { host, id, .. } = &self.0;
        let mut op = RecvOp::new(*id, flags);
        poll_fn(|cx| host.wait_for(cx, *id, |stack, now| op.poll(stack, now, out))).await
    }

    /// Ends a direction.
    pub fn shutdown(&self, how: How) -> Result<(), Errno> {
        self.0.call(|stack, now, id| stack.shutdown(now, id, how))
    }

    /// Sets an option.
    pub fn set(&self, option: &SockOpt) -> Result<(), Errno> {
        self.0.call(|stack, now, id| stack.setsockopt(now, id, option))
    }

    /// What the connection tells of itself.
    pub fn info(&self) -> Result<TcpInfo, Errno> {
        self.0.call(|stack, now, id| stack.tcp_info(now, id))
    }

    /// The names of both ends: ours, the peer's.
    pub fn names(&self) -> Result<(SocketAddr, SocketAddr), Errno> {
        self.0.call(|stack, _, id| Ok((stack.getsockname(id)?, stack.getpeername(id)?)))
    }

    /// Closes it, waiting as SO_LINGER says.
    pub async fn close(mut self) -> Result<(), Errno> {
        self.0.open = false;
        let Socket { host, id, .. } = &self.0;
        let mut op = CloseOp::new(*id);
        poll_fn(|cx| host.wait_for(cx, *id, |stack, now| op.poll(stack, now))).await
    }

    /// Closes it with a RST.
    pub fn abort(mut self) -> Result<(), Errno> {
        self.0.open = false;
        self.0.call(|stack, now, id| stack.abort(now, id))
    }
}
