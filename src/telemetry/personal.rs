//! Phone numbers, chat ids and mail addresses, as far as a log may show them: not at all, but under a name of their own.
//!
//! Promises: [`hashed`] is the only way from a personal identifier to something that may be logged. It is keyed: whoever
//! has the log and tries all phone numbers of the world finds nobody without the service's encryption key. The same
//! person has the same name on every node and after every restart, whichever way the number was written.
//! [`scrubbed`] is the second wall, behind every line: what looks like an address, an API key or a token is replaced.

use std::borrow::Cow;
use std::fmt;
use std::sync::{LazyLock, OnceLock};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// What a key is derived for: the purpose to give to the vault.
pub const PURPOSE: &str = "recado names in logs v1";

/// A run of digits of this length may be a phone number. The shortest that WhatsApp knows has five.
const NUMBER: usize = 5;

/// A word of this length without a dot may be a key, in hex or base64.
const SECRET: usize = 32;

static KEY: OnceLock<Zeroizing<[u8; 32]>> = OnceLock::new();

/// Until a key is given: names that mean nothing outside this process.
static PASSING: LazyLock<[u8; 32]> = LazyLock::new(rand::random);

/// Whose words are to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Ours: numbers in them are counts, positions and ids.
    Ours,
    /// Another's: any number in them may be somebody's.
    Others,
}

/// The key for names in logs. The first call of a process wins; later ones change nothing.
pub fn hash_under(key: Zeroizing<[u8; 32]>) {
    if KEY.set(key).is_err() {
        tracing::debug!("names in logs have their key already");
    }
}

/// A stand-in for something personal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hashed([u8; 6]);

impl fmt::Display for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("~")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The stand-in for a phone number, a chat id or a mail address: tells two apart, tells neither.
#[must_use]
pub fn hashed(personal: &str) -> Hashed {
    under(KEY.get().map_or(&*PASSING, |key| key), personal)
}

fn under(key: &[u8; 32], personal: &str) -> Hashed {
    // No key is too long or too short for HMAC; without one nothing of it is shown.
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else { return Hashed([0; 6]) };
    mac.update(canonical(personal).as_bytes());
    let [a, b, c, d, e, f, ..] = mac.finalize().into_bytes().0;
    Hashed([a, b, c, d, e, f])
}

/// One spelling of an identifier: a number without `+`, device and server; anything else in lower case.
fn canonical(personal: &str) -> Cow<'_, str> {
    let (user, server) = personal.split_once('@').unwrap_or((personal, "s.whatsapp.net"));
    let user = user.split(':').find(|part| !part.is_empty()).unwrap_or(user).trim_start_matches('+');
    let number = !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_digit());
    match (number, server) {
        (true, "s.whatsapp.net" | "c.us") => Cow::Borrowed(user),
        (true, server) => Cow::Owned(format!("{user}@{server}")),
        (false, _) => Cow::Owned(personal.to_lowercase()),
    }
}

/// Somebody's words with stand-ins for what is personal or secret.
#[must_use]
pub fn scrubbed(text: &str, whose: Whose) -> Cow<'_, str> {
    let harmless =
        whose == Whose::Ours && !text.contains(['@', '+']) && !text.contains("rec_") && !text.contains("eyJ");
    if harmless {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_between).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        scrub_word(word, whose, &mut out);
        let gap = after.find(|c: char| !is_between(c)).unwrap_or(after.len());
        let (between, after) = after.split_at(gap);
        out.push_str(between);
        rest = after;
    }
    Cow::Owned(out)
}

fn is_between(c: char) -> bool {
    c.is_whitespace() || "\"'`<>()[]{},;=|\\/".contains(c)
}

