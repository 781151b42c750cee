//! `connect`.
//!
//! A call that waits joins the Unix socket when the handshake is done, so that after a quick failure the same socket can
//! be tried again, and so does a call that does not wait if the handshake is done by then. What takes longer joins at once
//! and plugs the socket: poll calls it writable when the handshake is done, also to those who have watched it since
//! before. A failure then uses the Unix socket up, and the program gets another in its place.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::net::{SendFlags, send};
use sockeye_core::socket::op::{ConnectOp, OpPoll};
use sockeye_core::{Errno, Ready};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Answer, address, errno};
use crate::net::tokio::{Slot, ready_for};
use crate::run::bridge;
use crate::run::caller::{Caller, Held, inode_of};
use crate::run::door::Plug;
use crate::run::report::{Closed, Ending};
use crate::run::supervisor::Supervisor;
use crate::run::table::{Entry, Phase};
use crate::sys::seccomp::Notification;
use crate::sys::watch::watch;

/// How often it is looked whether a call that waits still does.
const LOOK: Duration = Duration::from_millis(50);
/// How long a call waits before its socket is joined and plugged.
const SOON: Duration = Duration::from_millis(10);

/// What is sent when the connection is there: MSG_FASTOPEN.
pub(super) struct First {
    pub(super) data: Vec<u8>,
    pub(super) flags: SendFlags,
}

/// `connect`, blocking or not.
pub(super) fn connect(
    supervisor: &Arc<Supervisor>,
    caller: &Caller<'_>,
    held: Held,
    entry: &Arc<Entry>,
) -> Result<Answer, Errno> {
    match address(caller, entry, caller.word(1), caller.int(2))? {
        Some(to) => connect_to(supervisor, caller, held, entry, to, None),
        None => disconnect(caller, supervisor, entry),
    }
}

/// `connect`, and then `send` of what comes first.
pub(super) fn connect_to(
    supervisor: &Arc<Supervisor>,
    caller: &Caller<'_>,
    held: Held,
    entry: &Arc<Entry>,
    to: SocketAddr,
    first: Option<First>,
) -> Result<Answer, Errno> {
    if first.is_none() && entry.unreported.swap(false, Ordering::AcqRel) {
        return Ok(Answer::Done(0)); // the call that was interrupted, made again
    }
    let nonblocking = held.is_nonblocking();
    let to = supervisor.way(to);
    let phase = entry.phase();
    let attempt = |entry: &Arc<Entry>| Attempt {
        supervisor: supervisor.clone(),
        entry: entry.clone(),
        notification: caller.notification,
        fd: caller.int(0),
        to,
        is_spent: matches!(phase, Phase::Spent),
        first,
    };
    match phase {
        Phase::Spent => {
            let entry = renew(supervisor, caller, entry)?;
            let held = caller.hold().map_err(|error| errno(&error))?;
            open(attempt(&entry), held, nonblocking)
        }
        Phase::Fresh => open(attempt(entry), held, nonblocking),
        Phase::Opening | Phase::Connecting if !nonblocking => {
            drop(held);
            attempt(entry).begin();
            Ok(Answer::Later)
        }
        Phase::Listening(_) => Err(Errno::EISCONN),
        Phase::Opening | Phase::Connecting | Phase::Joined => {
            entry.socket.host().with_stack(|stack, now| stack.connect(now, entry.socket.id(), to))?;
            Ok(Answer::Done(0))
        }
    }
}

impl Supervisor {
    /// Where a connection goes: what the program calls loopback is this run's own where a program of it listens, and
    /// else that of the machine around, which the gateway stands for.
    fn way(self: &Arc<Self>, to: SocketAddr) -> SocketAddr {
        let ip = to.ip().to_canonical();
        let is_loopback = ip.is_loopback() || ip.is_unspecified();
        if !is_loopback || self.listens_on_loopback(to) {
            return to;
        }
        let Some(gateway) = self.gateway.of(ip) else { return to };
        let gateway = match (to.ip(), gateway) {
            (IpAddr::V6(_), IpAddr::V4(v4)) => IpAddr::V6(Ipv4Addr::to_ipv6_mapped(&v4)),
            (_, gateway) => gateway,
        };
        SocketAddr::new(gateway, to.port())
    }
}

