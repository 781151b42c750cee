//! `sockeye conformance`: which requirement is shown by which test, as the build read it from the tests themselves.

use std::fmt::Write as _;

use clap::Args;
use sockeye_conformance::{Level, Report, Requirement, Source, Status};

use crate::failure::{Code, Failure, Outcome};
use crate::out::{Out, Stream};

/// What `sockeye conformance` may be told.
#[derive(Debug, Args)]
pub struct ConformanceArgs {
    /// Only this RFC, requirement by requirement; 0 for POSIX, published attacks and practice
    #[arg(long, value_name = "N")]
    rfc: Option<u32>,
    /// Only what no test shows, each with its reason
    #[arg(long)]
    missing: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Prints the report. That something is required, not shown and not excepted is a failure.
pub fn run(args: &ConformanceArgs) -> Outcome {
    let report = Report::built_in();
    let of_rfc = |r: &Requirement| match (args.rfc, r.source) {
        (None, _) => true,
        (Some(0), source) => matches!(source, Source::Posix | Source::Attacks),
        (Some(wanted), source) => source == Source::Rfc(wanted),
    };
    if !report.requirements.iter().any(of_rfc) {
        return Err(unknown(&report, args.rfc));
    }
    let which = |r: &Requirement| of_rfc(r) && !(args.missing && report.status(&r.id) == Status::Shown);
    let out = Out::new(Stream::Stdout, args.json);
    out.record(&report.to_json(which));
    if args.missing || args.rfc.is_some() {
        out.say(details(&report, which).trim_end());
    } else {
        out.say(overview(&report).trim_end());
    }
    // Of the whole only: one RFC has no bar of its own.
    let below = if args.rfc.is_none() { report.below_the_bar() } else { Vec::new() };
    match below.len() {
        0 => Ok(()),
        // The JSON document says so itself.
        _ if args.json => Err(Failure::quiet(Code::Failed)),
        _ => Err(Failure::new(Code::Failed, format!("below the bar: {}", below.join("; ")))),
    }
}

fn unknown(report: &Report, rfc: Option<u32>) -> Failure {
    let numbers: Vec<String> = report
        .by_source()
        .keys()
        .filter_map(|source| if let Source::Rfc(number) = source { Some(number.to_string()) } else { None })
        .collect();
    let rfc = rfc.map(|number| number.to_string()).unwrap_or_default();
    Failure::new(Code::Usage, format!("the catalogue has nothing of RFC {rfc}"))
        .hint(format!("it has: {}; and 0 for what is of no RFC", numbers.join(" ")))
}

/// A line for each source, and the sum.
fn overview(report: &Report) -> String {
    let scripts = report.tests.iter().filter(|test| test.is_script()).count();
    let mut text = format!(
        "{} requirements; {} tests and {scripts} scripts say what they show\n\n{:<22}{:>12}{:>12}{:>12}\n",
        report.requirements.len(),
        report.tests.len() - scripts,
        "shown of all",
        "must",
        "should",
        "may"
    );
    let mut row = |name: &str, which: &dyn Fn(&Requirement) -> bool| {
        write!(text, "{name:<22}").expect("a string takes all");
        for level in Level::ALL {
            let tally = report.tally(|r| r.level == level && which(r));
            let cell = if tally.all == 0 { "-".to_owned() } else { format!("{}/{}", tally.shown, tally.all) };
            write!(text, "{cell:>12}").expect("a string takes all");
        }
        text.push('\n');
    };
    for source in report.by_source().into_keys() {
        row(&source.to_string(), &|r| r.source == source);
    }
    row("all", &|_| true);
    let excepted = report.tally(|_| true).excepted;
    let (caught, seeded) = report.outcomes.figure();
    write!(
        text,
        "\n{excepted} are shown by no test, with a reason (--missing); {} are not promised by every profile.\n\
         Seeded faults: {caught} of {seeded} were noticed by the tests that claim the broken rule.",
        report.given_up.len()
    )
    .expect("a string takes all");
    text
}

/// Requirement by requirement.
fn details(report: &Report, which: impl Fn(&Requirement) -> bool) -> String {
    let mut text = String::new();
    for r in report.requirements.iter().filter(|r| which(r)) {
        let (status, reason) = match report.status(&r.id) {
            Status::Shown => ("shown", None),
            Status::Excepted(reason) => ("excepted", Some(reason)),
            Status::Missing => ("missing", None),
        };
        let section = format!("{} {}", r.source, r.section);
        let mut line =
            |indent: &str, words: &str| writeln!(text, "{indent}{words}").expect("a string takes all");
        line("", &format!("{}  {}  {status}  ({section})", r.id, r.level.name()));
        line("    ", &r.text);
        if let Some(reason) = reason {
            line("    why: ", reason);
        }
        for given in report.given_up.iter().filter(|given| given.id == r.id) {
            line("    not by ", &format!("{}: {}", given.profiles.join(", "), given.reason));
        }
        for test in report.claimants(&r.id) {
            let name = if test.is_script() { String::new() } else { format!(" {}", test.name) };
            line("    ", &format!("[{}] {}{name}", test.profiles.join(" "), test.file));
        }
    }
    if text.is_empty() { "nothing is missing".to_owned() } else { text }
}
