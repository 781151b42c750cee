//! TUN on Linux: IP packets to and from the kernel, super-segments and partial checksums with them.
//!
//! With `IFF_VNET_HDR` each packet is preceded by a `struct virtio_net_hdr`, in which the kernel takes
//! and gives TSO super-segments of up to 64 KiB and checksums left open. Kernels without it get and give
//! plain packets.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use smallvec::SmallVec;
use sockeye_core::Packet;
use sockeye_core::packet::{Checksum, MAX_PACKET};
use sockeye_core::wire::gso;
use sockeye_core::wire::tcp::CHECKSUM_AT;

use super::buffers::{Buffers, owned};
use super::{Capabilities, Counters, Device, DeviceStats, SendReport, Wait};
use crate::sys::netlink::Interface;
use crate::sys::tun::{self as sys, VNET_HEADER};

/// Bytes received at once: what one look at the device brings is to be in the caches when it is read.
const BURST: usize = 256 << 10;

/// virtio's `flags`: the checksum is open; the checksum was verified.
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// virtio's `gso_type`; ECN is a flag on top of it.
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_ECN: u8 = 0x80;
/// Where the TCP header has its flags, and CWR among them.
const TCP_FLAGS_AT: usize = 13;
const TCP_CWR: u8 = 0x80;

/// How a TUN device is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunOptions {
    /// The interface: attached to if it exists, else made; `%d` in it is replaced by a number.
    pub name: String,
    /// Addresses of the kernel's side, with their prefix lengths; empty leaves them as they are.
    pub host_addresses: Vec<(IpAddr, u8)>,
    /// Sets the MTU, bytes; `None` leaves it as it is (1,500 when made).
    pub mtu: Option<u16>,
    /// Packets that the kernel queues towards us (`txqueuelen`); `None` leaves it as it is.
    pub queue: Option<u32>,
    /// Takes the interface up; false leaves it as it is.
    pub up: bool,
    /// The interface stays when we are gone.
    pub persistent: bool,
    /// Super-segments and partial checksums, if the kernel has them.
    pub offload: bool,
}

impl TunOptions {
    /// The interface of that name, taken up, with offloads, gone with us if we made it.
    pub fn new(name: impl Into<String>) -> Self {
        TunOptions {
            name: name.into(),
            host_addresses: Vec::new(),
            mtu: None,
            queue: None,
            up: true,
            persistent: false,
            offload: true,
        }
    }
}

/// A TUN device.
pub struct Tun {
    fd: OwnedFd,
    wake: OwnedFd,
    wake_beside: OwnedFd,
    name: String,
    capabilities: Capabilities,
    vnet_header: bool,
    buffers: Mutex<Buffers>,
    counters: Counters,
}

impl Tun {
    /// Opens (and makes, where that is permitted) a TUN interface.
    ///
    /// # Errors
    /// Say what is missing and what to do: no `/dev/net/tun`, no permission, the interface in use or of
    /// another kind. [`io::Error::kind`] is that of the system's error.
    pub fn open(options: &TunOptions) -> io::Result<Tun> {
        let fd = sys::open().map_err(|error| explain_open(&error))?;
        let (name, vnet_header) = match sys::attach(&fd, &options.name, options.offload) {
            Ok(name) => (name, options.offload),
            Err(error) if options.offload && error.kind() == io::ErrorKind::InvalidInput => (
                sys::attach(&fd, &options.name, false).map_err(|error| explain(&options.name, &error))?,
                false,
            ),
            Err(error) => return Err(explain(&options.name, &error)),
        };
        let offload = vnet_header && {
            sys::set_vnet_header(&fd)?;
            sys::set_offload(&fd).is_ok()
        };
        if options.persistent {
            sys::set_persistent(&fd, true).map_err(|error| explain(&name, &error))?;
        }
        let interface = Interface::by_name(&name)?;
        let up = options.up.then_some(true);
        if let Err(error) = interface.set_link(options.mtu, options.queue, up) {
            // Attached to an interface made for us by somebody with the right: it has to be up already.
            let asked = options.mtu.is_some() || options.queue.is_some() || !interface.is_up()?;
            if asked {
                return Err(explain(&name, &error));
            }
        }
        for &(address, prefix) in &options.host_addresses {
            interface.add_address(address, prefix).map_err(|error| explain(&name, &error))?;
        }
        let mtu = interface.mtu()?;
        let capabilities = Capabilities {
            mtu: mtu.min(MAX_PACKET as u32) as u16,
            gso_max: if offload { MAX_PACKET as u32 } else { 0 },
            checksum_tx: vnet_header,
            checksum_rx: offload,
        };
        Ok(Tun {
            fd,
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            wake_beside: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            name,
            capabilities,
            vnet_header,
            buffers: Mutex::default(),
            counters: Counters::default(),
        })
    }

