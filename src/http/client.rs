//! Who is at the other end: the address of the connection, or the one that a trusted proxy names.
//!
//! Promises: what a client says of itself is believed to no one's harm. Only an address in `RECADO_TRUSTED_PROXIES` may speak
//! for others, and of what it passes on only the part that trusted proxies wrote is read: from the right, up to the first
//! that is not one of them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use axum::http::HeaderMap;
use axum::http::header::{FORWARDED, HeaderName};

use crate::domain::error::Error;

/// What most proxies write.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Proxies in a row that are looked at.
const HOPS: usize = 16;

/// Networks whose word is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Network>);

/// Addresses that begin alike, as bits of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    bits: u128,
    mask: u128,
}

impl FromStr for Proxies {
    type Err = Error;

    /// Addresses and networks, separated by commas; none when empty.
    fn from_str(text: &str) -> Result<Self, Error> {
        let given = text.split(',').map(str::trim).filter(|network| !network.is_empty());
        given.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || {
            let rule = "must be addresses or networks separated by commas, as 10.0.0.0/8,::1";
            Error::invalid("proxies", "invalid_network", rule)
        };
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().map_err(|_bad| refuse())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_bad| refuse())?;
        // The first bits of an IPv4 address come after the 96 that say that it is one.
        let before = if address.is_ipv4() { 96 } else { 0 };
        let length = length.unwrap_or(128 - before).checked_add(before).filter(|length| *length <= 128);
        let host = 128 - length.ok_or_else(refuse)?;
        let mask = u128::MAX.checked_shl(host).unwrap_or(0);
        Ok(Self { bits: bits(address) & mask, mask })
    }
}

impl Proxies {
    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| bits(address) & network.mask == network.bits)
    }

    /// Who asks, when `peer` is at the other end of the connection.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if self.0.is_empty() || !self.trusts(peer) {
            return peer;
        }
        let forwarded = headers.contains_key(FORWARDED).then(|| self.first(peer, headers, &FORWARDED, named));
        let x_forwarded = headers
            .contains_key(X_FORWARDED_FOR)
            .then(|| self.first(peer, headers, &X_FORWARDED_FOR, address));
        match (forwarded, x_forwarded) {
            (Some(client), None) | (None, Some(client)) => client,
            // A proxy writes one of the two and lets the other through as the client wrote it: where they differ, one of
            // them is made up, and nobody but whoever did that is counted as the proxy itself.
            (Some(one), Some(other)) if one == other => one,
            (Some(_), Some(_)) | (None, None) => peer,
        }
    }

    /// The first that is not trusted, seen from us.
    fn first(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        name: &HeaderName,
        read: fn(&str) -> Option<IpAddr>,
    ) -> IpAddr {
        let mut last = peer;
        let lines = headers.get_all(name).iter().rev().map(|line| line.to_str().unwrap_or_default());
        for hop in lines.flat_map(|line| line.rsplit(',')).take(HOPS) {
            // What cannot be read is where knowledge ends: the one who wrote it stands for whoever is behind.
            let Some(address) = read(hop.trim()) else { return last };
            last = address;
            if !self.trusts(address) {
                return address;
            }
        }
        last
    }
}

/// The address in an element of `Forwarded`.
fn named(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let named =
        pairs.map(|(name, value)| (name.trim(), value)).find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    address(named.1.trim().trim_matches('"'))
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = plain.parse::<IpAddr>().ok();
    address
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .map(|ip| ip.to_canonical())
}

