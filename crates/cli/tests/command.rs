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

/// A bad link in the demo: every byte arrives all the same, the losses are told, and the same seed loses the same.
#[test]
fn demo_over_a_bad_link() {
    let run = |link: &str| {
        let events = demo(&["--bytes", "2MB", "--link", link]);
        let transfer = of_kind(&events, "transfer")[0].clone();
        assert_eq!(transfer["sha256_sent"], transfer["sha256_received"]);
        let lost = of_kind(&events, "link").iter().map(|e| e["lost"].as_u64().expect("a number")).collect();
        (transfer["seconds"].as_f64().expect("a number"), lost)
    };
    let (_, lost): (f64, Vec<u64>) = run("delay=20ms,loss=3%,duplicate=1%,reorder=1%/5ms,corrupt=1%,seed=3");
    assert!(lost.len() == 2 && lost.iter().all(|n| *n > 0), "{lost:?}");
    let (seconds, _) = run("delay=20ms,rate=10mbit");
    let asked = 2e6 * 8.0 / 10e6;
    assert!((asked..asked * 1.2).contains(&seconds), "{seconds} s over 10 Mbit/s");
}

/// What recovery does can be seen: why each segment was sent again, and how the window, the round trip and the rates
/// stood whenever its state changed.
#[test]
fn demo_shows_what_recovery_does() {
    let link = "delay=20ms,rate=20mbit,loss=5%,seed=2";
    let events = demo(&["--bytes", "300000", "--show", "2000", "--link", link]);
    let again = of_kind(&events, "sent");
    let reasons = [
        "retransmit: RTO",
        "retransmit: RACK",
        "retransmit: fast",
        "retransmit: recovery",
        "tail loss probe",
    ];
    let seen = again.iter().filter(|e| reasons.contains(&e["why"].as_str().expect("a reason"))).count();
    assert!(seen > 0, "nothing was sent again in {} segments", again.len());
    let moves = of_kind(&events, "congestion");
    assert!(moves.iter().any(|e| e["state"] == "recovery" || e["state"] == "loss"), "{moves:?}");
    for event in moves {
        assert!(event["min_rtt"].as_f64().expect("seconds") >= 0.04, "{event}");
        assert!(event["srtt"].as_f64() >= event["min_rtt"].as_f64(), "{event}");
        for key in ["cwnd", "ssthresh", "pacing_rate", "delivery_rate"] {
            assert!(event[key].is_u64(), "{key} in {event}");
        }
        assert!(event.get("undone").is_some(), "{event}");
    }
    let text = stdout(&sockeye(&["demo", "--bytes", "300000", "--show", "2000", "--link", link]));
    for word in ["recovery: cwnd", "ssthresh", "srtt", "min 4", "delivered", "Mbit/s"] {
        assert!(text.contains(word), "no `{word}` in\n{text}");
    }
}

/// A bad part of a link's text is pointed at, with exit code 2; the manual and the page have the grammar.
#[test]
fn a_link_that_cannot_be_understood() {
    let output = sockeye(&["demo", "--link", "delay=40ms,loss=2"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("loss takes a share such as 1%"), "{}", stderr(&output));
    assert!(stderr(&output).contains("  delay=40ms,loss=2\n                  ^\n"), "{}", stderr(&output));
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/link.md"));
    let page = page.expect("docs/link.md");
    let manual = stdout(&sockeye(&["help", "serve"]));
    for line in sockeye::core::link::GRAMMAR.lines() {
        assert!(page.contains(line), "docs/link.md: no `{line}`");
        assert!(manual.contains(line), "help serve: no `{line}`");
    }
}

/// The bench in virtual time: the same seeds give the same figures, each row has its spread, the lossy ones Linux's beside.
#[test]
fn bench_loss_is_repeatable() {
    let rows = |args: &[&str]| -> Vec<Value> {
        let output = sockeye(&[&["bench", "loss", "--json", "--seeds", "2"], args].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let only = ["--only", "cubic delay=100ms"];
    let first = rows(&only);
    assert_eq!(first, rows(&only), "the same seeds draw the same runs");
    assert_ne!(first[0]["mbit"], rows(&["--only", "cubic delay=100ms", "--seed", "7"])[0]["mbit"]);
    let (mbit, linux) = (&first[0]["mbit"], first[0]["linux_mbit"].as_f64().expect("measured"));
    let n = |key: &str| mbit[key].as_f64().expect("a number");
    assert!(n("min") <= n("median") && n("median") <= n("max") && n("min") > 0.0, "{mbit}");
    // Two seeds say little; half of Linux is a collapse.
    assert!(n("median") > linux / 2.0, "{mbit}");
    let short = rows(&["--only", "short cubic"]);
    assert_eq!(short.len(), 2);
    assert!(
        short.iter().all(|row| row["median_ms"].as_f64().expect("a number") >= 100.0),
        "two round trips at least"
    );
    let output = sockeye(&["bench", "loss", "--only", "vegas"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cubic, reno, bbr and dctcp"), "{}", stderr(&output));
}

/// What can be known without a device is said before one is opened.
#[test]
fn a_peer_of_another_family() {
    let output = sockeye(&["connect", "--device", "tun:x", "--address", "192.0.2.2/24", "2001:db8::1", "80"]);
    assert_eq!(output.status.code(), Some(7));
    assert!(stderr(&output).contains("IPv6"), "{}", stderr(&output));
}

/// The report is part of the program: no sources are read, and what is asked for that is not there is a mistake.
#[test]
fn conformance_answers_from_anywhere() {
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_sockeye"))
            .arg("conformance")
            .args(args)
            .current_dir("/")
            .output()
            .expect("sockeye can be run");
        (output.status.code(), stdout(&output), stderr(&output))
    };
    let (code, text, error) = run(&[]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert!(text.contains("RFC 9293") && text.contains("Seeded faults: "), "{text}");
    let (code, text, _) = run(&["--rfc", "1337"]);
    assert_eq!(code, Some(0));
    assert!(text.starts_with("rfc1337-s3-a  should  shown") && text.contains("[rfc] crates/"), "{text}");
    let (code, text, _) = run(&["--missing"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("rfc826-sReception-a  must  excepted") && !text.contains("  shown"), "{text}");
    let (code, text, _) = run(&["--json", "--rfc", "0"]);
    let json: Value = serde_json::from_str(&text).expect("one document");
    let of_none = json["requirements"].as_array().expect("a list").iter().all(|r| r["rfc"].is_null());
    assert!(code == Some(0) && of_none && json["must"]["missing"] == 0, "{text}");
    let (code, text, error) = run(&["--rfc", "1"]);
    assert_eq!((code, text.as_str()), (Some(2), ""));
    assert!(error.contains("nothing of RFC 1") && error.contains("9293"), "{error}");
}
