//! Many connections: at once, and one after another.

use super::lab::{Lab, OURS, PORT, counter};

/// 1,000 connections at once, each with traffic of its own.
#[test]
fn a_thousand_at_once() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let server = lab.serve(&["--echo", "--backlog", "1024"]);
    let script = r"
import asyncio, sys
async def one(n, barrier):
    reader, writer = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
    await barrier.wait() # all are open
    message = (str(n) * 2000).encode()
    writer.write(message)
    writer.write_eof()
    assert await reader.read() == message
    writer.close()
    await writer.wait_closed()
class Barrier:
    def __init__(self, n): self.left, self.event = n, asyncio.Event()
    async def wait(self):
        self.left -= 1
        if not self.left: self.event.set()
        await self.event.wait()
async def main():
    barrier = Barrier(1000)
    await asyncio.wait_for(asyncio.gather(*(one(n, barrier) for n in range(1000))), 50)
asyncio.run(main())
";
    lab.python(script, &[OURS, &PORT.to_string()]);
    assert!(server.ended(1_000).iter().all(|end| end["how"] == "closed"));
    let events = server.stop();
    assert_eq!(counter(&events, "ListenOverflows"), 0);
}

/// 20,000 connections one after another: the client closes first for half of them, the server for the other half,
/// whose TIME-WAITs are then all here.
///
/// Shows: rfc9293-MUST-13
#[test]
fn twenty_thousand_one_after_another() {
    let Some(lab) = Lab::new(&["python3"]) else { return };
    let script = r"
import socket, sys
for n in range(10_000):
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
    if sys.argv[3] == 'client':
        s.sendall(b'x')
        assert s.recv(1) == b'x'
    else:
        assert s.recv(2) == b'\x00'
        assert s.recv(1) == b''
    s.close()
";
    let server = lab.serve(&["--echo"]);
    let before = server.memory();
    lab.python(script, &[OURS, &PORT.to_string(), "client"]);
    server.ended(10_000);
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more after 10,000 connections");
    let events = server.stop();
    assert_eq!(counter(&events, "TcpPassiveOpens"), 10_000);
    assert_eq!(counter(&events, "TimeWait"), 0);

    let server = lab.serve(&["--source", "1"]);
    lab.python(script, &[OURS, &PORT.to_string(), "server"]);
    server.ended(10_000);
    let events = server.stop();
    assert_eq!(counter(&events, "TcpPassiveOpens"), 10_000);
    // Those of the first minute have ended if it took longer than that.
    assert_eq!(
        counter(&events, "TimeWait") + counter(&events, "TW") + counter(&events, "TWRecycled"),
        10_000
    );
}
