//! Running a script on the host's own TCP: the same language in real time, through a network interface that the
//! caller brings ([`Link`]). It shows whether a script is right.
//!
//! The calls are made without waiting and asked again until they are done, as our own stack's are. What is not
//! here (epoll, message headers, files) is refused by name.

mod calls;
mod diag;
mod options;

use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

pub(super) use calls::{KernelCall, Sockets};
pub(super) use diag::HostInfo;

use crate::script::shell::Setting;

/// A network interface of the host whose other side is ours: what the host's TCP sends comes out here.
pub trait Link {
    /// Its name.
    fn name(&self) -> &str;
    /// The next packet that the host sends; none if none comes within `timeout`.
    fn receive(&mut self, timeout: Duration) -> io::Result<Option<Vec<u8>>>;
    /// Gives the host a packet.
    fn send(&mut self, packet: Vec<u8>) -> io::Result<()>;
}

/// The host's own TCP as a run's other party.
pub(super) struct Kernel<'a> {
    link: &'a mut dyn Link,
    start: Instant,
    pub sockets: Sockets,
    /// The congestion control of the sockets that the script makes: a namespace does not take every one as its
    /// default.
    pub congestion: String,
}

impl<'a> Kernel<'a> {
    pub fn new(link: &'a mut dyn Link) -> Kernel<'a> {
        Kernel { link, start: Instant::now(), sockets: Sockets::default(), congestion: "cubic".to_owned() }
    }

    /// The script's time starts now.
    pub fn restart(&mut self) {
        self.start = Instant::now();
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

    pub fn send(&mut self, packet: Vec<u8>) -> io::Result<()> {
        self.link.send(packet)
    }

    /// Does what one setting says; the reason if it cannot be done.
    pub fn apply(&mut self, setting: &Setting) -> Result<(), String> {
        match setting {
            Setting::Sysctl { name, value } if name == "net.ipv4.tcp_congestion_control" => {
                self.congestion.clone_from(value);
                Ok(())
            }
            Setting::Sysctl { name, value } => {
                let path = format!("/proc/sys/{}", name.replace('.', "/"));
                std::fs::write(&path, value).map_err(|error| format!("{path}: {error}"))
            }
            Setting::Mtu(mtu) => self.ip(&["link", "set", "dev", self.link.name(), "mtu", &mtu.to_string()]),
            Setting::FlushMetrics | Setting::RestoreSysctls | Setting::ResetCounters => Ok(()),
            Setting::Sleep(_) | Setting::Script { .. } => Ok(()),
            other => Err(format!("{other:?} is not done to the host")),
        }
    }

    fn ip(&self, words: &[&str]) -> Result<(), String> {
        let output = Command::new("ip").args(words).output().map_err(|error| format!("ip: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
    }
}

fn is_tcp(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(9) == Some(&super::TCP),
        Some(6) => packet.get(6) == Some(&super::TCP),
        _ => false,
    }
}
