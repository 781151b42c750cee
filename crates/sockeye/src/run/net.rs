//! The network under a program: its stack, the link, and a second stack that carries connections on over the
//! sockets of the machine around.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use sockeye_core::link::LinkSpec;
use sockeye_core::stack::{Cidr, RowKind, SocketRow};
use sockeye_core::tcp::State;
use sockeye_core::{Config, Profile, Stats};
use tokio::io::Interest;

use super::supervisor::{Listens, OnListen};
use crate::device::{Capture, Device, Impaired, Loopback, Memory, MemoryOptions};
use crate::driver::{Attendance, Host, HostBuilder};
use crate::forward::{self, Forwarder, Publish, Published, Target};
use crate::net::Socket;
use crate::sys::watch::watch;

/// The program's address and its gateway, in the ranges for benchmarks (RFC 2544) and documentation (RFC 3849):
/// they meet no real network.
const OURS: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 19, 255, 2), Ipv6Addr::new(0x2001, 0xdb8, 0, 0xffff, 0, 0, 0, 2));
const GATEWAY: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(198, 19, 255, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0xffff, 0, 0, 0, 1));
const MTU: u16 = 1_500;
/// How often it is looked whether everything has been delivered.
const LOOK: Duration = Duration::from_millis(2);
/// How long a peer may not answer at the end of a run.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long peers on a real network have for their FINs when the programs have gone.
const FAREWELL: Duration = Duration::from_millis(300);
/// Connections that may wait at a listener that was added to a program's.
const BACKLOG: i32 = 4_096;

/// The addresses that stand for the loopback of the machine around.
#[derive(Clone, Copy, Debug)]
pub struct Gateway(());

impl Gateway {
    /// The address that stands for the loopback of the family of `ip`.
    pub(super) fn of(self, ip: IpAddr) -> Option<IpAddr> {
        Some(if ip.is_ipv4() { GATEWAY.0.into() } else { GATEWAY.1.into() })
    }

    /// What a program is told of an address of the gateway's: the loopback.
    pub(super) fn shown(self, address: SocketAddr) -> Option<SocketAddr> {
        let mapped = matches!(address.ip(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        let ip: IpAddr = match address.ip().to_canonical() {
            IpAddr::V4(v4) if v4 == GATEWAY.0 && mapped => Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
            IpAddr::V4(v4) if v4 == GATEWAY.0 => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(v6) if v6 == GATEWAY.1 => Ipv6Addr::LOCALHOST.into(),
            _ => return None,
        };
        Some(SocketAddr::new(ip, address.port()))
    }
}

/// A port of the machine around that leads to one of the program's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Publication {
    /// Where the machine listens.
    pub listen: SocketAddr,
    /// The program's port.
    pub port: u16,
}

/// What becomes a network.
#[must_use]
pub struct NetworkBuilder {
    config: Config,
    link: Option<LinkSpec>,
    capture: Option<Arc<Capture>>,
    uplink: Option<Uplink>,
    publish: Vec<Publication>,
    publish_all: Option<IpAddr>,
    announce: Announce,
}

/// Told of each port that is published while the program runs.
type Announce = Box<dyn Fn(u16, SocketAddr) + Send + Sync>;

struct Uplink {
    device: Box<dyn Device>,
    addresses: Vec<Cidr>,
    gateways: Vec<IpAddr>,
}

/// A stack for programs, and what lies behind it.
pub struct Network {
    host: Host,
    /// The far side's stack.
    far: Host,
    forwarder: Forwarder,
    published: Arc<Ports>,
    /// The bad link toward the outside.
    uplink: Option<Arc<Impaired<Box<dyn Device>>>>,
    /// Packets go out through a device: peers are elsewhere.
    is_outside: bool,
    addresses: Vec<IpAddr>,
}

/// The ports that are published, and for whom.
struct Ports {
    fixed: Mutex<Vec<Published>>,
    publications: Vec<Publication>,
    /// Every port that the program listens on is published at this address.
    all: Option<IpAddr>,
    of_program: Mutex<Vec<(u16, Published)>>,
    forwarder: Forwarder,
    to: Vec<IpAddr>,
    announce: Announce,
}

impl Default for NetworkBuilder {
    fn default() -> NetworkBuilder {
        NetworkBuilder {
            config: Config::default(),
            link: None,
            capture: None,
            uplink: None,
            publish: Vec::new(),
            publish_all: None,
            announce: Box::new(|_, _| ()),
        }
    }
}

impl NetworkBuilder {
    /// Whose behaviour the program's stack follows.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.config = Config::new(profile);
        self
    }

