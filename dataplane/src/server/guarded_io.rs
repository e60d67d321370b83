//! A client's connection with its time limits: for a head, between requests, and for taking what is ready.
//!
//! The limits live below HTTP because they must also hold before the version of HTTP is known, and because hyper has one
//! limit for a head and for the pause before it, where the two need very different times.

use super::activity::Activity;
use crate::alarm::Alarm;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// From the first byte of a head to its last. For the first head of a connection it begins with the connection.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without a byte that the client takes of what is ready for it.
    pub write: Duration,
}

/// A connection that fails when a limit is reached.
#[derive(Debug)]
pub(super) struct GuardedIo<T> {
    io: T,
    times: Times,
    activity: Arc<Activity>,
    waiting: Waiting,
    read_alarm: Alarm,
    stalled: Option<Instant>,
    write_alarm: Alarm,
}

/// What is waited for while no request is under way.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Requests that had begun when the wait was last looked at.
    begun: u64,
    /// Since when a head is being read; `None` before its first byte.
    head_since: Option<Instant>,
}

impl<T> GuardedIo<T> {
    /// The first head is due from now on.
    pub(super) fn new(io: T, times: Times, activity: Arc<Activity>) -> Self {
        let waiting = Waiting { begun: 0, head_since: Some(activity.idle_since()) };
        Self {
            io,
            times,
            activity,
            waiting,
            read_alarm: Alarm::default(),
            stalled: None,
            write_alarm: Alarm::default(),
        }
    }

    /// Bytes came: if no request is under way, they belong to a head.
    fn note_read(&mut self) {
        self.look();
        if !self.activity.is_busy() {
            self.waiting.head_since.get_or_insert_with(Instant::now);
        }
    }

    /// When what is waited for must be there. A request under way has limits of its own, but since nothing polls this
    /// connection when it ends, the alarm is kept running: it looks again no later than an idle connection is due.
    fn read_deadline(&mut self) -> Instant {
        self.look();
        match self.waiting.head_since {
            _ if self.activity.is_busy() => Instant::now() + self.times.idle,
            Some(since) => since + self.times.head,
            None => self.activity.idle_since() + self.times.idle,
        }
    }

    fn look(&mut self) {
        let begun = self.activity.begun();
        if begun != self.waiting.begun {
            self.waiting = Waiting { begun, head_since: None };
        }
    }

    fn note_write<R>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stalled = *self.stalled.get_or_insert_with(Instant::now);
        if self.write_alarm.is_due(cx, stalled + self.times.write) {
            return Poll::Ready(Err(late("the client takes nothing")));
        }
        Poll::Pending
    }
}

fn late(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<T: AsyncRead + Unpin> AsyncRead for GuardedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        match polled {
            Poll::Ready(Ok(())) if buf.filled().len() > before => self.note_read(),
            Poll::Ready(_) => {}
            Poll::Pending => {
                let deadline = self.read_deadline();
                if self.read_alarm.is_due(cx, deadline) {
                    return Poll::Ready(Err(late("no request in time")));
                }
            }
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for GuardedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note_write(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note_write(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::sleep;

    const TIMES: Times = Times {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        write: Duration::from_secs(30),
    };

    fn pair() -> (DuplexStream, GuardedIo<DuplexStream>, Arc<Activity>) {
        let (client, server) = duplex(64);
        let activity = Activity::new();
        (client, GuardedIo::new(server, TIMES, activity.clone()), activity)
    }

    /// Reads until the connection fails, and tells when.
    async fn fails_after(io: &mut GuardedIo<DuplexStream>) -> u64 {
        let begun = Instant::now();
        let mut buffer = [0; 16];
        loop {
            match io.read(&mut buffer).await {
                Ok(0) => panic!("closed"),
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    return begun.elapsed().as_secs();
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_byte_by_byte_has_one_limit() {
        let (mut client, mut io, _) = pair();
        let dribble = tokio::spawn(async move {
            loop {
                sleep(Duration::from_secs(3)).await;
                if client.write_all(b"x").await.is_err() {
                    return;
                }
            }
        });
        assert_eq!(fails_after(&mut io).await, 10);
        dribble.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_nothing_is_closed_after_the_head_limit() {
        let (_client, mut io, _) = pair();
        assert_eq!(fails_after(&mut io).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_there_is_more_time_and_none_runs_during_one() {
        let (mut client, mut io, activity) = pair();
        client.write_all(b"head").await.unwrap();
        assert_eq!(io.read(&mut [0; 16]).await.unwrap(), 4);
        let busy = activity.begin();
        let reading = async { fails_after(&mut io).await };
        let finishing = async {
            sleep(Duration::from_secs(3_600)).await;
            drop(busy);
            sleep(Duration::from_secs(20)).await;
            client.write_all(b"x").await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            after = reading => assert_eq!(after, 3_600 + 20 + 10),
            () = finishing => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_after_the_idle_limit() {
        let (mut client, mut io, activity) = pair();
        client.write_all(b"head").await.unwrap();
        assert_eq!(io.read(&mut [0; 16]).await.unwrap(), 4);
        // Nothing polls the connection when the request ends.
        let busy = activity.begin();
        let ending = async {
            sleep(Duration::from_secs(1_000)).await;
            drop(busy);
        };
        let (after, ()) = tokio::join!(fails_after(&mut io), ending);
        assert_eq!(after, 1_000 + 75);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_fails_the_connection_and_a_slow_one_does_not() {
        let (mut client, mut io, _) = pair();
        let slow = async {
            for _ in 0..10 {
                sleep(Duration::from_secs(20)).await;
                assert_eq!(client.read(&mut [0; 64]).await.unwrap(), 64);
            }
            std::future::pending::<()>().await;
        };
        let begun = Instant::now();
        let writing = async {
            loop {
                if let Err(error) = io.write_all(&[0; 64]).await {
                    return error;
                }
            }
        };
        tokio::select! {
            error = writing => assert_eq!(error.kind(), io::ErrorKind::TimedOut),
            () = slow => {}
        }
        assert_eq!(begun.elapsed().as_secs(), 10 * 20 + 30);
    }
}
