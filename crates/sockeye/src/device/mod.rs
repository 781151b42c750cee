//! Devices: what moves packets between a stack and the rest of the world.
//!
//! A [`Device`] is shared between the threads that send (any caller) and the driver's thread that
//! receives; so every method takes `&self` and none waits but [`Device::wait`].

#[cfg(target_os = "linux")]
mod buffers;
pub mod impaired;
#[cfg(target_os = "linux")]
pub mod lan;
pub mod loopback;
pub mod memory;
#[cfg(target_os = "linux")]
mod namespace;
pub mod tap;
#[cfg(target_os = "linux")]
pub mod tun;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sockeye_core::Packet;

pub use impaired::Impaired;
#[cfg(target_os = "linux")]
pub use lan::Lan;
pub use loopback::Loopback;
pub use memory::{Memory, MemoryOptions, WhenFull};
#[cfg(target_os = "linux")]
pub use namespace::enter_own_network;
pub use tap::{Capture, CaptureOptions, Tap};
#[cfg(target_os = "linux")]
pub use tun::{Tun, TunOptions};

/// What a device takes and gives, so that the stack can leave work to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// The largest IP packet of the wire, bytes.
    pub mtu: u16,
    /// The largest super-segment that the device takes whole, bytes of IP packet; 0 if it takes none.
    pub gso_max: u32,
    /// The device completes checksums left as [`sockeye_core::Checksum::Partial`].
    pub checksum_tx: bool,
    /// The device says of received packets whether their checksum was verified.
    pub checksum_rx: bool,
}

/// What became of the packets handed to [`Device::send`]. Those it could not take yet stay in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SendReport {
    /// Packets handed on.
    pub sent: usize,
    /// Packets that the device dropped (a full queue, the interface down, a packet it refuses).
    pub dropped: usize,
    /// The device is full for now: what is left in the queue is offered again once [`Wait::writable`].
    pub full: bool,
}

/// What [`Device::wait`] waits for besides being woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wait {
    /// Until packets can be received.
    pub readable: bool,
    /// Until packets can be sent.
    pub writable: bool,
}

/// What a device has done since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeviceStats {
    /// Packets handed on (a super-segment is one).
    pub tx_packets: u64,
    /// Bytes of them.
    pub tx_bytes: u64,
    /// Packets to send that were dropped: queue full, interface down, refused.
    pub tx_dropped: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes of them.
    pub rx_bytes: u64,
    /// Received packets that were dropped as malformed by the device.
    pub rx_dropped: u64,
}

/// Called by a device that can tell, on whatever thread, when packets have arrived for its owner.
///
/// Returns whether the packets were (or are being) taken; otherwise the device wakes the waiting thread.
pub trait Arrival: Send + Sync {
    /// Packets may be received.
    fn arrived(&self) -> bool;
}

/// A link that carries IP packets.
pub trait Device: Send + Sync {
    /// The interface's name, as views and captures show it.
    fn name(&self) -> &str;

    /// What the device can do; fixed for its life.
    fn capabilities(&self) -> Capabilities;

    /// Takes packets from the front of `packets`, in order, without waiting.
    ///
    /// # Errors
    /// The device has failed for good (its interface was deleted, the other end is gone). A link that is
    /// down for a while is no error: its packets are counted as dropped.
    fn send(&self, packets: &mut VecDeque<Packet>) -> io::Result<SendReport>;

    /// Appends received packets to `out`, at most `max`, without waiting; returns how many.
    ///
    /// # Errors
    /// As [`Device::send`].
    fn recv(&self, out: &mut Vec<Packet>, max: usize) -> io::Result<usize>;

    /// Sleeps until what `wait` names, until [`Device::wake`], or for `timeout`. May return early.
    ///
    /// # Errors
    /// As [`Device::send`].
    fn wait(&self, wait: Wait, timeout: Option<Duration>) -> io::Result<()>;

    /// Ends the present [`Device::wait`], or the next one if none is under way.
    fn wake(&self);