/// An address as IPv6 has it.
fn bits(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// What is counted as one client: an IPv4 address, or the 64 bits of IPv6 that one customer is given.
pub(super) fn counted(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => (address & Ipv6Addr::from_bits(u128::MAX << 64)).to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &str, peer: &str, lines: &[(&str, &str)]) -> String {
        let headers = lines
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        trusted.parse::<Proxies>().unwrap().client(peer.parse().unwrap(), &headers).to_string()
    }

    const XFF: &str = "x-forwarded-for";
    const FWD: &str = "forwarded";

    #[test]
    fn nobody_speaks_for_others_unless_trusted() {
        let says = [(XFF, "1.1.1.1"), (FWD, "for=1.1.1.1")];
        assert_eq!(client("", "9.9.9.9", &says), "9.9.9.9");
        assert_eq!(client("10.0.0.0/8", "9.9.9.9", &says), "9.9.9.9");
        assert_eq!(client("10.0.0.0/8", "10.1.2.3", &says), "1.1.1.1");
        assert_eq!(client("10.0.0.0/8", "10.1.2.3", &[]), "10.1.2.3");
        assert_eq!(client("10.0.0.0/8", "::ffff:10.1.2.3", &says), "1.1.1.1", "a socket of both kinds");
    }

    #[test]
    fn only_what_trusted_proxies_wrote_is_read() {
        let trusted = "10.0.0.0/8, 2001:db8::/32";
        for (line, client_is) in [
            ("1.1.1.1", "1.1.1.1"),
            ("6.6.6.6, 1.1.1.1", "1.1.1.1"),
            ("6.6.6.6, 1.1.1.1, 10.0.0.7", "1.1.1.1"),
            ("6.6.6.6, 1.1.1.1, 2001:db8::7, 10.0.0.7", "1.1.1.1"),
            ("10.0.0.9, 10.0.0.8", "10.0.0.9"),
            ("unknown, 10.0.0.8", "10.0.0.8"),
            ("1.1.1.1, rubbish", "10.1.1.1"),
            ("", "10.1.1.1"),
            ("1.1.1.1:4711", "1.1.1.1"),
            ("[2001:470::1]:4711", "2001:470::1"),
            ("::ffff:1.1.1.1", "1.1.1.1"),
        ] {
            assert_eq!(client(trusted, "10.1.1.1", &[(XFF, line)]), client_is, "{line}");
        }
        let lines = [(XFF, "6.6.6.6"), (XFF, "1.1.1.1, 10.0.0.7")];
        assert_eq!(client(trusted, "10.1.1.1", &lines), "1.1.1.1", "several lines are one list");
        let long = "10.0.0.1, ".repeat(500) + "10.0.0.1";
        assert_eq!(client(trusted, "10.1.1.1", &[(XFF, &long)]), "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_writes_it() {
        for (line, client_is) in [
            ("for=1.1.1.1", "1.1.1.1"),
            ("For=\"1.1.1.1:99\";proto=https;by=10.0.0.1", "1.1.1.1"),
            ("for=6.6.6.6, proto=http ; for=1.1.1.1 , for=10.0.0.7", "1.1.1.1"),
            ("for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=_hidden", "10.1.1.1"),
            ("for=unknown", "10.1.1.1"),
            ("by=1.1.1.1", "10.1.1.1"),
        ] {
            assert_eq!(client("10.0.0.0/8", "10.1.1.1", &[(FWD, line)]), client_is, "{line}");
        }
    }

    #[test]
    fn a_header_that_the_proxy_lets_through_makes_nobody_somebody_else() {
        let ours = (XFF, "1.1.1.1");
        assert_eq!(client("10.0.0.1", "10.0.0.1", &[ours, (FWD, "for=6.6.6.6")]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", "10.0.0.1", &[ours, (FWD, "for=1.1.1.1")]), "1.1.1.1");
    }

    #[test]
    fn networks_are_read_or_refused() {
        for fine in ["", "::1", "0.0.0.0/0", "::/0", "10.0.0.1", "10.0.0.0/8,192.168.0.0/16"] {
            assert!(fine.parse::<Proxies>().is_ok(), "{fine}");
        }
        for bad in ["10.0.0.0/33", "::/129", "10.0.0/8", "nginx", "10.0.0.1/-1", "10.0.0.1/4294967295"] {
            assert_eq!(bad.parse::<Proxies>().unwrap_err().code, "invalid_network", "{bad}");
        }
        let all: Proxies = "0.0.0.0/0".parse().unwrap();
        assert!(all.trusts("255.1.2.3".parse().unwrap()) && !all.trusts("::1".parse().unwrap()));
    }

    #[test]
    fn neighbours_in_ipv4_are_apart_and_a_customer_of_ipv6_is_one() {
        let counted = |text: &str| counted(text.parse().unwrap());
        assert_ne!(counted("1.2.3.4"), counted("1.2.3.5"));
        assert_eq!(counted("1.2.3.4"), counted("::ffff:1.2.3.4"));
        assert_eq!(counted("2001:db8:1:2::1"), counted("2001:db8:1:2:ffff::9"));
        assert_ne!(counted("2001:db8:1:2::1"), counted("2001:db8:1:3::1"));
    }
}
