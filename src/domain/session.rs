//! A session: one linked WhatsApp account, as a state machine.
//!
//! ```text
//! created → starting → pending_qr | pairing_code | passkey_required → connected ⇄ reconnecting
//!              ↘ connected                 any → stopped | logged_out | failed(reason)
//! ```
//! A session only moves along [`SessionState::next`]; every move is an event with a reason.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::Error;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Made, never started.
    Created,
    /// A link is being opened.
    Starting,
    /// Waiting for a phone to scan the QR code.
    PendingQr,
    /// Waiting for a phone to enter the pairing code.
    PairingCode,
    /// The phone asks for a passkey.
    PasskeyRequired,
    /// Linked and live.
    Connected,
    /// Linked, the socket is down, the next try is scheduled.
    Reconnecting,
    /// Stopped on request, still linked.
    Stopped,
    /// No longer linked: needs a new QR code or pairing code.
    LoggedOut,
    /// Ended for a reason that only a person can mend.
    Failed,
}

/// What can happen to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionInput {
    /// Somebody wants it to run, or its owner restarts it.
    Start,
    /// The link shows a QR code.
    Qr,
    /// The link shows a pairing code.
    PairingCode,
    /// The link needs a passkey.
    Passkey,
    /// Logged in.
    Connected,
    /// The socket is gone; another try will follow.
    Lost,
    /// Somebody wants it to rest.
    Stop,
    /// WhatsApp or a phone unlinked it.
    LoggedOut,
    /// A person must act.
    Fail,
}

impl SessionState {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Created,
        Self::Starting,
        Self::PendingQr,
        Self::PairingCode,
        Self::PasskeyRequired,
        Self::Connected,
        Self::Reconnecting,
        Self::Stopped,
        Self::LoggedOut,
        Self::Failed,
    ];

    /// The state after `input`, or `None` where that input means nothing (a late event of a link already gone).
    #[must_use]
    pub fn next(self, input: SessionInput) -> Option<Self> {
        let resting = matches!(self, Self::Created | Self::Stopped | Self::LoggedOut | Self::Failed);
        match input {
            SessionInput::Start => Some(Self::Starting),
            SessionInput::Stop => Some(Self::Stopped),
            SessionInput::LoggedOut => Some(Self::LoggedOut),
            SessionInput::Fail => Some(Self::Failed),
            _ if resting => None,
            SessionInput::Qr => Some(Self::PendingQr),
            SessionInput::PairingCode => Some(Self::PairingCode),
            SessionInput::Passkey => Some(Self::PasskeyRequired),
            SessionInput::Connected => Some(Self::Connected),
            SessionInput::Lost => Some(Self::Reconnecting),
        }
    }

    /// Whether this session should have a live link: it is started again after a restart of its owner.
    #[must_use]
    pub fn wants_link(self) -> bool {
        !matches!(self, Self::Created | Self::Stopped | Self::LoggedOut | Self::Failed)
    }

    /// The text used in the store, the API and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::PendingQr => "pending_qr",
            Self::PairingCode => "pairing_code",
            Self::PasskeyRequired => "passkey_required",
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Stopped => "stopped",
            Self::LoggedOut => "logged_out",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SessionState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| Error::invalid("state", "unknown_state", "is not a session state"))
    }
}

/// Which WhatsApp a session talks to; fixed when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Endpoint {
    /// The real one, trusted by its certificate chain.
    // With braces: serde lets a variant without them have members that nobody knows.
    Whatsapp {},
    /// A sandbox, trusted by its pinned static key alone.
    Sandbox {
        /// Where it listens; visible ASCII.
        #[schema(
            pattern = "^wss?://[!-~]+$",
            min_length = 6,
            max_length = 512,
            example = "ws://127.0.0.1:8090/ws/chat"
        )]
        url: String,
        /// The sandbox's Noise static key, 64 hex digits.
        #[serde(rename = "staticKey")]
        #[schema(
            pattern = "^[0-9A-Fa-f]{64}$",
            min_length = 64,
            max_length = 64,
            example = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
        )]
        static_key: String,
    },
}

impl Endpoint {
    /// A sandbox may be any host but WhatsApp's own, so that a pin never meets the real server.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn check(&self) -> Result<(), Error> {
        let Self::Sandbox { url, static_key } = self else { return Ok(()) };
        let rest = url.strip_prefix("ws://").or_else(|| url.strip_prefix("wss://"));
        let visible = url.len() <= 512 && url.bytes().all(|byte| byte.is_ascii_graphic());
        let rest = rest.filter(|rest| !rest.is_empty() && visible);
        let rest = rest.ok_or_else(|| {
            Error::invalid("endpoint.url", "invalid_endpoint", "must start with ws:// or wss://")
        })?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
        let host = host.split(':').next().unwrap_or_default().trim_end_matches('.').to_owned();
        if ["whatsapp.com", "whatsapp.net"]
            .iter()
            .any(|real| host == *real || host.ends_with(&format!(".{real}")))
        {
            return Err(Error::invalid(
                "endpoint.url",
                "sandbox_on_real_host",
                "a pinned sandbox key cannot be used with WhatsApp's own hosts",
            ));
        }
        if static_key.len() != 64 || !static_key.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::invalid("endpoint.staticKey", "invalid_endpoint", "must be 64 hex digits"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INPUTS: [SessionInput; 9] = [
        SessionInput::Start,
        SessionInput::Qr,
        SessionInput::PairingCode,
        SessionInput::Passkey,
        SessionInput::Connected,
        SessionInput::Lost,
        SessionInput::Stop,
        SessionInput::LoggedOut,
        SessionInput::Fail,
    ];

    proptest! {
        #[test]
        fn only_a_start_wakes_a_resting_session(steps in prop::collection::vec(0..INPUTS.len(), 0..200)) {
            let mut state = SessionState::Created;
            for step in steps {
                let input = INPUTS[step];
                let before = state;
                state = state.next(input).unwrap_or(state);
                if !before.wants_link() && state.wants_link() {
                    prop_assert_eq!(input, SessionInput::Start);
                }
            }
        }
    }

    #[test]
    fn every_state_survives_its_text() {
        for state in SessionState::ALL {
            assert_eq!(state.as_str().parse::<SessionState>().unwrap(), state);
        }
    }

    #[test]
    fn a_sandbox_pin_never_meets_the_real_host() {
        let key = "ab".repeat(32);
        let at = |url: &str| Endpoint::Sandbox { url: url.into(), static_key: key.clone() }.check();
        assert!(at("ws://127.0.0.1:8090/ws/chat").is_ok());
        for url in [
            "wss://web.whatsapp.com/ws/chat",
            "wss://WEB.WhatsApp.com:443/ws/chat",
            "wss://user@g.whatsapp.net/ws",
            "wss://web.whatsapp.com./ws",
            "wss://web.whatsapp.com?x",
        ] {
            assert_eq!(at(url).unwrap_err().code, "sandbox_on_real_host", "{url}");
        }
        assert!(at("http://x").is_err());
    }
}
