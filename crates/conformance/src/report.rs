//! The catalogue, the claims and the exceptions as one thing that can be asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::claims::{self, SCRIPTS, Test};
use crate::faults::{Fault, Outcomes};

/// Exceptions that there may be, at most.
const MAX_EXCEPTIONS: usize = 12;
/// Of the requirements of level `should`, so many in a hundred must be shown.
const SHOULD_PERCENT: usize = 95;
/// A reason that is shorter says nothing.
const MIN_REASON: usize = 40;

/// The profile that nobody has to ask for.
const DEFAULT_PROFILE: &str = "linux";

/// How binding a requirement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// MUST, MUST NOT.
    Must,
    /// SHOULD, SHOULD NOT.
    Should,
    /// MAY.
    May,
}

impl Level {
    /// All, the most binding first.
    pub const ALL: [Level; 3] = [Level::Must, Level::Should, Level::May];

    /// As the catalogue spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Must => "must",
            Level::Should => "should",
            Level::May => "may",
        }
    }
}

/// Where requirements come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// An RFC.
    Rfc(u32),
    /// The calls of POSIX.
    Posix,
    /// Published attacks and practice.
    Attacks,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Rfc(number) => write!(f, "RFC {number}"),
            Source::Posix => f.write_str("POSIX"),
            Source::Attacks => f.write_str("Attacks and practice"),
        }
    }
}

/// One row of the catalogue.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// Its name, by which tests call it.
    pub id: String,
    /// Where it comes from.
    pub source: Source,
    /// The section of the source.
    pub section: String,
    /// How binding it is.
    pub level: Level,
    /// Its theme.
    pub area: String,
    /// What must hold.
    pub text: String,
    /// How a test can show it.
    pub check: String,
}

/// A requirement that no test shows, and why.
#[derive(Clone, Debug)]
pub struct Exception {
    /// The requirement.
    pub id: String,
    /// Why nothing shows it.
    pub reason: String,
}

/// A requirement that a profile does not promise.
#[derive(Clone, Debug)]
pub struct GivenUp {
    /// The requirement.
    pub id: String,
    /// The profiles that do not promise it.
    pub profiles: Vec<String>,
    /// What these do instead, and why.
    pub reason: String,
}

/// What is known of a requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status<'a> {
    /// A test shows it under the default profile, or under another if the default does not promise it.
    Shown,
    /// None does, for this reason.
    Excepted(&'a str),
    /// None does.
    Missing,
}

/// Requirements counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All.
    pub all: usize,
    /// With a test that shows them.
    pub shown: usize,
    /// Without, with a reason.
    pub excepted: usize,
}

impl Tally {
    /// Those without a test and without a reason.
    pub fn missing(self) -> usize {
        self.all - self.shown - self.excepted
    }
}

/// Everything: what is required, what shows it, what does not hold.
#[derive(Clone, Debug)]
pub struct Report {
    /// The catalogue, in its order.
    pub requirements: Vec<Requirement>,
    /// The tests that claim something, in order of file and line.
    pub tests: Vec<Test>,
    /// What is shown by none.
    pub exceptions: Vec<Exception>,
    /// What single profiles do not promise.
    pub given_up: Vec<GivenUp>,
    /// The seeded faults.
    pub faults: Vec<Fault>,
    /// What became of them.
    pub outcomes: Outcomes,
    /// Claims that count for nothing.
    pub wrong: Vec<String>,
}

impl Report {
    /// The report of the sources that this program was built from.
    pub fn built_in() -> Report {
        let tests = include_str!(concat!(env!("OUT_DIR"), "/claims.tsv"));
        let tests = tests.lines().filter_map(Test::from_line).collect();
        Report::of(
            include_str!("../../../docs/requirements.toml"),
            include_str!("../../../docs/exceptions.toml"),
            include_str!("../faults/faults.toml"),
            include_str!("../faults/outcome.toml"),
            tests,
        )
        .expect("a test of this crate reads the same files")
    }

