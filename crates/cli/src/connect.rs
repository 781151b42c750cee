//! `sockeye connect`: a connection joined to standard input and output.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sockeye::core::Errno;
use sockeye::core::socket::SockOpt;
use sockeye::net::tokio::TcpStream;
use sockeye::net::{self, AsSocket as _, Socket};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::args::{AddressArg, ConnectArgs};
use crate::ended::{Ended, How, Traffic};
use crate::failure::{Code, Failure, Outcome};
use crate::link::Link;
use crate::out::{Out, Stream};
use crate::stop::{Stage, Stop};

/// What is read or written at once, bytes.
const CHUNK: usize = 256 << 10;

/// Opens a connection, carries both directions, and waits until both have ended.
pub fn run(args: &ConnectArgs) -> Outcome {
    let out = Out::new(Stream::Stderr, args.link.json);
    let peers = resolve(&args.host, args.port, &args.link.address)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start threads", &error))?;
    let link = Link::open(&args.link, |_| ())?;
    let stop = Stop::on_interrupt()?;
    let grace = Duration::from_secs_f64(args.grace);
    let result = runtime.block_on(async {
        tokio::select! {
            stream = open(&link, &peers, args) => Ok(carry(stream?, &out, &stop, grace).await),
            () = stop.closing() => Err(Failure::quiet(Code::Interrupted)),
        }
    });
    link.finish(grace, &out);
    // A read of standard input may never end: its thread is left behind.
    runtime.shutdown_background();
    let how = result?;
    if stop.stage() > Stage::Run {
        return Err(Failure::quiet(Code::Interrupted));
    }
    how.into_outcome()
}

/// The peer's addresses that a network of ours can mean, in the resolver's order.
fn resolve(host: &str, port: u16, ours: &[AddressArg]) -> Result<Vec<SocketAddr>, Failure> {
    let all: Vec<SocketAddr> = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => (host, port)
            .to_socket_addrs()
            .map_err(|error| {
                Failure::new(Code::Unreachable, format!("cannot find the address of {host}: {error}"))
                    .hint("names are looked up by the host's own resolver; give the address itself")
            })?
            .collect(),
    };
    let usable: Vec<SocketAddr> = all
        .iter()
        .copied()
        .filter(|peer| ours.iter().any(|a| a.address.is_ipv4() == peer.is_ipv4()))
        .collect();
    if usable.is_empty() {
        let version = if all.iter().any(SocketAddr::is_ipv6) { "IPv6" } else { "IPv4" };
        return Err(Failure::new(
            Code::Unreachable,
            format!("{host} has an {version} address, we have none"),
        )
        .hint(format!("give an {version} address with --address")));
    }
    Ok(usable)
}

/// Tries one address after the other; the last one's error counts.
async fn open(link: &Link, peers: &[SocketAddr], args: &ConnectArgs) -> Result<TcpStream, Failure> {
    let mut failure = Failure::new(Code::Unreachable, "no address to connect to");
    for &peer in peers {
        let attempt = connect(link, peer);
        let opened = match args.timeout {
            None => attempt.await,
            Some(seconds) => match tokio::time::timeout(Duration::from_secs_f64(seconds), attempt).await {
                Ok(opened) => opened,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
        };
        match opened {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = Failure::io(format_args!("cannot connect to {peer}"), &error),
        }
    }
    Err(failure)
}

/// One attempt. A router's word that the peer cannot be reached ends it: TCP itself would go on trying
/// (RFC 9293 MUST-56), the person in front of the terminal need not.
async fn connect(link: &Link, peer: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(link.host(), peer)?;
    let report_soft_errors = |on| match peer {
        SocketAddr::V4(_) => socket.set_option(&SockOpt::RecvErr(on)),
        SocketAddr::V6(_) => socket.set_option(&SockOpt::RecvErr6(on)),
    };
    report_soft_errors(true)?;
    socket.set_nonblocking(true);
    match socket.connect(peer) {
        Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS.number()) => {}
        other => other?,
    }
    let stream = TcpStream::from_std(net::TcpStream::from(socket.clone()));
    stream.writable().await?;
    match socket.take_error()? {
        Some(error) => Err(error),
        None => report_soft_errors(false).map(|()| stream),
    }
}

/// Carries both directions until both have ended, and says how.
async fn carry(mut stream: TcpStream, out: &Out, stop: &Stop, grace: Duration) -> How {
    let name = |address: io::Result<SocketAddr>| address.map_or_else(|e| e.to_string(), |a| a.to_string());
    let (local, peer) = (name(stream.local_addr()), name(stream.peer_addr()));
    out.record(&json!({"event": "open", "local": local, "peer": peer}));
    let traffic = Traffic::default();
    let begun = Instant::now();
    let socket = stream.as_socket().clone();
    let (mut reader, mut writer) = stream.split();
    let outward = async {
        let mut input = tokio::io::stdin();
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = input.read(&mut buffer).await?;
            if read == 0 {
                return writer.shutdown().await;
            }
            writer.write_all(&buffer[..read]).await?;
            traffic.send(read);
        }
    };
    let output_closed = AtomicBool::new(false);
    let inward = async {
        let mut output = tokio::io::stdout();
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = reader.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            traffic.receive(read);
            let mut written = output.write_all(&buffer[..read]).await;
            if written.is_ok() {
                written = output.flush().await;
            }
            if let Err(error) = written {
                output_closed.store(error.kind() == io::ErrorKind::BrokenPipe, Ordering::Relaxed);
                return Err(error);
            }
        }
    };
    let work = async { tokio::try_join!(outward, inward).map(drop) };
    let mut how = stop.until(&socket, grace, work).await;
    if output_closed.load(Ordering::Relaxed) {
        how = How::OutputClosed;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let Ended { how, received, sent } = traffic.end(how);
    if stop.stage() > Stage::Run {
        out.say(&format!("sockeye: {how} {peer}: {received} bytes in, {sent} bytes out, {seconds:.3} s"));
    }
    out.record(&json!({"event": "end", "peer": peer, "how": how.name(), "error": how.error(), "sent": sent,
        "received": received, "seconds": seconds}));
    how
}
