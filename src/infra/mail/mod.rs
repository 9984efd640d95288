//! Mail: one port, three ways out.
//!
//! What every adapter promises (the contract suite in `tests/it/mail` proves it on each): [`Mail::send`] answers within
//! its deadline; `Sent` means that somebody else answers for the mail from now on; a mail that is sent again carries the
//! same `Message-ID`; what is answered, logged or shown by `Debug` holds no address, no text and no password.

mod file;
mod letter;
mod log;
mod place;
mod smtp;
pub mod templates;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::file::FileDrop;
pub use self::letter::Sender;
pub use self::log::LogOnly;
pub use self::place::{Place, Security, Server};
pub use self::smtp::Smtp;
use crate::domain::error::Result;

/// A mail to one person.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The same whenever this mail is sent: letters, digits, `-` and `.`. What `Message-ID` is made of.
    pub id: String,
    /// The address.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// As text.
    pub text: String,
    /// As HTML.
    pub html: String,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({})", self.id)
    }
}

/// What became of a mail. The reasons hold no address and nothing of the mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Handed over.
    Sent,
    /// Not now; it may go better later. Part of it may have happened: the mail may arrive all the same.
    Unavailable {
        /// For people.
        why: String,
        /// Whether only this recipient is put off, so that mails to others may go through.
        recipient: bool,
    },
    /// Never, as it is.
    Refused {
        /// For people.
        why: String,
    },
}

impl Answer {
    pub(crate) fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable { why: why.into(), recipient: false }
    }

    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self::Refused { why: why.into() }
    }
}

/// A way to send mail.
#[async_trait]
pub trait Mail: Send + Sync + 'static {
    /// Sends one mail, or says why not.
    async fn send(&self, message: &Message) -> Answer;
}

/// The way that is configured.
///
/// `folder` is where mails are dropped when no other place is named, `trust` a file with the authorities that a mail
/// server's certificate may come from, `key` what addresses are hashed under in the log.
///
/// # Errors
/// `Invalid`: `trust` holds no certificate. `Unavailable`: it cannot be read.
pub fn open(
    place: &Place,
    from: Sender,
    (folder, trust): (&Path, Option<&Path>),
    key: [u8; 32],
) -> Result<Arc<dyn Mail>> {
    Ok(match place {
        Place::Smtp(server) => Arc::new(Smtp::new(server.clone(), from, trust)?),
        Place::File(Some(named)) => Arc::new(FileDrop::new(named.clone(), from)),
        Place::File(None) => Arc::new(FileDrop::new(folder.to_owned(), from)),
        Place::Log => Arc::new(LogOnly::new(key)),
    })
}
