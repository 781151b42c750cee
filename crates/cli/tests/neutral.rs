//! The neutral scripts on this host's own TCP: what our stack is held to is what a kernel does.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

/// Every script that says `// neutral` passes on the kernel.
///
/// It needs root, for a network namespace of each script's own and a TUN interface in it, and Linux's CUBIC. Without
/// them it is left out, unless `SOCKEYE_REQUIRE_PEERS=1` asks for it.
#[test]
fn neutral_scripts_pass_on_the_kernel() {
    let required = std::env::var_os("SOCKEYE_REQUIRE_PEERS").is_some_and(|value| value == "1");
    if let Err(why) = namespaces_can_be_made() {
        assert!(!required, "{why}");
        eprintln!("left out: {why}");
        return;
    }
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/scripts");
    let output = run(&scripts, "--neutral");
    // A machine that is busy is late: what failed gets a second chance, alone and with more patience.
    let failed: Vec<String> =
        output.lines().filter_map(|line| line.strip_prefix("FAILED  ")).map(str::to_owned).collect();
    let again: Vec<String> = failed
        .iter()
        .map(|file| run(Path::new(file), "--tolerance=100"))
        .filter(|out| !passed(out))
        .collect();
    assert!(output.lines().any(|line| line.starts_with("ok ")), "nothing has run:\n{output}");
    assert!(again.is_empty(), "{}", again.join("\n"));
}

fn run(scripts: &Path, option: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sockeye"))
        .args(["script", "--against", "kernel", option])
        .arg(scripts)
        .output()
        .expect("the command that was built for this test starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn passed(output: &str) -> bool {
    output.starts_with("ok ")
}

fn namespaces_can_be_made() -> Result<(), String> {
    let words = ["--net", "--", "ip", "tuntap", "add", "dev", "tun0", "mode", "tun"];
    match Command::new("unshare").args(words).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(format!("no TUN in a namespace: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Err(error) => Err(format!("unshare: {error}")),
    }
}