    /// The report of the sources in the workspace's folder.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub fn read(root: &Path) -> Result<Report, String> {
        let text =
            |name: &str| fs::read_to_string(root.join(name)).map_err(|error| format!("{name}: {error}"));
        let claims = claims::read(root).map_err(|error| error.to_string())?;
        let mut report = Report::of(
            &text("docs/requirements.toml")?,
            &text("docs/exceptions.toml")?,
            &text("crates/conformance/faults/faults.toml")?,
            &text("crates/conformance/faults/outcome.toml")?,
            claims.tests,
        )?;
        report.wrong = claims.wrong;
        Ok(report)
    }

    /// Joins the catalogue with what is claimed.
    ///
    /// # Errors
    /// A text that is not what it should be.
    pub fn of(
        requirements: &str,
        exceptions: &str,
        faults: &str,
        outcomes: &str,
        tests: Vec<Test>,
    ) -> Result<Report, String> {
        let except =
            |row: &toml::Table| Ok(Exception { id: string(row, "id")?, reason: string(row, "reason")? });
        let given = |row: &toml::Table| {
            let profiles = strings(row, "profiles")?;
            Ok(GivenUp { id: string(row, "id")?, profiles, reason: string(row, "reason")? })
        };
        Ok(Report {
            requirements: rows(requirements, "req", requirement)?,
            exceptions: rows(exceptions, "exception", except)?,
            given_up: rows(exceptions, "given_up", given)?,
            faults: rows(faults, "fault", Fault::from_row)?,
            outcomes: Outcomes::from_text(outcomes)?,
            tests,
            wrong: Vec::new(),
        })
    }

    /// The requirement of this name.
    pub fn requirement(&self, id: &str) -> Option<&Requirement> {
        self.requirements.iter().find(|r| r.id == id)
    }

    /// The tests that claim a requirement.
    pub fn claimants(&self, id: &str) -> Vec<&Test> {
        self.tests.iter().filter(|test| test.ids.iter().any(|shown| shown == id)).collect()
    }

    /// The profiles that do not promise a requirement.
    pub fn not_promised_by(&self, id: &str) -> Vec<&str> {
        let of = self.given_up.iter().filter(|g| g.id == id);
        of.flat_map(|g| g.profiles.iter().map(String::as_str)).collect()
    }

    /// The profiles under which tests show a requirement, without those that do not promise it.
    pub fn profiles(&self, id: &str) -> BTreeSet<&str> {
        let not = self.not_promised_by(id);
        let claimants = self.claimants(id).into_iter();
        let all = claimants.flat_map(|test| test.profiles.iter().map(String::as_str));
        all.filter(|profile| !not.contains(profile)).collect()
    }

    /// What is known of a requirement.
    pub fn status(&self, id: &str) -> Status<'_> {
        // What the default promises has to be shown of the default.
        let (by, not) = (self.profiles(id), self.not_promised_by(id));
        if by.contains(DEFAULT_PROFILE) || (not.contains(&DEFAULT_PROFILE) && !by.is_empty()) {
            return Status::Shown;
        }
        match self.exceptions.iter().find(|e| e.id == id) {
            Some(exception) => Status::Excepted(&exception.reason),
            None => Status::Missing,
        }
    }

    /// The requirements by where they come from.
    pub fn by_source(&self) -> BTreeMap<Source, Vec<&Requirement>> {
        let mut sources: BTreeMap<Source, Vec<&Requirement>> = BTreeMap::new();
        for requirement in &self.requirements {
            sources.entry(requirement.source).or_default().push(requirement);
        }
        sources
    }

    /// Counts the requirements that `which` picks.
    pub fn tally(&self, which: impl Fn(&Requirement) -> bool) -> Tally {
        let mut tally = Tally::default();
        for requirement in self.requirements.iter().filter(|r| which(r)) {
            tally.all += 1;
            match self.status(&requirement.id) {
                Status::Shown => tally.shown += 1,
                Status::Excepted(_) => tally.excepted += 1,
                Status::Missing => {}
            }
        }
        tally
    }

    /// What stands between this and the bar: every `must` shown or excepted, 95 % of `should` shown, at most 12
    /// exceptions. Empty: the bar is met.
    pub fn below_the_bar(&self) -> Vec<String> {
        let mut below = Vec::new();
        let must = self.requirements.iter().filter(|r| r.level == Level::Must);
        let bare = must.filter(|r| self.status(&r.id) == Status::Missing);
        below.extend(bare.map(|r| format!("{} ({}) has no test and no exception", r.id, r.level.name())));
        let should = self.tally(|r| r.level == Level::Should);
        if should.shown * 100 < should.all * SHOULD_PERCENT {
            below.push(format!(
                "{} of {} `should` have a test, less than {SHOULD_PERCENT} %",
                should.shown, should.all
            ));
        }
        if self.exceptions.len() > MAX_EXCEPTIONS {
            below.push(format!("{} exceptions, at most {MAX_EXCEPTIONS} are allowed", self.exceptions.len()));
        }
        below
    }

    /// What is wrong with the report's own sources: claims of what does not exist, exceptions for what is shown,
    /// reasons that say nothing.
    pub fn contradictions(&self) -> Vec<String> {
        let mut wrong = self.wrong.clone();
        for test in &self.tests {
            let unknown = test.ids.iter().filter(|id| self.requirement(id).is_none());
            wrong.extend(
                unknown
                    .map(|id| format!("{}:{}: {id} is not in docs/requirements.toml", test.file, test.line)),
            );
        }
        let reasons = self.exceptions.iter().map(|e| (&e.id, &e.reason));
        for (id, reason) in reasons.chain(self.given_up.iter().map(|g| (&g.id, &g.reason))) {
            if self.requirement(id).is_none() {
                wrong.push(format!("docs/exceptions.toml: {id} is not in docs/requirements.toml"));
            }
            if reason.len() < MIN_REASON {
                wrong.push(format!("docs/exceptions.toml: {id}: '{reason}' is no reason"));
            }
        }
        let needless = self.exceptions.iter().filter(|e| self.status(&e.id) == Status::Shown);
        wrong.extend(needless.map(|e| format!("docs/exceptions.toml: {} has a test by now", e.id)));
        wrong.extend(self.outcomes.contradictions(&self.faults));
        let stale = self.faults.iter().filter(|fault| !self.is_noticed_by_claimants(fault));
        wrong.extend(
            stale.map(|fault| format!("what noticed the fault '{}' no longer claims it", fault.name)),
        );
        wrong
    }

    /// Whether the tests that noticed a fault, if any did, are such as claim what it breaks.
    fn is_noticed_by_claimants(&self, fault: &Fault) -> bool {
        let Some(outcome) = self.outcomes.0.get(&fault.name) else { return true };
        let claims = |(id, by): (&String, &String)| {
            by.is_empty() || self.claimants(id).iter().any(|test| test.name == *by)
        };
        fault.ids.iter().zip(&outcome.by).all(claims)
    }

    /// Whether nothing new would come of trying a fault again.
    pub fn is_settled(&self, fault: &Fault) -> bool {
        let outcome = self.outcomes.0.get(&fault.name);
        outcome.is_some_and(|o| o.caught() && o.digest == fault.digest())
            && self.is_noticed_by_claimants(fault)
    }

    /// The whole as one JSON document.
    pub fn to_json(&self, which: impl Fn(&Requirement) -> bool) -> Value {
        let one = |r: &Requirement| {
            let (status, reason) = match self.status(&r.id) {
                Status::Shown => ("shown", None),
                Status::Excepted(reason) => ("excepted", Some(reason)),
                Status::Missing => ("missing", None),
            };
            let rfc = if let Source::Rfc(number) = r.source { Some(number) } else { None };
            let tests = self.claimants(&r.id).into_iter().map(
                |t| json!({ "file": t.file, "test": t.name, "profiles": t.profiles, "neutral": t.neutral }),
            );
            json!({
                "id": r.id, "source": r.source.to_string(), "rfc": rfc, "section": r.section,
                "level": r.level.name(), "area": r.area, "text": r.text, "status": status, "reason": reason,
                "profiles": self.profiles(&r.id), "given_up_by": self.not_promised_by(&r.id),
                "tests": tests.collect::<Vec<_>>(),
            })
        };
        let level = |level: Level| {
            let t = self.tally(|r| r.level == level && which(r));
            json!({ "all": t.all, "shown": t.shown, "excepted": t.excepted, "missing": t.missing() })
        };
        let (caught, seeded) = self.outcomes.figure();
        json!({
            "must": level(Level::Must), "should": level(Level::Should), "may": level(Level::May),
            "seeded_faults": { "seeded": seeded, "caught": caught },
            "below_the_bar": self.below_the_bar(),
            "requirements": self.requirements.iter().filter(|r| which(r)).map(one).collect::<Vec<_>>(),
        })
    }
}

