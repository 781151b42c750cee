//! One stack under one lock, and the packets that calls cause.
//!
//! A call runs on its caller's own thread: lock, operate, take the packets it caused, unlock, write them
//! to the device. One thread writes at a time, so that a connection's packets keep their order; who
//! comes meanwhile leaves his packets in the stack, and the writer takes them before it goes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use sockeye_core::socket::op::OpPoll;
use sockeye_core::stack::{Event, InterfaceId, Stack};
use sockeye_core::trace::Record;
use sockeye_core::{Errno, Instant, Packet, Ready, SocketId};

use super::chunks::Chunks;
use super::clock::Clock;
use super::lead::LEASE;
use super::port::Port;
use super::records::{Records, Subscribers};
use super::waiters::{Sleeper, Ticket, Waiters};
use crate::device::{Arrival, Capture, Wait};

/// Packets taken from the stack at once: each is a super-segment of up to 64 KiB.
const BATCH: usize = 32;
/// Batches that a caller writes on behalf of others before it leaves the rest to the driver's thread.
const ROUNDS: usize = 64;

pub(crate) struct Shard {
    inner: Mutex<Inner>,
    pub(crate) ports: Vec<Port>,
    pub(crate) clock: Clock,
    pub(crate) chunks: Chunks,
    /// Until when the thread that keeps time sleeps, nanoseconds; changed under the lock only.
    sleeps_until: AtomicU64,
    /// Where it sleeps if it has no device to wait for.
    nap: (Mutex<bool>, Condvar),
    stopped: AtomicBool,
    /// Packets for interfaces without a device.
    undeliverable: AtomicU64,
}

pub(crate) struct Inner {
    pub(crate) stack: Stack,
    waiters: Waiters,
    /// Closed sockets whose callers wait as SO_LINGER says.
    lingering: Vec<(SocketId, Waker)>,
    /// A thread takes packets out of the stack and writes them.
    writing: bool,
    /// A device is full: the driver's thread goes on when it has room.
    blocked: bool,
    batch: Vec<(InterfaceId, Packet)>,
    woken: Vec<Waker>,
    subscribers: Subscribers,
    captures: Vec<Arc<Capture>>,
    records: Vec<Record>,
    recording: bool,
}

/// What a call of [`Shard::poll_op`] came to.
pub(crate) enum Polled<T> {
    Ready(Result<T, Errno>),
    /// The waker is kept; the operation is to be asked again at this time in any case.
    Wait(Instant),
}

