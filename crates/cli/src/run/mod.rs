//! `sockeye run`: a program over our stack, unmodified.

mod args;
mod attach;
mod signals;
mod summary;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};
use sockeye::core::Profile;
use sockeye::device::{Capture, CaptureOptions};
use sockeye::run::{Network, NetworkBuilder, Run, StartError};

pub use args::RunArgs;
use args::{NetArg, PublishArg};

use crate::failure::describe;
use crate::link::trace;
use crate::out::{Out, Stream};
use signals::Signals;

/// Exit codes as `env` and `timeout` have them.
pub const FAILED: u8 = 125;
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// How often signals and children are looked after when the program has ended.
const LOOK: Duration = Duration::from_millis(50);

/// What went wrong before the program ran: the exit code and a sentence.
struct Failed(u8, String);

impl Failed {
    fn new(what: impl Into<String>) -> Failed {
        Failed(FAILED, what.into())
    }
}

/// The whole command; what is returned is the exit code.
pub fn run(args: &RunArgs) -> u8 {
    match start(args) {
        Ok(code) => code,
        Err(Failed(code, what)) => {
            let out = Out::new(Stream::Stderr, args.json);
            out.event(&format!("sockeye: {what}"), || serde_json::json!({"event": "failed", "error": what}));
            code
        }
    }
}

fn start(args: &RunArgs) -> Result<u8, Failed> {
    let out = Arc::new(Out::new(Stream::Stderr, args.json));
    let net: NetArg =
        args.net.parse().map_err(|error| Failed::new(format!("--net {}: {error}", args.net)))?;
    if args.unshare {
        // Before there are other threads.
        attach::unshare(&net)?;
    }
    let capture = match &args.pcap {
        Some(path) => Some(
            Capture::create(path, CaptureOptions::default())
                .map_err(|error| Failed::new(format!("cannot write {}: {error}", path.display())))?,
        ),
        None => None,
    };
    let network = network(args, &net, capture.clone(), &out)?;
    let tracer = args.trace.then(|| trace(network.host()));
    if !args.quiet {
        for (port, at) in network.published() {
            published(&out, port, at);
        }
    }
    let signals = Signals::catch().map_err(|error| Failed::new(format!("cannot catch signals: {error}")))?;
    let name = args.program[0].to_string_lossy().into_owned();
    let mut run = Run::start(command(&args.program), network).map_err(|error| not_started(&name, &error))?;
    signals.forward_to(run.id());
    let code = wait(&run)?;
    let report = last_words(&mut run, &signals, args, &out);
    let sum = summary::Summary::new(&report, run.network());
    let left = run.into_network().finish(|| signals.interrupted());
    if let Some(tracer) = tracer {
        // A thread that panicked has said so.
        let _ = tracer.join();
    }
    if !args.quiet {
        sum.tell(&out, left);
    }
    if let Some(capture) = capture {
        let (_, skipped) = capture.counts();
        match capture.flush() {
            Err(error) => out.say(&format!("sockeye: the capture is not complete: {error}")),
            Ok(()) if skipped > 0 => {
                out.say(&format!("sockeye: {skipped} packets did not fit into the capture"))
            }
            Ok(()) => {}
        }
    }
    Ok(code)
}

fn published(out: &Out, port: u16, at: SocketAddr) {
    out.event(
        &format!("sockeye: port {port} of the program is published at {at}"),
        || serde_json::json!({"event": "published", "port": port, "at": at.to_string()}),
    );
}

fn command(program: &[OsString]) -> Command {
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]);
    command
}

fn not_started(name: &str, error: &StartError) -> Failed {
    let code = match error {
        StartError::Program(error) if error.kind() == io::ErrorKind::NotFound => NOT_FOUND,
        StartError::Program(_) => CANNOT_RUN,
        StartError::Filter(_) | StartError::System(_) => FAILED,
    };
    Failed(code, format!("{name}: {error}"))
}

fn network(
    args: &RunArgs,
    net: &NetArg,
    capture: Option<Arc<Capture>>,
    out: &Arc<Out>,
) -> Result<Network, Failed> {
    let mut builder: NetworkBuilder = Network::builder().profile(Profile::from(args.profile));
    if let Some(link) = &args.link {
        let spec =
            crate::args::parse_link(link).map_err(|error| Failed::new(format!("--link {link}: {error}")))?;
        builder = builder.link(spec);
    }
    if let Some(capture) = capture {
        builder = builder.capture(capture);
    }
    for publish in &args.publish {
        builder = match publish.parse::<PublishArg>() {
            Ok(PublishArg::Port(publication)) => builder.publish(publication),
            Ok(PublishArg::All(at)) => builder.publish_all(at),
            Err(error) => return Err(Failed::new(format!("--publish {publish}: {error}"))),
        };
    }
    let mut builder = attach::attach(builder, net, args)?;
    if !args.quiet {
        let out = out.clone();
        builder = builder.announce(move |port, at| published(&out, port, at));
    }
    builder.build().map_err(|error| Failed::new(describe(&error)))
}

/// Waits for the program, reaps its orphans, and stops when it stops.
fn wait(run: &Run) -> Result<u8, Failed> {
    let child = i32::try_from(run.id()).ok().and_then(Pid::from_raw);
    let child = child.ok_or_else(|| Failed::new("the program has no number"))?;
    loop {
        match waitpid(None, WaitOptions::UNTRACED) {
            Ok(Some((pid, status))) if pid == child => {
                if status.stopped() {
                    stop_with(child);
                } else if let Some(code) = status.exit_status() {
                    return Ok(code as u8);
                } else if let Some(signal) = status.terminating_signal() {
                    return Ok((128 + signal) as u8);
                }
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Failed::new(format!("cannot wait for the program: {error}"))),
        }
    }
}

/// The program has stopped: if that was not the terminal's doing, which stops us too, we do as it does, so that the
/// shell gets its turn. Continued, it goes on as well.
fn stop_with(child: Pid) {
    let state = std::fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero()));
    let is_stopped = state
        .is_ok_and(|text| text.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T')));
    if is_stopped {
        // Neither can fail: both processes are ours.
        let _ = kill_process(getpid(), Signal::STOP);
        let _ = kill_process(child, Signal::CONT);
    }
}

/// The program has ended; others that it has started may go on, and connections have their ends to come to.
fn last_words(run: &mut Run, signals: &Signals, args: &RunArgs, out: &Out) -> sockeye::run::Report {
    let begun = std::time::Instant::now();
    let mut told = false;
    loop {
        if let Some(report) = run.drained(LOOK) {
            return report;
        }
        while let Ok(Some(_)) = waitpid(None, WaitOptions::NOHANG) {}
        if signals.interrupted() {
            return run.report();
        }
        if !told && !args.quiet && begun.elapsed() >= Duration::from_secs(1) {
            told = true;
            out.say("sockeye: the program has ended; what it has started goes on, or data is still under way (Ctrl-C ends it)");
        }
    }
}
