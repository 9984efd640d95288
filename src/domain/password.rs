//! A password as somebody chose it: bounded, not one that everybody tries first, and never shown.

use std::fmt;

use zeroize::Zeroizing;

use super::error::{Error, Result};

/// The shortest, in characters.
pub const SHORTEST: usize = 8;

/// The longest, in characters: longer ones would make the hash's input somebody else's work.
pub const LONGEST: usize = 128;

/// A password. Forgotten from memory when it is dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a password")
    }
}

impl Password {
    /// A password that somebody wants from now on; `mail` is no good one for its owner.
    ///
    /// # Errors
    /// `Invalid` when it is too short, too long, or among the first that anybody tries.
    pub fn chosen(text: &str, mail: &str) -> Result<Self> {
        let characters = text.chars().take(LONGEST + 1).count();
        if !(SHORTEST..=LONGEST).contains(&characters) || text.chars().any(char::is_control) {
            let detail = format!("must have {SHORTEST} to {LONGEST} printable characters");
            return Err(Error::invalid("password", "invalid_password", detail));
        }
        let lower = text.to_lowercase();
        let alone = lower.chars().all(|character| lower.starts_with(character));
        if alone || COMMON.contains(&lower.as_str()) || lower == mail.to_lowercase() {
            let detail = "is among the first that anybody would try; choose another";
            return Err(Error::invalid("password", "common_password", detail));
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// What somebody says their password is: bounded, and no more looked at than that. `None` can be nobody's.
    #[must_use]
    pub fn presented(text: &str) -> Option<Self> {
        let fits = text.chars().take(LONGEST + 1).count() <= LONGEST;
        fits.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The text, for the hash alone.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The commonest passwords of at least [`SHORTEST`] characters in published breaches, in lower case.
const COMMON: [&str; 104] = [
    "0123456789",
    "0987654321",
    "11223344",
    "1122334455",
    "12121212",
    "12131415",
    "12341234",
    "123123123",
    "1234567890",
    "12345678",
    "123456789",
    "12345678910",
    "1234qwer",
    "123qweasd",
    "147258369",
    "1password",
    "1q2w3e4r",
    "1q2w3e4r5t",
    "1qaz2wsx",
    "1qaz2wsx3edc",
    "31415926",
    "741852963",
    "87654321",
    "88888888a",
    "987654321",
    "a1234567",
    "a12345678",
    "a123456789",
    "aa123456",
    "aa12345678",
    "abc12345",
    "abcd1234",
    "abcdefgh",
    "access14",
    "admin123",
    "administrator",
    "alexander",
    "asdf1234",
    "asdfasdf",
    "asdfghjk",
    "asdfghjkl",
    "baseball",
    "basketball",
    "blink182",
    "butterfly",
    "changeme",
    "charlie1",
    "chocolate",
    "computer",
    "contraseña",
    "contrasena",
    "corvette",
    "dragon123",
    "einstein",
    "estrella",
    "football",
    "footballer",
    "garfield",
    "goodluck",
    "guatemala",
    "hello123",
    "iloveyou",
    "iloveyou1",
    "internet",
    "jennifer",
    "letmein1",
    "liverpool",
    "mercedes",
    "metallica",
    "michael1",
    "michelle",
    "midnight",
    "minecraft",
    "monkey123",
    "mustang1",
    "p@ssw0rd",
    "p@ssword",
    "pa55word",
    "pass1234",
    "passw0rd",
    "password",
    "password1",
    "password12",
    "password123",
    "password1234",
    "pokemon1",
    "princess",
    "princess1",
    "q1w2e3r4",
    "q1w2e3r4t5",
    "qazwsxedc",
    "qwer1234",
    "qwerty12",
    "qwerty123",
    "qwertyui",
    "qwertyuiop",
    "starwars",
    "sunshine",
    "superman",
    "test1234",
    "trustno1",
    "welcome1",
    "whatever",
    "zaq12wsx",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> &'static str {
        Password::chosen(text, "ana@example.org").unwrap_err().code
    }

    #[test]
    fn a_password_is_bounded_in_characters_not_bytes() {
        assert!(Password::chosen("ñandúes8", "").is_ok());
        assert!(Password::chosen(&"é".repeat(LONGEST - 1).replacen('é', "e", 1), "").is_ok());
        for bad in ["", "short", "1234567", &"ab".repeat(65), "with\nline"] {
            assert_eq!(refused(bad), "invalid_password", "{bad:?}");
        }
    }

    #[test]
    fn the_first_that_anybody_tries_are_refused_in_any_case() {
        for bad in ["password", "PassWord123", "12345678", "aaaaaaaa", "ANA@example.org"] {
            assert_eq!(refused(bad), "common_password", "{bad}");
        }
        assert!(COMMON.iter().all(|one| one.to_lowercase() == *one && one.chars().count() >= SHORTEST));
    }

    #[test]
    fn what_is_presented_is_bounded_and_never_shown() {
        assert!(Password::presented(&"x".repeat(LONGEST + 1)).is_none());
        let password = Password::presented("hunter22").unwrap();
        assert!(!format!("{password:?}").contains("hunter"));
        assert_eq!(password.as_str(), "hunter22");
    }
}