impl Shard {
    pub(crate) fn new(stack: Stack, ports: Vec<Port>, clock: Clock, captures: Vec<Arc<Capture>>) -> Shard {
        let mut inner = Inner {
            stack,
            waiters: Waiters::default(),
            lingering: Vec::new(),
            writing: false,
            blocked: false,
            batch: Vec::with_capacity(BATCH),
            woken: Vec::new(),
            subscribers: Subscribers::default(),
            captures,
            records: Vec::new(),
            recording: false,
        };
        inner.set_recording();
        Shard {
            inner: Mutex::new(inner),
            ports,
            clock,
            chunks: Chunks::default(),
            sleeps_until: AtomicU64::new(0),
            nap: (Mutex::new(false), Condvar::new()),
            stopped: AtomicBool::new(false),
            undeliverable: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under this lock is a bug of the core; others may still find out what they can.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `call` on the stack and sees to all that follows from it.
    pub(crate) fn with<R>(&self, call: impl FnOnce(&mut Stack, Instant) -> R) -> R {
        let mut inner = self.lock();
        let result = call(&mut inner.stack, self.clock.now());
        self.finish(inner);
        result
    }

    /// Runs `look` on the stack, which it must not give anything to do.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Stack, Instant) -> R) -> R {
        let inner = self.lock();
        look(&inner.stack, self.clock.now())
    }

    /// Asks an operation once. If it has to wait, `waker` is kept under `ticket` and woken when the socket
    /// is ready for what the operation waits for.
    pub(crate) fn poll_op<T>(
        &self,
        id: SocketId,
        waker: &Waker,
        ticket: &mut Option<Ticket>,
        op: impl FnOnce(&mut Stack, Instant) -> OpPoll<T>,
    ) -> Polled<T> {
        let mut inner = self.lock();
        let polled = match op(&mut inner.stack, self.clock.now()) {
            OpPoll::Ready(result) => {
                inner.waiters.remove(id, ticket);
                Polled::Ready(result)
            }
            OpPoll::Wait { .. } if self.is_stopped() => Polled::Ready(Err(Errno::ENETDOWN)),
            OpPoll::Wait { interest, deadline } => {
                inner.wait_for(id, interest, waker, ticket);
                Polled::Wait(deadline)
            }
        };
        self.finish(inner);
        polled
    }

    /// Asks an operation until it is done; the thread sleeps in between.
    pub(crate) fn block_on<T>(
        &self,
        id: SocketId,
        mut op: impl FnMut(&mut Stack, Instant) -> OpPoll<T>,
    ) -> Result<T, Errno> {
        let sleeper = Sleeper::current();
        let mut ticket = None;
        loop {
            match self.poll_op(id, &sleeper.waker, &mut ticket, &mut op) {
                Polled::Ready(result) => return result,
                Polled::Wait(deadline) => {
                    if !self.lead(&sleeper, deadline) {
                        sleeper.sleep(self.clock.until(deadline));
                    }
                }
            }
        }
    }

    /// How many threads and tasks wait for a socket.
    pub(super) fn waiting(&self) -> usize {
        let inner = self.lock();
        inner.waiters.len() + inner.lingering.len()
    }

    /// The socket's readiness; if it is none of `interest`, `waker` is kept under `ticket` to be woken.
    pub(crate) fn poll_ready(
        &self,
        id: SocketId,
        interest: Ready,
        waker: &Waker,
        ticket: &mut Option<Ticket>,
    ) -> Ready {
        let mut inner = self.lock();
        if self.is_stopped() {
            return Ready::ERR | Ready::HUP;
        }
        let always = Ready::ERR | Ready::HUP | Ready::NVAL;
        let ready = inner.stack.poll(id) & (interest | always);
        if ready.is_empty() {
            inner.wait_for(id, interest, waker, ticket);
            self.finish(inner);
        } else {
            inner.waiters.remove(id, ticket);
        }
        ready
    }

    /// Takes back a ticket that is not waited on any more.
    pub(crate) fn forget(&self, id: SocketId, ticket: &mut Option<Ticket>) {
        if ticket.is_some() {
            self.lock().waiters.remove(id, ticket);
        }
    }

    /// Closes a socket: who waits for it is woken and finds EBADF. `close` is asked first; while it waits
    /// (SO_LINGER) `waker` is woken once it need not.
    pub(crate) fn poll_close(
        &self,
        id: SocketId,
        waker: &Waker,
        close: impl FnOnce(&mut Stack, Instant) -> OpPoll<()>,
    ) -> Polled<()> {
        let mut inner = self.lock();
        let polled = close(&mut inner.stack, self.clock.now());
        let Inner { waiters, woken, lingering, .. } = &mut *inner;
        waiters.close(id, woken);
        lingering.retain(|(other, _)| *other != id);
        let polled = match polled {
            OpPoll::Ready(result) => Polled::Ready(result),
            OpPoll::Wait { deadline, .. } => {
                lingering.push((id, waker.clone()));
                Polled::Wait(deadline)
            }
        };
        self.finish(inner);
        polled
    }

    /// Closes a socket without waiting for anything.
    pub(crate) fn close_now(&self, id: SocketId) {
        self.poll_close(id, Waker::noop(), |stack, now| OpPoll::Ready(stack.close(now, id)));
    }

    /// Resets a connection and closes its socket.
    pub(crate) fn abort_now(&self, id: SocketId) {
        self.poll_close(id, Waker::noop(), |stack, now| OpPoll::Ready(stack.abort(now, id)));
    }

    /// Starts reading records.
    pub(crate) fn subscribe(&self, capacity: usize) -> Records {
        let mut inner = self.lock();
        let records = inner.subscribers.subscribe(capacity.max(1));
        inner.set_recording();
        records
    }

    /// All that follows from a call: records are handed out, sleepers woken, packets written, and the
    /// thread that keeps time is told of an earlier deadline.
    fn finish<'a>(&'a self, mut inner: MutexGuard<'a, Inner>) {
        if inner.writing || inner.blocked {
            let woken = inner.collect();
            let earlier = self.is_earlier(&inner);
            drop(inner);
            wake_all(woken);
            self.tell_keeper(earlier);
            return;
        }
        inner.writing = true;
        self.write(inner);
    }

