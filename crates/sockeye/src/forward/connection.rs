//! One connection: its side in the stack (near) and its side in the host's kernel (far), and what is between.
//!
//! Whoever finds one side ready runs the connection: the thread that brought a packet, or the one that waits for
//! the kernel. One at a time does; what others find meanwhile is seen by that one.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sockopt};
use sockeye_core::socket::{How, MsgFlags, SockOpt, SockOptName};
use sockeye_core::stack::slab::Key;
use sockeye_core::stack::{ParkAnswer, ParkedId};
use sockeye_core::{Errno, Payload, Ready, SocketId};

use super::record::{Direction, Ending, Record, add};
use super::shared::{Shared, errno};
use crate::driver::Ticket;

/// Bytes taken from the stack at once.
const PART: usize = 256 << 10;
/// Reads of up to 64 KiB from the kernel before others have their turn.
const READS: usize = 16;
/// What is shorter is copied into the stack's buffer instead of holding a chunk.
const SHORT: usize = 16 << 10;
/// What the kernel is asked for from the start on: edges.
const WATCHED: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);
/// Slices of one write.
const SLICES: usize = 64;

/// What is known of a connection from its first sign on.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    direction: Direction,
    peer: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) target: Option<SocketAddr>,
    began: Instant,
}

impl Opening {
    pub(super) fn new(direction: Direction, peer: SocketAddr, destination: SocketAddr) -> Opening {
        Opening { direction, peer, destination, target: None, began: Instant::now() }
    }

    /// The record of one that came to nothing at once.
    pub(super) fn ended(&self, ending: Ending, error: Option<Errno>) -> Record {
        Record {
            direction: self.direction,
            peer: self.peer,
            destination: self.destination,
            target: self.target,
            opened_after: None,
            lasted: self.began.elapsed(),
            sent: 0,
            received: 0,
            ending,
            error,
        }
    }
}

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The SYN is parked; the far side has not answered.
    Parked(ParkedId),
    /// The far side is connected, the handshake in the stack goes on.
    Answered,
    /// The connection in the stack is being opened.
    Connecting,
    /// Both sides are connected.
    Open,
    /// It is over.
    Ended,
}

/// What others have to tell to whoever runs a connection.
enum Told {
    /// The handshake of an outward one is complete.
    Open(SocketId),
    /// It is over.
    End(Ending, Option<Errno>),
}

/// What the kernel has said of the far side.
mod heard {
    pub(super) const READABLE: u32 = 1;
    pub(super) const WRITABLE: u32 = 2;
    /// FIN, RST or an error: reading goes on until it is found.
    pub(super) const ENDING: u32 = 4;
}

pub(super) struct Connection {
    shared: Weak<Shared>,
    key: Key,
    opening: Opening,
    /// Calls of [`Connection::run`] that the one who runs has not seen yet.
    calls: AtomicUsize,
    heard: AtomicU32,
    /// What the near side sent is with the kernel; so it is as long as it cannot have sent anything.
    drained: AtomicBool,
    told: Mutex<Vec<Told>>,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    far: Option<OwnedFd>,
    /// The kernel is asked for room as well.
    watches_room: bool,
    near: Option<SocketId>,
    ticket: Option<Ticket>,
    opened_after: Option<Duration>,
    readable: bool,
    writable: bool,
    ending: bool,
    /// From the stack, not yet with the kernel.
    outward: Payload,
    /// From the kernel, not yet with the stack.
    inward: Bytes,
    near_eof: bool,
    near_shut: bool,
    far_eof: bool,
    far_shut: bool,
    bytes_out: u64,
    bytes_in: u64,
}

/// What a turn came to.
enum Turn {
    /// Nothing can be done until somebody calls.
    Wait,
    /// There is more to do, but others come first.
    Again,
    /// It is over.
    End(Ending, Option<Errno>),
}

impl Wake for Connection {
    fn wake(self: Arc<Self>) {
        self.run();
    }
}

impl Connection {
    /// One whose SYN is parked.
    pub(super) fn outward(
        shared: &Arc<Shared>,
        key: Key,
        opening: Opening,
        id: ParkedId,
        far: OwnedFd,
    ) -> Connection {
        Connection::new(shared, key, opening, Phase::Parked(id), far, None)
    }

