//! What a script's option lines and the command line's options come to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::ast::OptionLine;

/// Which addresses the sockets and the packets have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IpVersion {
    /// `ipv4`: `AF_INET`, IPv4 packets.
    #[default]
    V4,
    /// `ipv4-mapped-ipv6`: `AF_INET6`, IPv4 packets.
    V4MappedV6,
    /// `ipv6`: `AF_INET6`, IPv6 packets.
    V6,
}

/// The options of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `--ip_version`.
    pub ip_version: IpVersion,
    /// `--local_ip`: of the stack under test. None: the usual one, see [`Config::local`].
    pub local_ip: Option<IpAddr>,
    /// `--remote_ip`: of the peer that the script plays.
    pub remote_ip: Option<IpAddr>,
    /// `--gateway_ip`.
    pub gateway_ip: Option<IpAddr>,
    /// `--netmask_ip`.
    pub netmask_ip: Option<IpAddr>,
    /// `--bind_port`: what `bind(3, ..., ...)` binds to.
    pub bind_port: u16,
    /// `--connect_port`: what `connect(3, ..., ...)` connects to.
    pub connect_port: u16,
    /// `--mtu` of the interface; 0 leaves it alone.
    pub mtu: u32,
    /// `--mss`: text that is longer arrives as a super-segment of segments of so many bytes; 0 for as it is written.
    pub mss: u16,
    /// `--tolerance_usecs`.
    pub tolerance: Duration,
    /// `--tolerance_percent`: of the time since the event before.
    pub tolerance_percent: f64,
    /// `--tcp_ts_tick_usecs`: how long a tick of the timestamp clock takes; zero does not check it.
    pub tcp_ts_tick: Duration,
    /// `--tcp_ts_ecr_scaled`.
    pub tcp_ts_ecr_scaled: bool,
    /// `--non_fatal`: what goes on after a mismatch: `packet`, `syscall`.
    pub non_fatal: Vec<String>,
    /// `--init_scripts`: set-up scripts to run first.
    pub init_scripts: Vec<String>,
    /// `--is_anyip`: the local address stands for a network.
    pub is_anyip: bool,
    /// `--send_omit_free`: leave sockets open at the end.
    pub send_omit_free: bool,
    /// `--udp_encaps`: TCP in UDP (RFC 9868), our port and the peer's.
    pub udp_encaps: Option<(u16, u16)>,
    /// `--define`, `-D`.
    pub defines: Vec<(String, String)>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            ip_version: IpVersion::V4,
            local_ip: None,
            remote_ip: None,
            gateway_ip: None,
            netmask_ip: None,
            bind_port: 8080,
            connect_port: 8080,
            mtu: 1500,
            mss: 0,
            tolerance: Duration::from_millis(4),
            tolerance_percent: 0.0,
            tcp_ts_tick: Duration::ZERO,
            tcp_ts_ecr_scaled: false,
            non_fatal: Vec::new(),
            init_scripts: Vec::new(),
            is_anyip: false,
            send_omit_free: false,
            udp_encaps: None,
            defines: Vec::new(),
        }
    }
}

/// Options that say how a kernel is reached or how much is printed; nothing of that exists here.
const WITHOUT_EFFECT: [&str; 10] = [
    "verbose",
    "debug",
    "persistent_tun_dev",
    "speed",
    "live_bind_ip",
    "code_format",
    "code_command",
    "code_sockopt",
    "no_cleanup",
    "no-cleanup",
];

