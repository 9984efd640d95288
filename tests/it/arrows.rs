//! The sources keep the house's rules: arrows run one way, SQL has one place, files stay small.
//!
//! A rule that cannot fail proves nothing, so each is first shown a planted violation, which it must catch, and an
//! innocent neighbour, which it must spare; then all files in its scope, of which there must be some.

pub mod source;

use std::fs;
use std::process::Command;

use source::Source;

/// Crates that do input, output or scheduling: nothing for `domain`.
const OUTSIDE: [&str; 24] = [
    "tokio",
    "futures_util",
    "ractor",
    "axum",
    "tower",
    "tower_http",
    "hyper",
    "reqwest",
    "sqlx",
    "rusqlite",
    "redis",
    "rustls",
    "tokio_websockets",
    "tokio_tungstenite",
    "tungstenite",
    "whatsapp_rust",
    "wacore",
    "waproto",
    "recado_sandbox",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
];

/// A rule over single files.
struct Rule {
    /// Folders it holds in.
    scope: &'static [&'static str],
    /// Files and folders it does not hold in.
    except: &'static [&'static str],
    /// What is wrong with a file, if anything is.
    wrong: fn(&Source) -> Option<String>,
    /// A file that breaks it.
    planted: (&'static str, &'static str),
    /// A file that looks like it and does not.
    innocent: (&'static str, &'static str),
}

impl Rule {
    fn holds_in(&self, path: &str) -> bool {
        self.scope.iter().any(|folder| path.starts_with(folder))
            && !self.except.iter().any(|place| path.starts_with(place))
    }

    fn check(&self) {
        let (path, text) = self.planted;
        assert!(self.holds_in(path), "the planted file is out of the rule's scope");
        assert!(
            (self.wrong)(&Source::new(path, text)).is_some(),
            "the rule does not see its planted violation"
        );
        let (path, text) = self.innocent;
        if self.holds_in(path) {
            assert_eq!((self.wrong)(&Source::new(path, text)), None, "the rule accuses an innocent file");
        }
        let files: Vec<Source> = self.scope.iter().flat_map(|folder| source::below(folder)).collect();
        let files: Vec<&Source> = files.iter().filter(|file| self.holds_in(&file.path)).collect();
        assert!(!files.is_empty(), "the rule has no file to look at");
        let wrong: Vec<String> = files
            .iter()
            .filter_map(|file| (self.wrong)(file).map(|what| format!("{}: {what}", file.path)))
            .collect();
        assert!(wrong.is_empty(), "{} of {} files:\n{}", wrong.len(), files.len(), wrong.join("\n"));
    }
}

/// The first path of the file that is or lies below one of these.
fn names(file: &Source, forbidden: &[&str]) -> Option<String> {
    let below = |path: &String| {
        forbidden
            .iter()
            .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
    };
    file.paths().into_iter().find(below).map(|path| format!("names {path}"))
}

#[test]
fn domain_knows_no_upper_room_and_does_no_input_or_output() {
    Rule {
        scope: &["src/domain/"],
        except: &[],
        wrong: |file| {
            let rooms = ["actors", "http", "grpc", "infra", "commands", "config"]
                .map(|room| format!("crate::{room}"));
            let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
            names(file, &rooms).or_else(|| names(file, &OUTSIDE))
        },
        planted: ("src/domain/planted.rs", "use std::time::Duration;\nuse tokio::time::sleep;\n"),
        innocent: (
            "src/domain/innocent.rs",
            "//! tokio::time\nuse super::time::Timestamp;\nuse serde::Serialize;\n",
        ),
    }
    .check();
}

#[test]
fn infra_never_looks_up() {
    Rule {
        scope: &["src/infra/"],
        except: &[],
        wrong: |file| names(file, &["crate::actors", "crate::http", "crate::grpc", "crate::commands"]),
        planted: ("src/infra/store/planted.rs", "use crate::{domain::ids, actors::ledger::Ledgers};\n"),
        innocent: ("src/infra/store/innocent.rs", "use crate::domain::ids::Fence;\nuse http::StatusCode;\n"),
    }
    .check();
}

