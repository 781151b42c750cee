//! The shell commands of scripts, as settings.
//!
//! No shell is started. Test suites use it to set sysctls, directly or through small set-up scripts, and for a few
//! things around: routes, MTU, queueing disciplines, files to send. Those are recognised here; any other command is
//! refused by name.

use std::time::Duration;

mod counters;
mod words;

pub use counters::{Counters, Filter, Nstat};
use words::{Simple, simple_commands};

/// What a shell command does, in terms of the stack under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Sets a sysctl, under its dotted name.
    Sysctl {
        /// `net.ipv4.tcp_ecn`
        name: String,
        /// As written; several numbers have one blank between them.
        value: String,
    },
    /// Sets all sysctls back to what they were.
    RestoreSysctls,
    /// Forgets what is remembered of other hosts: metrics, Fast Open cookies.
    FlushMetrics,
    /// Sets the MTU of the interface.
    Mtu(u32),
    /// Changes the route to the remote: the words after `ip route`.
    Route(Vec<String>),
    /// Chooses the queueing discipline: the words after `tc qdisc`.
    Queue(Vec<String>),
    /// Turns an offload of the interface on or off, under ethtool's name.
    Offload {
        /// `tso`, `gro` ...
        feature: String,
        /// On or off.
        on: bool,
    },
    /// Loads a kernel module (`tcp_rack`, `tcp_bbr`).
    Module(String),
    /// Makes a file of so many zero bytes.
    MakeFile {
        /// Its path.
        path: String,
        /// Bytes.
        len: u64,
    },
    /// Removes a file.
    RemoveFile(String),
    /// Asks for counters, and fails if what is asked of them does not hold.
    Nstat(Nstat),
    /// Lets time pass.
    Sleep(Duration),
    /// Runs a set-up script that stands beside the test; [`resolve`] puts its settings in its place.
    Script {
        /// Its path, relative to the test's directory.
        path: String,
    },
}

/// A command that is not recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Byte within the shell text where it starts.
    pub offset: usize,
    /// The command as written.
    pub command: String,
    /// What was expected in its place.
    pub expected: String,
}

type Result<T> = std::result::Result<T, Refused>;

/// Set-up scripts may call each other this deep.
const MAX_SCRIPTS: u32 = 8;

/// Understands a shell text.
pub fn parse(text: &str) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    for command in simple_commands(text)? {
        recognise(&command, &mut settings)?;
    }
    Ok(settings)
}