    /// Writes one packet; false if the kernel has no room for it now.
    fn write(&self, packet: &Packet) -> io::Result<bool> {
        let header = if self.vnet_header { vnet_header(packet) } else { [0; VNET_HEADER] };
        let mut parts: SmallVec<[IoSlice<'_>; 10]> = SmallVec::new();
        if self.vnet_header {
            parts.push(IoSlice::new(&header));
        }
        parts.push(IoSlice::new(packet.head.as_slice()));
        parts.extend(packet.payload.slices().iter().map(|slice| IoSlice::new(slice)));
        loop {
            match rustix::io::writev(&self.fd, &parts) {
                Ok(_) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sleeps until the device is as `wait` says, `wake` was signalled or `timeout` is over.
    fn poll(&self, wake: &OwnedFd, wait: Wait, timeout: Option<Duration>) -> io::Result<()> {
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, wait.readable);
        events.set(PollFlags::OUT, wait.writable);
        let mut fds = [PollFd::new(wake, PollFlags::IN), PollFd::new(&self.fd, events)];
        // Who waits for nothing of the device is not to be woken by it: a deleted interface reports an error for ever.
        let count = if events.is_empty() { 1 } else { 2 };
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().min(i64::MAX as u64) as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        match poll(&mut fds[..count], timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if fds[0].revents().contains(PollFlags::IN) {
            let mut count = [0; 8];
            // Only empties the counter; if another thread has done so there is nothing to do.
            let _ = rustix::io::read(wake, &mut count);
        }
        if fds[1].revents().intersects(PollFlags::ERR | PollFlags::NVAL)
            && Interface::by_name(&self.name).is_err()
        {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("interface {} is gone", self.name)));
        }
        Ok(())
    }

    /// Takes one packet out of what was read.
    fn take(&self, bytes: &mut BytesMut) -> Option<Packet> {
        if !self.vnet_header {
            return (!bytes.is_empty()).then(|| owned(bytes));
        }
        if bytes.len() <= VNET_HEADER {
            bytes.clear();
            return None;
        }
        let (flags, gso_type) = (bytes[0], bytes[1] & !GSO_ECN);
        let gso_size = u16::from_ne_bytes([bytes[4], bytes[5]]);
        bytes.advance(VNET_HEADER);
        let mut packet = owned(bytes);
        packet.checksum = if flags & NEEDS_CSUM != 0 {
            Checksum::Partial
        } else if flags & DATA_VALID != 0 {
            Checksum::Verified
        } else {
            Checksum::Unverified
        };
        match gso_type {
            GSO_NONE => {}
            GSO_TCPV4 | GSO_TCPV6 if gso_size > 0 => packet.gso_size = gso_size,
            _ => return None, // nothing else was asked for
        }
        Some(packet)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Device for Tun {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn send(&self, packets: &mut VecDeque<Packet>) -> io::Result<SendReport> {
        let (mut report, mut bytes) = (SendReport::default(), 0);
        let mut failed = None;
        while let Some(packet) = packets.front() {
            match self.write(packet) {
                Ok(true) => (report.sent, bytes) = (report.sent + 1, bytes + packet.len()),
                Ok(false) => {
                    report.full = true;
                    break;
                }
                Err(error) if is_gone(&error) => {
                    failed = Some(error);
                    break;
                }
                // EIO: the interface is down. EINVAL and the like: the kernel does not take this packet.
                Err(_) => report.dropped += 1,
            }
            packets.pop_front();
        }
        self.counters.sent(report.sent, bytes);
        self.counters.send_dropped(report.dropped);
        failed.map_or(Ok(report), Err)
    }

    fn recv(&self, out: &mut Vec<Packet>, max: usize) -> io::Result<usize> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut count, mut bytes) = (0, 0);
        buffers.rewind();
        while count < max && bytes < BURST {
            let buffer = buffers.room(VNET_HEADER);
            match sys::read_into(&self.fd, buffer) {
                Ok(0) => break,
                Ok(_) => {
                    let Some(packet) = self.take(buffer) else {
                        self.counters.receive_dropped(1);
                        continue;
                    };
                    (count, bytes) = (count + 1, bytes + packet.len());
                    out.push(packet);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_gone(&error) => return if count > 0 { Ok(count) } else { Err(error) },
                Err(_) => {
                    self.counters.receive_dropped(1);
                    break;
                }
            }
        }
        self.counters.received(count, bytes);
        Ok(count)
    }

    fn wait(&self, wait: Wait, timeout: Option<Duration>) -> io::Result<()> {
        self.poll(&self.wake, wait, timeout)
    }

    fn wake(&self) {
        signal(&self.wake);
    }

    fn can_wait_beside(&self) -> bool {
        true
    }

    fn wait_beside(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.poll(&self.wake_beside, Wait { readable: true, writable: false }, timeout)
    }

    fn wake_beside(&self) {
        signal(&self.wake_beside);
    }

    fn arrivals(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn stats(&self) -> DeviceStats {
        self.counters.read()
    }
}

fn signal(eventfd: &OwnedFd) {
    // It fails only when the counter is full, and then the sleeper is being woken anyway.
    let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
}

/// The `struct virtio_net_hdr` (native byte order) that tells the kernel what is left to do.
fn vnet_header(packet: &Packet) -> [u8; VNET_HEADER] {
    let mut header = [0; VNET_HEADER];
    if packet.checksum == Checksum::Verified {
        header[0] = DATA_VALID;
    }
    if packet.checksum != Checksum::Partial && packet.gso_size == 0 {
        return header;
    }
    let Some(at) = gso::offsets(packet) else { return header };
    if packet.checksum == Checksum::Partial {
        header[0] = NEEDS_CSUM;
        header[6..8].copy_from_slice(&(at.tcp_at as u16).to_ne_bytes());
        header[8..10].copy_from_slice(&(CHECKSUM_AT as u16).to_ne_bytes());
    }
    // The kernel refuses a GSO type on a packet that is one segment.
    if packet.gso_size != 0 && at.end - at.data_at > usize::from(packet.gso_size) {
        let cwr = packet.front().get(at.tcp_at + TCP_FLAGS_AT).is_some_and(|flags| flags & TCP_CWR != 0);
        header[1] = if at.ipv6 { GSO_TCPV6 } else { GSO_TCPV4 } | if cwr { GSO_ECN } else { 0 };
        header[2..4].copy_from_slice(&(at.data_at as u16).to_ne_bytes());
        header[4..6].copy_from_slice(&packet.gso_size.to_ne_bytes());
    }
    header
}

/// The interface was deleted: EBADFD (the queue is detached), ENODEV, EBADF.
fn is_gone(error: &io::Error) -> bool {
    const EBADF: i32 = 9;
    const ENODEV: i32 = 19;
    const EBADFD: i32 = 77;
    matches!(error.raw_os_error(), Some(EBADF | ENODEV | EBADFD))
}

fn explain_open(error: &io::Error) -> io::Error {
    let text = match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no /dev/net/tun: load the kernel's module (`modprobe tun`), or give the container the \
             device (`--device /dev/net/tun`)"
        }
        io::ErrorKind::PermissionDenied => {
            "no permission to open /dev/net/tun: run as root, or ask for read and write access to it"
        }
        _ => "/dev/net/tun cannot be opened",
    };
    io::Error::new(error.kind(), format!("{text} ({error})"))
}

fn explain(name: &str, error: &io::Error) -> io::Error {
    let text = match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "no permission for the interface {name}: run as root, or give the program the right \
             (`setcap cap_net_admin+ep PROGRAM`), or let root make the interface once \
             (`ip tuntap add {name} mode tun user $USER; ip link set {name} up`)"
        ),
        io::ErrorKind::ResourceBusy => {
            format!("the interface {name} is busy: another program is attached to it")
        }
        io::ErrorKind::InvalidInput => format!(
            "the interface {name} cannot be used: it is no TUN interface, was made with other settings, or \
             the name is not valid"
        ),
        _ => format!("the interface {name} cannot be set up"),
    };
    io::Error::new(error.kind(), format!("{text} ({error})"))
}

#[cfg(test)]
mod tests;
