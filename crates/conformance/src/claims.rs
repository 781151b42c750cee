//! What tests say they show, read from the sources: `/// Shows: id, id` above a test in Rust, `// Shows: id, id` in a
//! script. With each goes the profile that it runs under, read from what the test itself does; a test of a part that knows
//! no profile may say whose settings it has (`/// Profile: rfc`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Requirements one test may name: a test that shows more shows none of them well.
pub const MAX_IDS: usize = 5;

/// A profile's name as the command line spells it, and as the sources do.
const PROFILES: [(&str, &str); 3] =
    [("linux", "Profile::Linux"), ("freebsd", "Profile::FreeBsd"), ("rfc", "Profile::Rfc")];
/// Other ways of the sources to say Linux's profile, which is the default.
const DEFAULT_PROFILE: [&str; 2] = ["Config::default()", "Profile::default()"];
/// Where there are no profiles: bytes and their meaning are the same under each.
const WITHOUT_PROFILE: &str = "crates/core/src/wire/";
/// Where scripts are.
pub(crate) const SCRIPTS: &str = "crates/sim/scripts/";

/// A test, or a script, that shows requirements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// The file, from the workspace's folder.
    pub file: String,
    /// The line of the claim, from 1; not part of what is built into the program, so that it changes less.
    pub line: usize,
    /// The function's name; the name under `scripts/` of a script.
    pub name: String,
    /// What it shows.
    pub ids: Vec<String>,
    /// The profiles that it runs under.
    pub profiles: Vec<String>,
    /// A script that must pass on the host's own TCP too.
    pub neutral: bool,
}

impl Test {
    /// The form in which a test is built into the program.
    pub fn to_line(&self) -> String {
        let neutral = if self.neutral { "neutral" } else { "" };
        [&self.file, &self.name, &self.ids.join(","), &self.profiles.join(","), neutral].join("\t")
    }
}

/// All that was found in a tree of sources.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// The tests, in order of file and line.
    pub tests: Vec<Test>,
    /// Claims that count for nothing, each with its place and what is wrong.
    pub wrong: Vec<String>,
}

/// Reads every claim under `crates/` of the workspace's folder.
///
/// # Errors
/// That of a file or folder that cannot be read.
pub fn read(root: &Path) -> io::Result<Claims> {
    let mut files = Vec::new();
    collect(&root.join("crates"), &mut files)?;
    files.sort();
    let mut texts = Vec::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        texts.push((name, fs::read_to_string(&file)?));
    }
    let helpers = helpers(&texts);
    let mut claims = Claims::default();
    for (name, text) in &texts {
        if name.ends_with(".pkt") {
            claims.script(name, text);
        } else {
            claims.rust(name, text, helpers.get(name).unwrap_or(&BTreeMap::new()));
        }
    }
    Ok(claims)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, found)?;
            }
        } else if path.extension().is_some_and(|e| e == "rs" || e == "pkt") {
            found.push(path);
        }
    }
    Ok(())
}