    /// Changes single settings of the program's stack.
    pub fn set(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// A bad link between the program's stack and everything else, itself by loopback included.
    pub fn link(mut self, link: LinkSpec) -> Self {
        self.link = Some(link);
        self
    }

    /// Writes what passes the link to a capture.
    pub fn capture(mut self, capture: Arc<Capture>) -> Self {
        self.capture = Some(capture);
        self
    }

    /// Packets go out through `device` instead of over the machine's sockets; only the loopback of the machine is still
    /// reached by its sockets.
    pub fn device(
        mut self,
        device: impl Device + 'static,
        addresses: Vec<Cidr>,
        gateways: Vec<IpAddr>,
    ) -> Self {
        self.uplink = Some(Uplink { device: Box::new(device), addresses, gateways });
        self
    }

    /// Publishes a port.
    pub fn publish(mut self, publication: Publication) -> Self {
        self.publish.push(publication);
        self
    }

    /// Publishes every port that the program listens on, under the same number at this address of the machine.
    pub fn publish_all(mut self, at: IpAddr) -> Self {
        self.publish_all = Some(at);
        self
    }

    /// Is told of each port that is published because the program listens on it, and where.
    pub fn announce(mut self, announce: impl Fn(u16, SocketAddr) + Send + Sync + 'static) -> Self {
        self.announce = Box::new(announce);
        self
    }

    /// Makes the network.
    ///
    /// # Errors
    /// A port that cannot be published, in one sentence; the operating system's.
    pub fn build(mut self) -> io::Result<Network> {
        self.config.privileged = true; // the program's own network: no port of it is anybody else's
        let names = ["link0".to_owned(), "far".to_owned()];
        let (inner, outer) = Memory::pair(MemoryOptions { mtu: MTU, names, ..MemoryOptions::default() });
        let far = forward::host(outer).build()?;
        let only_loopback = self.uplink.is_some();
        let decide = move |_peer: SocketAddr, to: SocketAddr| decide(to, only_loopback);
        let forwarder = Forwarder::builder()
            .decide(decide)
            .on_trouble(|text| eprintln!("sockeye: {text}"))
            .driven_by_caller()
            .build(&far)?;
        let mut to: Vec<IpAddr> = Vec::new();
        let (mut outside, is_outside) = (None, self.uplink.is_some());
        let mut builder = Host::builder().config(self.config);
        // The link that everything takes comes first.
        match self.uplink.take() {
            None => {
                builder = impaired(builder, inner, self.link.as_ref());
                to.extend([IpAddr::from(OURS.0), IpAddr::from(OURS.1)]);
                builder = near(builder).gateway(GATEWAY.0).gateway(GATEWAY.1);
                builder = captured(builder, self.capture.as_ref())?;
            }
            Some(uplink) => {
                builder = match &self.link {
                    Some(link) => {
                        let device = Arc::new(Impaired::new(uplink.device, link));
                        outside = Some(device.clone());
                        builder.device(device)
                    }
                    None => builder.device(uplink.device),
                };
                for address in &uplink.addresses {
                    builder = builder.address(address.address, address.prefix);
                    to.push(address.address);
                }
                for gateway in uplink.gateways {
                    builder = builder.gateway(gateway);
                }
                builder = captured(builder, self.capture.as_ref())?;
                builder = near(builder.device(inner));
                to.extend([IpAddr::from(OURS.0), IpAddr::from(OURS.1)]);
            }
        }
        builder = impaired(builder, Loopback::new("lo", MTU), self.link.as_ref()).loopback();
        builder = captured(builder, self.capture.as_ref())?;
        let host = builder.build()?;
        let inside = vec![IpAddr::from(OURS.0), IpAddr::from(OURS.1)];
        let ports = Arc::new(Ports {
            fixed: Mutex::default(),
            publications: self.publish,
            all: self.publish_all,
            of_program: Mutex::default(),
            forwarder: forwarder.clone(),
            to: inside,
            announce: self.announce,
        });
        for publication in &ports.publications {
            let published = ports.open(publication.listen, publication.port)?;
            ports.fixed.lock().unwrap_or_else(PoisonError::into_inner).push(published);
        }
        Ok(Network { host, far, forwarder, published: ports, uplink: outside, is_outside, addresses: to })
    }
}

/// The addresses of the network between the program's stack and the far side's.
fn near(builder: HostBuilder) -> HostBuilder {
    builder.address(OURS.0, 24).address(OURS.1, 64)
}

fn impaired(builder: HostBuilder, device: impl Device + 'static, link: Option<&LinkSpec>) -> HostBuilder {
    match link {
        Some(link) => builder.device(Impaired::new(device, link)),
        None => builder.device(device),
    }
}

fn captured(builder: HostBuilder, capture: Option<&Arc<Capture>>) -> io::Result<HostBuilder> {
    match capture {
        Some(capture) => builder.capture(capture.clone()),
        None => Ok(builder),
    }
}

/// Where a connection of the program's goes.
fn decide(to: SocketAddr, only_loopback: bool) -> Target {
    let ip: IpAddr = match to.ip().to_canonical() {
        IpAddr::V4(v4) if v4 == GATEWAY.0 => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6 == GATEWAY.1 => Ipv6Addr::LOCALHOST.into(),
        _ if only_loopback => return Target::Unreachable,
        ip => ip,
    };
    Target::Connect(SocketAddr::new(ip, to.port()))
}

/// Lets the forwarder run on the thread that takes the program's calls: a wake-up costs more than its work.
pub(super) async fn drive(forwarder: Forwarder) {
    let fd = std::os::fd::AsFd::as_fd(&forwarder).try_clone_to_owned();
    let watched = fd.and_then(|fd| watch(fd, Interest::READABLE));
    let watched = match watched {
        Ok(watched) => watched,
        Err(error) => return eprintln!("sockeye: connections cannot be carried on: {error}"),
    };
    loop {
        let Ok(mut guard) = watched.readable().await else { return };
        guard.clear_ready();
        if let Err(error) = forwarder.turn(Some(Duration::ZERO)) {
            return eprintln!("sockeye: connections cannot be carried on: {error}");
        }
    }
}

/// Lets packets be taken on the thread that takes the program's calls, and does all that follows from both.
pub(super) async fn attend(host: Host) {
    let Some(attendance) = Attendance::begin(&host) else { return };
    let Some(fd) = attendance.arrivals() else { return };
    // Where it cannot be watched the driver's thread goes on.
    let Ok(watched) = fd.try_clone_to_owned().and_then(|fd| watch(fd, Interest::READABLE)) else { return };
    loop {
        let Ok(mut guard) = watched.readable().await else { return };
        guard.clear_ready();
        while attendance.receive() {
            tokio::task::yield_now().await;
        }
    }
}

impl Network {
    /// Begins a network whose packets go out over the machine's own sockets.
    pub fn builder() -> NetworkBuilder {
        NetworkBuilder::default()
    }

