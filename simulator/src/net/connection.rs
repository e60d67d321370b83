//! One connection: HTTP/1.1 by hyper, on a socket that may be cut under it.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::io::SharedStream;
use crate::faults::{Cut, Faults};

/// What a handler knows of the connection its request came on.
#[derive(Clone, Debug, Default)]
pub struct Connection(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    cut: Mutex<Option<Cut>>,
    wake: Notify,
}

impl Connection {
    /// Ends the connection. Never returns: the connection is dropped and the caller with it.
    pub async fn cut<T>(&self, how: Cut) -> T {
        *self.0.cut.lock() = Some(how);
        self.0.wake.notify_one();
        std::future::pending().await
    }

    async fn was_cut(&self) -> Cut {
        loop {
            if let Some(how) = *self.0.cut.lock() {
                return how;
            }
            self.0.wake.notified().await;
        }
    }
}

/// Serves a connection until it ends, is cut, or connections are refused.
pub async fn serve<H, F, B>(stream: TcpStream, faults: Faults, handle: H)
where
    H: Fn(Request<Incoming>, Connection) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error = Infallible> + 'static,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let stream = SharedStream::new(stream);
    let control = Connection::default();
    let service = service_fn(|request| {
        let response = handle(request, control.clone());
        async move { Ok::<_, Infallible>(response.await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream.clone()), service);
    let mut served = std::pin::pin!(served);
    let mut refused = std::pin::pin!(faults.refusing_is(true));
    let mut killed = std::pin::pin!(faults.killed());
    let mut finishing = false;
    loop {
        tokio::select! {
            biased;
            how = control.was_cut() => {
                if how == Cut::Reset {
                    stream.reset_on_close();
                }
                return;
            }
            () = &mut killed => {
                stream.reset_on_close();
                return;
            }
            () = &mut refused, if !finishing => {
                // What is under way is finished, what is idle is closed.
                finishing = true;
                served.as_mut().graceful_shutdown();
            }
            ended = served.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
        }
    }
}