#[test]
fn actors_never_know_how_they_are_asked() {
    Rule {
        scope: &["src/actors/"],
        except: &[],
        wrong: |file| names(file, &["crate::http", "crate::grpc", "crate::commands", "axum", "tower_http"]),
        planted: ("src/actors/planted.rs", "fn f() { crate::http::error::status(); }\n"),
        innocent: ("src/actors/innocent.rs", "use crate::infra::store::Store;\n"),
    }
    .check();
}

#[test]
fn http_asks_actors_and_never_the_store() {
    Rule {
        scope: &["src/http/", "src/grpc/"],
        except: &[],
        wrong: |file| {
            names(file, &["crate::infra", "recado::infra", "sqlx", "rusqlite", "redis", "whatsapp_rust"])
        },
        planted: ("src/http/planted.rs", "use super::super::infra::store::Store;\n"),
        innocent: ("src/http/innocent.rs", "use crate::actors::ledger::Ledgers;\n"),
    }
    .check();
}

/// Whether a literal is a statement rather than a sentence.
fn is_sql(literal: &str) -> bool {
    let text = literal.to_lowercase().replace("\\n", " ");
    let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "\\").collect();
    let has = |word: &str| words.contains(&word);
    match words.as_slice() {
        ["insert" | "replace", "into", ..] | ["delete", "from", ..] => true,
        ["select", ..] => has("from"),
        ["update", _, "set", ..] => true,
        ["create" | "alter" | "drop", "table" | "index" | "unique" | "trigger" | "view", ..] => true,
        ["pragma", ..] | ["begin", "immediate", ..] => true,
        ["with", _, "as", ..] => has("select"),
        _ => false,
    }
}

#[test]
fn sql_lives_only_under_the_store() {
    let rule = Rule {
        scope: &["src/", "sandbox/src/"],
        except: &["src/infra/store/"],
        wrong: |file| {
            let statement = file.literals.iter().find(|literal| is_sql(literal));
            names(file, &["sqlx", "rusqlite"]).or_else(|| statement.map(|text| format!("holds SQL: {text}")))
        },
        planted: (
            "src/actors/planted.rs",
            "const Q: &str = \"\n    select id\n    from sessions where id = ?\";\n",
        ),
        innocent: (
            "src/actors/innocent.rs",
            "const HELP: &str = \"Select a session to update its name.\";\n",
        ),
    };
    for planted in
        ["insert into events values (?)", "update sessions set seq = 1", "delete from inbox", "pragma x"]
    {
        assert!(is_sql(planted), "{planted}");
    }
    let tested = "//! x\n#[cfg(test)]\nmod tests {\n    const Q: &str = \"delete from inbox\";\n}\n";
    assert_eq!((rule.wrong)(&Source::new("src/http/innocent.rs", tested)), None, "unit tests do not ship");
    let import = Source::new("src/http/planted.rs", "use sqlx::SqlitePool;\n");
    assert!((rule.wrong)(&import).is_some(), "an import of sqlx goes unseen");
    rule.check();
}

#[test]
fn the_unmaintained_backoff_crate_is_named_in_one_file() {
    Rule {
        scope: &["src/", "sandbox/src/", "benches/", "tests/"],
        except: &["src/domain/retry.rs"],
        wrong: |file| names(file, &["backoff"]),
        planted: ("src/actors/planted.rs", "use backoff::backoff::Backoff;\n"),
        innocent: ("src/actors/innocent.rs", "use crate::domain::retry::Schedule;\nlet backoff = 1;\n"),
    }
    .check();
}

#[test]
fn a_task_belongs_to_an_actor() {
    Rule {
        scope: &["src/", "sandbox/src/"],
        except: &["src/actors/task.rs", "sandbox/src/task.rs", "src/commands/demo/mod.rs"],
        wrong: |file| {
            let spawns =
                ["tokio::spawn", "tokio::task::spawn", "tokio::task::spawn_local", "std::thread::spawn"];
            names(file, &spawns)
                .or_else(|| (file.code.contains("thread::spawn(")).then(|| "spawns a thread".into()))
        },
        planted: ("src/infra/planted.rs", "fn f() { tokio::spawn(async {}); }\n"),
        innocent: ("src/infra/innocent.rs", "fn f() { tokio::task::spawn_blocking(|| ()); }\n"),
    }
    .check();
}

