//! Programs as async tasks in virtual time, over the socket calls that may wait.
//!
//! A task runs until it waits; when all wait, time goes on to the next moment of the [`World`]. There is one
//! thread and one order: tasks run in the order in which they were woken. What a call means stands in
//! [`sockeye_core::socket::op`]; here is only how to sleep.

mod net;
#[cfg(test)]
mod tests;
mod timers;

pub use net::{Host, TcpListener, TcpStream};

use std::cell::{RefCell, RefMut};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use sockeye_core::rng::Rng;
use sockeye_core::stack::Event;
use sockeye_core::{Duration, Instant, Ready, SocketId};

use crate::world::{HostId, World};
use timers::Timers;

/// A time limit was reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time is over")
    }
}

impl std::error::Error for Elapsed {}

/// How [`Sim::run`] ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// All programs came to their end.
    Programs,
    /// The time was over.
    Time,
    /// An invariant was violated: [`World::violation`].
    Violation,
}

/// A world and the programs in it.
pub struct Sim {
    net: Net,
    tasks: Vec<Option<Task>>,
    free: Vec<usize>,
    live: usize,
    woken: Arc<Woken>,
}

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    future: Boxed,
    /// Dies with this host.
    host: Option<HostId>,
    waker: Arc<TaskWaker>,
}

/// Tasks to be run, in order.
#[derive(Default)]
struct Woken(Mutex<VecDeque<usize>>);

struct TaskWaker {
    task: usize,
    queued: AtomicBool,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.woken.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.task);
        }
    }
}

/// A handle to the world and its programs, for programs.
#[derive(Clone)]
pub struct Net {
    inner: Rc<RefCell<Inner>>,
}

struct Inner {
    world: World,
    /// By host, then by socket.
    waiters: Vec<HashMap<SocketId, Waiters>>,
    timers: Timers,
    spawned: Vec<(Boxed, Option<HostId>)>,
    rebooted: Vec<HostId>,
    rng: Rng,
}

#[derive(Default)]
struct Waiters {
    /// What the stack knows of: it only ever grows.
    interest: Ready,
    waiting: Vec<(Ready, Waker)>,
}

impl Sim {
    /// Programs in a world; all chance comes from the world's seed.
    pub fn new(world: World) -> Sim {
        let mut key = [0x5e; 32];
        key[..8].copy_from_slice(&world.seed().to_le_bytes());
        let inner = Inner {
            world,
            waiters: Vec::new(),
            timers: Timers::default(),
            spawned: Vec::new(),
            rebooted: Vec::new(),
            rng: Rng::new(key),
        };
        let net = Net { inner: Rc::new(RefCell::new(inner)) };
        Sim { net, tasks: Vec::new(), free: Vec::new(), live: 0, woken: Arc::default() }
    }

    /// A handle for programs.
    pub fn net(&self) -> Net {
        self.net.clone()
    }

    /// Starts a program.
    pub fn spawn<T: 'static>(&self, program: impl Future<Output = T> + 'static) -> Join<T> {
        self.net.spawn(program)
    }

    /// The world. Must not be held while programs run.
    pub fn world(&self) -> RefMut<'_, World> {
        RefMut::map(self.net.inner.borrow_mut(), |inner| &mut inner.world)
    }

    /// Runs until all programs have ended, or until `end`, or to the first violation.
    pub fn run(&mut self, end: Instant) -> Ended {
        self.run_while(end, |sim| sim.live > 0)
    }

    /// Lets the hosts finish what they do in the background, until nothing is on its way and no timer runs.
    pub fn settle(&mut self, end: Instant) -> Ended {
        self.run_while(end, |sim| !sim.net.inner.borrow().world.next_moment().is_never())
    }

    /// Runs `program` to its end. `None` if that was not before `end`.
    pub fn block_on<T: 'static>(
        &mut self,
        end: Instant,
        program: impl Future<Output = T> + 'static,
    ) -> Option<T> {
        let join = self.spawn(program);
        let result = Rc::clone(&join.result);
        self.run_while(end, |_| result.borrow().value.is_none());
        result.take().value
    }

    fn run_while(&mut self, end: Instant, mut on: impl FnMut(&Sim) -> bool) -> Ended {
        loop {
            self.run_tasks();
            let next = {
                let inner = &mut *self.net.inner.borrow_mut();
                inner.hand_out_events();
                inner.world.flush();
                inner.hand_out_events();
                if inner.world.violation().is_some() {
                    return Ended::Violation;
                }
                inner.world.next_moment().min(inner.timers.next())
            };
            if self.anyone_woken() {
                continue;
            }
            if !on(self) {
                return Ended::Programs;
            }
            let inner = &mut *self.net.inner.borrow_mut();
            if next > end || next.is_never() {
                return Ended::Time;
            }
            inner.world.step(next);
            inner.timers.fire(next);
        }
    }

    fn anyone_woken(&self) -> bool {
        !self.woken.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn run_tasks(&mut self) {
        loop {
            self.adopt();
            let next = self.woken.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(number) = next else { return };
            // Out of its place, so that what it drops may look at the tasks.
            let Some(mut task) = self.tasks[number].take() else { continue };
            task.waker.queued.store(false, Ordering::Relaxed);
            let waker = Waker::from(Arc::clone(&task.waker));
            match task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Pending => self.tasks[number] = Some(task),
                Poll::Ready(()) => self.retire(number),
            }
        }
    }

    /// Takes in what programs have started, and ends those whose host has fallen.
    fn adopt(&mut self) {
        let (spawned, rebooted) = {
            let inner = &mut *self.net.inner.borrow_mut();
            (std::mem::take(&mut inner.spawned), std::mem::take(&mut inner.rebooted))
        };
        for host in rebooted {
            for number in 0..self.tasks.len() {
                if self.tasks[number].as_ref().is_some_and(|task| task.host == Some(host)) {
                    self.tasks[number] = None;
                    self.retire(number);
                }
            }
        }
        for (future, host) in spawned {
            let task = self.free.pop().unwrap_or_else(|| {
                self.tasks.push(None);
                self.tasks.len() - 1
            });
            let waker = TaskWaker { task, queued: AtomicBool::new(false), woken: Arc::clone(&self.woken) };
            let waker = Arc::new(waker);
            waker.wake_by_ref();
            self.tasks[task] = Some(Task { future, host, waker });
            self.live += 1;
        }
    }

    fn retire(&mut self, number: usize) {
        self.free.push(number);
        self.live -= 1;
    }
}

