//! What a person can do about a node that does not answer.

use aivonx_controller::probe::FailureReason;

/// Advice for a condition reason of a node.
pub fn for_node(reason: &str) -> &'static str {
    let known = FailureReason::ALL.iter().find(|known| known.as_str() == reason);
    match known {
        Some(FailureReason::ConnectionRefused) => {
            "start Ollama there (`ollama serve`); for other machines to reach it, it needs OLLAMA_HOST=0.0.0.0"
        }
        Some(FailureReason::ConnectTimeout | FailureReason::Unreachable) => {
            "check the address, and that no firewall stands between"
        }
        Some(FailureReason::DnsFailed) => "check the host name",
        Some(FailureReason::TlsFailed) => {
            "check its certificate; if it does not speak TLS, write http:// instead of https://"
        }
        Some(FailureReason::Unauthorized) => "name an address that takes requests without credentials",
        Some(FailureReason::Redirected) => "name the address that it redirects to",
        Some(FailureReason::NotOllama | FailureReason::InvalidBody | FailureReason::TooLarge) => {
            "check the port: Ollama listens on 11434 unless told otherwise"
        }
        Some(FailureReason::AddressForbidden) => "name an address where a node may be",
        Some(
            FailureReason::Timeout
            | FailureReason::Reset
            | FailureReason::HttpStatus
            | FailureReason::ConnectionFailed,
        )
        | None => "look at the log of that server",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_mistakes_have_advice_of_their_own() {
        assert!(for_node(FailureReason::ConnectionRefused.as_str()).contains("ollama serve"));
        assert!(for_node(FailureReason::NotOllama.as_str()).contains("11434"));
        assert_eq!(for_node("NeverHeardOf"), "look at the log of that server");
    }
}