#[test]
fn every_file_first_says_what_it_promises() {
    Rule {
        scope: &["src/", "sandbox/src/"],
        except: &[],
        wrong: |file| {
            (file.ships() && !file.text.starts_with("//! "))
                .then(|| "does not start with a module doc".into())
        },
        planted: ("src/planted.rs", "use std::fmt;\n//! Late.\n"),
        innocent: ("src/innocent.rs", "//! A promise.\nuse std::fmt;\n"),
    }
    .check();
}

#[test]
fn no_file_outgrows_500_lines() {
    let rule = Rule {
        scope: &["src/", "sandbox/src/"],
        except: &[],
        wrong: |file| {
            (file.ships() && file.lines() > 500).then(|| format!("{} lines: make it a folder", file.lines()))
        },
        planted: ("src/planted.rs", PLANTED_LINES),
        innocent: ("src/innocent.rs", "//! Small.\n"),
    };
    let tests = format!("//! Small.\n#[cfg(test)]\nmod tests {{\n{PLANTED_LINES}}}\n");
    assert_eq!((rule.wrong)(&Source::new("src/innocent.rs", &tests)), None, "tests at the end do not count");
    rule.check();
}

/// 512 lines.
const PLANTED_LINES: &str = {
    const LINES: [u8; 512] = [b'\n'; 512];
    match std::str::from_utf8(&LINES) {
        Ok(lines) => lines,
        Err(_impossible) => "",
    }
};

fn median(mut lengths: Vec<usize>) -> usize {
    lengths.sort_unstable();
    lengths[lengths.len() / 2]
}

#[test]
fn the_median_file_stays_under_150_lines() {
    assert_eq!(median(vec![900, 1, 200]), 200, "the median sees what is long");
    let files = ["src/", "sandbox/src/"].iter().flat_map(|folder| source::below(folder));
    let lengths: Vec<usize> = files.filter(Source::ships).map(|file| file.lines()).collect();
    let (count, longest) = (lengths.len(), lengths.iter().max().copied().unwrap_or_default());
    let median = median(lengths);
    println!("{count} files, median {median} lines, longest {longest}");
    assert!(median < 150, "the median file has {median} lines");
}

/// The first feature named `danger-…` in a manifest, comments apart.
fn danger(manifest: &str) -> Option<&str> {
    manifest
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .find(|line| line.contains("danger-"))
}

#[test]
fn no_danger_feature_is_asked_for_anywhere() {
    assert!(
        danger("x = { features = [\"danger-skip-tls\"] } # no").is_some(),
        "a planted feature goes unseen"
    );
    assert_eq!(danger("# Never with a `danger-*` feature.\nx = \"1\""), None);
    let mut files = Vec::new();
    source::walk(&source::root(), &mut files);
    let manifests: Vec<_> = files.iter().filter(|file| file.ends_with("Cargo.toml")).collect();
    assert!(manifests.len() >= 2, "found {} manifests", manifests.len());
    for manifest in manifests {
        assert_eq!(danger(&fs::read_to_string(manifest).unwrap()), None, "in {}", manifest.display());
    }
}

/// The first package of `cargo tree -f "{p} [{f}]"` with a `danger-…` feature.
fn danger_in_tree(tree: &str) -> Option<&str> {
    tree.lines().find(|line| line.split('[').nth(1).is_some_and(|features| features.contains("danger-")))
}

#[test]
fn no_danger_feature_is_switched_on_by_anyone() {
    assert!(danger_in_tree("a v1 []\nb v2 [std,danger-x]\n").is_some(), "a planted feature goes unseen");
    assert_eq!(danger_in_tree("danger-zone v1 [std]\n"), None);
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--locked",
            "--edges",
            "normal,build,dev",
            "--prefix",
            "none",
            "-f",
            "{p} [{f}]",
        ])
        .current_dir(source::root())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains("whatsapp-rust v0.7.0 ["), "the tree does not show the engine's features");
    assert_eq!(danger_in_tree(&tree), None);
}