fn requirement(row: &toml::Table) -> Result<Requirement, String> {
    let id = string(row, "id")?;
    let rfc = row.get("rfc").and_then(toml::Value::as_integer).ok_or(format!("{id}: no number `rfc`"))?;
    let level = string(row, "level")?;
    let level = Level::ALL.into_iter().find(|l| l.name() == level).ok_or(format!("{id}: level '{level}'"))?;
    let source = match u32::try_from(rfc) {
        Ok(0) if id.starts_with("posix-") => Source::Posix,
        Ok(0) => Source::Attacks,
        Ok(number) => Source::Rfc(number),
        Err(_) => return Err(format!("{id}: rfc {rfc}")),
    };
    Ok(Requirement {
        source,
        section: string(row, "section")?,
        level,
        area: string(row, "area")?,
        text: string(row, "text")?,
        check: string(row, "check")?,
        id,
    })
}

/// Each `[[key]]` of a text, as `read` understands it.
pub(crate) fn rows<T>(
    text: &str,
    key: &str,
    read: impl Fn(&toml::Table) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let Some(rows) = table.get(key) else { return Ok(Vec::new()) };
    let rows = rows.as_array().ok_or(format!("`{key}` is no list"))?;
    rows.iter().map(|row| read(row.as_table().ok_or(format!("a `{key}` is no table"))?)).collect()
}

