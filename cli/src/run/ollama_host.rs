//! `OLLAMA_HOST`: where Ollama's own client looks for its server.

use std::net::IpAddr;

/// Where Ollama listens when nobody says otherwise.
const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 11434;

/// The base URL that a client derives from `OLLAMA_HOST`, by the rules of Ollama's own client: `host`, `host:port`, `:port`,
/// `scheme://host[:port]`; without a scheme http and port 11434, with one the port of the scheme.
///
/// The variable also tells a server where to listen, and is often set for both. An address that means "every interface"
/// is the loopback address of this machine to a client.
///
/// # Errors
/// One sentence that names the variable, its value, and what to write instead.
pub fn base_url(value: Option<&str>) -> Result<String, String> {
    let value = value.unwrap_or_default().trim().trim_matches(['"', '\'']).trim();
    if value.contains('@') {
        return Err(
            "OLLAMA_HOST holds a user name or a password, and a node takes none: leave it out".to_owned()
        );
    }
    let (scheme, rest, default_port) = match value.split_once("://") {
        None => ("http", value, DEFAULT_PORT),
        Some(("http", rest)) => ("http", rest, 80),
        Some(("https", rest)) => ("https", rest, 443),
        Some((scheme, _)) => {
            return Err(format!("OLLAMA_HOST={value}: {scheme}:// is not http:// or https://"));
        }
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.trim_matches('/').is_empty() {
        return Err(format!(
            "OLLAMA_HOST={value} has the path /{path}, and a node has none: leave it out, or name the node with --node"
        ));
    }
    let (host, port) = split_port(authority);
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
            format!("OLLAMA_HOST={value}: '{port}' is not a port: write a number from 1 to 65535")
        })?,
    };
    Ok(format!("{scheme}://{}:{port}", client_host(host)))
}

/// The host and the text after its last colon, where that colon is not part of a bare IPv6 address.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    if authority.parse::<IpAddr>().is_ok() {
        return (authority, None);
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// The host as a client names it, in brackets if it is an IPv6 address.
fn client_host(host: &str) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => DEFAULT_HOST.to_owned(),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => "[::1]".to_owned(),
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(IpAddr::V4(address)) => address.to_string(),
        Err(_) if bare.is_empty() => DEFAULT_HOST.to_owned(),
        Err(_) => bare.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_ollama_takes_is_taken() {
        let cases = [
            (None, "http://127.0.0.1:11434"),
            (Some(""), "http://127.0.0.1:11434"),
            (Some("  \"gpu.example\" "), "http://gpu.example:11434"),
            (Some("10.0.0.7"), "http://10.0.0.7:11434"),
            (Some("10.0.0.7:8080"), "http://10.0.0.7:8080"),
            (Some(":8080"), "http://127.0.0.1:8080"),
            (Some("http://gpu.example"), "http://gpu.example:80"),
            (Some("https://gpu.example/"), "https://gpu.example:443"),
            (Some("https://gpu.example:8443"), "https://gpu.example:8443"),
            (Some("::1"), "http://[::1]:11434"),
            (Some("[2001:db8::7]"), "http://[2001:db8::7]:11434"),
            (Some("[2001:db8::7]:8080"), "http://[2001:db8::7]:8080"),
        ];
        for (value, expected) in cases {
            assert_eq!(base_url(value).as_deref(), Ok(expected), "{value:?}");
        }
    }

    #[test]
    fn every_interface_means_this_machine_to_a_client() {
        let cases = [
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("http://0.0.0.0:11434", "http://127.0.0.1:11434"),
            ("::", "http://[::1]:11434"),
            ("[::]:8080", "http://[::1]:8080"),
        ];
        for (value, expected) in cases {
            assert_eq!(base_url(Some(value)).as_deref(), Ok(expected), "{value:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_node_is_refused_with_its_name() {
        let cases = [
            ("ftp://gpu.example", "ftp:// is not http:// or https://"),
            ("http://gpu.example/ollama", "has the path /ollama"),
            ("gpu.example:http", "'http' is not a port"),
            ("gpu.example:70000", "'70000' is not a port"),
            ("gpu.example:0", "'0' is not a port"),
        ];
        for (value, expected) in cases {
            let error = base_url(Some(value)).unwrap_err();
            assert!(error.contains("OLLAMA_HOST") && error.contains(expected), "{value}: {error}");
        }
        for value in ["http://me:hunter2@gpu.example", "ftp://me:hunter2@gpu.example/path"] {
            let error = base_url(Some(value)).unwrap_err();
            assert!(error.contains("OLLAMA_HOST") && !error.contains("hunter2"), "{error}");
        }
    }
}
