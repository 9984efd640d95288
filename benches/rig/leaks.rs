//! What no log may hold: numbers, addresses, keys and tokens of anybody.
//!
//! Every process of the service that a test starts is searched at its end, whatever the test was about. What a planted
//! value looks like anywhere else is `tests/planted`'s affair.

use regex::Regex;

/// The first API key is told on standard output, once; tests keep it in the same file as the log.
const TOLD: &str = "API key: ";

/// So many lines are enough to see what it is.
const SHOWN: usize = 5;

/// The lines of a log that hold what they must not.
pub(crate) fn of(log: &str) -> Result<Vec<&str>, regex::Error> {
    let jid = r"[0-9]{5,}(?:[.:][0-9]+)*@(?:s\.whatsapp\.net|c\.us|lid|g\.us|newsletter|broadcast)";
    let mail = r"[A-Za-z0-9.+_-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.(?:com|net|org|example|test)\b";
    let number = r"\+[0-9]{8,15}\b";
    let key = r"\brec_[A-Za-z0-9_-]{20,}";
    let token = r"\beyJ[A-Za-z0-9_-]{8,}";
    let leak = Regex::new(&[jid, mail, number, key, token].join("|"))?;
    let lines = log.lines().filter(|line| !line.starts_with(TOLD) && leak.is_match(line));
    Ok(lines.take(SHOWN).collect())
}

#[test]
fn what_a_log_must_not_hold_is_found_and_nothing_else_is() {
    for leak in [
        "to 15550100199@s.whatsapp.net",
        "100000000000009:1@lid.0",
        "ana@example.org",
        "+15550100199",
        "Bearer rec_wCvAaeyl-_DVyayIICHeHkFzMTO7buzXRQre0yMYrcg",
        "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiI",
    ] {
        assert_eq!(of(&format!("fine\na line with {leak}\n")).unwrap().len(), 1, "{leak}");
    }
    for fine in [
        "API key: rec_wCvAaeyl-_DVyayIICHeHkFzMTO7buzXRQre0yMYrcg",
        "2026-11-23T08:39:27.224Z session 01a20791-4dae-7112-a950-abf235ab4bc9 of ~d159596be66e",
        "listening on 127.0.0.1:20123, took +0.5 s",
    ] {
        assert_eq!(of(fine).unwrap(), [""; 0]);
    }
}
