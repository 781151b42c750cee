//! Connections out of the stack: from a parked SYN to both sides connected.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Wake, Waker};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use sockeye_core::socket::op::OpPoll;
use sockeye_core::stack::{ParkAnswer, ParkEvent, ParkedId, Unreachable};
use sockeye_core::{Errno, Instant, Ready};

use super::connection::{Connection, Opening};
use super::record::{Direction, Ending, add};
use super::shared::{Entry, Shared, errno, is_shortage};
use super::{Target, canonical};
use crate::driver::{Polled, Ticket};

/// Takes the events of the parking listener, on whatever thread brings them.
pub(super) struct Intake {
    shared: Weak<Shared>,
    /// Calls of [`Intake::run`] that the one who runs has not seen yet.
    calls: AtomicUsize,
    ticket: Mutex<Option<Ticket>>,
}

impl Wake for Intake {
    fn wake(self: Arc<Self>) {
        self.run();
    }
}

impl Intake {
    pub(super) fn new(shared: Weak<Shared>) -> Intake {
        Intake { shared, calls: AtomicUsize::new(0), ticket: Mutex::new(None) }
    }

    /// Takes what there is and waits for more. One thread at a time does so; others leave it to that one.
    pub(super) fn run(self: &Arc<Self>) {
        if self.calls.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let Some(shared) = self.shared.upgrade() else { return };
        let waker = Waker::from(self.clone());
        loop {
            let seen = self.calls.load(Ordering::Acquire);
            while let Some(event) = self.next(&shared, &waker) {
                shared.take_event(event);
            }
            if self.calls.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return;
            }
        }
    }

    fn next(&self, shared: &Shared, waker: &Waker) -> Option<ParkEvent> {
        let mut ticket = self.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = shared.listener;
        let polled = shared.host.shard().poll_op(listener, waker, &mut ticket, |stack, _| {
            match stack.next_parked(listener) {
                Err(Errno::EAGAIN) => OpPoll::Wait { interest: Ready::IN, deadline: Instant::NEVER },
                result => OpPoll::Ready(result),
            }
        });
        match polled {
            Polled::Ready(Ok(event)) => Some(event),
            // The forwarder stops, or its host has.
            Polled::Ready(Err(_)) | Polled::Wait(_) => None,
        }
    }
}

impl Shared {
    fn take_event(self: &Arc<Shared>, event: ParkEvent) {
        match event {
            ParkEvent::Syn { id, peer, destination } => {
                if !self.helper.takes_syn(self, (id, peer, destination)) {
                    self.on_syn(id, peer, destination);
                }
            }
            ParkEvent::Open { id, socket } => match self.unpark(id) {
                Some(connection) => connection.open(socket),
                // Its far side has failed meanwhile.
                None => self.host.shard().abort_now(socket),
            },
            ParkEvent::Gone { id, why } => self.give_up(id, why),
        }
    }

    /// A SYN that was left to this thread.
    pub(super) fn on_left_syn(self: &Arc<Shared>, id: ParkedId, peer: SocketAddr, destination: SocketAddr) {
        let Some(why) = self.given_up(id) else { return self.on_syn(id, peer, destination) };
        add(&self.counters.outward, 1);
        let opening = Opening::new(Direction::Outward, peer, destination);
        self.record(opening.ended(Ending::Abandoned, Some(why)));
        self.give_credit();
    }

    fn on_syn(self: &Arc<Shared>, id: ParkedId, peer: SocketAddr, destination: SocketAddr) {
        add(&self.counters.outward, 1);
        let mut opening = Opening::new(Direction::Outward, peer, destination);
        let (answer, ending, error) = match (self.rules.decide)(peer, destination) {
            Target::Refuse => (ParkAnswer::Refuse, Ending::Refused, None),
            Target::Unreachable => (ParkAnswer::Unreachable(Unreachable::Host), Ending::Unreachable, None),
            Target::Drop => (ParkAnswer::Drop, Ending::Dropped, None),
            Target::Connect(target) => {
                opening.target = Some(canonical(target));
                match self.connect(id, opening.clone()) {
                    Ok(connection) => return connection.run(),
                    Err(error) => {
                        if is_shortage(error) {
                            self.lacks_descriptors();
                        }
                        let error = errno(error);
                        (ParkAnswer::for_error(error), Ending::of_attempt(error), Some(error))
                    }
                }
            }
        };
        self.unpark(id);
        // First: who sees the answer finds it on record.
        self.record(opening.ended(ending, error));
        // One that its peer gave up meanwhile needs no answer.
        let _ = self.host.with_stack(|stack, now| {
            let answered = stack.answer_parked(now, id, answer);
            answered.and(stack.add_park_credits(self.listener, 1))
        });
    }

    /// Begins to connect to the far side.
    fn connect(self: &Arc<Shared>, id: ParkedId, opening: Opening) -> rustix::io::Result<Arc<Connection>> {
        let target = opening.target.unwrap_or(opening.destination);
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let far = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        rustix::net::sockopt::set_tcp_nodelay(&far, true)?;
        rustix::net::sockopt::set_socket_oobinline(&far, true)?;
        match rustix::net::connect(&far, &target) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let connection =
            self.enter(|key| Arc::new(Connection::outward(self, key, opening, id, far)), Entry::Connection);
        self.park(id, &connection);
        if connection.watch_far(self).is_err() {
            self.unpark(id);
            self.leave(connection.key());
            return Err(rustix::io::Errno::NOMEM);
        }
        Ok(connection)
    }
}
