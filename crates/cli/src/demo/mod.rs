//! `sockeye demo`: one connection from socket() to CLOSED, told as it happens.

mod data;
mod screen;
mod transfer;
mod world;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use sockeye::core::socket::{How, MsgFlags};
use sockeye::core::tcp::State;
use sockeye::core::trace::{Record, What};
use sockeye::core::{Errno, Instant, SocketId};
use sockeye::device::{Capture, CaptureOptions};

use crate::args::DemoArgs;
use crate::failure::{Code, Failure, Outcome};
use screen::Screen;
use world::{Host, Role, World};

/// Where the server listens.
const PORT: u16 = 8_080;
const BACKLOG: i32 = 16;
/// A timer that is due within this time is waited for; a later one is skipped to.
const PATIENCE: Duration = Duration::from_millis(50);
/// The same over a bad link, where waiting costs nothing and a lost segment is sent again after seconds.
const PATIENCE_OVER_LINK: Duration = Duration::from_secs(30);
const SOCKET: &str = "socket(AF_INET, SOCK_STREAM)";

/// Every state a side passes if all goes as it should, in order (RFC 9293 figure 5).
const CLIENT_PATH: [State; 7] = [
    State::Closed,
    State::SynSent,
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::TimeWait,
    State::Closed,
];
const SERVER_PATH: [State; 6] =
    [State::Listen, State::SynReceived, State::Established, State::CloseWait, State::LastAck, State::Closed];

/// Runs the demo.
pub fn run(args: &DemoArgs) -> Outcome {
    let capture = match &args.pcap {
        Some(path) => Some(
            Capture::create(path, CaptureOptions::default())
                .map_err(|error| Failure::io(format_args!("cannot write {}", path.display()), &error))?,
        ),
        None => None,
    };
    let world = World::new(args.profile.into(), args.mtu, args.link.as_ref(), capture.as_ref())
        .map_err(|e| Failure::io("cannot start", &e))?;
    let mut story = Story {
        world,
        screen: Screen::new(args.json),
        path: [vec![State::Closed], vec![State::Listen]],
        capture: capture.clone(),
    };
    let result = story.tell(args);
    if let Some(capture) = &capture {
        capture.flush().map_err(|error| Failure::io("the capture is not complete", &error))?;
    }
    if story.screen.out().is_gone() {
        return Err(Failure::quiet(Code::OutputClosed));
    }
    result
}

struct Story {
    world: World,
    screen: Screen,
    /// The states each side has passed.
    path: [Vec<State>; 2],
    capture: Option<std::sync::Arc<Capture>>,
}

/// The two ends of the connection.
struct Ends {
    client: SocketId,
    server: SocketId,
    client_address: SocketAddr,
}

impl Story {
    fn tell(&mut self, args: &DemoArgs) -> Outcome {
        let screen = &self.screen;
        screen.out().say("Sockeye: a TCP connection from socket() to CLOSED, between two stacks joined by a link in memory.");
        screen.note(&format!(
            "profile {}, MTU {} bytes",
            sockeye::core::Profile::from(args.profile).name(),
            args.mtu
        ));
        if self.world.is_virtual() {
            self.screen.note("a bad link lies between them: time is virtual, and moves on when nothing is left to do in it");
        }
        self.world.trace(true);

        let (listener, since) = self.open_listener()?;
        let ends = self.handshake(listener, since)?;
        let sent = self.transfer(&ends, args)?;
        self.terminate(&ends, sent)?;
        self.give_back(listener, ends.client_address)?;
        self.verify()
    }

    /// A port, a socket that listens on it, and since when.
    fn open_listener(&mut self) -> Result<(SocketId, Instant), Failure> {
        self.screen.heading("1. The server opens passively: a socket, a port, two queues");
        let id = self.call(Role::Server, None, SOCKET, |host, _| host.socket(), |id| format!("{id:?}"))?;
        let address = self.world.host(Role::Server).at(PORT);
        let bind = format!("bind({address})");
        self.call(Role::Server, Some(id), &bind, |host, _| host.stack.bind(id, address), |()| "0".into())?;
        let listen = format!("listen({BACKLOG})");
        let begin = |host: &mut Host, now| host.stack.listen(now, id, BACKLOG).map(|()| now);
        let since =
            self.call(Role::Server, Some(id), &listen, begin, |_| "0, the socket is in LISTEN".into())?;
        Ok((id, since))
    }

