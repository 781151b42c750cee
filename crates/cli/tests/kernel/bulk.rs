//! Full speed in both directions, with what is there to send and receive: netcat and a few lines of python.

use std::process::Stdio;
use std::time::Instant;

use super::lab::{KERNEL, Lab, OURS, PORT, explain, sha256};

const LARGE: usize = 256 << 20;
/// What a sender and a receiver at full speed are not slower than even here, bits a second: a connection that lives on
/// timers (a lost window update, a wrong RTO) is slower by far.
const FLOOR: f64 = 100e6;

fn fast_enough(begun: Instant, bytes: usize) {
    let rate = bytes as f64 * 8.0 / begun.elapsed().as_secs_f64();
    println!("{:.2} Gbit/s", rate / 1e9);
    assert!(rate > FLOOR, "{rate} bit/s");
}

/// netcat sends a file to us; a program of ours digests it.
///
/// Shows: rfc9293-s3.6.1-a
#[test]
fn netcat_sends_to_us() {
    let Some(lab) = Lab::new(&["nc", "sha256sum"]) else { return };
    let (file, digest) = lab.noise("large", LARGE);
    let server = lab.serve(&["--exec", "sha256sum"]);
    let begun = Instant::now();
    let output = lab
        .command("timeout")
        .args(["60", "nc", "-N", OURS, &PORT.to_string()])
        .stdin(std::fs::File::open(file).expect("the file"))
        .stdout(Stdio::piped())
        .output()
        .expect("nc can be run");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(&digest), "{}", explain(&output));
    fast_enough(begun, LARGE);
    server.stop();
}

/// netcat receives a file from a program of ours.
#[test]
fn netcat_receives_from_us() {
    let Some(lab) = Lab::new(&["nc", "cat"]) else { return };
    let (_, digest) = lab.noise("large", LARGE);
    let server = lab.serve(&["--exec", "cat large"]);
    let begun = Instant::now();
    let output = lab.run("nc", &["-d", OURS, &PORT.to_string()]);
    assert_eq!((output.stdout.len(), sha256(&output.stdout)), (LARGE, digest));
    fast_enough(begun, LARGE);
    server.stop();
}

/// A python sender to `--discard`, a python receiver from `--source`, every byte counted.
#[test]
fn python_both_ways() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let server = lab.serve(&["--discard"]);
    let begun = Instant::now();
    let script = r"
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
block, left = bytes(1 << 20), int(sys.argv[3])
while left:
    left -= s.send(block[:left])
s.shutdown(socket.SHUT_WR)
assert s.recv(1) == b''
";
    let args = [OURS, &PORT.to_string(), &LARGE.to_string()];
    lab.python(script, &args);
    fast_enough(begun, LARGE);
    assert_eq!(server.ended(1)[0]["received"], LARGE);
    server.stop();

    let server = lab.serve(&["--source", &LARGE.to_string()]);
    let begun = Instant::now();
    let script = r"
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
count, pattern = 0, bytes(range(251)) * 8400
while chunk := s.recv(1 << 20):
    at = count % 251
    assert chunk == pattern[at:at + len(chunk)], count
    count += len(chunk)
assert count == int(sys.argv[3]), count
";
    lab.python(script, &args);
    fast_enough(begun, LARGE);
    server.stop();
}

/// Echo: both directions of one connection full at once.
#[test]
fn echo_at_full_speed() {
    let Some(lab) = Lab::new(&["nc"]) else { return };
    let (file, digest) = lab.noise("large", LARGE / 4);
    let server = lab.serve(&["--echo"]);
    let output = lab
        .command("timeout")
        .args(["60", "nc", "-N", OURS, &PORT.to_string()])
        .stdin(std::fs::File::open(file).expect("the file"))
        .output()
        .expect("nc can be run");
    assert_eq!((output.stdout.len(), sha256(&output.stdout)), (LARGE / 4, digest));
    server.stop();
}

/// `connect` sends a file to a netcat that listens, and receives one.
#[test]
fn connect_sends_and_receives() {
    let Some(lab) = Lab::new(&["nc"]) else { return };
    let (file, digest) = lab.noise("large", LARGE / 4);
    lab.device("tun1");
    let listener = lab.spawn("nc", &["-N", "-l", KERNEL, "7000"]);
    lab.wait_for_listener(7_000);
    let bytes = std::fs::read(&file).expect("the file");
    let receiver = std::thread::spawn(move || listener.finish());
    let output = lab.connect(&[KERNEL, "7000"], &bytes);
    assert!(output.status.success(), "{}", explain(&output));
    let received = receiver.join().expect("netcat received");
    assert_eq!((received.len(), sha256(&received)), (LARGE / 4, digest.clone()));

    let mut listener = lab.spawn("nc", &["-N", "-l", KERNEL, "7001"]);
    lab.wait_for_listener(7_001);
    let mut input = listener.0.stdin.take().expect("a pipe");
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut input, &bytes));
    // netcat gives up its own direction when the peer ends: our end comes after all of it.
    let output = lab.connect_until(&[KERNEL, "7001"], b"", LARGE / 4);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(sha256(&output.stdout), digest);
    sender.join().expect("no panic").expect("netcat took everything");
    listener.finish();
}
