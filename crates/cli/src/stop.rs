//! Ctrl-C: once to close, twice to abort.

use std::io;
use std::time::Duration;

use sockeye::core::socket::How;
use sockeye::net::tokio::TcpStream;
use sockeye::net::{self, Socket};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;

use crate::ended::How as Ended;
use crate::failure::{Code, Failure};

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Go on.
    Run,
    /// Close what is open, properly.
    Close,
    /// Reset what is left.
    Abort,
}

/// Tells everybody who asks when Ctrl-C (or SIGTERM, SIGHUP) came.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Stage>);

impl Stop {
    /// Takes the process's signals; once.
    pub fn on_interrupt() -> Result<Stop, Failure> {
        let (sender, receiver) = watch::channel(Stage::Run);
        ctrlc::set_handler(move || {
            sender
                .send_modify(|stage| *stage = if *stage == Stage::Run { Stage::Close } else { Stage::Abort });
        })
        .map_err(|error| Failure::new(Code::Failed, format!("cannot take Ctrl-C: {error}")))?;
        Ok(Stop(receiver))
    }

    pub fn stage(&self) -> Stage {
        *self.0.borrow()
    }

    /// Returns once the first Ctrl-C came.
    pub async fn closing(&self) {
        self.reached(Stage::Close).await;
    }

    /// Returns once the second Ctrl-C came.
    pub async fn aborting(&self) {
        self.reached(Stage::Abort).await;
    }

    /// Runs `work` on a connection until it is done or Ctrl-C ends it: then the FIN goes out and the peer gets
    /// the time of grace to close too; after it, or at the second Ctrl-C, the connection is reset.
    pub async fn until(
        &self,
        socket: &Socket,
        grace: Duration,
        work: impl Future<Output = io::Result<()>>,
    ) -> Ended {
        tokio::select! {
            done = work => return Ended::from_result(done),
            () = self.closing() => {}
        }
        let orderly = async {
            socket.shutdown(How::Write)?;
            let mut rest = TcpStream::from_std(net::TcpStream::from(socket.clone()));
            drain(&mut rest).await
        };
        tokio::select! {
            done = orderly => Ended::closed_by_us(done),
            () = tokio::time::sleep(grace) => Ended::abort(socket, "did not end in time"),
            () = self.aborting() => Ended::abort(socket, "interrupted twice"),
        }
    }

    async fn reached(&self, stage: Stage) {
        // The sender lives in the handler, as long as the process; if it were gone, no signal could come.
        if self.0.clone().wait_for(|now| *now >= stage).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Reads and throws away until the peer ends.
pub async fn drain(mut stream: impl AsyncRead + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}
