//! A loop of somebody else's takes packets from the device, in place of the driver's thread.
//!
//! Where all that packets lead to is done by one thread, which waits for other things as well, it had better wait for the
//! device too: to be woken by the driver's thread costs more than a packet. That thread keeps the time, and waits for room.

use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use super::host::Host;
use super::lead::BATCH;
use super::port::Port;

/// The right to take a device's packets, until it is dropped.
pub(crate) struct Attendance {
    host: Host,
    index: usize,
}

impl Attendance {
    /// For the first device of a host that lets others wait for it; `None` if there is none, or if somebody attends to it.
    pub(crate) fn begin(host: &Host) -> Option<Attendance> {
        let ports = &host.shard().ports;
        let index = ports.iter().position(|port| port.device.arrivals().is_some())?;
        if ports[index].attended.swap(true, Ordering::AcqRel) {
            return None;
        }
        Some(Attendance { host: host.clone(), index })
    }

    fn port(&self) -> &Port {
        &self.host.shard().ports[self.index]
    }

    /// Readable while there are packets to take.
    pub(crate) fn arrivals(&self) -> Option<BorrowedFd<'_>> {
        self.port().device.arrivals()
    }

    /// Takes some of the packets that have come; false if those were all. Nothing comes any more once the device has failed.
    pub(crate) fn receive(&self) -> bool {
        let port = self.port();
        let mut packets = port.receive();
        self.host.shard().receive_batch(port, &mut packets, BATCH)
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let port = self.port();
        port.attended.store(false, Ordering::Release);
        port.device.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;
    use crate::device::{Lan, lan};
    use crate::net::TcpStream;

    fn host(network: &str) -> (Host, SocketAddr) {
        let device = Lan::join(network, None).expect("a network of this test");
        let (v4, v6) = device.addresses();
        let builder = Host::builder().device(device);
        let host = builder.address(v4, lan::PREFIXES.0).address(v6, lan::PREFIXES.1).build().expect("a host");
        (host, SocketAddr::new(v4.into(), 7))
    }

    fn says_hello(client: &Host, to: SocketAddr, timeout: Duration) -> bool {
        let Ok(mut stream) = TcpStream::connect_timeout(client, &to, timeout) else { return false };
        stream.write_all(b"hello").is_ok()
    }

    /// Packets wait for whoever attends to the device, who sees that there are some; and for the driver's thread
    /// as soon as nobody does.
    #[test]
    fn the_drivers_thread_leaves_the_device_to_who_attends() {
        let network = format!("test-attend-{}", std::process::id());
        let ((client, _), (server, at)) = (host(&network), host(&network));
        let listener = server.bind(at).expect("a free port");
        let attendance = Attendance::begin(&server).expect("a device that others may wait for");
        assert!(Attendance::begin(&server).is_none(), "one at a time");
        assert!(!says_hello(&client, at, Duration::from_millis(300)), "nobody has taken the SYN");

        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let arrivals = attendance.arrivals().expect("it had one");
                while !done.load(Ordering::Acquire) {
                    let mut fds = [PollFd::new(&arrivals, PollFlags::IN)];
                    let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                    if poll(&mut fds, Some(&wait)).expect("a descriptor") > 0 {
                        while attendance.receive() {}
                    }
                }
            });
            assert!(says_hello(&client, at, Duration::from_secs(20)), "it came in by the attendant");
            done.store(true, Ordering::Release);
        });
        drop(attendance);
        assert!(says_hello(&client, at, Duration::from_secs(20)), "the driver's thread goes on");
        let mut heard = 0;
        for mut stream in listener.incoming().take(2).map_while(Result::ok) {
            let mut hello = [0; 5];
            heard += usize::from(stream.read_exact(&mut hello).is_ok() && &hello == b"hello");
        }
        assert_eq!(heard, 2);
    }
}
