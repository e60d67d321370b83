//! One client connection, HTTP/1.1 or HTTP/2 without TLS.

use super::activity::{Activity, BusyBody};
use super::guarded_io::{GuardedIo, Times};
use crate::request::Gateway;
use crate::settings::Limits;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// More headers than any client of ours sends; with one more the answer is 431.
const MAX_HEADERS: usize = 100;
/// The most that is read ahead of what is needed, and so the longest head.
const READ_BUFFER: usize = 64 << 10;
/// Requests at once on one HTTP/2 connection.
const H2_STREAMS: u32 = 100;
const H2_HEADER_LIST: u32 = 32 << 10;
const H2_PING: Duration = Duration::from_secs(20);

/// What connections share.
#[derive(Clone)]
pub(super) struct Connections {
    gateway: Arc<Gateway>,
    http: Arc<auto::Builder<TokioExecutor>>,
    times: Times,
    /// Cancelled when the process is told to end.
    drain: CancellationToken,
    /// Cancelled when what is still there must go.
    kill: CancellationToken,
}

impl Connections {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        limits: &Limits,
        drain: CancellationToken,
        kill: CancellationToken,
    ) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            // A connection's own limits take its place; see `guarded_io`.
            .header_read_timeout(None)
            .max_headers(MAX_HEADERS)
            .max_buf_size(READ_BUFFER);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS)
            .max_header_list_size(H2_HEADER_LIST)
            .keep_alive_interval(H2_PING)
            .keep_alive_timeout(H2_PING);
        let times =
            Times { head: limits.header_timeout, idle: limits.idle_timeout, write: limits.write_timeout };
        Self { gateway, http: Arc::new(http), times, drain, kill }
    }

    /// Serves a connection to its end.
    pub(super) async fn serve(self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a client connection was gone before it was served");
            return;
        }
        let activity = Activity::new();
        let io = TokioIo::new(GuardedIo::new(stream, self.times, activity.clone()));
        let gateway = self.gateway;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (gateway, busy) = (gateway.clone(), activity.begin());
            async move {
                let response = gateway.serve(request).await;
                Ok::<_, Infallible>(response.map(|body| BusyBody::new(body, busy)))
            }
        });
        let mut connection = pin!(self.http.serve_connection(io, service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.drain.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = self.kill.cancelled() => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            // Clients come and go; requests that this touched have their own record.
            tracing::debug!(%error, "a client connection ended early");
        }
    }
}
