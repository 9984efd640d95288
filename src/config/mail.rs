//! Settings of mail.

use std::path::PathBuf;

use super::read::Reader;
use super::weak;
use crate::infra::mail::{Place, Sender};

/// Where mail goes, from whom, and what its links begin with.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// Where it goes.
    pub place: Place,
    /// From whom.
    pub from: Sender,
    /// Authorities that a mail server's certificate may come from; `None`: those of the system.
    pub trust: Option<PathBuf>,
    /// What links begin with, with no slash at the end; `None`: where the service listens.
    pub public_url: Option<String>,
}

impl MailConfig {
    pub(super) fn gather(reader: &mut Reader<'_>) -> Self {
        let place = place(reader).unwrap_or(Place::File(None));
        let public_url = public_url(reader);
        let to_server = matches!(place, Place::Smtp(_));
        if to_server && !reader.was_given(&["RECADO_MAIL_FROM"]) {
            reader.problem(
                "RECADO_MAIL_FROM must be set with a mail server: it takes mail from its own users only",
            );
        }
        if to_server && !reader.was_given(&["RECADO_PUBLIC_URL"]) {
            reader.problem(
                "RECADO_PUBLIC_URL must be set with a mail server: the links in mails begin with it",
            );
        }
        let sender = |text: &str| text.parse::<Sender>().map_err(|error| error.message);
        let from = reader.parsed("RECADO_MAIL_FROM", sender);
        let from = from.unwrap_or_else(Sender::nobody);
        let trust =
            Some(reader.text("RECADO_MAIL_CA_FILE")).filter(|path| !path.is_empty()).map(PathBuf::from);
        Self { place, from, trust, public_url }
    }
}

/// From the variable or from a file; no problem shows any of it.
fn place(reader: &mut Reader<'_>) -> Option<Place> {
    let name = "RECADO_MAIL_URL";
    let (named, text) = reader.secret(name)?;
    if weak::has_known_password(&text) {
        reader.known(format!("the password in {named}"));
    }
    match text.parse() {
        Ok(place) => Some(place),
        Err(problem) => {
            reader.refuse(name, problem);
            None
        }
    }
}

fn public_url(reader: &mut Reader<'_>) -> Option<String> {
    let name = "RECADO_PUBLIC_URL";
    reader.given(name)?;
    reader.parsed(name, |text| {
        let text = text.trim_end_matches('/');
        let url = url::Url::parse(text).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        let fine = url.is_some() && text.len() <= 512 && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fine {
            Ok(text.to_owned())
        } else {
            Err("is written https://recado.example.org, with a path if need be")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Problems};
    use crate::infra::mail::{Place, Security};

    fn read(values: &[(&str, &str)]) -> Result<Config, Problems> {
        Config::read(&|name| {
            values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    const SERVER: [(&str, &str); 3] = [
        ("RECADO_MAIL_URL", "smtps://recado:s3cret@mail.example.org"),
        ("RECADO_MAIL_FROM", "Recado <recado@example.org>"),
        ("RECADO_PUBLIC_URL", "https://recado.example.org/"),
    ];

    #[test]
    fn mail_goes_into_the_data_folder_unless_told_otherwise() {
        let mail = read(&[]).unwrap().mail;
        assert_eq!((mail.place, mail.public_url, mail.from.domain()), (Place::File(None), None, "localhost"));
    }

    #[test]
    fn a_mail_server_needs_a_sender_and_an_address_for_links() {
        let config = read(&SERVER).unwrap();
        assert!(!format!("{config:?}").contains("s3cret"));
        assert_eq!(config.mail.public_url.as_deref(), Some("https://recado.example.org"));
        let Place::Smtp(server) = config.mail.place else { panic!("a server") };
        assert_eq!(server.security, Security::Tls);
        let Problems(problems) = read(&SERVER[..1]).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:#?}");
    }

    #[test]
    fn the_password_may_come_from_a_file_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mail-url");
        std::fs::write(&path, format!("{}\n", SERVER[0].1)).unwrap();
        let path = path.to_str().unwrap();
        let config = read(&[("RECADO_MAIL_URL_FILE", path), SERVER[1], SERVER[2]]).unwrap();
        assert!(matches!(config.mail.place, Place::Smtp(_)));
        for wrong in [
            [("RECADO_MAIL_URL_FILE", path), SERVER[0]],
            [("RECADO_MAIL_URL", "smtps://recado:s3cret@mail.example.org/x"), SERVER[1]],
            [("RECADO_MAIL_FROM", "s3cret"), SERVER[2]],
            [("RECADO_PUBLIC_URL", "https://u:s3cret@host"), SERVER[1]],
            [("RECADO_PUBLIC_URL", "ftp://s3cret"), SERVER[1]],
        ] {
            let problems = read(&wrong).unwrap_err().to_string();
            assert!(!problems.contains("s3cret"), "{problems}");
        }
    }
}
