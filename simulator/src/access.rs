//! Who may talk to a node at all: Ollama refuses foreign origins, and on a loopback address foreign hosts.

use std::net::IpAddr;

/// What is to be done with a request before it is routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Go on; the origin to name in `access-control-allow-origin`, if one came.
    Allowed(Option<String>),
    /// 204: a preflight.
    Preflight(Option<String>),
    /// 403 with an empty body.
    Refused,
}

/// Decides by the method and the headers `Host` and `Origin`.
pub fn access(loopback: bool, options: bool, host: &str, origin: Option<&str>) -> Access {
    let origin = origin.filter(|origin| !origin.is_empty());
    let foreign = origin.is_some_and(|origin| {
        let same = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"))
            .is_some_and(|it| it == host);
        !same && !known_origin(origin)
    });
    if foreign {
        return Access::Refused;
    }
    if options && origin.is_some() {
        return Access::Preflight(origin.map(str::to_owned));
    }
    if loopback {
        match known_host(host) {
            Known::Address => {}
            Known::Name if options => return Access::Preflight(None),
            Known::Name => {}
            Known::Not => return Access::Refused,
        }
    }
    Access::Allowed(origin.map(str::to_owned))
}

fn known_origin(origin: &str) -> bool {
    if ["app://", "file://", "tauri://", "vscode-webview://", "vscode-file://"]
        .iter()
        .any(|scheme| origin.starts_with(scheme))
    {
        return true;
    }
    let Some(host) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else {
        return false;
    };
    ["localhost", "127.0.0.1", "0.0.0.0"]
        .iter()
        .any(|known| host.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')))
}

enum Known {
    Address,
    Name,
    Not,
}

fn known_host(host: &str) -> Known {
    let host = without_port(host).to_ascii_lowercase();
    if let Ok(address) = host.parse::<IpAddr>() {
        let private = match address {
            IpAddr::V4(v4) => v4.is_private(),
            IpAddr::V6(v6) => v6.is_unique_local(),
        };
        let near = address.is_loopback() || address.is_unspecified() || private;
        return if near { Known::Address } else { Known::Not };
    }
    let local = [".localhost", ".local", ".internal"].iter().any(|tld| host.ends_with(tld));
    if host.is_empty() || host == "localhost" || local { Known::Name } else { Known::Not }
}

fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_on_loopback() {
        for host in
            ["127.0.0.1:11434", "localhost", "[::1]:80", "::1", "10.1.2.3", "node.local", "a.internal:1", ""]
        {
            assert_eq!(access(true, false, host, None), Access::Allowed(None), "{host}");
        }
        for host in ["example.com", "8.8.8.8:11434", "ollama-svc"] {
            assert_eq!(access(true, false, host, None), Access::Refused, "{host}");
            assert_eq!(access(false, false, host, None), Access::Allowed(None), "{host}");
        }
    }

    #[test]
    fn origins_everywhere() {
        for origin in ["https://evil", "http://localhost.evil", "null", "https://gw.example:80"] {
            assert_eq!(access(false, false, "gw.example", Some(origin)), Access::Refused, "{origin}");
        }
        for origin in ["http://gw.example", "http://localhost:3000", "https://127.0.0.1", "app://x"] {
            assert_eq!(
                access(false, false, "gw.example", Some(origin)),
                Access::Allowed(Some(origin.to_owned())),
            );
        }
        assert_eq!(
            access(true, true, "localhost", Some("http://localhost")),
            Access::Preflight(Some("http://localhost".to_owned()))
        );
        assert_eq!(access(true, true, "localhost", None), Access::Preflight(None));
        assert_eq!(access(true, true, "127.0.0.1:1", None), Access::Allowed(None));
        assert_eq!(access(false, true, "x", None), Access::Allowed(None));
    }
}
