//! The command line: what may be said, and the manual that `help` prints.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sockeye::core::Profile;
use sockeye::core::link::{GRAMMAR, LinkSpec};

use crate::bench::BenchArgs;
use crate::conformance::ConformanceArgs;
use crate::run::RunArgs;
use crate::script::ScriptArgs;

/// What each exit code means; stands under every manual page.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    all went as asked
  1    something failed that has no code of its own; what, stands on standard error
  2    the arguments make no sense
  3    the device cannot be opened or failed: no permission, busy, not there
  4    the address or port is in use, or is none of ours
  5    connection refused
  6    timed out
  7    host or network unreachable, or no route
  8    the connection was reset or aborted
  130  interrupted
  141  whoever read standard output has gone away";

const ROOT_EXAMPLES: &str = "\
Examples:
  sockeye demo                      watch a connection from socket() to CLOSED; needs no rights
  sudo sockeye serve --device tun:tun0 --address 192.0.2.2/24 --port 8080 --http .
  sudo sockeye connect --device tun:tun1 --address 198.51.100.2/24 198.51.100.1 22
  sockeye script FILE.pkt           exact segments, calls and times, in the packetdrill language
  sockeye conformance               each requirement, and the tests that show it

`sockeye help COMMAND` is the manual of a command.";

const DEMO_EXAMPLES: &str = "\
Examples:
  sockeye demo --bytes 1GiB         a longer transfer
  sockeye demo --link delay=40ms,rate=100mbit,loss=1% --show 60       over a bad link, in virtual time
  sockeye demo --json | jq .        each event as a line of JSON
  sockeye demo --pcap demo.pcapng   and a capture, with states in the packets' comments";

const SERVE_EXAMPLES: &str = "\
Examples:
  sudo sockeye serve --device tun:tun0 --address 192.0.2.2/24 --address 2001:db8::2/64 --port 8080 --http public
      and from the same machine: curl http://192.0.2.2:8080/
  sudo sockeye serve --device tun:tun0 --address 192.0.2.2/24 --port 7 --echo --trace
  sudo sockeye serve --device tun:tun0 --address 192.0.2.2/24 --port 80 --http . --link delay=40ms,rate=20mbit,loss=1%
  sudo sockeye serve --device tun:tun0 --address 192.0.2.2/24 --port 2323 --exec 'date; cat'

The device: `tun:NAME` is a TUN interface of Linux. It is made if it does not exist, and the kernel's end
of it gets an address in each of your networks (--peer-address; by default the first that is free), so that
programs of this machine reach you. That needs root or CAP_NET_ADMIN:
  sudo setcap cap_net_admin+ep $(command -v sockeye)
Without: let root make the interface for you once, and set its address:
  sudo ip tuntap add dev tun0 mode tun user $USER
  sudo ip address add 192.0.2.1/24 dev tun0 && sudo ip link set tun0 up

Ctrl-C closes the listener, ends each connection with FIN, waits for them (--grace), and says how each
ended. Ctrl-C once more resets what is left.";

const CONNECT_EXAMPLES: &str = "\
Examples:
  printf 'GET / HTTP/1.0\\r\\n\\r\\n' | sudo sockeye connect --device tun:tun0 --address 192.0.2.2/24 192.0.2.1 80
  sudo sockeye connect --device tun:tun0 --address 192.0.2.2/24 --trace 192.0.2.1 22 < /dev/null

Standard input goes to the peer, what the peer sends to standard output. At the end of the input the
sending direction is shut down (half-close); the command ends when the peer has closed too. Ctrl-C closes
the connection with FIN; Ctrl-C once more resets it. For the device see `sockeye help serve`.";

const SCRIPT_EXAMPLES: &str = "\
Examples:
  sockeye script close.pkt --trace  and all that happened, though it passed
  sockeye script crates/sim/scripts --json | jq 'select(.passed | not)'
  sudo sockeye script --against kernel --neutral crates/sim/scripts";

const CONFORMANCE_EXAMPLES: &str = "\
Examples:
  sockeye conformance --rfc 7323    one RFC, requirement by requirement, with the tests that show it
  sockeye conformance --missing     what no test shows, and why
  sockeye conformance --json | jq '.requirements[] | select(.status != \"shown\") | .id'";

const RUN_EXAMPLES: &str = "\
Examples:
  sockeye run --link delay=80ms,loss=2% --trace -- curl http://localhost:8000/
  sockeye run -- sh -c './server & ./client'       both sides, over the link and with the whole handshake
  sockeye run --publish 8080:80 -- nginx -g 'daemon off;'
  sockeye run --publish all -- python3 -m http.server
  sockeye run --net lan:home --address 198.18.0.1 -- python3 -m http.server &
  sockeye run --net lan:home -- curl http://198.18.0.1:8000/
  sudo sockeye run --net tun:tun0 --address 192.0.2.2/24 -- curl http://192.0.2.1/

