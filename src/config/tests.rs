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
        ("RECADO_LIMIT_IP", "s3cret"),
        ("RECADO_TRUSTED_PROXIES", "s3cret"),
    ])
    .unwrap_err();
    assert_eq!(problems.len(), 12, "{problems:#?}");
    assert!(!problems.iter().any(|problem| problem.contains("s3cret")), "{problems:#?}");
}

#[test]
fn limits_are_off_but_for_failed_authentications_and_each_can_be_set_or_switched_off() {
    let limits = read(&[]).unwrap().limits;
    let shown = |rate: Option<crate::domain::limit::Rate>| rate.map(|rate| rate.to_string());
    assert_eq!(shown(limits.auth_failures).as_deref(), Some("60/min"));
    assert_eq!(Rates { auth_failures: None, ..limits }, Rates::default());
    let limits = read(&[
        ("RECADO_LIMIT_IP", "600/min"),
        ("RECADO_LIMIT_AUTH_FAILURES", "off"),
        ("RECADO_LIMIT_TOKEN", "10/s"),
        ("RECADO_LIMIT_TENANT", "1000/h"),
        ("RECADO_LIMIT_SESSION_SENDS", "5/10s"),
    ])
    .unwrap()
    .limits;
    let all = [limits.ip, limits.auth_failures, limits.token, limits.tenant, limits.session].map(shown);
    let wanted = [Some("600/min"), None, Some("10/s"), Some("1000/h"), Some("5/10s")];
    assert_eq!(all, wanted.map(|rate| rate.map(str::to_owned)));
}

#[test]
fn production_refuses_a_missing_key_and_takes_a_given_one() {
    let Problems(problems) = read(&[("RECADO_ENV", "production")]).unwrap_err();
    assert!(problems[0].contains("RECADO_ENCRYPTION_KEY"));
    let hex = format!("abab{}", "0123456789abcde".repeat(4));
    let config = read(&[("RECADO_ENV", "production"), ("RECADO_ENCRYPTION_KEY", &hex)]).unwrap();
    assert_eq!(config.encryption_key.as_ref().unwrap().0[..3], [0xab, 0xab, 0x01]);
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
    assert_eq!(read(&[("HTTP_PORT", "9001")]).unwrap().listen.to_string(), "0.0.0.0:9001");
    let all = [("HTTP_PORT", "9001"), ("RECADO_LISTEN", "127.0.0.1:9002")];
    assert_eq!(read(&all).unwrap().listen.to_string(), "127.0.0.1:9002");
    assert!(read(&[("PORT", "70000")]).is_err());
}

