//! How the binary reads its settings: `.env`, `--print-config`, and what it refuses.

use std::path::Path;
use std::process::{Command, Output};

use crate::process::RECADO;

fn run(folder: &Path, words: &[&str], variables: &[(&str, &str)]) -> (Output, String) {
    let mut command = Command::new(RECADO);
    command.args(words).current_dir(folder).env_clear().envs(variables.iter().copied());
    let output = command.output().unwrap();
    let said = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
    (output, said)
}

#[test]
fn print_config_shows_what_holds_and_where_it_comes_from_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = "RECADO_LEASE_SECS=20\nRECADO_BACKUP_CRON='0 4 * * *'\nHTTP_PORT=3001\nREDIS_URL=redis://:plantedWord@cache/0\n";
    std::fs::write(folder.path().join(".env"), file).unwrap();
    let key = "0123456789abcdef0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778";
    std::fs::write(folder.path().join("key"), key).unwrap();
    let variables = [
        ("PORT", "3002"),
        ("TENNEX_DATABASE_URL", "postgres://me:plantedWord@db/recado"),
        ("RECADO_ENCRYPTION_KEY_FILE", "key"),
    ];
    let (output, said) = run(folder.path(), &["serve", "--print-config"], &variables);
    assert!(output.status.success(), "{said}");
    for line in [
        "RECADO_LISTEN=0.0.0.0:3002  # environment, as PORT",
        "RECADO_LEASE_SECS=20  # .env",
        "RECADO_BACKUP_CRON='0 4 * * *'  # .env",
        "DATABASE_URL=postgres://me:***@db/recado  # environment, as TENNEX_DATABASE_URL",
        "REDIS_URL=redis://:***@cache/0  # .env",
        "RECADO_ENCRYPTION_KEY=***  # file, by RECADO_ENCRYPTION_KEY_FILE",
        "RECADO_SHARDS=16  # default",
        "LOG_FORMAT=json  # default",
    ] {
        assert!(said.lines().any(|said| said == line), "{line} is missing in\n{said}");
    }
    assert!(!said.contains("plantedWord") && !said.contains(&key[..8]), "{said}");
    assert!(!folder.path().join("data").exists(), "it only shows");
}

#[test]
fn print_config_of_what_cannot_work_ends_with_1_and_all_problems() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "RECADO_LEASE_SECS=planted\n").unwrap();
    let variables = [
        ("RECADO_ENV", "production"),
        ("DATABASE_URL", "postgres://planted:planted@db/x"),
        ("LOG_LEVEL", "planted"),
    ];
    for words in [&["serve", "--print-config"][..], &["serve"]] {
        let (output, said) = run(folder.path(), words, &variables);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for problem in
            ["RECADO_LEASE_SECS", "DATABASE_URL", "LOG_LEVEL", "RECADO_ENCRYPTION_KEY", "REDIS_URL"]
        {
            assert!(
                said.lines().any(|line| line.starts_with("  - ") && line.contains(problem)),
                "{problem}: {said}"
            );
        }
        assert!(!said.replace("planted:***", "").contains("planted"), "{said}");
    }
}

#[test]
fn a_broken_env_file_is_refused_without_showing_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "A=1\nDATABASE_URL=postgres://me:plantedWord with space\n")
        .unwrap();
    let (output, said) = run(folder.path(), &["serve"], &[]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(".env: line 2") && !said.contains("plantedWord"), "{said}");
}
