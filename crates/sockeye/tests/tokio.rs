//! The async face: the same streams, futures that can be dropped at any time, any number of waiters.

use std::future::Future;
use std::io::ErrorKind;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sockeye::Host;
use sockeye::core::{Errno, Ready};
use sockeye::net::AsSocket;
use sockeye::net::tokio::{TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(20);

async fn joined() -> (Host, Host, TcpListener, TcpStream, TcpStream) {
    let (a, b) = Host::pair().unwrap();
    let listener = TcpListener::bind(&b, "192.0.2.2:0").unwrap();
    let client = TcpStream::connect(&a, listener.local_addr().unwrap()).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    assert_eq!(client.local_addr().unwrap(), peer);
    (a, b, listener, client, server)
}

/// Writes until nothing fits any more, neither into our buffer nor into the peer's; returns how much.
async fn fill(client: &TcpStream) -> usize {
    let (mut sent, mut refused) = (0, 0);
    while refused < 10 {
        match client.try_write(&[1; 65_536]) {
            Ok(n) => (sent, refused) = (sent + n, 0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                refused += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    sent
}

/// Asks a future once and drops it.
async fn cancel<F: Future>(future: F) {
    let mut future = pin!(future);
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_pass_whole_both_ways_at_once() {
    let (_a, _b, _listener, client, server) = joined().await;
    let data = |seed: u32| (0..6_000_000u32).map(|n| (n.wrapping_mul(seed) >> 5) as u8).collect::<Vec<_>>();
    let run = |stream: TcpStream, send: u32, expect: u32| async move {
        let (mut read, mut write) = stream.into_split();
        let writing = tokio::spawn(async move {
            write.write_all(&data(send)).await.unwrap();
        }); // dropping the half sends the FIN
        let mut all = Vec::new();
        read.read_to_end(&mut all).await.unwrap();
        assert!(all == data(expect));
        writing.await.unwrap();
    };
    let both = async { tokio::join!(tokio::spawn(run(client, 3, 7)), tokio::spawn(run(server, 7, 3))) };
    let (one, other) = timeout(LONG, both).await.unwrap();
    one.unwrap();
    other.unwrap();
}

/// Shows: posix-concurrent-a
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tasks_connect_and_are_answered() {
    let (a, b) = Host::pair().unwrap();
    let listener = TcpListener::bind(&b, "192.0.2.2:7").unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.unwrap();
                write.shutdown().await.unwrap();
            });
        }
    });
    let tasks: Vec<_> = (0..1_000u32)
        .map(|n| {
            let a = a.clone();
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(&a, "192.0.2.2:7").await.unwrap();
                stream.write_all(&n.to_be_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                let mut back = Vec::new();
                stream.read_to_end(&mut back).await.unwrap();
                assert_eq!(back, n.to_be_bytes());
            })
        })
        .collect();
    for task in tasks {
        timeout(LONG, task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_cancelled_call_loses_nothing() {
    let (a, _b, listener, mut client, mut server) = joined().await;
    for _ in 0..50 {
        cancel(server.read(&mut [0; 10])).await;
        cancel(server.readable()).await;
        cancel(server.peek(&mut [0; 10])).await;
        cancel(listener.accept()).await;
    }
    client.write_all(b"all of it").await.unwrap();
    let mut out = [0; 9];
    timeout(LONG, server.read_exact(&mut out)).await.unwrap().unwrap();
    assert_eq!(&out, b"all of it");
    let address = listener.local_addr().unwrap();
    cancel(TcpStream::connect(&a, "192.0.2.9:9")).await; // nobody is there: the attempt is closed
    let _second = TcpStream::connect(&a, address).await.unwrap();
    timeout(LONG, listener.accept()).await.unwrap().unwrap();
    assert!(a.snapshot().iter().all(|row| row.remote.port() != 9), "the cancelled attempt is gone");
}

#[tokio::test]
async fn every_waiter_is_woken() {
    let (_a, _b, _listener, mut client, server) = joined().await;
    let server = std::sync::Arc::new(server);
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move { server.readable().await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(30)).await;
    client.write_all(b"x").await.unwrap();
    for task in tasks {
        timeout(LONG, task).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(server.try_read(&mut [0; 9]).unwrap(), 1);
    assert_eq!(server.try_read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// Shows: posix-concurrent-a
#[tokio::test]
async fn closing_wakes_a_task_that_waits() {
    let (_a, _b, listener, _client, mut server) = joined().await;
    let socket = server.as_socket().clone();
    let waiting = tokio::spawn(async move { server.read(&mut [0; 1]).await.unwrap_err() });
    let accepting = listener.as_socket().clone();
    let acceptor = tokio::spawn(async move { listener.accept().await.map(drop).unwrap_err() });
    tokio::time::sleep(Duration::from_millis(30)).await;
    socket.close().unwrap();
    accepting.close().unwrap();
    for task in [waiting, acceptor] {
        let error = timeout(LONG, task).await.unwrap().unwrap();
        assert_eq!(error.raw_os_error(), Some(Errno::EBADF.number()));
    }
}

#[tokio::test]
async fn a_full_socket_makes_a_writer_wait_until_there_is_room() {
    let (_a, _b, _listener, mut client, mut server) = joined().await;
    let sent = fill(&client).await;
    cancel(client.writable()).await;
    cancel(client.write(&[1])).await;
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.unwrap();
        all.len()
    });
    timeout(LONG, client.writable()).await.unwrap().unwrap();
    client.write_all(&[2; 100_000]).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(timeout(LONG, reader).await.unwrap().unwrap(), sent + 100_000);
}

#[tokio::test]
async fn refused_is_refused_and_ends_are_seen() {
    let (a, _b, _listener, client, server) = joined().await;
    let error = TcpStream::connect(&a, "192.0.2.2:1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    drop(client);
    let ready = timeout(LONG, server.ready(Ready::RDHUP)).await.unwrap().unwrap();
    assert!(ready.contains(Ready::RDHUP));
}

#[tokio::test]
async fn halves_come_together_again_only_if_they_belong_together() {
    let (_a, _b, _listener, client, server) = joined().await;
    let (read, write) = client.into_split();
    let (other_read, other_write) = server.into_split();
    let sockeye::net::tokio::ReuniteError(read, other_write) = read.reunite(other_write).unwrap_err();
    let mut client = read.reunite(write).unwrap();
    let mut server = other_read.reunite(other_write).unwrap();
    client.write_all(b"still open").await.unwrap();
    let mut out = [0; 10];
    server.read_exact(&mut out).await.unwrap();
    assert_eq!(&out, b"still open");
}

#[tokio::test]
async fn dropping_never_waits() {
    let (_a, _b, _listener, client, _server) = joined().await;
    client.as_socket().set_option(&sockeye::core::socket::SockOpt::Linger(Some(LONG))).unwrap();
    fill(&client).await;
    let began = std::time::Instant::now();
    drop(client);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn no_runtime_is_needed() {
    let (a, b) = Host::pair().unwrap();
    let listener = TcpListener::bind(&b, "192.0.2.2:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut accepting = pin!(listener.accept());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(accepting.as_mut().poll(&mut cx).is_pending());
    let _client = a.connect(address).unwrap();
    let began = std::time::Instant::now();
    loop {
        match accepting.as_mut().poll(&mut cx) {
            Poll::Ready(accepted) => return drop(accepted.unwrap()),
            Poll::Pending => assert!(began.elapsed() < LONG),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
