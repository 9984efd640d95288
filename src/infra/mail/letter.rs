//! A mail as it travels: headers and both bodies, in seven-bit lines.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, Message as Built};

use super::Message;
use crate::domain::error::Error;
use crate::domain::now;

/// Who mails are from: `Recado <recado@example.org>`, or the address alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Sender(Mailbox);

impl Sender {
    /// What stands in for a sender that was refused; nothing starts with it.
    #[must_use]
    pub fn nobody() -> Self {
        Self(Mailbox::new(None, Address::new_dangerous("recado", "localhost")))
    }

    /// The domain of the address.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.email.domain()
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender(…@{})", self.domain())
    }
}

impl FromStr for Sender {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = "must be a mail address, as Recado <recado@example.org>";
        let refused = || Error::invalid("RECADO_MAIL_FROM", "invalid_sender", bad);
        if text.len() > 320 || text.chars().any(char::is_control) {
            return Err(refused());
        }
        text.parse().map(Self).map_err(|_opaque| refused())
    }
}

/// A mail ready to travel.
pub(super) struct Letter {
    pub(super) from: Address,
    pub(super) to: Address,
    pub(super) bytes: Vec<u8>,
}

/// Puts a mail together, or says why it can never be.
pub(super) fn letter(message: &Message, from: &Sender) -> Result<Letter, String> {
    let to: Address = message.to.parse().map_err(|_opaque| "the recipient's address cannot be written to")?;
    if !named(&message.id) {
        return Err("the mail's id cannot stand in a header".to_owned());
    }
    let since = Duration::from_millis(u64::try_from(now().0).unwrap_or_default());
    // The envelope is given, so that what stands in the headers decides nothing.
    let envelope = Envelope::new(Some(from.0.email.clone()), vec![to.clone()]);
    let built = Built::builder()
        .envelope(envelope.map_err(|_opaque| "the mail has no envelope")?)
        .from(from.0.clone())
        .to(Mailbox::new(None, to.clone()))
        .date(UNIX_EPOCH + since)
        .message_id(Some(format!("<{}@{}>", message.id, from.domain())))
        .subject(message.subject.clone())
        // No answers by machines that are on holiday.
        .raw_header(header("Auto-Submitted", "auto-generated"))
        .raw_header(header("X-Auto-Response-Suppress", "All"))
        .multipart(MultiPart::alternative_plain_html(message.text.clone(), message.html.clone()));
    let built = built.map_err(|_opaque| "the mail cannot be put together")?;
    Ok(Letter { from: from.0.email.clone(), to, bytes: built.formatted() })
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// Whether this can stand in a header, and name a file.
pub(super) fn named(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && !id.starts_with('.')
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message {
            id: "0192-verify".into(),
            to: "ana@example.org".into(),
            subject: "Confirma tu dirección".into(),
            text: "¡Hola!\n\nñandú".into(),
            html: "<p>ñandú</p>".into(),
        }
    }

    fn sender() -> Sender {
        "Recado <recado@example.net>".parse().unwrap()
    }

    #[test]
    fn a_letter_has_its_headers_and_travels_in_seven_bits() {
        let letter = letter(&message(), &sender()).unwrap();
        assert!(letter.bytes.is_ascii());
        let text = String::from_utf8(letter.bytes).unwrap();
        for wanted in [
            "From: Recado <recado@example.net>\r\n",
            "To: ana@example.org\r\n",
            "Message-ID: <0192-verify@example.net>\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "Subject: Confirma tu =?utf-8?",
            "multipart/alternative",
            "text/plain; charset=utf-8",
            "text/html; charset=utf-8",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in {text}");
        }
        assert!(!text.contains("\n.\r\n"));
    }

    #[test]
    fn nothing_can_add_a_header_or_a_recipient() {
        for to in ["ana@example.org\r\nBcc: eva@example.org", "ana@example.org, eva@example.org", "ana", ""] {
            assert!(letter(&Message { to: to.into(), ..message() }, &sender()).is_err(), "{to:?}");
        }
        for id in ["", "a b", "a\r\nBcc: x", "../x", ".x", "a>"] {
            assert!(letter(&Message { id: id.into(), ..message() }, &sender()).is_err(), "{id:?}");
        }
        let subject = "Hi\r\nBcc: eva@example.org".to_owned();
        let planted = letter(&Message { subject, ..message() }, &sender());
        let text = planted.map(|letter| String::from_utf8(letter.bytes).unwrap()).unwrap_or_default();
        assert!(!text.contains("\nBcc:"), "{text}");
        assert!("Recado <recado@example.net>\r\nBcc: x@example.org".parse::<Sender>().is_err());
    }

    #[test]
    fn senders_are_addresses_with_or_without_a_name() {
        assert_eq!("recado@localhost".parse::<Sender>().unwrap().domain(), "localhost");
        for bad in ["", "Recado", "Recado <recado>", "a@b, c@d"] {
            assert!(bad.parse::<Sender>().is_err(), "{bad}");
        }
    }
}
