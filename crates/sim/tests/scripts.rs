//! Runs every script under `scripts/`, each on a stack of its own, in virtual time. Scripts name the requirements
//! that they show in their comment lines.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use sockeye_sim::script::run::{Options, run};
use sockeye_sim::script::{Header, Source, parse};

/// There are to be at least so many.
const AT_LEAST: usize = 300;

/// Every script passes; one that cannot be run has failed. `SOCKEYE_SCRIPTS` picks those whose path contains it, or one of
/// several words with commas between them.
#[test]
fn every_script_passes() {
    let only = std::env::var("SOCKEYE_SCRIPTS").unwrap_or_default();
    let files: Vec<PathBuf> =
        scripts().into_iter().filter(|file| only.split(',').any(|word| name(file).contains(word))).collect();
    assert!(!files.is_empty(), "no script has '{only}' in its path");
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = outcome(file) {
                        failures.lock().expect("no thread panics with it").push(why);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no thread panics with it");
    failures.sort();
    let count = failures.len();
    assert!(count == 0, "{}\n\n{count} of {} scripts failed", failures.join("\n\n"), files.len());
}

#[test]
fn there_are_enough_scripts() {
    assert!(scripts().len() >= AT_LEAST, "{} scripts", scripts().len());
}

/// A script that shows nothing, or that nobody understands, helps nobody.
#[test]
fn every_script_says_what_it_shows() {
    let without: Vec<String> =
        scripts().iter().filter(|file| !read(file).starts_with("// ")).map(|file| name(file)).collect();
    assert!(without.is_empty(), "no comment line at the top: {}", without.join(" "));
}

/// The test above it fails for a script that is wrong.
#[test]
fn a_wrong_script_fails() {
    let of = |text: &str| outcome_of("t.pkt", text.to_owned());
    assert_eq!(of("0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 close(3) = 0\n"), Ok(()));
    assert!(of("0 close(3) = 0\n").is_err_and(|why| why.starts_with("t.pkt:1: ")));
    assert!(of("0 frobnicate(3) = 0\n").is_err_and(|why| why.starts_with("t.pkt:1:")));
    assert!(of("// profile: plan9\n").is_err_and(|why| why.contains("plan9")));
}

fn outcome(file: &Path) -> Result<(), String> {
    outcome_of(&name(file), read(file))
}

fn outcome_of(name: &str, text: String) -> Result<(), String> {
    let header = Header::read(&text).map_err(|(line, what)| format!("{name}:{line}: {what}"))?;
    let script = parse(Source::new(name, text), &[]).map_err(|error| error.to_string())?;
    let options = Options { profile: header.profile.unwrap_or_default(), ..Options::default() };
    run(&script, &options).map(|_| ()).map_err(|failure| failure.to_string())
}

fn scripts() -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(&folder(), &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "pkt") {
            found.push(path);
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")
}

fn name(file: &Path) -> String {
    file.strip_prefix(folder()).unwrap_or(file).display().to_string()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
