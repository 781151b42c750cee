//! `lan:NAME`: a named virtual network between the processes of one user on one machine.
//!
//! There is no process in the middle that could die: the kernel's Unix sockets are the switch. The network is a directory that
//! only its user may enter; each member listens on a `SOCK_SEQPACKET` socket in it that bears its IPv4 address (the IPv6 address is
//! a symbolic link to it), and whoever has a packet for that address connects to it, once, and sends. So a packet costs
//! two copies and one wake-up, super-segments of up to 64 KiB are handed on whole with their checksums left open,
//! and the death of any member, the first one too, concerns nobody but who was talking to it. Names of members that
//! were killed are cleared away by the next one that joins any network; the directory goes with the last that leaves.
//!
//! | bound | what happens at it |
//! |---|---|
//! | the kernel's send buffer toward one member | the sender waits for room |
//! | a member that has not read for 100 ms | packets to it are dropped and counted until it reads again |
//! | nobody has the address | the packet is dropped and counted; its sender gets ICMP host unreachable |
//!
//! Where: `$XDG_RUNTIME_DIR/sockeye/lan/NAME`, or `/tmp/sockeye-UID/lan/NAME` without that variable. Addresses: 198.18.0.0/15
//! (RFC 2544) and 2001:db8::/64 (RFC 3849), the number at the end alike where both are free.

mod registry;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Buf;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};
use rustix::net::{SendAncillaryBuffer, SendFlags, SocketFlags};
use smallvec::SmallVec;
use sockeye_core::Packet;
use sockeye_core::packet::{Checksum, MAX_PACKET};
use sockeye_core::stack::slab::{Key, Slab};
use sockeye_core::wire::icmp::{self, Error, unreachable_v4, unreachable_v6};
use sockeye_core::wire::ip::IpTemplate;

use super::buffers::{Buffers, owned};
use super::{Capabilities, Counters, Device, DeviceStats, SendReport, Wait};
use crate::sys::tun::read_into;
use registry::Membership;

/// The prefix lengths of the two networks.
pub const PREFIXES: (u8, u8) = (15, 64);

/// In front of each packet: version, state of the checksum, GSO size (little endian).
const HEADER: usize = 4;
const VERSION: u8 = 1;
/// The largest packet of the wire, bytes.
const MTU: u16 = 1_500;
/// How long a sender waits for a member that does not read.
const PATIENCE: Duration = Duration::from_millis(100);
/// Bytes received at once.
const BURST: usize = 256 << 10;
/// ICMP errors of our own that wait.
const ERRORS: usize = 64;
/// Members that a connection is kept to; beyond it all are looked for anew.
const MEMBERS: usize = 4_096;
/// Send buffer asked for, bytes; the kernel gives less to most users (`wmem_max`).
const BUFFER: usize = 4 << 20;
/// The token of the listening socket.
const LISTENER: u64 = u64::MAX;
/// The token of what tells of our own errors.
const NEWS: u64 = u64::MAX - 1;

/// A member of a virtual network.
pub struct Lan {
    membership: Membership,
    wake: OwnedFd,
    wake_beside: OwnedFd,
    /// There are ICMP errors of our own.
    news: OwnedFd,
    /// The listening socket, those that others send to, and the news.
    incoming: OwnedFd,
    /// Those that we send to: room.
    outgoing: OwnedFd,
    receiver: Mutex<Receiver>,
    members: Mutex<HashMap<IpAddr, Member>>,
    /// ICMP errors for our own stack.
    errors: Mutex<VecDeque<Packet>>,
    counters: Counters,
}

#[derive(Default)]
struct Receiver {
    sources: Slab<OwnedFd>,
    /// Those with packets to read.
    ready: VecDeque<Key>,
    buffers: Buffers,
}

/// Whom we send to.
struct Member {
    socket: OwnedFd,
    /// Since when there is no room.
    stuck: Option<Instant>,
}

