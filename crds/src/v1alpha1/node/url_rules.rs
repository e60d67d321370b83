//! The CEL rules of `spec.url`, one for each thing a person gets wrong.
//!
//! They are regular expressions on the text, not CEL's URL and IP functions: those read some hosts differently from the
//! program that later connects. Each rule but the first lets pass what an earlier one refuses, so that a person is told one
//! thing at a time. What no pattern can see (names that resolve to a forbidden address, unusual spellings of IPv6) is refused
//! by the controller with [`crate::address`].

/// A rule and the sentence for those who break it.
pub(super) struct UrlRule {
    /// The CEL expression; `self` is the URL.
    pub rule: &'static str,
    /// What to write instead.
    pub message: &'static str,
}

pub(super) const SCHEME: UrlRule = UrlRule {
    rule: r"self.matches('^https?://')",
    message: "url must start with http:// or https://, for example http://10.0.0.7:11434",
};

pub(super) const USER_INFO: UrlRule = UrlRule {
    rule: r"!self.matches('^https?://[^/?#]*@')",
    message: "url must not hold a user name or a password: put credentials in spec.auth.secretRef",
};

pub(super) const PATH: UrlRule = UrlRule {
    rule: r"!self.matches('^https?://[^/?#]*(/.|/?[?#])')",
    message: "url must end after the port: remove the path, query and fragment, for example http://10.0.0.7:11434",
};

pub(super) const HOST: UrlRule = UrlRule {
    rule: concat!(
        r"!self.matches('^https?://[^/?#@]*/?$') || self.matches('^https?://",
        r"(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?\\.?)",
        r"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?/?$')",
    ),
    message: "url needs a host name or an IP address after ://, and a port between 1 and 65535 if it names one",
};

/// Resolvers read `0xa9fea9fe`, `0251.0376.0251.0376` and `2852039166` as addresses too. One spelling is enough.
pub(super) const IPV4_SPELLING: UrlRule = UrlRule {
    rule: concat!(
        r"!self.matches('^https?://([A-Za-z0-9._-]*\\.)?([0-9]+|0[xX][0-9A-Fa-f]*)\\.?(:[0-9]*)?/?$') || ",
        r"self.matches('^https?://((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\\.){3}",
        r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(:[0-9]*)?/?$')",
    ),
    message: "url must write an IPv4 address as four decimal numbers, for example http://10.0.0.7:11434",
};

pub(super) const FORBIDDEN_V4: UrlRule = UrlRule {
    rule: concat!(
        r"!self.matches('^https?://(0\\.[0-9]+\\.[0-9]+\\.[0-9]+|169\\.254\\.[0-9]+\\.[0-9]+|",
        r"100\\.100\\.100\\.200|168\\.63\\.129\\.16|(22[4-9]|23[0-9]|24[0-9]|25[0-5])\\.[0-9]+\\.[0-9]+\\.[0-9]+)",
        r"(:[0-9]*)?/?$')",
    ),
    message: FORBIDDEN,
};

/// The last part is for IPv4 addresses inside IPv6 ones, of which `::1` has the form as well.
pub(super) const FORBIDDEN_V6: UrlRule = UrlRule {
    rule: concat!(
        r"!self.matches('(?i)^https?://\\[([0:]+|fe[89ab][0-9a-f]:.*|ff[0-9a-f]{2}:.*|fd00:0?ec2:[0:]*:0?254|",
        r"[0:]*:ffff:.*|[0:]*:([0-9a-f]{1,4}:)?[0-9a-f.]+)\\]') || self.matches('^https?://\\[[0:]*:0{0,3}1\\]')",
    ),
    message: "url must be the address of a node: link-local, metadata, multicast and unspecified addresses are refused, \
              and an IPv4 address is written without ::ffff:",
};

pub(super) const FORBIDDEN_NAME: UrlRule = UrlRule {
    rule: concat!(
        r"!self.matches('(?i)^https?://(metadata|metadata\\.goog|metadata\\.google\\.internal|",
        r"instance-data|instance-data\\.ec2\\.internal)\\.?(:[0-9]*)?/?$')",
    ),
    message: FORBIDDEN,
};

const FORBIDDEN: &str = "url must be the address of a node: link-local, metadata, multicast, broadcast and unspecified \
                         addresses are refused";

#[cfg(test)]
mod tests {
    use crate::address;
    use crate::v1alpha1::{OllamaNode, OllamaNodeSpec};
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// The sentences that the rules give for a URL.
    fn refusals(url: &str) -> Vec<String> {
        let spec = OllamaNodeSpec { url: Some(url.to_owned()), ..OllamaNodeSpec::default() };
        match OllamaNode::new("gpu-1", spec).validate_cel() {
            Ok(()) => Vec::new(),
            Err(errors) => errors.into_iter().map(|error| error.message).collect(),
        }
    }

