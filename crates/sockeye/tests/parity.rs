//! One body, two nets: each test runs against the host's kernel on loopback and against Sockeye in memory.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Longer than anything here takes; a read that waits this long has hung.
const LONG: Duration = Duration::from_secs(20);

struct Kernel;

impl Kernel {
    fn new() -> Kernel {
        Kernel
    }
    fn bind(&self, port: u16) -> io::Result<std::net::TcpListener> {
        std::net::TcpListener::bind(("127.0.0.1", port))
    }
    fn connect(&self, address: SocketAddr) -> io::Result<std::net::TcpStream> {
        std::net::TcpStream::connect(address)
    }
    fn connect_timeout(&self, address: &SocketAddr, timeout: Duration) -> io::Result<std::net::TcpStream> {
        std::net::TcpStream::connect_timeout(address, timeout)
    }
}

struct Ours {
    client: sockeye::Host,
    server: sockeye::Host,
}

impl Ours {
    fn new() -> Ours {
        let (client, server) = sockeye::Host::pair().unwrap();
        Ours { client, server }
    }
    fn bind(&self, port: u16) -> io::Result<sockeye::net::TcpListener> {
        self.server.bind(("192.0.2.2", port))
    }
    fn connect(&self, address: SocketAddr) -> io::Result<sockeye::net::TcpStream> {
        self.client.connect(address)
    }
    fn connect_timeout(
        &self,
        address: &SocketAddr,
        timeout: Duration,
    ) -> io::Result<sockeye::net::TcpStream> {
        sockeye::net::TcpStream::connect_timeout(&self.client, address, timeout)
    }
}

