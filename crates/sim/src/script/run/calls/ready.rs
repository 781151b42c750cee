//! poll and epoll.

use std::collections::BTreeMap;

use sockeye_core::socket::op::OpPoll;
use sockeye_core::{Errno, Instant, Ready};

use super::values::{Args, check_number, field, number};
use super::{Operation, Other, Refusal, Returned, items};
use crate::script::ast::Expr;
use crate::script::run::runner::Runner;

const OUT: u32 = 0x4;
const ERR: u32 = 0x8;
const HUP: u32 = 0x10;
const NVAL: u32 = 0x20;
const ONESHOT: u32 = 1 << 30;
const EDGE: u32 = 1 << 31;
const CTL_ADD: i64 = 1;
const CTL_DEL: i64 = 2;
const CTL_MOD: i64 = 3;

/// A `poll` under way.
pub(super) struct Poll {
    /// Descriptor, what it is asked for.
    items: Vec<(i32, u32)>,
    /// What each is ready for.
    found: Vec<u32>,
    until: Instant,
}

/// What an epoll descriptor watches.
#[derive(Default)]
pub(in super::super) struct Epoll {
    watched: BTreeMap<i32, Watched>,
}

struct Watched {
    events: u32,
    /// What the program gets back: `fd`, `ptr`, `u32` or `u64`.
    data: i64,
    /// How often the socket had become ready when this was last told, for EPOLLET.
    told: Option<u64>,
    /// EPOLLONESHOT has told it.
    off: bool,
}

/// An `epoll_wait` under way.
pub(super) struct EpollWait {
    fd: i32,
    max: usize,
    found: Vec<(u32, i64)>,
    until: Instant,
}