Networks:
  user      the program's packets pass the link to a second stack, which carries each connection on over this
            machine's own sockets; no rights needed
  lan:NAME  a network that every `sockeye run` of yours on this machine joins by its name, each with an address
            of its own (198.18.0.0/15 and 2001:db8::/64)
  tun:NAME  packets through a TUN device, as root or in a namespace of its own with --unshare
In a lan and on a TUN device the machine's own loopback is still reached over its sockets.";

/// A complete TCP outside the kernel.
///
/// Sockeye is TCP connection management in user space: ports, sockets, listeners with their two queues, the
/// eleven states, handshake, transfer, recovery and termination, on a TUN device or in memory.
#[derive(Debug, Parser)]
#[command(name = "sockeye", version, propagate_version = true, after_help = ROOT_EXAMPLES, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch a connection from socket() to CLOSED, in memory and without any rights
    ///
    /// A server and a client, each on a stack of its own, joined by a link in memory. Every call is shown
    /// as it is made, every segment as it crosses the link with the state of both sockets beside it;
    /// then the transfer, its digest compared at both ends; then the termination down to CLOSED and the
    /// ports given back. The stacks have no clock of their own: where nothing but a timer is left (TIME-WAIT)
    /// the demo moves time forward instead of sleeping, and says so.
    ///
    /// Exit code 0 only if every byte arrived and both ends ended as they should.
    #[command(after_long_help = link_help(DEMO_EXAMPLES))]
    Demo(DemoArgs),
    /// Accept connections on a device: echo, files over HTTP, a program ...
    ///
    /// Listens on PORT at each of the addresses given and serves every connection that comes.
    #[command(after_long_help = link_help(SERVE_EXAMPLES))]
    Serve(ServeArgs),
    /// Open a connection over a device and join it to standard input and output
    #[command(after_long_help = link_help(CONNECT_EXAMPLES))]
    Connect(ConnectArgs),
    /// Run scripts in the packetdrill language: exact segments, calls and times
    ///
    /// Each script runs on a stack of its own in virtual time, in a few milliseconds; with `--against kernel` on the
    /// host's TCP in real time, in a network namespace of its own. What goes wrong is shown with the line, expected
    /// against actual, and all that happened before.
    ///
    /// Exit code 0 only if all passed; a script that cannot be run has failed.
    #[command(after_long_help = concat_help(SCRIPT_EXAMPLES))]
    Script(ScriptArgs),
    /// Measure: flows over bad links beside Linux ...
    Bench(BenchArgs),
    /// Say what is required (RFCs, POSIX, published attacks) and which tests show it
    ///
    /// The tests say what they show; the build of this program read it from them. A requirement counts as shown if a test
    /// that claims it runs under the default profile, or, where that does not promise it, under one that does. The figure of the seeded faults says how many small changes
    /// that break such a rule were noticed by the tests that claim it.
    ///
    /// Exit code 0 only if every `must` is shown or excepted with a reason, and 95 % of `should` are shown.
    #[command(after_long_help = concat_help(CONFORMANCE_EXAMPLES))]
    Conformance(ConformanceArgs),
    /// Run any program over Sockeye, unmodified: its TCP sockets are ours
    ///
    /// Works for dynamic and static programs and for what they start, needs no root, and leaves all other sockets to the
    /// kernel. The program's packets pass a link as good or as bad as you like; behind it each connection is carried on
    /// over this machine's own sockets. Loopback addresses mean this run where a program of it listens, else this
    /// machine.
    ///
    /// The exit code is the program's, 128 + n if signal n ended it; 125 if `run` itself failed, 126 if the program
    /// cannot be run, 127 if there is none.
    #[command(after_long_help = run_help())]
    Run(RunArgs),
}

/// A manual page's end: examples and exit codes.
pub fn concat_help(examples: &str) -> String {
    format!("{examples}\n\n{EXIT_CODES}")
}

/// The end of the manual of a command that takes `--link`.
fn link_help(examples: &str) -> String {
    let grammar: String = GRAMMAR.lines().map(|line| format!("  {line}\n")).collect();
    concat_help(&format!("{examples}\n\nA link's SPEC:\n{}", grammar.trim_end()))
}

fn run_help() -> String {
    let grammar: String = GRAMMAR.lines().map(|line| format!("  {line}\n")).collect();
    format!("{RUN_EXAMPLES}\n\nA link's SPEC:\n{}", grammar.trim_end())
}

