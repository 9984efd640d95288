//! Every variable: its name, default and meaning, and the names it had in older systems. `.env.example` lists exactly
//! these.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The name.
    pub name: &'static str,
    /// What holds when it is not set; empty for nothing.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// Other names it is read under, first found wins.
    pub older: &'static [&'static str],
    /// Whether its value is for nobody's eyes. It can be given by a file then, which `<name>_FILE` names.
    pub secret: bool,
}

const fn variable(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning, older: &[], secret: false }
}

impl Variable {
    /// Also read under these names.
    const fn formerly(self, older: &'static [&'static str]) -> Self {
        Self { older, ..self }
    }

    /// Never shown, and also read from a file.
    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// The one with this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        VARIABLES.iter().find(|variable| variable.name == name)
    }
}

/// Every setting, in reading order.
pub const VARIABLES: &[Variable] = &[
    variable(
        "RECADO_LISTEN",
        "127.0.0.1:3000",
        "Address and port of the API; 0.0.0.0:3000 to be reachable from outside",
    ),
    variable("HTTP_PORT", "", "Port of the API on all addresses; used when RECADO_LISTEN is not set")
        .formerly(&["PORT", "TENNEX_HTTP_PORT", "LISTEN_PORT"]),
    variable("RECADO_DATA_DIR", "./data", "Folder of the tables and, in development, of the encryption key"),
    variable(
        "RECADO_ENV",
        "development",
        "development, or production, which refuses to start without an encryption key or with a well-known secret",
    ),
    variable(
        "RECADO_ENCRYPTION_KEY",
        "",
        "Key that session credentials are encrypted under: 64 hex digits or base64 of 32 bytes",
    )
    .secret(),
    variable("RECADO_ENCRYPTION_KEY_FILE", "", "File that holds the key, instead of RECADO_ENCRYPTION_KEY"),
    variable(
        "DATABASE_URL",
        "",
        "Postgres, as postgres://user:password@host/database; when empty, SQLite in the data folder",
    )
    .formerly(&["TENNEX_DATABASE_URL"])
    .secret(),
    variable("DATABASE_URL_FILE", "", "File that holds the same, instead of DATABASE_URL"),
    variable("RECADO_DB_POOL", "16", "Connections to Postgres of this process, at most")
        .formerly(&["DATABASE_MAX_CONNS", "TENNEX_DATABASE_MAX_CONNS"]),
    variable(
        "REDIS_URL",
        "",
        "Redis, as redis://:password@host:6379/0 (rediss:// for TLS); needed with Postgres, when empty streams are in memory",
    )
    .secret(),
    variable("REDIS_URL_FILE", "", "File that holds the same, instead of REDIS_URL"),
    variable(
        "RECADO_SHARDS",
        "",
        "Slices of sessions, each with one owner: 1 on SQLite, 16 on Postgres when empty; cannot change later",
    ),
    variable(
        "RECADO_LEDGERS",
        "2",
        "Writers of this process on Postgres, each with a transaction of its own",
    ),
    variable(
        "RECADO_ROLES",
        "api,sessions,relay,consumers",
        "What this process does; the last three only together, as one lease covers them",
    ),
    variable(
        "RECADO_NODE_ADDRESS",
        "",
        "Where other nodes reach this one, as http://10.0.0.7:3000; made of the host's name and the port when empty",
    ),
    variable(
        "RECADO_LEASE_SECS",
        "15",
        "After this long without a sign of life another node takes over; renewed every third of it",
    ),
    variable(
        "RECADO_LEDGER_DEPTH",
        "4096",
        "Writes that may wait for a commit; beyond it requests are answered 503",
    ),
    variable(
        "RECADO_SESSION_QUEUE",
        "10000",
        "Unfinished commands a session may have; beyond it requests are answered 429",
    ),
    variable(
        "RECADO_MESSAGE_DEADLINE_SECS",
        "86400",
        "After this time a message that WhatsApp has not acknowledged fails",
    ),
    variable(
        "RECADO_PACE_PER_MINUTE",
        "0",
        "Messages a session sends within any minute, evenly spread; more wait; 0 for no limit",
    ),
    variable(
        "RECADO_PACE_PER_DAY",
        "0",
        "Messages a session sends within a day (UTC); more wait; 0 for no limit",
    ),
    variable(
        "RECADO_PACE_NEW_CHATS_PER_DAY",
        "0",
        "Chats a session begins within a day (UTC), in which nothing was said before; more wait; 0 for no limit",
    ),
    variable(
        "RECADO_PACE_WARM_UP_DAYS",
        "0",
        "Days over which a freshly linked account comes from a tenth of its daily allowances to all of them; 0 for at once",
    ),
    variable(
        "RECADO_PACE_COOL_DOWN_SECS",
        "3600",
        "How long a session begins no chats after WhatsApp refused one with 463, doubled if it does again; 0 to go on at once",
    ),
    variable("RECADO_LOGIN_GATE", "20", "Sessions that log in at the same time"),
    variable("RECADO_MAX_SESSIONS", "10000", "Sessions a tenant may have"),
    variable(
        "RECADO_HUB_BUFFER",
        "256",
        "Events kept ready for a WebSocket client; one that is further behind reads from the tables, at its own pace",
    ),
    variable("RECADO_MAX_CONNECTIONS", "4096", "HTTP connections served at the same time"),
    variable(
        "RECADO_CORS_ORIGINS",
        "",
        "Web origins that may call from a browser, separated by commas, or *",
    )
    .formerly(&["CORS_ORIGINS"]),
    variable("RUST_LOG", "", "The same as LOG_LEVEL, and goes first: for one run"),
    variable(
        "RECADO_LIMIT_IP",
        "",
        "Requests of one address (IPv6: of one /64), as 600/min, 10/s or 5/10s; empty or off for no limit, as below",
    ),
    variable(
        "RECADO_LIMIT_AUTH_FAILURES",
        "60/min",
        "Failed authentications of one address; beyond it none of its keys is looked up, whatever it is",
    ),
    variable("RECADO_LIMIT_TOKEN", "", "Requests of one API key or user"),
    variable("RECADO_LIMIT_TENANT", "", "Requests of one tenant, all its keys and users together"),
    variable("RECADO_LIMIT_SESSION_SENDS", "", "Messages that one session is given to send"),
    variable(
        "RECADO_TRUSTED_PROXIES",
        "",
        "Proxies that say in X-Forwarded-For or Forwarded for whom they ask: addresses or networks, as 10.0.0.0/8,::1",
    ),
    variable(
        "RECADO_REGISTRATION",
        "",
        "open: anybody can register and gets a tenant; closed: nobody; open in development and closed in production when empty",
    ),
    variable(
        "RECADO_JWT_ALGORITHM",
        "EdDSA",
        "What signs access tokens: EdDSA with keys of its own that change by themselves, or HS256 with AUTH_JWT_SECRET",
    ),
    variable("AUTH_JWT_SECRET", "", "The secret of HS256, 32 characters or more; of no use with EdDSA").secret(),
    variable("AUTH_JWT_SECRET_FILE", "", "File that holds the same, instead of AUTH_JWT_SECRET"),
    variable("RECADO_ACCESS_TOKEN_SECS", "900", "How long an access token lives"),
    variable("RECADO_LOGIN_DAYS", "30", "How long a login can go unused before it ends"),
    variable("RECADO_SIGNING_KEY_DAYS", "30", "How long a key signs access tokens before the next one does"),
    variable(
        "LOG_LEVEL",
        "info",
        "error, warn, info, debug, trace, or a filter such as info,recado::actors=debug; libraries from warn up only",
    )
    .formerly(&["TENNEX_LOG_LEVEL"]),
    variable("LOG_FORMAT", "", "text, or json; when empty, text on a terminal, else json"),
    variable("TENNEX_LOG_JSON", "", "true for json, false for text: what LOG_FORMAT was called, used when that is not set"),
    variable(
        "EVENTS_STREAM",
        "domain-events",
        "Stream of events; with several shards domain-events:{k} for shard k",
    ),
    variable("EVENTS_DLQ_STREAM", "domain-events-dlq", "Stream that copies of dead letters go to"),
    variable("EVENTS_GROUP", "domain-events-group", "Consumer group of the built-in consumer of events"),
    variable("EVENTS_CONSUMER", "", "This process's name in consumer groups; consumer-<pid> when empty"),
    variable("EVENTS_MAX_ATTEMPTS", "5", "Tries of a delivery before it becomes a dead letter"),
    variable(
        "EVENTS_BACKOFF_MS",
        "1000",
        "Wait after the first failed delivery; doubles with each further one",
    ),
    variable("EVENTS_BACKOFF_MAX_MS", "30000", "The longest wait between two deliveries"),
    variable(
        "EVENTS_CLAIM_IDLE_MS",
        "5000",
        "After this time an entry held by a consumer that does not answer is taken over",
    ),
    variable("EVENTS_CLAIM_INTERVAL_MS", "2000", "How often to look for such entries"),
    variable(
        "RECADO_API_KEY_FILE",
        "",
        "File to write the first API key to, readable by its owner alone, besides printing it",
    ),
    variable(
        "RECADO_PUBLIC_URL",
        "",
        "Where people reach the service, as https://recado.example.org: links in mails begin with it; where it listens when empty",
    ),
    variable(
        "RECADO_MAIL_URL",
        "",
        "Where mail goes: smtps://user:password@host:465, smtp://… (STARTTLS; in clear on this machine only), file:./folder, or log: for nowhere; when empty, files in the folder mail of the data folder",
    )
    .secret(),
    variable("RECADO_MAIL_URL_FILE", "", "File that holds the same, instead of RECADO_MAIL_URL"),
    variable(
        "RECADO_MAIL_FROM",
        "Recado <recado@localhost>",
        "Who mails are from; must be set with a mail server",
    ),
    variable(
        "RECADO_MAIL_CA_FILE",
        "",
        "Certificates in PEM of the authorities that the mail server's may come from; the system's when empty",
    ),
    variable(
        "RECADO_CLIENT_VERSION",
        "",
        "WhatsApp client version to show, as 2.3000.1023; the one this build knows when empty",
    ),
    variable(
        "RECADO_STOP_NOTICE_SECS",
        "1",
        "For this long after being told to stop, readiness says no while requests are still served",
    ),
    variable(
        "RECADO_RETENTION_DAYS",
        "0",
        "Events and messages older than this are removed, by dropping partitions of Postgres; 0 keeps all, else at least 31",
    ),
    variable(
        "RECADO_BACKUP_DIR",
        "./backups/recado",
        "Folder of the backups, those by the clock and those by hand",
    ),
    variable(
        "RECADO_BACKUP_CRON",
        "0 3 * * *",
        "When a backup is taken: minute, hour, day, month, weekday, in UTC; off for never",
    ),
    variable("RECADO_BACKUP_KEEP", "7", "Backups that are kept in the folder; older ones are removed"),
    variable("RECADO_STOP_SECS", "30", "How long an orderly stop may take before what is left is cut"),
];

/// Every setting as a table in Markdown, and one of the older names, for docs/operations.md.
#[must_use]
pub fn table() -> String {
    let row = |variable: &Variable| {
        let default = match variable.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        format!("| `{}` | {default} | {} |\n", variable.name, variable.meaning)
    };
    let older = |variable: &Variable| {
        let names: Vec<_> = variable.older.iter().map(|name| format!("`{name}`")).collect();
        format!("| `{}` | {} |\n", variable.name, names.join(", "))
    };
    let first = "| variable | default | meaning |\n| --- | --- | --- |\n".to_owned();
    let all = VARIABLES.iter().map(row).fold(first, |all, row| all + &row);
    let second = all + "\n| variable | older names, first found wins |\n| --- | --- |\n";
    VARIABLES
        .iter()
        .filter(|variable| !variable.older.is_empty())
        .map(older)
        .fold(second, |all, row| all + &row)
}