fn scrub_word(word: &str, whose: Whose, out: &mut String) {
    let digits = |text: &str| text.len() >= NUMBER && text.bytes().all(|byte| byte.is_ascii_digit());
    if word.contains("rec_") && word.len() >= 20 || word.contains("eyJ") && word.len() >= SECRET {
        out.push_str("***");
    } else if word.len() > 2 && word.contains('@') || word.strip_prefix('+').is_some_and(digits) {
        // A label before the address (`from:1555@…`) belongs to the sentence, a device after it (`1555:7@…`) does not.
        let (label, address) = word
            .split_once(':')
            .filter(|(label, rest)| {
                rest.contains('@') && !label.bytes().any(|byte| byte.is_ascii_digit() || byte == b'@')
            })
            .map_or(("", word), |(label, rest)| (label, rest));
        let address = address.trim_end_matches([':', '.']);
        if !label.is_empty() {
            out.push_str(label);
            out.push(':');
        }
        out.push_str(&hashed(address).to_string());
    } else if whose == Whose::Ours {
        out.push_str(word);
    } else if word.len() >= SECRET && !word.contains([':', '.']) && uuid::Uuid::parse_str(word).is_err() {
        out.push_str("***");
    } else if uuid::Uuid::parse_str(word).is_ok() {
        out.push_str(word);
    } else {
        scrub_digits(word, out);
    }
}

/// Replaces each run of digits that is long enough for a phone number.
fn scrub_digits(word: &str, out: &mut String) {
    let mut rest = word;
    while !rest.is_empty() {
        let start = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (before, from) = rest.split_at(start);
        let length = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (run, after) = from.split_at(length);
        out.push_str(before);
        if run.len() >= NUMBER {
            out.push_str(&hashed(run).to_string());
        } else {
            out.push_str(run);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_the_key_and_is_the_same_for_every_spelling() {
        let (one, other) = ([7; 32], [8; 32]);
        let name = under(&one, "15550100199@s.whatsapp.net");
        for spelling in ["15550100199", "+15550100199", "15550100199:7@s.whatsapp.net", "15550100199@c.us"] {
            assert_eq!(under(&one, spelling), name, "{spelling}");
        }
        assert_ne!(under(&other, "15550100199"), name, "without the key nothing can be tried out");
        assert_ne!(under(&one, "15550100198"), name);
        assert_ne!(under(&one, "15550100199@lid"), name, "a private id is no phone number");
        assert_eq!(under(&one, "Ana@Example.com"), under(&one, "ana@example.com"));
        assert!(!name.to_string().contains("0199") && name.to_string().len() == 13, "{name}");
    }

    #[test]
    fn addresses_keys_and_tokens_go_out_of_our_own_words_and_counts_stay() {
        let key = format!("rec_{}", "a".repeat(43));
        let said = format!(
            "to 15550100199:7@s.whatsapp.net, from:ana@example.com, (+15550100199) with {key} and eyJ{} at 12345678 of \
             0192f0c1-7b7a-7000-8000-000000000001",
            "x".repeat(60)
        );
        let shown = scrubbed(&said, Whose::Ours);
        let (number, mail) = (hashed("15550100199"), hashed("ana@example.com"));
        assert_eq!(
            shown,
            format!(
                "to {number}, from:{mail}, ({number}) with *** and *** at 12345678 of \
                 0192f0c1-7b7a-7000-8000-000000000001"
            )
        );
        assert!(matches!(scrubbed("a plain sentence, 15 of 16 done", Whose::Ours), Cow::Borrowed(_)));
    }

    #[test]
    fn of_others_words_every_long_number_and_every_long_word_goes() {
        let said = "sent <iq id='17' to='15550100199'> key deadbeefdeadbeefdeadbeefdeadbeefdeadbeef \
                    for a::b::c_15550100199.0 in 250 ms";
        let number = hashed("15550100199");
        assert_eq!(
            scrubbed(said, Whose::Others),
            format!("sent <iq id='17' to='{number}'> key *** for a::b::c_{number}.0 in 250 ms")
        );
    }

    #[test]
    fn nothing_is_lost_between_words_whatever_the_script() {
        for text in ["", " ", "ñandú, 北京 «x» =1= @ + @@", "a\nb", "«1234» of 12 @"] {
            for whose in [Whose::Ours, Whose::Others] {
                assert_eq!(scrubbed(text, whose), text);
            }
        }
    }
}
