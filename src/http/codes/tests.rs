//! The list is what the sources say, and the page for clients is what the list says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::CODES;

/// How a failure is made, and which argument is its code.
const MAKERS: [(&str, usize); 10] = [
    ("Error::invalid(", 1),
    ("Error::new(", 1),
    ("Error::not_found(", 0),
    ("Error::conflict(", 0),
    ("Error::busy(", 0),
    ("Error::unavailable(", 0),
    ("Problem::of(", 1),
    ("Problem::at(", 2),
    ("forbidden(", 0),
    ("unauthorized(", 0),
];

/// Places whose failures no client of the API ever sees.
const INSIDE: [&str; 13] = [
    "actors/consumer",
    "actors/intake",
    "actors/leases",
    "actors/relay",
    "actors/testing",
    "commands",
    "config",
    "domain/cluster.rs",
    "domain/command.rs",
    "domain/cron.rs",
    "infra/store/backup",
    "infra/store/history.rs",
    "infra/stream",
];

/// Codes that stay inside though they are made where others are not.
const UNSEEN: [(&str, &str); 30] = [
    ("credential_unreadable", "ends a link"),
    ("data_folder_in_use", "ends a start"),
    ("data_folder_unusable", "ends a start"),
    ("encryption_key", "ends a start"),
    ("event_not_found", "between consumer and store"),
    ("inbound_late", "between link and store"),
    ("invalid_body", "between nodes"),
    ("invalid_certificate", "ends a start"),
    ("invalid_log_format", "ends a start"),
    ("invalid_network", "ends a start"),
    ("invalid_purpose", "in tables only"),
    ("invalid_rate", "ends a start"),
    ("invalid_redis_url", "ends a start"),
    ("invalid_sender", "ends a start"),
    ("invalid_store_url", "ends a start"),
    ("key_exists", "between key and store"),
    ("link_closed", "inside a link"),
    ("logout_failed", "shows in a session's timeline"),
    ("mail_certificates", "ends a start"),
    ("news_waiting", "between link and store"),
    ("no_token", "between consumer and store"),
    ("not_a_node", "between nodes"),
    ("session_exists", "two random ids would have to be one"),
    ("signing_key_not_found", "between keys and store"),
    ("stopping", "inside a session"),
    ("store_not_migrated", "ends a start"),
    ("store_not_utf8", "ends a start"),
    ("store_timeout", "inside a link"),
    ("store_too_many_connections", "ends a start"),
    ("tree_not_started", "ends a start"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

/// Every source that is no test: its place below `src`, and its text up to its own tests.
fn texts() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    let texts = found.iter().map(|path| {
        let place = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(path).unwrap();
        let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        (place, text[..end].to_owned())
    });
    texts.filter(|(place, _)| !place.contains("/tests") && !place.starts_with("http/codes")).collect()
}

/// The arguments of a call, from behind its opening parenthesis.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let mut arguments = vec![String::new()];
    for letter in text.chars() {
        match letter {
            '"' if !escaped => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted && depth == 0 => break,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        escaped = letter == '\\' && !escaped;
        arguments.last_mut().unwrap().push(letter);
    }
    arguments.into_iter().map(|argument| argument.trim().to_owned()).collect()
}

/// Codes by the place that makes them.
fn made(texts: &[(String, String)]) -> BTreeMap<String, String> {
    let mut codes = BTreeMap::new();
    for (place, text) in
        texts.iter().filter(|(place, _)| !INSIDE.iter().any(|inside| place.starts_with(inside)))
    {
        for (maker, at) in MAKERS {
            for (start, _) in text.match_indices(maker) {
                let arguments = arguments(&text[start + maker.len()..]);
                let Some(code) = arguments.get(at) else { continue };
                let constant = format!("const {code}: &str = ");
                let named =
                    texts.iter().find_map(|(_, text)| text.split_once(&constant)).map(|(_, rest)| rest);
                let literal = named.unwrap_or(code).strip_prefix('"').and_then(|rest| rest.split('"').next());
                if let Some(literal) = literal {
                    codes.entry(literal.to_owned()).or_insert_with(|| place.clone());
                }
            }
        }
    }
    codes
}

#[test]
fn the_list_is_what_the_sources_say() {
    let texts = texts();
    let made = made(&texts);
    assert!(made.len() > 60, "{}", made.len());
    let known: BTreeSet<_> = CODES.iter().map(|code| code.code).collect();
    let unseen: BTreeSet<_> = UNSEEN.iter().map(|(code, _)| *code).collect();
    let new: Vec<_> = made.iter().filter(|(code, _)| !known.contains(code.as_str())).collect();
    let new: Vec<_> = new.iter().filter(|(code, _)| !unseen.contains(code.as_str())).collect();
    assert!(new.is_empty(), "without a line in http/codes.rs: {new:?}");
    let idle = |code: &&str| !texts.iter().any(|(_, text)| text.contains(&format!("\"{code}\"")));
    let idle: Vec<_> = known.union(&unseen).copied().filter(idle).collect();
    assert!(idle.is_empty(), "nothing makes these codes: {idle:?}");
}

#[test]
fn the_list_is_in_order_and_names_each_code_once() {
    let order: Vec<_> = CODES.iter().map(|code| (code.status, code.code)).collect();
    assert!(order.is_sorted(), "by status and name");
    assert_eq!(CODES.iter().map(|code| code.code).collect::<BTreeSet<_>>().len(), CODES.len());
}

#[test]
fn the_page_for_clients_has_the_same_table() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md")).unwrap();
    let rows: Vec<_> =
        CODES.iter().map(|code| format!("| {} | `{}` | {} |", code.status, code.code, code.when)).collect();
    let shown: Vec<_> =
        page.lines().filter(|line| line.starts_with("| 4") || line.starts_with("| 5")).collect();
    assert!(shown == rows, "the table in docs/api.md must be:\n{}", rows.join("\n"));
}
