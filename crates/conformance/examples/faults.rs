//! Seeds each fault of `faults/faults.toml` in a copy of the sources, one at a time, and runs the tests and scripts that
//! claim the requirements it breaks: for each of these one must fail.
//!
//!     cargo run -p sockeye-conformance --example faults             # those not noticed yet, new or changed
//!     cargo run -p sockeye-conformance --example faults -- --all    # all
//!     cargo run -p sockeye-conformance --example faults -- nagle    # those whose name contains a word
//!     cargo run -p sockeye-conformance --example faults -- --seconds=600   # no new one after ten minutes; the rest next time
//!
//! The outcomes go into `faults/outcome.toml`, from which the report has its figure. Exit code 0 only if all were noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use sockeye_conformance::Report;
use sockeye_conformance::claims::Test;
use sockeye_conformance::faults::{Fault, Outcome, Outcomes};

/// A test that runs longer hangs, which is noticed too.
const TOO_LONG: Duration = Duration::from_secs(120);
const OUTCOMES: &str = "crates/conformance/faults/outcome.toml";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, String> {
    let end = std::env::args().find_map(|word| word.strip_prefix("--seconds=")?.parse().ok());
    let end = end.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let all = std::env::args().any(|word| word == "--all");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
    let mut report = Report::read(&root)?;
    let faults = report.faults.clone();
    report.outcomes.0.retain(|name, _| faults.iter().any(|fault| fault.name == *name));
    let is_wanted = |fault: &&Fault| {
        if words.is_empty() {
            all || !report.is_settled(fault)
        } else {
            words.iter().any(|word| fault.name.contains(word.as_str()))
        }
    };
    let wanted: Vec<Fault> = faults.iter().filter(is_wanted).cloned().collect();
    let tree = Tree::copy(&root).map_err(|error| format!("the copy of the sources: {error}"))?;
    tree.passes_without_fault(&wanted, &report)?;
    let mut broken = Vec::new();
    for (i, fault) in wanted.iter().enumerate() {
        let began = Instant::now();
        if end.is_some_and(|end| began > end) {
            return Err(format!("{} are left for the next time", wanted.len() - i));
        }
        print!("[{}/{}] {} ... ", i + 1, wanted.len(), fault.name);
        io::stdout().flush().map_err(|error| error.to_string())?;
        match tree.try_fault(fault, &report) {
            Ok(by) => {
                let outcome = Outcome { digest: fault.digest(), by };
                let word = if outcome.caught() { "noticed" } else { "NOT NOTICED" };
                let pairs = fault.ids.iter().zip(&outcome.by);
                let by: Vec<String> = pairs.map(|(id, test)| format!("{id}: {test}")).collect();
                println!("{word} in {} s ({})", began.elapsed().as_secs(), by.join("; "));
                report.outcomes.0.insert(fault.name.clone(), outcome);
                save(&root, &report.outcomes)?;
            }
            Err(why) => {
                println!("cannot be tried: {why}");
                broken.push(fault.name.clone());
            }
        }
    }
    save(&root, &report.outcomes)?;
    let (caught, seeded) = report.outcomes.figure();
    println!("{caught} of {seeded} were noticed");
    if !broken.is_empty() {
        return Err(format!("cannot be tried: {}", broken.join(", ")));
    }
    Ok(caught == seeded)
}

fn save(root: &Path, outcomes: &Outcomes) -> Result<(), String> {
    fs::write(root.join(OUTCOMES), outcomes.to_text()).map_err(|error| format!("{OUTCOMES}: {error}"))
}

/// A copy of the workspace with a folder for what is built from it.
struct Tree {
    original: PathBuf,
    copy: PathBuf,
    build: PathBuf,
}

/// The tests of one program, by their names.
type Wanted<'a> = BTreeMap<Program, Vec<&'a Test>>;

/// A program of tests; the cheapest to build first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Program {
    CoreUnits,
    SimUnits,
    Scripts,
    /// A file of `crates/sim/tests`.
    Sim(String),
}

