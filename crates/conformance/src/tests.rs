//! The report says neither more nor less than its sources.

use std::path::Path;

use crate::claims::{self, Test};
use crate::faults::{Fault, Outcome, Outcomes};
use crate::{Report, Status};

const CATALOGUE: &str = r#"
[[req]]
id = "a-1"
rfc = 7
section = "1"
level = "must"
area = "x"
text = "A."
check = "A?"
[[req]]
id = "posix-b"
rfc = 0
section = "b"
level = "should"
area = "x"
text = "B."
check = "B?"
"#;
const GIVEN_UP: &str = r#"
[[given_up]]
id = "a-1"
profiles = ["linux"]
reason = "it does something else that takes forty letters to say"
"#;

fn test(ids: &[&str], profiles: &[&str]) -> Test {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Test {
        file: "f.rs".into(),
        line: 0,
        name: "t".into(),
        ids: list(ids),
        profiles: list(profiles),
        neutral: false,
    }
}

fn report(exceptions: &str, tests: Vec<Test>) -> Report {
    Report::of(CATALOGUE, exceptions, "", "", tests).expect("good sources")
}

#[test]
fn a_test_under_a_profile_that_gives_it_up_shows_nothing() {
    assert_eq!(report("", vec![test(&["a-1"], &["linux"])]).status("a-1"), Status::Shown);
    assert_eq!(report("", vec![test(&["a-1"], &["rfc"])]).status("a-1"), Status::Missing);
    assert_eq!(report(GIVEN_UP, vec![test(&["a-1"], &["linux"])]).status("a-1"), Status::Missing);
    assert_eq!(report(GIVEN_UP, vec![test(&["a-1"], &["linux", "rfc"])]).status("a-1"), Status::Shown);
}

#[test]
fn the_bar_is_for_every_must_and_most_of_should() {
    let both = vec![test(&["a-1", "posix-b"], &["linux"])];
    assert_eq!(report("", both).below_the_bar(), Vec::<String>::new());
    let below = report("", vec![test(&["posix-b"], &["linux"])]).below_the_bar();
    assert!(below.len() == 1 && below[0].starts_with("a-1"), "{below:?}");
    let below = report("", vec![test(&["a-1"], &["linux"])]).below_the_bar();
    assert!(below.len() == 1 && below[0].contains("0 of 1 `should`"), "{below:?}");
    let many = "[[exception]]\nid = \"a-1\"\nreason = \"because\"\n".repeat(13);
    let below = report(&many, vec![test(&["posix-b"], &["linux"])]).below_the_bar();
    assert!(below.len() == 1 && below[0].starts_with("13 exceptions"), "{below:?}");
}

#[test]
fn contradictions_are_named() {
    let exception = "[[exception]]\nid = \"a-1\"\nreason = \"because\"\n";
    let report = report(exception, vec![test(&["a-1", "a-2"], &["linux"])]);
    let wrong = report.contradictions().join("\n");
    assert!(wrong.contains("a-2 is not in docs/requirements.toml"), "{wrong}");
    assert!(wrong.contains("'because' is no reason"), "{wrong}");
    assert!(wrong.contains("a-1 has a test by now"), "{wrong}");
    let fault = "[[fault]]\nname = \"f\"\nfile = \"x\"\nold = \"a\"\nnew = \"b\"\nids = [\"a-1\"]\n";
    let outcome = |by: &str| format!("[[outcome]]\nname = \"f\"\ndigest = \"0\"\nby = [\"{by}\"]\n");
    for (by, stale) in [("t", false), ("u", true)] {
        let tests = vec![test(&["a-1"], &["linux"])];
        let report = Report::of(CATALOGUE, "", fault, &outcome(by), tests).expect("good sources");
        let wrong = report.contradictions().join("\n");
        assert!(wrong.contains("was changed after its outcome"), "{wrong}");
        assert_eq!(wrong.contains("no longer claims it"), stale, "{wrong}");
    }
}

#[test]
fn what_is_built_in_is_what_the_sources_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (built_in, read) = (Report::built_in(), Report::read(&root).expect("the project's own files"));
    assert_eq!(built_in.to_markdown(), read.to_markdown());
    assert_eq!(built_in.to_json(|_| true), read.to_json(|_| true));
    assert!(read.tests.len() > 500 && read.requirements.len() > 400, "the sources were not found");
}

