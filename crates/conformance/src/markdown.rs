//! The report as a page.

use std::fmt::Write as _;

use crate::claims::Test;
use crate::report::{Level, Report, Requirement, Source, Status};

const HEAD: &str = "\
# Conformance

What [requirements.toml](requirements.toml) requires, and which tests show it. Written by
`cargo run -p sockeye-conformance --example report` from the tests' own `Shows:` lines; a test holds that it is current.
`sockeye conformance` prints the same.

A requirement is shown if a test that claims it runs under the default profile, `linux`; where that does not promise
it, under one that does. Names that end in `.pkt` are
scripts under `crates/sim/scripts`; those with a star must pass on the Linux kernel's own TCP too.
";

impl Report {
    /// `docs/CONFORMANCE.md`.
    pub fn to_markdown(&self) -> String {
        let mut page = Page(HEAD.to_owned());
        page.sum(self);
        page.faults(self);
        page.exceptions(self);
        for (source, requirements) in self.by_source() {
            page.source(self, source, &requirements);
        }
        page.0
    }
}

struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn sum(&mut self, report: &Report) {
        self.line(
            "\n## In sum\n\n| level | requirements | shown | excepted | missing |\n|---|---|---|---|---|",
        );
        for level in Level::ALL {
            let t = report.tally(|r| r.level == level);
            let name = level.name();
            self.line(&format!(
                "| {name} | {} | {} | {} | {} |",
                t.all,
                t.shown,
                t.excepted,
                t.all - t.shown - t.excepted
            ));
        }
        for problem in report.below_the_bar() {
            self.line(&format!("\n**Below the bar:** {problem}."));
        }
    }

    fn faults(&mut self, report: &Report) {
        let (caught, seeded) = report.outcomes.figure();
        let broken: std::collections::BTreeSet<&String> = report.faults.iter().flat_map(|f| &f.ids).collect();
        self.line(&format!(
            "\n## Seeded faults\n\n{caught} of {seeded} small changes of the sources, which break {} requirements, were noticed by \
             tests that claim these.\n`cargo run -p sockeye-conformance --example faults` seeds them again, one by one.",
            broken.len()
        ));
        let missed = report.outcomes.0.iter().filter(|(_, outcome)| !outcome.caught());
        let missed: Vec<String> = missed.map(|(name, _)| format!("- not noticed: {name}")).collect();
        if !missed.is_empty() {
            self.line(&format!("\n{}", missed.join("\n")));
        }
    }

    fn exceptions(&mut self, report: &Report) {
        self.line("\n## Shown by no test\n\n| requirement | level | what it wants | why there is no test |\n|---|---|---|---|");
        for requirement in &report.requirements {
            let reason = match report.status(&requirement.id) {
                Status::Shown => continue,
                Status::Excepted(reason) => reason,
                Status::Missing => "**none given**",
            };
            let Requirement { id, level, text, .. } = requirement;
            self.line(&format!("| {id} | {} | {} | {} |", level.name(), cell(text), cell(reason)));
        }
        self.line("\n## Not promised by every profile\n\n| requirement | level | not by | what these do |\n|---|---|---|---|");
        for given in &report.given_up {
            let level = report.requirement(&given.id).map_or("", |r| r.level.name());
            let profiles = given.profiles.join(", ");
            self.line(&format!("| {} | {level} | {profiles} | {} |", given.id, cell(&given.reason)));
        }
    }

    fn source(&mut self, report: &Report, source: Source, requirements: &[&Requirement]) {
        let tally = report.tally(|r| r.source == source);
        self.line(&format!("\n## {source}\n\n{} of {} shown.\n", tally.shown, tally.all));
        self.line("| requirement | section | level | profiles | shown by |\n|---|---|---|---|---|");
        for r in requirements {
            let profiles: Vec<&str> = ["linux", "freebsd", "rfc"]
                .into_iter()
                .filter(|profile| report.profiles(&r.id).contains(profile))
                .collect();
            let mut tests = String::new();
            for test in report.claimants(&r.id) {
                let comma = if tests.is_empty() { "" } else { ", " };
                write!(tests, "{comma}{}", name(test)).expect("a string takes all");
            }
            let shown_by = match report.status(&r.id) {
                Status::Shown => tests,
                Status::Excepted(_) => "excepted".to_owned(),
                Status::Missing => "**nothing**".to_owned(),
            };
            self.line(&format!(
                "| {} | {} | {} | {} | {shown_by} |",
                r.id,
                cell(&r.section),
                r.level.name(),
                profiles.join(", ")
            ));
        }
    }
}

/// A test as the page names it: short, and found by a search.
fn name(test: &Test) -> String {
    if test.is_script() {
        return format!("`{}`{}", test.name, if test.neutral { "\\*" } else { "" });
    }
    let file = test.file.strip_prefix("crates/").unwrap_or(&test.file).replacen("/src/", "/", 1);
    format!("`{}::{}`", file.trim_end_matches(".rs"), test.name)
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
