//! Many connections.
//!
//! One struct, [`Stack`], owns everything: sockets, ports, listeners, TIME-WAIT, timers, routes. Packets,
//! calls and time go in as values; packets, events and one deadline come out. The cost of a segment is the
//! same with one connection and with a million: a keyed hash finds the connection, `Stack::settle` puts
//! its timer and its turn to send in order, nothing is walked.

mod check;
mod cookie;
mod demux;
mod fastopen;
mod filter;
pub mod fragment;
mod hosts;
mod icmp;
mod input;
mod isn;
mod limit;
mod listen;
mod memory;
mod output;
mod park;
mod passive;
mod ports;
mod route;
mod signature;
pub mod slab;
mod snapshot;
mod syn;
mod timewait;
mod user;
pub mod wheel;

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use core::net::{IpAddr, SocketAddr};

pub use listen::ListenerRow;
pub use park::{ParkAnswer, ParkEvent, ParkedId, Unreachable};
pub use route::{Cidr, Interface, InterfaceId, Route, Way};
pub use snapshot::{Population, RowKind, SocketRow};

use crate::branch::unlikely;
use crate::config::{Config, FastOpenKeys, Options};
use crate::errno::Errno;
use crate::packet::Packet;
use crate::rng::Rng;
use crate::socket::{Domain, Ready, SocketId};
use crate::stats::Stats;
use crate::tcp::recovery::RecoveryConfig;
use crate::tcp::{Connection, Cx, Done, Outcome, Outgoing, SeqNum, SpareFlights, State, Tuple};
use crate::time::Instant;
use crate::trace::{Record, Trace, What};
use crate::wire::tcp::Header;
use cookie::Cookies;
use demux::{Demux, Key as TupleKey, TupleHash};
use fragment::Reassembler;
use hosts::Hosts;
use isn::Secrets;
use limit::Limit;
use listen::Listener;
use memory::Memory;
use output::{Control, Link};
use ports::Ports;
pub(crate) use ports::{BindFlags, Binding};
use route::Routes;
use slab::{Key, Slab};
use syn::SynTable;
use timewait::TimeWaits;
use wheel::Wheel;

impl core::fmt::Debug for Stack {
    /// Numbers only: what it holds is shown by [`Stack::snapshot`].
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stack").field("population", &self.population()).finish_non_exhaustive()
    }
}

/// What happened to a socket that somebody is interested in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The socket may have become ready for this (an edge: ask `poll` for the level).
    Ready(SocketId, Ready),
}

/// What a socket is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Neither listening nor connected.
    Fresh,
    /// LISTEN.
    Listener(Box<Listener>),
    /// From SYN-SENT on, and after the connection's end until `close`.
    Connection(Box<Connection>),
}

bitflags::bitflags! {
    /// What the stack notes about a socket.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub(crate) struct SocketFlags: u16 {
        /// In the queue of those that want to send.
        const TX_QUEUED = 1;
        /// In the queue of events.
        const EVENT_QUEUED = 2;
        /// The user has closed it; it ends with its connection.
        const ORPHAN = 4;
        /// It waits in a listener's accept queue.
        const IN_ACCEPT_QUEUE = 8;
        /// It waits for an accept filter.
        const FILTERED = 16;
        /// The connection is found by its tuple.
        const IN_DEMUX = 32;
        /// A socket of AF_INET6.
        const IPV6 = 64;
        /// O_NONBLOCK, kept for the faces.
        const NONBLOCK = 128;
        /// FD_CLOEXEC, kept for the faces.
        const CLOEXEC = 256;
        /// SHUT_RD on a socket without a connection, kept for the socket layer.
        const SHUT_RD = 512;
        /// SHUT_WR on a socket without a connection, kept for the socket layer.
        const SHUT_WR = 1_024;
        /// `connect` has reported its success (POSIX: the next one is EISCONN).
        const CONNECT_REPORTED = 2_048;
        /// In the queue of those that probe a zero window.
        const PROBING = 8_192;
        /// Opened by a SYN with data, and not yet out of SYN-RECEIVED.
        const EARLY = 16_384;
        /// The user set IP options: received source routes change nothing (MUST-52).
        const OWN_ROUTE = 4_096;
        /// Those for which settling takes more than the timer and the turn to send.
        const SETTLES_SLOWLY = Self::ORPHAN.bits() | Self::FILTERED.bits() | Self::EARLY.bits();
    }
}

