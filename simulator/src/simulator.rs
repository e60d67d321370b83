//! Starting a node, watching it, stopping it.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Model};
use crate::faults::{Fault, FaultId, FaultKind, Faults};
use crate::net::{Listener, serve};
use crate::node::{Node, State};
use crate::record::RecordedRequest;
use crate::service::handle;

/// A running node. Dropping it cuts all its connections and frees its port; [`Simulator::shutdown`] does the same
/// and waits until it is done.
#[derive(Debug)]
pub struct Simulator {
    node: Node,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It cannot listen there.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A setting makes no sense.
    #[error("{0}")]
    Config(String),
}

impl Simulator {
    /// Starts a node. It answers as soon as this returns. Must be called within a tokio runtime, where the node's
    /// tasks go on running.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let address = config.listen;
        let listener = Listener::bind(address).map_err(|source| StartError::Listen { address, source })?;
        let (node, loops) = Node::new(config, listener.address()).map_err(StartError::Config)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let expiry = node.faults().clone();
        tasks.spawn(stop.clone().run_until_cancelled_owned(loops.run()));
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move { expiry.expire().await }));
        let accepting = Accepting { node: node.clone(), listener, stop: stop.clone(), tasks: tasks.clone() };
        tasks.spawn(stop.clone().run_until_cancelled_owned(accepting.run()));
        tasks.close();
        Ok(Self { node, stop, tasks })
    }

    /// `http://127.0.0.1:port`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.node.address()
    }

    /// The node's name, as in the header `x-sim-node`.
    pub fn name(&self) -> &str {
        &self.node.config().node
    }

    /// Stops the node: connections are cut at once, as Ollama's are.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }

    /// The node's faults.
    pub fn faults(&self) -> &Faults {
        self.node.faults()
    }

    /// Closes the listener and waits until it is closed. See [`FaultKind::Refuse`].
    pub async fn refuse(&self, kill: bool) -> FaultId {
        let id = self.faults().add(Fault::new(FaultKind::Refuse { kill }));
        let still = |state: &State| state.listening || (kill && state.connections > 0);
        self.wait_until(|state| !still(state)).await;
        id
    }

    /// Removes all faults and waits until the node listens again.
    pub async fn recover(&self) {
        self.faults().clear();
        self.wait_until(|state| state.listening).await;
    }

    /// The node's state now.
    pub fn state(&self) -> State {
        self.node.state()
    }

    /// Waits until the state is as wanted. It is looked at after every change; there is no time limit.
    pub async fn wait_until(&self, mut holds: impl FnMut(&State) -> bool) -> State {
        let looked = || {
            let state = self.node.state();
            holds(&state).then_some(state)
        };
        self.node.changed().find(looked).await
    }

    /// The last requests, oldest first. Those to `/_sim/` are not among them.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.node.recorder().requests()
    }

    /// Waits until one of the last requests is as wanted.
    pub async fn wait_for_request(
        &self,
        mut wanted: impl FnMut(&RecordedRequest) -> bool,
    ) -> RecordedRequest {
        let looked = || self.node.recorder().requests().into_iter().find(|request| wanted(request));
        self.node.changed().find(looked).await
    }

    /// Forgets the requests so far; the counters stay.
    pub fn clear_requests(&self) {
        self.node.recorder().clear();
    }

    /// Replaces the models on disk. Those that are loaded stay so.
    pub fn set_models(&self, models: Vec<Model>) -> Result<(), StartError> {
        self.node.store().set(models).map_err(StartError::Config)?;
        self.node.changed().bump();
        Ok(())
    }

    /// Changes what `/api/version` says.
    pub fn set_version(&self, version: &str) {
        self.node.set_version(version);
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The accept loop.
struct Accepting {
    node: Node,
    listener: Listener,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Accepting {
    async fn run(mut self) {
        let faults = self.node.faults().clone();
        loop {
            tokio::select! {
                biased;
                () = faults.refusing_is(true) => {
                    self.listener.stop();
                    self.node.set_listening(false);
                    faults.refusing_is(false).await;
                    self.listen_again().await;
                    self.node.set_listening(true);
                }
                accepted = self.listener.accept() => match accepted {
                    Ok(stream) => self.spawn(stream),
                    Err(error) => {
                        // Out of descriptors, most likely: others must close some first.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                }
            }
        }
    }

    async fn listen_again(&mut self) {
        while let Err(error) = self.listener.start() {
            tracing::warn!(%error, address = %self.listener.address(), "cannot listen again yet");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    fn spawn(&self, stream: TcpStream) {
        let (node, connected) = (self.node.clone(), self.node.connected());
        let faults = node.faults().clone();
        let hang = faults.take("", |kind| (*kind == FaultKind::HangAccept).then_some(()));
        let connection = async move {
            let _open = connected;
            if let Some((hang, ())) = hang {
                tokio::select! {
                    () = faults.removed(hang) => {}
                    () = faults.killed() => return,
                }
            }
            serve(stream, faults, |request, connection| handle(node.clone(), request, connection)).await;
        };
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(connection));
    }
}
