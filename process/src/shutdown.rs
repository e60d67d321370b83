//! How a program is told to end: politely first, then at once.

use std::io;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Two stages of an end. `force` implies `drain`.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Take no new work and finish what is under way.
    pub drain: CancellationToken,
    /// End now.
    pub force: CancellationToken,
}

impl Shutdown {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a polite end.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Asks for an immediate end.
    pub fn force(&self) {
        self.drain.cancel();
        self.force.cancel();
    }

    /// Listens for SIGTERM and SIGINT in the background: the first drains, the second forces.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn on_signals(&self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                }
            };
            let signal = next().await;
            info!(signal, "draining: what is under way is finished; a second signal ends it at once");
            shutdown.drain();
            let signal = next().await;
            warn!(signal, "ending at once");
            shutdown.force();
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn force_also_drains() {
        let shutdown = Shutdown::new();
        shutdown.force();
        assert!(shutdown.drain.is_cancelled() && shutdown.force.is_cancelled());
    }
}
