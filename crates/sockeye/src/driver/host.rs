//! A host: a stack, its devices, its threads.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sockeye_core::stack::{Cidr, Interface, Route, RowKind, SocketRow, Stack};
use sockeye_core::{Config, Errno, Instant, Profile, SocketId, Stats};

use super::clock::Clock;
use super::port::Port;
use super::records::Records;
use super::shard::{PortArrival, Shard};
use crate::device::{Arrival, Capture, Device, DeviceStats, Memory, MemoryOptions, Tap};

/// How often the last moments of a host are looked at.
const LOOK: Duration = Duration::from_millis(5);

/// A TCP/IP host in this process: see the module.
#[derive(Clone)]
pub struct Host(Arc<Handle>);

struct Handle {
    shard: Arc<Shard>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    linger: Duration,
}

/// What becomes a host.
#[must_use]
pub struct HostBuilder {
    config: Config,
    links: Vec<Link>,
    gateways: Vec<IpAddr>,
    routes: Vec<(Cidr, Option<IpAddr>, usize)>,
    seed: Option<[u8; 32]>,
    clock: Option<Clock>,
    captures: Vec<Arc<Capture>>,
    linger: Duration,
}

struct Link {
    device: Arc<dyn Device>,
    addresses: Vec<Cidr>,
    accept_any: bool,
    loopback: bool,
}

/// A device and how it is.
#[derive(Debug)]
pub struct DeviceStatus {
    /// The interface's name.
    pub name: String,
    /// What it has done.
    pub stats: DeviceStats,
    /// Why it failed for good, if it did; its interface is down since.
    pub error: Option<io::Error>,
}

/// How the connections of a host ended at its shutdown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShutdownReport {
    /// Sockets that were still open and were closed.
    pub closed: usize,
    /// Connections that had not ended in order when the time was over, and were reset.
    pub aborted: usize,
    /// TIME-WAIT entries left.
    pub time_wait: usize,
}

impl Default for HostBuilder {
    fn default() -> Self {
        HostBuilder {
            config: Config::default(),
            links: Vec::new(),
            gateways: Vec::new(),
            routes: Vec::new(),
            seed: None,
            clock: None,
            captures: Vec::new(),
            linger: Duration::from_secs(5),
        }
    }
}

impl HostBuilder {
    /// The settings of a profile. Settings made before are lost.
    pub fn profile(mut self, profile: Profile) -> Self {
        let name = std::mem::take(&mut self.config.name);
        self.config = Config::new(profile);
        self.config.name = name;
        self
    }

