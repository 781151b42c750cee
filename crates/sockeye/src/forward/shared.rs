//! What all connections of a forwarder share: the table, the host's readiness, the thread.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use sockeye_core::socket::{Domain, Protocol, SockOpt, SocketType};
use sockeye_core::stack::ParkedId;
use sockeye_core::stack::slab::{Key, Slab};
use sockeye_core::{Errno, SocketId};

use super::Target;
use super::connection::Connection;
use super::helper::Helper;
use super::intake::Intake;
use super::publish::Door;
use super::record::{Counters, Record, Totals, add};
use crate::driver::{Chunks, Host, into_io};

/// The token of what wakes the thread.
const WAKE: u64 = u64::MAX;
/// Events taken from the kernel at once.
const EVENTS: usize = 64;
/// How long a published port pauses when no descriptor is left and none becomes free.
const PAUSE: Duration = Duration::from_millis(100);
/// How often [`Shared::drain`] looks.
const LOOK: Duration = Duration::from_millis(2);

type Decide = Box<dyn Fn(SocketAddr, SocketAddr) -> Target + Send + Sync>;
type OnEnd = Box<dyn Fn(&Record) + Send + Sync>;
type OnTrouble = Box<dyn Fn(&str) + Send + Sync>;

/// What the builder was told.
pub(super) struct Rules {
    pub(super) decide: Decide,
    pub(super) on_end: Option<OnEnd>,
    pub(super) on_trouble: Option<OnTrouble>,
    pub(super) max_connections: u32,
    pub(super) keep_records: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            decide: Box::new(|_, destination| Target::Connect(destination)),
            on_end: None,
            on_trouble: None,
            max_connections: 16_384,
            keep_records: 1_024,
        }
    }
}

/// Whose readiness an event is about.
#[derive(Clone)]
pub(super) enum Entry {
    Connection(Arc<Connection>),
    Door(Arc<Door>),
}

/// How far a parked SYN has come.
enum Parked {
    /// It is left to another thread, which has not begun yet.
    Left,
    /// Its peer has given up meanwhile.
    Gone(Errno),
    /// Its far side is being connected, or is.
    Begun(Arc<Connection>),
}

