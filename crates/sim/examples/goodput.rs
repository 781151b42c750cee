//! Goodput of one flow over bad links, in virtual time: `cargo run --release -p sockeye-sim --example goodput`.

use sockeye_core::config::{Config, CongestionKind, Profile};
use sockeye_core::link::LinkSpec;
use sockeye_core::socket::{Domain, MsgFlags, Protocol, SocketType};
use sockeye_core::{Duration, Errno};
use sockeye_sim::world::World;

fn goodput(link: &str, kind: CongestionKind, seed: u64, secs: u64) -> f64 {
    let spec: LinkSpec = link.parse().unwrap_or_else(|e| panic!("{e}"));
    let mut config = Config::new(Profile::Linux);
    config.congestion = kind;
    let mut world = World::new(seed);
    let (a, b) = (world.add_host(config.clone()), world.add_host(config));
    world.join((a, "192.0.2.1".parse().unwrap(), 24), (b, "192.0.2.2".parse().unwrap(), 24), 1_500, &spec);
    let server = world.host(b, |s, now| {
        let id = s.socket(Domain::INET, SocketType::STREAM, Protocol::TCP).unwrap();
        s.bind(id, "192.0.2.2:80".parse().unwrap()).unwrap();
        s.listen(now, id, 8).unwrap();
        id
    });
    let client = world.host(a, |s, now| {
        let id = s.socket(Domain::INET, SocketType::STREAM, Protocol::TCP).unwrap();
        assert_eq!(s.connect(now, id, "192.0.2.2:80".parse().unwrap()), Err(Errno::EINPROGRESS));
        id
    });
    let data = vec![7u8; 1 << 20];
    let got = std::cell::Cell::new(0u64);
    let mut peer = None;
    let mut buf = vec![0u8; 1 << 20];
    let trace = std::env::var("TRACE").is_ok();
    let mut next_print = Duration::ZERO;
    let end = world.now() + Duration::from_secs(secs);
    world.run(
        end,
        &mut [
            Box::new(|w: &mut World| {
                w.host(a, |s, now| while s.send(now, client, &data, MsgFlags::DONTWAIT).is_ok() {})
            }),
            Box::new(|w: &mut World| {
                w.host(b, |s, now| {
                    if peer.is_none() {
                        peer = s.accept(now, server).ok().map(|(id, _)| id);
                    }
                    let Some(peer) = peer else { return };
                    while let Ok(n) = s.recv(now, peer, &mut buf, MsgFlags::DONTWAIT) {
                        if n == 0 {
                            break;
                        }
                        got.set(got.get() + n as u64);
                    }
                })
            }),
            Box::new(|w: &mut World| {
                if !trace {
                    return;
                }
                let t = w.now().since(sockeye_core::Instant::from_secs(1));
                if t >= next_print {
                    next_print = t + Duration::from_millis(250);
                    w.host(a, |s, now| {
                        if let Ok(i) = s.tcp_info(now, client) {
                            println!("{:6.2} cwnd {} ssthresh {} una {} lost {} retrans {} ca {} rtt {:?} rate {:.2} deliv {:.2} rto {:?} wnd {} notsent {} got {}", t.as_secs_f64(), i.snd_cwnd, i.snd_ssthresh, i.unacked, i.lost, i.total_retrans, i.ca_state, i.rtt, i.pacing_rate as f64 * 8e-6, i.delivery_rate as f64 * 8e-6, i.rto, i.snd_wnd, i.notsent_bytes, got.get());
                        }
                    })
                }
            }),
        ],
        |_| false,
    );
    got.get() as f64 * 8.0 / secs as f64 / 1e6
}

fn main() {
    let points = [
        "delay=25ms,rate=100mbit,queue=625kb",
        "delay=25ms,rate=100mbit,queue=625kb,up:loss=0.1%",
        "delay=25ms,rate=100mbit,queue=625kb,up:loss=1%",
        "delay=25ms,rate=100mbit,queue=625kb,up:loss=3%",
        "delay=25ms,rate=100mbit,queue=625kb,up:loss=1%,up:burst=4",
        "delay=25ms,rate=100mbit,queue=625kb,up:reorder=1%/5ms",
        "delay=100ms,rate=20mbit,queue=500kb,up:loss=1%",
        "delay=5ms,rate=500mbit,queue=625kb,up:loss=0.01%",
        "delay=5us,rate=10gbit,queue=1mb",
        "delay=500ms,rate=100mbit,queue=12mb",
        "delay=50ms,rate=1gbit,queue=12500kb",
    ];
    let only = std::env::args().nth(1);
    for link in points.into_iter().filter(|l| only.as_ref().is_none_or(|o| l.contains(o.as_str()))) {
        for kind in [CongestionKind::Cubic, CongestionKind::Reno, CongestionKind::Bbr] {
            if std::env::var("CC").is_ok_and(|cc| cc != kind.name()) {
                continue;
            }
            let secs = if link.contains("us,") { 1 } else { 30 };
            let started = std::time::Instant::now();
            let mut runs: Vec<f64> = (1..=3).map(|seed| goodput(link, kind, seed, secs)).collect();
            runs.sort_by(f64::total_cmp);
            println!(
                "{:7} {:8.2} ({:.2} to {:.2})  {link}  [{:.1}s]",
                kind.name(),
                runs[1],
                runs[0],
                runs[2],
                started.elapsed().as_secs_f64()
            );
        }
    }
}
