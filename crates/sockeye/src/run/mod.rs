//! Programs over a stack of this process, unmodified: `sockeye run`.
//!
//! The program runs under a seccomp filter. Calls that make, name or change a TCP socket come here instead of to the
//! kernel; `read`, `write`, `poll`, `epoll`, `dup`, `fork` and the rest stay the kernel's own, for each TCP socket that the
//! program has is a Unix stream socket whose other end is joined to a connection of the stack.
//!
//! | what | where |
//! |---|---|
//! | the loop that takes the calls, and what they share | `supervisor` |
//! | the calls | `calls` |
//! | a caller's memory and descriptors | `caller` |
//! | the program's sockets | `table` |
//! | Unix sockets that stand for TCP sockets | `door` |
//! | listeners: from the stack's queue to the Unix socket's | `listening` |
//! | the bytes of a connection | `bridge` |
//!
//! Where a Unix socket cannot do as a TCP socket does, and the kernel alone answers, the program sees:
//!
//! | what | Linux's TCP | here |
//! |---|---|---|
//! | `read` after a failed attempt, or one given up | ECONNREFUSED, ETIMEDOUT ... | ECONNRESET; SO_ERROR, asked first, says which |
//! | `read`, `send` on a socket that was never connected | ENOTCONN, EPIPE | EINVAL, ENOTCONN |
//! | another descriptor of a socket (`dup`) whose attempt took long and failed | can connect again | stays failed: only the one that the next `connect` names gets a fresh one |
//! | a listener closed while nobody waits | at once | the stack lets go of it within 100 ms, or when anybody in the run connects or binds |
//! | SO_RCVTIMEO set, `accept` interrupted, SA_RESTART | EINTR | goes on |
//!
//! The loopback addresses mean this run where a program of it listens, and else the machine around, which the network's
//! gateway stands for.

mod bridge;
mod caller;
mod calls;
mod door;
mod listening;
mod net;
mod report;
mod supervisor;
mod table;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::net::Socket;
use crate::net::tokio::{READABLE, Slot};
use crate::sys::spawn;
use supervisor::Supervisor;

pub use net::{Gateway, Network, NetworkBuilder, Publication};
pub use report::{Closed, Ending, Report};

/// Why a program does not run. Each has a sentence that says what to do.
#[derive(Debug)]
pub enum StartError {
    /// The filter was refused.
    Filter(io::Error),
    /// There is no such program, or it cannot be run.
    Program(io::Error),
    /// This process lacks something of the operating system.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Filter(error) => match error.raw_os_error() {
                Some(libc::EBUSY) => f.write_str(
                    "a supervisor of this kind is at work already (a `sockeye run` inside of another, or a \
                     container that has one), and Linux allows one only: run it outside",
                ),
                Some(libc::ENOSYS | libc::EINVAL | libc::EOVERFLOW) => f.write_str(
                    "this kernel has no seccomp user notification: Linux 5.14 or newer is needed, and a \
                     container must not forbid the call `seccomp`",
                ),
                Some(libc::EPERM | libc::EACCES) => f.write_str(
                    "the call `seccomp` is forbidden here: in a container, allow it (--security-opt \
                     seccomp=unconfined)",
                ),
                _ => write!(f, "the filter cannot be installed: {error}"),
            },
            StartError::Program(error) => match error.kind() {
                io::ErrorKind::NotFound => f.write_str("there is no such program"),
                io::ErrorKind::PermissionDenied => f.write_str("it is no program, or must not be run"),
                _ => write!(f, "it cannot be run: {error}"),
            },
            StartError::System(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A program that runs over a network.
pub struct Run {
    child: Child,
    network: Network,
    supervisor: Arc<Supervisor>,
    thread: Option<JoinHandle<()>>,
    report: mpsc::Receiver<Report>,
}

impl Run {
    /// Starts `command` over `network`.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(command: Command, network: Network) -> Result<Run, StartError> {
        // Programs that lose their parents become our children, whose sockets we may then still look at.
        rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))
            .map_err(|error| StartError::System(error.into()))?;
        let (child, listener) = spawn::spawn(command).map_err(|failed| match failed {
            spawn::Failed::Filter(error) => StartError::Filter(error),
            spawn::Failed::Program(error) => StartError::Program(error),
        })?;
        raise_descriptors();
        let (tell, report) = mpsc::channel();
        let (host, gateway, on_listen) = (network.host().clone(), network.gateway(), network.on_listen());
        let forwarder = network.forwarder().clone();
        let started = (|| {
            let supervisor = Supervisor::new(listener, host, gateway, on_listen)?;
            let shared = supervisor.clone();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
            let thread = std::thread::Builder::new().name("sockeye/run".into()).spawn(move || {
                runtime.block_on(async {
                    let forward = tokio::spawn(net::drive(forwarder));
                    let attend = tokio::spawn(net::attend(supervisor.host.clone()));
                    let tick = tokio::spawn(supervisor.clone().tick());
                    if let Err(error) = supervisor.clone().serve().await {
                        eprintln!("sockeye: calls of the program can no longer be taken: {error}");
                    }
                    tick.abort();
                    supervisor.sweep();
                    supervisor.drained().await;
                    // The end of what is left is the network's business, with its own threads.
                    forward.abort();
                    attend.abort();
                    // Nobody may wait for the report: then nobody reads it.
                    let _ = tell.send(supervisor.take_report());
                });
            })?;
            io::Result::Ok((thread, shared))
        })();
        let mut child = child;
        match started {
            Ok((thread, supervisor)) => Ok(Run { child, network, supervisor, thread: Some(thread), report }),
            Err(error) => {
                // Without a supervisor its calls would never end.
                let _ = child.kill();
                let _ = child.wait();
                Err(StartError::System(error))
            }
        }
    }

    /// The program's process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The network that it runs over.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Waits until the program has ended. Others that it has started may go on.
    ///
    /// # Errors
    /// The operating system's.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// Waits until the last program under the filter has gone and everything that they wrote has been passed on, at
    /// most for `timeout`; `None` if that was not enough.
    pub fn drained(&mut self, timeout: Duration) -> Option<Report> {
        let report = self.report.recv_timeout(timeout).ok()?;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
        Some(report)
    }

    /// What there is to tell so far.
    pub fn report(&self) -> Report {
        self.supervisor.take_report()
    }

    /// The network, to be ended.
    pub fn into_network(self) -> Network {
        self.network
    }
}

/// Each connection takes two descriptors, three while it opens.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // What cannot be raised stays: the program is told EMFILE where it ends.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Until one of several listeners has a connection.
async fn any_readable(sockets: &[Socket]) {
    let mut slots: Vec<Slot> = sockets.iter().map(Slot::new).collect();
    poll_fn(|cx| {
        let is_ready = |slot: &mut Slot| slot.poll_ready(cx, READABLE).is_ready();
        if slots.iter_mut().any(is_ready) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