impl Config {
    /// The configuration with a script's option lines applied on top; fails with the line and what was expected.
    pub fn with<'a>(&self, lines: &'a [OptionLine]) -> Result<Config, (&'a OptionLine, String)> {
        let mut config = self.clone();
        for line in lines {
            config.set(&line.name, line.value.as_deref()).map_err(|expected| (line, expected))?;
        }
        Ok(config)
    }

    /// Sets one option by its name, without the dashes; fails with what was expected.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        let text = value.unwrap_or("");
        match name {
            "ip_version" => {
                self.ip_version = match text {
                    "ipv4" => IpVersion::V4,
                    "ipv4-mapped-ipv6" | "ipv4_mapped_ipv6" => IpVersion::V4MappedV6,
                    "ipv6" => IpVersion::V6,
                    _ => return Err("ipv4, ipv6 or ipv4-mapped-ipv6".to_owned()),
                }
            }
            "local_ip" => self.local_ip = Some(address(text)?),
            "remote_ip" => self.remote_ip = Some(address(text)?),
            "gateway_ip" => self.gateway_ip = Some(address(text)?),
            "netmask_ip" => self.netmask_ip = Some(address(text)?),
            "bind_port" => self.bind_port = number(text)?,
            "connect_port" => self.connect_port = number(text)?,
            "mtu" => self.mtu = number(text)?,
            "mss" => self.mss = number(text)?,
            "tolerance_usecs" => self.tolerance = Duration::from_micros(number(text)?),
            "tolerance_percent" => {
                let percent: f64 = number(text)?;
                if !(0.0..=100.0).contains(&percent) {
                    return Err("a percentage from 0 to 100".to_owned());
                }
                self.tolerance_percent = percent;
            }
            "tcp_ts_tick_usecs" => self.tcp_ts_tick = Duration::from_micros(number(text)?),
            "tcp_ts_ecr_scaled" => self.tcp_ts_ecr_scaled = true,
            "non_fatal" => {
                self.non_fatal = text.split(',').map(str::to_owned).collect();
                if !self.non_fatal.iter().all(|what| what == "packet" || what == "syscall") {
                    return Err("'packet', 'syscall' or both with a comma".to_owned());
                }
            }
            "init_scripts" => self.init_scripts = text.split(',').map(str::to_owned).collect(),
            "is_anyip" => self.is_anyip = true,
            "send_omit_free" => self.send_omit_free = true,
            "udp_encaps" => self.udp_encaps = Some(udp_encaps(text)?),
            "define" => {
                let (name, value) = text.split_once('=').ok_or("NAME=VALUE")?;
                self.defines.push((name.to_owned(), value.to_owned()));
            }
            name if WITHOUT_EFFECT.contains(&name) => {}
            _ => {
                return Err(
                    "an option that means something here: ip_version, local_ip, remote_ip, gateway_ip, netmask_ip, bind_port, \
                     connect_port, mtu, mss, tolerance_usecs, tolerance_percent, tcp_ts_tick_usecs, tcp_ts_ecr_scaled, \
                     non_fatal, init_scripts, is_anyip, send_omit_free, udp_encaps, define"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }

    /// Whether the packets are IPv6.
    pub fn is_v6(&self) -> bool {
        self.ip_version == IpVersion::V6
    }

    /// Whether its sockets are IPv4 ones: those of IPv4 packets may be IPv6 too.
    pub fn is_v4_socket(&self) -> bool {
        self.ip_version == IpVersion::V4
    }

    /// The address of the stack under test.
    pub fn local(&self) -> IpAddr {
        let usual = if self.is_v6() {
            IpAddr::V6(Ipv6Addr::new(0xfd3d, 0x0a0b, 0x17d6, 0, 0, 0, 0, 1))
        } else {
            IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1))
        };
        self.local_ip.unwrap_or(usual)
    }

    /// The address of the peer that the script plays.
    pub fn remote(&self) -> IpAddr {
        let usual = if self.is_v6() {
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))
        } else {
            IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))
        };
        self.remote_ip.unwrap_or(usual)
    }
}

/// An address; the length of a prefix after it says how large an any-IP network is.
fn address(text: &str) -> Result<IpAddr, String> {
    text.split('/').next().and_then(|addr| addr.parse().ok()).ok_or_else(|| "an IP address".to_owned())
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "a number in range".to_owned())
}

/// `tcp/9899:9899`.
fn udp_encaps(text: &str) -> Result<(u16, u16), String> {
    let wrong = || "tcp/PORT:PORT".to_owned();
    let (local, remote) =
        text.strip_prefix("tcp/").and_then(|ports| ports.split_once(':')).ok_or_else(wrong)?;
    Ok((local.parse().map_err(|_| wrong())?, remote.parse().map_err(|_| wrong())?))
}
