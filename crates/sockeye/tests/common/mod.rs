//! What the tests that need the kernel share: a network namespace of their own.

use std::process::Command;

const INSIDE: &str = "SOCKEYE_TEST_NAMESPACE";

/// Runs `body` in a new network namespace, by starting this test again inside of one.
///
/// Without the permission to make one the test is skipped with a printed reason, unless
/// `SOCKEYE_REQUIRE_PEERS=1` says that it must run.
pub fn in_namespace(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let made = Command::new("unshare").args(["-n", "true"]).status().is_ok_and(|status| status.success());
    let flags: &[&str] = if made { &["-n"] } else { &["-U", "-r", "-n"] };
    let possible =
        made || Command::new("unshare").args(flags).arg("true").status().is_ok_and(|status| status.success());
    if !possible || !std::path::Path::new("/dev/net/tun").exists() {
        let reason = "no permission for a network namespace, or no /dev/net/tun";
        assert!(std::env::var_os("SOCKEYE_REQUIRE_PEERS").is_none_or(|v| v != "1"), "{test}: {reason}");
        eprintln!("{test}: skipped: {reason}");
        return;
    }
    let program = std::env::current_exe().expect("a test knows its own program");
    let status = Command::new("unshare")
        .args(flags)
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare ran a moment ago");
    assert!(status.success(), "{test} failed in its namespace");
}