/// The first call on a socket that is not connected.
fn open(attempt: Attempt, held: Held, nonblocking: bool) -> Result<Answer, Errno> {
    let (supervisor, entry, to) = (&attempt.supervisor, &attempt.entry, attempt.to);
    let local = entry.socket.local_addr().unwrap_or(to);
    entry.set_names(supervisor.shown(local, to));
    if !nonblocking {
        entry.set_phase(Phase::Opening);
        drop(held);
        attempt.begin();
        return Ok(Answer::Later);
    }
    let begun = Instant::now();
    let started = entry.socket.host().with_stack(|stack, now| stack.connect(now, entry.socket.id(), to));
    match started {
        // TCP_FASTOPEN_CONNECT: the first data opens the connection.
        Ok(()) => join(supervisor, entry, &held.fd).map(|()| Answer::Done(0)),
        // The answer is there already. The program is told later all the same, as Linux does.
        Err(Errno::EINPROGRESS) if is_established(entry) => {
            join(supervisor, entry, &held.fd).and(Err(Errno::EINPROGRESS))
        }
        Err(Errno::EINPROGRESS) => {
            if let Some((ours, plug)) = join_plugged(supervisor, entry, &held.fd)? {
                let (guard, supervisor, entry) = (supervisor.begin(), supervisor.clone(), entry.clone());
                tokio::spawn(async move {
                    let _guard = guard;
                    see_through(&supervisor, &entry, ours, plug, begun).await;
                });
            }
            Err(Errno::EINPROGRESS)
        }
        Err(errno) => {
            // The failure of an attempt that was told of before is no other one.
            if !attempt.is_spent {
                report_failure(supervisor, entry, Ending::Failed(errno), begun);
            }
            Err(errno)
        }
    }
}

fn is_established(entry: &Entry) -> bool {
    let ready = entry.socket.ready();
    ready.contains(Ready::OUT) && !ready.intersects(Ready::ERR | Ready::HUP)
}

/// Joins the Unix socket of an established connection and starts its bridge.
fn join(supervisor: &Arc<Supervisor>, entry: &Arc<Entry>, theirs: &OwnedFd) -> Result<(), Errno> {
    if !entry.begin_joining(Phase::Joined) {
        return Ok(()); // another call has done so
    }
    let ours = supervisor.door.join(theirs).map_err(|error| {
        entry.set_phase(Phase::Spent);
        errno(&error)
    })?;
    remember(supervisor, entry);
    bridge::start(supervisor, entry.clone(), ours, 0, false);
    Ok(())
}

fn remember(supervisor: &Supervisor, entry: &Entry) {
    if let Some(names) = supervisor.present_names(&entry.socket) {
        entry.set_names(names);
    }
}

/// Our end of a Unix socket whose program's end waits for the handshake.
type Plugged = (AsyncFd<OwnedFd>, Plug);

/// Joins and plugs the Unix socket; `None` if another call has done so.
fn join_plugged(supervisor: &Supervisor, entry: &Entry, theirs: &OwnedFd) -> Result<Option<Plugged>, Errno> {
    if !entry.begin_joining(Phase::Connecting) {
        return Ok(None);
    }
    let joined = supervisor.door.join_plugged(theirs).and_then(|(ours, plug)| {
        let ours = watch(ours, Interest::READABLE)?;
        Ok((ours, plug))
    });
    joined.map(Some).map_err(|error| {
        entry.set_phase(Phase::Spent);
        errno(&error)
    })
}

/// Waits until the handshake is done, has failed, or is not wanted any more.
async fn see_through(
    supervisor: &Arc<Supervisor>,
    entry: &Arc<Entry>,
    ours: AsyncFd<OwnedFd>,
    plug: Plug,
    begun: Instant,
) {
    let interest = Ready::OUT | Ready::ERR | Ready::HUP;
    let ready = tokio::select! {
        ready = ready_for(&entry.socket, interest) => ready,
        () = hang_up(&ours) => {
            take_back(supervisor, entry);
            return report_failure(supervisor, entry, Ending::GivenUp, begun);
        }
    };
    if matches!(ready, Ok(ready) if !ready.intersects(Ready::ERR | Ready::HUP)) {
        established(supervisor, entry, ours, plug, entry.seen());
    } else {
        // SO_ERROR, or the next `connect`, says why. Closed over the plug it shows as an error.
        report_failure(supervisor, entry, why(entry), begun);
        entry.set_phase(Phase::Spent);
        drop(ours);
    }
}

/// The program has closed the socket: the attempt is not wanted any more.
fn take_back(supervisor: &Supervisor, entry: &Entry) {
    supervisor.forget(entry.inode);
    entry.socket.host().shard().close_now(entry.socket.id());
    entry.set_phase(Phase::Spent);
}

/// The handshake of a plugged socket is done; `seen` is where the program's end is to be had.
fn established(
    supervisor: &Arc<Supervisor>,
    entry: &Arc<Entry>,
    ours: AsyncFd<OwnedFd>,
    plug: Plug,
    seen: (u32, i32),
) {
    let ours = ours.into_inner();
    remember(supervisor, entry);
    let theirs = supervisor.tasks.find(entry.inode, seen);
    let skip = supervisor.door.unplug(plug, &ours, theirs);
    entry.set_phase(Phase::Joined);
    match skip {
        Ok(skip) => bridge::start(supervisor, entry.clone(), ours, skip, false),
        Err(_) => entry.socket.abort(),
    }
}

