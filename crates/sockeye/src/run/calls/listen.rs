//! `listen` and `accept`.

use std::sync::Arc;

use sockeye_core::Errno;
use sockeye_core::socket::{SockOpt, SockOptName, SocketType};

use super::{Answer, connect, errno};
use crate::run::caller::{Caller, Held};
use crate::run::door::Door;
use crate::run::listening::{Accept, Listening};
use crate::run::supervisor::Supervisor;
use crate::run::table::{Entry, Phase};

/// `listen`: the Unix socket listens where it stands, and so does the stack's.
pub(super) fn listen(
    supervisor: &Arc<Supervisor>,
    caller: &Caller<'_>,
    held: Held,
    entry: &Arc<Entry>,
) -> Result<Answer, Errno> {
    let backlog = caller.int(1);
    let result = match entry.socket.listen(backlog) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            supervisor.sweep();
            entry.socket.listen(backlog)
        }
        result => result,
    };
    result.map_err(|error| errno(&error))?;
    if entry.listening().is_some() {
        for socket in entry.listening().iter().flat_map(|listening| listening.sockets()) {
            // A second `listen` changes the limit, of those that were added as well.
            let _ = socket.listen(backlog);
        }
        return Ok(Answer::Done(0));
    }
    let (mut held, mut entry) = (held, entry.clone());
    if let Phase::Spent = entry.phase() {
        entry = connect::renew(supervisor, caller, &entry)?;
        held = caller.hold().map_err(|error| errno(&error))?;
    }
    let path = Door::open(&held.fd).map_err(|error| errno(&error))?;
    let listening = Listening::new(entry.inode, entry.socket.clone(), path);
    entry.set_phase(Phase::Listening(listening.clone()));
    if let Ok(local) = entry.socket.local_addr() {
        for socket in supervisor.published(local) {
            listening.add(socket);
        }
    }
    tokio::spawn(listening.run(supervisor.clone()));
    Ok(Answer::Done(0))
}

/// `accept` and `accept4`.
pub(super) fn accept(
    supervisor: &Arc<Supervisor>,
    caller: &Caller<'_>,
    held: Held,
    entry: &Arc<Entry>,
    flags: i32,
) -> Result<Answer, Errno> {
    if flags & !(SocketType::NONBLOCK | SocketType::CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let listening = entry.listening().ok_or(Errno::EINVAL)?;
    let kind = SocketType(flags);
    let notification = caller.notification;
    let accept = Accept {
        notification,
        nonblocking: kind.is_nonblocking(),
        cloexec: kind.is_cloexec(),
        address: (caller.word(1), caller.word(2)),
    };
    if accept.address.0 != 0 {
        caller.length(accept.address.1)?; // before a connection is taken for it
    }
    let is_answered = listening.accept(supervisor, held, accept)?;
    if let (false, Ok(SockOpt::RcvTimeo(Some(limit)))) =
        (is_answered, entry.socket.option(SockOptName::RcvTimeo))
    {
        let supervisor = supervisor.clone();
        tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            listening.expire(&supervisor, notification.id);
        });
    }
    Ok(Answer::Later)
}
