//! `sockeye script`: runs scripts in the packetdrill language against our stack in virtual time, or against the
//! host's own TCP in real time.

mod kernel;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use sockeye::core::Profile;
use sockeye_sim::script::run::{Failure, Options, Report, Rung, run};
use sockeye_sim::script::{Header, Source, parse};

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
    /// Runs one script in the namespace that the command is in
    #[arg(long, hide = true)]
    here: bool,
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
    let mut failed = 0;
    for file in &files {
        let verdict = judge(args, file);
        failed += usize::from(verdict.result.is_err());
        if print(args, &verdict).is_err() {
            // Whoever reads has gone away.
            break;
        }
    }
    conclude(args, failed, files.len())
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
    let script =
        parse(Source::new(name, text), &args.define).map_err(|error| Why::Unreadable(error.to_string()))?;
    let folder = file.parent().unwrap_or(Path::new("")).to_owned();
    let read = |path: &str| fs::read_to_string(folder.join(path)).ok();
    let options = Options {
        profile: args.profile.or(header.profile).unwrap_or_default(),
        read: &read,
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