impl Inner {
    fn hand_out_events(&mut self) {
        let Inner { world, waiters, .. } = self;
        world.take_events(|host, Event::Ready(id, ready)| {
            let Some(of_host) = waiters.get_mut(host.0) else { return };
            let Some(of_socket) = of_host.get_mut(&id) else { return };
            of_socket.waiting.retain(|(interest, waker)| {
                let stays = !ready.intersects(*interest | Ready::NVAL);
                if !stays {
                    waker.wake_by_ref();
                }
                stays
            });
            if ready.contains(Ready::NVAL) {
                of_host.remove(&id);
            }
        });
    }

    /// Wakes `waker` at an event of the socket with one of these bits, or at the deadline.
    fn wait(&mut self, host: HostId, id: SocketId, interest: Ready, deadline: Instant, waker: &Waker) {
        if self.waiters.len() <= host.0 {
            self.waiters.resize_with(host.0 + 1, HashMap::new);
        }
        let of_socket = self.waiters[host.0].entry(id).or_default();
        match of_socket.waiting.iter_mut().find(|(_, other)| other.will_wake(waker)) {
            Some(entry) => entry.0 |= interest,
            None => of_socket.waiting.push((interest, waker.clone())),
        }
        if !of_socket.interest.contains(interest) {
            of_socket.interest |= interest;
            let all = of_socket.interest;
            self.world.host(host, |stack, _| stack.set_interest(id, all));
        }
        if !deadline.is_never() {
            self.timers.set(deadline, waker.clone());
        }
    }
}

impl Net {
    /// The time.
    pub fn now(&self) -> Instant {
        self.inner.borrow().world.now()
    }

    /// Starts a program that belongs to no host.
    pub fn spawn<T: 'static>(&self, program: impl Future<Output = T> + 'static) -> Join<T> {
        self.spawn_at(None, program)
    }

    /// The handle of a host.
    pub fn host(&self, host: HostId) -> Host {
        Host::new(self.clone(), host)
    }

    /// A host starts anew: its programs end at once, without a word to anybody.
    pub fn reboot(&self, host: HostId) {
        let mut inner = self.inner.borrow_mut();
        inner.world.reboot(host);
        if let Some(waiters) = inner.waiters.get_mut(host.0) {
            waiters.clear();
        }
        inner.rebooted.push(host);
    }

    /// Runs `f` on the world.
    pub fn with_world<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        f(&mut self.inner.borrow_mut().world)
    }

    /// A random number below `n`, from the world's seed.
    pub fn below(&self, n: u32) -> u32 {
        self.inner.borrow_mut().rng.below(n)
    }

    /// Waits.
    pub async fn sleep(&self, time: Duration) {
        let end = self.now() + time;
        let mut is_set = false;
        poll_fn(|cx| {
            let mut inner = self.inner.borrow_mut();
            if inner.world.now() >= end {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut is_set, true) {
                inner.timers.set(end, cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Waits for `what`, but not longer than `limit`; then it is dropped.
    pub async fn timeout<T>(&self, limit: Duration, what: impl Future<Output = T>) -> Result<T, Elapsed> {
        let (mut what, mut sleep) = (pin!(what), pin!(self.sleep(limit)));
        poll_fn(|cx| match what.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| Err(Elapsed)),
        })
        .await
    }

    fn spawn_at<T: 'static>(
        &self,
        host: Option<HostId>,
        program: impl Future<Output = T> + 'static,
    ) -> Join<T> {
        let result = Rc::new(RefCell::new(JoinState::default()));
        let ended = Ending(Rc::clone(&result));
        let future = Box::pin(async move {
            let value = program.await;
            ended.0.borrow_mut().value = Some(value);
        });
        self.inner.borrow_mut().spawned.push((future, host));
        Join { result }
    }
}

struct JoinState<T> {
    value: Option<T>,
    waiter: Option<Waker>,
    over: bool,
}

impl<T> Default for JoinState<T> {
    fn default() -> Self {
        JoinState { value: None, waiter: None, over: false }
    }
}

/// Says that the program is over, however it ended.
struct Ending<T>(Rc<RefCell<JoinState<T>>>);

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        let mut state = self.0.borrow_mut();
        state.over = true;
        if let Some(waiter) = state.waiter.take() {
            waiter.wake();
        }
    }
}

/// Waits for a program's result; `None` if it ended without one, as its host was started anew.
pub struct Join<T> {
    result: Rc<RefCell<JoinState<T>>>,
}

impl<T> Future for Join<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.result.borrow_mut();
        if state.over {
            return Poll::Ready(state.value.take());
        }
        state.waiter = Some(cx.waker().clone());
        Poll::Pending
    }
}
