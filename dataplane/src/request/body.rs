//! Reading a request's body whole, so that it can be routed by and sent again.

use super::limit::Allowance;
use crate::error::ProxyError;
use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use std::pin::pin;
use std::time::Duration;
use tokio::time::timeout;

/// Reads to the end. `pause` is the longest time between two parts.
pub(crate) async fn read<B>(body: B, allowance: &mut Allowance, pause: Duration) -> Result<Bytes, ProxyError>
where
    B: Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while !body.is_end_stream() {
        let frame = timeout(pause, body.frame()).await.map_err(|_| ProxyError::BodyTimeout)?;
        let Some(frame) = frame else { break };
        // Trailers are no part of what is asked.
        let Ok(bytes) = frame.map_err(|_| ProxyError::BodyBroken)?.into_data() else { continue };
        allowance.take(bytes.len())?;
        // A body that came in one part, as most do, is not copied.
        if first.is_empty() && whole.is_empty() {
            first = bytes;
            continue;
        }
        if whole.is_empty() {
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&bytes);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::limit::{HeldBytes, body as allowance};
    use futures::{StreamExt as _, stream};
    use http::HeaderMap;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use std::io;

    async fn read_all(
        parts: impl stream::Stream<Item = Result<Frame<Bytes>, io::Error>>,
    ) -> Result<Bytes, ProxyError> {
        let mut allowance = allowance(&HeaderMap::new(), 10, &HeldBytes::new(100)).unwrap();
        read(StreamBody::new(parts), &mut allowance, Duration::from_secs(30)).await
    }

    fn data(text: &'static str) -> Result<Frame<Bytes>, io::Error> {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    #[tokio::test]
    async fn parts_come_together_and_one_part_is_not_copied() {
        assert_eq!(
            read_all(stream::iter([data("ab"), data(""), data("cd"), data("e")])).await.unwrap(),
            "abcde"
        );
        let only = Bytes::from_static(b"abc");
        let read = read_all(stream::iter([Ok(Frame::data(only.clone()))])).await.unwrap();
        assert_eq!(read.as_ptr(), only.as_ptr());
        assert!(read_all(stream::iter([])).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_endless_body_is_cut_at_the_limit() {
        let endless = stream::repeat_with(|| data("abcd"));
        assert_eq!(read_all(endless).await, Err(ProxyError::BodyTooLarge { limit: 10 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_pauses_too_long_is_given_up() {
        let stalled = stream::iter([data("ab")]).chain(stream::pending());
        assert_eq!(read_all(stalled).await, Err(ProxyError::BodyTimeout));
    }

    #[tokio::test]
    async fn a_body_that_breaks_is_no_body() {
        let broken = stream::iter([data("ab"), Err(io::ErrorKind::UnexpectedEof.into())]);
        assert_eq!(read_all(broken).await, Err(ProxyError::BodyBroken));
    }
}
