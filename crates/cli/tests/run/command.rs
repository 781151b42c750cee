//! The command itself: exit codes, signals, the terminal, published ports, and what is left behind.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::kit::{Ran, compiled, lacks, missing, run, sockeye, source};

/// `sockeye run` by itself, without `timeout` before it: signals are for it.
fn started(options: &[&str], program: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sockeye"));
    command.arg("run").args(options).arg("--").args(program).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command that was built")
}

fn line(from: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("a line of the program's");
    line.trim().to_owned()
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, signal).expect("a process of this test's own");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its number").port()
}

#[test]
fn the_exit_code_is_the_programs() {
    if lacks(missing(&["sh"])) {
        return;
    }
    assert_eq!(run(&[], &["sh", "-c", "exit 0"]).is_well()["connections"], 0);
    assert_eq!(run(&[], &["sh", "-c", "exit 7"]).code, Some(7));
    assert_eq!(run(&[], &["sh", "-c", "kill -TERM $$"]).code, Some(128 + 15));
    assert_eq!(run(&[], &["sh", "-c", "kill -KILL $$"]).code, Some(128 + 9));
}

#[test]
fn what_cannot_be_run_is_said_in_a_sentence() {
    if lacks(missing(&[])) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("its number").port().to_string();
    let cases: &[(i32, &[&str], &[&str], &str)] = &[
        (127, &[], &["/nonexistent"], "no such program"),
        (127, &[], &["sockeye-no-such-program"], "no such program"),
        (126, &[], &["/etc/passwd"], "must not be run"),
        (126, &[], &["/"], "must not be run"),
        (125, &["--link", "delay=xyz"], &["true"], "delay takes a time"),
        (125, &["--link", "nonsense"], &["true"], "key=value"),
        (125, &["--publish", "99999"], &["true"], "no port"),
        (125, &["--publish", &taken], &["true"], "cannot be published"),
        (125, &["--net", "nowhere"], &["true"], "no network `nowhere`"),
        (125, &["--address", "192.0.2.1/24"], &["true"], "--address"),
        (125, &["--pcap", "/nonexistent/x"], &["true"], "cannot write"),
    ];
    for (code, options, program, text) in cases {
        let ran = Ran::new(&sockeye(options, program).output().expect("timeout can be run"));
        assert_eq!(ran.code, Some(*code), "{options:?} {program:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(text), "{options:?} {program:?}: {}", ran.stderr);
        assert!(ran.stderr.starts_with("sockeye: ") && ran.stdout.is_empty(), "{}", ran.stderr);
    }
}

#[test]
fn a_run_inside_of_a_run_is_refused() {
    if lacks(missing(&[])) {
        return;
    }
    let inner = [env!("CARGO_BIN_EXE_sockeye"), "run", "--", "true"];
    let ran = Ran::new(&sockeye(&["--quiet"], &inner).output().expect("timeout can be run"));
    assert_eq!(ran.code, Some(125));
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("inside of another") && ran.stderr.contains("run it outside"),
        "{}",
        ran.stderr
    );
}

#[test]
fn output_is_the_programs_and_quiet_is_silent() {
    if lacks(missing(&["sh"])) {
        return;
    }
    let program = ["sh", "-c", "echo out; echo err >&2; exit 3"];
    let ran = Ran::new(&sockeye(&["--quiet"], &program).output().expect("timeout can be run"));
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(3), "out\n", "err\n"));
    let ran = Ran::new(&sockeye(&[], &program).output().expect("timeout can be run"));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), "out\n"));
    assert_eq!(ran.stderr, "err\nsockeye: no TCP socket\n");
}

#[test]
fn signals_to_the_command_reach_the_program() {
    if lacks(missing(&["sh"])) {
        return;
    }
    for (number, name) in [(Signal::TERM, "TERM"), (Signal::HUP, "HUP"), (Signal::USR1, "USR1")] {
        let script = format!("trap 'exit 9' {name}; echo ready; while :; do sleep 0.05; done");
        let mut child = started(&["--quiet"], &["sh", "-c", &script]);
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        assert_eq!(line(&mut out), "ready");
        signal(&child, number);
        assert_eq!(child.wait().expect("it ends").code(), Some(9), "{name}");
    }
    // One that does not catch it ends by it.
    let mut child = started(&["--quiet"], &["sh", "-c", "echo ready; exec sleep 30"]);
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    assert_eq!(line(&mut out), "ready");
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().expect("it ends").code(), Some(128 + 15));
}

/// Ctrl-C reaches the program once; Ctrl-Z stops it and gives the shell its turn, `fg` lets it go on.
#[test]
fn a_terminal_behaves_as_without_us() {
    if lacks(missing(&["python3", "bash"])) {
        return;
    }
    let output = Command::new("timeout")
        .args(["--kill-after=5", "40", "python3", &source("terminal.py"), env!("CARGO_BIN_EXE_sockeye")])
        .stdin(Stdio::null())
        .output()
        .expect("timeout can be run");
    let ran = Ran::new(&output);
    assert_eq!((ran.code, ran.stdout.trim()), (Some(0), "ok"), "{}", ran.stderr);
}

