//! The arguments of `sockeye run`.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use sockeye::run::Publication;

use crate::args::{DeviceArg, ProfileArg};

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where packets go: `user`, `lan:NAME` or `tun:NAME` (below)
    #[arg(long, value_name = "NET", default_value = "user")]
    pub net: String,
    /// The program's address: ADDR in a lan, ADDR/PREFIX on a TUN device, where it is repeated for more
    #[arg(long, value_name = "ADDR")]
    pub address: Vec<String>,
    /// On a TUN device: where packets for other networks go; by default the kernel's end of the device
    #[arg(long, value_name = "ADDR")]
    pub gateway: Vec<String>,
    /// On a TUN device: make it in a network namespace of our own, which needs no root
    #[arg(long)]
    pub unshare: bool,
    /// Let the machine's PORT lead to the program's (`[HOST:]PORT[:PORT]`), or `all` for every port it listens on
    #[arg(long, short = 'p', value_name = "[HOST:]PORT[:PORT]")]
    pub publish: Vec<String>,
    /// Put a bad link between the program and everything else: delay=80ms,loss=2% ... (below)
    #[arg(long, value_name = "SPEC")]
    pub link: Option<String>,
    /// Whose behaviour the program's stack follows where systems differ
    #[arg(long, value_enum, default_value_t)]
    pub profile: ProfileArg,
    /// Write a capture (pcapng) of what crosses the link
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Draw the ladder on standard error: each segment of the program with the state of its socket
    #[arg(long)]
    pub trace: bool,
    /// The summary as a line of JSON
    #[arg(long)]
    pub json: bool,
    /// No summary
    #[arg(long, short)]
    pub quiet: bool,
    /// The program and its arguments
    #[arg(value_name = "PROGRAM", required = true, trailing_var_arg = true)]
    pub program: Vec<OsString>,
}

/// Where packets go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetArg {
    User,
    Lan(String),
    Tun(String),
}

impl FromStr for NetArg {
    type Err = String;

    fn from_str(text: &str) -> Result<NetArg, String> {
        match text.split_once(':') {
            None if text == "user" => Ok(NetArg::User),
            Some(("lan", name)) if !name.is_empty() => Ok(NetArg::Lan(name.to_owned())),
            Some(("tun", _)) => {
                let DeviceArg::Tun(name) = text.parse()?;
                Ok(NetArg::Tun(name))
            }
            _ => Err(format!("there is no network `{text}`; there are: user, lan:NAME, tun:NAME")),
        }
    }
}

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishArg {
    Port(Publication),
    /// Every port, at this address of the machine.
    All(IpAddr),
}

impl FromStr for PublishArg {
    type Err = String;

    fn from_str(text: &str) -> Result<PublishArg, String> {
        let (host, rest) = split_host(text)?;
        let host = host.unwrap_or(Ipv4Addr::LOCALHOST.into());
        if rest == "all" {
            return Ok(PublishArg::All(host));
        }
        let (outside, inside) = rest.split_once(':').unwrap_or((rest, rest));
        let port = |text: &str| match text.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(format!("`{text}` is no port; a port is a number from 1 to 65535")),
        };
        let listen = SocketAddr::new(host, port(outside)?);
        Ok(PublishArg::Port(Publication { listen, port: port(inside)? }))
    }
}

/// `192.0.2.1:...` and `[2001:db8::1]:...` begin with an address of the machine.
fn split_host(text: &str) -> Result<(Option<IpAddr>, &str), String> {
    let no_address =
        |host: &str| format!("`{host}` is no address of this machine; an IPv6 one stands in [ ]");
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once("]:").ok_or("the port is missing: [ADDRESS]:PORT")?;
        return Ok((Some(IpAddr::V6(host.parse().map_err(|_| no_address(host))?)), rest));
    }
    match text.split_once(':') {
        Some(("localhost", rest)) => Ok((Some(Ipv4Addr::LOCALHOST.into()), rest)),
        Some((host, rest)) if host.parse::<u16>().is_err() => {
            Ok((Some(host.parse().map_err(|_| no_address(host))?), rest))
        }
        _ => Ok((None, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_published_as_people_write_them() {
        let of = |text: &str| match text.parse() {
            Ok(PublishArg::Port(Publication { listen, port })) => Ok(format!("{listen} {port}")),
            Ok(PublishArg::All(at)) => Ok(format!("{at} all")),
            Err(error) => Err::<String, String>(error),
        };
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(of("8080"), ok("127.0.0.1:8080 8080"));
        assert_eq!(of("8080:80"), ok("127.0.0.1:8080 80"));
        assert_eq!(of("0.0.0.0:8080:80"), ok("0.0.0.0:8080 80"));
        assert_eq!(of("localhost:8080"), ok("127.0.0.1:8080 8080"));
        assert_eq!(of("[::1]:8080:80"), ok("[::1]:8080 80"));
        assert_eq!(of("all"), ok("127.0.0.1 all"));
        assert_eq!(of("0.0.0.0:all"), ok("0.0.0.0 all"));
        for wrong in ["", "0", "x", "80:0", "1:2:3", "192.0.2.300:80", "[::1]", "[::1]:", "::1:80"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
