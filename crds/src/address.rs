//! Which addresses may never be a node.
//!
//! A node's address is untrusted input: whoever may create an `OllamaNode` must not be able to make the gateway talk to a
//! cloud's metadata service or to a whole network. Loopback and private ranges are allowed, since nodes live there.
//! The rules of [`v1alpha1`](crate::v1alpha1) refuse what a literal shows; the controller asks [`forbidden`] again for
//! every address that a name resolves to, and at every connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names under which clouds offer their metadata service.
pub const METADATA_NAMES: [&str; 5] =
    ["metadata", "metadata.goog", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"];

/// Says what an address is, if it may not be a node.
pub fn forbidden(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => forbidden_v4(v4),
        IpAddr::V6(v6) => match embedded_v4(v6) {
            Some(v4) => forbidden_v4(v4),
            None => forbidden_v6(v6),
        },
    }
}

/// Says what a host name is, if it may not be a node. Case and a dot at the end make no difference.
pub fn forbidden_name(host: &str) -> Option<&'static str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    METADATA_NAMES.iter().any(|name| host.eq_ignore_ascii_case(name)).then_some("a metadata service")
}

fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("an unspecified address"),
        // Alibaba Cloud's metadata service and Azure's platform address lie outside the link-local range.
        [100, 100, 100, 200] | [168, 63, 129, 16] => Some("a metadata service"),
        [169, 254, ..] => Some("a link-local address (metadata services live there)"),
        [224..=239, ..] => Some("a multicast address"),
        [255, 255, 255, 255] => Some("the broadcast address"),
        [240..=255, ..] => Some("a reserved address"),
        _ => None,
    }
}

fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("an unspecified address"),
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254] => Some("a metadata service"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address (metadata services live there)"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        _ => None,
    }
}

/// The IPv4 address that a packet to this IPv6 address ends at: mapped, compatible, NAT64 and 6to4 forms.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(from(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(from(high, low)),
        [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Option<&'static str> {
        forbidden(text.parse().unwrap())
    }

    #[test]
    fn nodes_may_live_on_loopback_and_private_addresses() {
        for text in ["127.0.0.1", "10.0.0.7", "172.16.0.1", "192.168.1.2", "100.64.0.1", "8.8.8.8", "::1"] {
            assert_eq!(verdict(text), None, "{text}");
        }
        for text in ["fd12:3456::1", "2001:db8::1", "::ffff:10.0.0.7"] {
            assert_eq!(verdict(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_host_of_a_node_is_refused() {
        for text in ["169.254.169.254", "169.254.0.1", "fe80::1", "febf::1", "::ffff:169.254.169.254"] {
            assert!(verdict(text).unwrap().starts_with("a link-local"), "{text}");
        }
        for text in ["64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::169.254.169.254"] {
            assert!(verdict(text).unwrap().starts_with("a link-local"), "{text}");
        }
        for text in ["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"] {
            assert_eq!(verdict(text), Some("an unspecified address"), "{text}");
        }
        for text in ["224.0.0.1", "239.255.255.255", "ff02::1"] {
            assert_eq!(verdict(text), Some("a multicast address"), "{text}");
        }
        for text in ["fd00:ec2::254", "100.100.100.200", "168.63.129.16"] {
            assert_eq!(verdict(text), Some("a metadata service"), "{text}");
        }
        assert_eq!(verdict("255.255.255.255"), Some("the broadcast address"));
        assert_eq!(verdict("240.0.0.1"), Some("a reserved address"));
    }

    #[test]
    fn a_metadata_service_is_known_by_its_names() {
        for name in ["metadata.google.internal", "Metadata.Google.Internal.", "metadata", "instance-data"] {
            assert_eq!(forbidden_name(name), Some("a metadata service"), "{name}");
        }
        for name in ["gpu-1.lan", "metadata.example.com", ""] {
            assert_eq!(forbidden_name(name), None, "{name}");
        }
    }
}