    /// The program's stack.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The program's addresses.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The far side.
    pub fn forwarder(&self) -> &Forwarder {
        &self.forwarder
    }

    /// The counters of the far side's stack.
    pub fn far_stats(&self) -> Stats {
        self.far.stats()
    }

    pub(super) fn gateway(&self) -> Gateway {
        Gateway(())
    }

    /// Where the published ports of the program are to be had: number, and address of the machine.
    pub fn published(&self) -> Vec<(u16, SocketAddr)> {
        let fixed = self.published.fixed.lock().unwrap_or_else(PoisonError::into_inner);
        let fixed =
            fixed.iter().zip(&self.published.publications).map(|(at, what)| (what.port, at.local_addr()));
        let all = self.published.of_program.lock().unwrap_or_else(PoisonError::into_inner);
        fixed.chain(all.iter().map(|(port, at)| (*port, at.local_addr()))).collect()
    }

    pub(super) fn on_listen(&self) -> OnListen {
        let ports = Arc::downgrade(&self.published);
        Box::new(move |host, listens| match listens {
            Listens::At(local) => listened(&ports, host, local),
            Listens::Over(port) => {
                if let Some(ports) = ports.upgrade() {
                    ports
                        .of_program
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .retain(|(at, _)| *at != port);
                }
                Vec::new()
            }
        })
    }

