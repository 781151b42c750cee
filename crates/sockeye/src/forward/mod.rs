//! The far side: connections of a stack carried on over the host's own sockets, and back.
//!
//! A [`Forwarder`] sits on a [`Host`] whose device brings packets to any address
//! ([`HostBuilder::accept_any`](crate::HostBuilder::accept_any)). A SYN waits, parked, until the far side has answered a
//! `connect` of the host's own: only then the peer sees SYN-ACK, RST, an ICMP error or nothing, as it would have
//! without Sockeye between. What follows is carried both ways until both have ended. The other direction is
//! [`Forwarder::publish`]: a port of the host whose connections are opened in the stack, from the peer's own address.
//!
//! | the far side's `connect` | the peer of the stack sees |
//! |---|---|
//! | is done | SYN-ACK |
//! | ECONNREFUSED | RST |
//! | ENETUNREACH, EHOSTUNREACH, EACCES | ICMP: net or host unreachable, prohibited |
//! | ETIMEDOUT | nothing, as the host's kernel saw nothing |
//! | no descriptor is left (EMFILE) | nothing for now: its next SYN is tried again |
//!
//! | one side | the other side |
//! |---|---|
//! | FIN | what is left, then FIN: `shutdown(SHUT_WR)`; the other direction goes on |
//! | RST, or given up | what can be delivered at once, then RST: `close` with SO_LINGER of zero |
//! | reads slowly | the window of the other closes: nothing is read that has nowhere to go |
//! | urgent data | its byte stays in the stream at its place; the mark is lost |
//!
//! On a published port the host's kernel has accepted a connection before the program is asked: a refusal is a RST
//! after the handshake.
//!
//! Bounds: [`ForwarderBuilder::max_connections`] at a time, each with one descriptor, 64 KiB on the way to the stack and
//! 256 KiB on the way out of it beside the buffers of both TCPs. Out of descriptors, published ports pause and SYNs
//! stay unanswered until one is free; this is counted and told once.
//!
//! One thread waits for the host's sockets. What arrives from the stack is carried on by the thread that brought it
//! (a wake-up costs more than the work), so that with a link in memory one thread runs both stacks. Where 16
//! connections or more begin in 10 ms while others are open a second thread opens and closes them: then it hardly ever sleeps.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{SocketAddr, TcpListener};
//! use sockeye::device::{Memory, MemoryOptions};
//! use sockeye::forward::{Forwarder, Target};
//! use sockeye::{Host, forward};
//!
//! // A server on the host's own loopback.
//! let server = TcpListener::bind("127.0.0.1:0")?;
//! let port = server.local_addr()?.port();
//!
//! // A program's stack, and a forwarder behind it. 198.18.2.2 stands for the host's loopback.
//! let (inner, outer) = Memory::pair(MemoryOptions::default());
//! let program = Host::builder().device(inner).address([198, 18, 2, 15], 24).gateway([198, 18, 2, 2]).build()?;
//! let host = forward::host(outer).build()?;
//! let forwarder = Forwarder::builder()
//!     .decide(|_peer, destination| match destination.ip().to_string().as_str() {
//!         "198.18.2.2" => Target::Connect(SocketAddr::from(([127, 0, 0, 1], destination.port()))),
//!         _ => Target::Refuse,
//!     })
//!     .build(&host)?;
//!
//! let mut client = program.connect(("198.18.2.2", port))?;
//! let (mut served, _) = server.accept()?;
//! served.write_all(b"hello")?;
//! let mut hello = [0; 5];
//! client.read_exact(&mut hello)?;
//! assert_eq!(&hello, b"hello");
//! assert!(program.connect("192.0.2.1:80").is_err());
//! assert_eq!(forwarder.totals().refused, 1);
//! # Ok::<(), std::io::Error>(())
//! ```

mod connection;
mod helper;
mod intake;
mod publish;
mod record;
mod shared;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use sockeye_core::stack::Cidr;

pub use publish::{Publish, Published};
pub use record::{Direction, Ending, Record, Totals};

use crate::device::Device;
use crate::driver::{Host, HostBuilder};
use shared::{Rules, Shared};

/// Where a connection goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// To this address, over the host's own sockets.
    Connect(SocketAddr),
    /// Nowhere: RST.
    Refuse,
    /// Nowhere: ICMP host unreachable.
    Unreachable,
    /// Nowhere, without an answer.
    Drop,
}

/// What becomes a forwarder.
#[must_use]
pub struct ForwarderBuilder {
    rules: Rules,
    driven: bool,
}