    /// What it has done.
    fn stats(&self) -> DeviceStats;

    /// Whether a thread beside the driver's may wait for packets with [`Device::wait_beside`].
    fn can_wait_beside(&self) -> bool {
        false
    }

    /// Sleeps until packets can be received, until [`Device::wake_beside`], or for `timeout`, beside a thread in
    /// [`Device::wait`]. May return early; devices that cannot return at once.
    ///
    /// # Errors
    /// As [`Device::send`].
    fn wait_beside(&self, timeout: Option<Duration>) -> io::Result<()> {
        let _ = timeout;
        Ok(())
    }

    /// Ends the present [`Device::wait_beside`], or the next one if none is under way.
    fn wake_beside(&self) {}

    /// A descriptor that is readable while packets can be received, for those who wait for them in a loop of their own:
    /// they take all there are before they wait again. Devices that have none say so (the default).
    #[cfg(unix)]
    fn arrivals(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }

    /// Asks the device to tell `arrival` of packets. Devices that cannot ignore it (the default).
    fn on_arrival(&self, arrival: std::sync::Weak<dyn Arrival>) {
        drop(arrival);
    }
}

/// A pointer to a device is one.
macro_rules! pointer_to_device {
    ($($pointer:ident)*) => {$(
        impl<D: Device + ?Sized> Device for $pointer<D> {
            fn name(&self) -> &str {
                (**self).name()
            }
            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }
            fn send(&self, packets: &mut VecDeque<Packet>) -> io::Result<SendReport> {
                (**self).send(packets)
            }
            fn recv(&self, out: &mut Vec<Packet>, max: usize) -> io::Result<usize> {
                (**self).recv(out, max)
            }
            fn wait(&self, wait: Wait, timeout: Option<Duration>) -> io::Result<()> {
                (**self).wait(wait, timeout)
            }
            fn wake(&self) {
                (**self).wake();
            }
            fn stats(&self) -> DeviceStats {
                (**self).stats()
            }
            fn can_wait_beside(&self) -> bool {
                (**self).can_wait_beside()
            }
            fn wait_beside(&self, timeout: Option<Duration>) -> io::Result<()> {
                (**self).wait_beside(timeout)
            }
            fn wake_beside(&self) {
                (**self).wake_beside();
            }
            #[cfg(unix)]
            fn arrivals(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
                (**self).arrivals()
            }
            fn on_arrival(&self, arrival: std::sync::Weak<dyn Arrival>) {
                (**self).on_arrival(arrival);
            }
        }
    )*};
}

pointer_to_device!(Box Arc);

/// [`DeviceStats`] as several threads count them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    tx_packets: AtomicU64,
    tx_bytes: AtomicU64,
    tx_dropped: AtomicU64,
    rx_packets: AtomicU64,
    rx_bytes: AtomicU64,
    rx_dropped: AtomicU64,
}

impl Counters {
    pub(crate) fn sent(&self, packets: usize, bytes: usize) {
        self.tx_packets.fetch_add(packets as u64, Ordering::Relaxed);
        self.tx_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn send_dropped(&self, packets: usize) {
        self.tx_dropped.fetch_add(packets as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, packets: usize, bytes: usize) {
        self.rx_packets.fetch_add(packets as u64, Ordering::Relaxed);
        self.rx_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn receive_dropped(&self, packets: usize) {
        self.rx_dropped.fetch_add(packets as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> DeviceStats {
        DeviceStats {
            tx_packets: self.tx_packets.load(Ordering::Relaxed),
            tx_bytes: self.tx_bytes.load(Ordering::Relaxed),
            tx_dropped: self.tx_dropped.load(Ordering::Relaxed),
            rx_packets: self.rx_packets.load(Ordering::Relaxed),
            rx_bytes: self.rx_bytes.load(Ordering::Relaxed),
            rx_dropped: self.rx_dropped.load(Ordering::Relaxed),
        }
    }
}
