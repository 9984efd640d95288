//! Where mail goes, as configured: `smtps://user:password@host:465`, `smtp://…`, `file:./folder`, `log:`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::{Host, Url};
use zeroize::Zeroizing;

/// Where mail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// To a mail server.
    Smtp(Server),
    /// Into a folder; `None` for the one in the data folder.
    File(Option<PathBuf>),
    /// Nowhere; the log says that there was one.
    Log,
}

/// A mail server.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name, which its certificate must have, or its address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub security: Security,
    /// Name and password.
    pub login: Option<(String, Zeroizing<String>)>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, security, login } = self;
        write!(f, "Server({host}:{port}, {security:?}, login: {})", login.is_some())
    }
}

/// How a mail server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte.
    Tls,
    /// TLS before anything else is said; a server that cannot is refused.
    StartTls,
    /// In clear: only within this machine.
    Loopback,
}

impl FromStr for Place {
    type Err = &'static str;

    /// No problem shows any of the text, which may hold a password.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("log", "")) => Ok(Self::Log),
            Some(("file", path)) => {
                // file:///var/mail and file:./mail; the other forms name hosts.
                let path = path
                    .strip_prefix("//")
                    .map_or(path, |path| path.strip_prefix("localhost").unwrap_or(path));
                if path.is_empty() { Err("names no folder") } else { Ok(Self::File(Some(path.into()))) }
            }
            Some(("smtp" | "smtps", _)) => server(text).map(Self::Smtp),
            _ => Err("must begin with smtps://, smtp://, file: or log:"),
        }
    }
}

fn server(text: &str) -> Result<Server, &'static str> {
    let url = Url::parse(text).map_err(|_opaque| "is no address of a mail server")?;
    let host = match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => {
            // The name of an opaque host is not looked at by the parser.
            let fine = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
            if fine { name.to_ascii_lowercase() } else { return Err("names a host that cannot be") }
        }
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        _ => return Err("names no host"),
    };
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("ends with the port: percent-encode what is special in name and password");
    }
    let login = match (url.username(), url.password()) {
        ("", None) => None,
        (_, None) | ("", Some(_)) => return Err("needs both name and password, or neither"),
        (name, Some(password)) => Some((decoded(name)?, Zeroizing::new(decoded(password)?))),
    };
    let here = match host.as_str() {
        "localhost" => true,
        name => name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()),
    };
    let (security, port) = match url.scheme() {
        "smtps" => (Security::Tls, 465),
        _ if here => (Security::Loopback, 25),
        _ => (Security::StartTls, 587),
    };
    // Whatever the resolver says, what is spoken in clear stays here.
    let host =
        if security == Security::Loopback && host == "localhost" { "127.0.0.1".to_owned() } else { host };
    Ok(Server { host, port: url.port().unwrap_or(port), security, login })
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_opaque| "holds a login that is no text")?;
    if text.chars().any(char::is_control) {
        return Err("holds a login with control characters");
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smtp(text: &str) -> Server {
        match text.parse().unwrap() {
            Place::Smtp(server) => server,
            other @ (Place::File(_) | Place::Log) => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_place_is_read() {
        assert_eq!("log:".parse(), Ok(Place::Log));
        assert_eq!("file:./data/mail".parse(), Ok(Place::File(Some("./data/mail".into()))));
        assert_eq!("file:///var/mail".parse(), Ok(Place::File(Some("/var/mail".into()))));
        let server = smtp("smtps://ana%40x.org:p%40ss%3Aword@Mail.Example.org");
        assert_eq!(
            (server.host.as_str(), server.port, server.security),
            ("mail.example.org", 465, Security::Tls)
        );
        let (name, password) = server.login.clone().unwrap();
        assert_eq!((name.as_str(), password.as_str()), ("ana@x.org", "p@ss:word"));
        assert!(!format!("{server:?}").contains("p@ss"));
        let server = smtp("smtp://mail.example.org:2525");
        assert_eq!((server.port, server.security, server.login), (2525, Security::StartTls, None));
    }

    #[test]
    fn clear_text_stays_on_this_machine() {
        for here in
            ["smtp://localhost:1025", "smtp://127.0.0.1:1025", "smtp://127.0.0.9:1025", "smtp://[::1]:1025"]
        {
            let server = smtp(here);
            assert_eq!(server.security, Security::Loopback, "{here}");
            assert!(server.host.parse::<std::net::IpAddr>().unwrap().is_loopback());
        }
        for away in
            ["smtp://localhost.example.org", "smtp://10.0.0.1", "smtp://127.example.org", "smtp://[::2]"]
        {
            assert_eq!(smtp(away).security, Security::StartTls, "{away}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused_and_not_shown() {
        for bad in [
            "",
            "smtp",
            "smtp:",
            "smtps://",
            "smtp://:s3cret@",
            "smtp://s3cret@host",
            "smtp://:s3cret@host",
            "s3cret",
            "smtps://u:s3cret@host/path",
            "smtps://u:s3cret@host?tls=none",
            "smtps://u:s3cret@ho st",
            "file:",
            "file://",
            "http://s3cret",
            "log:s3cret",
            "smtps://u:s3cret%0d%0a@host",
            "smtps://u:s3cret@ho%00st",
            "smtps://u:p@host:99999",
        ] {
            let problem = bad.parse::<Place>().unwrap_err();
            assert!(!problem.contains("s3cret"), "{bad}: {problem}");
        }
    }
}
