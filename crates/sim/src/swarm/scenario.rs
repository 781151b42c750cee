//! A scenario: a world, what its hosts are like, and what their programs do; drawn from a seed, written on one
//! line, read from it.
//!
//! ```text
//! seed=7 net=dumbbell:2 mtu=1500/1400 link=delay=10ms,loss=1% a=linux,-sack b=rfc,gso flow=echo:0>1:300:20:4:nodelay@12
//! ```
//! | key | what |
//! |---|---|
//! | `seed` | of all chance |
//! | `net` | `pair`, `star:HOSTS`, `dumbbell:EACH`, `chain:ROUTERS`, then `:6` for IPv6 |
//! | `mtu` | of all links, and of the impaired one where a router stands before it |
//! | `mark` | from how many queued bytes on routers mark CE; left out: never |
//! | `link` | the impaired link, in the grammar of `--link` |
//! | `a`, `b` | the hosts of either side: a profile, then settings |
//! | `flow` | `KIND:CLIENT>SERVER:UP:DOWN:TIMES:OPTIONS@START`: bytes, bytes, how often, socket options, milliseconds |
//! | `event` | `reboot:SERVER@MS` or `silence:SERVER:MS@MS` |

use sockeye_core::config::{Config, CongestionKind, Ecn, FastOpenBits, Profile, SynCookies};
use sockeye_core::link::{DirectionSpec, LinkSpec, Queue};
use sockeye_core::rng::Rng;
use sockeye_core::socket::SockOpt;

use crate::topology::Shape;

/// What a program pair does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Both sides send all they have, shut down, and read to the end.
    Bulk,
    /// The client sends and shuts down; only then the server sends.
    Half,
    /// A message there, a message back, so many times.
    Echo,
    /// The server closes first.
    First,
    /// As bulk, but the server reads little at a time and sleeps in between.
    Slow,
    /// As bulk, with urgent bytes in the stream.
    Urgent,
    /// The client closes with SO_LINGER of no time.
    Linger,
    /// The client closes with SO_LINGER and waits for it.
    Wait,
    /// The server aborts in the middle.
    Abort,
    /// The server closes without reading.
    Unread,
    /// Many short connections, one after another.
    Short,
    /// Many short connections at once.
    Burst,
    /// Nobody listens.
    Refused,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 13] = [
        Kind::Bulk,
        Kind::Half,
        Kind::Echo,
        Kind::First,
        Kind::Slow,
        Kind::Urgent,
        Kind::Linger,
        Kind::Wait,
        Kind::Abort,
        Kind::Unread,
        Kind::Short,
        Kind::Burst,
        Kind::Refused,
    ];

    /// Its name on the line.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Bulk => "bulk",
            Kind::Half => "half",
            Kind::Echo => "echo",
            Kind::First => "first",
            Kind::Slow => "slow",
            Kind::Urgent => "urgent",
            Kind::Linger => "linger",
            Kind::Wait => "wait",
            Kind::Abort => "abort",
            Kind::Unread => "unread",
            Kind::Short => "short",
            Kind::Burst => "burst",
            Kind::Refused => "refused",
        }
    }

    /// Whether a connection of it ends by a RST as planned.
    pub const fn is_abortive(self) -> bool {
        matches!(self, Kind::Linger | Kind::Abort | Kind::Unread)
    }
}

/// One pair of programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flow {
    /// What they do.
    pub kind: Kind,
    /// The client's number on the left side.
    pub client: usize,
    /// The server's number on the right side.
    pub server: usize,
    /// Bytes from client to server.
    pub up: u32,
    /// Bytes back.
    pub down: u32,
    /// Connections, or messages.
    pub times: u32,
    /// When the client starts, milliseconds.
    pub start: u32,
    /// Options of both sockets, by name.
    pub options: Vec<String>,
}

/// Something that happens to a server's host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mishap {
    /// The server's number on the right side.
    pub server: usize,
    /// When, milliseconds.
    pub at: u32,
    /// For how long it is silent, milliseconds; `None`: it is started anew.
    pub silent: Option<u32>,
}

/// See the module.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    /// Of all chance.
    pub seed: u64,
    /// The layout.
    pub shape: Shape,
    /// IPv6.
    pub ipv6: bool,
    /// The longest packet of all links, and of the impaired one.
    pub mtu: (u16, u16),
    /// From how many queued bytes on routers mark.
    pub mark: Option<u64>,
    /// The impaired link's parts.
    pub link: Vec<String>,
    /// Profile and settings of either side.
    pub hosts: [Vec<String>; 2],
    /// The programs.
    pub flows: Vec<Flow>,
    /// What happens to hosts.
    pub mishaps: Vec<Mishap>,
}