    /// Ends it. Everything that the programs have sent is delivered first: it takes as long as that makes progress, and
    /// ends early where `is_urgent` says so. Then peers on a real network may send their FINs for a moment. Returns how
    /// many connections had not come to an end and were reset.
    pub fn finish(self, is_urgent: impl Fn() -> bool) -> usize {
        self.published.close();
        let left = self.settle(PATIENCE, &is_urgent, |row| {
            row.send_q > 0 || matches!(row.state, State::FinWait1 | State::Closing | State::LastAck)
        });
        if self.is_outside {
            self.settle(FAREWELL, &is_urgent, |row| row.state == State::FinWait2);
        }
        // Whoever still has something to send to a program that is gone finds its connection reset.
        self.forwarder.stop();
        self.far.shutdown(Duration::ZERO);
        self.host.shutdown(Duration::ZERO);
        if let Some(link) = self.uplink.filter(|_| !is_urgent()) {
            // The last segments are on their way. Where the device has failed there is nobody to tell.
            let _ = link.drain(FAREWELL);
        }
        left
    }

    /// Waits until no connection is left for which `counts` holds, nor anything at the far side, or until nothing has
    /// changed for `patience`. Returns how many those are.
    fn settle(
        &self,
        patience: Duration,
        is_urgent: &impl Fn() -> bool,
        counts: impl Fn(&SocketRow) -> bool,
    ) -> usize {
        let (mut before, mut since) = (None, Instant::now());
        loop {
            let rows = self.host.snapshot();
            let rows: Vec<_> = rows.iter().filter(|row| is_connection(row) && counts(row)).collect();
            let left = rows.len() + self.forwarder.drain(Duration::ZERO);
            let queued: u64 = rows.iter().map(|row| u64::from(row.send_q)).sum();
            let now = Some((left, queued, self.forwarder.totals()));
            if std::mem::replace(&mut before, now) != now {
                since = Instant::now();
            }
            if left == 0 || since.elapsed() >= patience || is_urgent() {
                return left;
            }
            // It fails only where there is nothing left to wait for but the time.
            let _ = self.forwarder.turn(Some(LOOK));
        }
    }
}

fn is_connection(row: &SocketRow) -> bool {
    matches!(row.kind, RowKind::Connection | RowKind::Orphan | RowKind::Waiting)
}

impl Ports {
    fn close(&self) {
        self.fixed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.of_program.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn open(&self, listen: SocketAddr, port: u16) -> io::Result<Published> {
        self.forwarder.publish(Publish {
            listen,
            to: self.to.iter().map(|ip| SocketAddr::new(*ip, port)).collect(),
            stand_ins: vec![GATEWAY.0.into(), GATEWAY.1.into()],
        })
    }

    /// Whether the outside is to reach a port.
    fn is_public(&self, port: u16) -> bool {
        self.all.is_some() || self.publications.iter().any(|publication| publication.port == port)
    }
}

/// The program listens: its port is published if it is to be, and a listener at a loopback address gets another
/// beside it, which the published connections reach.
fn listened(ports: &Weak<Ports>, host: &Host, local: SocketAddr) -> Vec<Socket> {
    let Some(ports) = ports.upgrade() else { return Vec::new() };
    if !ports.is_public(local.port()) {
        return Vec::new();
    }
    let is_fixed = ports.publications.iter().any(|publication| publication.port == local.port());
    if let (Some(ip), false) = (ports.all, is_fixed) {
        let mut all = ports.of_program.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.iter().any(|(port, _)| *port == local.port()) {
            match ports.open(SocketAddr::new(ip, local.port()), local.port()) {
                Ok(published) => {
                    (ports.announce)(local.port(), published.local_addr());
                    all.push((local.port(), published));
                }
                Err(error) => eprintln!("sockeye: {error}"),
            }
        }
    }
    if !local.ip().to_canonical().is_loopback() {
        return Vec::new();
    }
    let beside = |ip: IpAddr| -> io::Result<Socket> {
        let at = SocketAddr::new(ip, local.port());
        let socket = Socket::new(host, at)?;
        socket.bind(at)?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    };
    // One that the program has itself at that address serves as well.
    ports.to.iter().filter_map(|ip| beside(*ip).ok()).collect()
}