impl Runner<'_> {
    pub(in super::super) fn until(&self, timeout: Option<i64>) -> Instant {
        match timeout {
            Some(ms) if ms >= 0 => self.now + std::time::Duration::from_millis(ms as u64),
            _ => Instant::NEVER,
        }
    }

    /// What a descriptor is ready for, of what is asked and what is always told.
    fn level(&mut self, live: i32, events: u32) -> u32 {
        let ready = match self.descriptors.table.get(live) {
            Ok(id) => {
                let ready = bits(self.stack.poll(id));
                if ready & OUT == 0 && self.descriptors.opened.contains(&id) {
                    self.descriptors.miss_space(id);
                }
                ready
            }
            Err(Errno::ENOTSOCK) => match self.descriptors.others.get(&live) {
                Some(Other::Pipe(pipe)) => u32::from(!pipe.borrow().is_empty()) | 4,
                Some(Other::File { .. }) => 5,
                Some(Other::Epoll(_)) | None => 0,
            },
            Err(_) => NVAL,
        };
        ready & (events | ERR | HUP | NVAL)
    }

    pub(super) fn begin_poll(&mut self, args: &Args) -> Result<Operation, Refusal> {
        let mut list = Vec::new();
        for item in items(args.get(0)?) {
            let (Some(fd), Some(events)) = (field(item, &["fd"]), field(item, &["events"])) else {
                return Err(format!("'{item}' is no pollfd: it needs fd and events"));
            };
            let fd = number(fd)?.unwrap_or(-1);
            list.push((self.descriptors.live(fd), number(events)?.unwrap_or(0) as u32));
        }
        let count = args.len(1)?;
        if count > list.len() {
            return Err(format!("poll of {count} where {} are given", list.len()));
        }
        list.truncate(count);
        let until = self.until(args.int(2)?.map(i64::from));
        Ok(Operation::Poll(Poll { items: list, found: Vec::new(), until }))
    }

    pub(super) fn poll_poll(&mut self, poll: &mut Poll) -> OpPoll<i64> {
        let items = poll.items.clone();
        poll.found = items.into_iter().map(|(fd, events)| self.level(fd, events)).collect();
        let count = poll.found.iter().filter(|&&found| found != 0).count();
        if count > 0 || self.now >= poll.until {
            return OpPoll::Ready(Ok(count as i64));
        }
        OpPoll::Wait { interest: Ready::empty(), deadline: poll.until }
    }

    pub(super) fn epoll_create(&mut self) -> Result<Returned, Refusal> {
        let made = self.descriptors.table.insert_other();
        if let Ok(fd) = made {
            self.descriptors.others.insert(fd, Other::Epoll(Epoll::default()));
        }
        Ok(made.map(i64::from))
    }

    pub(super) fn epoll_ctl(&mut self, args: &Args) -> Result<Returned, Refusal> {
        let (fd, target) = (self.descriptors.live(args.number(0)?), self.descriptors.live(args.number(2)?));
        let operation = args.number(1)?;
        let event = args.0.args.get(3);
        let events = event.and_then(|event| field(event, &["events"]));
        let events = events.map(number).transpose()?.flatten().unwrap_or(0) as u32;
        let data = event.and_then(|event| field(event, &["fd", "ptr", "u32", "u64"]));
        let data = data.map(number).transpose()?.flatten().unwrap_or(0);
        if self.descriptors.table.is_nonblocking(target).is_err() {
            return Ok(Err(Errno::EBADF));
        }
        let epoll = match self.descriptors.others.get_mut(&fd) {
            Some(Other::Epoll(epoll)) => epoll,
            Some(_) => return Ok(Err(Errno::EINVAL)),
            None => return Ok(Err(Errno::EBADF)),
        };
        let known = epoll.watched.contains_key(&target);
        Ok(match operation {
            CTL_ADD if known => Err(Errno::EEXIST),
            CTL_MOD | CTL_DEL if !known => Err(Errno::ENOENT),
            CTL_DEL => {
                epoll.watched.remove(&target);
                Ok(0)
            }
            CTL_ADD | CTL_MOD => {
                epoll.watched.insert(target, Watched { events, data, told: None, off: false });
                Ok(0)
            }
            _ => Err(Errno::EINVAL),
        })
    }

    pub(super) fn epoll_wait(&mut self, args: &Args) -> Result<Operation, Refusal> {
        let fd = self.descriptors.live(args.number(0)?);
        let max = args.int(2)?.unwrap_or(1);
        let until = self.until(args.int(3)?.map(i64::from));
        if !matches!(self.descriptors.others.get(&fd), Some(Other::Epoll(_))) {
            return Ok(Operation::Done(Err(Errno::EBADF)));
        }
        match usize::try_from(max) {
            Ok(max) if max > 0 => Ok(Operation::EpollWait(EpollWait { fd, max, found: Vec::new(), until })),
            _ => Ok(Operation::Done(Err(Errno::EINVAL))),
        }
    }

    pub(super) fn poll_epoll(&mut self, wait: &mut EpollWait) -> OpPoll<i64> {
        let Some(Other::Epoll(mut epoll)) = self.descriptors.others.remove(&wait.fd) else {
            return OpPoll::Ready(Err(Errno::EBADF));
        };
        // What is closed is watched no more.
        epoll.watched.retain(|&fd, _| self.descriptors.table.is_nonblocking(fd).is_ok());
        wait.found.clear();
        for (&fd, watched) in &mut epoll.watched {
            if wait.found.len() == wait.max || watched.off {
                continue;
            }
            let edge =
                self.descriptors.table.get(fd).ok().and_then(|id| self.descriptors.edges.get(&id).copied());
            let edge = edge.unwrap_or(0);
            // An edge that was told is not even looked at.
            if watched.events & EDGE != 0 && watched.told == Some(edge) {
                continue;
            }
            let ready = self.level(fd, watched.events);
            if watched.events & EDGE != 0 {
                watched.told = Some(edge);
            }
            if ready == 0 {
                continue;
            }
            watched.told = Some(edge);
            watched.off = watched.events & ONESHOT != 0;
            wait.found.push((ready, watched.data));
        }
        self.descriptors.others.insert(wait.fd, Other::Epoll(epoll));
        if !wait.found.is_empty() || self.now >= wait.until {
            return OpPoll::Ready(Ok(wait.found.len() as i64));
        }
        OpPoll::Wait { interest: Ready::empty(), deadline: wait.until }
    }
}

impl Poll {
    pub fn check(&self, args: &Args) -> Result<(), Refusal> {
        for (item, &found) in items(args.get(0)?).iter().zip(&self.found) {
            if let Some(expected) = field(item, &["revents"]) {
                check_events("revents", expected, found)?;
            }
        }
        Ok(())
    }
}

impl EpollWait {
    pub fn check(&self, args: &Args) -> Result<(), Refusal> {
        for (item, &(found, data)) in items(args.get(1)?).iter().zip(&self.found) {
            if let Some(expected) = field(item, &["events"]) {
                check_events("events", expected, found)?;
            }
            if let Some(expected) = field(item, &["fd", "ptr", "u32", "u64"]) {
                check_number("the event's data", expected, data)?;
            }
        }
        Ok(())
    }
}

/// Linux's numbers; with IN come RDNORM, with OUT WRNORM and WRBAND.
fn bits(ready: Ready) -> u32 {
    let mut bits = u32::from(ready.bits());
    if ready.contains(Ready::IN) {
        bits |= 0x40;
    }
    if ready.contains(Ready::OUT) {
        bits |= 0x300;
    }
    bits
}

fn check_events(what: &str, expected: &Expr, found: u32) -> Result<(), Refusal> {
    match number(expected)? {
        Some(wanted) if wanted as u32 != found => {
            Err(format!("{what}: expected {expected} ({wanted:#x}), actual {found:#x}"))
        }
        _ => Ok(()),
    }
}
