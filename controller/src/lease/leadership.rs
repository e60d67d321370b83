//! What the rest of the process may know of its leadership.

use crate::fleet::Term;
use tokio::sync::watch;
use tokio::time::Instant;

/// Whether this process leads. Clones see the same.
#[derive(Clone, Debug)]
pub struct Leadership {
    term: watch::Receiver<Option<Term>>,
    until: watch::Receiver<Option<Instant>>,
}

impl Leadership {
    /// The term while this process leads, or has last led and cannot learn that another does. That is enough for writes to
    /// the stores, which are fenced by the epoch.
    pub fn term(&self) -> watch::Receiver<Option<Term>> {
        self.term.clone()
    }

    /// The term while the lease is surely this process's own: nobody else can have taken it yet. Writes that no epoch
    /// fences need this.
    pub fn confirmed(&self, now: Instant) -> Option<Term> {
        let term = *self.term.borrow();
        let until = *self.until.borrow();
        term.filter(|_| until.is_some_and(|until| now < until))
    }
}

/// The side that says so.
#[derive(Debug)]
pub struct LeadershipWriter {
    term: watch::Sender<Option<Term>>,
    until: watch::Sender<Option<Instant>>,
}

/// A pair of both sides; nobody leads at first.
pub fn leadership() -> (LeadershipWriter, Leadership) {
    let (term, term_seen) = watch::channel(None);
    let (until, until_seen) = watch::channel(None);
    (LeadershipWriter { term, until }, Leadership { term: term_seen, until: until_seen })
}

impl LeadershipWriter {
    /// The epoch of the present term.
    pub fn epoch(&self) -> Option<u64> {
        self.term.borrow().map(|term| term.epoch)
    }

    /// The lease is held under `epoch`, surely until `until`.
    pub fn confirm(&self, epoch: u64, until: Instant) {
        self.until.send_replace(Some(until));
        self.term.send_if_modified(|term| term.replace(Term { epoch }) != Some(Term { epoch }));
    }

    /// Another process leads, or the lease was given up.
    pub fn lose(&self) {
        self.until.send_replace(None);
        self.term.send_if_modified(|term| term.take().is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_term_outlives_its_confirmation_until_another_holder_is_seen() {
        let (writer, leadership) = leadership();
        let now = Instant::now();
        assert_eq!(leadership.confirmed(now), None);
        writer.confirm(3, now + Duration::from_secs(15));
        assert_eq!(leadership.confirmed(now), Some(Term { epoch: 3 }));
        assert_eq!(leadership.confirmed(now + Duration::from_secs(15)), None);
        assert_eq!(*leadership.term().borrow(), Some(Term { epoch: 3 }));
        writer.lose();
        assert_eq!((*leadership.term().borrow(), leadership.confirmed(now)), (None, None));
    }

    #[test]
    fn a_renewal_is_no_news() {
        let (writer, leadership) = leadership();
        let mut term = leadership.term();
        writer.confirm(1, Instant::now());
        assert!(term.has_changed().unwrap());
        term.mark_unchanged();
        writer.confirm(1, Instant::now());
        assert!(!term.has_changed().unwrap());
        writer.confirm(2, Instant::now());
        assert!(term.has_changed().unwrap());
    }
}
