//! Live questions about sessions, wherever these are.
//!
//! Promises: a question is answered by the session's owner, here or one hop away, or refused within a deadline. A node
//! that is asked by another answers itself or refuses: no question goes round.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::directory::Directory;
use crate::domain::address::Address;
use crate::domain::error::{Error, Kind, Result};
use crate::domain::ids::SessionId;
use crate::domain::time::Timestamp;
use crate::infra::peers::Peers;

/// How long a question follows a session that moves from node to node.
const MOVING: Duration = Duration::from_secs(4);

/// How long to wait before looking where it is now.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Where a node is asked for a pairing code.
pub const PAIRING_CODE: &str = "/internal/pairing-code";

/// The headers of a call from another node.
pub use crate::infra::peers::{MOMENT, SIGNATURE};

/// What a question may fail with at its owner. A code that is not here becomes `owner_refused`.
const CODES: [&str; 9] = [
    "session_not_running",
    "session_restarting",
    "session_not_found",
    "pairing_code_late",
    "too_many_questions",
    "not_pairing",
    "pairing_failed",
    "not_owner",
    "invalid_phone",
];

/// Asks for a code that a person enters on the phone.
#[derive(Debug, Serialize, Deserialize)]
pub struct PairingQuestion {
    /// Which session.
    pub session: SessionId,
    /// The account's number.
    pub phone: Address,
}

/// What another node answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer<T> {
    /// The answer.
    Fine(T),
    /// A refusal: its kind, code and sentence.
    Refused(String, String, String),
}

impl<T> From<Result<T>> for Answer<T> {
    fn from(result: Result<T>) -> Self {
        match result {
            Ok(answer) => Self::Fine(answer),
            Err(error) => Self::Refused(format!("{:?}", error.kind), error.code.to_owned(), error.message),
        }
    }
}

impl<T> Answer<T> {
    fn result(self) -> Result<T> {
        match self {
            Self::Fine(answer) => Ok(answer),
            Self::Refused(kind, code, message) => {
                let kinds = [Kind::Invalid, Kind::NotFound, Kind::Conflict, Kind::Busy];
                let kind = kinds.into_iter().find(|known| format!("{known:?}") == kind);
                let code = CODES.into_iter().find(|known| **known == *code).unwrap_or("owner_refused");
                Err(Error::new(kind.unwrap_or(Kind::Unavailable), code, message))
            }
        }
    }
}

/// The way to sessions here and elsewhere.
#[derive(Clone)]
pub struct Neighbours {
    directory: Directory,
    peers: Arc<Peers>,
}

impl Neighbours {
    /// Over what is here and the calls to what is not.
    #[must_use]
    pub fn new(directory: Directory, peers: Arc<Peers>) -> Self {
        Self { directory, peers }
    }

    /// A code that a person enters on the phone, from the session's owner.
    ///
    /// # Errors
    /// As for [`Directory::pairing_code`]; `Unavailable` when the owner does not answer.
    pub async fn pairing_code(&self, session: SessionId, phone: Address) -> Result<(String, Timestamp)> {
        let question = PairingQuestion { session, phone };
        let until = Instant::now() + MOVING;
        loop {
            let answer = match self.directory.elsewhere(session) {
                None => self.directory.pairing_code(session, question.phone.clone()).await,
                Some(owner) => self.ask(&owner, PAIRING_CODE, &question).await,
            };
            match answer {
                Err(error) if error.code == "not_owner" && Instant::now() < until => sleep(LOOK_AGAIN).await,
                answer => return answer,
            }
        }
    }

    /// The same, asked by another node, which took this one for the owner.
    ///
    /// # Errors
    /// As for [`Directory::pairing_code`]; `Unavailable` when the owner is another node still.
    pub async fn pairing_code_here(&self, asked: PairingQuestion) -> Result<(String, Timestamp)> {
        if self.directory.elsewhere(asked.session).is_some() {
            return Err(Error::unavailable(
                "not_owner",
                "the session is moving between nodes; try again shortly",
            ));
        }
        self.directory.pairing_code(asked.session, asked.phone).await
    }

    /// Whether a call comes from a node of this cluster.
    #[must_use]
    pub fn is_genuine(&self, moment: &str, signature: &str, path: &str, body: &[u8]) -> bool {
        self.peers.is_genuine(moment, signature, path, body)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        owner: &str,
        path: &str,
        question: &impl Serialize,
    ) -> Result<T> {
        let body = serde_json::to_vec(question).map_err(Error::bug)?;
        let answer = self.peers.ask(owner, path, body).await?;
        let answer: Answer<T> = serde_json::from_slice(&answer)
            .map_err(|_other| Error::unavailable("owner_away", "what answers is not a node of Recado"))?;
        answer.result()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn travelled(error: Error) -> Error {
        let json = serde_json::to_string(&Answer::<i64>::from(Err(error))).unwrap();
        serde_json::from_str::<Answer<i64>>(&json).unwrap().result().unwrap_err()
    }

    #[test]
    fn a_refusal_is_the_same_one_hop_away() {
        let there = travelled(Error::conflict("session_not_running", "start the session first"));
        assert_eq!((there.kind, there.code), (Kind::Conflict, "session_not_running"));
        assert_eq!(there.message, "start the session first");
        assert_eq!(travelled(Error::bug("x")).kind, Kind::Unavailable, "their bug is no bug of ours");
        assert_eq!(travelled(Error::busy("of_tomorrow", "x")).code, "owner_refused");
    }
}
