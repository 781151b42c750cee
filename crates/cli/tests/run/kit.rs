//! What the tests of `sockeye run` share: building the programs, running them, and reading the summary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::Value;

/// What no single run takes longer than, in seconds.
pub const PATIENCE: &str = "30";

/// `None`, and the reason printed, where the machine lacks something; a failure where the peers are required.
pub fn lacks(reason: Option<String>) -> bool {
    let Some(reason) = reason else { return false };
    let required = std::env::var("SOCKEYE_REQUIRE_PEERS").is_ok_and(|value| value == "1");
    assert!(!required, "{reason}, and SOCKEYE_REQUIRE_PEERS=1");
    println!("skipped: {reason}");
    true
}

/// Why `sockeye run` or one of `tools` cannot be had here.
pub fn missing(tools: &[&str]) -> Option<String> {
    static RUNS: OnceLock<Option<String>> = OnceLock::new();
    let path = std::env::var("PATH").unwrap_or_default();
    for tool in tools.iter().chain(&["timeout"]) {
        if !path.split(':').any(|dir| Path::new(dir).join(tool).exists()) {
            return Some(format!("`{tool}` is not installed"));
        }
    }
    let probe = || {
        let ran = sockeye(&["--quiet"], &["true"]).output().expect("the command that was built");
        let text = String::from_utf8_lossy(&ran.stderr).into_owned();
        let is_refused = ran.status.code() == Some(125) && text.contains("seccomp");
        is_refused.then(|| format!("programs cannot be supervised here: {}", text.trim()))
    };
    RUNS.get_or_init(probe).clone()
}

/// `sockeye run OPTIONS -- PROGRAM`, bounded in time (then its exit code is 124).
pub fn sockeye(options: &[&str], program: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", PATIENCE, env!("CARGO_BIN_EXE_sockeye"), "run"]);
    command.args(options).arg("--").args(program).stdin(Stdio::null());
    command
}

/// A program of `programs/`, compiled once a run of the tests.
pub fn compiled(name: &str, is_static: bool) -> String {
    static BUILT: Mutex<Vec<(String, PathBuf)>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let key = format!("{name}{}", if is_static { "-static" } else { "" });
    if let Some((_, path)) = built.iter().find(|(built, _)| *built == key) {
        return path.display().to_string();
    }
    let source = source(&format!("{name}.c"));
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("run-{key}"));
    let made = to.with_extension(std::process::id().to_string());
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-Wall", "-Wextra", "-Werror", "-pthread"]).args(is_static.then_some("-static"));
    let output = cc.arg("-o").arg(&made).arg(&source).output().expect("cc, which is there, can be run");
    assert!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
    // Another process may run the one that is there.
    std::fs::rename(&made, &to).expect("a file of this test's own folder");
    built.push((key, to.clone()));
    to.display().to_string()
}

/// A file of `programs/`.
pub fn source(name: &str) -> String {
    format!("{}/tests/run/programs/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What a program under `sockeye run --json` came to.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn new(output: &Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// The line of the summary.
    pub fn summary(&self) -> Value {
        let lines = self.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut summaries = lines.filter(|line| line["event"] == "summary");
        let summary = summaries.next().unwrap_or_else(|| panic!("no summary:\n{}", self.stderr));
        assert!(summaries.next().is_none(), "one summary:\n{}", self.stderr);
        summary
    }

    /// It went well, and each TCP socket that the program counted was ours.
    pub fn is_well(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        let counts = self.stdout.lines().filter_map(|line| line.strip_prefix("sockets "));
        let made: u64 = counts.map(|count| count.trim().parse::<u64>().expect("a number")).sum();
        let summary = self.summary();
        assert_eq!(summary["sockets"], made, "every TCP socket of the program is ours:\n{}", self.stderr);
        summary
    }
}

/// Runs a program under `sockeye run --json`.
pub fn run(options: &[&str], program: &[&str]) -> Ran {
    let options: Vec<&str> = ["--json"].iter().chain(options).copied().collect();
    Ran::new(&sockeye(&options, program).output().expect("timeout, which is there, can be run"))
}

/// The same program over the kernel's own TCP: what it asks for is what Linux does.
pub fn on_the_kernel(program: &[&str]) {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", PATIENCE]).args(program).stdin(Stdio::null());
    let ran = Ran::new(&command.output().expect("timeout, which is there, can be run"));
    assert_eq!(ran.code, Some(0), "over the kernel's TCP: {}{}", ran.stdout, ran.stderr);
}

/// One case of a C program, over the kernel's TCP and then over ours, as a dynamic program and as a static one.
pub fn parity(program: &str, case: &str) {
    if lacks(missing(&["cc"])) {
        return;
    }
    let path = compiled(program, false);
    on_the_kernel(&[&path, case]);
    run(&[], &[&path, case]).is_well();
    run(&[], &[&compiled(program, true), case]).is_well();
}
