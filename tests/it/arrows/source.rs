//! A source file as the rules read it: its code without comments and literals, its literals, and the paths it names.

use std::fs;
use std::path::{Path, PathBuf};

/// One Rust file.
pub struct Source {
    /// From the repository's root, with `/`.
    pub path: String,
    /// As it is on disk.
    pub text: String,
    /// Without comments; literals are emptied.
    pub code: String,
    /// The string literals of what ships.
    pub literals: Vec<String>,
}

impl Source {
    /// Reads a file's text.
    pub fn new(path: &str, text: &str) -> Self {
        let (code, _) = split(text);
        let (_, literals) = split(shipped(text));
        Self { path: path.into(), text: text.into(), code, literals }
    }

    /// Whether it ships: unit tests in a file of their own do not.
    pub fn ships(&self) -> bool {
        !self.path.contains("/tests/") && !self.path.ends_with("/tests.rs")
    }

    /// Lines that ship.
    pub fn lines(&self) -> usize {
        shipped(&self.text).lines().count()
    }

    /// Every path the code names, `use` trees spread out and `crate`, `self`, `super` resolved.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        let mut rest = self.code.as_str();
        while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
            rest = &rest[start..];
            let length = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
                .unwrap_or(rest.len());
            let (word, after) = rest.split_at(length);
            rest = after;
            if word == "use" {
                let end = rest.find(';').unwrap_or(rest.len());
                spread("", &rest[..end], &mut paths);
                rest = &rest[end..];
            } else if word.contains("::") {
                paths.push(word.into());
            }
        }
        let module = module_of(&self.path);
        paths.iter().map(|path| resolve(&module, path)).collect()
    }
}

/// A file without the unit tests at its end.
fn shipped(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

/// Every Rust file below a folder of the repository; none when the folder is not there.
pub fn below(folder: &str) -> Vec<Source> {
    let root = root();
    let mut files = Vec::new();
    walk(&root.join(folder), &mut files);
    files.sort();
    let read = |file: &PathBuf| {
        let path = file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        Source::new(&path, &fs::read_to_string(file).unwrap())
    };
    files.iter().filter(|file| file.extension().is_some_and(|e| e == "rs")).map(read).collect()
}

/// The repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder, without what is built or fetched.
pub fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.is_file() {
            files.push(path);
        } else if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
            walk(&path, files);
        }
    }
}

/// `src/http/sessions.rs` is `crate::http::sessions`.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.split_once("src/").map_or(path, |(_, inside)| inside).trim_end_matches(".rs");
    let parts = inside.split('/').filter(|part| !["mod", "lib", "main"].contains(part));
    std::iter::once("crate").chain(parts).map(str::to_owned).collect()
}

fn resolve(module: &[String], path: &str) -> String {
    let mut at = module.to_vec();
    let mut relative = false;
    let mut rest = path;
    while let Some((first, after)) = rest.split_once("::") {
        match first {
            "self" => {}
            "super" => drop(at.pop()),
            _ => break,
        }
        relative = true;
        rest = after;
    }
    if relative { format!("{}::{rest}", at.join("::")) } else { rest.to_owned() }
}

/// Spreads `a::{b, c::{d, e}}` out into `a::b`, `a::c::d`, `a::c::e`.
fn spread(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split_whitespace().next().unwrap_or_default();
        if !path.is_empty() {
            paths.push(format!("{prefix}{path}"));
        }
        return;
    };
    let inner = tree[open + 1..].trim_end().strip_suffix('}').unwrap_or_default();
    let prefix = format!("{prefix}{}", tree[..open].trim());
    let (mut depth, mut start) = (0_i32, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                spread(&prefix, &inner[start..at], paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    spread(&prefix, &inner[start..], paths);
}

/// Parts code from comments and literals.
fn split(text: &str) -> (String, Vec<String>) {
    let (mut code, mut literals) = (String::with_capacity(text.len()), Vec::new());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some((start, end, length)) = string(rest, code.chars().next_back()) {
            literals.push(rest[start..end].to_owned());
            code.push_str("\"\"");
            length
        } else if let Some(length) = character(rest) {
            code.push_str("' '");
            length
        } else {
            code.push(c);
            c.len_utf8()
        };
        rest = &rest[skip..];
    }
    (code, literals)
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let two = text.as_bytes().get(at..at + 2);
        match two {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Where a string literal's text starts and ends, and how long the literal is.
fn string(text: &str, before: Option<char>) -> Option<(usize, usize, usize)> {
    let in_word = before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    if let Some(raw) = text.strip_prefix('r').filter(|_| !in_word || before == Some('b')) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let start = 1 + hashes + 1;
            let close = format!("\"{}", "#".repeat(hashes));
            let end = start + text[start..].find(&close)?;
            return Some((start, end, end + close.len()));
        }
    }
    let body = text.strip_prefix('"')?;
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            '"' if !escaped => return Some((1, at + 1, at + 2)),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

/// How long a character literal is; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    if let Some(escape) = body.strip_prefix('\\') {
        let first = escape.chars().next()?;
        return Some(3 + first.len_utf8() + escape[first.len_utf8()..].find('\'')?);
    }
    let first = body.chars().next()?;
    body[first.len_utf8()..].starts_with('\'').then(|| first.len_utf8() + 2)
}

#[test]
fn comments_and_literals_are_no_code() {
    let text = "let a = \"x\\\"tokio::spawn\"; // tokio::spawn\n/* tokio /* x */ spawn */ let b = '\"'; let c: &'a str = r#\"q\"q\"#;";
    let source = Source::new("src/x.rs", text);
    assert_eq!(source.literals, ["x\\\"tokio::spawn", "q\"q"]);
    assert!(
        !source.code.contains("tokio") && source.code.contains("let b") && source.code.contains("&'a str")
    );
}

#[test]
fn use_trees_are_spread_and_relative_paths_resolved() {
    let text = "use crate::{actors::tree, infra::{store::Store, stream}};\nuse super::wire as w;\nfn f() { self::g::h(); std::fs::read(); }";
    let paths = Source::new("src/http/sessions.rs", text).paths();
    let wanted = [
        "crate::actors::tree",
        "crate::infra::store::Store",
        "crate::infra::stream",
        "crate::http::wire",
        "crate::http::sessions::g::h",
        "std::fs::read",
    ];
    assert_eq!(paths, wanted);
}