/// Until the program's end is closed.
async fn hang_up(ours: &AsyncFd<OwnedFd>) {
    loop {
        let Ok(mut guard) = ours.readable().await else { return };
        if guard.ready().is_read_closed() {
            return;
        }
        guard.clear_ready();
    }
}

/// Why an attempt has failed, as far as the program has still to ask for it.
fn why(entry: &Entry) -> Ending {
    let errno = entry.socket.host().with_stack(|stack, _| stack.pending_error(entry.socket.id()));
    Ending::Failed(errno.unwrap_or(Errno::ECONNREFUSED))
}

/// Tells of an attempt that came to nothing.
fn report_failure(supervisor: &Supervisor, entry: &Entry, ending: Ending, begun: Instant) {
    let Some(names) = entry.names() else { return };
    supervisor.report().ended(Closed {
        names,
        accepted: false,
        sent: 0,
        received: 0,
        retransmissions: 0,
        seconds: begun.elapsed().as_secs_f64(),
        ending,
    });
}

/// A call that waits: it is answered when the handshake is done or has failed.
struct Attempt {
    supervisor: Arc<Supervisor>,
    entry: Arc<Entry>,
    notification: Notification,
    fd: i32,
    to: SocketAddr,
    /// An earlier attempt has failed, which the program may have still to be told.
    is_spent: bool,
    first: Option<First>,
}

/// What a call waited for.
enum Came {
    Result(Result<(), Errno>),
    /// The call was interrupted.
    Interrupted,
    /// Another thread has closed the socket.
    Closed,
}

impl Attempt {
    fn begin(self) {
        let guard = self.supervisor.begin();
        tokio::spawn(async move {
            let _guard = guard;
            self.run().await;
        });
    }

    async fn run(self) {
        let begun = Instant::now();
        let mut plugged = None;
        let came = self.wait(&mut plugged).await;
        let (supervisor, entry) = (&self.supervisor, &self.entry);
        let result = match (came, plugged) {
            (Came::Closed, _) => {
                take_back(supervisor, entry);
                Err(Errno::EBADF)
            }
            // Interrupted, or SO_SNDTIMEO is over: the attempt goes on in the background.
            (Came::Interrupted, plugged) => return self.go_on(plugged, begun).await,
            (Came::Result(Err(errno @ (Errno::EINPROGRESS | Errno::EALREADY))), plugged) => {
                supervisor.listener.answer(self.notification.id, Err(errno.number()));
                return self.go_on(plugged, begun).await;
            }
            (Came::Result(Ok(())), Some((ours, plug))) => {
                established(supervisor, entry, ours, plug, (self.notification.tid, self.fd));
                Ok(())
            }
            (Came::Result(Ok(())), None) => self.join().await,
            (Came::Result(Err(errno)), plugged) => {
                self.failed(errno, plugged, begun).await;
                Err(errno)
            }
        };
        self.answer(result);
    }