    /// One that came by a published port.
    pub(super) fn inward(
        shared: &Arc<Shared>,
        key: Key,
        opening: Opening,
        far: OwnedFd,
        near: Option<SocketId>,
    ) -> Connection {
        Connection::new(shared, key, opening, Phase::Connecting, far, near)
    }

    fn new(
        shared: &Arc<Shared>,
        key: Key,
        opening: Opening,
        phase: Phase,
        far: OwnedFd,
        near: Option<SocketId>,
    ) -> Connection {
        let state = State {
            phase,
            far: Some(far),
            watches_room: false,
            near,
            ticket: None,
            opened_after: None,
            readable: false,
            writable: false,
            ending: false,
            outward: Payload::new(),
            inward: Bytes::new(),
            near_eof: false,
            near_shut: false,
            far_eof: false,
            far_shut: false,
            bytes_out: 0,
            bytes_in: 0,
        };
        Connection {
            shared: Arc::downgrade(shared),
            key,
            opening,
            calls: AtomicUsize::new(0),
            heard: AtomicU32::new(0),
            drained: AtomicBool::new(true),
            told: Mutex::default(),
            state: Mutex::new(state),
        }
    }

    /// Its place in the table.
    pub(super) fn key(&self) -> Key {
        self.key
    }

    /// Has the kernel report of the far side. A `connect` over loopback is done by now: that is seen at once.
    pub(super) fn watch_far(&self, shared: &Shared) -> std::io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { far: Some(far), watches_room, .. } = &mut *state else { return Ok(()) };
        let mut fds = [PollFd::new(far, PollFlags::OUT)];
        let ready = rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        *watches_room = !ready.is_ok_and(|ready| ready > 0);
        if !*watches_room {
            let failed = fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP);
            let ending = if failed { heard::ENDING } else { 0 };
            self.heard.fetch_or(heard::WRITABLE | ending, Ordering::AcqRel);
        }
        let room = if *watches_room { EventFlags::OUT } else { EventFlags::empty() };
        shared.watch(far, self.key, WATCHED | room)
    }

    /// The kernel reports of the far side.
    pub(super) fn hear(self: &Arc<Self>, flags: EventFlags) {
        let mut heard = 0;
        if flags.contains(EventFlags::IN) {
            heard |= heard::READABLE;
        }
        if flags.contains(EventFlags::OUT) {
            heard |= heard::WRITABLE;
        }
        if flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            heard |= heard::READABLE | heard::WRITABLE | heard::ENDING;
        }
        self.heard.fetch_or(heard, Ordering::AcqRel);
        self.run();
    }

    /// The handshake of an outward one is complete.
    pub(super) fn open(self: &Arc<Self>, socket: SocketId) {
        self.tell(Told::Open(socket));
    }

    /// The peer gave up before it was open.
    pub(super) fn abandon(self: &Arc<Self>, why: Errno) {
        self.tell(Told::End(Ending::Abandoned, Some(why)));
    }

    /// It cannot be opened in the stack.
    pub(super) fn fail(self: &Arc<Self>, error: Errno) {
        self.tell(Told::End(Ending::of_attempt(error), Some(error)));
    }

    /// The forwarder stops.
    pub(super) fn stop(self: &Arc<Self>) {
        self.tell(Told::End(Ending::Stopped, None));
    }

    /// Leaves word: whoever runs it may be a caller of this very thread.
    fn tell(self: &Arc<Self>, told: Told) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        self.run();
    }

    /// Whether nothing of what the near side sent is left to deliver.
    pub(super) fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire)
    }

    /// Carries on what can be, on this thread, unless another one is at it.
    pub(super) fn run(self: &Arc<Self>) {
        if self.calls.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let Some(shared) = self.shared.upgrade() else { return };
        let again = loop {
            let seen = self.calls.load(Ordering::Acquire);
            let again = self.step(&shared, &mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
            if again {
                self.calls.store(0, Ordering::Release);
                break true;
            }
            if self.calls.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                break false;
            }
        };
        if again {
            shared.defer(self.clone());
        }
    }

    /// One turn; true if there is more to do at once.
    fn step(self: &Arc<Self>, shared: &Shared, state: &mut State) -> bool {
        let heard = self.heard.swap(0, Ordering::AcqRel);
        state.readable |= heard & heard::READABLE != 0;
        state.writable |= heard & heard::WRITABLE != 0;
        state.ending |= heard & heard::ENDING != 0;
        let told = std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner));
        for told in told {
            match told {
                Told::Open(socket) if state.phase == Phase::Ended => shared.host.shard().abort_now(socket),
                Told::Open(socket) => {
                    state.near = Some(socket);
                    self.now_open(shared, state);
                }
                Told::End(ending, error) => self.end(shared, state, ending, error),
            }
        }
        let turn = match state.phase {
            Phase::Parked(id) => self.answer(shared, state, id),
            Phase::Answered | Phase::Ended => Turn::Wait,
            Phase::Connecting => self.connecting(shared, state),
            Phase::Open => self.carry(shared, state),
        };
        match turn {
            Turn::Wait => false,
            Turn::Again => true,
            Turn::End(ending, error) => {
                self.end(shared, state, ending, error);
                false
            }
        }
    }

    /// The far side may have answered.
    fn answer(&self, shared: &Shared, state: &mut State, id: ParkedId) -> Turn {
        let Some(far) = state.far.as_ref().filter(|_| state.writable) else { return Turn::Wait };
        let error = match state.ending.then(|| sockopt::socket_error(far)) {
            None | Some(Ok(Ok(()))) => None, // writable, and nothing else: it is connected
            Some(Ok(Err(error)) | Err(error)) => Some(errno(error)),
        };
        match error {
            None => {
                // Before the answer: it may be open before the call returns.
                state.phase = Phase::Answered;
                self.drained.store(false, Ordering::Release);
            }
            Some(error) => {
                shared.unpark(id);
                self.end(shared, state, Ending::of_attempt(error), Some(error));
            }
        }
        let answer = error.map_or(ParkAnswer::Accept, ParkAnswer::for_error);
        // If its peer has given up meanwhile, that is told by the intake.
        let _ = shared.host.with_stack(|stack, now| stack.answer_parked(now, id, answer));
        Turn::Wait
    }

    /// The stack's side may be connected.
    fn connecting(self: &Arc<Self>, shared: &Shared, state: &mut State) -> Turn {
        let Some(near) = state.near else { return Turn::Wait };
        let waker = Waker::from(self.clone());
        let ready = shared.host.shard().poll_ready(near, Ready::OUT, &waker, &mut state.ticket);
        if ready.is_empty() {
            return Turn::Wait;
        }
        let error = shared.host.with_stack(|stack, now| stack.getsockopt(now, near, SockOptName::Error));
        match error {
            Ok(SockOpt::Error(None)) if ready.contains(Ready::OUT) => {
                self.now_open(shared, state);
                self.carry(shared, state)
            }
            Ok(SockOpt::Error(Some(error))) | Err(error) => Turn::End(Ending::of_attempt(error), Some(error)),
            Ok(_) => Turn::End(Ending::ResetByDestination, None),
        }
    }

    fn now_open(&self, shared: &Shared, state: &mut State) {
        state.phase = Phase::Open;
        self.drained.store(false, Ordering::Release);
        state.opened_after = Some(self.opening.began.elapsed());
        add(&shared.counters.opened, 1);
    }

    /// Both directions, until neither goes on.
    fn carry(self: &Arc<Self>, shared: &Shared, state: &mut State) -> Turn {
        let Some(near) = state.near else { return Turn::Wait };
        let mut reads = READS;
        loop {
            if let Err(error) = self.carry_out(shared, state, near) {
                return error;
            }
            if let Err(error) = self.carry_in(shared, state, near, &mut reads) {
                return error;
            }
            if state.far_shut && state.near_shut {
                return Turn::End(Ending::Closed, None);
            }
            if reads == 0 && state.readable && state.inward.is_empty() {
                return Turn::Again;
            }
            if let Some(far) = state.far.as_ref().filter(|_| state.ending && !state.inward.is_empty())
                && let Ok(Err(error)) = sockopt::socket_error(far)
            {
                return self.far_ended(error); // with no room for what was before it
            }
            let mut interest = Ready::empty();
            interest.set(Ready::IN, state.outward.is_empty() && !state.near_eof);
            interest.set(Ready::OUT, !state.inward.is_empty());
            if state.near_eof && state.near_shut {
                return Turn::Wait; // the kernel takes what is left
            }
            let waker = Waker::from(self.clone());
            let ready = shared.host.shard().poll_ready(near, interest, &waker, &mut state.ticket);
            if ready.is_empty() {
                return Turn::Wait;
            }
            if !ready.intersects(interest) {
                // HUP alone says that both have sent their FINs; what is left the kernel takes.
                let failed = ready.intersects(Ready::ERR | Ready::NVAL);
                return if failed { self.near_failed(shared, near) } else { Turn::Wait };
            }
        }
    }

    /// The stack's side has ended though there is nothing to read and no room to write.
    fn near_failed(&self, shared: &Shared, near: SocketId) -> Turn {
        let error = shared.host.with_stack(|stack, now| stack.getsockopt(now, near, SockOptName::Error));
        self.near_ended(match error {
            Ok(SockOpt::Error(error)) => error,
            Ok(_) => None,
            Err(error) => Some(error),
        })
    }

    fn near_ended(&self, error: Option<Errno>) -> Turn {
        let ending = match self.opening.direction {
            Direction::Outward => Ending::ResetByPeer,
            Direction::Inward => Ending::ResetByDestination,
        };
        Turn::End(ending, error)
    }

    fn far_ended(&self, error: rustix::io::Errno) -> Turn {
        let ending = match self.opening.direction {
            Direction::Outward => Ending::ResetByDestination,
            Direction::Inward => Ending::ResetByPeer,
        };
        Turn::End(ending, Some(errno(error)))
    }

    /// From the stack to the kernel.
    fn carry_out(&self, shared: &Shared, state: &mut State, near: SocketId) -> Result<(), Turn> {
        loop {
            if state.outward.is_empty() && !state.near_eof {
                let got = shared
                    .host
                    .with_stack(|stack, now| stack.recv_bytes(now, near, PART, MsgFlags::DONTWAIT));
                match got {
                    Ok(payload) if payload.is_empty() => state.near_eof = true,
                    Ok(payload) => state.outward = payload,
                    Err(Errno::EAGAIN) => return Ok(()),
                    Err(error) => return Err(self.near_ended(Some(error))),
                }
            }
            let Some(far) = &state.far else { return Ok(()) };
            if state.outward.is_empty() {
                if state.near_eof && !state.far_shut {
                    state.far_shut = true;
                    self.drained.store(true, Ordering::Release);
                    // Where nothing more comes from it, it is closed next, which says the same. A side that is reset
                    // already is found by reading.
                    if !(state.far_eof && state.near_shut) {
                        let _ = rustix::net::shutdown(far, Shutdown::Write);
                    }
                }
                return Ok(());
            }
            if !state.writable {
                return Ok(());
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let parts = state.outward.slices();
            slices.iter_mut().zip(parts).for_each(|(slice, part)| *slice = IoSlice::new(part));
            let slices = &slices[..parts.len().min(SLICES)];
            let flags = SendFlags::NOSIGNAL;
            match rustix::net::sendmsg(far, slices, &mut SendAncillaryBuffer::default(), flags) {
                Ok(sent) => {
                    state.outward.advance(sent);
                    state.bytes_out += sent as u64;
                    add(&shared.counters.bytes_out, sent as u64);
                }
                Err(rustix::io::Errno::AGAIN) if state.watches_room => state.writable = false,
                Err(rustix::io::Errno::AGAIN) => {
                    state.writable = false;
                    state.watches_room = true;
                    // It cannot fail: the descriptor is watched already.
                    let _ = shared.watch_again(far, self.key, WATCHED | EventFlags::OUT);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(self.far_ended(self.far_error(far, error))),
            }
        }
    }

    /// EPIPE says only that there was an error before.
    fn far_error(&self, far: &OwnedFd, error: rustix::io::Errno) -> rustix::io::Errno {
        match sockopt::socket_error(far) {
            Ok(Err(earlier)) => earlier,
            _ if error == rustix::io::Errno::PIPE => rustix::io::Errno::CONNRESET,
            _ => error,
        }
    }

    /// From the kernel to the stack.
    fn carry_in(
        &self,
        shared: &Shared,
        state: &mut State,
        near: SocketId,
        reads: &mut usize,
    ) -> Result<(), Turn> {
        loop {
            if !state.inward.is_empty() {
                let data = state.inward.clone();
                let sent =
                    shared.host.with_stack(|stack, now| stack.send_bytes(now, near, data, MsgFlags::empty()));
                match sent {
                    Ok(sent) => self.sent_in(shared, state, sent),
                    Err(Errno::EAGAIN) => return Ok(()),
                    Err(error) => return Err(self.near_ended(Some(error))),
                }
                continue;
            }
            let Some(far) = state.far.as_ref().filter(|_| !state.far_eof) else {
                if !state.near_shut {
                    state.near_shut = true;
                    // A connection that has failed meanwhile is found by reading.
                    let _ = shared.host.with_stack(|stack, now| stack.shutdown(now, near, How::Write));
                }
                return Ok(());
            };
            if !state.readable || *reads == 0 {
                return Ok(());
            }
            *reads -= 1;
            let mut chunk = shared.chunks.take();
            let got = rustix::io::read(far, rustix::buffer::spare_capacity(&mut chunk));
            // Short reads have emptied the kernel's queue, unless an end is behind it.
            state.readable = match got {
                Ok(got) => got == chunk.capacity() || state.ending,
                Err(error) => error == rustix::io::Errno::INTR,
            };
            match got {
                Ok(0) => state.far_eof = true,
                Ok(got) if got < SHORT => {
                    let sent =
                        shared.host.with_stack(|stack, now| stack.send(now, near, &chunk, MsgFlags::empty()));
                    let sent = match sent {
                        Ok(sent) => sent,
                        Err(Errno::EAGAIN) => 0,
                        Err(error) => return Err(self.near_ended(Some(error))),
                    };
                    state.inward = Bytes::copy_from_slice(&chunk);
                    self.sent_in(shared, state, sent);
                    shared.chunks.give_back(chunk);
                    if !state.inward.is_empty() {
                        return Ok(());
                    }
                }
                Ok(_) => state.inward = shared.chunks.wrap(chunk),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => shared.chunks.give_back(chunk),
                Err(error) => return Err(self.far_ended(error)),
            }
        }
    }

    fn sent_in(&self, shared: &Shared, state: &mut State, sent: usize) {
        let _ = state.inward.split_to(sent);
        state.bytes_in += sent as u64;
        add(&shared.counters.bytes_in, sent as u64);
    }

    /// Closes both sides: in order, or by resetting whichever is left.
    fn end(&self, shared: &Shared, state: &mut State, ending: Ending, error: Option<Errno>) {
        if state.phase == Phase::Ended {
            return;
        }
        state.phase = Phase::Ended;
        self.drained.store(true, Ordering::Release);
        let (out, back) = (state.bytes_out, state.bytes_in);
        let outward = self.opening.direction == Direction::Outward;
        let (sent, received) = if outward { (out, back) } else { (back, out) };
        let opened_after = state.opened_after;
        // First: who sees the end finds it on record.
        shared.record(Record { opened_after, sent, received, ..self.opening.ended(ending, error) });
        // Stopped after its FIN: the kernel delivers what it has.
        let in_order = ending == Ending::Closed || (ending == Ending::Stopped && state.far_shut);
        if let Some(far) = state.far.take() {
            if !in_order {
                // A RST where the kernel would send one.
                let _ = sockopt::set_socket_linger(&far, Some(Duration::ZERO));
            }
            shared.helper.close(far);
        }
        if let Some(near) = state.near.take() {
            let shard = shared.host.shard();
            shard.forget(near, &mut state.ticket);
            if ending == Ending::Closed { shard.close_now(near) } else { shard.abort_now(near) }
        }
        (state.outward, state.inward) = (Payload::new(), Bytes::new());
        if outward {
            shared.leave(self.key);
            shared.give_credit();
        } else {
            // First: the door that is told of it looks whether there is a place.
            shared.inward_now.fetch_sub(1, Ordering::AcqRel);
            shared.leave(self.key);
        }
    }
}