/// As the core reads it, with the error's second line where clap's message has ended.
pub fn parse_link(text: &str) -> Result<LinkSpec, String> {
    text.parse().map_err(|error| format!("{error}"))
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Bytes to transfer: a number with an optional unit (k, M, G for powers of 1000; KiB, MiB, GiB)
    #[arg(long, value_name = "N", default_value = "64MiB", value_parser = parse_bytes)]
    pub bytes: u64,
    /// Print one JSON object a line for each event instead of the picture
    #[arg(long)]
    pub json: bool,
    /// Write a capture (pcapng) of what crosses the link
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Whose behaviour the stacks follow where systems differ
    #[arg(long, value_enum, default_value_t)]
    pub profile: ProfileArg,
    /// The link's MTU in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1_500, value_parser = clap::value_parser!(u16).range(68..))]
    pub mtu: u16,
    /// Put a bad link between the two: delay=40ms,loss=2% ... (below); the clock is moved forward instead of waiting
    #[arg(long, value_name = "SPEC", value_parser = parse_link)]
    pub link: Option<LinkSpec>,
    /// Segments of the transfer that are shown one by one
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub show: u32,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub link: LinkArgs,
    /// The port to listen on; 0 takes a free one and prints it
    #[arg(long, short)]
    pub port: u16,
    #[command(flatten)]
    pub mode: ModeArgs,
    /// Connections that may wait to be accepted
    #[arg(long, value_name = "N", default_value_t = 1_024, allow_negative_numbers = true)]
    pub backlog: i32,
    /// Reset connections that find the accept queue full instead of letting them try again
    #[arg(long)]
    pub abort_on_overflow: bool,
    /// Connections served at once; more wait in the accept queue
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
    /// Seconds that Ctrl-C waits for connections to end
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = parse_seconds)]
    pub grace: f64,
}

/// What is done with a connection; exactly one, `--echo` if none is given.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct ModeArgs {
    /// Send back what comes (the default)
    #[arg(long)]
    pub echo: bool,
    /// Read and throw away
    #[arg(long)]
    pub discard: bool,
    /// Send BYTES bytes to each that connects, then close
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub source: Option<u64>,
    /// Serve the files under DIR over HTTP/1.1 (GET, HEAD, ranges, plain listings)
    #[arg(long, value_name = "DIR")]
    pub http: Option<PathBuf>,
    /// Run CMD with `sh -c` for each connection, its standard input and output joined to it
    #[arg(long, value_name = "CMD")]
    pub exec: Option<String>,
}

#[derive(Debug, Args)]
pub struct ConnectArgs {
    #[command(flatten)]
    pub link: LinkArgs,
    /// The peer: an IPv4 or IPv6 address, or a name (looked up by the host's resolver)
    pub host: String,
    /// The peer's port
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Seconds to wait for the connection to be opened; without it as long as the profile tries
    #[arg(long, short = 'w', value_name = "SECONDS", value_parser = parse_seconds)]
    pub timeout: Option<f64>,
    /// Seconds that Ctrl-C waits for the connection to end
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = parse_seconds)]
    pub grace: f64,
}

/// What `serve` and `connect` say of their link.
#[derive(Debug, Args)]
pub struct LinkArgs {
    /// The device: tun:NAME
    #[arg(long, value_name = "KIND:NAME")]
    pub device: DeviceArg,
    /// An address of ours with the length of its network's prefix; repeat for more (IPv4 and IPv6)
    #[arg(long, value_name = "ADDR/PREFIX", required = true)]
    pub address: Vec<AddressArg>,
    /// Where packets for other networks go; one each for IPv4 and IPv6
    #[arg(long, value_name = "ADDR")]
    pub gateway: Vec<IpAddr>,
    /// The kernel's own address on the device (repeatable); by default the first free one of each network
    #[arg(long, value_name = "ADDR/PREFIX", conflicts_with = "unconfigured")]
    pub peer_address: Vec<AddressArg>,
    /// Put a bad link in front of the device: delay=40ms,rate=20mbit,loss=1% ... (below); `up` is from us to the device
    #[arg(long = "link", value_name = "SPEC", value_parser = parse_link)]
    pub impair: Option<LinkSpec>,
    /// Leave the kernel's end of the device as it is: no address, not set up
    #[arg(long)]
    pub unconfigured: bool,
    /// The device's MTU in bytes; by default what it has
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(68..))]
    pub mtu: Option<u16>,
    /// Whose behaviour the stack follows where systems differ
    #[arg(long, value_enum, default_value_t)]
    pub profile: ProfileArg,
    /// Draw the ladder on standard error: each segment with the state it was sent or received in
    #[arg(long)]
    pub trace: bool,
    /// Events as lines of JSON (serve: on standard output; connect: on standard error)
    #[arg(long)]
    pub json: bool,
    /// Write a capture (pcapng) of what crosses the device
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProfileArg {
    /// Linux's behaviour where it is lawful or long practice
    #[default]
    Linux,
    /// FreeBSD's listener and timing policies
    Freebsd,
    /// The RFCs to the letter
    Rfc,
}

