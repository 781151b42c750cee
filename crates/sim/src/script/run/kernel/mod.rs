//! Running a script on the host's own TCP: the same language in real time, through a network interface that the
//! caller brings ([`Link`]). It shows whether a script is right.
//!
//! The calls are made without waiting and asked again until they are done, as our own stack's are. What is not
//! here is refused by name.

mod calls;
mod diag;
mod files;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

pub(super) use calls::{KernelCall, Sockets};
pub(super) use diag::HostInfo;

use crate::script::shell::{Counters, Setting};

/// A network interface of the host whose other side is ours: what the host's TCP sends comes out here.
pub trait Link {
    /// Its name.
    fn name(&self) -> &str;
    /// The next packet that the host sends; none if none comes within `timeout`.
    fn receive(&mut self, timeout: Duration) -> io::Result<Option<Vec<u8>>>;
    /// Gives the host a packet: a super-segment of segments of `gso_size` bytes of text unless that is 0.
    fn send(&mut self, packet: Vec<u8>, gso_size: u16) -> io::Result<()>;
    /// `setsockopt` with a value of any layout.
    fn setsockopt(&self, fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()>;
    /// `getsockopt`; how many bytes the option has.
    fn getsockopt(&self, fd: BorrowedFd<'_>, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize>;
    /// An `ioctl` that tells one int.
    fn ioctl(&self, fd: BorrowedFd<'_>, request: u32) -> io::Result<i32>;
    /// `recvmsg`: bytes of text, bytes of control data, flags.
    fn recvmsg(
        &self,
        fd: BorrowedFd<'_>,
        text: &mut [u8],
        control: &mut [u8],
        flags: i32,
    ) -> io::Result<(usize, usize, i32)>;
}

/// The host's own TCP as a run's other party.
pub(super) struct Kernel<'a> {
    link: &'a mut dyn Link,
    start: Instant,
    /// The wall clock at that time, since its epoch.
    pub wall: Duration,
    /// Files that commands made, by the script's path: where they are.
    pub files: BTreeMap<String, String>,
    pub sockets: Sockets,
    /// The congestion control of the sockets that the script makes: a namespace does not take every one as its
    /// default.
    pub congestion: String,
    /// What `nstat` has told.
    counters: Counters,
    /// Text that was sent without being copied: the host may read it until the end.
    pub pinned: Vec<Vec<u8>>,
}

impl<'a> Kernel<'a> {
    pub fn new(link: &'a mut dyn Link) -> Kernel<'a> {
        Kernel {
            link,
            start: Instant::now(),
            wall: Duration::ZERO,
            files: BTreeMap::new(),
            sockets: Sockets::default(),
            congestion: "cubic".to_owned(),
            counters: Counters::default(),
            pinned: Vec::new(),
        }
    }

    /// The script's time starts now.
    pub fn restart(&mut self) {
        self.start = Instant::now();
        self.wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    }

    /// Since the script's start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The next TCP segment that comes until then.
    pub fn receive(&mut self, until: Duration) -> io::Result<Option<Vec<u8>>> {
        loop {
            match self.link.receive(until.saturating_sub(self.elapsed()))? {
                Some(packet) if is_tcp(&packet) => return Ok(Some(packet)),
                // The host's own talk on a new link: router solicitations, multicast reports.
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// Hands a packet to the host: a super-segment of segments of `gso_size` bytes of text unless that is 0.
    pub fn send(&mut self, packet: Vec<u8>, gso_size: u16) -> io::Result<()> {
        self.link.send(packet, gso_size)
    }

    /// Does what one setting says; the reason if it cannot be done.
    pub fn apply(&mut self, setting: &Setting) -> Result<(), String> {
        match setting {
            Setting::Sysctl { name, value } if name == "net.ipv4.tcp_congestion_control" => {
                self.congestion.clone_from(value);
                Ok(())
            }
            // Its mechanism went with Linux 4.15, its name later.
            Setting::Sysctl { name, .. } if name == "net.ipv4.tcp_fack" => Ok(()),
            Setting::Sysctl { name, value } => {
                let path = format!("/proc/sys/{}", name.replace('.', "/"));
                std::fs::write(&path, value).map_err(|error| format!("{path}: {error}"))
            }
            Setting::Mtu(mtu) => self.ip(&["link", "set", "dev", self.link.name(), "mtu", &mtu.to_string()]),
            Setting::FlushMetrics | Setting::RestoreSysctls => Ok(()),
            Setting::Nstat(nstat) => {
                let rows = ["/proc/net/snmp", "/proc/net/netstat"].map(|path| {
                    std::fs::read_to_string(path)
                        .map(|text| rows(&text))
                        .map_err(|error| format!("{path}: {error}"))
                });
                let [snmp, netstat] = rows;
                self.counters.call(nstat, &[snmp?, netstat?].concat())
            }
            Setting::Sleep(_) | Setting::Script { .. } | Setting::Queue(_) | Setting::Module(_) => Ok(()),
            Setting::MakeFile { path, len } => self.make_file(path, *len),
            Setting::RemoveFile(path) => {
                self.files.remove(path);
                Ok(())
            }
            Setting::Route(words) => {
                let words: Vec<&str> =
                    std::iter::once("route").chain(words.iter().map(String::as_str)).collect();
                self.ip(&words)
            }
            other => Err(format!("{other:?} is not done to the host")),
        }
    }

    /// A file of zeros, which goes with this process's folder for temporary ones.
    fn make_file(&mut self, path: &str, len: u64) -> Result<(), String> {
        let real = std::env::temp_dir().join(format!("sockeye-{}-{}", std::process::id(), self.files.len()));
        let made = std::fs::File::create(&real).and_then(|file| file.set_len(len));
        made.map_err(|error| format!("{}: {error}", real.display()))?;
        self.files.insert(path.to_owned(), real.display().to_string());
        Ok(())
    }

    fn ip(&self, words: &[&str]) -> Result<(), String> {
        let output = Command::new("ip").args(words).output().map_err(|error| format!("ip: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// The counters of a table of `/proc/net`: a line of names, then one of values, each after the table's name.
fn rows(text: &str) -> Vec<(String, u64)> {
    let lines: Vec<&str> = text.lines().collect();
    let pair = |pair: &[&str]| -> Vec<(String, u64)> {
        let [names, values] = pair else { return Vec::new() };
        let (Some((table, names)), Some((_, values))) = (names.split_once(": "), values.split_once(": "))
        else {
            return Vec::new();
        };
        let values = values.split(' ').map(|value| value.parse().unwrap_or(0));
        names.split(' ').map(|name| format!("{table}{name}")).zip(values).collect()
    };
    lines.chunks(2).flat_map(pair).collect()
}

fn is_tcp(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(9) == Some(&super::TCP),
        Some(6) => packet.get(6) == Some(&super::TCP),
        _ => false,
    }
}

impl Drop for Kernel<'_> {
    fn drop(&mut self) {
        for file in self.files.values() {
            // What cannot be removed is left to whoever cleans that folder.
            let _ = std::fs::remove_file(file);
        }
    }
}
