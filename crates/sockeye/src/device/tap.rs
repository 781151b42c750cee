//! A tap on any device: what passes is written as pcapng, with the state of its connection.
//!
//! Link type RAW (IPv4 and IPv6 without a link header), timestamps in nanoseconds, the direction in
//! each packet's flags. Checksums that were left to the link are completed in the copy.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use pcap_file::{DataLink, PcapError};
use sockeye_core::Packet;
use sockeye_core::tcp::{State, Tuple};
use sockeye_core::trace::{Record, What};
use sockeye_core::wire::{gso, ip::IpHeader};

use super::{Arrival, Capabilities, Device, DeviceStats, SendReport, Wait};

/// Connections whose state is remembered for comments.
const MAX_STATES: usize = 65_536;

/// pcapng's direction bits of `epb_flags`.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// How a capture is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Bytes kept of each packet; 0 keeps all.
    pub snap_len: u32,
    /// Bytes of the file, about, after which packets are only counted; 0 is without limit.
    pub max_bytes: u64,
    /// Keep a super-segment as one record, as the stack handled it; otherwise as the segments of the wire.
    pub super_segments: bool,
}

impl Default for CaptureOptions {
    /// Whole packets, super-segments cut, at most 4 GiB.
    fn default() -> Self {
        CaptureOptions { snap_len: 0, max_bytes: 4 << 30, super_segments: false }
    }
}

/// A pcapng file (or any other writer) that several taps may write to.
pub struct Capture {
    options: CaptureOptions,
    inner: Mutex<Inner>,
}

struct Inner {
    writer: PcapNgWriter<BufWriter<Box<dyn Write + Send>>>,
    interfaces: u32,
    written: u64,
    packets: u64,
    skipped: u64,
    /// The first error of the writer; nothing is written after it.
    error: Option<(io::ErrorKind, String)>,
    states: HashMap<Tuple, State>,
}

/// Which way a packet passed a tap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Towards the stack.
    In,
    /// From the stack.
    Out,
}

impl Capture {
    /// Starts a capture in a new file.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub fn create(path: impl AsRef<Path>, options: CaptureOptions) -> io::Result<Arc<Capture>> {
        Capture::to_writer(Box::new(File::create(path)?), options)
    }

    /// Starts a capture that goes to `writer`, through a buffer.
    ///
    /// # Errors
    /// The writer's.
    pub fn to_writer(writer: Box<dyn Write + Send>, options: CaptureOptions) -> io::Result<Arc<Capture>> {
        let program = concat!("sockeye ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(program))],
            ..SectionHeaderBlock::default()
        };
        let writer = BufWriter::with_capacity(64 << 10, writer);
        let writer = PcapNgWriter::with_section_header(writer, section).map_err(into_io)?;
        let inner = Inner {
            writer,
            interfaces: 0,
            written: 0,
            packets: 0,
            skipped: 0,
            error: None,
            states: HashMap::new(),
        };
        Ok(Arc::new(Capture { options, inner: Mutex::new(inner) }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an interface; packets name it by the number returned.
    ///
    /// # Errors
    /// The writer's.
    pub fn add_interface(&self, name: &str) -> io::Result<u32> {
        let mut inner = self.lock();
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::RAW,
            snaplen: self.options.snap_len,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                InterfaceDescriptionOption::IfTsResol(9),
            ],
        };
        inner.writer.write_block(&block.into_block()).map_err(into_io)?;
        inner.interfaces += 1;
        Ok(inner.interfaces - 1)
    }

    /// Writes a packet that passed `interface` at this time since 1970. Errors end the capture, not the
    /// traffic; [`Capture::flush`] reports them.
    pub fn packet(&self, interface: u32, direction: Direction, at: Duration, packet: &Packet) {
        let mut copy = packet.clone();
        if self.options.super_segments || packet.gso_size == 0 {
            gso::complete_checksum(&mut copy);
            self.lock().write(&self.options, interface, direction, at, &copy);
            return;
        }
        let mut inner = self.lock();
        for segment in gso::segment(copy, sockeye_core::wire::tcp::ChecksumMode::Complete) {
            inner.write(&self.options, interface, direction, at, &segment);
        }
    }

    /// Learns from what the stack records in which state each connection is.
    pub fn observe(&self, record: &Record) {
        let state = match record.what {
            What::State { to, .. } => to,
            What::Sent { state, .. } | What::Received { state, .. } => state,
            _ => return,
        };
        let mut inner = self.lock();
        if state == State::Closed {
            inner.states.remove(&record.tuple);
        } else if inner.states.len() < MAX_STATES || inner.states.contains_key(&record.tuple) {
            inner.states.insert(record.tuple, state);
        }
    }

    /// Hands everything written so far to the file.
    ///
    /// # Errors
    /// The first error that the writer had; it may be of an earlier packet.
    pub fn flush(&self) -> io::Result<()> {
        let mut inner = self.lock();
        match &inner.error {
            Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
            None => inner.writer.get_mut().flush(),
        }
    }

    /// Packets written, and packets left out because the capture is full or its writer failed.
    pub fn counts(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.packets, inner.skipped)
    }
}

