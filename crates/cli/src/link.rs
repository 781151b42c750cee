//! The device, the stack on it, and who watches them.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::json;
use sockeye::Host;
use sockeye::core::Config;
use sockeye::core::link::{LinkCounters, LinkSpec};
use sockeye::device::{Capture, CaptureOptions, Device, Impaired, Tun, TunOptions};
use sockeye::view::{Ladder, LadderOptions, Side};

use crate::args::{AddressArg, DeviceArg, LinkArgs};
use crate::failure::{Code, Failure};
use crate::out::{Out, Stream};

/// Records that may wait for the ladder's thread; what comes beyond is lost and counted.
const TRACE_RECORDS: usize = 65_536;
/// How long the last segments may take over the bad link when the stack has ended.
const LAST_SEGMENTS: Duration = Duration::from_secs(5);

/// A stack on a device.
pub struct Link {
    host: Host,
    impaired: Option<Arc<Impaired<Tun>>>,
    capture: Option<Arc<Capture>>,
    tracer: Option<thread::JoinHandle<()>>,
    about: String,
}

impl Link {
    /// Opens the device and puts a stack on it; `adjust` has the last word on its settings.
    pub fn open(args: &LinkArgs, adjust: impl FnOnce(&mut Config)) -> Result<Link, Failure> {
        let DeviceArg::Tun(name) = &args.device;
        let kernel = kernel_addresses(args, name);
        let options = TunOptions {
            host_addresses: kernel.iter().map(|a| (a.address, a.prefix)).collect(),
            mtu: args.mtu,
            up: !args.unconfigured,
            ..TunOptions::new(name)
        };
        let tun = Tun::open(&options).map_err(|error| cannot_open(name, &error))?;
        let mtu = tun.capabilities().mtu;
        let mut config = Config::new(args.profile.into());
        config.name = name.clone();
        adjust(&mut config);
        let mut builder = Host::builder().config(config);
        let mut impaired = None;
        builder = match &args.impair {
            Some(spec) => {
                let device = Arc::new(Impaired::new(tun, spec));
                impaired = Some(device.clone());
                builder.device(device)
            }
            None => builder.device(tun),
        };
        for address in &args.address {
            builder = builder.address(address.address, address.prefix);
        }
        for &gateway in &args.gateway {
            builder = builder.gateway(gateway);
        }
        let mut capture = None;
        if let Some(path) = &args.pcap {
            let cannot = |error| Failure::io(format_args!("cannot write {}", path.display()), &error);
            let file = Capture::create(path, CaptureOptions::default()).map_err(cannot)?;
            builder = builder.capture(file.clone()).map_err(cannot)?;
            capture = Some(file);
        }
        let host = builder.build().map_err(|error| Failure::io("cannot start the stack", &error))?;
        let tracer = args.trace.then(|| trace(&host));
        let list = |addresses: &[AddressArg]| {
            addresses.iter().map(|a| a.address.to_string()).collect::<Vec<_>>().join(" and ")
        };
        let mut about = format!("{name}: MTU {mtu}, our address {}", list(&args.address));
        if !kernel.is_empty() {
            about += &format!(", the kernel's {}", list(&kernel));
        }
        if let Some(spec) = &args.impair {
            about += &format!(", behind a link with {}", in_words(spec));
        }
        Ok(Link { host, impaired, capture, tracer, about })
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Says what stands on the device.
    pub fn describe(&self, out: &Out) {
        out.event(&self.about, || json!({"event": "device", "about": self.about}));
    }

    /// Lets connections that were closed come to their end, at most for `grace`, then ends the stack and says what was left.
    ///
    /// TIME-WAIT ends with the process: its kernel's side has forgotten the connection by then or waits for itself.
    pub fn finish(self, grace: Duration, out: &Out) {
        let report = self.host.shutdown(grace);
        if let Some(impaired) = &self.impaired {
            // A device that has failed is told of below.
            drop(impaired.drain(LAST_SEGMENTS));
            tell_link(impaired.counters(), out);
        }
        if let Some(tracer) = self.tracer {
            // A thread that panicked has said so.
            drop(tracer.join());
        }
        if report.aborted > 0 {
            out.say(&format!("{} connections had not ended in order and were reset", report.aborted));
        }
        let stats = self.host.stats();
        let counters: serde_json::Map<String, serde_json::Value> =
            stats.rows().filter(|(_, n)| *n > 0).map(|(name, n)| (name.to_owned(), n.into())).collect();
        out.record(&json!({"event": "stats", "aborted": report.aborted, "time_wait": report.time_wait,
            "counters": counters}));
        for device in self.host.devices() {
            if let Some(error) = device.error {
                out.event(
                    &format!("{} failed: {error}", device.name),
                    || json!({"event": "device failed", "name": device.name, "error": error.to_string()}),
                );
            }
        }
        if let Some(capture) = self.capture {
            let (_, skipped) = capture.counts();
            if let Err(error) = capture.flush() {
                out.event(
                    &format!("the capture is not complete: {error}"),
                    || json!({"event": "capture failed", "error": error.to_string()}),
                );
            } else if skipped > 0 {
                out.say(&format!("{skipped} packets did not fit into the capture"));
            }
        }
    }
}

/// What stands out of each direction.
fn in_words(spec: &LinkSpec) -> String {
    let one = |name: &str, d: &sockeye::core::link::DirectionSpec| {
        let mut parts = vec![format!("{name} {:.1?}", d.delay)];
        parts.extend(d.rate.map(|rate| format!("{} Mbit/s", rate as f64 / 1e6)));
        parts.extend((d.loss > 0.0).then(|| format!("{} % loss", d.loss * 100.0)));
        parts.join(", ")
    };
    format!("{}; {}; seed {}", one("up", &spec.up), one("down", &spec.down), spec.seed)
}

/// What the bad link did.
fn tell_link((up, down): (LinkCounters, LinkCounters), out: &Out) {
    let line = |name: &str, c: &LinkCounters| {
        let shown = c.rows().into_iter().filter(|(row, n)| *n > 0 && *row != "delivered_bytes");
        let list: Vec<String> = shown.map(|(row, n)| format!("{n} {}", row.replace('_', " "))).collect();
        format!("{name} {}", if list.is_empty() { "nothing".to_owned() } else { list.join(", ") })
    };
    let object = |c: &LinkCounters| {
        let rows = c.rows().into_iter().map(|(name, n)| (name.to_owned(), n.into()));
        serde_json::Value::Object(rows.collect())
    };
    out.event(
        &format!("the link, in segments: {}; {}", line("up", &up), line("down", &down)),
        || json!({"event": "link", "up": object(&up), "down": object(&down)}),
    );
}

pub fn cannot_open(name: &str, error: &io::Error) -> Failure {
    let failure = Failure::new(Code::Device, format!("cannot open tun:{name}: {error}"));
    match error.kind() {
        io::ErrorKind::PermissionDenied => failure.hint(format!(
            "run it as root, or give it the right: sudo setcap cap_net_admin+ep $(command -v sockeye)\n\
             or have the interface made for you: sudo ip tuntap add dev {name} mode tun user $USER"
        )),
        _ => failure,
    }
}

/// Draws the ladder on standard error until the stack ends.
pub fn trace(host: &Host) -> thread::JoinHandle<()> {
    let records = host.records(TRACE_RECORDS);
    let out = Out::new(Stream::Stderr, false);
    let options =
        LadderOptions { both_ends: false, color: out.has_colour(), ports: true, ..LadderOptions::default() };
    let mut ladder = Ladder::new(options);
    thread::spawn(move || {
        while let Some(record) = records.next(None) {
            if let Some(line) = ladder.line(Side::Left, &record) {
                out.say(&line);
            }
        }
        if records.lost() > 0 {
            out.say(&format!("{} records came too fast to be drawn", records.lost()));
        }
    })
}

/// What the kernel's end of the device gets: what was asked for; else [`kernel_side`].
fn kernel_addresses(args: &LinkArgs, name: &str) -> Vec<AddressArg> {
    if args.unconfigured || !args.peer_address.is_empty() {
        return args.peer_address.clone();
    }
    kernel_side(&args.address, name)
}

/// The first free address of each of our networks, if the device `name` is ours to make.
pub fn kernel_side(addresses: &[AddressArg], name: &str) -> Vec<AddressArg> {
    if Path::new("/sys/class/net").join(name).exists() {
        return Vec::new();
    }
    let ours: Vec<IpAddr> = addresses.iter().map(|a| a.address).collect();
    let mut chosen: Vec<AddressArg> = Vec::new();
    for arg in addresses {
        let known = chosen.iter().any(|c| c.prefix == arg.prefix && network(*c) == network(*arg));
        if let (false, Some(address)) = (known, first_free(*arg, &ours)) {
            chosen.push(AddressArg { address, prefix: arg.prefix });
        }
    }
    chosen
}

/// The number of an address, and of the bits of its family.
fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u32::from(v4).into(), 32),
        IpAddr::V6(v6) => (v6.into(), 128),
    }
}