#[test]
fn every_documented_variable_is_read_and_every_read_one_is_documented() {
    let mut reader = Reader::new(&[]);
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
        // A value with spaces stands in quotes, as compose and we read it.
        .map(|(name, value)| (name, value.trim_matches('\'')))
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

/// Reads from an environment and an `.env` file.
fn inspect(environment: &[(&str, &str)], file: &[(&str, &str)]) -> Inspected {
    let look = |values: &[(&str, &str)], name: &str| {
        values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    let environment = |name: &str| look(environment, name);
    let file = |name: &str| look(file, name);
    Config::inspect(&[
        Source { place: Place::Environment, variable: &environment },
        Source { place: Place::EnvFile, variable: &file },
    ])
}

/// What is shown of a variable.
fn line(inspected: &Inspected, name: &str) -> String {
    inspected.settings.iter().find(|setting| setting.name == name).unwrap().to_string()
}

#[test]
fn older_names_are_read_and_the_first_found_wins() {
    for (name, port) in [("PORT", 1001), ("TENNEX_HTTP_PORT", 1002), ("LISTEN_PORT", 1003)] {
        assert_eq!(read(&[(name, &*port.to_string())]).unwrap().listen.port(), port);
    }
    for name in ["RECADO_DB_POOL", "DATABASE_MAX_CONNS", "TENNEX_DATABASE_MAX_CONNS"] {
        assert_eq!(read(&[(name, "25")]).unwrap().database_pool, 25, "{name}");
    }
    let key = "0123456789abcdef0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778";
    let old = [
        ("TENNEX_DATABASE_URL", "postgres://u:w0rd@db/r"),
        ("REDIS_URL", "redis://r"),
        ("RECADO_ENCRYPTION_KEY", key),
    ];
    assert_eq!(&**read(&old).unwrap().database.unwrap().0, "postgres://u:w0rd@db/r");
    assert_eq!(read(&[("CORS_ORIGINS", "https://a.example")]).unwrap().cors_origins, ["https://a.example"]);
    assert!(read(&[("PORT", "3000"), ("HTTP_PORT", "3000")]).is_ok(), "twice the same is no contradiction");
}

#[test]
fn two_names_of_one_variable_that_contradict_each_other_are_both_named() {
    let Problems(problems) = read(&[("PORT", "9000"), ("LISTEN_PORT", "9001")]).unwrap_err();
    assert_eq!(problems, ["PORT and LISTEN_PORT mean the same and are set to different values"]);
    let Problems(problems) = read(&[("DATABASE_MAX_CONNS", "2000")]).unwrap_err();
    assert_eq!(problems, ["DATABASE_MAX_CONNS (for RECADO_DB_POOL): must be a number from 4 to 1000"]);
    let Problems(problems) = read(&[("LOG_FORMAT", "text"), ("TENNEX_LOG_JSON", "true")]).unwrap_err();
    assert!(problems[0].contains("LOG_FORMAT and TENNEX_LOG_JSON"), "{problems:?}");
}

#[test]
fn the_log_level_is_looked_for_in_its_order() {
    let level = |values: &[(&str, &str)]| read(values).unwrap().log_level;
    assert_eq!(level(&[]), "info");
    assert_eq!(level(&[("TENNEX_LOG_LEVEL", "warn")]), "warn");
    assert_eq!(level(&[("LOG_LEVEL", "WARN")]), "warn");
    assert_eq!(level(&[("LOG_LEVEL", "debug"), ("RUST_LOG", "error,recado=trace")]), "error,recado=trace");
    let Problems(problems) = read(&[("RUST_LOG", "loud")]).unwrap_err();
    assert!(problems[0].starts_with("RUST_LOG: "), "{problems:?}");
    for (json, format) in [("true", LogFormat::Json), ("false", LogFormat::Text)] {
        assert_eq!(read(&[("TENNEX_LOG_JSON", json)]).unwrap().log_format, format);
    }
    assert!(read(&[("TENNEX_LOG_JSON", "maybe")]).is_err());
}

#[test]
fn the_real_environment_goes_before_the_file_and_what_is_shown_says_so() {
    let shown = inspect(&[("LISTEN_PORT", "9000")], &[("HTTP_PORT", "9001"), ("RECADO_DB_POOL", "20")]);
    let config = shown.config.as_ref().unwrap();
    assert_eq!((config.listen.port(), config.database_pool), (9000, 20));
    assert_eq!(line(&shown, "HTTP_PORT"), "HTTP_PORT=9000  # environment, as LISTEN_PORT");
    assert_eq!(line(&shown, "RECADO_LISTEN"), "RECADO_LISTEN=0.0.0.0:9000  # environment, as LISTEN_PORT");
    assert_eq!(line(&shown, "RECADO_DB_POOL"), "RECADO_DB_POOL=20  # .env");
    assert_eq!(line(&shown, "RECADO_SHARDS"), "RECADO_SHARDS=1  # default");
    assert_eq!(line(&shown, "RECADO_BACKUP_CRON"), "RECADO_BACKUP_CRON='0 3 * * *'  # default");
    assert_eq!(shown.settings.len(), VARIABLES.len());
}

#[test]
fn what_is_shown_holds_no_secret_and_nothing_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("redis");
    std::fs::write(&file, "redis://:s3cretword@cache/0\n").unwrap();
    let values = [
        ("DATABASE_URL", "postgres://me:s3cretword@db:5432/r?password=s3cretword"),
        ("REDIS_URL_FILE", file.to_str().unwrap()),
        ("RECADO_ENCRYPTION_KEY", "s3cretword"),
        ("RECADO_SHARDS", "s3cretword"),
        ("LOG_LEVEL", "s3cretword"),
    ];
    let shown = inspect(&values, &[]);
    assert_eq!(line(&shown, "DATABASE_URL"), "DATABASE_URL=postgres://me:***@db:5432/r?***  # environment");
    assert_eq!(line(&shown, "REDIS_URL"), "REDIS_URL=redis://:***@cache/0  # file, by REDIS_URL_FILE");
    assert_eq!(line(&shown, "RECADO_SHARDS"), "RECADO_SHARDS=(cannot be used)  # environment");
    let all: String = shown.settings.iter().map(|setting| format!("{setting}\n")).collect();
    assert!(!all.contains("s3cretword"), "{all}");
    let Problems(problems) = shown.config.unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:#?}");
    assert!(!problems.concat().contains("s3cretword"));
}

#[test]
fn every_secret_comes_from_a_file_too_and_a_file_that_gives_none_is_told() {
    let secrets: Vec<_> = VARIABLES.iter().filter(|variable| variable.secret).collect();
    assert_eq!(secrets.len(), 5);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    std::fs::write(folder.path().join("long"), "x".repeat(70_000)).unwrap();
    for secret in secrets {
        let file = format!("{}_FILE", secret.name);
        assert!(VARIABLES.iter().any(|variable| variable.name == file), "{file}");
        for (path, why) in [("empty", "is empty"), ("long", "64 KiB"), ("none", "cannot be read")] {
            let path = folder.path().join(path);
            let path = path.to_str().unwrap();
            let Problems(problems) = read(&[(&*file, path)]).unwrap_err();
            let told = problems.iter().find(|problem| problem.starts_with(&file)).unwrap();
            assert!(told.contains(why) && !told.contains(path), "{told}");
        }
    }
}

#[test]
fn production_refuses_secrets_that_everybody_knows_and_development_warns() {
    let known = [
        ("DATABASE_URL", "postgres://tennex:tennex123@localhost:5432/tennex?sslmode=disable"),
        ("REDIS_URL", "redis://:changeme@cache/0"),
        ("RECADO_ENCRYPTION_KEY", "0000000000000000000000000000000000000000000000000000000000000000"),
    ];
    let config = read(&known).unwrap();
    assert_eq!(config.warnings.len(), 3, "{:?}", config.warnings);
    let production: Vec<_> = known.into_iter().chain([("RECADO_ENV", "production")]).collect();
    let Problems(problems) = read(&production).unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:#?}");
    for (problem, (name, value)) in problems.iter().zip([known[0], known[1], known[2]]) {
        assert!(problem.contains(name) && !problem.contains(value), "{problem}");
        assert!(!problem.contains("tennex123") && !problem.contains("changeme"));
    }
}

#[test]
fn no_two_variables_share_a_name() {
    let names = VARIABLES
        .iter()
        .flat_map(|variable| [variable.name].into_iter().chain(variable.older.iter().copied()));
    let mut seen = std::collections::BTreeSet::new();
    names.for_each(|name| assert!(seen.insert(name), "{name} stands twice"));
}