/// What became of one packet.
enum Sent {
    Done,
    Full,
    Dropped,
    Nobody,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds one of these, and every state of them is consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lan {
    /// Joins the network `name` (made if there is none), with `address` or the next free one. The other family's
    /// address is the next free one too, with the same number at its end if that is free.
    ///
    /// # Errors
    /// In one sentence: the name or the address is not valid, another member has the address, no address is
    /// free, the directory cannot be used or is not the user's own.
    pub fn join(name: &str, address: Option<IpAddr>) -> io::Result<Lan> {
        let membership = Membership::join(name, address)?;
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let incoming = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(LISTENER);
        epoll::add(&incoming, membership.listener(), data, epoll::EventFlags::IN)?;
        let news = eventfd(0, flags)?;
        epoll::add(&incoming, &news, epoll::EventData::new_u64(NEWS), epoll::EventFlags::IN)?;
        Ok(Lan {
            membership,
            wake: eventfd(0, flags)?,
            wake_beside: eventfd(0, flags)?,
            news,
            incoming,
            outgoing: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            receiver: Mutex::default(),
            members: Mutex::default(),
            errors: Mutex::default(),
            counters: Counters::default(),
        })
    }

    /// This member's addresses; [`PREFIXES`] are the lengths of their networks' prefixes.
    pub fn addresses(&self) -> (Ipv4Addr, Ipv6Addr) {
        self.membership.addresses()
    }

    /// The IPv4 addresses of all members that live, this one included, in order.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn members(&self) -> io::Result<Vec<Ipv4Addr>> {
        self.membership.members()
    }

    /// Sends one packet to whom it is for.
    fn send_one(&self, members: &mut HashMap<IpAddr, Member>, packet: &Packet) -> Sent {
        let Some((_, destination)) = addresses_of(packet) else { return Sent::Dropped };
        // One that has gone and come back since is found by the second try.
        for _ in 0..2 {
            let Some(Member { socket, stuck }) = self.member(members, destination) else {
                return Sent::Nobody;
            };
            match write(socket, packet) {
                Ok(()) => {
                    *stuck = None;
                    return Sent::Done;
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS) => {
                    let since = *stuck.get_or_insert_with(Instant::now);
                    return if since.elapsed() < PATIENCE { Sent::Full } else { Sent::Dropped };
                }
                Err(rustix::io::Errno::MSGSIZE) => return Sent::Dropped,
                Err(_) => members.remove(&destination),
            };
        }
        Sent::Nobody
    }

    /// Whoever has an address now.
    fn member<'a>(
        &self,
        members: &'a mut HashMap<IpAddr, Member>,
        address: IpAddr,
    ) -> Option<&'a mut Member> {
        if members.len() >= MEMBERS && !members.contains_key(&address) {
            members.clear();
        }
        match members.entry(address) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(entry) => {
                let socket = self.membership.connect(address).ok()?;
                let force = rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, BUFFER);
                // What the kernel gives without the privilege is less, and serves.
                let _ = force.or_else(|_| rustix::net::sockopt::set_socket_send_buffer_size(&socket, BUFFER));
                let flags = epoll::EventFlags::OUT | epoll::EventFlags::ET;
                epoll::add(&self.outgoing, &socket, epoll::EventData::new_u64(0), flags).ok()?;
                Some(entry.insert(Member { socket, stuck: None }))
            }
        }
    }

    /// Tells our own stack that nobody has the address, as a host does when its neighbour does not answer.
    fn report_nobody(&self, packet: &Packet) {
        let Some((source, destination)) = addresses_of(packet) else { return };
        let code = if destination.is_ipv6() { unreachable_v6::ADDRESS } else { unreachable_v4::HOST };
        let error = Error::Unreachable { code };
        let mut errors = lock(&self.errors);
        if errors.len() >= ERRORS || !icmp::error_allowed(packet, error) {
            return;
        }
        // From ourselves, as the host does; but a packet from a stack's own address by a wire is refused by it.
        let template = IpTemplate::new(destination, source);
        if let Some(report) = icmp::error(&template, error, packet) {
            errors.push_back(report);
            drop(errors);
            signal(&self.news);
        }
    }

    /// Moves ICMP errors of our own to `out`, at most `max`; how many.
    fn take_errors(&self, out: &mut Vec<Packet>, max: usize) -> usize {
        let mut errors = lock(&self.errors);
        let count = max.min(errors.len());
        out.extend(errors.drain(..count));
        count
    }

    /// Finds out which sources have packets, and takes new ones in. True if there were errors of our own to tell of.
    fn collect(&self, receiver: &mut Receiver) -> bool {
        let mut events = [const { std::mem::MaybeUninit::<epoll::Event>::uninit() }; 64];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let Ok((events, _)) = epoll::wait(&self.incoming, &mut events, Some(&none)) else { return false };
        let mut news = false;
        for event in &*events {
            if event.data.u64() == LISTENER {
                self.admit(receiver);
            } else if event.data.u64() == NEWS {
                drain(&self.news);
                news = true;
            } else {
                let key = Key::from_u64(event.data.u64());
                if !receiver.ready.contains(&key) {
                    receiver.ready.push_back(key);
                }
            }
        }
        news
    }

    fn admit(&self, receiver: &mut Receiver) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok(source) = rustix::net::accept_with(self.membership.listener(), flags) {
            let key = receiver.sources.next_key();
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            // Without memory for it the source is closed; whoever sends connects again.
            if epoll::add(&self.incoming, &source, epoll::EventData::new_u64(key.to_u64()), flags).is_ok() {
                receiver.sources.insert(source);
                receiver.ready.push_back(key);
            }
        }
    }

    fn sleep(&self, fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(fds[0].revents().contains(PollFlags::IN))
    }
}

