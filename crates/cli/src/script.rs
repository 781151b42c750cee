//! `sockeye script`: runs scripts in the packetdrill language against our stack in virtual time, or against the
//! host's own TCP in real time.

mod kernel;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use sockeye::core::Profile;
use sockeye_sim::script::run::{Failure, Options, Report, Rung, run};
use sockeye_sim::script::{Header, OptionLine, Source, Span, parse, suite_names};

/// What `sockeye script` may be told.
#[derive(Debug, Args)]
pub struct ScriptArgs {
    /// Scripts, or folders of them
    #[arg(required = true, value_name = "FILE.pkt")]
    files: Vec<PathBuf>,
    /// Whose behaviour the stack has; by default what the script says (`// profile: freebsd`), else linux
    #[arg(long, value_name = "NAME", value_parser = profile)]
    profile: Option<Profile>,
    /// Show all that happened, segment by segment and call by call, also of scripts that pass
    #[arg(long)]
    trace: bool,
    /// Print one JSON object a line for each script
    #[arg(long)]
    json: bool,
    /// A name of the script that stands for another word
    #[arg(short = 'D', long = "define", value_name = "NAME=VALUE", value_parser = define)]
    define: Vec<(String, String)>,
    /// What the scripts run against
    #[arg(long, value_enum, default_value_t = Against::Stack)]
    against: Against,
    /// Only scripts that say `// neutral`: they must pass on the host's TCP too
    #[arg(long)]
    neutral: bool,
    /// The least tolerance for time, in milliseconds, against the kernel, which is late when the machine is busy
    #[arg(long, value_name = "MS", default_value_t = 40)]
    tolerance: u64,
    /// A packet that comes after the last that the script expects is a failure too
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    as_packetdrill: PacketdrillArgs,
    /// Runs one script in the namespace that the command is in
    #[arg(long, hide = true)]
    here: bool,
}

/// packetdrill's own options under its own names; they go over those in the script.
#[derive(Clone, Debug, Default, Args)]
#[command(rename_all = "snake_case", next_help_heading = "Options of packetdrill")]
struct PacketdrillArgs {
    /// ipv4, ipv6 or ipv4-mapped-ipv6
    #[arg(long, value_name = "VERSION")]
    ip_version: Option<String>,
    /// The address of the stack
    #[arg(long, value_name = "ADDRESS")]
    local_ip: Option<String>,
    /// The address of its peer
    #[arg(long, value_name = "ADDRESS")]
    remote_ip: Option<String>,
    /// The gateway's address
    #[arg(long, value_name = "ADDRESS")]
    gateway_ip: Option<String>,
    /// The netmask
    #[arg(long, value_name = "MASK")]
    netmask_ip: Option<String>,
    /// What bind(3, ..., ...) binds to
    #[arg(long, value_name = "PORT")]
    bind_port: Option<String>,
    /// What connect(3, ..., ...) connects to
    #[arg(long, value_name = "PORT")]
    connect_port: Option<String>,
    /// The MTU of the interface
    #[arg(long, value_name = "BYTES")]
    mtu: Option<String>,
    /// The segment size that the stack is told to announce
    #[arg(long, value_name = "BYTES")]
    mss: Option<String>,
    /// How far from its time a packet may be
    #[arg(long, value_name = "MICROSECONDS")]
    tolerance_usecs: Option<String>,
    /// The same in percent of the time since the event before
    #[arg(long, value_name = "PERCENT")]
    tolerance_percent: Option<String>,
    /// How long a tick of the timestamp clock is; 0 does not check it
    #[arg(long, value_name = "MICROSECONDS")]
    tcp_ts_tick_usecs: Option<String>,
    /// After what kind of mismatch to go on: packet, syscall or both
    #[arg(long, value_name = "KINDS")]
    non_fatal: Option<String>,
    /// Set-up scripts, with commas between them
    #[arg(long, value_name = "FILES")]
    init_scripts: Option<String>,
    /// Leave sockets open at the end
    #[arg(long)]
    send_omit_free: bool,
    /// The local address stands for a network
    #[arg(long)]
    is_anyip: bool,
}