impl Program {
    /// The program that a test is in; `None` for those that need a kernel, a peer or real time.
    fn of(test: &Test) -> Option<Program> {
        if test.is_script() {
            Some(Program::Scripts)
        } else if test.file.starts_with("crates/core/src/") {
            Some(Program::CoreUnits)
        } else if test.file.starts_with("crates/sim/src/") {
            Some(Program::SimUnits)
        } else {
            let name = test.file.strip_prefix("crates/sim/tests/")?.strip_suffix(".rs")?;
            Some(Program::Sim(name.to_owned()))
        }
    }

    fn arguments(&self) -> Vec<&str> {
        match self {
            Program::CoreUnits => vec!["-p", "sockeye-core", "--lib"],
            Program::SimUnits => vec!["-p", "sockeye-sim", "--lib"],
            Program::Scripts => vec!["-p", "sockeye-sim", "--test", "scripts"],
            Program::Sim(name) => vec!["-p", "sockeye-sim", "--test", name],
        }
    }
}

impl Tree {
    fn copy(root: &Path) -> io::Result<Tree> {
        let folder = root.join("target/faults");
        let tree = Tree { original: root.to_owned(), copy: folder.join("tree"), build: folder.join("build") };
        for name in ["Cargo.toml", "Cargo.lock", "crates", "benches", "docs"] {
            mirror(&root.join(name), &tree.copy.join(name))?;
        }
        Ok(tree)
    }

    /// Seeds a fault, runs what claims its requirements, and takes the fault out again. For each requirement the first
    /// test that failed.
    fn try_fault(&self, fault: &Fault, report: &Report) -> Result<Vec<String>, String> {
        let place = self.copy.join(&fault.file);
        let text = fs::read_to_string(self.original.join(&fault.file))
            .map_err(|error| format!("{}: {error}", fault.file))?;
        fs::write(&place, fault.seed(&text)?).map_err(|error| error.to_string())?;
        let seeded_at = fs::metadata(&place).and_then(|m| m.modified()).map_err(|error| error.to_string())?;
        let tried = self.failures(fault, report, Some(seeded_at));
        fs::write(&place, text).map_err(|error| error.to_string())?;
        let failed = tried?;
        let by = |id: &String| {
            let mut claimants = report.claimants(id).into_iter();
            claimants
                .find(|test| failed.contains(&test.name))
                .map(|test| test.name.clone())
                .unwrap_or_default()
        };
        Ok(fault.ids.iter().map(by).collect())
    }

    /// A test that fails anyhow notices nothing.
    fn passes_without_fault(&self, faults: &[Fault], report: &Report) -> Result<(), String> {
        let ids = faults.iter().flat_map(|fault| fault.ids.clone()).collect();
        let none =
            Fault { name: String::new(), file: String::new(), old: String::new(), new: String::new(), ids };
        let failed: Vec<String> = self.failures(&none, report, None)?.into_iter().collect();
        if failed.is_empty() { Ok(()) } else { Err(format!("without any fault fail: {}", failed.join(", "))) }
    }

    /// The tests that fail, of those that claim the fault's requirements; those that are costly to build are asked only
    /// if the others notice nothing. No program may be older than `since`.
    fn failures(
        &self,
        fault: &Fault,
        report: &Report,
        since: Option<SystemTime>,
    ) -> Result<BTreeSet<String>, String> {
        let mut wanted = Wanted::new();
        for id in &fault.ids {
            for test in report.claimants(id) {
                if let Some(program) = Program::of(test) {
                    wanted.entry(program).or_default().push(test);
                }
            }
        }
        if wanted.is_empty() && !fault.ids.is_empty() {
            return Err("no test that can be run here claims it".to_owned());
        }
        let mut failed = BTreeSet::new();
        for (program, tests) in wanted {
            let noticed = |id: &String| report.claimants(id).iter().any(|test| failed.contains(&test.name));
            if !failed.is_empty() && fault.ids.iter().all(noticed) {
                break;
            }
            failed.extend(self.run(&program, &tests, since)?);
        }
        Ok(failed)
    }