    /// All settings at once.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Changes single settings.
    pub fn set(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// A name, shown by views and in the names of threads.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// Adds a device; an interface of its name comes with it.
    pub fn device(mut self, device: impl Device + 'static) -> Self {
        self.links.push(Link {
            device: Arc::new(device),
            addresses: Vec::new(),
            accept_any: false,
            loopback: false,
        });
        self
    }

    /// Gives the device added last an address and the length of its network's prefix.
    ///
    /// # Panics
    /// If no device was added.
    pub fn address(mut self, address: impl Into<IpAddr>, prefix: u8) -> Self {
        let link = self.links.last_mut().expect("`address` follows the device that it belongs to");
        link.addresses.push(Cidr::new(address.into(), prefix));
        self
    }

    /// Takes packets to any address that come by the device added last as its own: what a forwarder needs.
    ///
    /// # Panics
    /// If no device was added.
    pub fn accept_any(mut self) -> Self {
        let link = self.links.last_mut().expect("`accept_any` follows the device that it belongs to");
        link.accept_any = true;
        self
    }

    /// Traffic to the host's own addresses, 127.0.0.0/8 and ::1 included, goes over the device added last instead of
    /// staying inside: what is sent there must come back.
    ///
    /// # Panics
    /// If no device was added.
    pub fn loopback(mut self) -> Self {
        let link = self.links.last_mut().expect("`loopback` follows the device that it belongs to");
        link.loopback = true;
        self
    }

    /// Sends what no other route takes through this router, which must be on a device's network.
    pub fn gateway(mut self, gateway: impl Into<IpAddr>) -> Self {
        self.gateways.push(gateway.into());
        self
    }

    /// Adds a route over the device added last.
    ///
    /// # Panics
    /// If no device was added.
    pub fn route(mut self, destination: Cidr, gateway: Option<IpAddr>) -> Self {
        let index = self.links.len().checked_sub(1).expect("`route` follows the device that it belongs to");
        self.routes.push((destination, gateway, index));
        self
    }

    /// Writes what passes the device added last to a capture, with the states of connections.
    ///
    /// # Errors
    /// The capture's writer.
    ///
    /// # Panics
    /// If no device was added.
    pub fn capture(mut self, capture: Arc<Capture>) -> io::Result<Self> {
        let link = self.links.pop().expect("`capture` follows the device that it belongs to");
        let device = Arc::new(Tap::new(link.device, capture.clone())?);
        self.links.push(Link { device, ..link });
        self.captures.push(capture);
        Ok(self)
    }

    /// The secret that initial sequence numbers, ports and keys come from; without it the operating system is asked.
    pub fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// A clock shared with other hosts, so that their records have comparable times.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// How long closed connections may take to send what they have left when the last handle is gone; 5 s.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Makes the host and starts its threads.
    ///
    /// # Errors
    /// No random numbers or no threads from the operating system; a gateway on none of the networks
    /// (ENETUNREACH); a route whose gateway is of another family (EINVAL).
    pub fn build(self) -> io::Result<Host> {
        let mut seed = [0; 32];
        match self.seed {
            Some(given) => seed = given,
            None => getrandom::fill(&mut seed).map_err(io::Error::other)?,
        }
        let name = self.config.name.clone();
        let mut stack = Stack::new(self.config, seed);
        let mut ports = Vec::with_capacity(self.links.len());
        for link in self.links {
            let capabilities = link.device.capabilities();
            let mut interface = Interface::new(link.device.name(), capabilities.mtu, link.addresses);
            interface.gso_max = capabilities.gso_max;
            interface.checksum_offload = capabilities.checksum_tx;
            interface.accept_any = link.accept_any;
            interface.loopback = link.loopback;
            ports.push(Port::new(link.device, stack.add_interface(interface)));
        }
        for (destination, gateway, index) in self.routes {
            let interface = ports[index].interface;
            stack
                .add_route(Route { destination, gateway, interface, metric: 0, mtu: None })
                .map_err(into_io)?;
        }
        for gateway in self.gateways {
            let interface =
                stack.way(gateway).map_err(into_io)?.interface.ok_or(Errno::EINVAL).map_err(into_io)?;
            let any: IpAddr = if gateway.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
            let destination = Cidr::new(any, 0);
            let route = Route { destination, gateway: Some(gateway), interface, metric: 0, mtu: None };
            stack.add_route(route).map_err(into_io)?;
        }
        let clock = self.clock.unwrap_or_else(Clock::start);
        start(Arc::new(Shard::new(stack, ports, clock, self.captures)), &name, self.linger)
    }
}

/// Starts the threads.
fn start(shard: Arc<Shard>, name: &str, linger: Duration) -> io::Result<Host> {
    for (index, port) in shard.ports.iter().enumerate() {
        let arrival: Arc<dyn Arrival> = Arc::new(PortArrival { shard: Arc::downgrade(&shard), index });
        port.keep_arrival(arrival.clone());
        port.device.on_arrival(Arc::downgrade(&arrival));
    }
    let host = Host(Arc::new(Handle { shard: shard.clone(), threads: Mutex::default(), linger }));
    for index in 0..shard.ports.len().max(1) {
        let device = shard.ports.get(index).map_or("time", |port| port.device.name());
        let shard = shard.clone();
        let thread =
            thread::Builder::new().name(format!("{name}/{device}")).spawn(move || shard.drive(index))?;
        host.0.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }
    Ok(host)
}

impl Host {
    /// Begins a host.
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
    }

    /// Two hosts joined by an in-memory link, 192.0.2.1 and 2001:db8::1 with 192.0.2.2 and 2001:db8::2, on one clock.
    ///
    /// # Errors
    /// As [`HostBuilder::build`].
    pub fn pair() -> io::Result<(Host, Host)> {
        Host::pair_with(MemoryOptions::default(), |builder| builder)
    }