/// Puts the settings of set-up scripts in place of their names. `read` gives a script's text by its path; the
/// suites' own `defaults.sh` is known without it.
pub fn resolve(settings: &[Setting], read: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Setting>> {
    let mut out = Vec::new();
    resolve_into(settings, read, 0, &mut out)?;
    Ok(out)
}

fn resolve_into(
    settings: &[Setting],
    read: &dyn Fn(&str) -> Option<String>,
    depth: u32,
    out: &mut Vec<Setting>,
) -> Result<()> {
    for setting in settings {
        let Setting::Script { path } = setting else {
            out.push(setting.clone());
            continue;
        };
        let refused =
            |expected: &str| Refused { offset: 0, command: path.clone(), expected: expected.to_owned() };
        if depth >= MAX_SCRIPTS {
            return Err(refused("set-up scripts that do not call each other for ever"));
        }
        match read(path) {
            Some(text) => resolve_into(&parse(&text)?, read, depth + 1, out)?,
            None if file_name(path) == "defaults.sh" => out.extend(defaults()),
            None => return Err(refused("a set-up script that can be read")),
        }
    }
    Ok(())
}

/// What the suites' `defaults.sh` sets before each test.
pub fn defaults() -> Vec<Setting> {
    const SYSCTLS: [(&str, &str); 21] = [
        ("tcp_rmem", "4096 540000 15728640"),
        ("tcp_wmem", "4096 262144 4194304"),
        ("tcp_timestamps", "1"),
        ("tcp_syn_retries", "5"),
        ("tcp_synack_retries", "5"),
        ("tcp_frto", "2"),
        ("tcp_sack", "1"),
        ("tcp_dsack", "1"),
        ("tcp_fack", "0"),
        ("tcp_reordering", "3"),
        ("tcp_congestion_control", "cubic"),
        ("tcp_slow_start_after_idle", "0"),
        ("tcp_early_retrans", "4"),
        ("tcp_recovery", "1"),
        ("tcp_tso_win_divisor", "3"),
        ("tcp_ecn", "0"),
        ("tcp_pacing_ss_ratio", "200"),
        ("tcp_pacing_ca_ratio", "120"),
        ("tcp_notsent_lowat", "4294967295"),
        ("tcp_fastopen", "0x70403"),
        ("tcp_fastopen_key", "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4"),
    ];
    let sysctl = |name: &str, value: &str| Setting::Sysctl {
        name: format!("net.ipv4.{name}"),
        value: value.to_owned(),
    };
    let mut settings = vec![Setting::FlushMetrics];
    settings.extend(SYSCTLS.iter().map(|(name, value)| sysctl(name, value)));
    settings.push(sysctl("tcp_syncookies", "1"));
    settings.push(Setting::Queue(["add", "dev", "tun0", "root", "pfifo"].map(str::to_owned).to_vec()));
    settings
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn recognise(command: &Simple, out: &mut Vec<Setting>) -> Result<()> {
    let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
    let words = match words.as_slice() {
        ["sudo", rest @ ..] => rest,
        words => words,
    };
    let Some((&name, args)) = words.split_first() else {
        return match command.redirect {
            None => Ok(()),
            Some(_) => Err(command.refuse("a command whose output goes there")),
        };
    };
    if !command.pipe.is_empty() && file_name(name) != "nstat" {
        return Err(command.refuse("no pipe but 'nstat ... | grep ...'"));
    }
    match (file_name(name), args) {
        ("true" | ":" | "set" | "sync", _) => {}
        ("exit", [] | ["0"]) => {}
        ("sysctl", _) => sysctl(command, args, out)?,
        ("set_sysctls.py", _) => {
            for arg in args {
                out.push(assignment(command, arg)?);
            }
        }
        ("echo" | "printf", _) => echo(command, args, out)?,
        ("ip", _) => ip(command, args, out)?,
        ("ifconfig", [_, rest @ ..]) => match rest {
            ["mtu", mtu] | ["mtu", mtu, "up"] | ["up", "mtu", mtu] => out.push(mtu_setting(command, mtu)?),
            _ => return Err(command.refuse("'ifconfig DEVICE mtu N'")),
        },
        ("tc", ["qdisc", rest @ ..]) if !rest.is_empty() => out.push(Setting::Queue(owned(rest))),
        ("ethtool", ["-K" | "--offload" | "--features", _, features @ ..]) => {
            ethtool(command, features, out)?
        }
        ("nstat", _) => out.push(Setting::Nstat(counters::nstat(command, args)?)),
        ("modprobe", args) | ("kldload", args) if !args.is_empty() => {
            out.extend(
                args.iter().filter(|arg| !arg.starts_with('-')).map(|arg| Setting::Module((*arg).to_owned())),
            );
        }
        ("sleep", [time]) => out.push(Setting::Sleep(sleep_time(command, time)?)),
        ("dd" | "touch" | "rm" | "truncate" | "fallocate", _) => files(command, name, args, out)?,
        (script, _) if script.starts_with("sysctl_restore_") => out.push(Setting::RestoreSysctls),
        (script, []) if script.ends_with(".sh") => out.push(Setting::Script { path: name.to_owned() }),
        ("sh" | "bash" | "source" | ".", [script]) if script.ends_with(".sh") => {
            out.push(Setting::Script { path: (*script).to_owned() });
        }
        _ => {
            return Err(command.refuse(
                "sysctl, set_sysctls.py, defaults.sh or another set-up command of the suites (ip, tc, ethtool, ifconfig, nstat -n, modprobe, dd, sleep ...)",
            ));
        }
    }
    Ok(())
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// `sysctl -q -w net.ipv4.tcp_ecn=1 net.ipv4.tcp_sack = 0`.
fn sysctl(command: &Simple, args: &[&str], out: &mut Vec<Setting>) -> Result<()> {
    let mut args: Vec<&str> = args.to_vec();
    args.retain(|arg| !arg.starts_with('-'));
    let mut at = 0;
    while at < args.len() {
        if let [name, "=", value, ..] = args[at..] {
            out.push(setting(command, name, value)?);
            at += 3;
        } else {
            out.push(assignment(command, args[at])?);
            at += 1;
        }
    }
    Ok(())
}

fn assignment(command: &Simple, arg: &str) -> Result<Setting> {
    match arg.split_once('=') {
        Some((name, value)) => setting(command, name, value),
        None => Err(command.refuse("NAME=VALUE: reading a sysctl does nothing")),
    }
}

fn setting(command: &Simple, name: &str, value: &str) -> Result<Setting> {
    let name = name.trim().trim_start_matches("/proc/sys/").replace('/', ".");
    let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() || value.contains(['$', '`']) {
        return Err(command.refuse("NAME=VALUE with a value that is known beforehand"));
    }
    Ok(Setting::Sysctl { name, value })
}

/// `echo 1 > /proc/sys/net/ipv4/tcp_ecn`; anything else that is only said is said in vain.
fn echo(command: &Simple, args: &[&str], out: &mut Vec<Setting>) -> Result<()> {
    let Some(target) = &command.redirect else { return Ok(()) };
    let args: Vec<&str> = args.iter().copied().filter(|arg| !["-n", "-e"].contains(arg)).collect();
    let value = args.join(" ");
    match target.strip_prefix("/proc/sys/") {
        Some(name) => out.push(setting(command, name, value.trim_end_matches("\\n"))?),
        None if target.starts_with("/proc") || target.starts_with("/sys") => {
            return Err(command.refuse("a file under /proc/sys to write to"));
        }
        None => out.push(Setting::MakeFile { path: target.clone(), len: value.len() as u64 + 1 }),
    }
    Ok(())
}

fn ip(command: &Simple, args: &[&str], out: &mut Vec<Setting>) -> Result<()> {
    let args: Vec<&str> = args.iter().copied().skip_while(|arg| arg.starts_with('-')).collect();
    match args.as_slice() {
        ["tcp_metrics" | "tcpmetrics" | "tcp_m", "flush" | "delete" | "del", ..] => {
            out.push(Setting::FlushMetrics)
        }
        ["route" | "ro" | "r", "show" | "list" | "get" | "ls", ..] => {}
        ["route" | "ro" | "r", rest @ ..] if rest.len() > 1 => out.push(Setting::Route(owned(rest))),
        ["link" | "li" | "l", "set", rest @ ..] => {
            let rest: Vec<&str> = rest.iter().copied().filter(|&word| word != "dev").collect();
            match rest.as_slice() {
                [_, "mtu", mtu] | [_, "mtu", mtu, "up"] | [_, "up", "mtu", mtu] => {
                    out.push(mtu_setting(command, mtu)?)
                }
                [_, "up"] => {}
                _ => return Err(command.refuse("'ip link set DEVICE mtu N'")),
            }
        }
        _ => {
            return Err(
                command.refuse("'ip route ...', 'ip link set DEVICE mtu N' or 'ip tcp_metrics flush all'")
            );
        }
    }
    Ok(())
}

fn mtu_setting(command: &Simple, mtu: &str) -> Result<Setting> {
    let mtu = mtu.parse().ok().filter(|mtu| (68..=65_535).contains(mtu));
    mtu.map(Setting::Mtu).ok_or_else(|| command.refuse("an MTU from 68 to 65535"))
}

fn ethtool(command: &Simple, features: &[&str], out: &mut Vec<Setting>) -> Result<()> {
    for pair in features.chunks(2) {
        let (feature, on) = match pair {
            [feature, "on"] => (feature, true),
            [feature, "off"] => (feature, false),
            _ => return Err(command.refuse("'ethtool -K DEVICE FEATURE on|off'")),
        };
        out.push(Setting::Offload { feature: (*feature).to_owned(), on });
    }
    Ok(())
}

fn sleep_time(command: &Simple, text: &str) -> Result<Duration> {
    let seconds = text.trim_end_matches('s').parse::<f64>().ok();
    let time = seconds.filter(|&s| s <= 1e6).and_then(|s| Duration::try_from_secs_f64(s).ok());
    time.ok_or_else(|| command.refuse("'sleep SECONDS'"))
}

/// Files that are sent: made of zeros, of some length.
fn files(command: &Simple, name: &str, args: &[&str], out: &mut Vec<Setting>) -> Result<()> {
    let plain = || args.iter().filter(|arg| !arg.starts_with('-')).map(|arg| (*arg).to_owned());
    match file_name(name) {
        "touch" => out.extend(plain().map(|path| Setting::MakeFile { path, len: 0 })),
        "rm" => out.extend(plain().map(Setting::RemoveFile)),
        "dd" => {
            let value = |key: &str| args.iter().find_map(|arg| arg.strip_prefix(key)?.strip_prefix('='));
            let size = |key: &str, default| value(key).map_or(Some(default), bytes);
            let len = size("bs", 512).zip(size("count", 1)).and_then(|(bs, count)| bs.checked_mul(count));
            match (value("if"), value("of"), len) {
                (Some("/dev/zero" | "/dev/urandom"), Some(path), Some(len)) => {
                    out.push(Setting::MakeFile { path: path.to_owned(), len });
                }
                _ => return Err(command.refuse("'dd if=/dev/zero of=FILE bs=N count=N'")),
            }
        }
        _ => match args {
            ["-s" | "-l", len, path] => {
                let len = bytes(len).ok_or_else(|| command.refuse("a length in bytes"))?;
                out.push(Setting::MakeFile { path: (*path).to_owned(), len });
            }
            _ => return Err(command.refuse("'truncate -s LENGTH FILE' or 'fallocate -l LENGTH FILE'")),
        },
    }
    Ok(())
}

/// `10`, `4k`, `1M`.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "k" | "K" | "KiB" => 1 << 10,
        "m" | "M" | "MiB" => 1 << 20,
        "g" | "G" | "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}
