//! `sockeye serve`: accept connections on a device and do something with each.

mod exec;
mod http;
mod plain;

use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use serde_json::json;
use sockeye::net;
use sockeye::net::tokio::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::args::{ModeArgs, ServeArgs};
use crate::ended::Ended;
use crate::failure::{Code, Failure, Outcome, describe};
use crate::link::Link;
use crate::out::{Out, Stream};
use crate::stop::{Stage, Stop};

/// What is done with each connection.
enum Mode {
    Echo,
    Discard,
    Source(u64),
    Http(http::Files),
    Exec(String),
}

impl Mode {
    fn new(args: &ModeArgs) -> Result<Mode, Failure> {
        Ok(match args {
            ModeArgs { http: Some(dir), .. } => Mode::Http(http::Files::new(dir)?),
            ModeArgs { exec: Some(command), .. } => Mode::Exec(command.clone()),
            ModeArgs { source: Some(bytes), .. } => Mode::Source(*bytes),
            ModeArgs { discard: true, .. } => Mode::Discard,
            _ => Mode::Echo,
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Mode::Echo => "echo",
            Mode::Discard => "discard",
            Mode::Source(_) => "source",
            Mode::Http(_) => "http",
            Mode::Exec(_) => "exec",
        }
    }
}

/// What all connections share.
struct Service {
    mode: Mode,
    out: Out,
    stop: Stop,
    grace: Duration,
    permits: Arc<Semaphore>,
    next_id: AtomicU64,
}

/// Serves until interrupted.
pub fn run(args: &ServeArgs) -> Outcome {
    let out = Out::new(if args.link.json { Stream::Stdout } else { Stream::Stderr }, args.link.json);
    let mode = Mode::new(&args.mode)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start threads", &error))?;
    let link = Link::open(&args.link, |config| config.abort_on_overflow |= args.abort_on_overflow)?;
    link.describe(&out);
    let service = Arc::new(Service {
        mode,
        out,
        stop: Stop::on_interrupt()?,
        grace: Duration::from_secs_f64(args.grace),
        permits: Arc::new(Semaphore::new(args.max_connections as usize)),
        next_id: AtomicU64::new(1),
    });
    let result = runtime.block_on(serve(&service, &link, args));
    link.finish(service.grace, &service.out);
    result?;
    match service.stop.stage() {
        Stage::Abort => Err(Failure::quiet(Code::Interrupted)),
        Stage::Run | Stage::Close => Ok(()),
    }
}

async fn serve(service: &Arc<Service>, link: &Link, args: &ServeArgs) -> Outcome {
    let mut port = args.port;
    let mut listeners = Vec::new();
    for address in &args.link.address {
        let wanted = SocketAddr::new(address.address, port);
        let listener = net::TcpListener::bind_with(link.host(), wanted, args.backlog)
            .map(TcpListener::from_std)
            .map_err(|error| Failure::io(format_args!("cannot listen on {wanted}"), &error))?;
        let local = listener.local_addr().map_err(|error| Failure::io("cannot listen", &error))?;
        // With port 0 the first address chooses, the others follow.
        port = local.port();
        service.out.event(&format!("listening on {local} ({})", service.mode.name()), || {
            json!({"event": "listening", "local": local.to_string(), "mode": service.mode.name(), "backlog": args.backlog})
        });
        listeners.push(listener);
    }
    accept(service, listeners).await
}

/// The next connection of any of them. `turn` changes with every call, so that none is served before the others always.
async fn next(listeners: &[TcpListener], turn: usize) -> io::Result<(TcpStream, SocketAddr)> {
    let turn = turn % listeners.len();
    let (later, sooner) = listeners.split_at(turn);
    let mut accepting: Vec<_> =
        sooner.iter().chain(later).map(|listener| Box::pin(listener.accept())).collect();
    // Who is not asked to the end takes no connection.
    poll_fn(|cx| {
        let mut asked = accepting.iter_mut().map(|accept| accept.as_mut().poll(cx));
        asked.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

/// Accepts until told to stop, then waits for the connections it has.
async fn accept(service: &Arc<Service>, listeners: Vec<TcpListener>) -> Outcome {
    let mut connections = JoinSet::new();
    let mut result = Ok(());
    // One permit for whichever listener has a connection first: one that waits must not keep it from the others.
    for turn in 0.. {
        let permit = tokio::select! {
            permit = service.permits.clone().acquire_owned() => permit,
            () = service.stop.closing() => break,
        };
        let accepted = tokio::select! {
            accepted = next(&listeners, turn) => accepted,
            () = service.stop.closing() => break,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let service = service.clone();
                connections.spawn(async move {
                    connection(&service, stream, peer).await;
                    drop(permit);
                });
            }
            // The connection died in the queue (POSIX: ECONNABORTED); the listener is well.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                result = Err(Failure::io("accept", &error));
                break;
            }
        }
    }
    drop(listeners);
    if !connections.is_empty() {
        service.out.event(
            &format!("closing {} connections ...", connections.len()),
            || json!({"event": "closing", "connections": connections.len()}),
        );
    }
    while connections.join_next().await.is_some() {}
    result
}

async fn connection(service: &Service, stream: TcpStream, peer: SocketAddr) {
    let id = service.next_id.fetch_add(1, Ordering::Relaxed);
    let local = stream.local_addr().map_or_else(|error| describe(&error), |address| address.to_string());
    service.out.event(
        &format!("#{id} open {peer}"),
        || json!({"event": "open", "id": id, "local": local, "peer": peer.to_string()}),
    );
    let begun = Instant::now();
    let ended = match &service.mode {
        Mode::Http(files) => http::serve(files, stream, peer, service).await,
        Mode::Exec(command) => exec::serve(command, stream, peer, service).await,
        Mode::Echo => plain::echo(stream, service).await,
        Mode::Discard => plain::discard(stream, service).await,
        Mode::Source(bytes) => plain::source(*bytes, stream, service).await,
    };
    let seconds = begun.elapsed().as_secs_f64();
    let Ended { how, received, sent } = &ended;
    service.out.event(&format!("#{id} {how} {peer}: {received} bytes in, {sent} bytes out, {seconds:.3} s"), || {
        json!({"event": "end", "id": id, "peer": peer.to_string(), "how": how.name(), "error": how.error(),
            "received": received, "sent": sent, "seconds": seconds})
    });
}