    fn refused_once_with(url: &str, part: &str) {
        let refusals = refusals(url);
        assert!(refusals.len() == 1 && refusals[0].contains(part), "{url}: {refusals:?}");
    }

    #[test]
    fn usual_addresses_pass() {
        for url in [
            "http://10.0.0.7:11434",
            "http://10.0.0.7:11434/",
            "https://ollama.example.net",
            "http://gpu-1",
            "http://gpu_1.lan:1",
            "http://localhost:65535",
            "http://127.0.0.1:11434",
            "http://[::1]:11434",
            "http://[fd12:3456::7]:11434",
            "http://ollama.ai.svc.cluster.local.:11434",
            "http://10.example.com",
            "http://169.254.169.254.nip.example",
        ] {
            assert_eq!(refusals(url), Vec::<String>::new(), "{url}");
        }
    }

    #[test]
    fn each_mistake_is_told_once_with_what_to_write() {
        for url in
            ["ftp://10.0.0.7", "10.0.0.7:11434", "HTTP://10.0.0.7", "", "file:///etc/passwd", " http://a"]
        {
            refused_once_with(url, "must start with http:// or https://");
        }
        for url in ["http://user:pw@10.0.0.7:11434", "http://token@gpu-1", "http://a@b@c"] {
            refused_once_with(url, "spec.auth.secretRef");
        }
        for url in [
            "http://gpu-1/api",
            "http://gpu-1:11434/v1/",
            "http://gpu-1?x=1",
            "http://gpu-1/#a",
            "http://a//",
        ] {
            refused_once_with(url, "remove the path, query and fragment");
        }
        for url in [
            "http://",
            "http://:11434",
            "http://gpu-1:0",
            "http://gpu-1:65536",
            "http://gpu-1:port",
            "http://gpu 1",
            "http://gpu%2d1",
            "http://ｇpu",
            "http://a\\b",
            "http://a\nb",
            "http://-a",
        ] {
            refused_once_with(url, "needs a host name or an IP address");
        }
    }

    #[test]
    fn other_spellings_of_an_ipv4_address_are_refused() {
        for url in [
            "http://2852039166",
            "http://0xa9fea9fe",
            "http://0XA9FEA9FE:80/",
            "http://0251.0376.0251.0376",
            "http://169.254.43518",
            "http://127.1",
            "http://010.0.0.7:11434",
            "http://0xa9.0xfe.0xa9.0xfe",
            "http://169.254.169.254.",
            "http://1.2.3.4.5",
            "http://300.1.1.1",
            "http://0x",
        ] {
            refused_once_with(url, "four decimal numbers");
        }
    }

    #[test]
    fn forbidden_literals_are_refused() {
        for url in [
            "http://169.254.169.254",
            "http://169.254.169.254:80/",
            "http://0.0.0.0:11434",
            "http://224.0.0.1",
            "http://255.255.255.255",
            "http://100.100.100.200",
            "http://[fe80::1]:11434",
            "http://[FEBF::1]",
            "http://[::]",
            "http://[0:0:0:0:0:0:0:0]",
            "http://[ff02::1]",
            "http://[fd00:ec2::254]",
            "http://[fd00:0ec2:0:0:0:0:0:254]",
            "http://[::ffff:169.254.169.254]",
            "http://[0:0:0:0:0:ffff:a9fe:a9fe]",
            "http://[::169.254.169.254]",
            "http://metadata.google.internal",
            "http://METADATA.google.internal.:80/",
            "http://metadata",
            "http://instance-data",
        ] {
            refused_once_with(url, "must be the address of a node");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn the_rules_and_the_classifier_agree_on_ipv4(
            first in prop::sample::select(vec![0u8, 10, 100, 127, 168, 169, 192, 223, 224, 239, 240, 255]),
            rest in prop::array::uniform3(prop::sample::select(vec![0u8, 1, 16, 63, 100, 129, 200, 254, 255])),
        ) {
            let address = Ipv4Addr::new(first, rest[0], rest[1], rest[2]);
            let refused = !refusals(&format!("http://{address}:11434")).is_empty();
            prop_assert_eq!(refused, address::forbidden(address.into()).is_some(), "{}", address);
        }

        #[test]
        fn what_the_classifier_forbids_in_ipv6_the_rules_refuse(
            first in prop::sample::select(vec![0u16, 0xfd00, 0xfd01, 0xfe7f, 0xfe80, 0xfebf, 0xfec0, 0xff02, 0x2001]),
            second in prop::sample::select(vec![0u16, 0x0ec2, 1]),
            last in prop::array::uniform2(prop::sample::select(vec![0u16, 1, 0x254, 0xa9fe])),
        ) {
            let address = Ipv6Addr::new(first, second, 0, 0, 0, 0, last[0], last[1]);
            if address::forbidden(address.into()).is_some() {
                prop_assert!(!refusals(&format!("http://[{address}]:11434")).is_empty(), "{}", address);
            }
        }
    }
}