    fn run(
        &self,
        program: &Program,
        tests: &[&Test],
        since: Option<SystemTime>,
    ) -> Result<Vec<String>, String> {
        let executable = self.build(program)?;
        let built_at =
            fs::metadata(&executable).and_then(|m| m.modified()).map_err(|error| error.to_string())?;
        if since.is_some_and(|since| built_at < since) {
            return Err("its tests were not built anew".to_owned());
        }
        let names: BTreeSet<&str> = tests.iter().map(|test| test.name.as_str()).collect();
        let mut command = Command::new(executable);
        command.current_dir(self.copy.join("crates/sim")).env("RUST_BACKTRACE", "0");
        if *program == Program::Scripts {
            let list: Vec<&str> = names.iter().copied().collect();
            command.arg("every_script_passes").env("SOCKEYE_SCRIPTS", list.join(","));
        } else {
            command.args(&names);
        }
        let Some(output) =
            output(&mut command, &self.build.join("output")).map_err(|error| error.to_string())?
        else {
            // Which one hangs, nobody knows: all that were asked.
            return Ok(names.into_iter().map(str::to_owned).collect());
        };
        let is_failed = |name: &&str| {
            if *program == Program::Scripts {
                return output.lines().any(|line| line.starts_with(&format!("{name}:")));
            }
            let [alone, inside] = [format!("test {name} ... FAILED"), format!("::{name} ... FAILED")];
            output.lines().any(|line| line == alone || line.ends_with(&inside))
        };
        if !output.contains("test result: ") && !output.contains("panicked") {
            return Err(format!("the tests did not run:\n{output}"));
        }
        Ok(names.iter().filter(|name| is_failed(name)).map(|name| (*name).to_owned()).collect())
    }

    /// Builds a program of tests; returns where it is.
    fn build(&self, program: &Program) -> Result<PathBuf, String> {
        let output = Command::new("cargo")
            .args(["test", "--locked", "--no-run", "--quiet", "--message-format=json"])
            .args(program.arguments())
            .current_dir(&self.copy)
            .env("CARGO_TARGET_DIR", &self.build)
            // One changed function at a time: what is quickest to build.
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .stderr(Stdio::piped())
            .output()
            .map_err(|error| format!("cargo: {error}"))?;
        if !output.status.success() {
            return Err(format!("it does not build:\n{}", errors(&output.stdout)));
        }
        let executables = messages(&output.stdout).filter_map(|message| {
            let of_tests = message["profile"]["test"] == true;
            message["executable"].as_str().filter(|_| of_tests).map(PathBuf::from)
        });
        executables.last().ok_or_else(|| "cargo names no program".to_owned())
    }
}

fn messages(stdout: &[u8]) -> impl Iterator<Item = serde_json::Value> {
    String::from_utf8_lossy(stdout)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect::<Vec<_>>()
        .into_iter()
}

fn errors(stdout: &[u8]) -> String {
    let errors = messages(stdout).filter(|message| message["message"]["level"] == "error");
    errors.filter_map(|message| message["message"]["rendered"].as_str().map(str::to_owned)).collect()
}

/// What a program says, by way of a file; `None` if it hangs.
fn output(command: &mut Command, file: &Path) -> io::Result<Option<String>> {
    let sink = fs::File::create(file)?;
    let mut child = command.stdin(Stdio::null()).stdout(sink.try_clone()?).stderr(sink).spawn()?;
    let end = Instant::now() + TOO_LONG;
    while child.try_wait()?.is_none() {
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(Some(String::from_utf8_lossy(&fs::read(file)?).into_owned()))
}

/// Makes `to` what `from` is, and touches only what differs, so that little is built again.
fn mirror(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        let text = fs::read(from)?;
        if fs::read(to).is_ok_and(|there| there == text) {
            return Ok(());
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        return fs::write(to, text);
    }
    fs::create_dir_all(to)?;
    let names = |folder: &Path| -> io::Result<BTreeSet<_>> {
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    };
    for gone in names(to)?.difference(&names(from)?) {
        let path = to.join(gone);
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    names(from)?
        .iter()
        .filter(|name| *name != "target")
        .try_for_each(|name| mirror(&from.join(name), &to.join(name)))
}
