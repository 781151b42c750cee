//! Flows in real time, whoever's TCP they run on.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, sockopt};
use sockeye::core::Errno;
use sockeye::core::socket::SockOpt;
use sockeye::net::{self, Socket};

use super::lab::{Party, Tcp};

/// How long a call waits before the time is looked at.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long an end of a connection may take to open.
const OPENING: Duration = Duration::from_secs(60);

/// A connection's end.
trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// One flow: from whom, by which algorithm, how much or how long.
pub struct Flow<'a> {
    pub from: &'a Party,
    pub to: &'a Party,
    pub cc: &'a str,
    pub port: u16,
    /// Bytes; without them as many as go in `lasts`.
    pub bytes: Option<u64>,
    pub lasts: Duration,
    /// Waits this long first, and what was received before this is not counted.
    pub starts: Duration,
    pub warm_up: Duration,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Bytes received after the warm-up.
    pub received: u64,
    /// From connect() to the last byte.
    pub took: Duration,
}

impl Flow<'_> {
    /// Runs it to its end.
    pub fn run(&self) -> io::Result<Done> {
        let mut accept = self.to.listen(self.port)?;
        thread::sleep(self.starts);
        let begun = Instant::now();
        let end = begun + self.lasts.saturating_sub(self.starts);
        thread::scope(|scope| {
            let receiver = scope.spawn(move || {
                let stream = accept()?;
                self.receive(stream, begun, end)
            });
            let sent = self.from.connect((self.to.address, self.port).into(), self.cc);
            let sent = sent.and_then(|stream| self.send(stream, end));
            let received =
                receiver.join().unwrap_or_else(|_| Err(io::Error::other("the receiving thread panicked")));
            sent.and(received)
        })
    }

    fn send(&self, mut stream: Box<dyn Duplex>, end: Instant) -> io::Result<()> {
        let chunk = vec![0; 256 << 10];
        let mut left = self.bytes.unwrap_or(u64::MAX);
        while left > 0 && Instant::now() < end {
            let len = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match stream.write(&chunk[..len]) {
                Ok(n) => left -= n as u64,
                Err(error) if is_early(&error) => {}
                Err(_) if self.is_over(end) => break,
                Err(error) => return Err(error),
            }
        }
        if self.bytes.is_some() {
            // The other end closes when it has everything.
            while Instant::now() < end {
                match stream.read(&mut [0]) {
                    Err(error) if is_early(&error) => {}
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// A flow without an end is cut off by whichever side sees first that the time is over.
    fn is_over(&self, end: Instant) -> bool {
        self.bytes.is_none() && Instant::now() + PATIENCE >= end
    }

    fn receive(&self, mut stream: Box<dyn Duplex>, begun: Instant, end: Instant) -> io::Result<Done> {
        let mut done = Done::default();
        let (mut all, counts_from) = (0, begun + self.warm_up.saturating_sub(self.starts));
        let mut buffer = vec![0; 1 << 20];
        while Instant::now() < end && self.bytes.is_none_or(|bytes| all < bytes) {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    all += n as u64;
                    let now = Instant::now();
                    if now >= counts_from {
                        done.received += n as u64;
                    }
                    done.took = now - begun;
                }
                Err(error) if is_early(&error) => {}
                Err(_) if self.is_over(end) => break,
                Err(error) => return Err(error),
            }
        }
        match self.bytes {
            Some(bytes) if all < bytes => {
                Err(io::Error::new(ErrorKind::TimedOut, format!("{all} of {bytes} bytes came")))
            }
            _ => Ok(done),
        }
    }
}

fn is_early(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

type Accept = Box<dyn FnMut() -> io::Result<Box<dyn Duplex>> + Send>;

impl Party {
    fn listen(&self, port: u16) -> io::Result<Accept> {
        let at = SocketAddr::new(self.address, port);
        match &self.tcp {
            Tcp::Kernel(namespace) => {
                let listener = namespace.inside(|| std::net::TcpListener::bind(at))?;
                listener.set_nonblocking(true)?;
                Ok(Box::new(move || {
                    let stream = patiently(|| listener.accept())?.0;
                    stream.set_nonblocking(false)?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    Ok(Box::new(stream))
                }))
            }
            Tcp::Ours(host) => {
                let listener = net::TcpListener::bind(host, at)?;
                listener.set_nonblocking(true)?;
                Ok(Box::new(move || {
                    let stream = patiently(|| listener.accept())?.0;
                    stream.set_nonblocking(false)?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    Ok(Box::new(stream))
                }))
            }
        }
    }

    fn connect(&self, to: SocketAddr, cc: &str) -> io::Result<Box<dyn Duplex>> {
        match &self.tcp {
            Tcp::Kernel(namespace) => {
                let stream = namespace.inside(|| {
                    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
                    sockopt::set_tcp_congestion(&socket, cc).map_err(|error| {
                        io::Error::new(error.kind(), format!("this kernel has no {cc}: {error}"))
                    })?;
                    rustix::net::connect(&socket, &to)?;
                    Ok(std::net::TcpStream::from(socket))
                })?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                // What is not sent when the time is over goes nowhere.
                sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
                Ok(Box::new(stream))
            }
            Tcp::Ours(host) => {
                let socket = Socket::new(host, to)?;
                socket.set_option(&SockOpt::Congestion(cc.to_owned()))?;
                match socket.connect(to) {
                    Err(error) if error.raw_os_error() != Some(Errno::EISCONN.number()) => return Err(error),
                    _ => {}
                }
                let stream = net::TcpStream::from(socket);
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_linger(Some(Duration::ZERO))?;
                Ok(Box::new(stream))
            }
        }
    }
}

/// Asks again until there is an answer.
fn patiently<T>(mut ask: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let end = Instant::now() + OPENING;
    loop {
        match ask() {
            Err(error) if is_early(&error) && Instant::now() < end => thread::sleep(Duration::from_millis(1)),
            other => return other,
        }
    }
}
