//! Limit: how much of a body is taken, from one request and from all of them together.

use crate::error::ProxyError;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of request bodies that the process holds.
#[derive(Clone, Debug)]
pub(crate) struct HeldBytes(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    held: AtomicU64,
    limit: u64,
}

/// What one request may still take. Dropping it gives back what it took.
#[derive(Debug)]
pub(crate) struct Allowance {
    pool: HeldBytes,
    taken: u64,
    limit: u64,
}

impl HeldBytes {
    /// At most `limit` bytes at once.
    pub(crate) fn new(limit: u64) -> Self {
        Self(Arc::new(Pool { held: AtomicU64::new(0), limit }))
    }

    #[cfg(test)]
    fn held(&self) -> u64 {
        self.0.held.load(Ordering::Relaxed)
    }
}

impl Allowance {
    /// Takes `bytes` more.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), ProxyError> {
        let bytes = bytes as u64;
        if self.taken + bytes > self.limit {
            return Err(ProxyError::BodyTooLarge { limit: self.limit });
        }
        let pool = &self.pool.0;
        let more = |held: u64| Some(held + bytes).filter(|held| *held <= pool.limit);
        pool.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map_err(|_| ProxyError::TooManyBytesHeld)?;
        self.taken += bytes;
        Ok(())
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        self.pool.0.held.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

/// Refuses a body that is compressed, or longer by its own account than allowed, before a byte of it is read.
pub(crate) fn body(headers: &HeaderMap, limit: u64, pool: &HeldBytes) -> Result<Allowance, ProxyError> {
    let encoded = |value: &http::HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().any(encoded) {
        return Err(ProxyError::Encoded);
    }
    if said_length(headers).is_some_and(|length| length > limit) {
        return Err(ProxyError::BodyTooLarge { limit });
    }
    Ok(Allowance { pool: pool.clone(), taken: 0, limit })
}

fn said_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_long_or_compressed_body_is_refused_by_its_head() {
        let pool = HeldBytes::new(1_000);
        let check = |headers: &HeaderMap| body(headers, 100, &pool).map(drop);
        assert_eq!(check(&headers(CONTENT_LENGTH, "101")), Err(ProxyError::BodyTooLarge { limit: 100 }));
        assert_eq!(check(&headers(CONTENT_LENGTH, "100")), Ok(()));
        for encoding in ["gzip", "br", "zstd", "identity, gzip"] {
            assert_eq!(check(&headers(CONTENT_ENCODING, encoding)), Err(ProxyError::Encoded), "{encoding}");
        }
        assert_eq!(check(&headers(CONTENT_ENCODING, "identity")), Ok(()));
    }

    #[test]
    fn all_bodies_share_a_limit_and_give_back_what_they_took() {
        let pool = HeldBytes::new(150);
        let mut first = body(&HeaderMap::new(), 100, &pool).unwrap();
        let mut second = body(&HeaderMap::new(), 100, &pool).unwrap();
        assert_eq!(first.take(100), Ok(()));
        assert_eq!(first.take(1), Err(ProxyError::BodyTooLarge { limit: 100 }));
        assert_eq!(second.take(51), Err(ProxyError::TooManyBytesHeld));
        assert_eq!(second.take(50), Ok(()));
        drop(first);
        assert_eq!(pool.held(), 50);
        drop(second);
        assert_eq!(pool.held(), 0);
    }
}
