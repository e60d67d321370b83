//! What a person is told at the start: which nodes there are, where the gateway listens, and what to try.

use super::stage::{Seen, Stage};
use crate::advice;
use crate::check::report::foreign;
use aivonx_controller::fleet::NodeObservation;
use aivonx_controller::node::DesiredNode;
use aivonx_process::build::VERSION;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Nodes that are listed one by one.
const MAX_LISTED: usize = 10;

/// Says which nodes there are and where to connect.
pub fn opening(nodes: &[&DesiredNode], listen: SocketAddr, admin: SocketAddr) -> String {
    let mut text = format!(
        "Aivonx {VERSION} listens on http://{listen}; metrics and readiness are on http://{admin}.\n"
    );
    // Writing to a string cannot fail.
    let _ = match nodes.len() {
        0 => writeln!(text, "It serves no node so far."),
        1 => writeln!(text, "It serves 1 node:"),
        count => writeln!(text, "It serves {count} nodes:"),
    };
    for node in nodes.iter().take(MAX_LISTED) {
        let _ = writeln!(text, "  {}  {}", node.id, node.url.origin().ascii_serialization());
    }
    if nodes.len() > MAX_LISTED {
        let _ = writeln!(text, "  and {} more", nodes.len() - MAX_LISTED);
    }
    text
}

/// Says how far the start has come; `None` while there is nothing new to say.
pub fn progress(stage: &Stage, nodes: &[Seen<'_>], listen: SocketAddr) -> Option<String> {
    match stage {
        Stage::Asking => None,
        Stage::NoNodes => Some("No node is declared: add an OllamaNode document to the files.\n".to_owned()),
        Stage::NoneAnswers => Some(none_answers(nodes)),
        Stage::NoModel => Some(
            "Nodes answer, and none that takes requests has a model that can chat → pull one there: `ollama pull llama3.2`. \
             The gateway will see it.\n"
                .to_owned(),
        ),
        Stage::Ready { model, models, answering } => Some(format!(
            "Ready: {} on {}. Try:\n\n  {}\n\n",
            count(*models, "model"),
            count(*answering, "node"),
            command(model, listen)
        )),
    }
}

/// A chat that streams.
fn command(model: &str, listen: SocketAddr) -> String {
    let message = r#"{"role":"user","content":"Why is the sky blue?"}"#;
    let body = format!(r#"{{"model":"{model}","messages":[{message}]}}"#);
    format!("curl -N http://{}/api/chat -d '{body}'", reachable(listen))
}

/// The address at which this machine reaches a listener.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn none_answers(nodes: &[Seen<'_>]) -> String {
    let mut text =
        "No node answers. Requests are refused until one does; the gateway goes on asking.\n".to_owned();
    for (node, seen) in nodes.iter().take(MAX_LISTED) {
        let Some(NodeObservation { health, .. }) = seen else { continue };
        let (id, url) = (&node.id, node.url.origin().ascii_serialization());
        let _ = writeln!(
            text,
            "  × {id}  {url}: {} → {}",
            foreign(&health.message),
            advice::for_node(health.reason)
        );
    }
    if nodes.len() > MAX_LISTED {
        let _ = writeln!(text, "  and {} more", nodes.len() - MAX_LISTED);
    }
    if let [(node, _)] = nodes
        && matches!(node.url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"))
    {
        let _ = writeln!(text, "  To try the gateway without an Ollama: aivonx run --demo");
    }
    text
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::super::stage::fixtures::{node, seen};
    use super::super::stage::judge;
    use super::*;
    use aivonx_state::table::Health;

    const LISTEN: &str = "127.0.0.1:11435";

    fn listen() -> SocketAddr {
        LISTEN.parse().unwrap()
    }

    #[test]
    fn the_opening_lists_nodes_and_addresses() {
        let one = node("http://10.0.0.1:11434");
        let text = opening(&[&one], listen(), "127.0.0.1:9464".parse().unwrap());
        assert_eq!(
            text,
            format!(
                "Aivonx {VERSION} listens on http://127.0.0.1:11435; metrics and readiness are on http://127.0.0.1:9464.\n\
                 It serves 1 node:\n  default/10.0.0.1-11434  http://10.0.0.1:11434\n"
            )
        );
        let many = opening(&[&one; 12], listen(), listen());
        assert!(many.contains("It serves 12 nodes:") && many.ends_with("  and 2 more\n"), "{many}");
    }

    #[test]
    fn the_command_reaches_a_gateway_that_listens_everywhere() {
        let ready = Stage::Ready { model: "llama3.2:latest".to_owned(), models: 1, answering: 2 };
        let text = progress(&ready, &[], "0.0.0.0:8080".parse().unwrap()).unwrap();
        assert!(
            text.starts_with(
                "Ready: 1 model on 2 nodes. Try:\n\n  curl -N http://127.0.0.1:8080/api/chat -d '{"
            ),
            "{text}"
        );
        assert!(text.contains(r#""model":"llama3.2:latest""#), "{text}");
        let v6 = progress(&ready, &[], "[::]:8080".parse().unwrap()).unwrap();
        assert!(v6.contains("http://[::1]:8080/api/chat"), "{v6}");
    }

    #[test]
    fn nodes_that_do_not_answer_are_listed_with_why_and_what_to_do() {
        let one = node("http://10.0.0.1:11434");
        let down = seen(Health::Unknown, "ConnectionRefused", "nobody listens at the address", Vec::new());
        let nodes = [(&one, Some(down))];
        let text = progress(&judge(&nodes), &nodes, listen()).unwrap();
        let expected = "× default/10.0.0.1-11434  http://10.0.0.1:11434: nobody listens at the address → start Ollama there";
        assert!(text.contains(expected) && text.contains("goes on asking"), "{text}");
        assert!(!text.contains("--demo"), "{text}");

        let local = node("http://127.0.0.1:11434");
        let nodes = [(&local, nodes[0].1.clone())];
        assert!(progress(&judge(&nodes), &nodes, listen()).unwrap().ends_with("aivonx run --demo\n"));
    }
}
