//! The way from a host to itself, as a device: what is sent is received. In front of it a bad link can stand.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use sockeye_core::Packet;
use sockeye_core::packet::MAX_PACKET;

use super::{Arrival, Capabilities, Counters, Device, DeviceStats, SendReport, Wait};

/// Bytes that it holds; one packet is always taken.
const QUEUE_BYTES: usize = 64 << 20;
/// Packets that it holds.
const QUEUE_PACKETS: usize = 16_384;

/// A device whose packets come back.
pub struct Loopback {
    name: String,
    mtu: u16,
    state: Mutex<State>,
    changed: Condvar,
    counters: Counters,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Packet>,
    bytes: usize,
    woken: bool,
    sender_waits: bool,
    writable: bool,
    arrival: Option<Weak<dyn Arrival>>,
}

impl Loopback {
    /// With the MTU of the packets, bytes: 68 (IPv4; 1280 for IPv6) to 65,535.
    pub fn new(name: &str, mtu: u16) -> Loopback {
        Loopback {
            name: name.into(),
            mtu,
            state: Mutex::default(),
            changed: Condvar::new(),
            counters: Counters::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device for Loopback {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { mtu: self.mtu, gso_max: MAX_PACKET as u32, checksum_tx: true, checksum_rx: true }
    }

    fn send(&self, packets: &mut VecDeque<Packet>) -> io::Result<SendReport> {
        let (mut report, mut bytes) = (SendReport::default(), 0);
        let mut state = self.lock();
        let was_empty = state.queue.is_empty();
        while let Some(packet) = packets.pop_front() {
            let len = packet.len();
            let fits = state.queue.len() < QUEUE_PACKETS
                && (state.queue.is_empty() || state.bytes + len <= QUEUE_BYTES);
            if !fits {
                packets.push_front(packet);
                (report.full, state.sender_waits) = (true, true);
                break;
            }
            state.bytes += len;
            state.queue.push_back(packet);
            (report.sent, bytes) = (report.sent + 1, bytes + len);
        }
        let arrival = if was_empty && report.sent > 0 { Some(state.arrival.clone()) } else { None };
        drop(state);
        if let Some(arrival) = arrival {
            let taken = arrival.and_then(|weak| weak.upgrade()).is_some_and(|arrival| arrival.arrived());
            if !taken {
                self.changed.notify_all();
            }
        }
        self.counters.sent(report.sent, bytes);
        Ok(report)
    }

    fn recv(&self, out: &mut Vec<Packet>, max: usize) -> io::Result<usize> {
        let mut state = self.lock();
        let taken = max.min(state.queue.len());
        let mut bytes = 0;
        out.extend(state.queue.drain(..taken).inspect(|packet| bytes += packet.len()));
        state.bytes -= bytes;
        if taken > 0 && std::mem::take(&mut state.sender_waits) {
            state.writable = true;
            self.changed.notify_all();
        }
        drop(state);
        self.counters.received(taken, bytes);
        Ok(taken)
    }

    fn wait(&self, wait: Wait, timeout: Option<Duration>) -> io::Result<()> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.lock();
        loop {
            let over = std::mem::take(&mut state.woken)
                || wait.readable && !state.queue.is_empty()
                || wait.writable && std::mem::take(&mut state.writable);
            if over {
                return Ok(());
            }
            let Some(until) = until else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let now = Instant::now();
            if now >= until {
                return Ok(());
            }
            state = self.changed.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wake(&self) {
        self.lock().woken = true;
        self.changed.notify_all();
    }

    fn stats(&self) -> DeviceStats {
        self.counters.read()
    }

    fn on_arrival(&self, arrival: Weak<dyn Arrival>) {
        self.lock().arrival = Some(arrival);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Host;
    use std::io::{Read as _, Write as _};

    #[test]
    fn a_host_reaches_itself_over_it() {
        let host = Host::builder().device(Loopback::new("lo", 1_500)).loopback().build().expect("a host");
        let listener = host.bind("127.0.0.1:80").expect("bound");
        let mut client = host.connect("127.0.0.1:80").expect("connected");
        let (mut server, _) = listener.accept().expect("accepted");
        client.write_all(b"there and back").expect("written");
        drop(client);
        let mut text = String::new();
        server.read_to_string(&mut text).expect("read");
        assert_eq!(text, "there and back");
        let [status] = &host.devices()[..] else { panic!("one device") };
        assert!(status.stats.tx_packets >= 3, "the handshake has passed the device");
    }
}