    fn answer(&self, result: Result<(), Errno>) {
        let listener = &self.supervisor.listener;
        let sent = result.and_then(|()| match &self.first {
            None => Ok(0),
            Some(First { data, flags }) => {
                let held = self.hold().ok_or(Errno::EBADF)?;
                let sent = send(&held.fd, data, *flags | SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
                sent.map(|sent| sent as i64).map_err(|error| errno(&error.into()))
            }
        });
        if !listener.answer(self.notification.id, sent.map_err(Errno::number)) && result.is_ok() {
            self.entry.unreported.store(true, Ordering::Release);
        }
    }

    /// The program's end, by the number that the call named.
    fn hold(&self) -> Option<Held> {
        let held = self.supervisor.tasks.hold(self.notification.tid, self.fd).ok();
        held.filter(|held| held.inode == self.entry.inode)
    }

    /// Waits; what takes longer is plugged meanwhile.
    async fn wait(&self, plugged: &mut Option<Plugged>) -> Came {
        let (socket, listener) = (&self.entry.socket, &self.supervisor.listener);
        let mut op = ConnectOp::new(socket.id(), self.to, false);
        if let OpPoll::Ready(result) = socket.host().with_stack(|stack, now| op.poll(stack, now)) {
            return Came::Result(result);
        }
        let mut slot = Slot::new(socket);
        let (mut limit, mut pause) = (super::options::send_limit(socket), SOON);
        loop {
            let ask = poll_fn(|cx| slot.poll(cx, |stack, now| op.poll(stack, now)));
            let closed = async {
                match plugged {
                    Some((ours, _)) => hang_up(ours).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                result = ask => return Came::Result(result.map_err(|error| errno(&error))),
                () = closed => return Came::Closed,
                () = tokio::time::sleep(limit.map_or(pause, |limit| pause.min(limit))) => {}
            }
            limit = limit.map(|limit| limit.saturating_sub(pause).max(Duration::from_millis(1)));
            pause = LOOK;
            if !listener.is_valid(self.notification.id) {
                return Came::Interrupted;
            }
            if plugged.is_none() && matches!(self.entry.phase(), Phase::Opening) {
                let Some(held) = self.hold() else { return Came::Closed };
                match join_plugged(&self.supervisor, &self.entry, &held.fd) {
                    Ok(joined) => *plugged = joined,
                    Err(errno) => return Came::Result(Err(errno)),
                }
            }
        }
    }

    /// Established without a plug of ours.
    async fn join(&self) -> Result<(), Errno> {
        match self.entry.phase() {
            Phase::Opening => match self.hold() {
                Some(held) => join(&self.supervisor, &self.entry, &held.fd),
                None => {
                    take_back(&self.supervisor, &self.entry);
                    Err(Errno::EBADF)
                }
            },
            // Another call is at it: its result is this one's too.
            _ => match self.entry.settled().await {
                Phase::Joined => Ok(()),
                _ => Err(Errno::ECONNABORTED),
            },
        }
    }

    /// The attempt has failed: the socket can be used for another.
    async fn failed(&self, errno: Errno, plugged: Option<Plugged>, begun: Instant) {
        let (supervisor, entry) = (&self.supervisor, &self.entry);
        let is_ours = plugged.is_some() || matches!(entry.phase(), Phase::Opening);
        if is_ours && !self.is_spent {
            report_failure(supervisor, entry, Ending::Failed(errno), begun);
        }
        match plugged {
            Some(plugged) => {
                entry.set_phase(Phase::Spent);
                drop(plugged);
            }
            None if is_ours => entry.set_phase(Phase::Fresh),
            None => {}
        }
        if matches!(entry.settled().await, Phase::Spent) && supervisor.listener.is_valid(self.notification.id)
        {
            // Without another one the next call on the socket finds out.
            let _ = renew(supervisor, &supervisor.caller(self.notification), entry);
        }
    }

    /// Nobody waits any more; the attempt goes on.
    async fn go_on(&self, plugged: Option<Plugged>, begun: Instant) {
        let (supervisor, entry) = (&self.supervisor, &self.entry);
        let plugged = match plugged {
            Some(plugged) => Some(plugged),
            None if matches!(entry.phase(), Phase::Opening) => {
                match supervisor.tasks.find(entry.inode, (self.notification.tid, self.fd)) {
                    // Where even that fails the next call on the socket says what is wrong.
                    Some(theirs) => join_plugged(supervisor, entry, &theirs).unwrap_or_default(),
                    None => return take_back(supervisor, entry),
                }
            }
            None => None, // another call sees to it
        };
        if let Some((ours, plug)) = plugged {
            see_through(supervisor, entry, ours, plug, begun).await;
        }
    }
}

/// Gives the program another Unix socket in the place of one that was used up. Only the descriptor that the call names
/// is changed.
pub(super) fn renew(
    supervisor: &Arc<Supervisor>,
    caller: &Caller<'_>,
    entry: &Arc<Entry>,
) -> Result<Arc<Entry>, Errno> {
    let held = caller.hold().map_err(|error| errno(&error))?;
    let theirs = supervisor.door.fresh(held.is_nonblocking()).map_err(|error| errno(&error))?;
    let inode = inode_of(&theirs).map_err(|error| errno(&error))?;
    let renewed = Entry::new(inode, entry.socket.clone(), caller.seen(), Phase::Fresh);
    supervisor.table().insert(renewed.clone());
    let (number, cloexec) = (caller.int(0), caller.is_cloexec(caller.int(0)));
    let replaced = supervisor.listener.replace_fd(caller.notification.id, theirs.as_fd(), cloexec, number);
    if let Err(error) = replaced {
        supervisor.table().remove(inode);
        return Err(errno(&error));
    }
    entry.detach();
    supervisor.table().remove(entry.inode);
    Ok(renewed)
}

/// `connect` to AF_UNSPEC: the socket is fresh again.
fn disconnect(
    caller: &Caller<'_>,
    supervisor: &Arc<Supervisor>,
    entry: &Arc<Entry>,
) -> Result<Answer, Errno> {
    if !matches!(entry.phase(), Phase::Fresh) {
        renew(supervisor, caller, entry)?;
    }
    if let Phase::Listening(listening) = entry.phase() {
        drop(listening.retire(supervisor, Errno::EINVAL));
        supervisor.unpublish(entry);
    }
    entry.socket.host().with_stack(|stack, now| stack.disconnect(now, entry.socket.id()))?;
    Ok(Answer::Done(0))
}
