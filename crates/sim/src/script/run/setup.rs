//! The settings of shell commands, done to the stack.

use std::collections::BTreeMap;

use sockeye_core::stack::{Cidr, Route};

use super::runner::Runner;
use super::sysctl;
use crate::script::shell::{Counters, Setting};

/// What settings and options have changed beside the stack itself.
#[derive(Debug, Default)]
pub(super) struct Setup {
    /// Files that commands made, and their lengths.
    pub files: BTreeMap<String, u64>,
    /// A socket may send packets without DF (IP_MTU_DISCOVER).
    pub may_fragment: bool,
    /// The script writes bytes of its own, not only the pattern.
    pub own_data: bool,
    /// Urgent data has come, which may be taken out of the stream.
    pub urgent: bool,
    /// The queue before the link drops all.
    pub drops: bool,
    /// The identification of the last packet without DF.
    pub last_id: Option<u16>,
    /// What `nstat` has told.
    pub counters: Counters,
}

/// nstat puts the name of the table before each counter.
fn nstat_name(name: &str) -> String {
    let tables = ["Ip", "Icmp", "Tcp"];
    if tables.iter().any(|table| name.starts_with(table)) { name.to_owned() } else { format!("TcpExt{name}") }
}

impl Runner<'_> {
    /// Everything that is not on the link goes through the peer's side.
    pub fn add_default_route(&mut self) {
        let any = if self.config.is_v6() { "::" } else { "0.0.0.0" };
        let Ok(any) = any.parse() else { return };
        let route = Route {
            destination: Cidr::new(any, 0),
            gateway: None,
            interface: self.interface,
            metric: 0,
            mtu: None,
        };
        // The interface was just added, and a route without a gateway is of no family but its own.
        let added = self.stack.add_route(route);
        debug_assert!(added.is_ok());
    }

    /// Does what one setting says; the reason if the stack cannot.
    pub fn apply(&mut self, setting: &Setting) -> Result<(), String> {
        #[cfg(target_os = "linux")]
        if let Some(kernel) = &mut self.kernel {
            return kernel.apply(setting);
        }
        match setting {
            Setting::Sysctl { name, value } => {
                let mut config = self.stack.config().clone();
                sysctl::set(&mut config, name, value)?;
                self.stack.set_config(config);
            }
            Setting::Mtu(mtu) => {
                let mtu = u16::try_from(*mtu).map_err(|_| format!("an MTU of {mtu}"))?;
                let changed = self.stack.change_interface(self.interface, |interface| interface.mtu = mtu);
                changed.map_err(|error| error.to_string())?;
            }
            Setting::Route(words) => self.route(words)?,
            Setting::Queue(words) => {
                // `pfifo limit 0` takes nothing: what is sent is lost.
                let limit = words.iter().position(|word| word == "limit").and_then(|at| words.get(at + 1));
                self.setup.drops = limit.is_some_and(|limit| limit == "0");
                // `fq` lets every flow go at its pace.
                let mut config = self.stack.config().clone();
                config.pacing = words.iter().any(|word| word == "fq");
                self.stack.set_config(config);
                let known = ["pfifo", "pfifo_fast", "bfifo", "noqueue", "fq_codel", "fq"];
                if !words.iter().any(|word| known.contains(&word.as_str()) || word == "del" || word == "show")
                {
                    return Err(format!(
                        "'tc qdisc {}': this stack has no such queue before its link",
                        words.join(" ")
                    ));
                }
            }
            Setting::Module(name) => {
                let known = ["tcp_cubic", "cc_cubic", "cc_newreno", "tcp_diag"];
                if !known.contains(&name.as_str()) {
                    return Err(format!("the module {name} is not part of this stack"));
                }
            }
            Setting::MakeFile { path, len } => {
                self.setup.files.insert(path.clone(), *len);
            }
            Setting::RemoveFile(path) => {
                self.setup.files.remove(path);
            }
            Setting::Nstat(nstat) => {
                let rows: Vec<_> =
                    self.stack.stats().rows().map(|(name, value)| (nstat_name(name), value)).collect();
                self.setup.counters.call(nstat, &rows)?;
            }
            // Nothing is remembered of other hosts, every stack is thrown away after its script, and offloads change no
            // segment of the wire.
            Setting::FlushMetrics | Setting::RestoreSysctls | Setting::Offload { .. } => {}
            Setting::Sleep(_) | Setting::Script { .. } => {}
        }
        Ok(())
    }

    /// `ip route change ... initcwnd 20`: metrics of the route to the peer.
    fn route(&mut self, words: &[String]) -> Result<(), String> {
        const METRICS: [&str; 14] = [
            "initcwnd",
            "mtu",
            "initrwnd",
            "advmss",
            "rto_min",
            "quickack",
            "congctl",
            "features",
            "window",
            "rtt",
            "rttvar",
            "ssthresh",
            "cwnd",
            "reordering",
        ];
        let refuse = |what: &str| Err(format!("'ip route {}': {what}", words.join(" ")));
        for (at, word) in words.iter().enumerate() {
            if !METRICS.contains(&word.as_str()) {
                continue;
            }
            let value = words.get(at + 1).map(String::as_str).unwrap_or("");
            let mut config = self.stack.config().clone();
            match (word.as_str(), value.parse::<u32>()) {
                ("initcwnd", Ok(segments @ 1..=255)) => config.initial_cwnd = segments as u8,
                ("rto_min", Err(_)) if value.ends_with("ms") => {
                    let Ok(ms) = value.trim_end_matches("ms").parse() else { return refuse("no such time") };
                    config.rto_min = sockeye_core::Duration::from_millis(ms);
                }
                ("congctl", Err(_)) => sysctl::set(&mut config, "net.ipv4.tcp_congestion_control", value)?,
                _ => return refuse("this stack has no such metric of a route"),
            }
            self.stack.set_config(config);
        }
        Ok(())
    }
}
