//! HTTP with hyper over Sockeye: a server and a client on two stacks joined in memory.
//!
//! `cargo run --example hyper --features tokio -- [REQUESTS]`

use std::convert::Infallible;
use std::error::Error;
use std::time::Instant;

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use sockeye::Host;
use sockeye::net::tokio::{TcpListener, TcpStream};

type AnyError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let requests: u32 = std::env::args().nth(1).map_or(Ok(1_000), |n| n.parse())?;
    let (client, server) = Host::pair()?;
    let listener = TcpListener::bind(&server, "192.0.2.2:80")?;
    tokio::spawn(serve(listener));

    let stream = TcpStream::connect(&client, "192.0.2.2:80").await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("client: {error}");
        }
    });
    let began = Instant::now();
    let mut body = Bytes::new();
    for n in 0..requests {
        let request = Request::get(format!("/{n}")).header("host", "192.0.2.2").body(Empty::<Bytes>::new())?;
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        if !response.status().is_success() {
            return Err(format!("request {n}: {}", response.status()).into());
        }
        body = response.into_body().collect().await?.to_bytes();
    }
    let took = began.elapsed();
    let rate = f64::from(requests) / took.as_secs_f64();
    println!(
        "{requests} requests in {took:.1?}, {rate:.0} a second; the last answer: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(())
}

/// Serves each connection in a task of its own.
async fn serve(listener: TcpListener) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => return eprintln!("server: {error}"),
        };
        tokio::spawn(async move {
            let answer = service_fn(answer);
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = connection.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from(format!("you asked for {}", request.uri().path())))))
}