impl Scenario {
    /// Draws a scenario.
    pub fn draw(seed: u64) -> Scenario {
        let mut key = [0x11; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = &mut Rng::new(key);
        let shape = match rng.below(8) {
            0..=3 => Shape::Pair,
            4 => Shape::Star(2 + rng.below(4) as usize),
            5 | 6 => Shape::Dumbbell(1 + rng.below(3) as usize),
            _ => Shape::Chain(1 + rng.below(4) as usize),
        };
        let (clients, servers) = sides(shape);
        let mtu = pick(rng, &[1_500, 1_500, 1_500, 1_280, 9_000]);
        let narrow = if rng.below(4) == 0 { pick(rng, &[1_280, 1_400, 1_492]).min(mtu) } else { mtu };
        let flows = (0..1 + rng.below(4) * rng.below(2)).map(|_| draw_flow(rng, clients, servers)).collect();
        let mishap = Mishap {
            server: rng.below(servers as u32) as usize,
            at: rng.below(3_000),
            silent: (rng.below(2) == 0).then(|| 1 + rng.below(20_000)),
        };
        Scenario {
            seed,
            shape,
            ipv6: rng.below(4) == 0,
            mtu: (mtu, narrow),
            mark: (rng.below(4) == 0).then_some(10_000),
            link: draw_link(rng),
            hosts: [draw_host(rng), draw_host(rng)],
            flows,
            mishaps: if rng.below(16) == 0 { vec![mishap] } else { Vec::new() },
        }
    }

    /// The impaired link.
    ///
    /// # Errors
    /// What is wrong with its text.
    pub fn link_spec(&self) -> Result<LinkSpec, String> {
        if self.link.is_empty() {
            return Ok(LinkSpec::default());
        }
        self.link.join(",").parse().map_err(|error| format!("{error}"))
    }

    /// The settings of a side: 0 are the clients, 1 the servers.
    ///
    /// # Errors
    /// A word that means nothing.
    pub fn config(&self, side: usize) -> Result<Config, String> {
        let mut words = self.hosts[side].iter();
        let profile = words.next().and_then(|name| Profile::from_name(name));
        let mut config = Config::new(profile.ok_or("a host begins with a profile: linux, freebsd, rfc")?);
        words.try_for_each(|word| set(&mut config, word))?;
        Ok(config)
    }

    /// Whether a side's links take super-segments and checksums.
    pub fn has_offload(&self, side: usize) -> bool {
        self.hosts[side].iter().any(|word| word == "gso")
    }

    /// Whether nothing in it can make a connection that is used rightly give up: what is lost is little and by
    /// chance, and nobody falls silent.
    pub fn is_gentle(&self) -> bool {
        let Ok(link) = self.link_spec() else { return false };
        let mild = |d: &DirectionSpec| {
            // Many who start at once and meet a queue of a few packets meet it at each retry again.
            let narrow = d.rate.is_some() && matches!(d.queue, Some(Queue::Packets(..50)));
            d.loss <= 0.03 && d.corrupt <= 0.02 && d.bursts.is_none() && d.outage.is_none() && !narrow
        };
        // A server that keeps nothing but cookies is out of step if the last ACK of a handshake is lost, late, or
        // comes twice, and data on a SYN may be delivered twice: that is their price.
        let orderly = |d: &DirectionSpec| {
            d.loss == 0.0 && d.corrupt == 0.0 && d.duplicate == 0.0 && d.reorder.is_none() && d.rate.is_none()
        };
        let keeps_state = !self.hosts[1].iter().any(|word| word == "cookies" || word == "tfo");
        let in_step = keeps_state || orderly(&link.up);
        self.mishaps.is_empty() && mild(&link.up) && mild(&link.down) && in_step
    }

    /// Whether every segment arrives.
    pub fn is_lossless(&self) -> bool {
        let Ok(link) = self.link_spec() else { return false };
        let whole = |d: &DirectionSpec| d.loss == 0.0 && d.corrupt == 0.0 && d.rate.is_none();
        self.is_gentle() && whole(&link.up) && whole(&link.down)
    }
}

/// How many hosts a shape has on either side.
pub fn sides(shape: Shape) -> (usize, usize) {
    match shape {
        Shape::Pair | Shape::Chain(_) => (1, 1),
        Shape::Star(hosts) => (hosts.max(2) - 1, 1),
        Shape::Dumbbell(each) => (each.max(1), each.max(1)),
    }
}

/// The options of a flow as calls: 0 of the client's sockets, 1 of the listener.
pub fn options(words: &[String], side: usize) -> Result<Vec<SockOpt>, String> {
    let one = |word: &String| {
        let (name, value) = word.split_once('=').unwrap_or((word, "1"));
        let value: i32 = value.parse().map_err(|_| format!("not a number in `{word}`"))?;
        Ok(match name {
            "nodelay" => SockOpt::NoDelay(true),
            "cork" => SockOpt::Cork(true),
            "quickack" => SockOpt::QuickAck(true),
            "reno" | "bbr" => SockOpt::Congestion(name.into()),
            "tfo" if side == 0 => SockOpt::FastOpenConnect(true),
            "tfo" => SockOpt::FastOpen(16),
            "sndbuf" => SockOpt::SndBuf(value),
            "rcvbuf" => SockOpt::RcvBuf(value),
            "maxseg" => SockOpt::MaxSeg(value),
            "lowat" => SockOpt::NotSentLowat(value as u32),
            "keepalive" => SockOpt::KeepAlive(true),
            _ => return Err(format!("no socket option `{name}`")),
        })
    };
    words.iter().map(one).collect()
}

fn set(config: &mut Config, word: &str) -> Result<(), String> {
    match word {
        "-ts" => config.timestamps = false,
        "-sack" => config.sack = false,
        "-dsack" => config.dsack = false,
        "-ws" => config.window_scaling = false,
        "-rack" => config.rack = false,
        "-tlp" => config.tlp = false,
        "-frto" => config.frto = false,
        "ecn" => config.ecn = Ecn::Request,
        "cookies" => config.syncookies = SynCookies::Always,
        "reno" => config.congestion = CongestionKind::Reno,
        "bbr" => config.congestion = CongestionKind::Bbr,
        "pacing" => config.pacing = true,
        "tfo" => config.fastopen = FastOpenBits::CLIENT | FastOpenBits::SERVER,
        "smallbuf" => (config.rmem, config.wmem) = ([2_048, 8_192, 65_536], [2_048, 8_192, 65_536]),
        "fewports" => config.local_port_range = 50_000..=50_063,
        "gso" => {}
        _ => return Err(format!("no setting `{word}`")),
    }
    Ok(())
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.below(from.len() as u32) as usize]
}