/// A socket's entry in the slab: small, what is large is in boxes.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) kind: Kind,
    /// Shared with all sockets that changed no option.
    pub(crate) options: Arc<Options>,
    /// How it holds its local port.
    pub(crate) binding: Option<Binding>,
    /// Which readiness makes events.
    pub(crate) interest: Ready,
    /// What the queued event says.
    pub(crate) raised: Ready,
    pub(crate) flags: SocketFlags,
    /// The listener it came from, while it waits there.
    pub(crate) parent: Option<Key>,
    /// Bytes in its buffers, as accounted for.
    charged: u32,
    /// The routes' generation when the way was looked up.
    route_generation: u32,
    /// Where its packets go.
    link: Link,
}

/// The options of new sockets.
fn options_of(config: &Config) -> Options {
    Options { notsent_lowat: config.notsent_lowat, ..Options::default() }
}

impl Socket {
    /// Raises readiness: an event if somebody is interested, one however often it is raised.
    #[inline]
    fn raise(&mut self, key: Key, ready: Ready, events: &mut VecDeque<Key>) {
        let ready = ready & self.interest;
        if ready.is_empty() {
            return;
        }
        self.raised |= ready;
        if !self.flags.contains(SocketFlags::EVENT_QUEUED) {
            self.flags.insert(SocketFlags::EVENT_QUEUED);
            events.push_back(key);
        }
    }
}

/// A TCP/IP stack: see the module.
pub struct Stack {
    pub(crate) config: Config,
    /// Those of recovery, as they follow from the settings.
    rules: RecoveryConfig,
    pub(crate) stats: Stats,
    pub(crate) trace: Trace,
    pub(crate) rng: Rng,
    spare: SpareFlights,
    /// Where segments are made, one after another, and where the headers of usual ones are read into.
    outgoing: Outgoing,
    arriving: Header,
    /// Whose segment came last: the next one is likely to be for the same connection.
    last: Key,
    pub(crate) sockets: Slab<Socket>,
    pub(crate) ports: Ports,
    pub(crate) routes: Routes,
    default_options: Arc<Options>,
    hash: TupleHash,
    demux: Demux,
    half_open: SynTable,
    time_waits: TimeWaits,
    wheel: Wheel,
    secrets: Secrets,
    cookies: Cookies,
    /// The unbound parking listeners of IPv4 and IPv6.
    parking: [Option<Key>; 2],
    fast_open_keys: FastOpenKeys,
    hosts: Hosts,
    /// The headers of SYNs (TCP_SAVE_SYN), by the connections they opened.
    saved_syns: BTreeMap<u32, Box<[u8]>>,
    /// Some listener wants them.
    saves_syns: bool,
    /// Some socket has had keys for signatures.
    signs: bool,
    /// Segments without a connection to hold them: RST, SYN-ACK, ICMP, ACKs from TIME-WAIT.
    control: VecDeque<Control>,
    /// Whose turn it is to send.
    tx_queue: VecDeque<Key>,
    events: VecDeque<Key>,
    /// Packets to ourselves.
    inside: VecDeque<Packet>,
    reassembler: Reassembler,
    memory: Memory,
    rst_limit: Limit,
    icmp_limit: Limit,
    /// IPv4 Identification of what may be fragmented.
    ident: u32,
    orphans: u32,
    /// The latest time that was told, for records of calls without one.
    pub(crate) now: Instant,
}

