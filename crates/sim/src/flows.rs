//! Flows over a link in a [`World`]: what benches and scenarios measure.

use std::cell::RefCell;

use sockeye_core::config::{Config, CongestionKind, Profile};
use sockeye_core::link::LinkSpec;
use sockeye_core::socket::{Domain, MsgFlags, Protocol, SocketId, SocketType};
use sockeye_core::tcp::TcpInfo;
use sockeye_core::{Duration, Errno, Instant};

use crate::world::{HostId, LinkId, World};

/// Bytes of one segment on the wire besides its text: IP, TCP and timestamps.
pub const OVERHEAD: u64 = 52;

/// One flow: from the first host of a link to the second.
#[derive(Clone, Debug)]
pub struct FlowSpec {
    /// Its congestion control.
    pub kind: CongestionKind,
    /// When it connects, after the start.
    pub starts: Duration,
    /// How much it sends; `None` sends without end.
    pub bytes: Option<u64>,
    /// SO_MAX_PACING_RATE, bytes a second.
    pub max_pacing_rate: Option<u64>,
}

impl FlowSpec {
    /// A flow without end that starts at once.
    pub fn endless(kind: CongestionKind) -> FlowSpec {
        FlowSpec { kind, starts: Duration::ZERO, bytes: None, max_pacing_rate: None }
    }
}

/// What became of one flow.
#[derive(Clone, Debug, Default)]
pub struct FlowResult {
    /// Bytes that the program at the far end has read.
    pub received: u64,
    /// Of these, those since the warm-up was over.
    pub received_late: u64,
    /// From `connect` to the last byte, if all arrived.
    pub completed: Option<Duration>,
    /// TCP_INFO of the sender at the end.
    pub info: TcpInfo,
}

/// What became of a run.
#[derive(Clone, Debug, Default)]
pub struct RunResult {
    /// Each flow, in order.
    pub flows: Vec<FlowResult>,
    /// Time that bytes waited in the queue of the direction of the data, at each millisecond, seconds.
    pub queue_delays: Vec<f64>,
}

impl RunResult {
    /// Jain's index over what was received after the warm-up.
    pub fn jain(&self) -> f64 {
        jain(&self.flows.iter().map(|f| f.received_late as f64).collect::<Vec<_>>())
    }
}

/// A run: a link, flows, and how long.
#[derive(Clone, Debug)]
pub struct Run {
    /// The link, in the grammar of `sockeye_core::link`.
    pub link: LinkSpec,
    /// The flows.
    pub flows: Vec<FlowSpec>,
    /// The settings of both hosts.
    pub config: Config,
    /// Its end, from the start; earlier if all flows are complete.
    pub lasts: Duration,
    /// What [`FlowResult::received_late`] leaves out.
    pub warm_up: Duration,
    /// Of all chance.
    pub seed: u64,
}

struct Flow {
    spec: FlowSpec,
    socket: Option<SocketId>,
    connected_at: Instant,
    peer: Option<SocketId>,
    sent: u64,
    result: FlowResult,
    at_warm_up: u64,
}

impl Run {
    /// Of `flows` over `link` for `lasts`, under the `linux` profile.
    ///
    /// # Panics
    /// If `link` is not of the grammar.
    pub fn new(link: &str, flows: Vec<FlowSpec>, lasts: Duration, seed: u64) -> Run {
        let link = link.parse().unwrap_or_else(|e| panic!("{e}"));
        Run { link, flows, config: Config::new(Profile::Linux), lasts, warm_up: Duration::ZERO, seed }
    }

    /// Runs it.
    pub fn run(&self) -> RunResult {
        let mut world = World::new(self.seed);
        let (a, b) = (world.add_host(self.config.clone()), world.add_host(self.config.clone()));
        let at = |s: &str| s.parse().expect("a constant");
        let link = world.join((a, at("192.0.2.1"), 24), (b, at("192.0.2.2"), 24), 1_500, &self.link);
        let listeners: Vec<SocketId> =
            (0..self.flows.len()).map(|i| listen(&mut world, b, port(i))).collect();
        let start = world.now();
        let flow = |spec: &FlowSpec| Flow {
            spec: spec.clone(),
            socket: None,
            connected_at: start,
            peer: None,
            sent: 0,
            result: FlowResult::default(),
            at_warm_up: 0,
        };
        let flows = RefCell::new(self.flows.iter().map(flow).collect::<Vec<_>>());
        let delays = RefCell::new(Vec::new());
        let mut buffers = (vec![7u8; 1 << 18], vec![0u8; 1 << 18]);
        let mut step = |world: &mut World| {
            for (i, flow) in flows.borrow_mut().iter_mut().enumerate() {
                flow.send(world, a, start, i, &buffers.0);
                flow.receive(world, b, listeners[i], &mut buffers.1);
                if world.now().since(start) <= self.warm_up {
                    flow.at_warm_up = flow.result.received;
                }
            }
        };
        let mut next_look = start;
        let mut look = |world: &mut World| self.look(world, link, &mut next_look, &delays);
        let finished = |_: &mut World| flows.borrow().iter().all(|f| f.result.completed.is_some());
        // Time is cut so that flows start when they should and queues are looked at even where nothing happens.
        let mut starts: Vec<Instant> = self.flows.iter().map(|f| start + f.starts).collect();
        starts.push(start + self.lasts);
        starts.retain(|&at| at <= start + self.lasts);
        starts.sort();
        for end in starts {
            if world.run(end, &mut [Box::new(&mut step), Box::new(&mut look)], finished) {
                break;
            }
        }
        let mut result = RunResult { queue_delays: delays.into_inner(), ..RunResult::default() };
        for flow in flows.into_inner() {
            let mut r = flow.result;
            r.received_late = r.received - flow.at_warm_up;
            if let Some(id) = flow.socket {
                r.info = world.host(a, |s, now| s.tcp_info(now, id)).unwrap_or_default();
            }
            result.flows.push(r);
        }
        result
    }

