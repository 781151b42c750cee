//! Each way in which a connection can end.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::lab::{KERNEL, Lab, OURS, PORT, explain, sha256};

/// What the scripts below begin with: a connection to us.
const CONNECT: &str = "
import os, signal, socket, struct, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.settimeout(30)
def state():
    return s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
";

fn python(lab: &Lab, script: &str) -> String {
    lab.python(&format!("{CONNECT}{script}"), &[OURS, &PORT.to_string()])
}

/// We close first: the kernel sees the end of the stream, and the port of ours is in TIME-WAIT.
///
/// Shows: rfc9293-s3.6-a, rfc9293-MUST-13
#[test]
fn server_first() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let server = lab.serve(&["--source", "10"]);
    let printed = python(
        &lab,
        "
data = b''
while chunk := s.recv(100): data += chunk
print(len(data))
time.sleep(0.2) # we wait in FIN-WAIT-2
s.close()
",
    );
    assert_eq!(printed.trim(), "10");
    assert_eq!(server.ended(1)[0]["how"], "closed");
    let events = server.stop();
    assert_eq!(super::lab::counter(&events, "TimeWait"), 1);
}

/// The peer closes first: it has the TIME-WAIT, we have nothing left.
///
/// Shows: rfc9293-s3.6-a
#[test]
fn client_first() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let server = lab.serve(&["--echo"]);
    python(
        &lab,
        "
s.sendall(b'x')
assert s.recv(1) == b'x'
s.shutdown(socket.SHUT_WR)
assert s.recv(1) == b''
s.close()
",
    );
    assert_eq!(server.ended(1)[0]["how"], "closed");
    let events = server.stop();
    assert_eq!(super::lab::counter(&events, "TimeWait"), 0);
    assert_eq!(super::lab::counter(&events, "TcpCurrEstab"), 0);
}

/// Both at once, many times over: whoever is first, and also if both FINs cross, all ends in order.
///
/// Shows: rfc9293-s3.6-b
#[test]
fn both_at_once() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let server = lab.serve(&["--source", "0"]);
    let script = "
import socket, sys
for _ in range(500):
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    s.settimeout(30)
    s.shutdown(socket.SHUT_WR)
    assert s.recv(1) == b''
    s.close()
";
    lab.python(script, &[OURS, &PORT.to_string()]);
    assert!(server.ended(500).iter().all(|end| end["how"] == "closed"));
    let events = server.stop();
    assert_eq!(super::lab::counter(&events, "TcpEstabResets"), 0);
}

/// The peer's half is closed; ours goes on for as long as it takes.
///
/// Shows: rfc9293-s3.6.1-a
#[test]
fn half_close() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let server = lab.serve(&["--exec", "cat > in; sleep 0.5; head -c 5000000 /dev/zero"]);
    let printed = python(
        &lab,
        "
s.sendall(b'question')
s.shutdown(socket.SHUT_WR)
count = 0
while chunk := s.recv(1 << 16): count += len(chunk)
print(count)
",
    );
    assert_eq!(printed.trim(), "5000000");
    assert_eq!(std::fs::read(lab.path("in")).expect("written"), b"question");
    assert_eq!(server.ended(1)[0]["how"], "closed");
    server.stop();
}

/// The peer resets (SO_LINGER with time 0).
#[test]
fn reset_by_the_peer() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let server = lab.serve(&["--echo"]);
    python(
        &lab,
        "
s.sendall(b'x')
assert s.recv(1) == b'x'
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
s.close()
",
    );
    assert_eq!(server.ended(1)[0]["how"], "reset");
    server.stop();
}

/// We reset (SO_LINGER with time 0): the second Ctrl-C while the peer does not end.
///
/// Shows: posix-linger-a
#[test]
fn linger_zero() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let server = lab.serve(&["--echo", "--grace", "30"]);
    let mut peer = lab.spawn(
        "python3",
        &[
            "-c",
            &format!(
                "{CONNECT}
s.sendall(b'x')
assert s.recv(1) == b'x'
print('ready', flush=True)
assert s.recv(1) == b'' # our FIN
try:
    time.sleep(1); s.sendall(b'y'); time.sleep(1); s.sendall(b'z')
    print('not reset')
except (ConnectionResetError, BrokenPipeError):
    print('reset')
"
            ),
            OURS,
            &PORT.to_string(),
        ],
    );
    assert_eq!(peer.line(), "ready");
    server.interrupt();
    std::thread::sleep(Duration::from_millis(300));
    server.interrupt();
    let (code, events) = server.wait();
    assert_eq!(code, Some(130));
    let end = events.iter().find(|e| e["event"] == "end").expect("the connection ended");
    assert_eq!(end["how"], "aborted");
    assert_eq!(peer.line(), "reset");
}

