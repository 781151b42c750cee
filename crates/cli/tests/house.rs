//! The rules of the house that no lint of the compiler's knows: sizes, where `unsafe` may stand, that the
//! requirements which tests name exist, and that the report about them is current.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use sockeye_conformance::Report;

/// Production lines a file may have.
const MAX_LINES: usize = 700;
/// The only folder where `unsafe` may stand.
const UNSAFE_FOLDER: &str = "crates/sockeye/src/sys";

#[test]
fn production_files_stay_small() {
    let too_long: Vec<String> = sources()
        .into_iter()
        .filter(|path| is_production(path))
        .map(|path| (production_lines(&read(&path)), path))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .map(|(lines, path)| format!("{}: {lines} lines before its tests", relative(&path)))
        .collect();
    assert!(too_long.is_empty(), "more than {MAX_LINES} production lines:\n{}", too_long.join("\n"));
}

#[test]
fn unsafe_stands_in_sys_only() {
    let mut found = Vec::new();
    for path in sources() {
        let name = relative(&path);
        if name.starts_with(UNSAFE_FOLDER) {
            continue;
        }
        let tokens: TokenStream = read(&path).parse().unwrap_or_else(|e| panic!("{name} is no Rust: {e}"));
        if has_unsafe(tokens) {
            found.push(name);
        }
    }
    assert!(found.is_empty(), "`unsafe` outside of {UNSAFE_FOLDER}:\n{}", found.join("\n"));
}

/// At most five each; exceptions have reasons and are needed; outcomes of seeded faults belong to these faults.
#[test]
fn tests_name_requirements_that_exist() {
    let wrong = report().contradictions();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every `must` is shown under a profile that promises it, or excepted with a reason; 95 % of `should` are shown.
#[test]
fn the_bar_of_conformance_is_met() {
    let below = report().below_the_bar();
    assert!(below.is_empty(), "{}", below.join("\n"));
}

#[test]
fn the_report_is_current() {
    let page = read(&root().join("docs/CONFORMANCE.md"));
    assert!(
        page == report().to_markdown(),
        "docs/CONFORMANCE.md is not what the tests say: run `cargo run -p sockeye-conformance --example report`"
    );
}

/// A fault that cannot be seeded says nothing about the tests.
#[test]
fn seeded_faults_match_the_sources() {
    let report = report();
    let mut wrong = Vec::new();
    for fault in &report.faults {
        wrong.extend(fault.seed(&read(&root().join(&fault.file))).err());
        for id in &fault.ids {
            if report.claimants(id).is_empty() {
                wrong.push(format!("{}: no test claims {id}", fault.name));
            }
        }
    }
    let names: BTreeSet<&String> = report.faults.iter().map(|fault| &fault.name).collect();
    assert_eq!(names.len(), report.faults.len(), "two faults have the same name");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn requirements_have_names_of_their_own() {
    let report = report();
    let names: BTreeSet<&String> = report.requirements.iter().map(|r| &r.id).collect();
    assert_eq!(names.len(), report.requirements.len(), "an id stands twice");
}

/// The checks above find what they look for.
#[test]
fn checks_can_fail() {
    assert_eq!(production_lines("a\nb\n#[cfg(test)]\nmod tests {}\n"), 2);
    assert_eq!(production_lines("a\n#[cfg(test)]\nextern crate std;\nb\n"), 4);
    assert!(has_unsafe("fn f() { unsafe { g() } }".parse().expect("Rust")));
    assert!(!has_unsafe(
        "#![forbid(unsafe_code)] // unsafe\nconst A: &str = \"unsafe\";".parse().expect("Rust")
    ));
}

/// Lines before the tests: before the first `#[cfg(test)]` that a `mod` follows.
fn production_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests =
        lines.windows(2).position(|w| w[0].trim() == "#[cfg(test)]" && w[1].trim().starts_with("mod "));
    tests.unwrap_or(lines.len())
}

fn has_unsafe(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "unsafe",
        TokenTree::Group(group) => has_unsafe(group.stream()),
        _ => false,
    })
}

fn report() -> Report {
    Report::read(&root()).unwrap_or_else(|why| panic!("{why}"))
}

fn is_production(path: &Path) -> bool {
    let name = relative(path);
    name.contains("/src/") && !name.ends_with("/tests.rs") && !name.contains("/tests/")
}

#[test]
fn pains_name_tests_that_exist() {
    let page = read(&root().join("docs/pains.md"));
    let functions: BTreeSet<String> = sources()
        .iter()
        .flat_map(|path| {
            let text = read(path);
            let names =
                text.split("fn ").skip(1).filter_map(|rest| rest.split('(').next().map(str::to_owned));
            names.collect::<Vec<_>>()
        })
        .collect();
    let named: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| "))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect();
    assert!(named.len() > 10, "the table was not read");
    let gone: Vec<&&str> = named.iter().filter(|name| !functions.contains(**name)).collect();
    assert!(gone.is_empty(), "docs/pains.md names tests that are not there: {gone:?}");
}

/// SHLD-13: the command, the examples and the library's own programs send nothing as urgent, and the documentation of the
/// flag says why nobody new should.
///
/// Shows: rfc9293-SHLD-13
#[test]
fn nothing_of_ours_uses_urgent_data() {
    let programs = ["crates/cli/src/", "crates/sockeye/examples/", "crates/sim/examples/", "benches/"];
    let mut looked_at = 0;
    for path in sources() {
        let name = relative(&path);
        if programs.iter().any(|folder| name.starts_with(folder)) {
            looked_at += 1;
            let text = read(&path);
            for word in ["MSG_OOB", "MsgFlags::OOB", "send_urgent", "send_oob"] {
                assert!(!text.contains(word), "{name} uses {word}");
            }
        }
    }
    assert!(looked_at > 10, "the programs were not found");
    let types = read(&root().join("crates/core/src/socket/types.rs"));
    let line = types.lines().find(|line| line.contains("is urgent")).expect("the flag's documentation");
    assert!(line.contains("New programs do not use it"), "{line}");
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["crates", "fuzz", "benches", "examples"] {
        collect(&root().join(folder), &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace's folder")
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
