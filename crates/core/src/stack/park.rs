//! Parked SYNs: a forwarder answers a handshake only once it knows what the far side says.
//!
//! A socket that [`Stack::park`] made a parking listener gets each SYN as a [`ParkEvent`] and says with
//! [`Stack::answer_parked`] what becomes of it. Until then nothing is sent: to the peer it is as if the
//! far side had not answered yet. An unbound parking listener gets the SYNs to every port that has no
//! listener of its own, at every address that an interface takes packets for
//! ([`Interface::accept_any`](super::Interface::accept_any)); a bound one those to its port.
//!
//! Bounds: each SYN that is parked takes one of the credits that the owner gave, and without one it is
//! dropped, so that nobody waits in two backlogs in series. A credit comes back only when the owner gives
//! another, which also bounds the events. A parked SYN is given up after `Config::park_timeout`.

use alloc::collections::VecDeque;

use super::*;
use crate::packet::Packet;
use crate::tcp::Why;
use crate::trace::{DropReason, Record, What};
use crate::wire::icmp::{self, Error, unreachable_v4, unreachable_v6};
use crate::wire::tcp::{Flags, Header};
use input::Arrival;
use syn::{SynEntry, SynFlags};

/// The name of a SYN that is or was parked; never used again for another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ParkedId(Key);

/// What the owner of a parking listener learns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParkEvent {
    /// A SYN is parked and waits for [`Stack::answer_parked`].
    Syn {
        /// Its name.
        id: ParkedId,
        /// From whom.
        peer: SocketAddr,
        /// To whom: what the peer connects to.
        destination: SocketAddr,
    },
    /// The handshake of one that was accepted is complete: the connection is the owner's, as `accept` hands it out.
    Open {
        /// Its name while it was parked.
        id: ParkedId,
        /// The connection.
        socket: SocketId,
    },
    /// One that is parked, or was accepted and is not open yet, has ended: its name is void.
    Gone {
        /// Its name.
        id: ParkedId,
        /// ECONNRESET: the peer gave up by a RST or began anew; ETIMEDOUT: nobody answered in time, the owner
        /// or the peer; EHOSTUNREACH: the network told that the peer is not to be reached.
        why: Errno,
    },
}

/// What becomes of a parked SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParkAnswer {
    /// The handshake goes on: SYN-ACK.
    Accept,
    /// RST: nobody listens there.
    Refuse,
    /// An ICMP error, as a router or the destination would send it.
    Unreachable(Unreachable),
    /// Nothing at all: to the peer the SYN is lost. Sent again it is parked again.
    Drop,
}

/// Which ICMP Destination Unreachable (RFC 792, RFC 1812 5.2.7.1, RFC 4443 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreachable {
    /// Net unreachable (code 0); IPv6: no route to destination (0).
    Net,
    /// Host unreachable (1); IPv6: address unreachable (3).
    Host,
    /// Port unreachable (3, 4): a hard error.
    Port,
    /// Administratively prohibited (13, 1).
    Prohibited,
}

impl ParkAnswer {
    /// What the host's own kernel shows of a `connect` that failed with `error` to whoever sent the SYN.
    ///
    /// ECONNREFUSED and ECONNRESET: refused; ENETUNREACH, ENETDOWN, EHOSTUNREACH, EHOSTDOWN, EACCES, EPERM: the ICMP
    /// message that leads to this error; anything else, ETIMEDOUT first of all: silence.
    pub const fn for_error(error: Errno) -> ParkAnswer {
        match error {
            Errno::ECONNREFUSED | Errno::ECONNRESET => ParkAnswer::Refuse,
            Errno::ENETUNREACH | Errno::ENETDOWN => ParkAnswer::Unreachable(Unreachable::Net),
            Errno::EHOSTUNREACH | Errno::EHOSTDOWN => ParkAnswer::Unreachable(Unreachable::Host),
            Errno::EACCES | Errno::EPERM => ParkAnswer::Unreachable(Unreachable::Prohibited),
            _ => ParkAnswer::Drop,
        }
    }
}

