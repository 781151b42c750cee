//! Scripts on the host's own TCP: each in a network namespace of its own, so that nothing else of the machine is
//! touched and every script meets the same fresh settings.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sockeye::core::Packet;
use sockeye::core::wire::gso;
use sockeye::core::wire::tcp::ChecksumMode;
use sockeye::device::{Device, Tun, TunOptions, Wait};
use sockeye::host_calls;
use sockeye_sim::script::Script;
use sockeye_sim::script::run::kernel::Link;
use sockeye_sim::script::run::{Options, Report, run_on_kernel};

use super::{ScriptArgs, Why, conclude};

/// Scripts that run at once: they mostly sleep.
const AT_ONCE: usize = 6;
/// The interface of each namespace.
const NAME: &str = "tun0";

/// Runs each script by this same command in a namespace of its own, several at once; prints what each printed.
pub fn each_in_its_namespace(args: &ScriptArgs, files: &[PathBuf]) -> ExitCode {
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let printing = Mutex::new(());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(files.len()) {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (passed, printed) = in_namespace(args, file);
                    failed.fetch_add(usize::from(!passed), Ordering::Relaxed);
                    let _one_at_a_time = printing.lock();
                    // Whoever reads may have gone away; the exit code is still of use.
                    let _ = io::stdout().write_all(&printed);
                }
            });
        }
    });
    conclude(args, failed.into_inner(), files.len())
}

fn in_namespace(args: &ScriptArgs, file: &Path) -> (bool, Vec<u8>) {
    let output = std::env::current_exe().and_then(|exe| {
        let mut command = Command::new("unshare");
        command.arg("--net").arg("--").arg(exe).args(["script", "--here", "--against", "kernel"]);
        command.arg(format!("--tolerance={}", args.tolerance));
        if let Some(profile) = args.profile {
            command.arg(format!("--profile={}", profile.name()));
        }
        for (name, value) in args.as_packetdrill.given() {
            command.arg(value.map_or(format!("--{name}"), |value| format!("--{name}={value}")));
        }
        let flags = [(args.trace, "--trace"), (args.json, "--json"), (args.strict, "--strict")];
        for (set, flag) in flags {
            if set {
                command.arg(flag);
            }
        }
        for (name, value) in &args.define {
            command.arg(format!("-D{name}={value}"));
        }
        command.arg("--").arg(file).stdin(Stdio::null()).output()
    });
    match output {
        Ok(output) if output.stdout.is_empty() => (false, output.stderr),
        Ok(output) => (output.status.success(), output.stdout),
        Err(error) => (false, format!("FAILED  {}\nunshare: {error}\n", file.display()).into_bytes()),
    }
}

/// Runs a script on the TCP of the namespace that this process is in.
pub fn run_here(script: &Script, options: &Options<'_>, tolerance: Duration) -> Result<Report, Why> {
    let config = script.config(&options.config).map_err(|error| {
        Why::Unreadable(format!(
            "{}:{}: found {}, expected {}",
            script.source.name, error.line, error.found, error.expected
        ))
    })?;
    let mut link = TunLink::open(config.local(), config.mtu, config.mss > 0).map_err(|what| {
        Why::Unreadable(format!(
            "{}: the interface cannot be made (are you root?): {what}",
            script.source.name
        ))
    })?;
    run_on_kernel(script, options, &mut link, tolerance).map_err(Why::Failed)
}

/// A TUN interface; its packets are TCP segments as they would be on a wire. The host is given super-segments only if a
/// script asks for them, and those that it sends then are cut.
struct TunLink {
    tun: Tun,
    waiting: VecDeque<Vec<u8>>,
}