/// A number of up to about `2^bits`, small ones as likely as great ones.
fn about(rng: &mut Rng, bits: u32) -> u32 {
    let top = rng.below(bits + 1);
    rng.u32() & ((1 << top) - 1)
}

fn draw_link(rng: &mut Rng) -> Vec<String> {
    let delays = ["delay=10us", "delay=500us", "delay=5ms", "delay=40ms", "delay=300ms"];
    let mut parts = vec![pick(rng, &delays).to_string()];
    let mut maybe = |odds: u32, from: &[&'static str]| {
        if rng.below(odds) == 0 {
            let direction = pick(rng, &["", "", "up:", "down:"]);
            parts.push(format!("{direction}{}", pick(rng, from)));
        }
    };
    maybe(3, &["jitter=1ms", "jitter=20ms"]);
    maybe(2, &["rate=200kbit", "rate=2mbit", "rate=20mbit", "rate=1gbit"]);
    maybe(4, &["queue=5p", "queue=20kb", "queue=200kb"]);
    maybe(2, &["loss=0.1%", "loss=1%", "loss=3%", "loss=10%", "loss=20%"]);
    maybe(8, &["burst=2", "burst=4"]);
    maybe(4, &["reorder=1%/1ms", "reorder=10%/5ms", "reorder=30%/200us"]);
    maybe(5, &["duplicate=1%", "duplicate=10%"]);
    maybe(6, &["corrupt=0.5%", "corrupt=2%"]);
    maybe(12, &["outage=100ms+2s", "outage=1s+15s", "outage=200ms+500ms/3s"]);
    parts
}

fn draw_host(rng: &mut Rng) -> Vec<String> {
    let mut words = vec![pick(rng, &["linux", "linux", "freebsd", "rfc"]).to_string()];
    let settings = [
        ("-ts", 4),
        ("-sack", 5),
        ("-dsack", 8),
        ("-ws", 6),
        ("-rack", 8),
        ("-tlp", 8),
        ("-frto", 8),
        ("ecn", 3),
        ("cookies", 8),
        ("reno", 5),
        ("bbr", 5),
        ("pacing", 8),
        ("tfo", 3),
        ("smallbuf", 10),
        ("fewports", 10),
        ("gso", 2),
    ];
    for (word, odds) in settings {
        if rng.below(odds) == 0 {
            words.push(word.to_string());
        }
    }
    words
}

fn draw_flow(rng: &mut Rng, clients: usize, servers: usize) -> Flow {
    let words = [
        "nodelay",
        "cork",
        "quickack",
        "reno",
        "bbr",
        "tfo",
        "sndbuf=2048",
        "sndbuf=30000",
        "rcvbuf=1200",
        "rcvbuf=20000",
        "maxseg=200",
        "maxseg=700",
        "lowat=4000",
        "keepalive",
    ];
    let kind = pick(rng, &Kind::ALL);
    let (bits, times) = match kind {
        Kind::Echo => (12, 1 + rng.below(30)),
        Kind::Short | Kind::Burst => (13, 1 + rng.below(40)),
        _ => (19, 1),
    };
    let mut options: Vec<String> = Vec::new();
    while rng.below(2) == 0 {
        let word = pick(rng, &words);
        let name = word.split('=').next().unwrap_or_default();
        if !options.iter().any(|other| other.starts_with(name)) {
            options.push(word.to_string());
        }
    }
    let up = about(rng, bits);
    // Fast Open is for clients that speak first.
    let speaks_first = matches!(kind, Kind::Echo | Kind::First | Kind::Half | Kind::Short | Kind::Burst);
    options.retain(|word| word != "tfo" || (speaks_first && up > 0));
    Flow {
        kind,
        client: rng.below(clients as u32) as usize,
        server: rng.below(servers as u32) as usize,
        up,
        down: about(rng, bits),
        times,
        start: about(rng, 11),
        options,
    }
}
