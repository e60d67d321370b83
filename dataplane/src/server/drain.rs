//! Serving, and the end of it: stop accepting, let requests finish, end what is left visibly, and go.

use super::connection::Connections;
use crate::ending::Ending;
use crate::request::Gateway;
use crate::settings::Limits;
use aivonx_process::backoff::Backoff;
use aivonx_process::readiness::Readiness;
use aivonx_process::shutdown::Shutdown;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After an accept that failed for want of something: file descriptors, memory.
const ACCEPT_BACKOFF: Backoff = Backoff { initial: Duration::from_millis(10), max: Duration::from_secs(1) };
/// For the last words of streams to go out.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves until told to end, and then until all is finished or the time for that is over.
pub(crate) async fn serve(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    readiness: Readiness,
    shutdown: Shutdown,
    ending: Ending,
) {
    let limits = gateway.limits.clone();
    let (drain, kill) = (CancellationToken::new(), CancellationToken::new());
    let connections = Connections::new(gateway, &limits, drain.clone(), kill.clone());
    let tasks = TaskTracker::new();

    accept_until(&listener, &connections, &tasks, &limits, told_to_end(&readiness, &shutdown, &limits)).await;
    drop(listener);
    tasks.close();
    drain.cancel();
    tracing::info!(connections = tasks.len(), "no more connections are accepted");

    tokio::select! {
        () = tasks.wait() => return,
        () = sleep(limits.drain_timeout) => {
            tracing::warn!(connections = tasks.len(), "the time to finish is over: what is left is ended");
        }
        () = shutdown.force.cancelled() => {}
    }
    ending.begin();
    if timeout(LAST_WORDS, tasks.wait()).await.is_err() {
        kill.cancel();
        tasks.wait().await;
    }
}

/// Readiness goes first, so that load balancers send no more before connections are refused.
async fn told_to_end(readiness: &Readiness, shutdown: &Shutdown, limits: &Limits) {
    shutdown.drain.cancelled().await;
    readiness.close("draining");
    tokio::select! {
        () = sleep(limits.drain_delay) => {}
        () = shutdown.force.cancelled() => {}
    }
}

async fn accept_until(
    listener: &TcpListener,
    connections: &Connections,
    tasks: &TaskTracker,
    limits: &Limits,
    end: impl Future<Output = ()>,
) {
    let room = Arc::new(Semaphore::new(limits.max_connections as usize));
    let accepting = async {
        let mut failures = 0;
        loop {
            match accept(listener, &room).await {
                Ok((stream, permit)) => {
                    failures = 0;
                    let connections = connections.clone();
                    tasks.spawn(async move {
                        connections.serve(stream).await;
                        drop(permit);
                    });
                }
                // The client was gone before it was accepted.
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    failures += 1;
                    tracing::error!(%error, "accepting a connection failed");
                    sleep(ACCEPT_BACKOFF.delay(failures)).await;
                }
            }
        }
    };
    tokio::select! {
        () = end => {}
        () = accepting => {}
    }
}

/// Room first: a connection that cannot be served stays in the backlog.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
