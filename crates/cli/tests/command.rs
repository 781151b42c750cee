//! The command as a person or a script meets it, without any rights.

use std::process::{Command, Output, Stdio};

use pcap_file::pcapng::{Block, PcapNgReader};
use serde_json::Value;

fn sockeye(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sockeye"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("sockeye can be run")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs the demo with `--json`; returns its events.
fn demo(args: &[&str]) -> Vec<Value> {
    let output = sockeye(&[&["demo", "--json"], args].concat());
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}{}", stdout(&output), stderr(&output));
    stdout(&output).lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}

/// The states a side has passed, by the records of its changes.
fn states(events: &[Value], side: &str) -> Vec<String> {
    let changes = events.iter().filter(|e| e["event"] == "state" && e["side"] == side);
    changes.map(|e| e["to"].as_str().expect("a name").to_owned()).collect()
}

/// The demo passes each state that an orderly connection passes, at both ends, and gives everything back.
///
/// Shows: rfc9293-s3.5-a, rfc9293-s3.6-a, rfc9293-s3.6.1-a, rfc9293-MUST-13
#[test]
fn demo_passes_all_states() {
    let events = demo(&["--bytes", "1MiB"]);
    let client = ["SYN-SENT", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "CLOSED"];
    assert_eq!(states(&events, "client"), client);
    assert_eq!(
        states(&events, "server"),
        ["LISTEN", "SYN-RECEIVED", "ESTABLISHED", "CLOSE-WAIT", "LAST-ACK", "CLOSED"]
    );
    let end = of_kind(&events, "end");
    assert_eq!((end.len(), &end[0]["ok"], &end[0]["left"]), (1, &Value::Bool(true), &Value::from(0)));
}

/// Three segments open the connection: SYN, SYN-ACK, ACK.
///
/// Shows: rfc9293-s3.5-a
#[test]
fn demo_shows_the_handshake() {
    let events = demo(&["--bytes", "1"]);
    let sent = of_kind(&events, "sent");
    let flags: Vec<(&str, &str)> = sent[..3]
        .iter()
        .map(|e| (e["side"].as_str().expect("a side"), e["segment"]["flags"].as_str().expect("flags")))
        .collect();
    assert_eq!(flags[0], ("client", "SYN"));
    assert_eq!((flags[1].0, flags[1].1.contains("SYN"), flags[1].1.contains("ACK")), ("server", true, true));
    assert_eq!(flags[2], ("client", "ACK"));
    let numbers = |i: usize| {
        (
            sent[i]["segment"]["seq"].as_u64().expect("a number"),
            sent[i]["segment"]["ack"].as_u64().expect("a number"),
        )
    };
    let next = |n: u64| (n + 1) & 0xFFFF_FFFF;
    assert_eq!(numbers(1).1, next(numbers(0).0));
    assert_eq!(numbers(2), (next(numbers(0).0), next(numbers(1).0)));
}

/// Any number of bytes, any profile, any MTU: every byte arrives.
#[test]
fn demo_carries_every_byte() {
    for (bytes, more) in [
        ("0", &[][..]),
        ("1", &[]),
        ("1460", &["--show", "0"]),
        ("3000017", &["--profile", "freebsd"]),
        ("3000017", &["--profile", "rfc"]),
        ("200000", &["--mtu", "576"]),
        ("100MB", &[]),
    ] {
        let events = demo(&[&["--bytes", bytes], more].concat());
        let transfer = of_kind(&events, "transfer");
        assert_eq!(transfer.len(), 1);
        assert_eq!(transfer[0]["sha256_sent"], transfer[0]["sha256_received"]);
    }
}

