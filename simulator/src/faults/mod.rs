//! What can be made to go wrong, and when. Faults are set while a node runs, through [`Faults`] or over HTTP.

mod handle;
mod table;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use handle::Faults;
pub use table::{ActiveFault, FaultId};

/// One thing that goes wrong, limited to some requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Only requests whose path begins so. Faults of the listener ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// So many matching requests pass unharmed first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skip: u64,
    /// So many requests are hit; without it all. A used-up fault stays listed until it is removed: what it
    /// holds (a hang, a stall) it goes on holding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Removes itself after this time: the only way out of [`FaultKind::Refuse`] for who set it over HTTP.
    #[serde(default, with = "human::optional", rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<Duration>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The kinds of faults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// The listener is closed (connections are refused) and idle connections are, until the fault is removed;
    /// then it listens on the same port again.
    Refuse {
        /// Connections in use are reset too: the process died.
        #[serde(default)]
        kill: bool,
    },
    /// Connections are accepted and never read from, until the fault is removed.
    HangAccept,
    /// The request is read and not answered until the fault is removed.
    Hang,
    /// The connection is reset once the request was read.
    Reset,
    /// The connection is closed, politely, once the request was read.
    Close,
    /// Everything about the answer comes later.
    Delay {
        /// By this much.
        #[serde(with = "human")]
        wait: Duration,
    },
    /// An error in place of an answer, in the words of the path's API.
    Status {
        /// The status.
        status: u16,
        /// The text; Ollama's usual one for 503, 500 and 404 when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// Seconds for `retry-after`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    /// The answer breaks off: a stream after some chunks, any other answer half way through.
    Cut {
        /// Chunks that are still sent.
        #[serde(default)]
        after: u64,
        /// How the connection ends.
        #[serde(default)]
        how: Cut,
    },
    /// The runner dies: an error line within the stream, an error answer before it. `/v1` streams swallow it, as
    /// Ollama does.
    ErrorLine {
        /// Tokens before it.
        #[serde(default)]
        after: u64,
        /// The text; Ollama's for a runner that died when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// No more tokens until the fault is removed.
    StallTokens {
        /// Tokens before it stalls.
        #[serde(default)]
        after: u64,
    },
    /// A client that leaves in the middle of a reply leaves its slot taken until the model is unloaded, as Ollama
    /// itself may do (ollama issue 17131): the model hangs while `/api/ps` looks healthy.
    LeakSlot,
    /// Loads do not finish until the fault is removed.
    StallLoad,
    /// Loads fail, with 500.
    FailLoad {
        /// The text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// The list of models is empty, as after a glitch of the disk.
    EmptyTags,
    /// The list of models is cut off in the middle of its JSON.
    MalformedTags,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// FIN, without the terminal chunk.
    #[default]
    Close,
    /// RST.
    Reset,
}

impl Fault {
    /// A fault that hits every request.
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, path: None, skip: 0, count: None, lasts: None }
    }

    /// Connections are refused; see [`FaultKind::Refuse`].
    pub fn refuse() -> Self {
        Self::new(FaultKind::Refuse { kill: false })
    }

    /// As if the process had died: refused and reset.
    pub fn kill() -> Self {
        Self::new(FaultKind::Refuse { kill: true })
    }

    /// The whole node hangs: connections are accepted, nothing is answered.
    pub fn hang_accept() -> Self {
        Self::new(FaultKind::HangAccept)
    }

    /// Requests are read and not answered.
    pub fn hang() -> Self {
        Self::new(FaultKind::Hang)
    }

    /// `/api/version` hangs, the rest does not.
    pub fn version_hang() -> Self {
        Self::hang().on("/api/version")
    }

    /// `/api/version` answers late.
    pub fn slow_probes(wait: Duration) -> Self {
        Self::delay(wait).on("/api/version")
    }

    /// Reset before the head.
    pub fn reset() -> Self {
        Self::new(FaultKind::Reset)
    }

    /// Closed before the head.
    pub fn close() -> Self {
        Self::new(FaultKind::Close)
    }

    /// Answers come later.
    pub fn delay(wait: Duration) -> Self {
        Self::new(FaultKind::Delay { wait })
    }

    /// Answers this status with Ollama's usual text.
    pub fn status(status: u16) -> Self {
        Self::new(FaultKind::Status { status, text: None, retry_after: None })
    }

    /// The queue is full: 503.
    pub fn busy() -> Self {
        Self::status(503)
    }

    /// Loading fails at once: 500, without a load.
    pub fn load_failure() -> Self {
        Self::status(500)
    }

    /// The stream breaks off after some chunks.
    pub fn cut(after: u64, how: Cut) -> Self {
        Self::new(FaultKind::Cut { after, how })
    }

    /// An error line after some tokens.
    pub fn error_line(after: u64) -> Self {
        Self::new(FaultKind::ErrorLine { after, message: None })
    }

    /// The stream stalls after some tokens.
    pub fn stall_tokens(after: u64) -> Self {
        Self::new(FaultKind::StallTokens { after })
    }

    /// Slots of clients that leave are lost.
    pub fn leak_slot() -> Self {
        Self::new(FaultKind::LeakSlot)
    }

    /// Loads do not finish.
    pub fn stall_load() -> Self {
        Self::new(FaultKind::StallLoad)
    }

    /// Loads fail.
    pub fn fail_load() -> Self {
        Self::new(FaultKind::FailLoad { message: None })
    }

    /// Empty list of models.
    pub fn empty_tags() -> Self {
        Self::new(FaultKind::EmptyTags)
    }

    /// Broken list of models.
    pub fn malformed_tags() -> Self {
        Self::new(FaultKind::MalformedTags)
    }

    /// Only for paths that begin so.
    #[must_use]
    pub fn on(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Only so many times.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Only after so many matching requests.
    #[must_use]
    pub fn skipping(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// Only so long.
    #[must_use]
    pub fn lasting(mut self, lasts: Duration) -> Self {
        self.lasts = Some(lasts);
        self
    }

    /// Reads a list of faults, or one. Unknown fields are an error: a misspelt limit would hit everything.
    pub fn read_list(json: &[u8]) -> Result<Vec<Self>, String> {
        let value: serde_json::Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let list = match value {
            serde_json::Value::Array(list) => list,
            one => vec![one],
        };
        list.into_iter().map(Self::read).collect()
    }

    fn read(value: serde_json::Value) -> Result<Self, String> {
        const FIELDS: [&str; 13] = [
            "kind",
            "path",
            "skip",
            "count",
            "for",
            "kill",
            "wait",
            "status",
            "text",
            "retry_after",
            "after",
            "how",
            "message",
        ];
        let unknown =
            value.as_object().and_then(|map| map.keys().find(|key| !FIELDS.contains(&key.as_str())));
        if let Some(unknown) = unknown {
            return Err(format!("a fault has no field '{unknown}'; it has {}", FIELDS.join(", ")));
        }
        serde_json::from_value(value).map_err(|error| format!("not a fault: {error}"))
    }
}

/// Durations as `500ms`, `3s`, `5m`.
mod human {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*duration))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map_err(D::Error::custom)
    }

    pub mod optional {
        use super::*;

        pub fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => super::serialize(duration, to),
                None => to.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
            let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
            humantime::parse_duration(&text).map(Some).map_err(D::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_both_ways() {
        let faults = vec![
            Fault::kill().lasting(Duration::from_secs(2)),
            Fault::busy().on("/api/chat").times(2).skipping(1),
            Fault::cut(3, Cut::Reset),
            Fault::slow_probes(Duration::from_millis(1500)),
            Fault::stall_load(),
        ];
        let json = serde_json::to_string(&faults).unwrap();
        assert_eq!(Fault::read_list(json.as_bytes()), Ok(faults));
        assert!(json.contains(r#"{"kind":"delay","wait":"1s 500ms","path":"/api/version"}"#), "{json}");
        assert_eq!(
            Fault::read_list(br#"{"kind":"status","status":404,"count":1}"#),
            Ok(vec![Fault::status(404).times(1)])
        );
        assert_eq!(Fault::read_list(br#"[{"kind":"cut"}]"#), Ok(vec![Fault::cut(0, Cut::Close)]));
    }

    #[test]
    fn mistakes_are_named() {
        for (json, want) in [
            (&br#"{"kind":"hang","pth":"/api"}"#[..], "no field 'pth'"),
            (br#"{"kind":"explode"}"#, "explode"),
            (br#"{"kind":"delay","wait":"soon"}"#, "not a fault"),
            (br#"{"kind":"#, "EOF"),
            (br#"[5]"#, "not a fault"),
        ] {
            let error = Fault::read_list(json).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }
}