impl Inner {
    fn write(
        &mut self,
        options: &CaptureOptions,
        interface: u32,
        direction: Direction,
        at: Duration,
        packet: &Packet,
    ) {
        let full = options.max_bytes != 0 && self.written >= options.max_bytes;
        if full || self.error.is_some() {
            self.skipped += 1;
            return;
        }
        let mut data = packet.to_vec();
        let original_len = data.len() as u32;
        if options.snap_len != 0 {
            data.truncate(options.snap_len as usize);
        }
        let way = if direction == Direction::In { INBOUND } else { OUTBOUND };
        let mut epb_options = vec![EnhancedPacketOption::Flags(way)];
        if let Some(comment) = self.comment(direction, packet) {
            epb_options.push(EnhancedPacketOption::Comment(comment));
        }
        let data = Cow::Owned(data);
        let block = EnhancedPacketBlock {
            interface_id: interface,
            timestamp: at,
            original_len,
            data,
            options: epb_options,
        };
        match self.writer.write_block(&block.into_block()) {
            Ok(bytes) => {
                self.written += bytes as u64;
                self.packets += 1;
            }
            Err(error) => {
                let error = into_io(error);
                self.error = Some((error.kind(), error.to_string()));
                self.skipped += 1;
            }
        }
    }

    /// The state of the packet's connection on this side.
    fn comment(&self, direction: Direction, packet: &Packet) -> Option<Cow<'static, str>> {
        let tuple = tuple_of(packet)?;
        let tuple = if direction == Direction::Out { tuple } else { tuple.reversed() };
        self.states.get(&tuple).map(|state| Cow::Borrowed(state.name()))
    }
}

/// The addresses and ports of a TCP packet, its source first.
fn tuple_of(packet: &Packet) -> Option<Tuple> {
    let at = gso::offsets(packet)?.tcp_at;
    let front = packet.front();
    let header = IpHeader::parse(front, packet.len(), packet.gso_size != 0).ok()?;
    let port = |at: usize| Some(u16::from_be_bytes([*front.get(at)?, *front.get(at + 1)?]));
    let (source, destination): (IpAddr, IpAddr) = (header.src, header.dst);
    let local = SocketAddr::new(source, port(at)?);
    Some(Tuple { local, remote: SocketAddr::new(destination, port(at + 2)?) })
}

fn into_io(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}

/// Time since 1970, as captures count it.
fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// A device whose packets are captured on their way.
pub struct Tap<D> {
    device: D,
    capture: Arc<Capture>,
    interface: u32,
}

impl<D: Device> Tap<D> {
    /// Taps `device`.
    ///
    /// # Errors
    /// The capture's writer.
    pub fn new(device: D, capture: Arc<Capture>) -> io::Result<Tap<D>> {
        let interface = capture.add_interface(device.name())?;
        Ok(Tap { device, capture, interface })
    }

    /// The capture that it writes to.
    pub fn capture(&self) -> &Arc<Capture> {
        &self.capture
    }
}

impl<D: Device> Device for Tap<D> {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn send(&self, packets: &mut VecDeque<Packet>) -> io::Result<SendReport> {
        // A packet that the device does not take now is offered again: only what went is captured,
        // so the payloads are kept by reference until the device has answered. What it delivers
        // directly may be answered before; the time is taken first, so that the order can be seen.
        let (offered, at) = (packets.clone(), since_1970());
        let result = self.device.send(packets);
        let gone = offered.len() - packets.len();
        for packet in offered.iter().take(gone) {
            self.capture.packet(self.interface, Direction::Out, at, packet);
        }
        result
    }

    fn recv(&self, out: &mut Vec<Packet>, max: usize) -> io::Result<usize> {
        let before = out.len();
        let result = self.device.recv(out, max);
        let at = since_1970();
        for packet in &out[before..] {
            self.capture.packet(self.interface, Direction::In, at, packet);
        }
        result
    }

    fn wait(&self, wait: Wait, timeout: Option<Duration>) -> io::Result<()> {
        // Idle: who reads the file while it grows sees all of it. Errors are kept for the owner.
        let _ = self.capture.flush();
        self.device.wait(wait, timeout)
    }

    fn wake(&self) {
        self.device.wake();
    }

    fn stats(&self) -> DeviceStats {
        self.device.stats()
    }

    fn can_wait_beside(&self) -> bool {
        self.device.can_wait_beside()
    }

    fn wait_beside(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.device.wait_beside(timeout)
    }

    fn wake_beside(&self) {
        self.device.wake_beside();
    }

    #[cfg(unix)]
    fn arrivals(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.device.arrivals()
    }

    fn on_arrival(&self, arrival: Weak<dyn Arrival>) {
        self.device.on_arrival(arrival);
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // The last chance; who wants to know of an error calls `flush` before.
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests;