impl From<ProfileArg> for Profile {
    fn from(arg: ProfileArg) -> Profile {
        match arg {
            ProfileArg::Linux => Profile::Linux,
            ProfileArg::Freebsd => Profile::FreeBsd,
            ProfileArg::Rfc => Profile::Rfc,
        }
    }
}

/// A device as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceArg {
    /// A TUN interface of this name.
    Tun(String),
}

impl FromStr for DeviceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((kind, name)) = text.split_once(':') else {
            return Err(format!("give the kind and the name, as in tun:{text}"));
        };
        match kind {
            "tun" => {
                // IFNAMSIZ - 1, and what the kernel's dev_valid_name() refuses.
                let valid = (1..=15).contains(&name.len())
                    && !name.contains(|c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace())
                    && name != "."
                    && name != "..";
                if valid {
                    Ok(DeviceArg::Tun(name.to_owned()))
                } else {
                    Err(format!(
                        "`{name}` cannot be an interface's name: 1 to 15 characters, no space, `/`, `:` or `%`"
                    ))
                }
            }
            _ => Err(format!("there is no kind of device called `{kind}`; there is: tun")),
        }
    }
}

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressArg {
    pub address: IpAddr,
    pub prefix: u8,
}

impl FromStr for AddressArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((address, prefix)) = text.split_once('/') else {
            return Err(format!("the length of the prefix is missing, as in {text}/24"));
        };
        let address: IpAddr =
            address.parse().map_err(|_| format!("`{address}` is no IPv4 or IPv6 address"))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u8 = prefix.parse().map_err(|_| format!("`{prefix}` is no prefix length"))?;
        if prefix > longest {
            return Err(format!("a prefix of {address} has 0 to {longest} bits"));
        }
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            return Err(format!("{address} cannot be an address of an interface here"));
        }
        Ok(AddressArg { address, prefix })
    }
}

/// A number of bytes with an optional unit: k, M, G, T are powers of 1000; K, Ki, KiB ... powers of 1024.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .replace('_', "")
        .parse()
        .map_err(|_| format!("`{text}` does not begin with a number below 2^64"))?;
    let factor = match unit.trim() {
        "" | "B" => 1,
        "k" | "kB" => 1_000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        "T" | "TB" => 1_000_000_000_000,
        "K" | "Ki" | "KiB" => 1 << 10,
        "Mi" | "MiB" => 1 << 20,
        "Gi" | "GiB" => 1 << 30,
        "Ti" | "TiB" => 1 << 40,
        other => {
            return Err(format!(
                "`{other}` is no unit of bytes; there are k, M, G, T and KiB, MiB, GiB, TiB"
            ));
        }
    };
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is more than 2^64 bytes"))
}

/// Seconds, zero or more, with a fraction if wanted, at most a year.
fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=31_536_000.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds, 0 to a year".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bytes_with_units() {
        assert_eq!(parse_bytes("0"), Ok(0));
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("1_000"), Ok(1_000));
        assert_eq!(parse_bytes("3k"), Ok(3_000));
        assert_eq!(parse_bytes("3K"), Ok(3_072));
        assert_eq!(parse_bytes("18446744073709551615"), Ok(u64::MAX));
        for wrong in ["", "x", "-1", "1.5M", "3 parsecs", "18446744073709551616", "18446744073709551615k"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn devices() {
        assert_eq!("tun:tun0".parse(), Ok(DeviceArg::Tun("tun0".into())));
        assert_eq!("tun:exactly15chars_".parse(), Ok(DeviceArg::Tun("exactly15chars_".into())));
        for wrong in ["tun0", "tun:", "tap:x", "tun:a/b", "tun:exactly16chars__", "tun:..", "tun:a b"] {
            assert!(wrong.parse::<DeviceArg>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses() {
        let of = |text: &str| text.parse::<AddressArg>();
        assert_eq!(of("192.0.2.1/24").map(|a| a.prefix), Ok(24));
        assert_eq!(of("2001:db8::1/128").map(|a| a.prefix), Ok(128));
        for wrong in
            ["192.0.2.1", "192.0.2.1/33", "2001:db8::1/129", "127.0.0.1/8", "224.0.0.1/4", "0.0.0.0/0", "x/1"]
        {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