    /// Takes packets out of the stack and writes them until there are none. The caller has set `writing`.
    fn write<'a>(&'a self, mut inner: MutexGuard<'a, Inner>) {
        for _ in 0..ROUNDS {
            self.count_drops(&mut inner);
            let mut batch = std::mem::take(&mut inner.batch);
            if inner.stack.wants_transmit() {
                let now = self.clock.now();
                while inner.stack.wants_transmit() && batch.len() < BATCH {
                    let room = BATCH - batch.len();
                    inner.stack.transmit(now, &mut batch, room);
                }
            }
            let woken = inner.collect();
            let is_last = batch.is_empty();
            if is_last {
                (inner.batch, inner.writing) = (batch, false);
                let earlier = self.is_earlier(&inner);
                drop(inner);
                wake_all(woken);
                return self.tell_keeper(earlier);
            }
            drop(inner);
            wake_all(woken);
            let has_room = self.hand_out(&mut batch);
            inner = self.lock();
            inner.batch = batch;
            if !has_room {
                (inner.writing, inner.blocked) = (false, true);
                let earlier = self.is_earlier(&inner);
                drop(inner);
                self.ports
                    .iter()
                    .filter(|port| port.full.load(Ordering::Acquire))
                    .for_each(|port| port.device.wake());
                return self.tell_keeper(earlier);
            }
        }
        inner.writing = false;
        drop(inner);
        self.tell_keeper(true); // the thread that keeps time goes on with what is left
    }

    /// Writes a batch; false if a device has no room for all of it.
    fn hand_out(&self, batch: &mut Vec<(InterfaceId, Packet)>) -> bool {
        for (interface, packet) in batch.drain(..) {
            match self.ports.iter().find(|port| port.interface == interface) {
                Some(port) => port.queue(packet),
                // An interface that somebody added to the stack without a device.
                None => _ = self.undeliverable.fetch_add(1, Ordering::Relaxed),
            }
        }
        // Every port is flushed, also those after a full one.
        self.ports.iter().filter(|port| !port.flush()).count() == 0
    }

    /// Goes on with what a full device had no room for, if it has now.
    fn unblock(&self) {
        let mut inner = self.lock();
        if !inner.blocked || inner.writing {
            return;
        }
        (inner.blocked, inner.writing) = (false, true);
        drop(inner);
        let has_room = self.hand_out(&mut Vec::new());
        inner = self.lock();
        if has_room {
            return self.write(inner);
        }
        (inner.blocked, inner.writing) = (true, false);
    }

    fn count_drops(&self, inner: &mut Inner) {
        let counters = self.ports.iter().map(|port| &port.dropped).chain([&self.undeliverable]);
        for counter in counters.filter(|counter| counter.load(Ordering::Relaxed) > 0) {
            inner.stack.stats_mut().ip_out_discards += counter.swap(0, Ordering::Relaxed);
        }
    }

    /// Whether the stack wants to be called earlier than the keeper of time knows; it knows from now on.
    fn is_earlier(&self, inner: &Inner) -> bool {
        let next = inner.stack.next_deadline().unwrap_or(Instant::NEVER).as_nanos();
        let earlier = next < self.sleeps_until.load(Ordering::Relaxed);
        if earlier {
            self.sleeps_until.store(next, Ordering::Relaxed);
        }
        earlier
    }

    fn tell_keeper(&self, earlier: bool) {
        if !earlier {
            return;
        }
        match self.ports.first() {
            Some(port) if !port.dead.load(Ordering::Acquire) => port.device.wake(),
            _ => {
                *self.nap.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
                self.nap.1.notify_all();
            }
        }
    }

    /// Takes what the device has received and gives it to the stack, in order.
    fn receive(&self, port: &Port, packets: &mut Vec<Packet>) {
        while self.receive_batch(port, packets, BATCH) {}
    }

    /// Takes at most `max` packets; false if there were none.
    pub(super) fn receive_batch(&self, port: &Port, packets: &mut Vec<Packet>, max: usize) -> bool {
        if port.dead.load(Ordering::Acquire) {
            return false;
        }
        packets.clear();
        if let Err(error) = port.device.recv(packets, max) {
            self.fail(port, &error);
        }
        if packets.is_empty() {
            return false;
        }
        let mut inner = self.lock();
        let now = self.clock.now();
        inner.stack.receive_batch(now, port.interface, packets.iter_mut());
        self.finish(inner);
        packets.clear();
        true
    }

    pub(super) fn fail(&self, port: &Port, error: &std::io::Error) {
        port.fail(error);
        // An interface that somebody has removed cannot be taken down; nothing is lost.
        let _ = self.with(|stack, _| stack.set_interface_up(port.interface, false));
    }

    /// The life of the thread of the port with this number (or of none, if there are no devices). The first
    /// one keeps time.
    pub(crate) fn drive(&self, index: usize) {
        let (port, is_keeper) = (self.ports.get(index), index == 0);
        let mut turns = 0;
        while !self.is_stopped() {
            let live = port.filter(|port| !port.dead.load(Ordering::Acquire));
            if live.is_none() && !is_keeper {
                return;
            }
            let is_led = live.is_some_and(|port| port.is_led(&mut turns));
            let is_attended = live.is_some_and(|port| port.attended.load(Ordering::Acquire));
            // Who leads the device away from this thread leaves the timers to it.
            let is_due = !(is_led || is_attended) || self.is_due();
            if let Some(port) = live {
                if is_due {
                    self.receive(port, &mut port.receive());
                }
                if port.full.load(Ordering::Acquire) {
                    self.unblock();
                }
            }
            let until = if is_keeper { self.keep_time(is_due, is_led) } else { Instant::NEVER };
            self.rest(live, !(is_led || is_attended), self.clock.until(until));
        }
    }

    fn is_due(&self) -> bool {
        self.look(|stack, now| stack.next_deadline().is_some_and(|at| at <= now))
    }

    /// Fires the timers that are due; returns when to look again. What has been received is to be taken in
    /// before: an acknowledgment that waits while this thread was not scheduled must not meet its own timeout.
    fn keep_time(&self, fire: bool, is_led: bool) -> Instant {
        let mut inner = self.lock();
        let now = self.clock.now();
        if fire && inner.stack.next_deadline().is_some_and(|at| at <= now) {
            inner.stack.advance(now);
        }
        // Whoever finds an earlier deadline from here on wakes this thread, though it is not asleep yet.
        let lease = if is_led { now + LEASE } else { Instant::NEVER };
        let next = inner.stack.next_deadline().unwrap_or(Instant::NEVER).min(lease);
        self.sleeps_until.store(next.as_nanos(), Ordering::Relaxed);
        self.finish(inner);
        Instant::from_nanos(self.sleeps_until.load(Ordering::Relaxed))
    }

    fn rest(&self, port: Option<&Port>, readable: bool, timeout: Option<Duration>) {
        if let Some(port) = port {
            let wait = Wait { readable, writable: port.full.load(Ordering::Acquire) };
            if let Err(error) = port.device.wait(wait, timeout) {
                self.fail(port, &error);
            }
            return;
        }
        let mut woken = self.nap.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !*woken {
            woken = match timeout {
                Some(timeout) => {
                    self.nap.1.wait_timeout(woken, timeout).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.nap.1.wait(woken).unwrap_or_else(PoisonError::into_inner),
            };
        }
        *woken = false;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Ends the driver's threads; everybody who waits is woken and finds ENETDOWN.
    pub(crate) fn stop(&self) {
        let mut inner = self.lock();
        self.stopped.store(true, Ordering::Release);
        let Inner { waiters, woken, lingering, subscribers, .. } = &mut *inner;
        waiters.close_all(woken);
        woken.extend(lingering.drain(..).map(|(_, waker)| waker));
        subscribers.end();
        let woken = std::mem::take(woken);
        drop(inner);
        wake_all(woken);
        self.ports.iter().for_each(|port| port.device.wake());
        *self.nap.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.nap.1.notify_all();
    }
}

impl Arrival for PortArrival {
    fn arrived(&self) -> bool {
        let Some(shard) = self.shard.upgrade() else { return false };
        let Some(port) = shard.ports.get(self.index) else { return false };
        // Whoever has the right at the moment may just have found the queue empty: then the thread is woken.
        let Some(mut packets) = port.try_receive() else { return false };
        shard.receive(port, &mut packets);
        true
    }
}

/// Takes packets on the thread of whoever sent them.
pub(crate) struct PortArrival {
    pub(crate) shard: std::sync::Weak<Shard>,
    pub(crate) index: usize,
}

impl Inner {
    fn wait_for(&mut self, id: SocketId, interest: Ready, waker: &Waker, ticket: &mut Option<Ticket>) {
        if let Some(report) = self.waiters.add(id, interest, waker, ticket) {
            self.stack.set_interest(id, report);
        }
    }

    /// Hands out records, and finds out whom the stack's events wake.
    fn collect(&mut self) -> Vec<Waker> {
        while let Some(Event::Ready(id, ready)) = self.stack.next_event() {
            self.waiters.raise(id, ready, &mut self.woken);
        }
        if !self.lingering.is_empty() {
            let Inner { stack, lingering, woken, .. } = self;
            lingering.retain(|(id, waker)| {
                let lingers = stack.is_lingering(*id);
                if !lingers {
                    woken.push(waker.clone());
                }
                lingers
            });
        }
        if self.recording {
            self.publish();
        }
        std::mem::take(&mut self.woken)
    }

    fn publish(&mut self) {
        while let Some(record) = self.stack.trace_mut().next_record() {
            self.records.push(record);
        }
        for capture in &self.captures {
            self.records.iter().for_each(|record| capture.observe(record));
        }
        if !self.records.is_empty() {
            self.subscribers.publish(&self.records);
            self.records.clear();
            self.set_recording();
        }
    }

    /// Records are kept while somebody reads them: a capture, or a subscriber.
    fn set_recording(&mut self) {
        let wanted = if self.captures.is_empty() { 0 } else { 4_096 };
        let capacity = self.subscribers.capacity().max(wanted);
        self.recording = capacity > 0;
        self.stack.trace_mut().enable(capacity);
    }
}

fn wake_all(woken: Vec<Waker>) {
    woken.into_iter().for_each(Waker::wake);
}