impl Claims {
    /// The claims of a file of Rust.
    fn rust(&mut self, file: &str, text: &str, helpers: &BTreeMap<String, Profiles>) {
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let Some(list) = line.trim_start().strip_prefix("/// Shows:") else { continue };
            let place = format!("{file}:{}", i + 1);
            let Some(function) = function_below(&lines, i) else {
                self.wrong.push(format!("{place}: no function stands below it"));
                continue;
            };
            if !lines[i..function].iter().any(|line| is_test_attribute(line)) {
                self.wrong.push(format!("{place}: what stands below it is no test"));
                continue;
            }
            let ids = ids_of(list);
            self.check(&place, &ids);
            let body = body(&lines, function);
            let stated = comment(&lines, i).find_map(|line| line.strip_prefix("/// Profile:"));
            let mut profiles = Profiles::new();
            if let Some(list) = stated {
                let names: Vec<&str> = list.split(',').map(str::trim).collect();
                profiles.extend(PROFILES.iter().map(|(name, _)| *name).filter(|name| names.contains(name)));
                if profiles.len() != names.len() {
                    self.wrong.push(format!("{place}: 'Profile:{list}' names one that does not exist"));
                }
            } else if file.starts_with(WITHOUT_PROFILE) {
                profiles.extend(PROFILES.iter().map(|(name, _)| *name));
            } else {
                profiles = named_in(&body);
                for call in calls_of(&body) {
                    profiles.extend(helpers.get(call).into_iter().flatten());
                }
                if profiles.is_empty() {
                    profiles.insert(PROFILES[0].0);
                }
            }
            let name = function_name(lines[function]).unwrap_or_default().to_owned();
            let profiles = in_order(&profiles);
            self.tests.push(Test { file: file.to_owned(), line: i + 1, name, ids, profiles, neutral: false });
        }
    }

    /// The claims of a script: one test, whatever the number of lines.
    fn script(&mut self, file: &str, text: &str) {
        let comments = || text.lines().enumerate().filter(|(_, line)| line.starts_with("//"));
        let word = |line: &str| line.trim_start_matches('/').trim().to_owned();
        let mut found: Vec<(usize, Vec<String>)> = Vec::new();
        for (i, line) in comments() {
            if let Some(list) = word(line).strip_prefix("Shows:") {
                found.push((i + 1, ids_of(list)));
            }
        }
        let Some((line, _)) = found.first().cloned() else { return };
        let ids: Vec<String> = found.into_iter().flat_map(|(_, ids)| ids).collect();
        self.check(&format!("{file}:{line}"), &ids);
        let profile = comments()
            .find_map(|(_, line)| word(line).strip_prefix("profile:").map(|name| name.trim().to_owned()))
            .unwrap_or_else(|| PROFILES[0].0.to_owned());
        let neutral = comments().any(|(_, line)| word(line) == "neutral");
        let name = file.strip_prefix(SCRIPTS).unwrap_or(file).to_owned();
        self.tests.push(Test { file: file.to_owned(), line, name, ids, profiles: vec![profile], neutral });
    }

    fn check(&mut self, place: &str, ids: &[String]) {
        if ids.is_empty() || ids.len() > MAX_IDS {
            self.wrong.push(format!("{place}: names {} requirements, 1 to {MAX_IDS} are allowed", ids.len()));
        }
        let mut once = BTreeSet::new();
        self.wrong
            .extend(ids.iter().filter(|id| !once.insert(*id)).map(|id| format!("{place}: names {id} twice")));
    }
}

/// Names of profiles.
type Profiles = BTreeSet<&'static str>;

fn in_order(profiles: &Profiles) -> Vec<String> {
    PROFILES.iter().filter(|(name, _)| profiles.contains(name)).map(|(name, _)| (*name).to_owned()).collect()
}

fn ids_of(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

/// The lines of the comment that line `at` is in.
fn comment<'a>(lines: &'a [&str], at: usize) -> impl Iterator<Item = &'a str> {
    let is_comment = |line: &&&str| line.trim_start().starts_with("///");
    let before = lines[..at].iter().rev().take_while(is_comment);
    before.chain(lines[at..].iter().take_while(is_comment)).map(|line| line.trim_start())
}

/// The line of the function that comments and attributes from line `from` on belong to.
fn function_below(lines: &[&str], from: usize) -> Option<usize> {
    let belongs = |line: &str| line.starts_with("//") || line.starts_with("#[");
    let at = (from + 1..lines.len()).find(|i| !belongs(lines[*i].trim_start()))?;
    function_name(lines[at]).is_some().then_some(at)
}

fn is_test_attribute(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("#[test]") || line.starts_with("#[tokio::test")
}

/// The name of the function that begins in this line.
fn function_name(line: &str) -> Option<&str> {
    let rest = line.trim_start();
    let rest = rest.strip_prefix("pub(super) ").or(rest.strip_prefix("pub(crate) ")).unwrap_or(rest);
    let rest = rest.strip_prefix("pub ").unwrap_or(rest);
    let rest = rest.strip_prefix("const ").unwrap_or(rest);
    let rest = rest.strip_prefix("async ").unwrap_or(rest).strip_prefix("fn ")?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    Some(&rest[..end])
}

/// A function's text: up to the brace that stands as far in as its `fn`.
fn body(lines: &[&str], function: usize) -> String {
    let first = lines[function];
    let indent = &first[..first.len() - first.trim_start().len()];
    if first.ends_with('}') {
        return first.to_owned();
    }
    let end = (function + 1..lines.len())
        .find(|i| lines[*i].strip_prefix(indent).is_some_and(|rest| rest.starts_with('}')))
        .unwrap_or(lines.len() - 1);
    lines[function..=end].join("\n")
}

