//! Mail over SMTP, through `lettre`: a connection for each mail, since mails are few.
//!
//! What it promises: nothing is said in clear beyond this machine; a server that does not answer, or answers 4xx, or
//! does not take our login or our sender, is asked again later; only what it says of this recipient or of this mail with
//! 5xx is for good. The end of a mail that is not acknowledged is unknown: it is sent again, under the same id.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands;
use lettre::transport::smtp::extension::ClientId;

use super::letter::{Letter, Sender, letter};
use super::{Answer, Mail, Message, Security, Server};
use crate::domain::error::{Error, Result};

/// How long one mail may take, from the first packet to the acknowledgement.
const WITHIN: Duration = Duration::from_secs(20);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(8);
/// How long a polite end may take.
const QUIT: Duration = Duration::from_secs(1);
/// The largest file of certificates.
const TRUST_LIMIT: u64 = 1 << 20;

/// Sends mails through a server.
#[derive(Debug)]
pub struct Smtp {
    server: Server,
    from: Sender,
    trust: Vec<Certificate>,
    within: Duration,
}

impl Smtp {
    /// Through this server. Its certificate comes from the authorities in the file `trust`, or from those that the
    /// system trusts.
    ///
    /// # Errors
    /// `Invalid`: `trust` holds no certificate. `Unavailable`: it cannot be read.
    pub fn new(server: Server, from: Sender, trust: Option<&Path>) -> Result<Self> {
        let trust = trust.map(certificates).transpose()?.unwrap_or_default();
        Ok(Self { server, from, trust, within: WITHIN })
    }

    /// The same with less patience.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within: within.min(WITHIN), ..self }
    }

    fn tls(&self) -> std::result::Result<TlsParameters, SmtpError> {
        let mut tls = TlsParameters::builder(self.server.host.clone());
        if !self.trust.is_empty() {
            tls = tls.certificate_store(CertificateStore::None);
        }
        for certificate in &self.trust {
            tls = tls.add_root_certificate(certificate.clone());
        }
        tls.build()
    }

    /// A connection on which a mail can begin: encrypted and logged in, as configured.
    async fn connect(&self) -> std::result::Result<AsyncSmtpConnection, SmtpError> {
        let hello = ClientId::Domain(self.from.domain().to_owned());
        let address = (self.server.host.as_str(), self.server.port);
        let outside = if self.server.security == Security::Tls { Some(self.tls()?) } else { None };
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, Some(CONNECT), &hello, outside, None).await?;
        if self.server.security == Security::StartTls {
            // A server that does not offer it is refused here, before anything is said.
            connection.starttls(self.tls()?, &hello).await?;
        }
        if let Some((name, password)) = &self.server.login {
            let credentials = Credentials::new(name.clone(), password.as_str().to_owned());
            connection.auth(DEFAULT_MECHANISMS, &credentials).await?;
        }
        Ok(connection)
    }

    async fn deliver(&self, letter: Letter) -> Answer {
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(error) => return Answer::unavailable(told("the mail server", &error)),
        };
        let answer = hand_over(&mut connection, letter).await;
        // The mail is theirs or it is not: how the talk ends changes nothing.
        let ended = tokio::time::timeout(QUIT, connection.abort()).await;
        if ended.is_err() {
            tracing::debug!("the mail server did not say goodbye");
        }
        answer
    }
}

/// The mail itself. Who we are is our affair and never the mail's fault.
async fn hand_over(connection: &mut AsyncSmtpConnection, letter: Letter) -> Answer {
    // Addresses and text are ASCII: no extension is needed.
    if let Err(error) = connection.command(commands::Mail::new(Some(letter.from), vec![])).await {
        return Answer::unavailable(told("the sender", &error));
    }
    if let Err(error) = connection.command(commands::Rcpt::new(letter.to, vec![])).await {
        // 421 is the server saying good-bye, whatever it was asked.
        let recipient = error.is_transient() && error.status().is_some_and(|code| u16::from(code) != 421);
        return judged("the recipient", &error, recipient);
    }
    if let Err(error) = connection.command(commands::Data).await {
        return judged("the mail", &error, false);
    }
    match connection.message(&letter.bytes).await {
        Ok(_taken) => Answer::Sent,
        Err(error) => judged("the mail", &error, false),
    }
}

fn judged(what: &str, error: &SmtpError, recipient: bool) -> Answer {
    let why = told(what, error);
    if error.is_permanent() { Answer::Refused { why } } else { Answer::Unavailable { why, recipient } }
}

/// What went wrong, without what the server said, which may repeat the address.
fn told(what: &str, error: &SmtpError) -> String {
    let how = match error.status() {
        Some(code) => format!("was answered {code}"),
        None if error.is_tls() => {
            "TLS failed: is its certificate for this name, and from somebody trusted?".to_owned()
        }
        None if error.is_client() => "cannot do what is asked (STARTTLS, or a way to log in)".to_owned(),
        None if error.is_timeout() => "did not answer in time".to_owned(),
        None if error.is_response() => "gave an answer that is none, or hung up".to_owned(),
        None => "the connection failed".to_owned(),
    };
    format!("{what}: {how}")
}

#[async_trait]
impl Mail for Smtp {
    async fn send(&self, message: &Message) -> Answer {
        let letter = match letter(message, &self.from) {
            Ok(letter) => letter,
            Err(why) => return Answer::refused(why),
        };
        match tokio::time::timeout(self.within, self.deliver(letter)).await {
            Ok(answer) => answer,
            Err(_late) => Answer::unavailable("the mail server: did not answer in time"),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>> {
    let refused = |what: &str| Error::invalid("RECADO_MAIL_CA_FILE", "invalid_certificate", what);
    let unread = |error: std::io::Error| {
        Error::unavailable("mail_certificates", format!("RECADO_MAIL_CA_FILE: {error}"))
    };
    if std::fs::metadata(path).map_err(unread)?.len() > TRUST_LIMIT {
        return Err(refused("is too large for certificates"));
    }
    let pem = std::fs::read(path).map_err(unread)?;
    let text = String::from_utf8_lossy(&pem);
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(refused("must hold certificates in PEM"));
    }
    let certificate =
        Certificate::from_pem(&pem).map_err(|_opaque| refused("must hold certificates in PEM"))?;
    Ok(vec![certificate])
}
