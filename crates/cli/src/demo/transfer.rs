//! The bytes on their way: the first segments one by one, then the rest at full speed.

use std::ops::Range;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sockeye::core::socket::MsgFlags;
use sockeye::core::{Errno, SocketId};

use super::data::{Digest, Source, hex};
use super::world::{Role, World};
use super::{Ends, Story, errno, group, link};
use crate::args::DemoArgs;
use crate::failure::{Code, Failure};

/// What one call hands over or asks for at most, bytes.
const CHUNK: usize = 256 << 10;

impl Story {
    /// The transfer. Returns the digest of what was sent, which is that of what has arrived.
    pub(super) fn transfer(&mut self, ends: &Ends, args: &DemoArgs) -> Result<[u8; 32], Failure> {
        let title = format!("3. The transfer: {} bytes from the client to the server", group(args.bytes));
        self.screen.heading(&title);
        let before = Role::BOTH.map(|role| self.world.host(role).stack.stats().clone());
        let mut flow = Flow::new(args.bytes);
        let mut left_to_show = args.show;
        let mut first = true;
        while flow.received < args.bytes && left_to_show > 0 {
            let mut moved = flow.send(&mut self.world, ends.client)?;
            if std::mem::take(&mut first) {
                self.screen.note(&format!("send() has put {} bytes into the TX buffer", group(flow.sent)));
            }
            moved += self.exchange(Some(&mut left_to_show))?;
            if left_to_show == 0 {
                self.show_buffers(ends.client, ends.server);
                self.screen.note("... and so on: the rest without a line for each segment");
            }
            moved += flow.receive(&mut self.world, ends.server)?;
            self.world.wait_unless(moved > 0).ok_or_else(stuck)?;
        }
        // A capture tells the state of each packet's connection: it needs the records.
        self.world.trace(self.capture.is_some());
        flow.start_clock(&self.world);
        self.rush(ends, &mut flow)?;
        flow.stop_clock(&self.world);
        self.world.trace(true);
        self.report(ends, flow, before)
    }