impl PacketdrillArgs {
    /// Name and value of those that are given.
    fn given(&self) -> Vec<(&'static str, Option<&str>)> {
        let valued = [
            ("ip_version", &self.ip_version),
            ("local_ip", &self.local_ip),
            ("remote_ip", &self.remote_ip),
            ("gateway_ip", &self.gateway_ip),
            ("netmask_ip", &self.netmask_ip),
            ("bind_port", &self.bind_port),
            ("connect_port", &self.connect_port),
            ("mtu", &self.mtu),
            ("mss", &self.mss),
            ("tolerance_usecs", &self.tolerance_usecs),
            ("tolerance_percent", &self.tolerance_percent),
            ("tcp_ts_tick_usecs", &self.tcp_ts_tick_usecs),
            ("non_fatal", &self.non_fatal),
            ("init_scripts", &self.init_scripts),
        ];
        let flags = [("send_omit_free", self.send_omit_free), ("is_anyip", self.is_anyip)];
        let valued = valued.into_iter().filter_map(|(name, value)| Some((name, Some(value.as_deref()?))));
        valued.chain(flags.into_iter().filter(|flag| flag.1).map(|(name, _)| (name, None))).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    /// Our own stack, in virtual time
    Stack,
    /// The host's own TCP, through TUN in a network namespace of its own, in real time (root)
    Kernel,
}

fn profile(name: &str) -> Result<Profile, String> {
    Profile::from_name(name).ok_or_else(|| "linux, freebsd or rfc".to_owned())
}

fn define(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// What became of one script.
struct Verdict {
    file: String,
    result: Result<Report, Why>,
    took: Duration,
}

/// Why a script failed.
enum Why {
    /// It cannot be read or understood.
    Unreadable(String),
    /// It went wrong, or cannot be run.
    Failed(Box<Failure>),
}

/// Runs the scripts; the exit code is 0 only if all passed.
pub fn script(args: &ScriptArgs) -> ExitCode {
    let mut files = Vec::new();
    for path in &args.files {
        collect(path, &mut files);
    }
    let mut seen = BTreeSet::new();
    files.retain(|file| seen.insert(file.clone()));
    if args.neutral {
        files.retain(|file| fs::read_to_string(file).is_ok_and(|text| is_neutral(&text)));
    }
    if files.is_empty() {
        eprintln!("sockeye script: no scripts there");
        return ExitCode::FAILURE;
    }
    if args.against == Against::Kernel && !args.here {
        return kernel::each_in_its_namespace(args, &files);
    }
    let failed = run_all(args, &files);
    conclude(args, failed, files.len())
}

/// Runs the scripts over the cores, and prints what became of them in their order; how many failed.
fn run_all(args: &ScriptArgs, files: &[PathBuf]) -> usize {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(files.len());
    let (send, receive) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if send.send((file.clone(), judge(args, file))).is_err() {
                        return; // nobody reads any more
                    }
                }
            });
        }
        drop(send);
        let mut done = BTreeMap::new();
        let (mut failed, mut printed) = (0, 0);
        for (file, verdict) in receive {
            done.insert(file, verdict);
            while let Some(verdict) = files.get(printed).and_then(|file| done.remove(file)) {
                printed += 1;
                failed += usize::from(verdict.result.is_err());
                if print(args, &verdict).is_err() {
                    // Whoever reads has gone away.
                    return failed.max(1);
                }
            }
        }
        failed
    })
}

