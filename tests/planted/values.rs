//! What is planted, and how it is looked for.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What a place may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Neither secrets nor personal data: logs, metrics, the tree.
    Nothing,
    /// Personal data of whoever asks, and no secret: answers and events.
    Personal,
}

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Secret,
    Personal,
}

/// All planted values.
pub struct Planted {
    key: [u8; 32],
    /// By what is looked for: what it is.
    values: BTreeMap<String, (String, Kind)>,
}

impl Planted {
    pub fn new() -> Self {
        let key: [u8; 32] = rand::random();
        let mut planted = Self { key, values: BTreeMap::new() };
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        planted.secret("the encryption key in hex", &hex);
        planted.secret("the encryption key in hex", &hex.to_uppercase());
        planted.secret("the encryption key in base64", &STANDARD.encode(key));
        let numbers: Vec<String> = key[..6].iter().map(u8::to_string).collect();
        planted.secret("the encryption key as numbers", &numbers.join(", "));
        planted
    }

    pub fn encryption_key(&self) -> String {
        self.key.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Must be seen nowhere.
    pub fn secret(&mut self, what: &str, value: &str) {
        self.plant(what, value, Kind::Secret);
    }

    /// Must be seen by nobody but whoever it belongs to.
    pub fn personal(&mut self, what: &str, value: &str) {
        self.plant(what, value, Kind::Personal);
    }

    fn plant(&mut self, what: &str, value: &str, kind: Kind) {
        assert!(value.len() >= 7, "{what} is too short to be looked for");
        self.values.insert(value.to_owned(), (what.to_owned(), kind));
    }

    /// What of the planted is in a text.
    fn seen(&self, text: &str, may: Seen) -> Vec<String> {
        let wanted = |kind: Kind| kind == Kind::Secret || may == Seen::Nothing;
        let hits = self.values.iter().filter(|(value, (_, kind))| wanted(*kind) && text.contains(&**value));
        hits.map(|(value, (what, _))| {
            let lines = text.lines().filter(|line| line.contains(&**value)).take(3);
            format!("{what}:\n    {}", lines.collect::<Vec<_>>().join("\n    "))
        })
        .collect()
    }

    pub fn assert_unseen(&self, place: &str, text: &str, may: Seen) {
        let seen = self.seen(text, may);
        assert!(seen.is_empty(), "{} of {} in {place}:\n{}", seen.len(), self.values.len(), seen.join("\n"));
    }
}

#[test]
fn a_planted_value_is_found_where_it_must_not_be() {
    let mut planted = Planted::new();
    planted.secret("a key", "rec_planted");
    planted.personal("a number", "549117000");
    assert_eq!(planted.seen(r#"{"a":"x rec_planted y"}"#, Seen::Personal).len(), 1);
    assert_eq!(planted.seen("jid 549117000123@lid\nrec_planted", Seen::Nothing).len(), 2);
    assert_eq!(planted.seen("jid 549117000123@lid", Seen::Personal).len(), 0);
    let key = planted.encryption_key();
    assert_eq!(planted.seen(&format!("a {key}"), Seen::Personal).len(), 1);
    assert_eq!(planted.seen(&format!("{:?}", planted.key), Seen::Personal).len(), 1);
}
