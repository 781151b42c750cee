//! Two ends and the bad link between them: the kernel's TCP in a namespace of its own behind a TUN device, or our stack.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sockeye::Host;
use sockeye::core::config::{Config, CongestionKind, Ecn};
use sockeye::core::link::{LinkCounters, LinkSpec};
use sockeye::core::{Packet, Profile};
use sockeye::device::{Device, Impaired, Memory, MemoryOptions, Tun, TunOptions, Wait};
use sockeye_sim::flows::quantile;

/// Packets carried at once.
const BATCH: usize = 64;
/// How long a thread of the link sleeps without looking whether it is over.
const LOOK: Duration = Duration::from_millis(100);

/// How often the queue is looked at.
const GLANCE: Duration = Duration::from_millis(3);

/// A network namespace, gone when dropped.
pub struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    pub fn new() -> io::Result<Namespace> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sockeye-bench-{}-{number}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output()?;
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr).trim().to_owned();
            return Err(io::Error::other(format!("no network namespace can be made: {why}")));
        }
        let file = File::open(format!("/run/netns/{name}"))?;
        Ok(Namespace { name, file })
    }

    /// Runs `f` on a thread inside; what it opens there stays of that namespace.
    pub fn inside<R: Send>(&self, f: impl FnOnce() -> io::Result<R> + Send) -> io::Result<R> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
                f()
            });
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread in the namespace panicked")))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What cannot be deleted is told of; nothing else depends on it.
        match Command::new("ip").args(["netns", "delete", &self.name]).status() {
            Ok(status) if status.success() => {}
            other => eprintln!("network namespace {} was not deleted: {other:?}", self.name),
        }
    }
}

/// Whose TCP an end has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Kernel,
    Ours,
}

impl Whose {
    pub fn name(self) -> &'static str {
        match self {
            Whose::Kernel => "kernel",
            Whose::Ours => "ours",
        }
    }
}

/// A TCP with an address.
pub struct Party {
    pub address: IpAddr,
    pub tcp: Tcp,
}

pub enum Tcp {
    Kernel(Namespace),
    Ours(Host),
}

/// What differs from a new namespace's settings: a fresh connection is to know nothing of those before it.
const SETTINGS: [(&str, &str); 2] = [("tcp_no_metrics_save", "1"), ("tcp_rmem", "4096 131072 33554432")];

impl Party {
    /// Makes one, and the device on whose other side it is; `ecn`: it asks for ECN, as a link that marks is of use only then.
    pub fn new(whose: Whose, last: u8, ecn: bool, cc: &str) -> io::Result<(Party, Arc<dyn Device>)> {
        let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        match whose {
            Whose::Kernel => {
                let namespace = Namespace::new()?;
                let tun = namespace.inside(|| {
                    let ecn = ecn.then_some(("tcp_ecn", "1"));
                    for (name, value) in SETTINGS.into_iter().chain(ecn) {
                        fs::write(format!("/proc/sys/net/ipv4/{name}"), value)?;
                    }
                    let options =
                        TunOptions { host_addresses: vec![(address, 24)], ..TunOptions::new("bench0") };
                    Tun::open(&options)
                })?;
                Ok((Party { address, tcp: Tcp::Kernel(namespace) }, Arc::new(tun)))
            }
            Whose::Ours => {
                let (near, far) = Memory::pair(MemoryOptions::default());
                let set = |config: &mut Config| {
                    if ecn {
                        config.ecn = Ecn::Request;
                    }
                    // DCTCP's receiver, too, echoes marks in its own way (RFC 8257 3.2).
                    if let Some(kind) = CongestionKind::from_name(cc).filter(|kind| kind.needs_ecn()) {
                        config.congestion = kind;
                    }
                };
                let builder = Host::builder().profile(Profile::Linux).set(set);
                let host = builder.device(near).address(address, 24).build()?;
                Ok((Party { address, tcp: Tcp::Ours(host) }, Arc::new(far)))
            }
        }
    }
}

/// The link: any number of senders' devices at one end, the receiver's at the other.
pub struct Wire {
    far: Arc<Impaired<Arc<dyn Device>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Wire {
    /// Joins them; `up` is from the senders to the receiver.
    pub fn new(senders: Vec<(IpAddr, Arc<dyn Device>)>, receiver: Arc<dyn Device>, spec: &LinkSpec) -> Wire {
        let far = Arc::new(Impaired::new(receiver, spec));
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (_, device) in &senders {
            let (device, far, stop) = (device.clone(), far.clone(), stop.clone());
            threads.push(thread::spawn(move || carry(&*device, &stop, |packet| give(&*far, packet))));
        }
        let (from, stopped) = (far.clone(), stop.clone());
        threads.push(thread::spawn(move || {
            carry(&*from, &stopped, |packet| {
                match destination(&packet).and_then(|to| senders.iter().find(|(address, _)| *address == to)) {
                    Some((_, device)) => give(&**device, packet),
                    None => true, // the kernel's own talk on a new link
                }
            });
        }));
        Wire { far, stop, threads }
    }

    /// What the link has done, towards the receiver and back.
    pub fn counters(&self) -> (LinkCounters, LinkCounters) {
        self.far.counters()
    }

    /// Looks at the queue towards the receiver, each few milliseconds until `is_over`; the median of what its bytes wait
    /// at `rate` bits a second, ms.
    pub fn watch_queue(&self, rate: u64, is_over: &AtomicBool) -> f64 {
        let mut waits = Vec::new();
        while !is_over.load(Ordering::Acquire) {
            waits.push(self.far.queued_bytes().0 as f64 * 8e3 / rate as f64);
            thread::sleep(GLANCE);
        }
        quantile(&waits, 0.5)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            drop(thread.join());
        }
    }
}

/// Carries packets from a device until told to stop, or one end is gone.
fn carry(from: &dyn Device, stop: &AtomicBool, mut give: impl FnMut(Packet) -> bool) {
    let mut packets = Vec::new();
    while !stop.load(Ordering::Acquire) {
        if from.wait(Wait { readable: true, writable: false }, Some(LOOK)).is_err() {
            return;
        }
        while from.recv(&mut packets, BATCH).is_ok_and(|n| n > 0) {
            for packet in packets.drain(..) {
                if !give(packet) {
                    return;
                }
            }
        }
    }
}

/// Hands a packet to a device, which may take its time; false if it is gone.
fn give(to: &dyn Device, packet: Packet) -> bool {
    let mut queue = VecDeque::from([packet]);
    loop {
        if to.send(&mut queue).is_err() {
            return false;
        }
        if queue.is_empty() {
            return true;
        }
        if to.wait(Wait { readable: false, writable: true }, Some(LOOK)).is_err() {
            return false;
        }
    }
}

/// Where an IPv4 packet goes.
fn destination(packet: &Packet) -> Option<IpAddr> {
    let front = packet.front();
    let bytes: [u8; 4] = front.get(16..20)?.try_into().ok()?;
    (front[0] >> 4 == 4).then(|| IpAddr::from(bytes))
}