/// A string that must be there.
pub(crate) fn string(row: &toml::Table, key: &str) -> Result<String, String> {
    let text = row.get(key).and_then(toml::Value::as_str).unwrap_or("");
    if text.is_empty() { Err(format!("no `{key}` in: {row}")) } else { Ok(text.to_owned()) }
}

/// A list of strings that must be there and not be empty.
pub(crate) fn strings(row: &toml::Table, key: &str) -> Result<Vec<String>, String> {
    let list = row.get(key).and_then(toml::Value::as_array).filter(|list| !list.is_empty());
    let list = list.ok_or(format!("no list `{key}` in: {row}"))?;
    let text = |value: &toml::Value| value.as_str().map(str::to_owned).ok_or(format!("`{key}` in: {row}"));
    list.iter().map(text).collect()
}

/// What only readers of the report need: the build, which writes it, shares the rest.
impl Test {
    /// Whether this is a script, not a function.
    pub fn is_script(&self) -> bool {
        self.file.starts_with(SCRIPTS)
    }

    /// Reads what `to_line` wrote.
    pub fn from_line(line: &str) -> Option<Test> {
        let mut fields = line.split('\t').map(str::to_owned);
        let mut next = || fields.next();
        let (file, name, ids, profiles) = (next()?, next()?, next()?, next()?);
        let list = |text: String| text.split(',').map(str::to_owned).collect();
        let neutral = next()? == "neutral";
        Some(Test { file, line: 0, name, ids: list(ids), profiles: list(profiles), neutral })
    }
}
