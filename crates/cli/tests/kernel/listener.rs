//! Listeners under pressure, and ping.

use std::time::Duration;

use super::lab::{KERNEL, KERNEL6, Lab, OURS, OURS6, PORT, counter, explain};

/// Opens 40 connections to a listener whose program takes none: the first ones one after another, each as soon as the
/// one before is established, then 8 at once, then the others with a pause in between. Prints how many the kernel
/// takes for established and how many were reset. No more than 8 at once: the SYN queue must not overflow, because a
/// connection from a SYN cookie that finds the accept queue full is dropped without a word, and its client goes on
/// believing in it.
const CROWD: &str = r"
import errno, select, socket, sys, time
socks = []
first = int(sys.argv[3])
for n in range(40):
    s = socket.socket()
    s.setblocking(False)
    assert s.connect_ex((sys.argv[1], int(sys.argv[2]))) == errno.EINPROGRESS
    socks.append(s)
    if n < first:
        assert select.select([], [s], [], 20)[1]
    elif n >= first + 8:
        time.sleep(0.01)
time.sleep(1.5)
_, ready, _ = select.select([], socks, [], 0)
errors = [s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for s in ready]
print(errors.count(0), errors.count(errno.ECONNRESET) + errors.count(errno.ECONNREFUSED))
";

fn crowd(lab: &Lab, first: u32, args: &[&str]) -> (u32, u32, Vec<serde_json::Value>) {
    // One connection is served and holds the only permit; the others stay in the queues.
    let server = lab.serve(&[&["--echo", "--max-connections", "1", "--grace", "0.2"], args].concat());
    let mut holder = lab.spawn(
        "python3",
        &[
            "-c",
            "
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 30)
s.sendall(b'x')
assert s.recv(1) == b'x'
print('held', flush=True)
sys.stdin.readline()
",
            OURS,
            &PORT.to_string(),
        ],
    );
    assert_eq!(holder.line(), "held");
    let printed = lab.python(CROWD, &[OURS, &PORT.to_string(), &first.to_string()]);
    let mut numbers = printed.split_whitespace().map(|n| n.parse::<u32>().expect("a number"));
    let (established, reset) = (numbers.next().expect("two numbers"), numbers.next().expect("two numbers"));
    server.interrupt();
    let (_, events) = server.wait();
    (established, reset, events)
}

/// linux: backlog + 1 are admitted, SYNs to the full queue are dropped without a word.
///
/// Shows: posix-listen-c
#[test]
fn overflow_as_linux() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let (established, reset, events) = crowd(&lab, 9, &["--profile", "linux", "--backlog", "8"]);
    assert_eq!((established, reset), (9, 0));
    assert!(counter(&events, "ListenOverflows") > 0);
    assert!(counter(&events, "ListenDrops") >= counter(&events, "ListenOverflows"));
}

/// linux with `tcp_abort_on_overflow`: who finds the queue full at the third ACK is reset.
///
/// Shows: posix-listen-c
#[test]
fn overflow_as_linux_with_resets() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let (established, _, events) =
        crowd(&lab, 8, &["--profile", "linux", "--backlog", "8", "--abort-on-overflow"]);
    assert_eq!(established, 9, "backlog + 1");
    assert!(counter(&events, "ListenOverflows") > 0);
}

/// freebsd: 1.5 x backlog + 1 are admitted.
///
/// Shows: posix-listen-c
#[test]
fn overflow_as_freebsd() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let (established, _, events) = crowd(&lab, 13, &["--profile", "freebsd", "--backlog", "8"]);
    assert_eq!(established, 13);
    assert!(counter(&events, "ListenOverflows") > 0);
}

/// One permit for all addresses: whoever comes next has it, whichever address it was for.
#[test]
fn one_permit_for_every_address() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let server = lab.serve(&["--echo", "--max-connections", "1"]);
    let one_after_another = r"
import socket, sys
for address in sys.argv[2:]:
    with socket.create_connection((address, int(sys.argv[1])), 20) as s:
        s.sendall(b'x')
        assert s.recv(1) == b'x', address
