//! SQLite finds its way by index in every statement that runs per batch: a scan would grow with the tables.

use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use super::{
    accept, auth, chats, consumers, idempotency, inbound, keys, leases, life, logins, paced, people,
    progress, sessions, sweep, tenants, work,
};
use crate::infra::store::Store;
use crate::infra::store::sqlite::read::sessions::{BEHIND, TO_RUN};
use crate::infra::store::sqlite::read::{
    chats as read_chats, keys as read_keys, logins as read_logins, messages, users,
};
use crate::infra::store::sqlite::{SqliteStore, options};

const STATEMENTS: [&str; 58] = [
    BEHIND,
    TO_RUN,
    accept::KNOWN,
    auth::DELETE,
    auth::UPDATE,
    chats::LOAD,
    consumers::SETTLED,
    idempotency::LOAD,
    inbound::KNOWN,
    keys::HAVE,
    keys::REPLACE,
    keys::REVOKE,
    keys::TOUCH,
    leases::NUMBER,
    life::OPEN,
    logins::CROWD,
    logins::END,
    logins::END_ONE,
    logins::FAMILY,
    logins::RENEW,
    logins::VOID_TOKENS,
    messages::OF_SESSION,
    messages::OF_TENANT,
    paced::HISTORY,
    paced::LOOK,
    paced::OLDEST,
    paced::PAUSE,
    paced::RELEASE,
    paced::RELEASE_CHAT,
    people::FORGET_TOKENS,
    people::ISSUED_AFTER,
    people::MAIL_TAKEN,
    people::OTHER_OWNER,
    people::SPEND,
    people::TRIED,
    people::UPDATE,
    people::VOID,
    progress::END_COMMANDS,
    progress::LOAD,
    progress::SAVE,
    read_chats::OF_SESSION,
    read_keys::API_KEY,
    read_logins::LOGIN,
    sessions::LOAD,
    sessions::SAVE,
    sweep::OLD_KEYS,
    sweep::OLD_LOGINS,
    sweep::OLD_TOKENS,
    sweep::OVERDUE,
    tenants::COUNT,
    users::USER,
    work::MARK_DONE,
    work::MARK_SENDING,
    work::MARK_TAKEN,
    work::QUEUED,
    work::QUEUED_LIFECYCLE,
    work::UNFINISHED,
    work::UNPACE,
];

#[tokio::test]
async fn no_statement_of_a_batch_scans_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recado.db");
    SqliteStore::open(&path).await.unwrap().close().await;
    let mut conn = options(&path).connect().await.unwrap();
    let tables =
        sqlx::query("select name from sqlite_schema where type = 'table'").fetch_all(&mut conn).await;
    let tables: Vec<String> = tables.unwrap().iter().map(|row| row.get(0)).collect();
    for sql in STATEMENTS {
        let plan = sqlx::query(AssertSqlSafe(format!("explain query plan {sql}"))).fetch_all(&mut conn).await;
        for row in plan.unwrap() {
            let step: String = row.get(3);
            // Tables are scanned under their own name or their one-letter alias; `v` is the statement's own values.
            let scanned =
                step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
            let table = tables.iter().any(|table| table == scanned);
            let alias = scanned.len() == 1 && scanned != "v" && scanned.chars().all(char::is_alphabetic);
            assert!(!table && !alias && !step.contains("AUTOMATIC"), "{step}\n{sql}");
        }
    }
}