pub(super) struct Shared {
    pub(super) host: Host,
    pub(super) rules: Rules,
    /// The parking listener.
    pub(super) listener: SocketId,
    pub(super) intake: Arc<Intake>,
    pub(super) chunks: Chunks,
    pub(super) counters: Counters,
    pub(super) helper: Helper,
    pub(super) inward_now: AtomicU64,
    epoll: OwnedFd,
    wake: OwnedFd,
    woken: AtomicBool,
    table: Mutex<Slab<Entry>>,
    /// Those whose SYN is parked, or whose handshake is not complete.
    parked: Mutex<HashMap<ParkedId, Parked>>,
    /// Those that the thread has to carry on.
    pending: Mutex<Vec<Arc<Connection>>>,
    records: Mutex<VecDeque<Record>>,
    troubled: AtomicBool,
    /// Doors that wait for a descriptor or for the end of a connection.
    pub(super) paused: AtomicUsize,
    /// When they are to try again at the latest.
    rest_until: Mutex<Option<Instant>>,
    /// Something has ended since they paused.
    freed: AtomicBool,
    pub(super) stopping: AtomicBool,
    driver: Mutex<Option<ThreadId>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds one of these, and every state of them is consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn start(host: &Host, rules: Rules) -> io::Result<Arc<Shared>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        let credits = rules.max_connections;
        let listener = host.with_stack(|stack, now| -> Result<SocketId, Errno> {
            let id = stack.socket(Domain::INET6, SocketType::STREAM, Protocol::TCP)?;
            let made = [SockOpt::NoDelay(true), SockOpt::OobInline(true)]
                .iter()
                .try_for_each(|option| stack.setsockopt(now, id, option))
                .and_then(|()| stack.park(now, id, credits));
            if let Err(error) = made {
                stack.close(now, id)?;
                return Err(error);
            }
            Ok(id)
        });
        let listener = listener.map_err(into_io)?;
        let shared = Arc::new_cyclic(|shared: &Weak<Shared>| Shared {
            host: host.clone(),
            rules,
            listener,
            intake: Arc::new(Intake::new(shared.clone())),
            chunks: Chunks::default(),
            counters: Counters::default(),
            helper: Helper::default(),
            inward_now: AtomicU64::new(0),
            epoll,
            wake,
            woken: AtomicBool::new(false),
            table: Mutex::new(Slab::new()),
            parked: Mutex::default(),
            pending: Mutex::default(),
            records: Mutex::default(),
            troubled: AtomicBool::new(false),
            paused: AtomicUsize::new(0),
            rest_until: Mutex::default(),
            freed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            driver: Mutex::new(None),
            thread: Mutex::new(None),
        });
        shared.intake.run();
        Ok(shared)
    }

    /// Starts the thread.
    pub(super) fn spawn(self: &Arc<Shared>) -> io::Result<()> {
        let shared = self.clone();
        let run = move || {
            while !shared.stopping.load(Ordering::Acquire) {
                if shared.turn(None).is_err() {
                    // epoll_wait fails on a bad argument only; not to spin if it ever does.
                    thread::sleep(PAUSE);
                }
            }
        };
        let thread = thread::Builder::new().name("forward".into()).spawn(run)?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// Waits for the host's sockets once, and carries on what is ready.
    pub(super) fn turn(self: &Arc<Shared>, timeout: Option<Duration>) -> io::Result<()> {
        *lock(&self.driver) = Some(thread::current().id());
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS];
        let timeout = self.timeout(timeout);
        let events = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok((events, _)) => &*events,
            Err(error) => {
                *lock(&self.driver) = None;
                return if error == rustix::io::Errno::INTR { Ok(()) } else { Err(error.into()) };
            }
        };
        // Before the events: a door that pauses now is not to be back at once, to find what it found.
        self.resume_doors();
        for event in events {
            let (token, flags) = (event.data.u64(), event.flags);
            if token == WAKE {
                self.woken.store(false, Ordering::Release);
                // Only to make it unreadable again.
                let _ = rustix::io::read(&self.wake, &mut [0; 8]);
                continue;
            }
            let entry = lock(&self.table).get(Key::from_u64(token)).cloned();
            match entry {
                Some(Entry::Connection(connection)) => connection.hear(flags),
                Some(Entry::Door(door)) => door.admit(self),
                None => {}
            }
        }
        let pending = std::mem::take(&mut *lock(&self.pending));
        pending.iter().for_each(Connection::run);
        // What this thread leaves from here on, in other work of its own, has to wake it like anybody's.
        *lock(&self.driver) = None;
        if events.len() == EVENTS || !lock(&self.pending).is_empty() {
            self.turn_again();
        }
        Ok(())
    }

    /// Not longer than a paused door rests, and not at all if there is work.
    fn timeout(&self, asked: Option<Duration>) -> Option<Timespec> {
        let until = lock(&self.rest_until).filter(|_| self.paused.load(Ordering::Acquire) > 0);
        let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
        let least = if lock(&self.pending).is_empty() { rest } else { Some(Duration::ZERO) };
        let timeout = asked.into_iter().chain(least).min()?;
        Timespec::try_from(timeout).ok()
    }

    /// A door pauses, until something has ended or for [`PAUSE`]: descriptors become free elsewhere as well.
    pub(super) fn rest(&self) {
        self.paused.fetch_add(1, Ordering::AcqRel);
        lock(&self.rest_until).get_or_insert_with(|| Instant::now() + PAUSE);
    }

    /// Lets the doors that have rested try again.
    fn resume_doors(&self) {
        if self.paused.load(Ordering::Acquire) == 0 {
            return;
        }
        let rested = lock(&self.rest_until).is_none_or(|until| Instant::now() >= until);
        if !self.freed.swap(false, Ordering::AcqRel) && !rested {
            return;
        }
        *lock(&self.rest_until) = None;
        let all: Vec<_> = lock(&self.table).iter().map(|(_, entry)| entry.clone()).collect();
        for entry in all {
            if let Entry::Door(door) = entry {
                door.resume(self);
            }
        }
    }

    /// Lets the thread (or whoever drives) turn once more.
    pub(super) fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            // It can only fail by being full, which is awake.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    /// There is more to do than one turn did. Who waits for edges of our epoll is to see one, whatever was told before.
    pub(super) fn turn_again(&self) {
        self.woken.store(true, Ordering::Release);
        // As above.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Leaves a connection to the thread.
    pub(super) fn defer(&self, connection: Arc<Connection>) {
        lock(&self.pending).push(connection);
        if *lock(&self.driver) != Some(thread::current().id()) {
            self.wake();
        }
    }

    /// Enters something into the table; `make` sees its key.
    pub(super) fn enter<T: Clone>(&self, make: impl FnOnce(Key) -> T, entry: impl FnOnce(T) -> Entry) -> T {
        let mut table = lock(&self.table);
        let made = make(table.next_key());
        table.insert(entry(made.clone()));
        made
    }

    /// Asks the kernel for the readiness of a descriptor.
    pub(super) fn watch(&self, fd: impl AsFd, key: Key, flags: epoll::EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(key.to_u64()), flags)?)
    }

    /// Asks anew.
    pub(super) fn watch_again(&self, fd: impl AsFd, key: Key, flags: epoll::EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(key.to_u64()), flags)?)
    }

    /// Forgets an entry.
    pub(super) fn leave(&self, key: Key) {
        let entry = lock(&self.table).remove(key);
        if let Some(Entry::Door(door)) = entry {
            door.close();
            if door.is_paused() {
                self.paused.fetch_sub(1, Ordering::AcqRel);
            }
        }
        if self.paused.load(Ordering::Acquire) > 0 {
            self.freed.store(true, Ordering::Release);
            self.wake();
        }
    }

    /// A SYN is left to another thread.
    pub(super) fn leave_syn(&self, id: ParkedId) {
        lock(&self.parked).insert(id, Parked::Left);
    }

    /// That thread comes to it: why it is too late, if it is.
    pub(super) fn given_up(&self, id: ParkedId) -> Option<Errno> {
        let mut parked = lock(&self.parked);
        let Some(Parked::Gone(why)) = parked.get(&id) else { return None };
        let why = *why;
        parked.remove(&id);
        Some(why)
    }

    /// Its far side is being connected.
    pub(super) fn park(&self, id: ParkedId, connection: &Arc<Connection>) {
        let mut parked = lock(&self.parked);
        if let Some(Parked::Gone(why)) = parked.insert(id, Parked::Begun(connection.clone())) {
            parked.remove(&id);
            drop(parked);
            connection.abandon(why);
        }
    }

    /// Its peer has given up.
    pub(super) fn give_up(&self, id: ParkedId, why: Errno) {
        let mut parked = lock(&self.parked);
        match parked.remove(&id) {
            Some(Parked::Begun(connection)) => {
                drop(parked);
                connection.abandon(why);
            }
            Some(_) => _ = parked.insert(id, Parked::Gone(why)),
            None => {}
        }
    }

    pub(super) fn unpark(&self, id: ParkedId) -> Option<Arc<Connection>> {
        match lock(&self.parked).remove(&id)? {
            Parked::Begun(connection) => Some(connection),
            Parked::Left | Parked::Gone(_) => None,
        }
    }

    /// Lets one more SYN come in.
    pub(super) fn give_credit(&self) {
        // The listener is closed only when the forwarder stops.
        let _ = self.host.with_stack(|stack, _| stack.add_park_credits(self.listener, 1));
    }

    /// No descriptor was left: counted, and told once.
    pub(super) fn lacks_descriptors(&self) {
        add(&self.counters.out_of_descriptors, 1);
        if let Some(tell) = &self.rules.on_trouble
            && !self.troubled.swap(true, Ordering::AcqRel)
        {
            tell(
                "no file descriptors are left: new connections wait until others end; \
                 raise the limit with `ulimit -n` to have more at a time",
            );
        }
    }

    pub(super) fn record(&self, record: Record) {
        self.counters.count_end(record.ending);
        if let Some(tell) = &self.rules.on_end {
            tell(&record);
        }
        let mut records = lock(&self.records);
        records.push_back(record);
        while records.len() > self.rules.keep_records {
            records.pop_front();
        }
    }

    pub(super) fn totals(&self) -> Totals {
        Totals { current: self.connections().len() as u64, ..self.counters.read() }
    }

    pub(super) fn records(&self) -> Vec<Record> {
        lock(&self.records).iter().cloned().collect()
    }

    /// How many connections and published ports there are.
    pub(super) fn entries(&self) -> usize {
        lock(&self.table).len()
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        let of = |entry: &Entry| match entry {
            Entry::Connection(connection) => Some(connection.clone()),
            Entry::Door(_) => None,
        };
        lock(&self.table).iter().filter_map(|(_, entry)| of(entry)).collect()
    }

    pub(super) fn drain(&self, timeout: Duration) -> usize {
        let until = Instant::now().checked_add(timeout);
        loop {
            let left = self.connections().iter().filter(|connection| !connection.is_drained()).count();
            if left == 0 || until.is_none_or(|until| Instant::now() >= until) {
                return left;
            }
            thread::sleep(LOOK);
        }
    }

    pub(super) fn poll_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    pub(super) fn stop(&self) {
        if self.stopping.swap(true, Ordering::AcqRel) {
            return;
        }
        self.host.shard().close_now(self.listener);
        self.woken.store(false, Ordering::Release);
        self.wake();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // One that panicked has said so.
            let _ = thread.join();
        }
        self.connections().iter().for_each(|connection| connection.stop());
        self.helper.stop();
        let table = std::mem::replace(&mut *lock(&self.table), Slab::new());
        for (_, entry) in table.iter() {
            if let Entry::Door(door) = entry {
                door.close();
            }
        }
        lock(&self.parked).clear();
        lock(&self.pending).clear();
    }
}

/// The core's name of an error of the operating system; EIO has none, and is a reset.
pub(super) fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_number(error.raw_os_error()).unwrap_or(Errno::ECONNRESET)
}

/// Whether an error says that there are no means now, which passes.
pub(super) fn is_shortage(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}
