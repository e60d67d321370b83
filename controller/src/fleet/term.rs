//! The time in which this process leads.

/// A term of leadership. Every table that is published carries its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Grows with every change of leader.
    pub epoch: u64,
}
