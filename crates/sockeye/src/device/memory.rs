//! The in-memory link: two ends, a bounded queue each way, super-segments handed on whole.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use sockeye_core::Packet;
use sockeye_core::packet::MAX_PACKET;

use super::{Arrival, Capabilities, Counters, Device, DeviceStats, SendReport, Wait};

/// What a full queue does with one packet more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WhenFull {
    /// The sender keeps it and is told when there is room.
    #[default]
    Wait,
    /// It is dropped and counted, as a router's queue does.
    Drop,
}

/// How a pair is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryOptions {
    /// The largest packet of the wire, bytes: 68 (IPv4; 1280 for IPv6) to 65,535.
    pub mtu: u16,
    /// The largest super-segment handed on whole, bytes; 0 for none.
    pub gso_max: u32,
    /// Whether checksums may be left to the link, which needs none.
    pub checksum_offload: bool,
    /// Packets that each direction holds, at least 1.
    pub queue_packets: usize,
    /// Bytes that each direction holds; one packet is always taken.
    pub queue_bytes: usize,
    /// What happens to a packet that does not fit.
    pub when_full: WhenFull,
    /// The names of the two ends.
    pub names: [String; 2],
}

impl Default for MemoryOptions {
    /// MTU 1500, super-segments and checksums left to the link, 4,096 packets or 16 MiB a direction.
    fn default() -> Self {
        MemoryOptions {
            mtu: 1_500,
            gso_max: MAX_PACKET as u32,
            checksum_offload: true,
            queue_packets: 4_096,
            queue_bytes: 16 << 20,
            when_full: WhenFull::Wait,
            names: ["mem0".into(), "mem1".into()],
        }
    }
}

/// One end of an in-memory link.
pub struct Memory {
    options: Arc<MemoryOptions>,
    name: String,
    capabilities: Capabilities,
    incoming: Arc<End>,
    outgoing: Arc<End>,
    counters: Counters,
}

/// Where the packets for one end wait, and where its owner sleeps.
#[derive(Default)]
struct End {
    state: Mutex<EndState>,
    changed: Condvar,
}

#[derive(Default)]
struct EndState {
    queue: VecDeque<Packet>,
    bytes: usize,
    woken: bool,
    /// The other end found this queue full and waits for room.
    sender_waits: bool,
    /// Room was made at the other side since the owner of this end asked for it.
    writable: bool,
    /// The owner of this end is gone.
    closed: bool,
    /// The sender to this end is gone.
    finished: bool,
    arrival: Option<Weak<dyn Arrival>>,
}

impl End {
    fn lock(&self) -> MutexGuard<'_, EndState> {
        // No code panics while it holds this lock, and every state of it is consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the owner of this end that packets came: directly if it takes them, else by waking it.
    fn tell(&self, arrival: Option<Weak<dyn Arrival>>) {
        let taken = arrival.and_then(|weak| weak.upgrade()).is_some_and(|arrival| arrival.arrived());
        if !taken {
            self.changed.notify_all();
        }
    }
}

impl Memory {
    /// Two ends joined to each other.
    pub fn pair(options: MemoryOptions) -> (Memory, Memory) {
        let options = Arc::new(options);
        let (a, b) = (Arc::new(End::default()), Arc::new(End::default()));
        let end = |index: usize, incoming: &Arc<End>, outgoing: &Arc<End>| Memory {
            name: options.names[index].clone(),
            capabilities: Capabilities {
                mtu: options.mtu,
                gso_max: options.gso_max,
                checksum_tx: options.checksum_offload,
                checksum_rx: options.checksum_offload,
            },
            options: options.clone(),
            incoming: incoming.clone(),
            outgoing: outgoing.clone(),
            counters: Counters::default(),
        };
        (end(0, &a, &b), end(1, &b, &a))
    }
}

impl Device for Memory {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn send(&self, packets: &mut VecDeque<Packet>) -> io::Result<SendReport> {
        let (mut report, mut bytes) = (SendReport::default(), 0);
        let mut end = self.outgoing.lock();
        if end.closed {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the other end of the link is gone"));
        }
        let was_empty = end.queue.is_empty();
        while let Some(packet) = packets.pop_front() {
            let len = packet.len();
            let fits = end.queue.len() < self.options.queue_packets.max(1)
                && (end.queue.is_empty() || end.bytes + len <= self.options.queue_bytes);
            if fits {
                end.bytes += len;
                end.queue.push_back(packet);
                (report.sent, bytes) = (report.sent + 1, bytes + len);
            } else if self.options.when_full == WhenFull::Drop {
                report.dropped += 1;
            } else {
                packets.push_front(packet);
                (report.full, end.sender_waits) = (true, true);
                break;
            }
        }
        let arrival = if was_empty && report.sent > 0 { Some(end.arrival.clone()) } else { None };
        drop(end);
        if let Some(arrival) = arrival {
            self.outgoing.tell(arrival);
        }
        self.counters.sent(report.sent, bytes);
        self.counters.send_dropped(report.dropped);
        Ok(report)
    }

    fn recv(&self, out: &mut Vec<Packet>, max: usize) -> io::Result<usize> {
        let mut end = self.incoming.lock();
        let taken = max.min(end.queue.len());
        if taken == 0 && end.finished && max > 0 {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the other end of the link is gone"));
        }
        let mut bytes = 0;
        out.extend(end.queue.drain(..taken).inspect(|packet| bytes += packet.len()));
        end.bytes -= bytes;
        let make_room = taken > 0 && std::mem::take(&mut end.sender_waits);
        drop(end);
        if make_room {
            self.outgoing.lock().writable = true;
            self.outgoing.changed.notify_all();
        }
        self.counters.received(taken, bytes);
        Ok(taken)
    }

    fn wait(&self, wait: Wait, timeout: Option<Duration>) -> io::Result<()> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // The owner of this end sleeps on `incoming`; room at the far queue is told there too.
        let mut end = self.incoming.lock();
        loop {
            let over = std::mem::take(&mut end.woken)
                || wait.readable && (!end.queue.is_empty() || end.finished)
                || wait.writable && std::mem::take(&mut end.writable);
            if over {
                return Ok(());
            }
            let Some(until) = until else {
                end = self.incoming.changed.wait(end).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            let left = until - now;
            end = self.incoming.changed.wait_timeout(end, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wake(&self) {
        self.incoming.lock().woken = true;
        self.incoming.changed.notify_all();
    }

    fn stats(&self) -> DeviceStats {
        self.counters.read()
    }

    fn on_arrival(&self, arrival: Weak<dyn Arrival>) {
        self.incoming.lock().arrival = Some(arrival);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let mut mine = self.incoming.lock();
        mine.closed = true;
        mine.queue.clear();
        mine.bytes = 0;
        drop(mine);
        let mut theirs = self.outgoing.lock();
        theirs.finished = true;
        theirs.writable = true;
        let arrival = theirs.arrival.clone();
        drop(theirs);
        self.outgoing.tell(arrival);
    }
}

#[cfg(test)]
mod tests;