/// Ctrl-C closes properly: the peer sees the end of the stream, closes too, and the exit code is 0.
#[test]
fn interrupt_closes() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let server = lab.serve(&["--echo"]);
    let mut peer = lab.spawn(
        "python3",
        &[
            "-c",
            &format!(
                "{CONNECT}
s.sendall(b'x')
assert s.recv(1) == b'x'
print('ready', flush=True)
print(s.recv(1))
s.close()
"
            ),
            OURS,
            &PORT.to_string(),
        ],
    );
    assert_eq!(peer.line(), "ready");
    let events = server.stop();
    let end = events.iter().find(|e| e["event"] == "end").expect("the connection ended");
    assert_eq!(end["how"], "stopped");
    assert_eq!(peer.line(), "b''");
}

/// The peer's program is killed in the middle of the transfer: the kernel closes for it, with a RST because
/// of what it had not read.
#[test]
fn peer_killed() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let server = lab.serve(&["--source", "100GB"]);
    let mut peer = lab.spawn(
        "python3",
        &[
            "-c",
            &format!(
                "{CONNECT}
s.recv(1000)
print('ready', flush=True)
time.sleep(60)
"
            ),
            OURS,
            &PORT.to_string(),
        ],
    );
    assert_eq!(peer.line(), "ready");
    peer.signal(Signal::KILL);
    assert_eq!(server.ended(1)[0]["how"], "reset");
    server.stop();
}

/// The device is down for ten seconds: nothing is lost, and the transfer goes on.
///
/// Shows: rfc9293-s3.6-c
#[test]
fn device_down_and_up() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let (_, digest) = lab.noise("large", 64 << 20);
    let server = lab.serve(&["--exec", "cat large"]);
    let mut peer = lab.spawn(
        "python3",
        &[
            "-c",
            &format!(
                "{CONNECT}
import hashlib
s.settimeout(55)
digest, count = hashlib.sha256(), 0
while chunk := s.recv(1 << 16):
    if count < 20_000_000 <= count + len(chunk):
        print('half', flush=True)
        sys.stdin.readline()
    digest.update(chunk)
    count += len(chunk)
print(count, digest.hexdigest())
"
            ),
            OURS,
            &PORT.to_string(),
        ],
    );
    assert_eq!(peer.line(), "half");
    lab.check("ip", &["link", "set", "tun0", "down"]);
    std::io::Write::write_all(peer.0.stdin.as_mut().expect("a pipe"), b"\n").expect("python reads");
    std::thread::sleep(Duration::from_secs(10));
    lab.check("ip", &["link", "set", "tun0", "up"]);
    let back = Instant::now();
    assert_eq!(peer.line(), format!("{} {digest}", 64 << 20));
    println!("went on after {:?}", back.elapsed());
    assert_eq!(server.ended(1)[0]["how"], "closed");
    server.stop();
}

/// What was sent before a `connect` that ends at once is delivered, and the peer's answer too.
///
/// Shows: posix-shutdown-a
#[test]
fn connect_delivers_before_it_ends() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    lab.device("tun1");
    let mut peer = lab.spawn(
        "python3",
        &[
            "-c",
            "
import hashlib, socket, sys
l = socket.create_server((sys.argv[1], 7000))
print('ready', flush=True)
s, _ = l.accept()
digest = hashlib.sha256()
while chunk := s.recv(1 << 16): digest.update(chunk)
s.sendall(digest.hexdigest().encode())
s.close()
",
            KERNEL,
        ],
    );
    assert_eq!(peer.line(), "ready");
    let bytes: Vec<u8> = (0..3_000_001_u32).map(|n| (n % 249) as u8).collect();
    let output = lab.connect(&[KERNEL, "7000"], &bytes);
    assert!(output.status.success(), "{}", explain(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), sha256(&bytes));
}