fn conclude(args: &ScriptArgs, failed: usize, all: usize) -> ExitCode {
    if !args.json && !args.here {
        eprintln!("{} of {all} scripts passed", all - failed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn is_neutral(text: &str) -> bool {
    Header::read(text).is_ok_and(|header| header.neutral)
}

/// The scripts under a path, in order of their names. What is no folder is taken as it is.
fn collect(path: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(path) else {
        out.push(path.to_owned());
        return;
    };
    let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    inside.sort();
    for path in inside {
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "pkt") {
            collect(&path, out);
        }
    }
}

fn judge(args: &ScriptArgs, file: &Path) -> Verdict {
    let name = file.display().to_string();
    let began = Instant::now();
    let result = attempt(args, file, &name);
    Verdict { file: name, result, took: began.elapsed() }
}

fn attempt(args: &ScriptArgs, file: &Path, name: &str) -> Result<Report, Why> {
    let text = fs::read_to_string(file).map_err(|error| Why::Unreadable(format!("{name}: {error}")))?;
    let header = Header::read(&text).map_err(|(line, what)| {
        Why::Unreadable(format!("{name}:{line}: found {what}, expected linux, freebsd or rfc"))
    })?;
    let mut defines = suite_names(args.as_packetdrill.ip_version.as_deref(), &text);
    defines.extend(args.define.iter().cloned());
    let mut script =
        parse(Source::new(name, text), &defines).map_err(|error| Why::Unreadable(error.to_string()))?;
    for (name, value) in args.as_packetdrill.given() {
        // The command line goes over what the script says.
        script.options.retain(|line| line.name != name);
        let value = value.map(str::to_owned);
        script.options.push(OptionLine { name: name.to_owned(), value, span: Span { start: 0, end: 0 } });
    }
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    let read = |path: &str| fs::read_to_string(folder.join(path)).ok();
    let options = Options {
        profile: args.profile.or(header.profile).unwrap_or_default(),
        read: &read,
        allow_trailing: !args.strict,
        ..Options::default()
    };
    match args.against {
        Against::Stack => run(&script, &options).map_err(Why::Failed),
        Against::Kernel => kernel::run_here(&script, &options, Duration::from_millis(args.tolerance)),
    }
}

fn print(args: &ScriptArgs, verdict: &Verdict) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        return writeln!(out, "{}", as_json(args, verdict));
    }
    match &verdict.result {
        Ok(report) => {
            writeln!(out, "ok      {} ({:.1} ms)", verdict.file, verdict.took.as_secs_f64() * 1e3)?;
            for rung in report.ladder.iter().filter(|_| args.trace) {
                writeln!(out, "  {rung}")?;
            }
            for line in &report.printed {
                writeln!(out, "{line}")?;
            }
            for warning in &report.warnings {
                writeln!(out, "warning: {warning}")?;
            }
            Ok(())
        }
        Err(why) => writeln!(out, "FAILED  {}\n{}", verdict.file, words(why)),
    }
}

fn words(why: &Why) -> String {
    match why {
        Why::Unreadable(what) => what.clone(),
        Why::Failed(failure) => failure.to_string(),
    }
}

fn as_json(args: &ScriptArgs, verdict: &Verdict) -> Value {
    let mut object = json!({
        "file": verdict.file,
        "passed": verdict.result.is_ok(),
        "took_us": verdict.took.as_micros() as u64,
    });
    match &verdict.result {
        Ok(report) => {
            object["events"] = json!(report.events);
            object["elapsed_us"] = json!(report.elapsed.as_micros() as u64);
            object["printed"] = json!(report.printed);
            let warnings: Vec<Value> = report.warnings.iter().map(failure_json).collect();
            object["warnings"] = json!(warnings);
            if args.trace {
                object["ladder"] = ladder_json(&report.ladder);
            }
        }
        Err(Why::Unreadable(what)) => object["failure"] = json!({ "what": what }),
        Err(Why::Failed(failure)) => {
            object["failure"] = failure_json(failure);
            object["ladder"] = ladder_json(&failure.ladder);
        }
    }
    object
}

fn failure_json(failure: &Failure) -> Value {
    let differences: Vec<Value> = failure
        .differences
        .iter()
        .map(|d| json!({ "field": d.field, "expected": d.expected, "actual": d.actual }))
        .collect();
    json!({
        "line": failure.line,
        "text": failure.text,
        "at_us": failure.at.as_micros() as u64,
        "what": failure.what,
        "expected": failure.packets.as_ref().map(|(expected, _)| expected),
        "actual": failure.packets.as_ref().map(|(_, actual)| actual),
        "differences": differences,
    })
}

fn ladder_json(ladder: &[Rung]) -> Value {
    let rungs = ladder
        .iter()
        .map(|rung| json!({ "at_us": rung.at.as_micros() as u64, "line": rung.line, "what": rung.what }));
    rungs.collect()
}