    /// [`Host::pair`] over a link and with settings of one's own; `change` sees the builder of each.
    ///
    /// # Errors
    /// As [`HostBuilder::build`].
    pub fn pair_with(
        options: MemoryOptions,
        change: impl Fn(HostBuilder) -> HostBuilder,
    ) -> io::Result<(Host, Host)> {
        let clock = Clock::start();
        let (a, b) = Memory::pair(options);
        let build = |device: Memory, last: u8| {
            let builder = Host::builder().clock(clock).device(device);
            let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)]);
            change(builder.address([192, 0, 2, last], 24).address(v6, 64)).build()
        };
        Ok((build(a, 1)?, build(b, 2)?))
    }

    pub(crate) fn shard(&self) -> &Shard {
        &self.0.shard
    }

    /// The host's clock.
    pub fn clock(&self) -> Clock {
        self.0.shard.clock
    }

    /// Runs `call` on the stack itself, with the present time; what it causes is sent, who it concerns is
    /// woken. It holds the stack's lock: it must not wait, nor use the host.
    pub fn with_stack<R>(&self, call: impl FnOnce(&mut Stack, Instant) -> R) -> R {
        self.0.shard.with(call)
    }

    /// The stack's counters.
    pub fn stats(&self) -> Stats {
        self.0.shard.look(|stack, _| stack.stats().clone())
    }

    /// All sockets, half-open connections and TIME-WAIT entries, as `ss` shows them.
    pub fn snapshot(&self) -> Vec<SocketRow> {
        self.0.shard.look(|stack, _| stack.snapshot().collect())
    }

    /// The settings.
    pub fn config(&self) -> Config {
        self.0.shard.look(|stack, _| stack.config().clone())
    }

    /// Changes settings while connections live.
    pub fn set_config(&self, change: impl FnOnce(&mut Config)) {
        self.0.shard.with(|stack, _| {
            let mut config = stack.config().clone();
            change(&mut config);
            stack.set_config(config);
        });
    }

    /// Starts reading what happens; at most `capacity` records may be unread before new ones are lost (and counted).
    pub fn records(&self, capacity: usize) -> Records {
        self.0.shard.subscribe(capacity)
    }

    /// The devices, in the order in which they were added.
    pub fn devices(&self) -> Vec<DeviceStatus> {
        let status = |port: &Port| DeviceStatus {
            name: port.device.name().to_owned(),
            stats: port.device.stats(),
            error: port.error(),
        };
        self.0.shard.ports.iter().map(status).collect()
    }

    /// Ends the host in order: closes every socket, waits until their connections have ended (TIME-WAIT
    /// counts as ended), resets those left after `timeout`, and stops the threads. Calls that wait on a
    /// closed socket fail with EBADF, later ones as well.
    pub fn shutdown(&self, timeout: Duration) -> ShutdownReport {
        let shard = &self.0.shard;
        let mut report = ShutdownReport::default();
        if shard.is_stopped() {
            return report;
        }
        let open = self.open_sockets();
        report.closed = open.len();
        for id in open {
            shard.close_now(id);
        }
        report.aborted = self.finish(timeout);
        report.time_wait =
            shard.look(|stack, _| stack.snapshot().filter(|row| row.kind == RowKind::TimeWait).count());
        self.0.stop();
        report
    }

    /// Sockets that a user holds.
    fn open_sockets(&self) -> Vec<SocketId> {
        let held = |row: &SocketRow| !matches!(row.kind, RowKind::Orphan | RowKind::Waiting);
        self.0.shard.look(|stack, _| stack.snapshot().filter(held).filter_map(|row| row.id).collect())
    }

    /// Waits until no connection is left, then resets what is; returns how many those were.
    fn finish(&self, timeout: Duration) -> usize {
        let shard = &self.0.shard;
        wait_until_quiet(shard, timeout);
        let left = |row: &SocketRow| is_live(row).then_some((row.id?, row.kind == RowKind::Orphan));
        let left: Vec<_> = shard.look(|stack, _| stack.snapshot().filter_map(|row| left(&row)).collect());
        for &(id, is_orphan) in &left {
            // One that has ended meanwhile needs no reset.
            let _ = shard.with(
                |stack, now| {
                    if is_orphan { stack.abort_orphan(now, id) } else { stack.abort(now, id) }
                },
            );
        }
        left.len()
    }
}

impl Handle {
    fn stop(&self) {
        self.shard.stop();
        let mine = thread::current().id();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if thread.thread().id() != mine {
                // A driver's thread that panicked has said so; there is nobody to tell here.
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.shard.is_stopped() {
            return;
        }
        let quiet = self.shard.look(|stack, _| !stack.snapshot().any(|row| is_live(&row)));
        if quiet || self.linger.is_zero() {
            return self.stop();
        }
        // Closed connections still have something to send: the threads go on for a while without us.
        let (shard, linger) = (self.shard.clone(), self.linger);
        let carry_on = move || {
            wait_until_quiet(&shard, linger);
            shard.stop();
        };
        if thread::Builder::new().name("sockeye/linger".into()).spawn(carry_on).is_err() {
            self.stop();
        }
    }
}

/// Looks until no connection has anything left to do, or the time is over.
fn wait_until_quiet(shard: &Shard, timeout: Duration) {
    let until = std::time::Instant::now().checked_add(timeout);
    while shard.look(|stack, _| stack.snapshot().any(|row| is_live(&row))) {
        if until.is_none_or(|until| std::time::Instant::now() >= until) || all_dead(shard) {
            return;
        }
        thread::sleep(LOOK);
    }
}

/// A host all of whose devices have failed has nobody to talk to.
fn all_dead(shard: &Shard) -> bool {
    !shard.ports.is_empty() && shard.ports.iter().all(|port| port.dead.load(Ordering::Acquire))
}

/// A connection that has not ended.
fn is_live(row: &SocketRow) -> bool {
    matches!(row.kind, RowKind::Connection | RowKind::Orphan | RowKind::Waiting)
        && row.state != sockeye_core::tcp::State::Closed
}

pub(crate) fn into_io(error: Errno) -> io::Error {
    io::Error::from_raw_os_error(error.number())
}

/// A handle that does not keep its host alive.
#[derive(Clone)]
pub struct WeakHost(Weak<Handle>);

impl WeakHost {
    /// The host, if somebody still holds it.
    pub fn upgrade(&self) -> Option<Host> {
        self.0.upgrade().map(Host)
    }
}

impl Host {
    /// A handle that does not keep the host alive.
    pub fn downgrade(&self) -> WeakHost {
        WeakHost(Arc::downgrade(&self.0))
    }
}