macro_rules! parity {
    ($($(#[$meta:meta])* fn $name:ident($net:ident) $body:block)*) => {
        mod kernel {
            #[allow(unused_imports)]
            use {super::{Kernel, LONG}, std::io::*, std::net::{Shutdown, TcpListener, TcpStream}, std::thread, std::time::*};
            fn pair(net: &Kernel) -> (TcpStream, TcpStream) {
                let listener = net.bind(0).unwrap();
                let client = net.connect(listener.local_addr().unwrap()).unwrap();
                (client, listener.accept().unwrap().0)
            }
            $($(#[$meta])* fn $name() { let $net = Kernel::new(); $body })*
        }
        mod ours {
            #[allow(unused_imports)]
            use {super::{LONG, Ours}, sockeye::net::{TcpListener, TcpStream}, std::io::*, std::net::Shutdown, std::thread, std::time::*};
            fn pair(net: &Ours) -> (TcpStream, TcpStream) {
                let listener = net.bind(0).unwrap();
                let client = net.connect(listener.local_addr().unwrap()).unwrap();
                (client, listener.accept().unwrap().0)
            }
            $($(#[$meta])* fn $name() { let $net = Ours::new(); $body })*
        }
    };
}

parity! {
    /// Shows: posix-accept-a, posix-connect-a, posix-recv-b
    #[test]
    fn bytes_pass_both_ways_and_end(net) {
        let (mut client, mut server) = pair(&net);
        client.write_all(b"ping").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "ping");
        server.write_all(b"pong").unwrap();
        drop(server);
        text.clear();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "pong");
        assert_eq!(client.read(&mut [0; 9]).unwrap(), 0);
        assert_eq!(client.read(&mut [0; 9]).unwrap(), 0);
    }

    /// Shows: posix-connect-a, posix-getname-a
    #[test]
    fn both_ends_know_both_addresses(net) {
        let listener = net.bind(0).unwrap();
        let address = listener.local_addr().unwrap();
        assert_ne!(address.port(), 0);
        let client = net.connect_timeout(&address, LONG).unwrap();
        let (server, peer) = listener.accept().unwrap();
        assert_eq!(client.peer_addr().unwrap(), address);
        assert_eq!(server.local_addr().unwrap(), address);
        assert_eq!(client.local_addr().unwrap(), peer);
        assert_eq!(server.peer_addr().unwrap(), peer);
    }

    /// Shows: posix-connect-d
    #[test]
    fn nobody_listening_is_refused(net) {
        let listener = net.bind(0).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(net.connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(net.connect_timeout(&address, LONG).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_port_in_use_cannot_be_bound_again(net) {
        let listener = net.bind(0).unwrap();
        let error = net.bind(listener.local_addr().unwrap().port()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert_eq!(error.raw_os_error(), Some(98));
    }

    /// Shows: posix-recv-c
    #[test]
    fn a_read_waits_no_longer_than_its_time(net) {
        let (mut client, _server) = pair(&net);
        assert_eq!(client.read_timeout().unwrap(), None);
        let time = Duration::from_millis(60);
        client.set_read_timeout(Some(time)).unwrap();
        assert_eq!(client.read_timeout().unwrap(), Some(time));
        let began = Instant::now();
        assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(began.elapsed() >= Duration::from_millis(55), "{:?}", began.elapsed());
        assert_eq!(client.set_read_timeout(Some(Duration::ZERO)).unwrap_err().kind(), ErrorKind::InvalidInput);
        client.set_read_timeout(None).unwrap();
        assert_eq!(client.read_timeout().unwrap(), None);
    }

    /// Shows: posix-send-f
    #[test]
    fn a_write_waits_no_longer_than_its_time(net) {
        let (mut client, _server) = pair(&net);
        client.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        let data = vec![0; 1 << 20];
        let error = loop {
            match client.write(&data) {
                Ok(n) => assert!(n > 0),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }

    /// Shows: posix-accept-b, posix-recv-c, posix-nonblock-a
    #[test]
    fn what_does_not_wait_says_so(net) {
        let listener = net.bind(0).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let client = net.connect(listener.local_addr().unwrap()).unwrap();
        let began = Instant::now();
        let (mut server, _) = loop {
            match listener.accept() {
                Ok(accepted) => break accepted,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            assert!(began.elapsed() < LONG);
            thread::sleep(Duration::from_millis(1));
        };
        server.set_nonblocking(true).unwrap();
        assert_eq!(server.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
        server.set_nonblocking(false).unwrap();
        (&client).write_all(b"x").unwrap();
        assert_eq!(server.read(&mut [0; 1]).unwrap(), 1);
    }

    /// Shows: posix-send-a
    #[test]
    fn a_write_that_does_not_wait_is_short(net) {
        let (mut client, mut server) = pair(&net);
        client.set_nonblocking(true).unwrap();
        let (data, mut sent) = (vec![3; 64 << 10], 0);
        let error = loop {
            match client.write(&data) {
                Ok(n) => sent += n,
                Err(error) => break error,
            }
            assert!(sent < 1 << 30, "buffers have a bound");
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            server.read_to_end(&mut all).unwrap();
            all.len()
        });
        // The kernel and we alike: what was refused can be written once there is room.
        let began = Instant::now();
        while sent < 16 << 20 {
            match client.write(&data) {
                Ok(n) => sent += n,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    thread::sleep(Duration::from_millis(1));
                }
            }
            assert!(began.elapsed() < LONG);
        }
        drop(client);
        assert_eq!(reader.join().unwrap(), sent);
    }

    /// Shows: posix-recv-e
    #[test]
    fn peeking_takes_nothing(net) {
        let (mut client, mut server) = pair(&net);
        client.write_all(b"abc").unwrap();
        let mut out = [0; 3];
        let began = Instant::now();
        while server.peek(&mut out).unwrap() < 3 {
            assert!(began.elapsed() < LONG);
        }
        assert_eq!(server.peek(&mut out).unwrap(), 3);
        assert_eq!(&out, b"abc");
        out = [0; 3];
        server.read_exact(&mut out).unwrap();
        assert_eq!(&out, b"abc");
    }

    /// Shows: posix-close-b
    #[test]
    fn the_last_clone_closes(net) {
        let (client, mut server) = pair(&net);
        let mut clone = client.try_clone().unwrap();
        drop(client);
        server.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
        assert_eq!(server.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock, "no FIN yet");
        clone.write_all(b"x").unwrap();
        server.set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(server.read(&mut [0; 9]).unwrap(), 1);
        drop(clone);
        assert_eq!(server.read(&mut [0; 9]).unwrap(), 0);
    }

    /// Shows: posix-shutdown-a, posix-send-c
    #[test]
    fn after_shutdown_writes_fail_and_reads_go_on(net) {
        let (mut client, mut server) = pair(&net);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
        server.write_all(b"still").unwrap();
        let mut out = [0; 5];
        client.read_exact(&mut out).unwrap();
        client.shutdown(Shutdown::Read).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn shutting_down_wakes_a_reader(net) {
        let (client, _server) = pair(&net);
        let mut reader = client.try_clone().unwrap();
        let thread = thread::spawn(move || reader.read(&mut [0; 1]).unwrap());
        thread::sleep(Duration::from_millis(50));
        client.shutdown(Shutdown::Read).unwrap();
        assert_eq!(thread.join().unwrap(), 0);
    }

    /// Shows: posix-send-d
    #[test]
    fn unread_data_at_the_end_resets(net) {
        let (mut client, server) = pair(&net);
        client.write_all(&[1; 100]).unwrap();
        let began = Instant::now();
        while server.peek(&mut [0; 100]).unwrap() < 100 {
            assert!(began.elapsed() < LONG);
        }
        drop(server);
        client.set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(client.write(&[1]).unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    /// Shows: posix-soerror-a, posix-sockopt-c
    #[test]
    fn options_read_back(net) {
        let (client, _server) = pair(&net);
        assert!(!client.nodelay().unwrap());
        client.set_nodelay(true).unwrap();
        assert!(client.nodelay().unwrap());
        client.set_ttl(99).unwrap();
        assert_eq!(client.ttl().unwrap(), 99);
        assert!(client.take_error().unwrap().is_none());
        assert_eq!(client.set_ttl(0).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(client.set_ttl(256).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn slices_are_written_and_read_as_one(net) {
        let (mut client, mut server) = pair(&net);
        let parts = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two "), IoSlice::new(b"three")];
        assert_eq!(client.write_vectored(&parts).unwrap(), 13);
        drop(client);
        let (mut a, mut b, mut got) = ([0; 6], [0; 20], Vec::<u8>::new());
        loop {
            let n = server.read_vectored(&mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)]).unwrap();
            if n == 0 {
                break;
            }
            got.extend(a.iter().chain(&b).take(n));
        }
        assert_eq!(got, b"one two three");
    }

    #[test]
    fn listeners_hand_out_connections_in_order(net) {
        let listener = net.bind(0).unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..5u8)
            .map(|n| {
                let mut client = net.connect(address).unwrap();
                client.write_all(&[n]).unwrap();
                client
            })
            .collect();
        for (n, server) in listener.incoming().take(5).enumerate() {
            let mut out = [0; 1];
            server.unwrap().read_exact(&mut out).unwrap();
            assert_eq!(usize::from(out[0]), n);
        }
        drop(clients);
    }

    /// Shows: posix-concurrent-a
    #[test]
    fn one_connection_serves_threads_in_both_directions(net) {
        let (client, server) = pair(&net);
        const SIZE: usize = 8 << 20;
        let byte = |at: usize| (at / 7) as u8;
        let write = move |mut stream: TcpStream| {
            let data: Vec<u8> = (0..SIZE).map(byte).collect();
            stream.write_all(&data).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        };
        let read = move |mut stream: TcpStream| {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            assert_eq!(all.len(), SIZE);
            assert!(all.iter().enumerate().all(|(at, &got)| got == byte(at)));
        };
        let (c, s) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let threads = [
            thread::spawn(move || write(client)),
            thread::spawn(move || read(c)),
            thread::spawn(move || write(server)),
            thread::spawn(move || read(s)),
        ];
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn timeouts_of_zero_are_refused(net) {
        let address = net.bind(0).unwrap().local_addr().unwrap();
        let error = net.connect_timeout(&address, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
