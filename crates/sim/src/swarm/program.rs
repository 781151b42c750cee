//! The programs of a scenario: what each kind of flow does at either end, and what it may meet.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;

use sockeye_core::socket::{How, MsgFlags, SockOpt};
use sockeye_core::{Duration, Errno};

use super::scenario::{Flow, Kind};
use super::stream::Stream;
use crate::task::{Elapsed, Host, TcpStream};

/// Silence for this long is the end of a program's patience.
const PATIENCE: Duration = Duration::from_secs(1_500);
/// How often a server looks whether its clients are done.
const LOOK: Duration = Duration::from_secs(20);

/// What became of the connections of a scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections opened by clients.
    pub opened: u64,
    /// Connections that did all they were to do, ends that are to be abortive included.
    pub completed: u64,
    /// Connections that gave up, where the scenario allows for it.
    pub gave_up: u64,
    /// Bytes that programs received.
    pub received: u64,
}

/// How a side of a connection came to its end, if not as planned.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Trouble {
    /// A call failed.
    Call(&'static str, Errno),
    /// Nothing happened for too long.
    Silence(&'static str),
    /// The wrong byte, too many of them, or too few: never allowed.
    Wrong(String),
}

type Result<T> = std::result::Result<T, Trouble>;

/// What the programs of one flow share.
pub(super) struct Pair {
    pub flow: Flow,
    pub number: usize,
    /// Of the client's sockets, and of the listener.
    pub options: [Vec<SockOpt>; 2],
    pub server: SocketAddr,
    /// Nothing can make a connection give up.
    pub gentle: bool,
    /// Nothing is lost: even a RST arrives.
    pub lossless: bool,
    pub tally: Rc<RefCell<Tally>>,
    pub failures: Rc<RefCell<Vec<String>>>,
    pub done: Cell<bool>,
}

impl Pair {
    fn up(&self) -> Stream {
        Stream(2 * self.number as u64)
    }

    fn down(&self) -> Stream {
        Stream(2 * self.number as u64 + 1)
    }

    fn fail(&self, who: &str, what: &Trouble) {
        let kind = self.flow.kind.name();
        self.failures.borrow_mut().push(format!("flow {} ({kind}), {who}: {what:?}", self.number));
    }

    /// Whether what a side met is in order; notes it if not.
    fn judge(&self, who: &str, result: &Result<()>) {
        let Err(trouble) = result else { return };
        let abortive = self.flow.kind.is_abortive();
        let allowed = match trouble {
            Trouble::Wrong(_) => false,
            Trouble::Call(_, Errno::ECONNRESET | Errno::EPIPE) if abortive => true,
            // The RST may have been lost, and nothing makes the other side send a second one.
            Trouble::Silence(_) if abortive => !self.lossless,
            Trouble::Silence(_) => !self.gentle,
            Trouble::Call(_, error) => !self.gentle && may_end_a_connection(*error),
        };
        if !allowed {
            self.fail(who, trouble);
        }
    }
}

fn may_end_a_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::ETIMEDOUT
            | Errno::ECONNRESET
            | Errno::ECONNREFUSED
            | Errno::EPIPE
            | Errno::EHOSTUNREACH
            | Errno::ENOTCONN // shutdown, after the connection's end
            | Errno::EBADF // its host was started anew
    )
}

// ---- the client ----

/// The client's side of a flow.
pub(super) async fn client(host: Host, pair: Rc<Pair>) {
    host.net().sleep(Duration::from_millis(u64::from(pair.flow.start))).await;
    match pair.flow.kind {
        Kind::Burst => {
            let start = |_| host.spawn(connection(host.clone(), Rc::clone(&pair)));
            let all: Vec<_> = (0..pair.flow.times).map(start).collect();
            for one in all {
                one.await;
            }
        }
        Kind::Short => {
            for _ in 0..pair.flow.times {
                connection(host.clone(), Rc::clone(&pair)).await;
            }
        }
        _ => connection(host, Rc::clone(&pair)).await,
    }
    pair.done.set(true);
}

async fn connection(host: Host, pair: Rc<Pair>) {
    pair.tally.borrow_mut().opened += 1;
    let is_refused = pair.flow.kind == Kind::Refused;
    let result = match guard(&host, "connect", host.connect(pair.server, &pair.options[0])).await {
        Err(Trouble::Call(_, Errno::ECONNREFUSED)) if is_refused => Ok(()),
        Err(trouble) => Err(trouble),
        Ok(_) if is_refused => Err(Trouble::Wrong("connected to a port where nobody listens".into())),
        Ok(stream) => talk(&host, &pair, stream).await,
    };
    pair.judge("client", &result);
    let mut tally = pair.tally.borrow_mut();
    match result {
        Err(Trouble::Call(_, Errno::ECONNRESET | Errno::EPIPE)) if pair.flow.kind.is_abortive() => {
            tally.completed += 1;
        }
        Ok(()) => tally.completed += 1,
        Err(_) => tally.gave_up += 1,
    }
}

