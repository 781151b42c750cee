//! A device under a stack: what waits for it, and who reads from it.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use sockeye_core::Packet;
use sockeye_core::stack::InterfaceId;

use crate::device::{Arrival, Device};

pub(crate) struct Port {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) interface: InterfaceId,
    /// What the device had no room for, in order. Only the one writer touches it.
    backlog: Mutex<VecDeque<Packet>>,
    /// There is a backlog: the driver's thread waits for room.
    pub(crate) full: AtomicBool,
    /// The device has failed for good.
    pub(crate) dead: AtomicBool,
    error: Mutex<Option<(io::ErrorKind, String)>>,
    /// A caller may wait for the device in place of the driver's thread.
    pub(crate) can_be_led: bool,
    /// One does so now, and how often that has begun.
    pub(crate) led: AtomicBool,
    pub(crate) turns: AtomicU32,
    /// Somebody else's loop takes its packets.
    pub(crate) attended: AtomicBool,
    /// The last one that did wants the driver's thread to go on.
    pub(crate) handed_over: AtomicBool,
    /// Packets dropped by the device that the stack's counters do not know of yet.
    pub(crate) dropped: AtomicU64,
    /// Held while packets are taken from the device and given to the stack, so that they keep their order.
    receiver: Mutex<Vec<Packet>>,
    /// What the device calls when packets come; the device itself holds it weakly.
    arrival: Mutex<Option<Arc<dyn Arrival>>>,
}

impl Port {
    pub(crate) fn new(device: Arc<dyn Device>, interface: InterfaceId) -> Port {
        Port {
            can_be_led: device.can_wait_beside(),
            device,
            interface,
            backlog: Mutex::default(),
            full: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            error: Mutex::new(None),
            led: AtomicBool::new(false),
            attended: AtomicBool::new(false),
            turns: AtomicU32::new(0),
            handed_over: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            receiver: Mutex::default(),
            arrival: Mutex::new(None),
        }
    }

    /// Keeps what the device calls alive as long as the port.
    pub(crate) fn keep_arrival(&self, arrival: Arc<dyn Arrival>) {
        *self.arrival.lock().unwrap_or_else(PoisonError::into_inner) = Some(arrival);
    }

    /// Puts a packet behind those that wait.
    pub(crate) fn queue(&self, packet: Packet) {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner).push_back(packet);
    }

    /// Gives the device what waits. True if it had room for everything.
    pub(crate) fn flush(&self) -> bool {
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        if backlog.is_empty() {
            self.full.store(false, Ordering::Release);
            return true;
        }
        if self.dead.load(Ordering::Acquire) {
            self.dropped.fetch_add(backlog.len() as u64, Ordering::Relaxed);
            backlog.clear();
        } else {
            match self.device.send(&mut backlog) {
                Ok(report) => {
                    self.dropped.fetch_add(report.dropped as u64, Ordering::Relaxed);
                }
                Err(error) => {
                    self.fail(&error);
                    self.dropped.fetch_add(backlog.len() as u64, Ordering::Relaxed);
                    backlog.clear();
                }
            }
        }
        self.full.store(!backlog.is_empty(), Ordering::Release);
        backlog.is_empty()
    }

    /// The right to take packets from the device; none while another thread has it.
    pub(crate) fn try_receive(&self) -> Option<MutexGuard<'_, Vec<Packet>>> {
        match self.receiver.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The right to take packets from the device, waited for.
    pub(crate) fn receive(&self) -> MutexGuard<'_, Vec<Packet>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fail(&self, error: &io::Error) {
        let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| (error.kind(), error.to_string()));
        drop(first);
        self.dead.store(true, Ordering::Release);
    }

    /// Why the device failed, if it did.
    pub(crate) fn error(&self) -> Option<io::Error> {
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        error.as_ref().map(|(kind, text)| io::Error::new(*kind, text.clone()))
    }
}
