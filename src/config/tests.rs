use std::collections::BTreeMap;

use super::*;

fn read(values: &[(&str, &str)]) -> Result<Config, Problems> {
    let values: BTreeMap<_, _> = values.iter().copied().collect();
    Config::read(&|name| values.get(name).map(|value| (*value).to_owned()))
}

#[test]
fn nothing_set_is_a_working_configuration() {
    let config = read(&[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:3000");
    assert_eq!((config.login_gate, config.events.max_attempts), (20, 5));
    assert_eq!(config.mode, Mode::Development);
}

#[test]
fn all_problems_are_told_at_once_and_show_no_value() {
    let Problems(problems) = read(&[
        ("RECADO_ENV", "prod"),
        ("RECADO_LISTEN", "s3cret"),
        ("RECADO_LOGIN_GATE", "0"),
        ("RECADO_ENCRYPTION_KEY", "s3cret"),
        ("LOG_LEVEL", "info,loud=sometimes"),
        ("EVENTS_BACKOFF_MS", "60000"),
        ("RECADO_CLIENT_VERSION", "2.3000"),
        ("RECADO_CORS_ORIGINS", "https://a.example/path"),
        ("RECADO_SHARDS", "2"),
        ("RECADO_BACKUP_CRON", "s3cret"),
    ])
    .unwrap_err();
    assert_eq!(problems.len(), 10, "{problems:#?}");
    assert!(!problems.iter().any(|problem| problem.contains("s3cret")), "{problems:#?}");
}

#[test]
fn production_refuses_a_missing_key_and_takes_a_given_one() {
    let Problems(problems) = read(&[("RECADO_ENV", "production")]).unwrap_err();
    assert!(problems[0].contains("RECADO_ENCRYPTION_KEY"));
    let hex = "ab".repeat(32);
    let config = read(&[("RECADO_ENV", "production"), ("RECADO_ENCRYPTION_KEY", &hex)]).unwrap();
    assert_eq!(*config.encryption_key.as_ref().unwrap().0, [0xab; 32]);
    assert!(!format!("{config:?}").contains(&hex[..8]));
    assert!(!format!("{config:?}").contains("171, 171"), "nor as numbers");
}

#[test]
fn a_key_comes_from_a_file_or_the_environment_but_not_from_both() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    // 32 bytes of 0x07 in base64, with the line break an editor leaves.
    std::fs::write(&file, "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n").unwrap();
    let file = file.to_str().unwrap();
    let config = read(&[("RECADO_ENCRYPTION_KEY_FILE", file)]).unwrap();
    assert_eq!(*config.encryption_key.unwrap().0, [7; 32]);
    let both = [("RECADO_ENCRYPTION_KEY_FILE", file), ("RECADO_ENCRYPTION_KEY", &*"ab".repeat(32))];
    assert!(read(&both).is_err());
    assert!(read(&[("RECADO_ENCRYPTION_KEY_FILE", "/nowhere/at/all")]).is_err());
}

#[test]
fn postgres_brings_shards_and_needs_redis_and_a_key_and_shows_no_password() {
    let Problems(problems) = read(&[("DATABASE_URL", "postgres://u:hush@db/recado")]).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(problems[0].contains("REDIS_URL") && problems[1].contains("RECADO_ENCRYPTION_KEY"));
    let key = "ab".repeat(32);
    let whole = [
        ("DATABASE_URL", "postgres://u:hush@db/recado"),
        ("REDIS_URL", "redis://:hush@cache/0"),
        ("RECADO_ENCRYPTION_KEY", &*key),
        ("RECADO_ROLES", "api"),
        ("RECADO_NODE_ADDRESS", "http://10.0.0.7:3000"),
    ];
    let config = read(&whole).unwrap();
    assert_eq!((config.shards, config.ledgers), (16, 2));
    assert!(config.roles.serves() && !config.roles.owns());
    assert!(!format!("{config:?}").contains("hush"));
    let Problems(problems) = read(&[
        ("DATABASE_URL", "mysql://u:hush@db"),
        ("REDIS_URL", "hush"),
        ("RECADO_ROLES", "relay"),
        ("RECADO_NODE_ADDRESS", "10.0.0.7:3000"),
        ("EVENTS_STREAM", "a stream"),
    ])
    .unwrap_err();
    assert_eq!(problems.len(), 5, "{problems:#?}");
    assert!(!problems.iter().any(|problem| problem.contains("hush")), "{problems:#?}");
}

#[test]
fn a_port_alone_is_enough_and_the_address_goes_first() {
    assert_eq!(read(&[("PORT", "9000")]).unwrap().listen.to_string(), "0.0.0.0:9000");
    assert_eq!(read(&[("PORT", "9000"), ("HTTP_PORT", "9001")]).unwrap().listen.port(), 9001);
    let all = [("PORT", "9000"), ("HTTP_PORT", "9001"), ("RECADO_LISTEN", "127.0.0.1:9002")];
    assert_eq!(read(&all).unwrap().listen.to_string(), "127.0.0.1:9002");
    assert!(read(&[("PORT", "70000")]).is_err());
}

#[test]
fn every_documented_variable_is_read_and_every_read_one_is_documented() {
    let nothing = |_: &str| None;
    let mut reader = Reader::new(&nothing);
    let config = Config::gather(&mut reader);
    config.cross_check(&mut reader);
    let read: Vec<_> = reader.asked.iter().copied().collect();
    let mut documented: Vec<_> = VARIABLES.iter().map(|variable| variable.name).collect();
    documented.sort_unstable();
    assert_eq!(read, documented);
}

#[test]
fn the_example_file_lists_exactly_the_documented_variables_with_their_defaults() {
    let (example, _) = include_str!("../../.env.example").split_once("# --- For compose.yaml alone").unwrap();
    let listed: Vec<_> = example
        .lines()
        .filter_map(|line| line.strip_prefix('#').unwrap_or(line).split_once('='))
        .filter(|(name, _)| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        .collect();
    let documented: Vec<_> = VARIABLES.iter().map(|variable| (variable.name, variable.default)).collect();
    assert_eq!(listed, documented);
    for variable in VARIABLES {
        assert!(example.contains(variable.meaning), "{}", variable.name);
    }
}

#[test]
fn sends_are_limited_only_where_that_is_set_and_rest_after_463_unless_that_is_not() {
    let pacing = read(&[]).unwrap().pacing;
    assert!(!pacing.limits() && pacing.cool_down == Duration::from_secs(3600));
    let set = [
        ("RECADO_PACE_PER_DAY", "200"),
        ("RECADO_PACE_WARM_UP_DAYS", "14"),
        ("RECADO_PACE_COOL_DOWN_SECS", "0"),
    ];
    let pacing = read(&set).unwrap().pacing;
    assert_eq!((pacing.per_day, pacing.per_minute, pacing.warm_up_days), (Some(200), None, 14));
    assert!(pacing.limits() && pacing.cool_down.is_zero());
    let Problems(problems) = read(&[("RECADO_PACE_WARM_UP_DAYS", "14")]).unwrap_err();
    assert!(problems[0].contains("RECADO_PACE_PER_DAY"), "{problems:#?}");
}

#[test]
fn backups_are_nightly_unless_they_are_switched_off() {
    assert!(read(&[]).unwrap().backup.cron.is_some());
    assert_eq!(read(&[("RECADO_BACKUP_CRON", "off")]).unwrap().backup.cron, None);
    assert_eq!(read(&[("RECADO_BACKUP_DIR", "/b")]).unwrap().backup.folder, Path::new("/b"));
}

#[test]
fn the_table_of_the_documentation_is_the_one_that_is_printed() {
    let page = include_str!("../../docs/operations.md");
    let (_, rest) = page.split_once("<!-- variables -->\n").unwrap();
    let (documented, _) = rest.split_once("<!-- end of variables -->").unwrap();
    assert!(documented == table(), "put the output of `recado doctor --variables` between the marks");
}
