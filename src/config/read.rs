//! Reads variables one by one and gathers what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::shown::{Origin, Setting, shown};
use super::sources::{Source, bounded};
use super::{EncryptionKey, Problems, SecretUrl, VARIABLES, Variable, weak};
use crate::domain::cluster::Roles;
use crate::domain::cron::Cron;
use crate::domain::error::Error;
use crate::domain::limit::{Rate, Rates};
use crate::http::Proxies;
use crate::telemetry::{Levels, LogFormat};

/// Reads, and remembers what is wrong.
pub(super) struct Reader<'a> {
    sources: &'a [Source<'a>],
    problems: Vec<String>,
    pub(super) asked: BTreeSet<&'static str>,
    /// What holds and where it came from, as far as that is not the default.
    found: BTreeMap<&'static str, (Origin, Zeroizing<String>)>,
    /// What holds where that depends on something else.
    effective: BTreeMap<&'static str, (Option<Origin>, String)>,
    /// What cannot be used, and so is not shown.
    wrong: BTreeSet<&'static str>,
    /// Secrets that everybody knows.
    weak: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(sources: &'a [Source<'a>]) -> Self {
        Self {
            sources,
            problems: Vec::new(),
            asked: BTreeSet::new(),
            found: BTreeMap::new(),
            effective: BTreeMap::new(),
            wrong: BTreeSet::new(),
            weak: Vec::new(),
        }
    }

    /// What was read, and everything that holds, in the order of the table.
    pub(super) fn finish<T>(self, value: T) -> (Result<T, Problems>, Vec<Setting>) {
        let setting = |variable: &'static Variable| {
            let found = self.found.get(variable.name);
            let effective = self.effective.get(variable.name);
            let origin =
                effective.and_then(|(origin, _)| *origin).or_else(|| found.map(|(origin, _)| *origin));
            let value = match (effective, found) {
                _ if self.wrong.contains(variable.name) => None,
                (Some((_, effective)), _) => Some(effective.clone()),
                (None, Some((_, text))) => Some(shown(variable, text)),
                (None, None) => Some(variable.default.to_owned()),
            };
            Setting { name: variable.name, value, origin: origin.unwrap_or(Origin::Default) }
        };
        let settings = VARIABLES.iter().map(setting).collect();
        let value = if self.problems.is_empty() { Ok(value) } else { Err(Problems(self.problems)) };
        (value, settings)
    }

    pub(super) fn problem(&mut self, problem: impl Into<String>) {
        let problem = problem.into();
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// A value that cannot be used.
    pub(super) fn refuse(&mut self, name: &'static str, why: impl Display) {
        self.wrong.insert(name);
        let called = match self.found.get(name) {
            Some((Origin::Given(_, given) | Origin::File(given), _)) if *given != name => {
                format!("{given} (for {name})")
            }
            _ => name.to_owned(),
        };
        self.problem(format!("{called}: {why}"));
    }

    /// What holds in truth, where that is not what the variable says.
    pub(super) fn effective(&mut self, name: &'static str, value: impl Display) {
        self.effective.insert(name, (None, value.to_string()));
    }

    /// The same, because another variable says so.
    fn effective_by(&mut self, name: &'static str, by: &'static str, value: impl Display) {
        let origin = self.found.get(by).map(|(origin, _)| *origin);
        self.effective.insert(name, (origin, value.to_string()));
    }

    /// A secret that everybody knows.
    pub(super) fn known(&mut self, what: String) {
        self.weak.push(what);
    }

    /// Secrets that everybody knows, by the variable that holds them.
    pub(super) fn weak(&mut self) -> Vec<String> {
        std::mem::take(&mut self.weak)
    }

    /// What is set, without its default. An empty value counts as not set. Two names of one variable in one place may
    /// not contradict each other.
    pub(super) fn given(&mut self, name: &'static str) -> Option<String> {
        self.asked.insert(name);
        let older = Variable::named(name).map_or(&[][..], |variable| variable.older);
        for source in self.sources {
            let mut found: Option<(&'static str, String)> = None;
            for &called in [name].iter().chain(older) {
                let text = (source.variable)(called).map(|text| text.trim().to_owned());
                let Some(text) = text.filter(|text| !text.is_empty()) else { continue };
                match &found {
                    None => found = Some((called, text)),
                    Some((first, known)) if *known != text => {
                        let problem =
                            format!("{first} and {called} mean the same and are set to different values");
                        self.wrong.insert(name);
                        self.problem(problem);
                    }
                    Some(_same) => {}
                }
            }
            if let Some((called, text)) = found {
                let origin = Origin::Given(source.place, called);
                self.found.insert(name, (origin, Zeroizing::new(text.clone())));
                return Some(text);
            }
        }
        None
    }

    /// What is set, or the documented default.
    pub(super) fn text(&mut self, name: &'static str) -> String {
        let default = Variable::named(name);
        if default.is_none() {
            self.problem(format!("{name} is not documented"));
        }
        let default = default.map_or("", |variable| variable.default);
        self.given(name).unwrap_or_else(|| default.to_owned())
    }

    /// A value that parses; the problem names the variable, and shows no value, which may be a secret put in the
    /// wrong place.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(name);
        match parse(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(name, error);
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
        if self.given(name).is_some() {
            return self.number(name, range);
        }
        self.effective(name, default);
        default
    }

    /// Whether somebody tried to give one of these, even a wrong one.
    pub(super) fn was_given(&mut self, names: &[&'static str]) -> bool {
        names.iter().any(|name| self.given(name).is_some())
    }

    /// A secret: what the variable says, or what stands in the file that `<name>_FILE` names. With the variable that
    /// gave it. No problem shows any of it.
    pub(super) fn secret(&mut self, name: &'static str) -> Option<(&'static str, Zeroizing<String>)> {
        let Some(file) = VARIABLES.iter().find(|variable| variable.name.strip_suffix("_FILE") == Some(name))
        else {
            self.problem(format!("{name} is a secret and has no {name}_FILE"));
            return None;
        };
        let file = file.name;
        let (text, path) = (self.given(name).map(Zeroizing::new), self.given(file));
        let path = match (text, path) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                self.problem(format!("{name} and {file} cannot both be set"));
                return None;
            }
            (Some(text), None) => return Some((name, text)),
            (None, Some(path)) => path,
        };
        let text = bounded(Path::new(&path)).map(|text| Zeroizing::new(text.trim().to_owned()));
        match text {
            Ok(text) if !text.is_empty() => {
                self.found.insert(name, (Origin::File(file), text.clone()));
                return Some((file, text));
            }
            Ok(_empty) => self.refuse(file, "the file is empty"),
            // The path is not told: it may be the secret itself, put in the wrong place.
            Err(error) => self.refuse(file, format!("the file cannot be read: {error}")),
        }
        None
    }

    /// A server's address with its password.
    pub(super) fn secret_url(&mut self, name: &'static str, schemes: &[&str]) -> Option<SecretUrl> {
        let (named, url) = self.secret(name)?;
        let rest = url.split_once("://").filter(|(scheme, _)| schemes.contains(scheme));
        if rest.is_none_or(|(_, rest)| rest.is_empty()) {
            self.refuse(name, format!("must begin with {}://", schemes.join(":// or ")));
            return None;
        }
        if weak::has_known_password(&url) {
            self.weak.push(format!("the password in {named}"));
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

    pub(super) fn name_or(&mut self, name: &'static str, otherwise: impl FnOnce() -> String) -> String {
        if self.given(name).is_some() {
            return self.name(name);
        }
        let otherwise = otherwise();
        self.effective(name, &otherwise);
        otherwise
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
        if self.given("HTTP_PORT").is_some() && !given {
            let address = everywhere(self.number("HTTP_PORT", 1..=u16::MAX));
            self.effective_by("RECADO_LISTEN", "HTTP_PORT", address);
            return address;
        }
        let address = self.parsed("RECADO_LISTEN", |text| {
            text.parse().map_err(|_no_address| "must be an address and a port, as 127.0.0.1:8080")
        });
        address.unwrap_or_else(|| everywhere(0))
    }

    pub(super) fn encryption_key(&mut self) -> Option<EncryptionKey> {
        let (named, text) = self.secret("RECADO_ENCRYPTION_KEY")?;
        let Some(key) = key_bytes(&text) else {
            self.refuse("RECADO_ENCRYPTION_KEY", "must be 64 hex digits, or base64 of 32 bytes");
            return None;
        };
        if weak::is_known_key(&key) {
            self.weak.push(format!("the key in {named}"));
        }
        Some(EncryptionKey(key))
    }

    pub(super) fn origins(&mut self, name: &'static str) -> Vec<String> {
        let text = self.text(name);
        let origins: Vec<_> = text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).collect();
        for origin in &origins {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let fine = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ', '@']));
            if *origin != "*" && !fine {
                self.refuse(name, "an origin is written https://example.com, without a path");
            }
        }
        origins.into_iter().map(str::to_owned).collect()
    }

    /// How often somebody may ask.
    pub(super) fn rates(&mut self) -> Rates {
        Rates {
            ip: self.rate("RECADO_LIMIT_IP"),
            auth_failures: self.rate("RECADO_LIMIT_AUTH_FAILURES"),
            token: self.rate("RECADO_LIMIT_TOKEN"),
            tenant: self.rate("RECADO_LIMIT_TENANT"),
            session: self.rate("RECADO_LIMIT_SESSION_SENDS"),
        }
    }

    /// A limit, or none: empty where that is the default, or `off`.
    fn rate(&mut self, name: &'static str) -> Option<Rate> {
        self.parsed(name, |text| match text {
            "" | "off" => Ok(None),
            rate => rate.parse().map(Some).map_err(|error: Error| format!("{}, or off", error.message)),
        })
        .flatten()
    }

    /// Networks whose word is taken.
    pub(super) fn proxies(&mut self, name: &'static str) -> Proxies {
        self.parsed(name, |text| text.parse().map_err(|error: Error| error.message)).unwrap_or_default()
    }

    /// `RUST_LOG`, or `LOG_LEVEL`, or its default.
    pub(super) fn log_level(&mut self) -> String {
        let configured = self.text("LOG_LEVEL");
        let name = if self.given("RUST_LOG").is_some() { "RUST_LOG" } else { "LOG_LEVEL" };
        let level = self.parsed(name, |text| {
            let text = text.to_ascii_lowercase();
            text.parse::<Levels>().map(|_levels| text).map_err(|error| error.message)
        });
        if let (Some(level), "RUST_LOG") = (&level, name) {
            self.effective_by("LOG_LEVEL", name, level);
        }
        level.unwrap_or(configured)
    }

    /// `LOG_FORMAT`, or what it was called, or what fits where the log goes.
    pub(super) fn log_format(&mut self) -> LogFormat {
        const OLDER: &str = "TENNEX_LOG_JSON";
        let format = self.given("LOG_FORMAT").and_then(|_given| {
            self.parsed("LOG_FORMAT", |text| text.parse().map_err(|_unknown| "must be text or json"))
        });
        let older = self.given(OLDER).and_then(|_given| {
            self.parsed(OLDER, |text| match text {
                "true" | "1" => Ok(LogFormat::Json),
                "false" | "0" => Ok(LogFormat::Text),
                _ => Err("must be true or false"),
            })
        });
        match (format, older) {
            (Some(format), Some(older)) if format != older => {
                self.problem(format!("LOG_FORMAT and {OLDER} mean the same and say different things"));
            }
            (None, Some(older)) => self.effective_by("LOG_FORMAT", OLDER, older.as_str()),
            (None, None) => self.effective("LOG_FORMAT", LogFormat::fitting().as_str()),
            (Some(_), _) => {}
        }
        format.or(older).unwrap_or_else(LogFormat::fitting)
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