async fn talk(host: &Host, pair: &Rc<Pair>, stream: TcpStream) -> Result<()> {
    let flow = &pair.flow;
    let (up, down) = (u64::from(flow.up), u64::from(flow.down));
    let linger = |time| stream.set(&SockOpt::Linger(Some(time))).map_err(|e| Trouble::Call("setsockopt", e));
    match flow.kind {
        Kind::Echo => {
            for round in 0..u64::from(flow.times) {
                send(host, &stream, pair.up(), round * up, up, 0).await?;
                receive(host, pair, &stream, pair.down(), round * down, down).await?;
            }
        }
        Kind::Linger | Kind::Wait => {
            send(host, &stream, pair.up(), 0, up, 0).await?;
            linger(Duration::from_secs(if flow.kind == Kind::Wait { 30 } else { 0 }))?;
        }
        Kind::Half | Kind::First | Kind::Short | Kind::Burst => {
            send(host, &stream, pair.up(), 0, up, 0).await?;
            if flow.kind == Kind::Half {
                stream.shutdown(How::Write).map_err(|e| Trouble::Call("shutdown", e))?;
            }
            receive(host, pair, &stream, pair.down(), 0, down).await?;
            if matches!(flow.kind, Kind::Half | Kind::First) {
                end(host, &stream).await?;
            }
        }
        _ => {
            // What was sent may have been read: then there is no RST, and no data either.
            let down = if flow.kind == Kind::Unread { 0 } else { down };
            return both_ways(host, pair, stream, (pair.up(), up), (pair.down(), down)).await;
        }
    }
    match close(host, stream).await {
        // FreeBSD's answer when SO_LINGER's time was too short; all goes out in the background.
        Err(Trouble::Call(_, Errno::EAGAIN)) if flow.kind == Kind::Wait => Ok(()),
        result => result,
    }
}

// ---- the server ----

/// The server's side of a flow: accepts until the clients are done.
pub(super) async fn server(host: Host, pair: Rc<Pair>) {
    if pair.flow.kind == Kind::Refused {
        return;
    }
    let listener = match host.listen(pair.server, 128, &pair.options[1]) {
        Ok(listener) => listener,
        Err(error) => return pair.fail("server", &Trouble::Call("listen", error)),
    };
    loop {
        match host.net().timeout(LOOK, listener.accept()).await {
            Ok(Ok((stream, _))) => {
                let (at, pair) = (host.clone(), Rc::clone(&pair));
                host.spawn(async move {
                    let result = serve(&at, &pair, stream).await;
                    pair.judge("server", &result);
                });
            }
            Ok(Err(error)) => return pair.fail("server", &Trouble::Call("accept", error)),
            Err(Elapsed) if pair.done.get() => return,
            Err(Elapsed) => {}
        }
    }
}

async fn serve(host: &Host, pair: &Rc<Pair>, stream: TcpStream) -> Result<()> {
    let flow = &pair.flow;
    let (up, down) = (u64::from(flow.up), u64::from(flow.down));
    match flow.kind {
        Kind::Echo => {
            for round in 0..u64::from(flow.times) {
                receive(host, pair, &stream, pair.up(), round * up, up).await?;
                send(host, &stream, pair.down(), round * down, down, 0).await?;
            }
            end(host, &stream).await?;
        }
        Kind::Half => {
            receive(host, pair, &stream, pair.up(), 0, up).await?;
            end(host, &stream).await?;
            send(host, &stream, pair.down(), 0, down, 0).await?;
        }
        Kind::First | Kind::Short | Kind::Burst => {
            receive(host, pair, &stream, pair.up(), 0, up).await?;
            send(host, &stream, pair.down(), 0, down, 0).await?;
            if flow.kind != Kind::First {
                end(host, &stream).await?;
            }
        }
        Kind::Linger | Kind::Wait => {
            receive(host, pair, &stream, pair.up(), 0, up).await?;
            end(host, &stream).await?;
        }
        Kind::Abort => {
            receive(host, pair, &stream, pair.up(), 0, up / 2).await?;
            return stream.abort().map_err(|e| Trouble::Call("abort", e));
        }
        Kind::Unread => {
            guard(host, "recv", stream.recv(&mut [0; 1])).await?;
        }
        Kind::Bulk | Kind::Slow | Kind::Urgent | Kind::Refused => {
            return both_ways(host, pair, stream, (pair.down(), down), (pair.up(), up)).await;
        }
    }
    close(host, stream).await
}

