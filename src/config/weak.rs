//! Secrets that everybody knows.
//!
//! Promises: what an older system shipped, what a template holds where a secret belongs, and what stands first in every
//! list of passwords is recognised, whichever way it is written; a secret made by chance is not.

use std::borrow::Cow;

/// Secrets as they are. The first lines are those that the systems before this one shipped.
const KNOWN: [&str; 34] = [
    "anna",
    "tennex",
    "tennex123",
    "user",
    "pass",
    "jwt_signing_key",
    "telegram_bot_token",
    "dev-jwt-secret-change-in-production",
    "pingui",
    "msgorch",
    "minioadmin",
    "recado",
    "postgres",
    "redis",
    "password",
    "passwd",
    "password1",
    "secret",
    "supersecret",
    "admin",
    "admin123",
    "root",
    "default",
    "guest",
    "test",
    "dev",
    "letmein",
    "qwerty",
    "123",
    "1234",
    "12345",
    "123456",
    "12345678",
    "123456789",
];

/// What templates put where a secret belongs. Long enough to be in no random text.
const PLACEHOLDERS: [&str; 18] = [
    "changeme",
    "change-me",
    "change_me",
    "change-in",
    "change_in",
    "change-this",
    "change_this",
    "replaceme",
    "replace-me",
    "replace_me",
    "placeholder",
    "your-",
    "your_",
    "insert-",
    "openssl rand",
    "letters and digits",
    "hex digits",
    "xxxxxxxx",
];

/// Whether a text is no secret.
pub(super) fn is_known(secret: &str) -> bool {
    let secret = secret.to_lowercase();
    let first = secret.chars().next();
    KNOWN.contains(&&*secret)
        || PLACEHOLDERS.iter().any(|part| secret.contains(part))
        || secret.contains(['<', '>'])
        || secret.contains("${")
        || secret.chars().all(|c| Some(c) == first)
}

/// Whether a key is no secret: one byte or one short pattern over and over, or a row of numbers.
pub(super) fn is_known_key(key: &[u8; 32]) -> bool {
    let (words, _) = key.as_chunks::<8>();
    let over_and_over = words.iter().all(|word| Some(word) == words.first());
    let row = key.windows(2).all(|pair| matches!(pair, [a, b] if b.wrapping_sub(*a) == 1));
    let text = std::str::from_utf8(key)
        .is_ok_and(|text| is_known(text) || text.bytes().all(|b| b.is_ascii_lowercase()));
    over_and_over || row || text
}

/// Whether the password in a server's address is no secret. One without a password says nothing about it.
pub(super) fn has_known_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let of_query =
        query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(name, _)| *name == "password");
    let mut of_query = of_query.map(|(_, password)| decoded(password));
    let of_user = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
    let same = |(user, password): (&str, &str)| {
        let password = decoded(password);
        !password.is_empty() && (is_known(&password) || password.eq_ignore_ascii_case(&decoded(user)))
    };
    of_user.is_some_and(same) || of_query.any(|password| !password.is_empty() && is_known(&password))
}

/// Without the `%` of addresses.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *byte == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_older_systems_shipped_and_templates_hold_is_known() {
        for secret in [
            "tennex123",
            "dev-jwt-secret-change-in-production",
            "jwt_signing_key",
            "ChangeMe!",
            "your-secret",
            "<key>",
            "aaaa",
            "${X}",
        ] {
            assert!(is_known(secret), "{secret}");
        }
        for url in [
            "postgres://anna:anna@localhost:5432/anna",
            "postgres://tennex:tennex123@localhost:5432/tennex?sslmode=disable",
            "postgres://user:pass@host:5432/db",
            "postgres://me:me@db/x",
            "postgres://me:change%2Dme@db/x",
            "postgres://db/x?user=me&password=secret",
            "redis://:redis@redis:6379/0",
        ] {
            assert!(has_known_password(url), "{url}");
        }
        assert!(is_known_key(&[0; 32]) && is_known_key(&[0xab; 32]));
        assert!(is_known_key(b"0123456701234567012345670123456\x37"));
        assert!(is_known_key(&std::array::from_fn(|at| u8::try_from(at).unwrap())));
    }

    #[test]
    fn a_secret_made_by_chance_is_not() {
        for _ in 0..2000 {
            let key: [u8; 32] = rand::random();
            let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(!is_known(&hex) && !is_known_key(&key), "{hex}");
            assert!(!has_known_password(&format!("postgres://recado:{hex}@db/recado?sslmode=require")));
        }
        assert!(
            !has_known_password("redis://redis:6379/0") && !has_known_password("postgres://recado@db/recado")
        );
    }
}