/// Carries connections of a stack on over the host's own sockets: see the module. With the last handle it
/// stops, and what is open is reset.
#[derive(Clone)]
pub struct Forwarder(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
}

/// A host for a forwarder: `device` brings packets to any address, and takes those to any other.
pub fn host(device: impl Device + 'static) -> HostBuilder {
    let any = [Cidr::new(Ipv4Addr::UNSPECIFIED.into(), 0), Cidr::new(Ipv6Addr::UNSPECIFIED.into(), 0)];
    let builder = Host::builder().name("forward").device(device).accept_any();
    any.into_iter().fold(builder, |builder, network| builder.route(network, None))
}

impl ForwarderBuilder {
    /// Decides where each connection goes, from who asks (first) for what (second). It is asked on whatever thread
    /// brings the SYN, or on the one that opens connections where many begin; it must not wait, and must not use the
    /// forwarder's host. Without it every destination is connected to as it stands.
    pub fn decide(
        mut self,
        decide: impl Fn(SocketAddr, SocketAddr) -> Target + Send + Sync + 'static,
    ) -> Self {
        self.rules.decide = Box::new(decide);
        self
    }

    /// How many connections there may be at a time in each direction, those whose far side has not answered
    /// included; 16,384. The SYN of one more is dropped, a published port pauses.
    pub fn max_connections(mut self, most: u32) -> Self {
        self.rules.max_connections = most.max(1);
        self
    }

    /// How many records of ended connections are kept for [`Forwarder::records`], the latest ones; 1,024.
    pub fn keep_records(mut self, most: usize) -> Self {
        self.rules.keep_records = most;
        self
    }

    /// Is told of each connection that has ended. As for [`ForwarderBuilder::decide`].
    pub fn on_end(mut self, on_end: impl Fn(&Record) + Send + Sync + 'static) -> Self {
        self.rules.on_end = Some(Box::new(on_end));
        self
    }

    /// Is told, once each, of what a person should know: descriptors have run out.
    pub fn on_trouble(mut self, on_trouble: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.rules.on_trouble = Some(Box::new(on_trouble));
        self
    }

    /// No thread but the one that opens connections where many begin: the caller polls [`Forwarder::as_fd`] for reading and
    /// calls [`Forwarder::turn`].
    pub fn driven_by_caller(mut self) -> Self {
        self.driven = true;
        self
    }

    /// Starts to forward what comes to `host`.
    ///
    /// # Errors
    /// EADDRINUSE if the host has a forwarder already; no descriptors or no thread from the operating system.
    pub fn build(self, host: &Host) -> io::Result<Forwarder> {
        let shared = Shared::start(host, self.rules)?;
        if !self.driven {
            shared.spawn()?;
        }
        Ok(Forwarder(Arc::new(Handle { shared })))
    }
}

impl Forwarder {
    /// Begins a forwarder.
    pub fn builder() -> ForwarderBuilder {
        ForwarderBuilder { rules: Rules::default(), driven: false }
    }

    /// Listens on a port of the host and opens a connection in the stack for each that comes: see [`Publish`].
    ///
    /// # Errors
    /// In one sentence: which port cannot be published and why (EADDRINUSE, EACCES, EADDRNOTAVAIL, EMFILE ...).
    pub fn publish(&self, publish: Publish) -> io::Result<Published> {
        publish::open(&self.0.shared, publish)
    }

    /// The counters.
    pub fn totals(&self) -> Totals {
        self.0.shared.totals()
    }

    /// The latest connections that have ended, oldest first.
    pub fn records(&self) -> Vec<Record> {
        self.0.shared.records()
    }

    /// Waits until everything that the stack's side has sent, its FINs too, is with the host's kernel, at most for
    /// `timeout`. Returns how many connections still have something to deliver.
    pub fn drain(&self, timeout: Duration) -> usize {
        self.0.shared.drain(timeout)
    }

    /// Carries on what is ready, waiting for it at most for `timeout` (`None`: for ever), and returns. For those that
    /// drive the forwarder themselves.
    ///
    /// # Errors
    /// The operating system's, none in ordinary running.
    pub fn turn(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.shared.turn(timeout)
    }

    /// Stops: published ports are closed, connections that are open reset.
    pub fn stop(&self) {
        self.0.shared.stop();
    }
}

impl AsFd for Forwarder {
    /// Readable while [`Forwarder::turn`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.shared.poll_fd()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// An address as its family has it: IPv4-mapped ones are IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(ip) => {
            ip.to_ipv4_mapped().map_or(address, |ip| SocketAddr::new(ip.into(), address.port()))
        }
        IpAddr::V4(_) => address,
    }
}
