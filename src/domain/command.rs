//! A command: one instruction to a session, in order, idempotent by its id.

use std::fmt;
use std::str::FromStr;

use super::error::Error;

/// What a session can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandType {
    /// Open the link (alias `session.create`).
    Start,
    /// Close the link, stay linked (alias `session.close`).
    Stop,
    /// Close the link and open it again now.
    Reconnect,
    /// Unlink from the account.
    Logout,
    /// Unlink and forget.
    Delete,
    /// Send one message.
    SendMessage,
}

impl CommandType {
    /// Every type.
    pub const ALL: [Self; 6] =
        [Self::Start, Self::Stop, Self::Reconnect, Self::Logout, Self::Delete, Self::SendMessage];

    /// The canonical name on `session-commands`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "session.start",
            Self::Stop => "session.stop",
            Self::Reconnect => "session.reconnect",
            Self::Logout => "session.logout",
            Self::Delete => "session.delete",
            Self::SendMessage => "session.sendMessage",
        }
    }

    /// Whether it changes the session's life rather than carrying a message: such commands do not wait for a link.
    #[must_use]
    pub fn is_lifecycle(self) -> bool {
        !matches!(self, Self::SendMessage)
    }
}

impl fmt::Display for CommandType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CommandType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let canonical = match text {
            "session.create" => "session.start",
            "session.close" => "session.stop",
            other => other,
        };
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == canonical);
        known.ok_or_else(|| Error::invalid("type", "unknown_command", "is not a command"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_and_alias_survives_its_text() {
        for kind in CommandType::ALL {
            assert_eq!(kind.as_str().parse::<CommandType>().unwrap(), kind);
        }
        assert_eq!("session.create".parse::<CommandType>().unwrap(), CommandType::Start);
        assert_eq!("session.close".parse::<CommandType>().unwrap(), CommandType::Stop);
    }
}