impl Unreachable {
    fn error(self, ipv6: bool) -> Error {
        let (v4, v6) = match self {
            Unreachable::Net => (unreachable_v4::NET, unreachable_v6::NO_ROUTE),
            Unreachable::Host => (unreachable_v4::HOST, unreachable_v6::ADDRESS),
            Unreachable::Port => (unreachable_v4::PORT, unreachable_v6::PORT),
            Unreachable::Prohibited => (unreachable_v4::PROHIBITED, unreachable_v6::PROHIBITED),
        };
        Error::Unreachable { code: if ipv6 { v6 } else { v4 } }
    }
}

/// What a parking listener has that others have not.
#[derive(Debug)]
pub(super) struct Parking {
    credits: u32,
    events: VecDeque<ParkEvent>,
}

impl Parking {
    /// SYNs that may still be parked.
    pub(super) fn credits(&self) -> u32 {
        self.credits
    }

    /// Events that wait.
    pub(super) fn waiting(&self) -> u32 {
        self.events.len() as u32
    }

    /// Connections that nobody took.
    pub(super) fn take_open(&mut self) -> impl Iterator<Item = SocketId> + use<> {
        core::mem::take(&mut self.events).into_iter().filter_map(|event| match event {
            ParkEvent::Open { socket, .. } => Some(socket),
            _ => None,
        })
    }
}

impl Stack {
    /// Makes a fresh socket a parking listener, with as many `credits` to begin with: bound, for its address and
    /// port; unbound, for every one without a listener of its own (of both families if it is one of AF_INET6
    /// without IPV6_V6ONLY). Its readiness is IN while there are events.
    ///
    /// EBADF; EINVAL if it listens or is connected; EADDRINUSE if another has its port, or there is an
    /// unbound one of its family already.
    pub fn park(&mut self, now: Instant, id: SocketId, credits: u32) -> Result<(), Errno> {
        self.now = now;
        let key = key_of(id);
        let socket = self.entry(id)?;
        if !matches!(socket.kind, Kind::Fresh) {
            return Err(Errno::EINVAL);
        }
        if socket.binding.is_some() {
            self.listen_socket(id, i32::MAX)?;
        } else {
            let ipv6 = socket.flags.contains(SocketFlags::IPV6);
            let families = [!ipv6 || !socket.options.v6only, ipv6];
            let taken = |(mine, held): (bool, &Option<Key>)| mine && held.is_some();
            if families.into_iter().zip(&self.parking).any(taken) {
                return Err(Errno::EADDRINUSE);
            }
            for (mine, held) in families.into_iter().zip(&mut self.parking) {
                *held = if mine { Some(key) } else { *held };
            }
            let listener = Listener::new(&self.config, i32::MAX);
            self.entry_mut(id)?.kind = Kind::Listener(Box::new(listener));
        }
        // ICMP errors quote the SYN that they are about.
        self.saves_syns = true;
        if let Some((listening, _)) = self.listener_mut(key) {
            listening.parking = Some(Parking { credits, events: VecDeque::new() });
        }
        Ok(())
    }

    /// Lets that many more SYNs be parked. EBADF; EINVAL if it is no parking listener.
    pub fn add_park_credits(&mut self, id: SocketId, credits: u32) -> Result<(), Errno> {
        let parking = self.parking_of(id)?;
        parking.credits = parking.credits.saturating_add(credits);
        Ok(())
    }

    /// The oldest event of a parking listener. EBADF; EINVAL if it is none; EAGAIN if there is no event.
    pub fn next_parked(&mut self, id: SocketId) -> Result<ParkEvent, Errno> {
        let event = self.parking_of(id)?.events.pop_front().ok_or(Errno::EAGAIN)?;
        if let ParkEvent::Open { socket, .. } = event
            && let Some(entry) = self.sockets.get_mut(key_of(socket))
        {
            entry.flags.remove(SocketFlags::IN_ACCEPT_QUEUE);
            entry.parent = None;
        }
        Ok(event)
    }

