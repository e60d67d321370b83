//! Which addresses a node may have.
//!
//! Who can declare a node must not be able to make the gateway speak to what is only reachable from inside: the metadata
//! services of clouds, multicast groups, "this host". The controller refuses such resources; a name may still resolve to
//! one later, so the addresses are checked again at every connect.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address cannot be a node's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("'{0}' is not an http or https address of the form http://host:port")]
    Form(String),
    #[error("{address} is {what}, which a node cannot be")]
    Forbidden { address: IpAddr, what: &'static str },
}

/// The part of a node's URL that every request to it has in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: Scheme,
    authority: Authority,
    /// The value of `Host`.
    pub host: HeaderValue,
}

impl Origin {
    /// Reads `http://host:port` or `https://host:port`, and checks an address that is written out.
    pub(crate) fn parse(url: &str) -> Result<Self, AddressError> {
        let malformed = || AddressError::Form(url.to_owned());
        let parts = url.parse::<Uri>().map_err(|_| malformed())?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(malformed());
        };
        let bare_path = parts.path_and_query.is_none_or(|path| path == "/");
        if ![Scheme::HTTP, Scheme::HTTPS].contains(&scheme) || !bare_path || authority.as_str().contains('@')
        {
            return Err(malformed());
        }
        if let Ok(address) = authority.host().trim_matches(['[', ']']).parse() {
            check(address)?;
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| malformed())?;
        Ok(Self { scheme, authority, host })
    }

    /// The URI of a path at this origin.
    pub(crate) fn uri(&self, path: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        // All three parts are there, which is all that can be wrong.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// Refuses an address that no node can have.
pub(crate) fn check(address: IpAddr) -> Result<(), AddressError> {
    match forbidden(address.to_canonical()) {
        Some(what) => Err(AddressError::Forbidden { address, what }),
        None => Ok(()),
    }
}

fn forbidden(address: IpAddr) -> Option<&'static str> {
    /// Alibaba Cloud's metadata service.
    const ALIBABA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
    /// Oracle Cloud's metadata service.
    const ORACLE: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 192);
    /// Amazon's metadata service.
    const AMAZON: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address {
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V4(ALIBABA | ORACLE) | IpAddr::V6(AMAZON) => Some("a cloud's metadata service"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("an unspecified address"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("the broadcast address"),
        address if address.is_unspecified() => Some("an unspecified address"),
        address if address.is_multicast() => Some("a multicast address"),
        // Addresses of IPv4 in older clothes: translated and 6to4.
        IpAddr::V6(v6) => embedded(v6).and_then(|v4| forbidden(IpAddr::V4(v4))),
        IpAddr::V4(_) => None,
    }
}

fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match (a, b) {
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => Some(v4(g, h)),
        (0x2002, high) => Some(v4(high, c)),
        (0, 0) if [c, d, e, f] == [0; 4] && g != 0 => Some(v4(g, h)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_http_or_https_and_nothing_more() {
        for url in [
            "http://10.0.0.7:11434",
            "https://gpu.example:443/",
            "http://[fd00::1]:11434",
            "http://localhost",
        ] {
            assert!(Origin::parse(url).is_ok(), "{url}");
        }
        for url in [
            "ftp://a",
            "a:11434",
            "/x",
            "",
            "http://a/path",
            "http://a/?q",
            "http://user:pw@a:1",
            "http://user@a",
            "unix:/x",
        ] {
            assert!(matches!(Origin::parse(url), Err(AddressError::Form(_))), "{url}");
        }
    }

    #[test]
    fn addresses_that_no_node_can_have_are_refused() {
        for host in [
            "169.254.169.254",
            "[fe80::1]",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:a9fe:a9fe::]",
            "[fd00:ec2::254]",
            "100.100.100.200",
            "0.0.0.0",
            "[::]",
            "0.1.2.3",
            "224.0.0.1",
            "[ff02::1]",
            "255.255.255.255",
        ] {
            let url = format!("http://{host}:11434");
            assert!(matches!(Origin::parse(&url), Err(AddressError::Forbidden { .. })), "{url}");
        }
        for host in
            ["127.0.0.1", "10.1.2.3", "192.168.0.1", "[::1]", "[fd12::1]", "[64:ff9b::a00:1]", "8.8.8.8"]
        {
            assert!(Origin::parse(&format!("http://{host}")).is_ok(), "{host}");
        }
    }

    #[test]
    fn the_uri_and_the_host_are_those_of_the_node() {
        let origin = Origin::parse("http://[fd00::1]:11434/").unwrap();
        assert_eq!(
            origin.uri(PathAndQuery::from_static("/api/chat?x=1")),
            "http://[fd00::1]:11434/api/chat?x=1"
        );
        assert_eq!(origin.host, "[fd00::1]:11434");
    }
}