/// People see the calls, the ladder, the transfer and the end.
#[test]
fn demo_is_readable() {
    let output = sockeye(&["demo", "--bytes", "10MB"]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    for word in [
        "socket(",
        "bind(",
        "listen(",
        "connect(",
        "accept()",
        "SYN-RECEIVED",
        "TIME-WAIT",
        "Gbit/s",
        "SHA-256",
        "EADDRINUSE",
    ] {
        assert!(text.contains(word), "no `{word}` in\n{text}");
    }
    assert!(text.lines().count() < 150, "it stays readable:\n{text}");
    assert!(!text.contains('\x1b'), "colours are for terminals");
}

/// The capture holds the whole connection, from SYN to the last ACK.
#[test]
fn demo_writes_a_capture() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("demo.pcapng");
    demo(&["--bytes", "100000", "--pcap", &path.display().to_string()]);
    let mut reader = PcapNgReader::new(std::fs::File::open(path).expect("written")).expect("pcapng");
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.expect("well formed") {
            packets.push(packet.data.into_owned());
        }
    }
    let flags = |packet: &[u8]| packet[20 + 13];
    assert!(packets.iter().all(|packet| packet[0] == 0x45 && packet[9] == 6), "IPv4 and TCP");
    assert_eq!(flags(&packets[0]) & 0x3F, 0x02, "SYN first");
    assert_eq!(packets.iter().filter(|packet| flags(packet) & 1 != 0).count(), 2, "two FINs");
    assert!(packets.iter().all(|packet| packet.len() <= 1_500), "no packet is longer than the MTU");
    let data: usize = packets.iter().map(|p| p.len() - 20 - usize::from(p[20 + 12] >> 4) * 4).sum();
    assert_eq!(data, 100_000 + 32, "the data and the digest in return");
}

#[test]
fn a_capture_that_cannot_be_written() {
    let output = sockeye(&["demo", "--pcap", "/nonexistent/file"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/nonexistent/file"), "{}", stderr(&output));
}

/// `sockeye demo | head -n 1` ends without a word of complaint.
#[test]
fn a_reader_that_goes_away() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sockeye"))
        .args(["demo", "--bytes", "1000000", "--show", "1000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sockeye can be run");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("a child can be waited for");
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(stderr(&output), "");
}

#[test]
fn help_is_a_manual() {
    for (args, words) in [
        (&["help"][..], &["demo", "serve", "connect"][..]),
        (&["help", "demo"], &["--bytes", "--json", "--pcap", "Exit codes", "TIME-WAIT"]),
        (&["help", "serve"], &["tun:NAME", "ip tuntap add", "--exec", "Ctrl-C", "Exit codes", "--backlog"]),
        (&["help", "connect"], &["half-close", "Exit codes"]),
    ] {
        let output = sockeye(args);
        assert!(output.status.success());
        for word in words {
            assert!(stdout(&output).contains(word), "{args:?}: no `{word}`");
        }
    }
    assert_eq!(stdout(&sockeye(&["--version"])), concat!("sockeye ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn bad_arguments_are_explained() {
    for (args, words) in [
        (&[][..], "Usage"),
        (&["dance"], "dance"),
        (&["demo", "--bytes", "many"], "does not begin with a number"),
        (&["demo", "--mtu", "20"], "20"),
        (&["serve"], "--device"),
        (&["serve", "--device", "tun0", "--address", "192.0.2.2/24", "--port", "80"], "tun:tun0"),
        (&["serve", "--device", "tap:x", "--address", "192.0.2.2/24", "--port", "80"], "there is: tun"),
        (&["serve", "--device", "tun:x", "--address", "192.0.2.2", "--port", "80"], "192.0.2.2/24"),
        (&["serve", "--device", "tun:x", "--address", "192.0.2.2/24", "--port", "70000"], "70000"),
        (
            &[
                "serve",
                "--device",
                "tun:x",
                "--address",
                "192.0.2.2/24",
                "--port",
                "7",
                "--echo",
                "--discard",
            ],
            "cannot be used",
        ),
        (&["connect", "--device", "tun:x", "--address", "192.0.2.2/24", "192.0.2.1", "0"], "0"),
    ] {
        let output = sockeye(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(words), "{args:?}: no `{words}` in {}", stderr(&output));
    }
}

/// What can be known without a device is said before one is opened.
#[test]
fn a_peer_of_another_family() {
    let output = sockeye(&["connect", "--device", "tun:x", "--address", "192.0.2.2/24", "2001:db8::1", "80"]);
    assert_eq!(output.status.code(), Some(7));
    assert!(stderr(&output).contains("IPv6"), "{}", stderr(&output));
}
