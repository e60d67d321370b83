//! Change notices: a subscription that comes back by itself.

use super::connection::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT};
use crate::store::Notice;
use backon::{BackoffBuilder, ExponentialBuilder};
use futures::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use redis::{Client, Msg};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

/// A subscription on which nothing comes looks the same alive or dead, so it is asked this often.
const PING_INTERVAL: Duration = Duration::from_secs(5);

const RECONNECT_MIN: Duration = Duration::from_millis(100);
const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// Starts a task that subscribes to `channel` and passes notices on until the receiver is dropped.
pub(super) fn listen(client: Client, channel: &str, address: &str) -> mpsc::Receiver<Notice> {
    let (notices, receiver) = mpsc::channel(1);
    let listener = Listener { client, channel: channel.to_owned(), address: address.to_owned(), notices };
    tokio::spawn(listener.run());
    receiver
}

struct Listener {
    client: Client,
    channel: String,
    address: String,
    notices: mpsc::Sender<Notice>,
}

/// Why a subscription ended.
enum End {
    /// Nobody wants notices any more.
    Unwanted,
    Lost(String),
}

impl Listener {
    async fn run(self) {
        let mut delays = delays();
        // Said once for each loss; the attempts after it are of interest to nobody but a debugger.
        let mut told = false;
        loop {
            let subscribed = tokio::select! {
                () = self.notices.closed() => return,
                subscribed = self.subscribe() => subscribed,
            };
            let reason = match subscribed {
                Err(reason) => reason,
                Ok((sink, stream)) => {
                    if told {
                        tracing::info!(address = self.address, "change notices from Redis are back");
                    }
                    (delays, told) = (self::delays(), false);
                    match self.pass_on(sink, stream).await {
                        End::Unwanted => return,
                        End::Lost(reason) => reason,
                    }
                }
            };
            if told {
                tracing::debug!(address = self.address, reason, "still no change notices from Redis");
            } else {
                tracing::warn!(
                    address = self.address,
                    reason,
                    "no change notices from Redis; polling goes on"
                );
                told = true;
            }
            tokio::select! {
                () = self.notices.closed() => return,
                () = sleep(delays.next().unwrap_or(RECONNECT_MAX)) => {}
            }
        }
    }

    async fn subscribe(&self) -> Result<(PubSubSink, PubSubStream), String> {
        let subscribe = async {
            let (mut sink, stream) = self.client.get_async_pubsub().await?.split();
            sink.subscribe(&self.channel).await?;
            redis::RedisResult::Ok((sink, stream))
        };
        match timeout(CONNECT_TIMEOUT + RESPONSE_TIMEOUT, subscribe).await {
            Ok(subscribed) => subscribed.map_err(|error| error.to_string()),
            Err(_) => Err("no answer to the subscription".to_owned()),
        }
    }

    /// Takes messages as they come, so that none pile up in the driver, and keeps the one notice that says most until
    /// there is room for it.
    async fn pass_on(&self, mut sink: PubSubSink, mut stream: PubSubStream) -> End {
        let mut waiting = Some(Notice::Reconnected);
        let mut ping = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.notices.closed() => return End::Unwanted,
                room = self.notices.reserve(), if waiting.is_some() => match room {
                    Ok(room) => if let Some(notice) = waiting.take() { room.send(notice) },
                    Err(_) => return End::Unwanted,
                },
                message = stream.next() => match message {
                    Some(message) => waiting = Some(merge(waiting, read(&message))),
                    None => return End::Lost("connection closed".to_owned()),
                },
                _ = ping.tick() => match timeout(RESPONSE_TIMEOUT, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return End::Lost(error.to_string()),
                    Err(_) => return End::Lost("no answer to a ping".to_owned()),
                },
            }
        }
    }
}

fn delays() -> impl Iterator<Item = Duration> {
    let delays = ExponentialBuilder::new().with_min_delay(RECONNECT_MIN).with_max_delay(RECONNECT_MAX);
    delays.with_jitter().without_max_times().build()
}

/// A message that is no version still says that something changed.
fn read(message: &Msg) -> Notice {
    match message.get_payload::<String>().ok().and_then(|text| text.parse().ok()) {
        Some(version) => Notice::Changed(version),
        None => Notice::Reconnected,
    }
}

/// The one notice that makes a reader do at least what both would: `Reconnected` makes it read all.
fn merge(waiting: Option<Notice>, new: Notice) -> Notice {
    match (waiting, new) {
        (None, new) => new,
        (Some(Notice::Changed(old)), Notice::Changed(new)) => Notice::Changed(old.max(new)),
        _ => Notice::Reconnected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TableVersion;

    #[test]
    fn a_waiting_notice_loses_nothing_to_the_next_one() {
        let changed = |revision| Notice::Changed(TableVersion { epoch: 1, revision });
        assert_eq!(merge(None, changed(1)), changed(1));
        assert_eq!(merge(Some(changed(1)), changed(2)), changed(2));
        assert_eq!(merge(Some(changed(2)), changed(1)), changed(2));
        assert_eq!(merge(Some(Notice::Reconnected), changed(2)), Notice::Reconnected);
        assert_eq!(merge(Some(changed(2)), Notice::Reconnected), Notice::Reconnected);
    }

    #[test]
    fn attempts_go_on_for_ever_and_are_neither_hot_nor_rare() {
        let mut delays = delays();
        for attempt in 0..1_000 {
            let delay = delays.next().unwrap_or_else(|| panic!("gave up after {attempt}"));
            assert!(
                (RECONNECT_MIN..=2 * RECONNECT_MAX).contains(&delay),
                "{delay:?} before attempt {attempt}"
            );
        }
    }
}
