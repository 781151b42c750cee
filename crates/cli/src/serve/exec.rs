//! A program for each connection, as inetd starts one.

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;

use sockeye::net::AsSocket as _;
use sockeye::net::tokio::TcpStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::Command;

use super::Service;
use crate::ended::{Ended, How, Traffic};
use crate::failure::Code;

const CHUNK: usize = 64 << 10;

/// Joins the standard input and output of `sh -c command` to the connection.
///
/// The peer's end closes the program's input; the end of its output is our FIN. The program finds the peer
/// in SOCKEYE_PEER. If it ends without reading what came, the peer gets a RST, as from the kernel.
pub async fn serve(command: &str, mut stream: TcpStream, peer: SocketAddr, service: &Service) -> Ended {
    let traffic = Traffic::default();
    let how = run(command, &mut stream, peer, service, &traffic).await;
    traffic.end(how)
}

async fn run(
    command: &str,
    stream: &mut TcpStream,
    peer: SocketAddr,
    service: &Service,
    traffic: &Traffic,
) -> How {
    let started = Command::new("sh")
        .args(["-c", command])
        .env("SOCKEYE_PEER", peer.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return How::Failed(Code::Failed, format!("cannot run sh: {error}")),
    };
    // Both were asked for above.
    let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
        return How::Failed(Code::Failed, "the program has no pipes".to_owned());
    };
    let socket = stream.as_socket().clone();
    let (mut reader, mut writer) = stream.split();
    let work = async {
        let inward = async move {
            match copy(&mut reader, &mut input, |n| traffic.receive(n)).await {
                // The peer has ended, or the program reads no more: its output still counts.
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(error) => return error,
            }
            drop(input);
            std::future::pending().await
        };
        let outward = async {
            copy(&mut output, &mut writer, |n| traffic.send(n)).await?;
            writer.shutdown().await
        };
        // The connection ends with the program's output.
        tokio::select! {
            done = outward => done,
            error = inward => Err(error),
        }
    };
    let how = service.stop.until(&socket, service.grace, work).await;
    drop(child);
    how
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: impl Fn(usize),
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
        count(read);
    }
}