/// The first number of the network, and how many addresses it has beside that one.
fn network(arg: AddressArg) -> (u128, u128) {
    let (number, bits) = number(arg.address);
    let rest = u128::MAX.checked_shl(bits - u32::from(arg.prefix)).map_or(u128::MAX, |mask| !mask);
    (number & !rest, rest)
}

/// The first address of a network that a host may have and that is none of `taken`.
fn first_free(arg: AddressArg, taken: &[IpAddr]) -> Option<IpAddr> {
    let (first, rest) = network(arg);
    let is_v4 = arg.address.is_ipv4();
    // The network's own number and IPv4's broadcast are no hosts', but in a network of two (RFC 3021, RFC 6164).
    let (from, to) = match (rest, is_v4) {
        (0, _) => return None,
        (1, _) => (0, 1),
        (_, true) => (1, rest - 1),
        (_, false) => (1, rest),
    };
    // Among one more than are taken, one is free.
    let tries = to.min(from + taken.len() as u128);
    (from..=tries).map(|offset| address(first + offset, is_v4)).find(|address| !taken.contains(address))
}

fn address(number: u128, is_v4: bool) -> IpAddr {
    // An IPv4 address is made of 32 bits of its network's number.
    if is_v4 { IpAddr::V4((number as u32).into()) } else { IpAddr::V6(number.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_address_is_the_first_free_one() {
        let free = |ours: &str| {
            let arg: AddressArg = ours.parse().expect("an address");
            first_free(arg, &[arg.address]).map(|address| address.to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(free("192.0.2.2/24"), some("192.0.2.1"));
        assert_eq!(free("192.0.2.1/24"), some("192.0.2.2"));
        assert_eq!(free("192.0.2.6/30"), some("192.0.2.5"));
        assert_eq!(free("192.0.2.5/31"), some("192.0.2.4"));
        assert_eq!(free("192.0.2.5/32"), None);
        assert_eq!(free("2001:db8::2/64"), some("2001:db8::1"));
        assert_eq!(free("2001:db8::1/127"), some("2001:db8::"));
        assert_eq!(free("10.0.0.1/0"), some("0.0.0.1"));
    }
}
