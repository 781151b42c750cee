//! What the command says when it cannot do what was asked.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use super::lab::{KERNEL, Lab, OURS, explain};

fn connect_fails(lab: &Lab, args: &[&str], code: i32, words: &[&str]) {
    let output = lab.connect(args, b"");
    assert_eq!(output.status.code(), Some(code), "{}", explain(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    for word in words {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
}

/// A port where nobody listens, by the kernel's RST.
///
/// Shows: rfc9293-s3.5.3-a
#[test]
fn refused() {
    let Some(lab) = Lab::new(&[]) else { return };
    lab.device("tun1");
    connect_fails(&lab, &[KERNEL, "9"], 5, &["refused", "nothing listens"]);
}

/// The kernel says by ICMP that a host cannot be reached.
///
/// Shows: rfc9293-MUST-54
#[test]
fn unreachable() {
    let Some(lab) = Lab::new(&[]) else { return };
    lab.device("tun1");
    lab.check("ip", &["route", "add", "unreachable", "198.18.0.0/15"]);
    lab.check("sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
    connect_fails(&lab, &["-w", "20", "--gateway", KERNEL, "198.18.0.1", "80"], 7, &["198.18.0.1"]);
    connect_fails(&lab, &["203.0.113.1", "80"], 7, &["--gateway"]);
}

/// Silence ends after the time given.
#[test]
fn timed_out() {
    let Some(lab) = Lab::new(&[]) else { return };
    lab.device("tun1");
    lab.check("ip", &["route", "add", "blackhole", "198.18.0.0/15"]);
    lab.check("sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
    let begun = Instant::now();
    connect_fails(&lab, &["-w", "2", "--gateway", KERNEL, "198.18.0.1", "80"], 6, &["timed out"]);
    assert!((2..10).contains(&begun.elapsed().as_secs()));
}

/// A second stack on the same interface.
#[test]
fn device_is_busy() {
    let Some(lab) = Lab::new(&[]) else { return };
    let _server = lab.serve(&[]);
    let output = lab
        .sockeye()
        .args(["serve", "--device", "tun:tun0", "--address", "192.0.2.3/24", "--port", "1"])
        .output()
        .expect("sockeye can be run");
    assert_eq!(output.status.code(), Some(3), "{}", explain(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("tun0"), "{}", explain(&output));
}

/// The same address twice: the second listener finds the port taken.
#[test]
fn address_in_use() {
    let Some(lab) = Lab::new(&[]) else { return };
    let ours = format!("{OURS}/24");
    let output = lab
        .sockeye()
        .args(["serve", "--device", "tun:tun0", "--address", &ours, "--address", &ours, "--port", "80"])
        .output()
        .expect("sockeye can be run");
    assert_eq!(output.status.code(), Some(4), "{}", explain(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use"), "{}", explain(&output));
}

/// Without the right to make an interface, what to do is said.
#[test]
fn no_permission() {
    let Some(lab) = Lab::new(&["setpriv"]) else { return };
    // Where an unprivileged user can reach it.
    let program = lab.path("sockeye");
    std::fs::copy(env!("CARGO_BIN_EXE_sockeye"), &program).expect("a copy");
    let all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(lab.path(""), all.clone()).expect("our folder");
    std::fs::set_permissions(&program, all).expect("our file");
    let output = lab
        .command("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program)
        .args(["serve", "--device", "tun:tun0", "--address", "192.0.2.2/24", "--port", "80"])
        .output()
        .expect("setpriv can be run");
    assert_eq!(output.status.code(), Some(3), "{}", explain(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ip tuntap add") || said.contains("setcap"), "{said}");
}
