//! The small services: echo (RFC 862), discard (RFC 863), and a source of bytes.

use sockeye::net::AsSocket as _;
use sockeye::net::tokio::TcpStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Service;
use crate::ended::{Ended, Traffic};
use crate::stop::drain;

/// What one call reads or writes at most, bytes.
const CHUNK: usize = 256 << 10;

/// Sends back what comes, and ends when the peer ends.
pub async fn echo(stream: TcpStream, service: &Service) -> Ended {
    take(stream, service, true).await
}

/// Reads until the peer ends.
pub async fn discard(stream: TcpStream, service: &Service) -> Ended {
    take(stream, service, false).await
}

async fn take(mut stream: TcpStream, service: &Service, send_back: bool) -> Ended {
    let traffic = Traffic::default();
    let socket = stream.as_socket().clone();
    let (mut reader, mut writer) = stream.split();
    let work = async {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = reader.read(&mut buffer).await?;
            if read == 0 {
                return writer.shutdown().await;
            }
            traffic.receive(read);
            if send_back {
                writer.write_all(&buffer[..read]).await?;
                traffic.send(read);
            }
        }
    };
    let how = service.stop.until(&socket, service.grace, work).await;
    traffic.end(how)
}

/// Sends `bytes` bytes (the numbers 0 to 250 over and over), ends, and waits for the peer's end.
pub async fn source(bytes: u64, mut stream: TcpStream, service: &Service) -> Ended {
    let traffic = Traffic::default();
    let socket = stream.as_socket().clone();
    let (mut reader, mut writer) = stream.split();
    let work = async {
        let pattern: Vec<u8> = (0..=250u8).cycle().take(CHUNK + 251).collect();
        while traffic.sent() < bytes {
            let from = (traffic.sent() % 251) as usize;
            let len = usize::try_from(bytes - traffic.sent()).unwrap_or(CHUNK).min(CHUNK);
            let written = writer.write(&pattern[from..from + len]).await?;
            traffic.send(written);
        }
        writer.shutdown().await?;
        drain(&mut reader).await
    };
    let how = service.stop.until(&socket, service.grace, work).await;
    traffic.end(how)
}
