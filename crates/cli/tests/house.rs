//! The rules of the house that no lint of the compiler's knows: sizes, where `unsafe` may stand, and that the
//! requirements which tests name exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

/// Production lines a file may have.
const MAX_LINES: usize = 700;
/// Requirements one test may name: a test that shows more shows none of them well.
const MAX_IDS: usize = 5;
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

#[test]
fn tests_name_requirements_that_exist() {
    let known = catalogue();
    let mut wrong = Vec::new();
    let mut shown = BTreeSet::new();
    for path in sources().into_iter().chain(scripts()) {
        let name = relative(&path);
        for (number, ids) in shows(&read(&path)) {
            if ids.is_empty() || ids.len() > MAX_IDS {
                wrong.push(format!(
                    "{name}:{number}: names {} requirements, 1 to {MAX_IDS} are allowed",
                    ids.len()
                ));
            }
            for id in ids {
                if known.contains_key(&id) {
                    shown.insert(id);
                } else {
                    wrong.push(format!("{name}:{number}: {id} is not in docs/requirements.toml"));
                }
            }
        }
    }
    print_missing(&known, &shown);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn catalogue_is_well_formed() {
    let text = read(&root().join("docs/requirements.toml"));
    let table: toml::Table = text.parse().expect("docs/requirements.toml is TOML");
    let rows = table["req"].as_array().expect("a list of [[req]]");
    for row in rows {
        for key in ["id", "section", "level", "area", "text", "check"] {
            let value = row.get(key).and_then(|v| v.as_str()).unwrap_or("");
            assert!(!value.is_empty(), "a requirement without `{key}`: {row}");
        }
        let level = row["level"].as_str().unwrap_or("");
        assert!(["must", "should", "may"].contains(&level), "level of {row}");
    }
    assert_eq!(rows.len(), catalogue().len(), "an id stands twice");
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
    assert_eq!(shows("    /// Shows: a-1, b-2\n"), [(1, vec!["a-1".to_owned(), "b-2".to_owned()])]);
    assert_eq!(shows("// Shows: packet by packet\n"), []);
}

fn print_missing(known: &BTreeMap<String, String>, shown: &BTreeSet<String>) {
    println!("{} of {} requirements are named by a test", shown.len(), known.len());
    for level in ["must", "should", "may"] {
        let of_level: Vec<&String> = known.iter().filter(|(_, l)| *l == level).map(|(id, _)| id).collect();
        let missing: Vec<&str> =
            of_level.iter().filter(|id| !shown.contains(**id)).map(|id| id.as_str()).collect();
        println!(
            "{level}: {} of {}; without a test: {}",
            of_level.len() - missing.len(),
            of_level.len(),
            missing.join(" ")
        );
    }
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

/// The requirements each line names, with the line's number. In Rust `/// Shows: id, id`, in scripts `# Shows: id` or `// Shows: id`.
fn shows(text: &str) -> Vec<(usize, Vec<String>)> {
    let id = |word: &str| word.contains('-') && word.chars().all(|c| c.is_ascii_graphic());
    text.lines()
        .enumerate()
        .filter_map(|(i, line)| {
            let line = line.trim_start();
            let list = ["/// Shows:", "//! Shows:", "# Shows:", "// Shows:"]
                .iter()
                .find_map(|p| line.strip_prefix(p))?;
            let ids: Vec<String> = list.split(',').map(|word| word.trim().to_owned()).collect();
            // In plain comments only a line that is a list of ids counts; in doc comments everything must be one.
            (line.starts_with("//!") || line.starts_with("///") || ids.iter().all(|w| id(w)))
                .then_some((i + 1, ids))
        })
        .collect()
}

/// Every requirement's id and level.
fn catalogue() -> BTreeMap<String, String> {
    let text = read(&root().join("docs/requirements.toml"));
    let table: toml::Table = text.parse().expect("docs/requirements.toml is TOML");
    let rows = table["req"].as_array().expect("a list of [[req]]");
    let string = |row: &toml::Value, key: &str| row[key].as_str().expect("a string").to_owned();
    rows.iter().map(|row| (string(row, "id"), string(row, "level"))).collect()
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

fn sources() -> Vec<PathBuf> {
    files_with("rs")
}

fn scripts() -> Vec<PathBuf> {
    files_with("pkt")
}

fn files_with(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["crates", "fuzz", "benches", "examples"] {
        collect(&root().join(folder), extension, &mut found);
    }
    found
}

fn collect(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, extension, found);
            }
        } else if path.extension().is_some_and(|e| e == extension) {
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