impl Stack {
    /// A stack without interfaces. Its keys and random numbers come from `seed`, which must be a secret
    /// of at least 128 bits of entropy wherever peers are not trusted (RFC 6528 3).
    pub fn new(config: Config, seed: [u8; 32]) -> Stack {
        let mut rng = Rng::new(seed);
        Stack {
            hash: TupleHash::new(&mut rng),
            half_open: SynTable::new(),
            time_waits: TimeWaits::new(),
            wheel: Wheel::new(),
            secrets: Secrets::new(&mut rng),
            cookies: Cookies::new(&mut rng),
            fast_open_keys: fastopen::random_keys(&mut rng),
            hosts: Hosts::new(&mut rng),
            saved_syns: BTreeMap::new(),
            saves_syns: false,
            signs: false,
            parking: [None; 2],
            ports: Ports::new(&mut rng),
            ident: rng.u32(),
            reassembler: Reassembler::new(fragment::Limits::default(), (rng.u64(), rng.u64())),
            default_options: Arc::new(options_of(&config)),
            rules: RecoveryConfig::from(&config),
            config,
            stats: Stats::default(),
            trace: Trace::default(),
            spare: SpareFlights::default(),
            outgoing: Outgoing::default(),
            arriving: Header::default(),
            last: Key { index: u32::MAX, generation: 0 },
            sockets: Slab::new(),
            routes: Routes::default(),
            demux: Demux::default(),
            memory: Memory::default(),
            control: VecDeque::new(),
            tx_queue: VecDeque::new(),
            events: VecDeque::new(),
            inside: VecDeque::new(),
            rst_limit: Limit::default(),
            icmp_limit: Limit::default(),
            orphans: 0,
            now: Instant::ZERO,
            rng,
        }
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Changes the settings while connections live, as sysctls do: what is under way follows where it asks
    /// a setting anew, what was agreed stays.
    pub fn set_config(&mut self, config: Config) {
        self.default_options = Arc::new(options_of(&config));
        self.rules = RecoveryConfig::from(&config);
        self.config = config;
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The counters, for what the driver alone knows (drops in a device's queue).
    pub fn stats_mut(&mut self) -> &mut Stats {
        &mut self.stats
    }

    /// The recorder.
    pub fn trace_mut(&mut self) -> &mut Trace {
        &mut self.trace
    }

    /// Adds an interface; its addresses are ours and their networks on the link.
    pub fn add_interface(&mut self, interface: Interface) -> InterfaceId {
        self.routes.add_interface(interface)
    }

    /// An interface.
    pub fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.routes.interface(id)
    }

    /// All interfaces.
    pub fn interfaces(&self) -> impl Iterator<Item = (InterfaceId, &Interface)> {
        self.routes.interfaces()
    }

    /// Changes an interface: addresses, MTU, up or down. ENODEV if there is none of that name.
    pub fn change_interface(
        &mut self,
        id: InterfaceId,
        change: impl FnOnce(&mut Interface),
    ) -> Result<(), Errno> {
        self.routes.change(id, change)
    }

    /// Takes an interface up or down. ENODEV if there is none.
    pub fn set_interface_up(&mut self, id: InterfaceId, up: bool) -> Result<(), Errno> {
        self.routes.change(id, |interface| interface.up = up)
    }

    /// Removes an interface with its addresses and routes. ENODEV if there is none.
    pub fn remove_interface(&mut self, id: InterfaceId) -> Result<(), Errno> {
        self.routes.remove_interface(id)
    }

    /// Adds an address to an interface. ENODEV if there is none.
    pub fn add_address(&mut self, id: InterfaceId, address: Cidr) -> Result<(), Errno> {
        self.routes.change(id, |interface| interface.addresses.push(address))
    }

    /// Takes an address away. ENODEV without the interface.
    pub fn remove_address(&mut self, id: InterfaceId, address: IpAddr) -> Result<(), Errno> {
        self.routes.change(id, |interface| interface.addresses.retain(|a| a.address != address))
    }

    /// Adds a route. ENODEV without its interface, EINVAL if the gateway is of another family.
    pub fn add_route(&mut self, route: Route) -> Result<(), Errno> {
        self.routes.add_route(route)
    }

    /// Removes a route; false if there is none like it.
    pub fn remove_route(&mut self, route: &Route) -> bool {
        self.routes.remove_route(route)
    }

    /// Where packets to `destination` go now. ENETUNREACH, ENETDOWN.
    pub fn way(&self, destination: IpAddr) -> Result<Way, Errno> {
        self.routes.way(&self.config, destination)
    }

    /// When [`Stack::advance`] is due; `None` if nothing waits for time.
    pub fn next_deadline(&self) -> Option<Instant> {
        let wheel = self.wheel.next_deadline().unwrap_or(Instant::NEVER);
        let at = wheel
            .min(self.half_open.next_deadline())
            .min(self.time_waits.next_deadline())
            .min(self.routes.next_deadline())
            .min(self.reassembler.next_deadline());
        (!at.is_never()).then_some(at)
    }

    /// Fires what is due.
    pub fn advance(&mut self, now: Instant) {
        self.now = now;
        while let Some(index) = self.wheel.pop_expired(now) {
            let Some(key) = self.sockets.key_at(index) else { continue };
            self.on_deadline(now, key);
        }
        self.advance_half_open(now);
        while let Some(index) = self.time_waits.expired(now) {
            self.trace_time_wait_over(now, index, crate::tcp::state::Event::TimeWaitOver);
            self.end_time_wait(index);
            self.stats.tw += 1;
        }
        self.routes.expire(now);
        self.expire_fragments(now);
        self.relieve(now);
    }

    fn on_deadline(&mut self, now: Instant, key: Key) {
        let outcome = self.with_connection(now, key, |conn, cx| {
            // The wheel's entry is moved lazily: it may be earlier than the timer is now.
            if conn.next_deadline() <= cx.now { conn.on_deadline(cx) } else { Outcome::default() }
        });
        if let Some(outcome) = outcome {
            self.settle(now, key, outcome);
        }
    }

    /// The next event, oldest first.
    pub fn next_event(&mut self) -> Option<Event> {
        while let Some(key) = self.events.pop_front() {
            // Gone meanwhile: whoever waits learns it, so that closing wakes blocked callers.
            let Some(socket) = self.sockets.get_mut(key) else {
                return Some(Event::Ready(id_of(key), Ready::NVAL));
            };
            socket.flags.remove(SocketFlags::EVENT_QUEUED);
            let ready = core::mem::take(&mut socket.raised) & socket.interest;
            if socket.flags.contains(SocketFlags::ORPHAN) && socket.interest == Ready::NVAL {
                socket.interest = Ready::empty();
            }
            if !ready.is_empty() {
                return Some(Event::Ready(id_of(key), ready));
            }
        }
        None
    }

    /// Raises readiness: an event if somebody is interested, one however often it is raised.
    pub(crate) fn raise(&mut self, key: Key, ready: Ready) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        socket.raise(key, ready, &mut self.events);
    }

    /// Runs `f` on a live or ended connection, with what it sees of the stack. [`Stack::settle`] must follow.
    #[inline]
    pub(crate) fn with_connection<R>(
        &mut self,
        now: Instant,
        key: Key,
        f: impl FnOnce(&mut Connection, &mut Cx<'_>) -> R,
    ) -> Option<R> {
        let Stack { sockets, config, rules, stats, trace, rng, spare, memory, .. } = self;
        let Kind::Connection(conn) = &mut sockets.get_mut(key)?.kind else { return None };
        let pressure = memory.is_short(config);
        let mut cx = Cx { now, config, rules, stats, trace, rng, spare, id: id_of(key), pressure };
        Some(f(conn, &mut cx))
    }

    /// All that follows from an operation on a connection, in one place: its answer, its timer, its turn to
    /// send, its readiness, its end.
    #[inline]
    pub(crate) fn settle(&mut self, now: Instant, key: Key, outcome: Outcome) {
        self.now = now;
        if outcome.done.is_some()
            || outcome.reply.is_some()
            || outcome.pmtu.is_some()
            || outcome.negative_advice
            || outcome.established
        {
            return self.settle_rare(now, key, outcome);
        }
        self.settle_quickly(now, key, outcome.ready);
    }

    /// Runs `f` on a connection that its user holds, where nothing can follow but that it wants to send: no timer, no
    /// readiness. One look for all of it. `None` if there is none, or if `f` says that this is not such a case and has
    /// changed nothing.
    #[inline]
    pub(crate) fn operate_quickly<R>(
        &mut self,
        now: Instant,
        key: Key,
        f: impl FnOnce(&mut Connection, &mut Cx<'_>) -> Option<R>,
    ) -> Option<R> {
        self.now = now;
        let Stack { sockets, config, rules, stats, trace, rng, spare, memory, tx_queue, .. } = self;
        let socket = sockets.get_mut(key)?;
        if socket.flags.intersects(SocketFlags::SETTLES_SLOWLY) {
            return None;
        }
        let Kind::Connection(conn) = &mut socket.kind else { return None };
        let pressure = memory.is_short(config);
        let mut cx = Cx { now, config, rules, stats, trace, rng, spare, id: id_of(key), pressure };
        let result = f(conn, &mut cx)?;
        let wants = conn.wants_transmit();
        memory.charge(key, socket);
        if wants && !socket.flags.contains(SocketFlags::TX_QUEUED) {
            socket.flags.insert(SocketFlags::TX_QUEUED);
            tx_queue.push_back(key);
        }
        Some(result)
    }

    /// [`Stack::settle`] of what has no outcome but readiness.
    #[inline]
    pub(crate) fn settle_quickly(&mut self, now: Instant, key: Key, ready: Ready) {
        self.now = now;
        let Stack { sockets, memory, wheel, tx_queue, events, .. } = self;
        let Some(socket) = sockets.get_mut(key) else { return };
        settle_connection(now, key, socket, ready, (memory, wheel, tx_queue, events));
        if socket.flags.intersects(SocketFlags::SETTLES_SLOWLY) {
            self.settle_unaccepted(key);
        }
    }

    /// Sockets that no user holds now: the accept filter may be content, a lingering `close` may end.
    #[cold]
    fn settle_unaccepted(&mut self, key: Key) {
        let Some(socket) = self.sockets.get(key) else { return };
        let flags = socket.flags;
        if flags.contains(SocketFlags::EARLY)
            && !matches!(&socket.kind, Kind::Connection(conn) if conn.state() == State::SynReceived)
        {
            self.leave_early(self.now, key);
        }
        if flags.contains(SocketFlags::FILTERED) {
            self.apply_accept_filter(key);
        }
        if flags.contains(SocketFlags::ORPHAN) {
            self.raise(key, self.level(key)); // for SO_LINGER
        }
    }

    /// [`Stack::settle`] of what is more than data and its acknowledgment.
    #[inline(never)]
    fn settle_rare(&mut self, now: Instant, key: Key, mut outcome: Outcome) {
        let Some(socket) = self.sockets.get(key) else { return };
        let Kind::Connection(conn) = &socket.kind else { return };
        let tuple = *conn.tuple();
        if let Some(reply) = outcome.reply.take() {
            let route = socket.options.ip_options.clone();
            let key = conn.md5_key().cloned();
            self.push_control(Control::outgoing(tuple, &reply, route).signed(key));
        }
        if let Some(pmtu) = outcome.pmtu.take() {
            self.routes.lower_mtu(&self.config, now, tuple.remote.ip(), pmtu);
        }
        if core::mem::take(&mut outcome.negative_advice) {
            self.routes.negative_advice(&self.config, now, tuple.remote.ip());
        }
        let done = outcome.done.take();
        if core::mem::take(&mut outcome.established) || done.is_some() {
            self.learn_fast_open(now, key);
        }
        self.settle(now, key, outcome);
        if let Some(done) = done {
            self.end_connection(now, key, done);
        }
    }

    /// A connection has come to its end: out of the demux, its timer stopped, a TIME-WAIT entry in its
    /// place if it needs one. The socket stays while the user holds it.
    fn end_connection(&mut self, now: Instant, key: Key, done: Done) {
        let Some(socket) = self.sockets.get(key) else { return };
        let Kind::Connection(conn) = &socket.kind else { return };
        let (tuple, flags, binding) = (*conn.tuple(), socket.flags, socket.binding);
        let md5 = conn.md5_key().cloned();
        self.wheel.cancel(key.index);
        if flags.contains(SocketFlags::IN_DEMUX) {
            self.leave_demux(key, &tuple);
            if let (Done::TimeWait(info), Some(binding)) = (&done, &binding) {
                self.begin_time_wait(now, &tuple, info, binding, md5);
            }
        }
        if flags.contains(SocketFlags::FILTERED) {
            self.leave_filter(key);
            self.remove_socket(key);
        } else if flags.contains(SocketFlags::ORPHAN) {
            self.remove_socket(key);
        } else if binding.is_some_and(|b| !b.flags.contains(BindFlags::EXPLICIT)) {
            // Linux's tcp_done: a port that nobody named is given back at once.
            if let (Some(binding), Some(socket)) = (binding, self.sockets.get_mut(key)) {
                socket.binding = None;
                self.ports.release(&binding);
            }
        }
    }

    /// Makes a socket's entry, if there may be one more (ENFILE).
    pub(crate) fn insert_socket(
        &mut self,
        kind: Kind,
        options: Arc<Options>,
        flags: SocketFlags,
    ) -> Result<Key, Errno> {
        if self.sockets.len() >= self.config.max_sockets as usize {
            return Err(Errno::ENFILE);
        }
        Ok(self.sockets.insert(Socket {
            kind,
            options,
            binding: None,
            interest: Ready::empty(),
            raised: Ready::empty(),
            flags,
            parent: None,
            charged: 0,
            route_generation: self.routes.generation().wrapping_sub(1),
            link: Link::Nowhere,
        }))
    }

    /// Takes a socket out, with its port and its place in the demux.
    pub(crate) fn remove_socket(&mut self, key: Key) {
        self.leave_early(self.now, key);
        let Some(socket) = self.sockets.get(key) else { return };
        if let (Kind::Connection(conn), true) = (&socket.kind, socket.flags.contains(SocketFlags::IN_DEMUX)) {
            let tuple = *conn.tuple();
            self.leave_demux(key, &tuple);
        }
        self.wheel.cancel(key.index);
        let Some(socket) = self.sockets.remove(key) else { return };
        self.saved_syns.remove(&key.index);
        self.discharge(socket.charged);
        if !socket.interest.is_empty() && !socket.flags.contains(SocketFlags::EVENT_QUEUED) {
            self.events.push_back(key);
        }
        if let Some(binding) = socket.binding {
            self.ports.release(&binding);
        }
        if socket.flags.contains(SocketFlags::ORPHAN) {
            self.orphans -= 1;
        }
    }

    fn enter_demux(&mut self, key: Key, tuple: &Tuple) {
        let Stack { demux, sockets, hash, .. } = self;
        let hash_of = |index| hash_at(sockets, hash, index);
        demux.insert(hash.of(TupleKey::new(tuple).as_bytes()), key.index, hash_of);
        if let Some(socket) = sockets.get_mut(key) {
            socket.flags.insert(SocketFlags::IN_DEMUX);
        }
    }

    fn leave_demux(&mut self, key: Key, tuple: &Tuple) {
        self.demux.remove(self.hash.of(TupleKey::new(tuple).as_bytes()), key.index);
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.flags.remove(SocketFlags::IN_DEMUX);
        }
    }

    /// The connection whose segment arrives.
    #[inline]
    fn connection_of(&mut self, tuple: &Tuple) -> Option<Key> {
        let same = |socket: &Socket| {
            matches!(&socket.kind, Kind::Connection(conn) if conn.tuple() == tuple)
                && socket.flags.contains(SocketFlags::IN_DEMUX)
        };
        if self.sockets.get(self.last).is_some_and(same) {
            return Some(self.last);
        }
        self.last = self.find_connection(self.hash.of(TupleKey::new(tuple).as_bytes()), tuple)?;
        Some(self.last)
    }

    /// The connection of a tuple.
    #[inline]
    fn find_connection(&self, hash: u64, tuple: &Tuple) -> Option<Key> {
        let index = self.demux.find(hash, |index| {
            let entry = self.sockets.key_at(index).and_then(|key| self.sockets.get(key));
            matches!(entry.map(|socket| &socket.kind), Some(Kind::Connection(conn)) if conn.tuple() == tuple)
        })?;
        self.sockets.key_at(index)
    }

    fn begin_time_wait(
        &mut self,
        now: Instant,
        tuple: &Tuple,
        info: &crate::tcp::TimeWaitInfo,
        binding: &Binding,
        md5: Option<signature::Md5Key>,
    ) {
        if !self.time_waits.insert(&self.hash, &self.config, now, tuple, info, binding) {
            self.stats.tcp_time_wait_overflow += 1;
            return;
        }
        let held = self
            .time_waits
            .find(self.hash.of(TupleKey::new(tuple).as_bytes()), TupleKey::new(tuple).as_bytes());
        if let Some(binding) = held.and_then(|index| self.time_waits.binding(index)) {
            self.ports.hold(binding);
        }
        if let (Some(index), Some(key)) = (held, md5) {
            self.time_waits.set_md5_key(index, key);
        }
        self.stats.time_wait = self.time_waits.len() as u64;
    }

    /// The last change of state of a connection that left nothing but its TIME-WAIT.
    fn trace_time_wait_over(&mut self, now: Instant, index: u32, why: crate::tcp::state::Event) {
        if !self.trace.on() {
            return;
        }
        let Some((tuple, _)) = self.time_waits.answer(index) else { return };
        let what = What::State { from: State::TimeWait, to: State::Closed, why };
        self.trace.push(Record { at: now, socket: None, tuple, what });
    }

    fn end_time_wait(&mut self, index: u32) {
        if let Some(binding) = self.time_waits.remove(&self.hash, index) {
            self.ports.release(&binding);
        }
        self.stats.time_wait = self.time_waits.len() as u64;
    }
}

/// What follows from most operations on a connection: memory is accounted for, its timer set, its turn to send comes,
/// its readiness is told.
#[inline(always)]
fn settle_connection(
    now: Instant,
    key: Key,
    socket: &mut Socket,
    ready: Ready,
    (memory, wheel, tx_queue, events): (&mut Memory, &mut Wheel, &mut VecDeque<Key>, &mut VecDeque<Key>),
) {
    memory.charge(key, socket);
    let Kind::Connection(conn) = &socket.kind else { return };
    schedule(wheel, now, key.index, conn.next_deadline());
    if conn.wants_transmit() && !socket.flags.contains(SocketFlags::TX_QUEUED) {
        socket.flags.insert(SocketFlags::TX_QUEUED);
        tx_queue.push_back(key);
    }
    socket.raise(key, ready, events);
}

/// Moves the wheel's entry only if it would fire too late: a timer that moves away with each segment
/// costs nothing, a spurious wake-up sets it right.
#[inline(always)]
fn schedule(wheel: &mut Wheel, now: Instant, index: u32, deadline: Instant) {
    match wheel.deadline(index) {
        Some(at) if at <= deadline => {
            if unlikely(at <= now) && !deadline.is_never() {
                wheel.schedule(index, deadline);
            }
        }
        _ => wheel.schedule(index, deadline),
    }
}

fn hash_at(sockets: &Slab<Socket>, hash: &TupleHash, index: u32) -> u64 {
    let entry = sockets.key_at(index).and_then(|key| sockets.get(key));
    match entry.map(|socket| &socket.kind) {
        Some(Kind::Connection(conn)) => hash.of(TupleKey::new(conn.tuple()).as_bytes()),
        _ => 0,
    }
}

/// The public name of a place in the slab.
pub(crate) const fn id_of(key: Key) -> SocketId {
    SocketId { index: key.index, generation: key.generation }
}

/// The place in the slab of a name.
pub(crate) const fn key_of(id: SocketId) -> Key {
    Key { index: id.index, generation: id.generation }
}