impl Device for Lan {
    fn name(&self) -> &str {
        self.membership.name()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { mtu: MTU, gso_max: MAX_PACKET as u32, checksum_tx: true, checksum_rx: true }
    }

    fn send(&self, packets: &mut VecDeque<Packet>) -> io::Result<SendReport> {
        let (mut report, mut bytes) = (SendReport::default(), 0);
        let mut members = lock(&self.members);
        while let Some(packet) = packets.front() {
            match self.send_one(&mut members, packet) {
                Sent::Done => (report.sent, bytes) = (report.sent + 1, bytes + packet.len()),
                Sent::Full => {
                    report.full = true;
                    break;
                }
                Sent::Dropped => report.dropped += 1,
                Sent::Nobody => {
                    report.dropped += 1;
                    self.report_nobody(packet);
                }
            }
            packets.pop_front();
        }
        self.counters.sent(report.sent, bytes);
        self.counters.send_dropped(report.dropped);
        Ok(report)
    }

    fn recv(&self, out: &mut Vec<Packet>, max: usize) -> io::Result<usize> {
        let mut receiver = lock(&self.receiver);
        let (mut count, mut bytes) = (self.take_errors(out, max), 0);
        receiver.buffers.rewind();
        while count < max && bytes < BURST {
            let Some(&key) = receiver.ready.front() else {
                let news = self.collect(&mut receiver);
                let errors = if news { self.take_errors(out, max - count) } else { 0 };
                if receiver.ready.is_empty() && errors == 0 {
                    break;
                }
                count += errors;
                continue;
            };
            let Receiver { sources, ready, buffers } = &mut *receiver;
            let Some(source) = sources.get(key) else {
                ready.pop_front();
                continue;
            };
            let buffer = buffers.room(HEADER);
            match read_into(source, buffer) {
                Ok(1..) => match unwrap(buffer) {
                    Some(packet) => {
                        (count, bytes) = (count + 1, bytes + packet.len());
                        out.push(packet);
                    }
                    None => self.counters.receive_dropped(1),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.pop_front();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The member has left, or is dead.
                Ok(0) | Err(_) => {
                    ready.pop_front();
                    sources.remove(key);
                }
            }
        }
        // Others come first next time.
        if receiver.ready.len() > 1 {
            receiver.ready.rotate_left(1);
        }
        self.counters.received(count, bytes);
        Ok(count)
    }

    fn wait(&self, wait: Wait, timeout: Option<Duration>) -> io::Result<()> {
        if wait.readable && (!lock(&self.errors).is_empty() || !lock(&self.receiver).ready.is_empty()) {
            return Ok(());
        }
        let nothing = PollFlags::empty();
        let mut fds: SmallVec<[PollFd<'_>; 3]> = SmallVec::new();
        fds.push(PollFd::new(&self.wake, PollFlags::IN));
        fds.push(PollFd::new(&self.incoming, if wait.readable { PollFlags::IN } else { nothing }));
        fds.push(PollFd::new(&self.outgoing, if wait.writable { PollFlags::IN } else { nothing }));
        // Somebody who does not read is not waited for without end.
        let patience = wait.writable.then_some(PATIENCE);
        let timeout = timeout.into_iter().chain(patience).min();
        if self.sleep(&mut fds, timeout)? {
            drain(&self.wake);
        }
        if wait.writable {
            // Only to ask for the next edge; who has room is found by sending.
            let mut events = [const { std::mem::MaybeUninit::<epoll::Event>::uninit() }; 64];
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            let _ = epoll::wait(&self.outgoing, &mut events, Some(&none));
        }
        Ok(())
    }

    fn wake(&self) {
        signal(&self.wake);
    }

    fn stats(&self) -> DeviceStats {
        self.counters.read()
    }

    fn can_wait_beside(&self) -> bool {
        true
    }

    fn wait_beside(&self, timeout: Option<Duration>) -> io::Result<()> {
        if !lock(&self.errors).is_empty() || !lock(&self.receiver).ready.is_empty() {
            return Ok(());
        }
        let mut fds =
            [PollFd::new(&self.wake_beside, PollFlags::IN), PollFd::new(&self.incoming, PollFlags::IN)];
        if self.sleep(&mut fds, timeout)? {
            drain(&self.wake_beside);
        }
        Ok(())
    }

    fn wake_beside(&self) {
        signal(&self.wake_beside);
    }

    fn arrivals(&self) -> Option<BorrowedFd<'_>> {
        Some(self.incoming.as_fd())
    }
}

fn signal(eventfd: &OwnedFd) {
    // It fails only when the counter is full, and then the sleeper is being woken anyway.
    let _ = rustix::io::write(eventfd, &1_u64.to_ne_bytes());
}

fn drain(eventfd: &OwnedFd) {
    // Only empties the counter; if another thread has done so there is nothing to do.
    let _ = rustix::io::read(eventfd, &mut [0; 8]);
}

/// Source and destination of a packet.
fn addresses_of(packet: &Packet) -> Option<(IpAddr, IpAddr)> {
    let front = packet.front();
    let v4 = |at: usize| Some(IpAddr::from(*front.get(at..at + 4)?.first_chunk::<4>()?));
    let v6 = |at: usize| Some(IpAddr::from(*front.get(at..at + 16)?.first_chunk::<16>()?));
    match front.first()? >> 4 {
        4 => Some((v4(12)?, v4(16)?)),
        6 => Some((v6(8)?, v6(24)?)),
        _ => None,
    }
}

fn write(socket: &OwnedFd, packet: &Packet) -> Result<(), rustix::io::Errno> {
    let checksum = match packet.checksum {
        Checksum::Unverified => 0,
        Checksum::Verified => 1,
        Checksum::Partial => 2,
    };
    let [low, high] = packet.gso_size.to_le_bytes();
    let header = [VERSION, checksum, low, high];
    let mut parts: SmallVec<[IoSlice<'_>; 10]> = SmallVec::new();
    parts.push(IoSlice::new(&header));
    parts.push(IoSlice::new(packet.head.as_slice()));
    parts.extend(packet.payload.slices().iter().map(|slice| IoSlice::new(slice)));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match rustix::net::sendmsg(socket, &parts, &mut SendAncillaryBuffer::default(), flags) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The packet that was read; nothing of `buffer` is left.
fn unwrap(buffer: &mut bytes::BytesMut) -> Option<Packet> {
    let &[version, checksum, low, high] = buffer.first_chunk::<HEADER>()?;
    if version != VERSION || buffer.len() == HEADER {
        buffer.clear();
        return None;
    }
    buffer.advance(HEADER);
    let mut packet = owned(buffer);
    packet.gso_size = u16::from_le_bytes([low, high]);
    packet.checksum = match checksum {
        1 => Checksum::Verified,
        2 => Checksum::Partial,
        _ => Checksum::Unverified,
    };
    Some(packet)
}