    /// Answers a parked SYN. EBADF if it is not parked any more: it is gone, or was answered before.
    pub fn answer_parked(&mut self, now: Instant, id: ParkedId, answer: ParkAnswer) -> Result<(), Errno> {
        self.now = now;
        let ParkedId(key) = id;
        if self.half_open.key_at(key.index) != Some(key) {
            return Err(Errno::EBADF);
        }
        let Some(entry) = self.half_open.get_mut(key.index) else { return Err(Errno::EBADF) };
        if !entry.flags.contains(SynFlags::PARKED) {
            return Err(Errno::EBADF);
        }
        if answer == ParkAnswer::Accept {
            self.stats.parked_accepted += 1;
            self.accept_parked(now, key.index);
            return Ok(());
        }
        let (tuple, irs) = (entry.tuple(), entry.irs);
        let saved = self.half_open.take_saved(key.index);
        self.remove_half_open(key.index);
        match answer {
            ParkAnswer::Accept | ParkAnswer::Drop => self.stats.parked_dropped += 1,
            ParkAnswer::Refuse => {
                self.stats.parked_refused += 1;
                let hdr = Header { ack: irs + 1, flags: Flags::RST | Flags::ACK, ..Header::default() };
                self.push_control(Control::segment(tuple, hdr, Why::Rst));
            }
            ParkAnswer::Unreachable(which) => {
                self.stats.parked_unreachable += 1;
                if let Some(headers) = saved {
                    self.report_unreachable(now, &tuple, which, headers);
                }
            }
        }
        Ok(())
    }

