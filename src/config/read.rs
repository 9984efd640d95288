//! Reads variables one by one and gathers what is wrong with them.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{EncryptionKey, Problems, SecretUrl, VARIABLES};
use crate::domain::cluster::Roles;
use crate::domain::cron::Cron;
use crate::domain::error::Error;
use crate::telemetry::{LogFormat, log_filter};

/// Reads, and remembers what is wrong.
pub(super) struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
    pub(super) asked: BTreeSet<&'static str>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { variable, problems: Vec::new(), asked: BTreeSet::new() }
    }

    pub(super) fn finish<T>(self, value: T) -> Result<T, Problems> {
        if self.problems.is_empty() { Ok(value) } else { Err(Problems(self.problems)) }
    }

    pub(super) fn problem(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// What is set, without its default. An empty value counts as not set.
    fn given(&mut self, name: &'static str) -> Option<String> {
        self.asked.insert(name);
        (self.variable)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// What is set, or the documented default.
    pub(super) fn text(&mut self, name: &'static str) -> String {
        let default = VARIABLES.iter().find(|variable| variable.name == name);
        if default.is_none() {
            self.problem(format!("{name} is not documented"));
        }
        let default = default.map_or("", |variable| variable.default);
        self.given(name).unwrap_or_else(|| default.to_owned())
    }

    /// A value that parses; the problem names the variable, and shows no value, which may be a secret put in the
    /// wrong place.
    fn parsed<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(name);
        match parse(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(format!("{name}: {error}"));
                None
            }
        }
    }

    pub(super) fn number<T>(&mut self, name: &'static str, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Copy + Display,
    {
        let (low, high) = (*range.start(), *range.end());
        let refuse = format!("must be a number from {low} to {high}");
        self.parsed(name, |text| text.parse().ok().filter(|value| range.contains(value)).ok_or(refuse))
            .unwrap_or(low)
    }

    /// Days, or none when 0.
    pub(super) fn days(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Option<Duration> {
        if self.text(name) == "0" {
            return None;
        }
        Some(Duration::from_secs(self.number(name, range) * 24 * 60 * 60))
    }

    /// A limit, or none when 0.
    pub(super) fn most(&mut self, name: &'static str) -> Option<u32> {
        Some(self.number(name, 0..=1_000_000)).filter(|most| *most > 0)
    }

    /// A number whose default depends on something else.
    pub(super) fn number_or<T>(&mut self, name: &'static str, range: RangeInclusive<T>, default: T) -> T
    where
        T: FromStr + PartialOrd + Copy + Display,
    {
        if self.given(name).is_some() { self.number(name, range) } else { default }
    }

    /// Whether somebody tried to give one of these, even a wrong one.
    pub(super) fn was_given(&mut self, names: &[&'static str]) -> bool {
        names.iter().any(|name| self.given(name).is_some())
    }

    /// A server's address with its password, from the variable or from a file. No problem shows any of it.
    pub(super) fn secret_url(
        &mut self,
        name: &'static str,
        file: &'static str,
        schemes: &[&str],
    ) -> Option<SecretUrl> {
        let (named, url) = match (self.given(name), self.given(file)) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                self.problem(format!("{name} and {file} cannot both be set"));
                return None;
            }
            (Some(url), None) => (name, Zeroizing::new(url)),
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(url) => (file, Zeroizing::new(url.trim().to_owned())),
                Err(error) => {
                    self.problem(format!("{file} cannot be read: {error}"));
                    return None;
                }
            },
        };
        let rest = url.split_once("://").filter(|(scheme, _)| schemes.contains(scheme));
        if rest.is_none_or(|(_, rest)| rest.is_empty()) {
            self.problem(format!("{named} must begin with {}://", schemes.join(":// or ")));
            return None;
        }
        Some(SecretUrl(url))
    }

    pub(super) fn roles(&mut self, name: &'static str) -> Roles {
        self.parsed(name, |text| text.parse::<Roles>().map_err(|error| error.message)).unwrap_or_default()
    }

    /// Where a node is reached: scheme, host and port.
    pub(super) fn address(&mut self, name: &'static str) -> Option<String> {
        self.given(name)?;
        self.parsed(name, |text| {
            let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
            let fine = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '@', ' ']));
            if fine { Ok(text.to_owned()) } else { Err("is written http://10.0.0.7:3000, without a path") }
        })
    }

    /// A name of something in Redis.
    pub(super) fn name(&mut self, name: &'static str) -> String {
        self.parsed(name, |text| {
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
            if (1..=100).contains(&text.len()) && text.bytes().all(fine) {
                Ok(text.to_owned())
            } else {
                Err("must be 1 to 100 letters, digits, or any of - _ . :")
            }
        })
        .unwrap_or_default()
    }

    pub(super) fn name_given(&mut self, name: &'static str) -> Option<String> {
        self.given(name).map(|_given| self.name(name))
    }

    pub(super) fn seconds(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Duration {
        Duration::from_secs(self.number(name, range))
    }

    pub(super) fn millis(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(name, range))
    }

    pub(super) fn one_of(&mut self, name: &'static str, values: &[&str]) -> String {
        let refuse = format!("must be {}", values.join(" or "));
        let known = |text: &str| values.contains(&text).then(|| text.to_owned()).ok_or(refuse);
        self.parsed(name, known).unwrap_or_default()
    }

    /// `RECADO_LISTEN`, or a port on all addresses, or the default.
    pub(super) fn listen(&mut self) -> SocketAddr {
        let everywhere = |port: u16| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let given = self.given("RECADO_LISTEN").is_some();
        for name in ["HTTP_PORT", "PORT"] {
            if self.given(name).is_some() && !given {
                return everywhere(self.number(name, 1..=u16::MAX));
            }
        }
        let address = self.parsed("RECADO_LISTEN", |text| {
            text.parse().map_err(|_no_address| "must be an address and a port, as 127.0.0.1:8080")
        });
        address.unwrap_or_else(|| everywhere(0))
    }

    /// Whether somebody tried to give a key, even a wrong one.
    pub(super) fn key_was_given(&mut self) -> bool {
        self.given("RECADO_ENCRYPTION_KEY").is_some() || self.given("RECADO_ENCRYPTION_KEY_FILE").is_some()
    }

    pub(super) fn encryption_key(&mut self) -> Option<EncryptionKey> {
        let text = self.given("RECADO_ENCRYPTION_KEY").map(Zeroizing::new);
        let file = self.given("RECADO_ENCRYPTION_KEY_FILE");
        let (name, text) = match (text, file) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                self.problem("RECADO_ENCRYPTION_KEY and RECADO_ENCRYPTION_KEY_FILE cannot both be set");
                return None;
            }
            (Some(text), None) => ("RECADO_ENCRYPTION_KEY", text),
            (None, Some(file)) => match std::fs::read_to_string(&file) {
                Ok(text) => ("RECADO_ENCRYPTION_KEY_FILE", Zeroizing::new(text)),
                Err(error) => {
                    self.problem(format!("RECADO_ENCRYPTION_KEY_FILE cannot be read: {error}"));
                    return None;
                }
            },
        };
        let key = key_bytes(text.trim());
        if key.is_none() {
            self.problem(format!("{name} must be 64 hex digits, or base64 of 32 bytes"));
        }
        key.map(EncryptionKey)
    }

    pub(super) fn origins(&mut self, name: &'static str) -> Vec<String> {
        let text = self.text(name);
        let origins: Vec<_> = text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).collect();
        for origin in &origins {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let fine = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ', '@']));
            if *origin != "*" && !fine {
                self.problem(format!("{name}: an origin is written https://example.com, without a path"));
            }
        }
        origins.into_iter().map(str::to_owned).collect()
    }

    pub(super) fn log_level(&mut self, name: &'static str) -> String {
        self.parsed(name, |text| match log_filter(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(error.message),
        })
        .unwrap_or_default()
    }

    pub(super) fn log_format(&mut self, name: &'static str) -> LogFormat {
        self.parsed(name, |text| text.parse().map_err(|_unknown| "must be text or json"))
            .unwrap_or(LogFormat::Text)
    }

    /// A pattern, or `off`.
    pub(super) fn cron(&mut self, name: &'static str) -> Option<Cron> {
        self.parsed(name, |text| match text {
            "off" => Ok(None),
            pattern => pattern.parse().map(Some).map_err(|error: Error| error.message),
        })
        .flatten()
    }

    pub(super) fn version(&mut self, name: &'static str) -> Option<(u32, u32, u32)> {
        self.given(name)?;
        self.parsed(name, |text| {
            let mut parts = text.split('.').map(|part| part.parse().ok());
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => Ok((major, minor, patch)),
                _ => Err("must be three numbers, as 2.3000.1023"),
            }
        })
    }
}

/// 32 bytes from 64 hex digits or from base64.
fn key_bytes(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        return Some(key);
    }
    let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    (bytes.len() == key.len()).then(|| {
        key.copy_from_slice(&bytes);
        key
    })
}
