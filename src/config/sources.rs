//! Where values come from: the environment, then the file `.env` of the working folder.
//!
//! Promises: the real environment goes first; neither a broken file nor a value that is no text is passed over in
//! silence; no problem shows a value.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use zeroize::Zeroizing;

/// The longest `.env` or secret file in bytes.
const LONGEST: u64 = 64 * 1024;

/// A place that values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The process's environment.
    Environment,
    /// The file `.env`.
    EnvFile,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "environment",
            Self::EnvFile => ".env",
        })
    }
}

/// All values of one place.
pub(super) struct Source<'a> {
    pub(super) place: Place,
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
}

/// The values of an `.env` file. None when there is no such file; what cannot be read is a problem.
pub(super) fn env_file(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let text = match bounded(path) {
        Ok(text) => text,
        Err(missing) if missing.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(format!(".env cannot be read: {error}")),
    };
    let mut values = BTreeMap::new();
    for pair in dotenvy::from_read_iter(text.as_bytes()) {
        match pair {
            // The first one counts, as with every other reader of such files here.
            Ok((name, value)) => {
                values.entry(name).or_insert(value);
            }
            // What it names is a line, or its value, or all that follows an open quote.
            Err(dotenvy::Error::LineParse(wrong, _at)) => {
                let wrong = wrong.trim().lines().next().unwrap_or_default();
                let number = text.lines().position(|line| line.trim_end().ends_with(wrong));
                let number = number.map_or_else(|| "a line".to_owned(), |at| format!("line {}", at + 1));
                return Err(format!(
                    ".env: {number} is not NAME=value; a value with spaces or # in it stands in single quotes"
                ));
            }
            Err(_other) => return Err(".env cannot be read to its end".to_owned()),
        }
    }
    Ok(values)
}

/// The text of a file that is not too long.
pub(super) fn bounded(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > LONGEST {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, "more than 64 KiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<String, String>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".env"), text).unwrap();
        env_file(&folder.path().join(".env"))
    }

    #[test]
    fn a_file_is_read_as_compose_reads_it() {
        let values = read("# c\nA=1\n\nexport B='x y # $z'\nC=\"0 3 * * *\" # nightly\nA=2\n").unwrap();
        let expected = [("A", "1"), ("B", "x y # $z"), ("C", "0 3 * * *")];
        assert_eq!(values, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(env_file(&folder.path().join(".env")), Ok(BTreeMap::new()), "there need not be one");
    }

    #[test]
    fn a_broken_file_is_told_with_its_line_and_without_its_text() {
        let problem = read("A=1\n\nKEY=s3cret with spaces\n").unwrap_err();
        assert!(problem.contains("line 3") && !problem.contains("s3cret"), "{problem}");
        for broken in ["A=1\nKEY='s3cret\nB=2\n", "A=1\ns3cret\n"] {
            let problem = read(broken).unwrap_err();
            assert!(problem.contains("line 2") && !problem.contains("s3cret"), "{problem}");
        }
        let problem = read(&"A=1\n".repeat(20_000)).unwrap_err();
        assert!(problem.contains("64 KiB"), "{problem}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".env")).unwrap();
        assert!(env_file(&folder.path().join(".env")).unwrap_err().contains("cannot be read"));
    }
}