/// A program that writes 8 MB and exits at once: everything arrives, then FIN, also over a link that is slow and loses.
#[test]
fn what_was_written_before_the_exit_arrives() {
    if lacks(missing(&["cc"])) {
        return;
    }
    let data = compiled("data", false);
    for options in [&[][..], &["--link", "delay=10ms,loss=1%"]] {
        let mut reader = Command::new("timeout")
            .args(["30", &data, "read_to_end"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("timeout can be run");
        let mut out = BufReader::new(reader.stdout.take().expect("piped"));
        let port = line(&mut out);
        let summary = run(options, &[&data, "write_and_exit", &port]).is_well();
        assert_eq!(line(&mut out), "all there");
        assert!(reader.wait().expect("it ends").success());
        assert_eq!((&summary["connections"], &summary["sent"]), (&1.into(), &(8 << 20).into()));
        assert_eq!(summary["closed"][0]["ended"], "closed by the program");
        assert_eq!(summary["reset_at_the_end"], 0);
    }
}

/// An attempt that was not done when the program ended holds nothing up.
#[test]
fn an_attempt_of_a_program_that_is_gone_is_taken_back() {
    if lacks(missing(&["cc"])) {
        return;
    }
    let begun = Instant::now();
    run(&[], &[&compiled("connect", false), "closed_early"]).is_well();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// Killed, the supervisor leaves the program with errors; nothing hangs.
#[test]
fn a_killed_supervisor_leaves_errors() {
    if lacks(missing(&["cc"])) {
        return;
    }
    let ran = run(&[], &[&compiled("orphan", false), "supervisor_dies"]);
    assert!(ran.stdout.contains("survived"), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn nothing_is_left_behind() {
    if lacks(missing(&["cc", "sh"])) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let data = compiled("process", false);
    let script = format!("{data} prefork && {data} executed && sleep 0.3 & {data} forked; wait");
    let mut command = sockeye(&["--json"], &["sh", "-c", &script]);
    let ran = Ran::new(&command.env("TMPDIR", folder.path()).output().expect("timeout can be run"));
    ran.is_well();
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
    // Not even by one that is killed.
    let mut command = sockeye(&["--json"], &[&compiled("orphan", false), "supervisor_dies"]);
    command.env("TMPDIR", folder.path()).output().expect("timeout can be run");
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
}

/// A listener at 127.0.0.1 is reached by the published port; it sees who asks.
#[test]
fn a_published_port_leads_to_a_listener_at_the_loopback() {
    if lacks(missing(&["cc"])) {
        return;
    }
    let (port, inside) = (free_port(), "8080");
    let publish = format!("{port}:{inside}");
    let program = compiled("publish", false);
    let mut child = started(&["--json", "--publish", &publish], &[&program, "serve", inside]);
    served_outside(&mut child, port);
}

/// `all` opens each port while the program listens on it, and no longer.
#[test]
fn every_port_is_published_while_it_is_listened_on() {
    if lacks(missing(&["cc"])) {
        return;
    }
    let port = free_port();
    let program = compiled("publish", false);
    let mut child = started(&["--json", "--publish", "all"], &[&program, "serve", &port.to_string()]);
    served_outside(&mut child, port);
}

fn served_outside(child: &mut Child, port: u16) {
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    assert_eq!(line(&mut out), "listening");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the published port");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
    assert_eq!(
        line(&mut out),
        stream.local_addr().expect("a name").to_string(),
        "the peer's address is kept"
    );
    stream.write_all(b"outside").expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("half closed");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    assert_eq!(text, "outside");
    assert_eq!(line(&mut out), "closed");
    // The listener is closed: nobody is let in any more.
    let begun = Instant::now();
    loop {
        let refused = match TcpStream::connect(("127.0.0.1", port)) {
            Err(_) => true,
            // A port that is published for good is refused after the handshake.
            Ok(mut stream) => {
                stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time limit");
                stream.read(&mut [0]).is_err()
            }
        };
        if refused {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the port stays open");
    }
    let pid = line(&mut out).parse().ok().and_then(Pid::from_raw).expect("the program's number");
    kill_process(pid, Signal::TERM).expect("a process of this test's own");
    let mut errors = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut errors).expect("what it said");
    let told = |line: &str| line.contains(r#""event":"published""#) && line.contains(&port.to_string());
    assert!(errors.lines().any(told), "{errors}");
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "{errors}");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("the rest");
    let ran = Ran { code: Some(0), stdout: rest, stderr: errors };
    let summary = ran.is_well();
    assert_eq!(summary["accepted"], 1, "{summary}");
    assert_eq!(summary["closed"][0]["ended"], "closed by the peer");
}

/// What the machine's routes say reaches the program: no route, and unreachable.
#[test]
fn routes_that_lead_nowhere_are_told_as_on_the_kernel() {
    if lacks(missing(&["cc", "unshare", "ip", "sh"]).or_else(no_namespace)) {
        return;
    }
    let connect = compiled("connect", false);
    let prepare = "ip link set lo up && ip route add unreachable 192.0.2.1/32";
    let (enetunreach, ehostunreach) = (101, 113);
    for (address, errno) in [("192.0.2.3", enetunreach), ("192.0.2.1", ehostunreach)] {
        let of = |prefix: &str| {
            let script = format!("{prepare} && {prefix} {connect} unreachable {address} {errno}");
            let mut command = Command::new("timeout");
            command.args(["30", "unshare", "--map-root-user", "--net", "sh", "-c", &script]);
            Ran::new(&command.output().expect("timeout can be run"))
        };
        let kernel = of("");
        assert_eq!(kernel.code, Some(0), "{address} over the kernel's TCP: {}", kernel.stderr);
        let ran = of(&format!("{} run --json --", env!("CARGO_BIN_EXE_sockeye")));
        assert_eq!(ran.is_well()["failed"], 1, "{address}: {}", ran.stderr);
    }
}

fn no_namespace() -> Option<String> {
    let made = Command::new("unshare").args(["--map-root-user", "--net", "true"]).output();
    let is_made = made.is_ok_and(|made| made.status.success());
    (!is_made).then(|| "no network namespace can be made".to_owned())
}
