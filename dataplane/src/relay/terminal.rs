//! Watching a stream go by for the sign that it is whole.
//!
//! Nothing is held back and no line is put together: what is looked for is short, so the last few bytes of one part are
//! enough to find it across the border to the next.

use memchr::memmem;

/// How a streamed response is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// One JSON object a line.
    Ndjson,
    /// Server-sent events in OpenAI's form.
    Sse,
    /// One document: its length or its framing says whether it is whole.
    Plain,
}

impl Protocol {
    /// What is looked for: the sign of the end, and that of an error. A newline stands for the start of a line; a raw
    /// one cannot stand inside a JSON string, and neither can a raw quote.
    fn signs(self) -> Option<(&'static [u8], &'static [u8])> {
        match self {
            Self::Ndjson => Some((br#""done":true"#, b"\n{\"error\":")),
            Self::Sse => Some((b"\ndata: [DONE]", b"\ndata: {\"error\":")),
            Self::Plain => None,
        }
    }
}

/// The longest sign, less one byte.
const CARRY: usize = 15;

/// What has gone by.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    protocol: Protocol,
    carry: [u8; CARRY],
    carried: usize,
    done: bool,
    error: bool,
    last_two: [u8; 2],
}

impl Tail {
    /// Nothing has gone by.
    pub(crate) fn new(protocol: Protocol) -> Self {
        let mut carry = [0; CARRY];
        // The start of a stream is the start of a line.
        carry[0] = b'\n';
        Self { protocol, carry, carried: 1, done: false, error: false, last_two: *b"\n\n" }
    }

    /// Some bytes go by.
    pub(crate) fn pass(&mut self, bytes: &[u8]) {
        let Some((done, error)) = self.protocol.signs() else { return };
        match *bytes {
            [] => return,
            [only] => self.last_two = [self.last_two[1], only],
            [.., before, last] => self.last_two = [before, last],
        }
        self.done = self.done || self.holds(bytes, done);
        self.error = self.error || self.holds(bytes, error);
        self.carry_over(bytes);
    }

    /// Whether the stream said that it is whole.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the node told of an error in the stream.
    pub(crate) fn has_error(&self) -> bool {
        self.error
    }

    /// What must come before an event of our own, so that it is not glued to half of one and no blank line appears.
    pub(crate) fn separator(&self) -> &'static [u8] {
        match (self.protocol, self.last_two) {
            (Protocol::Ndjson, [_, b'\n']) | (Protocol::Sse, [b'\n', b'\n']) | (Protocol::Plain, _) => b"",
            (Protocol::Ndjson, _) | (Protocol::Sse, [_, b'\n']) => b"\n",
            (Protocol::Sse, _) => b"\n\n",
        }
    }

    fn holds(&self, bytes: &[u8], sign: &[u8]) -> bool {
        let mut border = [0; CARRY * 2];
        let head = bytes.len().min(CARRY);
        border[..self.carried].copy_from_slice(&self.carry[..self.carried]);
        border[self.carried..self.carried + head].copy_from_slice(&bytes[..head]);
        memmem::find(&border[..self.carried + head], sign).is_some() || memmem::find(bytes, sign).is_some()
    }

    fn carry_over(&mut self, bytes: &[u8]) {
        if bytes.len() >= CARRY {
            self.carry.copy_from_slice(&bytes[bytes.len() - CARRY..]);
            self.carried = CARRY;
            return;
        }
        let kept = self.carried.min(CARRY - bytes.len());
        self.carry.copy_within(self.carried - kept..self.carried, 0);
        self.carry[kept..kept + bytes.len()].copy_from_slice(bytes);
        self.carried = kept + bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tail(protocol: Protocol, parts: &[&[u8]]) -> Tail {
        let mut tail = Tail::new(protocol);
        for part in parts {
            tail.pass(part);
        }
        tail
    }

    const WHOLE: &[u8] =
        b"{\"response\":\"a\",\"done\":false}\n{\"response\":\"\",\"done\":true,\"eval_count\":3}\n";
    const EVENTS: &[u8] = b"data: {\"choices\":[]}\n\ndata: [DONE]\n\n";

    #[test]
    fn signs_fit_into_the_carry() {
        for protocol in [Protocol::Ndjson, Protocol::Sse] {
            let (done, error) = protocol.signs().unwrap();
            assert!(done.len().max(error.len()) <= CARRY + 1);
        }
    }

    #[test]
    fn the_end_is_found_at_every_split() {
        for (protocol, stream) in [(Protocol::Ndjson, WHOLE), (Protocol::Sse, EVENTS)] {
            for at in 0..stream.len() {
                assert!(tail(protocol, &[&stream[..at], &stream[at..]]).is_done(), "{at}");
            }
            let bytes: Vec<_> = stream.chunks(1).collect();
            assert!(tail(protocol, &bytes).is_done());
        }
    }

    #[test]
    fn text_that_only_talks_of_the_end_is_no_end() {
        assert!(!tail(Protocol::Ndjson, &[br#"{"response":"\"done\":true","done":false}"#]).is_done());
        assert!(!tail(Protocol::Sse, &[b"data: {\"content\":\"\\ndata: [DONE]\"}\n\n"]).is_done());
        assert!(!tail(Protocol::Plain, &[WHOLE]).is_done());
    }

    #[test]
    fn an_error_line_is_found_at_the_start_and_later() {
        assert!(tail(Protocol::Ndjson, &[b"{\"err", b"or\":\"x\"}\n"]).has_error());
        assert!(tail(Protocol::Ndjson, &[b"{\"done\":false}\n{\"error\":\"x\"}\n"]).has_error());
        assert!(!tail(Protocol::Ndjson, &[br#"{"message":{"error":1}}"#]).has_error());
        assert!(tail(Protocol::Sse, &[b"data: {\"error\":{}}\n\n"]).has_error());
    }

    #[test]
    fn an_event_of_ours_starts_on_a_line_of_its_own() {
        for (protocol, sent, separator) in [
            (Protocol::Ndjson, "", ""),
            (Protocol::Ndjson, "{}\n", ""),
            (Protocol::Ndjson, "{\"half", "\n"),
            (Protocol::Sse, "", ""),
            (Protocol::Sse, "data: {}\n\n", ""),
            (Protocol::Sse, "data: {}\n", "\n"),
            (Protocol::Sse, "data: {\"half", "\n\n"),
            (Protocol::Plain, "{\"half", ""),
        ] {
            assert_eq!(
                tail(protocol, &[sent.as_bytes()]).separator(),
                separator.as_bytes(),
                "{protocol:?} {sent:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn how_the_stream_is_cut_changes_nothing(cuts in proptest::collection::vec(0..WHOLE.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.extend([0, WHOLE.len()]);
            cuts.sort_unstable();
            let parts: Vec<_> = cuts.windows(2).map(|cut| &WHOLE[cut[0]..cut[1]]).collect();
            let tail = tail(Protocol::Ndjson, &parts);
            prop_assert!(tail.is_done() && !tail.has_error());
            prop_assert!(tail.separator().is_empty());
        }
    }
}