    /// All that is left, unseen.
    fn rush(&mut self, ends: &Ends, flow: &mut Flow) -> Result<(), Failure> {
        let bar = progress_bar(self.screen.out().is_json(), flow.bytes);
        let mut tenth = flow.received * 10 / flow.bytes.max(1);
        while flow.received < flow.bytes {
            let mut moved = flow.send(&mut self.world, ends.client)?;
            for from in Role::BOTH {
                moved += self.world.carry_all(from).map_err(link)?;
            }
            moved += flow.receive(&mut self.world, ends.server)?;
            self.world.wait_unless(moved > 0).ok_or_else(stuck)?;
            self.keep_records();
            bar.set_position(flow.received);
            if flow.received * 10 / flow.bytes > tenth {
                tenth = flow.received * 10 / flow.bytes;
                let event = json!({"event": "progress", "bytes": flow.received, "of": flow.bytes});
                self.screen.out().record(&event);
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn report(
        &mut self,
        ends: &Ends,
        flow: Flow,
        before: [sockeye::core::Stats; 2],
    ) -> Result<[u8; 32], Failure> {
        let after = Role::BOTH.map(|role| self.world.host(role).stack.stats().clone());
        let now = self.world.now();
        let info = self.world.host(Role::Client).stack.tcp_info(now, ends.client);
        let info = info.map_err(|e| errno("getsockopt(TCP_INFO)", e))?;
        let segments = after[0].out_segs - before[0].out_segs;
        let acks = after[1].out_segs - before[1].out_segs;
        let retransmitted = after[0].retrans_segs - before[0].retrans_segs;
        let (bytes, seconds) = (flow.measured, flow.stacks_took.as_secs_f64());
        let rate = bytes as f64 * 8.0 / seconds.max(1e-9);
        let received = flow.received;
        let (sent, arrived) = flow.digests();
        let speed = match bytes {
            0 => "all of them were shown, so that their speed is that of the screen".to_owned(),
            _ if self.world.is_virtual() => format!(
                "{} of them unseen in {seconds:.3} s of the link's time: {:.2} Mbit/s",
                group(bytes),
                rate / 1e6
            ),
            _ => format!(
                "{} of them unseen in {seconds:.3} s: {:.2} Gbit/s, both stacks on one core",
                group(bytes),
                rate / 1e9
            ),
        };
        self.screen.summary(
            &format!("{} bytes have arrived; {speed}", group(received)),
            json!({"event": "transfer", "bytes": received, "measured_bytes": bytes, "seconds": seconds,
                "bits_per_second": if bytes > 0 { Some(rate) } else { None }, "segments": segments, "acks": acks,
                "retransmitted": retransmitted, "sha256_sent": hex(&sent), "sha256_received": hex(&arrived),
                "cwnd": info.snd_cwnd, "srtt": info.rtt.as_secs_f64()}),
        );
        self.screen.note(&format!(
            "{} segments of up to {} bytes, {} came back, {retransmitted} retransmitted; cwnd {} segments, srtt {} us",
            group(segments),
            info.snd_mss,
            group(acks),
            info.snd_cwnd,
            info.rtt.as_micros()
        ));
        self.tell_link();
        self.screen.note(&format!("SHA-256 sent      {}", hex(&sent)));
        self.screen.note(&format!("SHA-256 received  {}", hex(&arrived)));
        if sent != arrived {
            return Err(Failure::new(Code::Failed, "what arrived is not what was sent"));
        }
        Ok(sent)
    }
}

impl Story {
    /// What the bad link has done so far, if there is one.
    fn tell_link(&self) {
        let Some(link) = self.world.link() else { return };
        for (role, way) in Role::BOTH.into_iter().zip(link) {
            let rows = way.counters().rows();
            let shown = rows.iter().filter(|(name, n)| *n > 0 && *name != "delivered_bytes");
            let list: Vec<String> =
                shown.map(|(name, n)| format!("{} {}", group(*n), name.replace('_', " "))).collect();
            let mut event = json!({"event": "link", "side": role.name()});
            rows.iter().for_each(|(name, n)| event[*name] = json!(n));
            self.screen.summary(&format!("the link from the {}: {}", role.name(), list.join(", ")), event);
        }
    }
}

/// How far the bytes are, their digests, and the time that the stacks took.
struct Flow {
    bytes: u64,
    sent: u64,
    received: u64,
    source: Source,
    digest_sent: Digest,
    digest_received: Digest,
    buffer: Vec<u8>,
    chunk: Vec<u8>,
    /// The part of the chunk that `send` has not taken yet.
    pending: Range<usize>,
    /// When the clock was started, and how much had been received then.
    started: (Instant, u64),
    /// The same moment in the world's time.
    started_at: sockeye::core::Instant,
    /// Spent since then on making and digesting the data.
    aside: Duration,
    /// What was received while the clock ran, and the time of that without `aside`.
    measured: u64,
    stacks_took: Duration,
}

impl Flow {
    fn new(bytes: u64) -> Self {
        Flow {
            bytes,
            sent: 0,
            received: 0,
            source: Source::new(),
            digest_sent: Digest::new(),
            digest_received: Digest::new(),
            buffer: vec![0; CHUNK],
            chunk: vec![0; CHUNK],
            pending: 0..0,
            started: (Instant::now(), 0),
            started_at: sockeye::core::Instant::ZERO,
            aside: Duration::ZERO,
            measured: 0,
            stacks_took: Duration::ZERO,
        }
    }

    /// Sends until the TX buffer is full; returns how many calls took something.
    fn send(&mut self, world: &mut World, id: SocketId) -> Result<usize, Failure> {
        let mut calls = 0;
        while self.sent < self.bytes {
            if self.pending.is_empty() {
                self.fill();
            }
            let now = world.now();
            let data = &self.chunk[self.pending.clone()];
            match world.host(Role::Client).stack.send(now, id, data, MsgFlags::empty()) {
                Ok(taken) => {
                    self.pending.start += taken;
                    self.sent += taken as u64;
                    calls += 1;
                }
                Err(Errno::EAGAIN) => break,
                Err(error) => return Err(errno("send", error)),
            }
        }
        Ok(calls)
    }

    /// Makes the next chunk of data.
    fn fill(&mut self) {
        let begun = Instant::now();
        let len = usize::try_from(self.bytes - self.sent).unwrap_or(CHUNK).min(CHUNK);
        self.source.fill(&mut self.chunk[..len]);
        self.digest_sent.update(&self.chunk[..len]);
        self.pending = 0..len;
        self.aside += begun.elapsed();
    }

    /// Receives until the RX buffer is empty; returns how many calls gave something.
    fn receive(&mut self, world: &mut World, id: SocketId) -> Result<usize, Failure> {
        let mut calls = 0;
        loop {
            let now = world.now();
            match world.host(Role::Server).stack.recv(now, id, &mut self.buffer, MsgFlags::empty()) {
                Ok(0) => return Err(Failure::new(Code::Failed, "the stream ended early")),
                Ok(read) => {
                    let begun = Instant::now();
                    self.digest_received.update(&self.buffer[..read]);
                    self.aside += begun.elapsed();
                    self.received += read as u64;
                    calls += 1;
                }
                Err(Errno::EAGAIN) => return Ok(calls),
                Err(error) => return Err(errno("recv", error)),
            }
        }
    }

    fn start_clock(&mut self, world: &World) {
        self.started = (Instant::now(), self.received);
        self.started_at = world.now();
        self.aside = Duration::ZERO;
    }

    fn stop_clock(&mut self, world: &World) {
        let (at, received) = self.started;
        self.measured = self.received - received;
        self.stacks_took = match world.is_virtual() {
            true => world.now().since(self.started_at),
            false => at.elapsed().saturating_sub(self.aside),
        };
    }

    fn digests(self) -> ([u8; 32], [u8; 32]) {
        (self.digest_sent.finish(), self.digest_received.finish())
    }
}

fn stuck() -> Failure {
    Failure::new(Code::Failed, "the transfer has stopped, and no timer runs")
}

/// Drawn on standard error, and only if that is a terminal.
fn progress_bar(hidden: bool, bytes: u64) -> ProgressBar {
    if hidden {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(bytes);
    let form = "             [{bar:40}] {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(form) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
