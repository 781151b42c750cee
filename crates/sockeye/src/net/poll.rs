//! `poll` and `select` over many sockets, of one host or of several.

use std::time::{Duration, Instant};

use sockeye_core::Ready;

use super::socket::{AsSocket, Socket};
use crate::driver::{Sleeper, Ticket};

/// One socket and what is asked of it.
pub struct PollFd<'a> {
    socket: &'a Socket,
    /// What is waited for. ERR, HUP and NVAL are reported whether or not they are here.
    pub events: Ready,
    /// What it is ready for, as of the last [`poll`].
    pub revents: Ready,
}

impl<'a> PollFd<'a> {
    /// Waits for `events` of `socket`.
    pub fn new(socket: &'a (impl AsSocket + ?Sized), events: Ready) -> Self {
        PollFd { socket: socket.as_socket(), events, revents: Ready::empty() }
    }
}

/// Waits until one of the sockets is ready, or `timeout` is over (`None`: for ever; zero: looks only).
/// Returns how many are ready; their `revents` say for what. With no sockets and no timeout it waits for ever,
/// as POSIX's does.
pub fn poll(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> usize {
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let sleeper = Sleeper::current();
    let mut tickets: Vec<Option<Ticket>> = vec![None; fds.len()];
    loop {
        let mut count = 0;
        for (fd, ticket) in fds.iter_mut().zip(&mut tickets) {
            let shard = fd.socket.host().shard();
            fd.revents = shard.poll_ready(fd.socket.id(), fd.events, &sleeper.waker, ticket);
            count += usize::from(!fd.revents.is_empty());
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let is_over = left.is_some_and(|left| left.is_zero());
        if count > 0 || is_over {
            for (fd, ticket) in fds.iter().zip(&mut tickets) {
                fd.socket.host().shard().forget(fd.socket.id(), ticket);
            }
            return count;
        }
        sleeper.sleep(left);
    }
}

/// Which of the sockets given to [`select`] are ready, by their places in its slices.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selected {
    /// A read would not wait.
    pub read: Vec<usize>,
    /// A write would not wait.
    pub write: Vec<usize>,
    /// Urgent data is there.
    pub except: Vec<usize>,
}

impl Selected {
    /// What `select` returns: how many bits are set.
    pub fn count(&self) -> usize {
        self.read.len() + self.write.len() + self.except.len()
    }
}

/// `select`, without its limit of 1,024: waits until a socket of `read` can be read, one of `write`
/// written, one of `except` has urgent data, or `timeout` is over. Errors and ends make a socket readable and
/// writable, as POSIX says.
pub fn select(
    read: &[&dyn AsSocket],
    write: &[&dyn AsSocket],
    except: &[&dyn AsSocket],
    timeout: Option<Duration>,
) -> Selected {
    let mut fds = Vec::with_capacity(read.len() + write.len() + except.len());
    fds.extend(read.iter().map(|socket| PollFd::new(*socket, Ready::IN)));
    fds.extend(write.iter().map(|socket| PollFd::new(*socket, Ready::OUT)));
    fds.extend(except.iter().map(|socket| PollFd::new(*socket, Ready::PRI)));
    poll(&mut fds, timeout);
    let (readers, rest) = fds.split_at(read.len());
    let (writers, excepts) = rest.split_at(write.len());
    let places = |fds: &[PollFd<'_>], bits: Ready| {
        let ready = fds.iter().enumerate().filter(|(_, fd)| fd.revents.intersects(bits));
        ready.map(|(place, _)| place).collect()
    };
    let bad = Ready::ERR | Ready::NVAL;
    Selected {
        read: places(readers, Ready::IN | Ready::HUP | bad),
        write: places(writers, Ready::OUT | bad),
        except: places(excepts, Ready::PRI),
    }
}