/// The profiles that a function names itself.
fn named_in(body: &str) -> Profiles {
    let mut found: Profiles =
        PROFILES.iter().filter(|(_, spelled)| body.contains(spelled)).map(|(name, _)| *name).collect();
    if DEFAULT_PROFILE.iter().any(|spelled| body.contains(spelled)) {
        found.insert(PROFILES[0].0);
    }
    found
}

/// The free functions that a body calls or names: `plain()`, `with(...)`, not `x.with(...)` or `Host::with(...)`.
fn calls_of(body: &str) -> BTreeSet<&str> {
    let bytes = body.as_bytes();
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut found = BTreeSet::new();
    let mut i = 0;
    while i < bytes.len() {
        if !is_word(bytes[i]) {
            i += 1;
            continue;
        }
        let start = i;
        while i < bytes.len() && is_word(bytes[i]) {
            i += 1;
        }
        let before = &body[..start];
        // `..rfc()` is no method.
        let qualified = before.ends_with(':') || (before.ends_with('.') && !before.ends_with(".."));
        if bytes.get(i) == Some(&b'(') && !qualified && !before.ends_with("fn ") {
            found.insert(&body[start..i]);
        }
    }
    found
}

/// The folder whose helpers a file's tests may call: that of the file if it is one of tests, else the file alone.
fn folder_of_tests(file: &str) -> String {
    let (folder, _) = file.rsplit_once('/').unwrap_or(("", file));
    let of_tests = folder.ends_with("/tests") || folder.contains("/tests/");
    if of_tests { folder.to_owned() } else { file.to_owned() }
}

/// A function's own profiles, and the free functions that it calls.
type Functions = BTreeMap<String, (Profiles, BTreeSet<String>)>;

/// For each file of Rust, the helpers that its tests may call and the profiles that these choose, also by calling each
/// other: its own, and those of the other files of its folder of tests.
fn helpers(texts: &[(String, String)]) -> BTreeMap<String, BTreeMap<String, Profiles>> {
    let rust = || texts.iter().filter(|(file, _)| file.ends_with(".rs"));
    let own: BTreeMap<&str, Functions> =
        rust().map(|(file, text)| (file.as_str(), helpers_of(file, text))).collect();
    let mut folders: BTreeMap<String, Functions> = BTreeMap::new();
    for (file, functions) in &own {
        folders.entry(folder_of_tests(file)).or_default().extend(functions.clone());
    }
    let of_file = |(file, functions): (&&str, &Functions)| {
        let mut all = folders.get(&folder_of_tests(file)).cloned().unwrap_or_default();
        all.extend(functions.clone());
        ((*file).to_owned(), closed(all))
    };
    own.iter().map(of_file).collect()
}

/// The functions of a file that are no tests and that its tests may call.
fn helpers_of(file: &str, text: &str) -> Functions {
    let lines: Vec<&str> = text.lines().collect();
    // In a file of the product only what stands in its module of tests is a helper.
    let of_product = folder_of_tests(file) == file;
    let tests = lines.iter().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(lines.len());
    let mut found = Functions::new();
    for i in if of_product { tests } else { 0 }..lines.len() {
        let Some(name) = function_name(lines[i]) else { continue };
        let above = lines[..i].iter().rev().take_while(|line| line.trim_start().starts_with(['#', '/']));
        if above.into_iter().any(|line| is_test_attribute(line)) {
            continue;
        }
        let body = body(&lines, i);
        let calls = calls_of(&body).into_iter().map(str::to_owned).collect();
        found.insert(name.to_owned(), (named_in(&body), calls));
    }
    found
}

/// Adds to each function's profiles those of the functions that it calls, until nothing is added.
fn closed(mut functions: Functions) -> BTreeMap<String, Profiles> {
    loop {
        let known: BTreeMap<String, Profiles> =
            functions.iter().map(|(name, (profiles, _))| (name.clone(), profiles.clone())).collect();
        let mut changed = false;
        for (profiles, calls) in functions.values_mut() {
            let before = profiles.len();
            for call in calls.iter() {
                profiles.extend(known.get(call).into_iter().flatten());
            }
            changed |= profiles.len() != before;
        }
        if !changed {
            return known;
        }
    }
}
