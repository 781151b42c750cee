//! `nstat`, by which scripts look at counters: `nstat -n` before, `nstat | grep NAME | grep -q " 3 "` after.

use std::collections::BTreeMap;

use super::words::Simple;
use super::{Refused, Result};

/// A call of `nstat`, and what its output is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nstat {
    /// `-a`: since the beginning, not since the last call.
    pub absolute: bool,
    /// `-z`: those that are zero as well.
    pub zeros: bool,
    /// `-n`: says nothing.
    pub silent: bool,
    /// `-s`: the last call stays what it was.
    pub keep: bool,
    /// `-r`: counts from the beginning again.
    pub reset: bool,
    /// Only these, `*` standing for anything; all if there are none.
    pub names: Vec<String>,
    /// What the output goes through; it fails if nothing comes out of the last.
    pub filters: Vec<Filter>,
}

/// One `grep`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// What a line holds, in this order: a pattern taken apart at `.*`.
    pub parts: Vec<String>,
    /// `-v`: does not hold.
    pub inverted: bool,
}

impl Filter {
    fn passes(&self, line: &str) -> bool {
        let mut rest = Some(line);
        for part in &self.parts {
            rest = rest.and_then(|rest| rest.split_once(part.as_str())).map(|(_, behind)| behind);
        }
        rest.is_some() != self.inverted
    }
}

/// `nstat -az NAME | grep -q PATTERN`.
pub(super) fn nstat(command: &Simple, args: &[&str]) -> Result<Nstat> {
    let mut nstat = Nstat::default();
    for arg in args {
        let Some(flags) = arg.strip_prefix('-') else {
            nstat.names.push((*arg).to_owned());
            continue;
        };
        match flags {
            "-zeros" => nstat.zeros = true,
            "-reset" => nstat.reset = true,
            "-ignore" => nstat.absolute = true,
            "-noupdate" => nstat.keep = true,
            "-nooutput" => nstat.silent = true,
            _ => {
                for flag in flags.chars() {
                    match flag {
                        'a' => nstat.absolute = true,
                        'z' => nstat.zeros = true,
                        'n' => nstat.silent = true,
                        's' => nstat.keep = true,
                        'r' => nstat.reset = true,
                        _ => return Err(command.refuse("nstat with -a, -n, -r, -s, -z and names")),
                    }
                }
            }
        }
    }
    nstat.filters = command.pipe.iter().map(|words| filter(command, words)).collect::<Result<_>>()?;
    Ok(nstat)
}

fn filter(command: &Simple, words: &[String]) -> Result<Filter> {
    let refuse = || -> Refused {
        command.refuse("'grep', perhaps with -q or -v, and a pattern without special characters but '.*'")
    };
    let (name, args) = words.split_first().ok_or_else(refuse)?;
    if name != "grep" {
        return Err(refuse());
    }
    let mut filter = Filter { parts: Vec::new(), inverted: false };
    for arg in args {
        match arg.strip_prefix('-') {
            Some(flags) if !flags.is_empty() && flags.chars().all(|flag| "qvEF".contains(flag)) => {
                filter.inverted ^= flags.contains('v');
            }
            None if filter.parts.is_empty() => filter.parts = arg.split(".*").map(str::to_owned).collect(),
            _ => return Err(refuse()),
        }
    }
    let special = |c: char| r"\.*[]^$+?{}|()".contains(c);
    if filter.parts.is_empty() || filter.parts.iter().any(|part| part.contains(special)) {
        return Err(refuse());
    }
    Ok(filter)
}

/// What the last call of `nstat` has seen.
#[derive(Debug, Default)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Does one call over the counters as they are, under nstat's names; why it fails.
    ///
    /// # Errors
    /// Nothing comes out of the last `grep`.
    pub fn call(&mut self, nstat: &Nstat, rows: &[(String, u64)]) -> std::result::Result<(), String> {
        if nstat.reset {
            self.0.clear();
        }
        let named = |name: &str| nstat.names.is_empty() || nstat.names.iter().any(|glob| is_like(name, glob));
        let since = |name: &str, value: u64| {
            let before = if nstat.absolute { 0 } else { self.0.get(name).copied().unwrap_or(0) };
            value.saturating_sub(before)
        };
        let lines: Vec<String> = rows
            .iter()
            .filter(|(name, _)| named(name))
            .map(|(name, value)| (name, since(name, *value)))
            .filter(|(_, value)| nstat.zeros || *value > 0)
            .map(|(name, value)| format!("{name:<32}{value:<16}{:6.1}", 0.0))
            .collect();
        if !nstat.keep {
            self.0 = rows.iter().cloned().collect();
        }
        let mut left: Vec<&String> = if nstat.silent { Vec::new() } else { lines.iter().collect() };
        let mut before = Vec::new();
        for filter in &nstat.filters {
            before = left.clone();
            left.retain(|line| filter.passes(line));
        }
        if nstat.filters.is_empty() || !left.is_empty() {
            return Ok(());
        }
        let shown: Vec<&str> = before.iter().take(4).map(|line| line.trim_end()).collect();
        Err(match shown[..] {
            [] => "no counter has this name and has moved".to_owned(),
            _ => format!("the counters say otherwise: {}", shown.join("; ")),
        })
    }
}

/// Whether a name is as `glob` says, in which `*` stands for anything.
fn is_like(name: &str, glob: &str) -> bool {
    match glob.split_once('*') {
        None => name == glob,
        Some((front, behind)) => name.strip_prefix(front).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| is_like(&rest[at..], behind))
        }),
    }
}