#[test]
fn claims_are_read_from_tests_only() {
    let folder = std::env::temp_dir().join(format!("sockeye-claims-{}", std::process::id()));
    let tests = folder.join("crates/x/tests");
    std::fs::create_dir_all(&tests).expect("a folder");
    let shows = "/// Shows:";
    let lines = [
        &format!("{shows} a-1, a-2"),
        "#[test]",
        "fn one() {",
        "    let h = Host::plain(Config { x: 1, ..rfc() });",
        "}",
        &format!("{shows} a-3"),
        "fn no_test() { let _ = Profile::FreeBsd; }",
        &format!("{shows} a-4"),
        "#[test]",
        "fn two() { no_test(); plain(); }",
        "fn rfc() -> Config { Config::new(Profile::Rfc) }",
        "fn plain() -> Config { Config::default() }",
        &format!("{shows} a, b, c, d, e, a"),
        "#[tokio::test]",
        "async fn six() {",
        "}",
        &format!("{shows} a-6"),
        "/// Profile: rfc, freebsd",
        "#[test]",
        "fn seven() { plain(); }",
        "/// Profile: plan9",
        &format!("{shows} a-7"),
        "#[test]",
        "fn eight() {}",
    ];
    std::fs::write(tests.join("x.rs"), lines.join("\n")).expect("a file");
    std::fs::write(
        tests.join("x.pkt"),
        "// A.\n// profile: rfc\n// neutral\n// Shows: a-5\n0 close(3) = 0\n",
    )
    .expect("a file");
    let read = claims::read(&folder);
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
    let read = read.expect("two files");
    let found: Vec<(&str, String, String, bool)> = read
        .tests
        .iter()
        .map(|t| (t.name.as_str(), t.ids.join(" "), t.profiles.join(" "), t.neutral))
        .collect();
    let expected = [
        ("crates/x/tests/x.pkt", "a-5", "rfc", true),
        ("one", "a-1 a-2", "rfc", false),
        ("two", "a-4", "linux freebsd", false),
        ("six", "a b c d e a", "linux", false),
        ("seven", "a-6", "freebsd rfc", false),
        ("eight", "a-7", "", false),
    ];
    let expected =
        expected.map(|(name, ids, profiles, neutral)| (name, ids.into(), profiles.into(), neutral));
    assert_eq!(found, expected);
    let wrong = read.wrong.join("\n");
    assert!(wrong.contains("x.rs:6: what stands below it is no test"), "{wrong}");
    assert!(wrong.contains("x.rs:13: names 6 requirements") && wrong.contains("names a twice"), "{wrong}");
    assert!(wrong.contains("x.rs:22: 'Profile: plan9' names one"), "{wrong}");
    for test in read.tests.iter().filter(|test| !test.profiles.is_empty()) {
        let again = Test::from_line(&test.to_line()).expect("its own form");
        assert_eq!(Test { line: test.line, ..again }, *test);
    }
}

#[test]
fn an_outcome_belongs_to_its_fault() {
    let mut fault = Fault {
        name: "f".into(),
        file: "x.rs".into(),
        old: "a < b".into(),
        new: "a <= b".into(),
        ids: vec!["a-1".into()],
    };
    assert_eq!(fault.seed("if a < b {}"), Ok("if a <= b {}".to_owned()));
    assert!(fault.seed("if a > b {}").is_err() && fault.seed("a < b; a < b").is_err());
    let mut outcomes = Outcomes::default();
    assert_eq!(outcomes.contradictions(std::slice::from_ref(&fault)).len(), 1);
    outcomes.0.insert("f".into(), Outcome { digest: fault.digest(), by: vec!["t".into()] });
    assert_eq!(outcomes.contradictions(std::slice::from_ref(&fault)), Vec::<String>::new());
    assert_eq!(Outcomes::from_text(&outcomes.to_text()), Ok(outcomes.clone()));
    assert_eq!(outcomes.figure(), (1, 1));
    fault.new = "a > b".into();
    assert_eq!(outcomes.contradictions(&[fault]).len(), 1);
    assert_eq!(outcomes.contradictions(&[]).len(), 1);
    outcomes.0.insert("f".into(), Outcome { digest: String::new(), by: vec!["t".into(), String::new()] });
    assert_eq!(outcomes.figure(), (0, 1));
}