impl TunLink {
    fn open(local: IpAddr, mtu: u32, super_segments: bool) -> Result<TunLink, String> {
        let mut options = TunOptions::new(NAME);
        options.offload = super_segments;
        if mtu != 0 {
            options.mtu = Some(u16::try_from(mtu).map_err(|_| format!("an MTU of {mtu}"))?);
        }
        let tun = Tun::open(&options).map_err(|error| error.to_string())?;
        let (address, family) = match local {
            IpAddr::V4(_) => (format!("{local}/16"), "-4"),
            IpAddr::V6(_) => (format!("{local}/64"), "-6"),
        };
        let mut add = vec![family, "address", "add", &address, "dev", NAME];
        if local.is_ipv6() {
            // Nobody answers duplicate address detection.
            add.push("nodad");
        }
        ip(&add)?;
        ip(&["link", "set", "lo", "up"])?;
        if local.is_ipv6() {
            // The kernel takes its time until an IPv6 address of a new link is in use.
            thread::sleep(Duration::from_millis(200));
        }
        ip(&[family, "route", "add", "default", "dev", NAME])?;
        for (name, value) in SETTINGS {
            let path = format!("/proc/sys/net/{name}");
            std::fs::write(&path, value).map_err(|error| format!("{path}: {error}"))?;
        }
        Ok(TunLink { tun, waiting: VecDeque::new() })
    }
}

/// What may be set otherwise on this host; the rest is as a new namespace has it.
const SETTINGS: [(&str, &str); 3] = [
    ("ipv4/tcp_ecn", "2"),
    ("ipv4/tcp_rmem", "4096 131072 33554432"),
    ("ipv4/tcp_wmem", "4096 16384 4194304"),
];

fn ip(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

impl TunLink {
    /// A super-segment whose `struct virtio_net_hdr` says nothing of the length of its headers: the host then lays it out
    /// in memory as it does any long packet, and its windows follow that.
    fn send_super(&self, packet: &[u8], gso_size: u16) -> io::Result<()> {
        const GSO_TCPV4: u8 = 1;
        const GSO_TCPV6: u8 = 4;
        let ipv6 = packet.first().is_some_and(|first| first >> 4 == 6);
        let mut bytes = vec![0; 10];
        bytes[1] = if ipv6 { GSO_TCPV6 } else { GSO_TCPV4 };
        bytes[4..6].copy_from_slice(&gso_size.to_ne_bytes());
        bytes.extend_from_slice(packet);
        File::from(self.tun.as_fd().try_clone_to_owned()?).write_all(&bytes)
    }
}

impl Link for TunLink {
    fn name(&self) -> &str {
        NAME
    }

    fn receive(&mut self, timeout: Duration) -> io::Result<Option<Vec<u8>>> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(packet) = self.waiting.pop_front() {
                return Ok(Some(packet));
            }
            let mut packets = Vec::new();
            self.tun.recv(&mut packets, 64)?;
            let segments =
                packets.into_iter().flat_map(|packet| gso::segment(packet, ChecksumMode::Complete));
            self.waiting.extend(segments.map(|segment| segment.to_vec()));
            if !self.waiting.is_empty() {
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.tun.wait(Wait { readable: true, writable: false }, Some(left))?;
        }
    }

    fn send(&mut self, packet: Vec<u8>, gso_size: u16) -> io::Result<()> {
        if gso_size != 0 {
            return self.send_super(&packet, gso_size);
        }
        let mut packets = VecDeque::from([Packet::from_bytes(packet.into())]);
        let report = self.tun.send(&mut packets)?;
        if report.sent == 1 {
            return Ok(());
        }
        Err(io::Error::other("the host does not take the packet"))
    }

    fn setsockopt(&self, fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
        host_calls::setsockopt(fd, level, name, value)
    }

    fn getsockopt(&self, fd: BorrowedFd<'_>, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
        host_calls::getsockopt(fd, level, name, value)
    }

    fn ioctl(&self, fd: BorrowedFd<'_>, request: u32) -> io::Result<i32> {
        host_calls::ioctl_int(fd, request)
    }

    fn recvmsg(
        &self,
        fd: BorrowedFd<'_>,
        text: &mut [u8],
        control: &mut [u8],
        flags: i32,
    ) -> io::Result<(usize, usize, i32)> {
        host_calls::recvmsg(fd, text, control, flags).map(|got| (got.len, got.control, got.flags))
    }
}