    /// Three segments.
    fn handshake(&mut self, listener: SocketId, since: Instant) -> Result<Ends, Failure> {
        self.screen.heading("2. The client opens actively: the three-way handshake");
        let target = self.world.host(Role::Server).at(PORT);
        let client =
            self.call(Role::Client, None, SOCKET, |host, _| host.socket(), |id| format!("{id:?}"))?;
        let connect = format!("connect({target})");
        let begin = |host: &mut Host, now| match host.stack.connect(now, client, target) {
            Err(Errno::EINPROGRESS) => host.stack.getsockname(client),
            Ok(()) => Err(Errno::EISCONN), // nothing has crossed the link yet
            Err(error) => Err(error),
        };
        let client_address = self.call(Role::Client, Some(client), &connect, begin, |address| {
            format!("-1 EINPROGRESS, on its way from port {}, which the stack chose", address.port())
        })?;
        self.screen.columns();
        self.screen.listening(since, target, client_address);
        self.exchange(None)?;

        let again = |host: &mut Host, now| host.stack.connect(now, client, target);
        self.call(Role::Client, Some(client), &connect, again, |()| "0, connected".into())?;
        let accept = |host: &mut Host, now| host.stack.accept(now, listener);
        let (server, peer) = self.call(Role::Server, Some(listener), "accept()", accept, |(id, peer)| {
            format!("{id:?}, peer {peer}; the listener goes on listening")
        })?;
        if peer != client_address {
            return Err(Failure::new(Code::Failed, format!("accepted {peer} instead of {client_address}")));
        }
        self.show_buffers(client, server);
        Ok(Ends { client, server, client_address })
    }

    /// Four segments, with the server's answer over the half-open rest between them.
    fn terminate(&mut self, ends: &Ends, digest: [u8; 32]) -> Result<(), Failure> {
        self.screen.heading("4. The termination: half-close, the answer, close");
        let (client, server) = (ends.client, ends.server);
        let shutdown = |host: &mut Host, now| host.stack.shutdown(now, client, How::Write);
        self.call(Role::Client, Some(client), "shutdown(SHUT_WR)", shutdown, |()| {
            "0, a FIN follows the data".into()
        })?;
        self.exchange(None)?;
        let end = self.read(Role::Server, server, "the end of the stream")?;
        let send = |host: &mut Host, now| host.stack.send(now, server, &digest, MsgFlags::empty());
        self.call(Role::Server, Some(server), "send(digest)", send, |n| {
            format!("{n}, this direction is still open")
        })?;
        self.exchange(None)?;
        let answer = self.read(Role::Client, client, "the digest from the server")?;
        self.call(
            Role::Server,
            Some(server),
            "close()",
            |host, now| host.stack.close(now, server),
            |()| "0, its FIN goes out".into(),
        )?;
        self.exchange(None)?;
        let last = self.read(Role::Client, client, "the end of the stream")?;
        self.call(
            Role::Client,
            Some(client),
            "close()",
            |host, now| host.stack.close(now, client),
            |()| "0".into(),
        )?;
        self.exchange(None)?;
        if !end.is_empty() || answer != digest || !last.is_empty() {
            return Err(Failure::new(Code::Failed, "the last bytes did not arrive as they were sent"));
        }
        Ok(())
    }

    /// TIME-WAIT runs its course, and the ports can be used again.
    fn give_back(&mut self, listener: SocketId, client_address: SocketAddr) -> Result<(), Failure> {
        self.screen.heading("5. TIME-WAIT, and the ports given back");
        let is_over = self.path[Role::Client as usize].last() != Some(&State::TimeWait);
        if is_over {
            self.screen.note(
                "A second copy of the last ACK found the server's end gone and drew a RST, which ended TIME-WAIT at once: \
                 so does Linux, unless net.ipv4.tcp_rfc1337 is set.",
            );
        } else if self.try_bind(client_address)? != Err(Errno::EADDRINUSE) {
            return Err(Failure::new(
                Code::Failed,
                "the port was free although its connection is in TIME-WAIT",
            ));
        }
        // Timers that stand before it belong to nobody any more: only TIME-WAIT's end is left to happen.
        while self.path[Role::Client as usize].last() == Some(&State::TimeWait) {
            let Some(wait) = self.world.until_next_timer() else {
                return Err(Failure::new(Code::Failed, "TIME-WAIT has no end"));
            };
            if wait > Duration::from_secs(1) {
                self.screen.note(&format!(
                    "2 MSL: {:.1} s are left, and nothing else is left to happen: the demo moves its clock forward.",
                    wait.as_secs_f64()
                ));
            }
            self.world.skip(wait);
            self.exchange(None)?;
        }
        let given = self.try_bind(client_address)?;
        self.call(
            Role::Server,
            Some(listener),
            "close()",
            |host, now| host.stack.close(now, listener),
            |()| "0, the listener is gone".into(),
        )?;
        given.map_err(|e| errno("the client's port was not given back: bind", e))
    }

    /// Whether a new socket may have this address; the socket is closed again.
    fn try_bind(&mut self, address: SocketAddr) -> Result<Result<(), Errno>, Failure> {
        let attempt = |host: &mut Host, now| {
            let id = host.socket()?;
            let bound = host.stack.bind(id, address);
            host.stack.close(now, id)?;
            Ok(bound)
        };
        self.call(Role::Client, None, &format!("bind({address}), a new socket"), attempt, |bound| match bound
        {
            Ok(()) => "0, the port can be used again".into(),
            Err(error) => format!("-1 {error}"),
        })
    }