    fn look(&self, world: &mut World, link: LinkId, next: &mut Instant, delays: &RefCell<Vec<f64>>) {
        let (Some(rate), now) = (self.link.up.rate, world.now()) else { return };
        if now < *next {
            return;
        }
        *next = now + Duration::from_millis(1);
        let queued = world.link(link).up.queued_bytes(now);
        delays.borrow_mut().push(queued as f64 * 8.0 / rate as f64);
    }
}

impl Flow {
    fn send(&mut self, world: &mut World, host: HostId, start: Instant, index: usize, data: &[u8]) {
        if world.now() < start + self.spec.starts {
            return;
        }
        let id = *self.socket.get_or_insert_with(|| {
            self.connected_at = world.now();
            connect(world, host, index, &self.spec)
        });
        let left =
            |sent: u64| self.spec.bytes.map_or(data.len() as u64, |all| all - sent).min(data.len() as u64);
        world.host(host, |stack, now| {
            while left(self.sent) > 0 {
                match stack.send(now, id, &data[..left(self.sent) as usize], MsgFlags::DONTWAIT) {
                    Ok(n) => self.sent += n as u64,
                    Err(_) => break,
                }
            }
        });
    }

    fn receive(&mut self, world: &mut World, host: HostId, listener: SocketId, buffer: &mut [u8]) {
        world.host(host, |stack, now| {
            if self.peer.is_none() {
                self.peer = stack.accept(now, listener).ok().map(|(id, _)| id);
            }
            let Some(peer) = self.peer else { return };
            while let Ok(n @ 1..) = stack.recv(now, peer, buffer, MsgFlags::DONTWAIT) {
                self.result.received += n as u64;
            }
            if self.result.completed.is_none()
                && self.spec.bytes.is_some_and(|all| self.result.received >= all)
            {
                self.result.completed = Some(now.since(self.connected_at));
            }
        });
    }
}

fn port(index: usize) -> u16 {
    80 + index as u16
}

fn listen(world: &mut World, host: HostId, port: u16) -> SocketId {
    world.host(host, |s, now| {
        let id = s.socket(Domain::INET, SocketType::STREAM, Protocol::TCP).expect("a socket");
        s.bind(id, ([192, 0, 2, 2], port).into()).expect("a free port");
        s.listen(now, id, 8).expect("bound");
        id
    })
}

fn connect(world: &mut World, host: HostId, index: usize, spec: &FlowSpec) -> SocketId {
    use sockeye_core::socket::options::SockOpt;
    world.host(host, |s, now| {
        let id = s.socket(Domain::INET, SocketType::STREAM, Protocol::TCP).expect("a socket");
        let kind = SockOpt::Congestion(spec.kind.name().into());
        s.setsockopt(now, id, &kind).expect("a known algorithm");
        if let Some(rate) = spec.max_pacing_rate {
            s.setsockopt(now, id, &SockOpt::MaxPacingRate(rate)).expect("any rate");
        }
        let to = ([192, 0, 2, 2], port(index)).into();
        assert_eq!(s.connect(now, id, to), Err(Errno::EINPROGRESS));
        id
    })
}

/// Jain's index of shares: 1 is even, 1/n is all to one.
pub fn jain(x: &[f64]) -> f64 {
    let (sum, squares) = (x.iter().sum::<f64>(), x.iter().map(|x| x * x).sum::<f64>());
    if squares == 0.0 { 1.0 } else { sum * sum / (x.len() as f64 * squares) }
}

/// The value below which the share `p` of `values` lies; 0 of none.
pub fn quantile(values: &[f64], p: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * p).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}