    fn parking_of(&mut self, id: SocketId) -> Result<&mut Parking, Errno> {
        match &mut self.entry_mut(id)?.kind {
            Kind::Listener(listening) => listening.parking.as_mut().ok_or(Errno::EINVAL),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The unbound parking listener of an address's family.
    pub(super) fn parking_for(&self, local: IpAddr) -> Option<Key> {
        self.parking[usize::from(local.is_ipv6())]
    }

    /// A parking listener is closed.
    pub(super) fn leave_parking(&mut self, key: Key) {
        self.parking.iter_mut().filter(|held| **held == Some(key)).for_each(|held| *held = None);
    }

    /// A SYN for a parking listener.
    pub(super) fn park_syn(&mut self, now: Instant, listener: Key, arrival: &Arrival, after: Option<SeqNum>) {
        let (tuple, hdr) = (arrival.tuple, arrival.seg.hdr);
        let Some((listening, options)) = self.listener_mut(listener) else { return };
        let Some(parking) = &mut listening.parking else { return };
        if parking.credits == 0 || self.half_open.len() >= self.config.syncache_limit as usize {
            self.stats.syns_park_full += 1;
            self.stats.listen_drops += 1;
            return self.record_drop(Some(listener), Some(tuple), DropReason::SynQueueFull, Some(hdr.seq));
        }
        let Some(half) = self.answer_of(now, arrival, &options, after) else {
            return self.record_drop(Some(listener), Some(tuple), DropReason::NoRoute, Some(hdr.seq));
        };
        let mut entry = SynEntry::new(&half, listener);
        entry.flags.insert(SynFlags::PARKED);
        let index = self.half_open.insert(&self.hash, entry, now + self.config.park_timeout);
        if let Some(route) = arrival.route {
            self.half_open.set_route(index, route);
        }
        if let Some(headers) = arrival.headers.clone() {
            self.half_open.save(index, headers);
        }
        let Some(key) = self.half_open.key_at(index) else { return };
        self.stats.syns_parked += 1;
        let event = ParkEvent::Syn { id: ParkedId(key), peer: tuple.remote, destination: tuple.local };
        if let Some((listening, _)) = self.listener_mut(listener) {
            listening.half_open += 1;
            if let Some(parking) = &mut listening.parking {
                parking.credits -= 1;
            }
        }
        self.tell_parker(listener, event);
    }

    /// What comes for a SYN that is parked.
    pub(super) fn arrive_parked(&mut self, now: Instant, index: u32, arrival: &Arrival) {
        let (tuple, hdr) = (arrival.tuple, arrival.seg.hdr);
        let Some(entry) = self.half_open.get_mut(index) else { return };
        let (listener, irs) = (entry.listener, entry.irs);
        if self.trace.on() {
            self.trace_received(Some(listener), &tuple, &arrival.seg, State::Listen);
        }
        let drop =
            |stack: &mut Stack, why| stack.record_drop(Some(listener), Some(tuple), why, Some(hdr.seq));
        if hdr.flags.contains(Flags::RST) {
            // Exactly the next number, as in SYN-RECEIVED (RFC 5961 3.2).
            if hdr.seq != irs + 1 {
                return drop(self, DropReason::BadRst);
            }
            self.stats.parked_reset += 1;
            return self.drop_half_open(index, Errno::ECONNRESET);
        }
        if hdr.flags.contains(Flags::ACK) {
            // Nothing was sent that it could acknowledge (RFC 9293 3.10.7.2).
            drop(self, DropReason::BadAck);
            return self.reset(now, &tuple, &hdr, arrival.seg.seg_len());
        }
        if !hdr.flags.contains(Flags::SYN) {
            return drop(self, DropReason::WrongState);
        }
        if hdr.seq != irs {
            // The peer has begun anew: nobody waits for the earlier attempt.
            self.stats.parked_reset += 1;
            self.drop_half_open(index, Errno::ECONNRESET);
            return self.park_syn(now, listener, arrival, None);
        }
        self.stats.syns_parked_again += 1;
        if let Some(entry) = self.half_open.get_mut(index)
            && let (Some(recent), Some(ts)) = (entry.ts_recent(), hdr.options.timestamps)
            && timewait::older(recent, ts.val)
        {
            entry.set_ts_recent(ts.val);
        }
    }

    /// Nobody has said what becomes of a SYN.
    pub(super) fn park_time_out(&mut self, index: u32) {
        self.stats.parked_timeouts += 1;
        self.drop_half_open(index, Errno::ETIMEDOUT);
    }

    /// The handshake goes on as that of any half-open connection.
    fn accept_parked(&mut self, now: Instant, index: u32) {
        let Some(entry) = self.half_open.get_mut(index) else { return };
        entry.unpark(now);
        let (listener, half) = (entry.listener, entry.half_open());
        if !self.listener_ref(listener).is_some_and(|(_, options)| options.save_syn) {
            self.half_open.take_saved(index);
        }
        self.half_open.rearm(now, index, self.config.rto_initial, self.config.rto_max);
        if self.trace.on() {
            let why = crate::tcp::state::Event::RcvSyn;
            let what = What::State { from: State::Listen, to: State::SynReceived, why };
            self.trace.push(Record { at: now, socket: Some(id_of(listener)), tuple: half.tuple, what });
        }
        self.answer_parked_syn(now, listener, &half, index);
    }

    /// Tells the owner what became of a half-open connection of his.
    pub(super) fn tell_gone(&mut self, listener: Key, key: Key, why: Errno) {
        self.tell_parker(listener, ParkEvent::Gone { id: ParkedId(key), why });
    }

    /// Hands the owner a connection of his; false if the listener is an ordinary one.
    pub(super) fn tell_open(&mut self, listener: Key, parked: Option<Key>, socket: SocketId) -> bool {
        let Some(key) = parked else { return false };
        self.tell_parker(listener, ParkEvent::Open { id: ParkedId(key), socket })
    }

    fn tell_parker(&mut self, listener: Key, event: ParkEvent) -> bool {
        let Some((listening, _)) = self.listener_mut(listener) else { return false };
        let Some(parking) = &mut listening.parking else { return false };
        parking.events.push_back(event);
        self.raise(listener, Ready::IN);
        true
    }

    /// An ICMP error about a SYN whose headers were kept.
    fn report_unreachable(&mut self, now: Instant, tuple: &Tuple, which: Unreachable, headers: Box<[u8]>) {
        let (peer, destination) = (tuple.remote.ip(), tuple.local.ip());
        let error = which.error(destination.is_ipv6());
        let offending = Packet::from_bytes(headers.into_vec().into());
        if !icmp::error_allowed(&offending, error) {
            return;
        }
        if !self.icmp_limit.take(now, self.config.icmp_ratelimit, &mut self.rng) {
            self.stats.icmp_out_ratelimit += 1;
            return;
        }
        let template = self.icmp_template(destination, peer, true);
        if let Some(packet) = icmp::error(&template, error, &offending) {
            self.push_control(Control::Packet { destination: peer, packet: Box::new(packet) });
        }
    }
}