";
    lab.python(one_after_another, &[&PORT.to_string(), OURS, OURS, OURS6, OURS6, OURS, OURS6]);
    assert_eq!(server.ended(6).len(), 6);
}

/// 100,000 SYNs from addresses that answer nothing; an honest client gets through all the while, and memory stays
/// bounded.
///
/// Shows: cve-1999-0116-synflood, rfc4987-s3.5-a
#[test]
fn syn_flood() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let server = lab.serve(&["--echo", "--backlog", "128", "--gateway", KERNEL]);
    let flood = r"
import random, socket, struct, sys, time
def total(data):
    s = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    s = (s >> 16) + (s & 0xffff)
    return ~(s + (s >> 16)) & 0xffff
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
dst, port = socket.inet_aton(sys.argv[1]), int(sys.argv[2])
options = struct.pack('!BBHBBBB', 2, 4, 1460, 1, 3, 3, 7) + bytes(1)
options = struct.pack('!BBH', 2, 4, 1460)
print('flooding', flush=True)
for n in range(100_000):
    src = struct.pack('!I', (198 << 24 | 18 << 16) + random.randrange(1 << 17))
    head = struct.pack('!HHIIBBHHH', random.randrange(1024, 65536), port, random.getrandbits(32), 0, 6 << 4, 2, 64240, 0, 0) + options
    check = total(src + dst + struct.pack('!BBH', 0, 6, len(head)) + head)
    head = head[:16] + struct.pack('!H', check) + head[18:]
    packet = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(head), n & 0xffff, 0, 64, 6, 0, src, dst) + head
    while True:
        try:
            s.sendto(packet, (sys.argv[1], 0))
            break
        except BlockingIOError:
            time.sleep(0.001)
        except OSError as e:
            if e.errno != 105: raise
            time.sleep(0.001)
print('done', flush=True)
";
    // Measured after the first connections, so that what is set up once does not count.
    let honest = r"
import socket, sys, time
worst = 0
for n in range(int(sys.argv[3])):
    begun = time.monotonic()
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
    s.settimeout(20)
    s.sendall(b'honest')
    assert s.recv(6) == b'honest'
    s.close()
    worst = max(worst, time.monotonic() - begun)
print('%.3f s at worst' % worst)
";
    let port = PORT.to_string();
    lab.python(honest, &[OURS, &port, "20"]);
    let before = server.memory();
    let mut attacker = lab.spawn("python3", &["-c", flood, OURS, &port]);
    assert_eq!(attacker.line(), "flooding");
    println!("under the flood: {}", lab.python(honest, &[OURS, &port, "100"]).trim());
    assert_eq!(attacker.line(), "done");
    lab.python(honest, &[OURS, &port, "20"]);
    let grown = server.memory().saturating_sub(before);
    println!("{grown} KiB more than before");
    assert!(grown < 64 << 10, "{grown} KiB more");
    let events = server.stop();
    assert!(
        counter(&events, "SyncookiesSent") > 0,
        "the flood did not fill the SYN queue: {:?}",
        events.last()
    );
}

/// Echo requests are answered, large ones too.
///
/// Shows: rfc1122-s3.2.2.6-a
#[test]
fn ping() {
    let Some(lab) = Lab::new(&["ping"]) else { return };
    let server = lab.serve(&[]);
    for size in ["0", "56", "1472", "4000"] {
        for address in [OURS, OURS6] {
            let output =
                lab.run_for(Duration::from_secs(20), "ping", &["-c", "3", "-i", "0.2", "-s", size, address]);
            assert!(output.status.success(), "{address}, {size} bytes: {}", explain(&output));
        }
    }
    // And ours is the only address that answers.
    let output = lab.run_for(Duration::from_secs(20), "ping", &["-c", "1", "-W", "1", "192.0.2.77"]);
    assert!(!output.status.success());
    for address in [KERNEL, KERNEL6] {
        assert!(lab.run("ping", &["-c", "1", address]).status.success(), "the kernel's own");
    }
    server.stop();
}