    fn verify(&mut self) -> Outcome {
        let left: usize = Role::BOTH.iter().map(|&role| self.world.host(role).stack.snapshot().count()).sum();
        let [client, server] = &self.path;
        let well = client[..] == CLIENT_PATH && server[..] == SERVER_PATH && left == 0;
        let text = |path: &[State]| path.iter().map(|state| state.name()).collect::<Vec<_>>().join(" -> ");
        self.screen.heading("What happened");
        self.screen.out().say(&format!("  client  {}", text(client)));
        self.screen.out().say(&format!("  server  {}", text(server)));
        self.screen.summary(
            &format!("sockets, half-open connections and TIME-WAITs left on both stacks: {left}"),
            json!({"event": "end", "ok": well, "client": client.iter().map(|s| s.name()).collect::<Vec<_>>(),
                "server": server.iter().map(|s| s.name()).collect::<Vec<_>>(), "left": left}),
        );
        if well {
            Ok(())
        } else {
            Err(Failure::new(
                Code::Failed,
                "the connection did not pass the states that it should have passed",
            ))
        }
    }

    /// Carries segments, and shows each (at most `limit` of them), until there are none and no timer is close.
    fn exchange(&mut self, mut limit: Option<&mut u32>) -> Result<usize, Failure> {
        let mut total = 0;
        loop {
            self.show_records(Role::Client);
            let mut moved = 0;
            for from in Role::BOTH {
                while limit.as_ref().is_none_or(|limit| **limit > 0)
                    && self.world.carry_one(from).map_err(link)?
                {
                    moved += 1;
                    self.show_records(from);
                    if let Some(limit) = limit.as_mut() {
                        **limit -= 1;
                    }
                }
            }
            total += moved;
            if limit.is_some() {
                return Ok(total);
            }
            if moved == 0 {
                let patience = if self.world.is_virtual() { PATIENCE_OVER_LINK } else { PATIENCE };
                match self.world.until_next_timer() {
                    Some(wait) if wait <= patience => self.world.wait(wait),
                    _ => return Ok(total),
                }
            }
        }
    }

    /// Shows what both stacks have recorded, `first`'s records first: it has just sent what the other received.
    fn show_records(&mut self, first: Role) {
        self.world.advance();
        for role in [first, first.other()] {
            for record in self.world.records(role) {
                self.note_state(role, &record);
                self.screen.record(role, &record);
            }
        }
    }

    /// Keeps what both stacks have recorded, without a word.
    fn keep_records(&mut self) {
        for role in Role::BOTH {
            for record in self.world.records(role) {
                self.note_state(role, &record);
            }
        }
    }

    /// Keeps a change of state of the connection.
    fn note_state(&mut self, role: Role, record: &Record) {
        if let Some(capture) = &self.capture {
            capture.observe(record);
        }
        if let What::State { to, .. } = record.what {
            self.path[role as usize].push(to);
        }
    }

    /// Reads what there is, which should be `what`.
    fn read(&mut self, role: Role, id: SocketId, what: &str) -> Result<Vec<u8>, Failure> {
        let mut buffer = vec![0; 4_096];
        let recv = |host: &mut Host, now| host.stack.recv(now, id, &mut buffer, MsgFlags::empty());
        let read = self.call(role, Some(id), "recv()", recv, |n| format!("{n}, {what}"))?;
        buffer.truncate(read);
        Ok(buffer)
    }

    /// The TX and RX buffers of both ends.
    fn show_buffers(&mut self, client: SocketId, server: SocketId) {
        let now = self.world.now();
        for (role, id) in [(Role::Client, client), (Role::Server, server)] {
            let Ok(info) = self.world.host(role).stack.tcp_info(now, id) else { continue };
            let (free, size) = info.send_buffer;
            let (readable, space) = info.receive_buffer;
            self.screen.summary(
                &format!(
                    "{}: {}; TX {} of {} bytes held; RX {} of {} bytes to read; window {} bytes",
                    role.name(), info.state, group(u64::from(size.saturating_sub(free))), group(u64::from(size)),
                    group(u64::from(readable)), group(u64::from(space)), group(u64::from(info.rcv_wnd))
                ),
                json!({"event": "buffers", "side": role.name(), "tx": size.saturating_sub(free), "tx_size": size,
                    "rx": readable, "rx_size": space, "window": info.rcv_wnd}),
            );
        }
    }

    /// Makes a call and shows it with its result; a failure ends the demo.
    fn call<T>(
        &mut self,
        role: Role,
        socket: Option<SocketId>,
        name: &str,
        call: impl FnOnce(&mut Host, Instant) -> Result<T, Errno>,
        text: impl FnOnce(&T) -> String,
    ) -> Result<T, Failure> {
        let now = self.world.now();
        let result = call(self.world.host(role), now);
        let shown = result.as_ref().map_or_else(|e| format!("-1 {e}"), text);
        self.screen.call(now, role, socket, name, &shown);
        result.map_err(|e| errno(name, e))
    }
}

/// A number with its thousands apart.
fn group(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn errno(call: &str, error: Errno) -> Failure {
    Failure::io(call, &io::Error::from_raw_os_error(error.number()))
}

fn link(error: io::Error) -> Failure {
    Failure::io("the link failed", &error)
}

#[cfg(test)]
mod tests {
    use super::group;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1_000, 67_108_864].map(group), ["0", "999", "1,000", "67,108,864"]);
    }
}