// ---- both ----

/// Sends and receives at once, shuts down after the last byte, reads to the end.
async fn both_ways(
    host: &Host,
    pair: &Rc<Pair>,
    stream: TcpStream,
    (out, len): (Stream, u64),
    (from, expected): (Stream, u64),
) -> Result<()> {
    let stream = Rc::new(stream);
    let is_urgent = pair.flow.kind == Kind::Urgent;
    if is_urgent {
        stream.set(&SockOpt::OobInline(true)).map_err(|e| Trouble::Call("setsockopt", e))?;
    }
    let sending = host.spawn({
        let (host, stream) = (host.clone(), Rc::clone(&stream));
        async move {
            send(&host, &stream, out, 0, len, if is_urgent { 3_000 } else { 0 }).await?;
            stream.shutdown(How::Write).map_err(|e| Trouble::Call("shutdown", e))
        }
    });
    let received = match receive(host, pair, &stream, from, 0, expected).await {
        Ok(()) => end(host, &stream).await,
        Err(trouble) => Err(trouble),
    };
    // What stopped the receiver stops the sender too, if it has not come to its end. An error is told once: to the
    // sender perhaps, and to the receiver the stream has ended.
    let sent = sending.await.unwrap_or(Ok(()));
    sent.and(received)?;
    match Rc::try_unwrap(stream) {
        Ok(stream) => close(host, stream).await,
        Err(_) => Err(Trouble::Wrong("the sending half outlived its program".into())),
    }
}

/// Sends `len` bytes of a stream from `offset` on, in pieces of uneven length. Each `urgent` bytes, if that is not
/// 0, the last byte of a piece is urgent.
async fn send(
    host: &Host,
    stream: &TcpStream,
    data: Stream,
    offset: u64,
    len: u64,
    urgent: u64,
) -> Result<()> {
    let mut buffer = vec![0; len.min(16_384) as usize];
    let (mut done, mut marked) = (0, 0);
    while done < len {
        let most = (len - done).min(buffer.len() as u64) as u32;
        let piece = 1 + host.net().below(most) as usize;
        data.fill(offset + done, &mut buffer[..piece]);
        let mark = urgent > 0 && done + piece as u64 >= marked + urgent;
        let flags = if mark { MsgFlags::OOB } else { MsgFlags::NOSIGNAL };
        done += guard(host, "send", stream.send_with(&buffer[..piece], flags)).await? as u64;
        if mark {
            marked = done;
        }
    }
    Ok(())
}

/// Receives `len` bytes of a stream from `offset` on.
async fn receive(
    host: &Host,
    pair: &Pair,
    stream: &TcpStream,
    data: Stream,
    offset: u64,
    len: u64,
) -> Result<()> {
    let is_slow = pair.flow.kind == Kind::Slow && data == pair.up();
    let most = if is_slow { 700 } else { 16_384 };
    let mut buffer = vec![0; len.min(most) as usize];
    let mut done = 0;
    while done < len {
        let out = &mut buffer[..most.min(len - done) as usize];
        let got = guard(host, "recv", stream.recv(out)).await?;
        if got == 0 {
            return Err(Trouble::Wrong(format!("the stream ended after {done} of {len} bytes")));
        }
        if let Some(at) = data.differs(offset + done, &out[..got]) {
            return Err(Trouble::Wrong(format!("byte {at} is not the one that was sent")));
        }
        done += got as u64;
        pair.tally.borrow_mut().received += got as u64;
        if is_slow && host.net().below(4) == 0 {
            let pause = Duration::from_micros(u64::from(host.net().below(200_000)));
            host.net().sleep(pause).await;
        }
    }
    Ok(())
}

/// Receives the end of the stream.
async fn end(host: &Host, stream: &TcpStream) -> Result<()> {
    match guard(host, "recv", stream.recv(&mut [0; 16])).await? {
        0 => Ok(()),
        got => Err(Trouble::Wrong(format!("{got} bytes after the last one"))),
    }
}

async fn close(host: &Host, stream: TcpStream) -> Result<()> {
    guard(host, "close", stream.close()).await
}

async fn guard<T>(
    host: &Host,
    what: &'static str,
    call: impl Future<Output = std::result::Result<T, Errno>>,
) -> Result<T> {
    match host.net().timeout(PATIENCE, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Trouble::Call(what, error)),
        Err(Elapsed) => Err(Trouble::Silence(what)),
    }
}
