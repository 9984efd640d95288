//! From an event to a mail: through a whole service on SQLite, with writes as the API makes them.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use recado::commands::service::{Service, open_vault};
use recado::config::{Config, MailConfig};
use recado::domain::event::EventType;
use recado::domain::identity::{Locale, MailAddress, Purpose, Role, User, UserState};
use recado::domain::ids::{OneTimeId, Shard, TenantId, UserId};
use recado::domain::now;
use recado::domain::time::Timestamp;
use recado::domain::write::people::{NewOneTime, SaveUser};
use recado::domain::write::{PeopleWrite, Write};
use recado::infra::one_time::OneTimeTokens;
use recado::infra::store::sqlite::SqliteStore;
use recado::infra::store::{People as _, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::server::{Mood, Script, SmtpServer, Taken};
use crate::app::SOON;

const BASE: &str = "https://recado.test/base";

/// A data folder, and what writes into it while no service runs.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn tokens(&self) -> OneTimeTokens {
        OneTimeTokens::of(&open_vault(&Config::embedded(self.path()).unwrap()).unwrap()).unwrap()
    }

    async fn service(&self, mail: &str) -> Service {
        let config = Config::embedded(self.path()).unwrap();
        let place = mail.parse().unwrap();
        let from = "Recado <recado@example.net>".parse().unwrap();
        let mail = MailConfig { place, from, public_url: Some(BASE.to_owned()), trust: None };
        Service::start(Config { mail, ..config }, Vec::new()).await.unwrap()
    }

    async fn saved(&self, saves: Vec<SaveUser>) {
        let store = SqliteStore::open(&self.path().join("recado.db")).await.unwrap();
        for mut save in saves {
            if store.tenant(TenantId::DEFAULT).await.unwrap().is_none() {
                save.tenant = Some("first".to_owned());
            }
            let write = Write::People(Box::new(PeopleWrite::SaveUser(save)));
            let answers = store.commit([write].into()).await.unwrap();
            answers.into_iter().next().unwrap().unwrap();
        }
        store.close().await;
    }

    async fn user(&self, user: UserId) -> User {
        let store = SqliteStore::open(&self.path().join("recado.db")).await.unwrap();
        let found = store.user(TenantId::DEFAULT, user).await.unwrap().unwrap();
        store.close().await;
        found
    }

    /// Somebody new, with a token to verify their address.
    fn person(&self, mail: &str, locale: Locale) -> SaveUser {
        let mail: MailAddress = mail.parse().unwrap();
        let key = (TenantId::DEFAULT, UserId::new());
        let user = User::new(key, mail, Role::Member, UserState::PendingVerification, now());
        let mut save = plain(User { locale, ..user }, None);
        save.issue = Some(self.token(Purpose::Verify, locale));
        save
    }

    fn token(&self, purpose: Purpose, locale: Locale) -> NewOneTime {
        let id = OneTimeId::new();
        let hash = self.tokens().hash(purpose.as_str(), id.0).unwrap();
        let expires_at = now().after(Duration::from_secs(3600));
        NewOneTime { id, purpose, hash, mail: None, expires_at, locale }
    }
}

fn plain(user: User, expected: Option<i64>) -> SaveUser {
    SaveUser {
        user,
        expected,
        tenant: None,
        spend: None,
        issue: None,
        unlock: false,
        revoke: None,
        events: Vec::new(),
        shard: Shard::of(TenantId::DEFAULT, 1),
        response: Value::Null,
        idempotency: None,
        audit: None,
        at: now(),
    }
}

fn url(server: &SmtpServer) -> String {
    format!("smtp://127.0.0.1:{}", server.port)
}

/// Quoted-printable undone, as far as these mails need it.
fn body(mail: &Taken) -> String {
    mail.data.replace("=\r\n", "").replace("=3D", "=").replace("\r\n", "\n")
}

/// The token in the mail's link.
fn token(mail: &Taken) -> String {
    let body = body(mail);
    let (_, after) = body.split_once("#token=").unwrap_or_else(|| panic!("no link in {body}"));
    after.split('\n').next().unwrap().to_owned()
}

async fn until(what: &str, seen: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !seen().await {
        assert!(Instant::now() < deadline, "not seen in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_mailed_once_in_the_persons_language_and_is_the_one_that_was_issued() {
    let (folder, server) = (Folder::new(), SmtpServer::start(Script::default()).await);
    let save = folder.person("ana@example.org", Locale::Es);
    let issued = save.issue.clone().unwrap();
    folder.saved(vec![save]).await;
    let service = folder.service(&url(&server)).await;
    let mails = server.mails(1).await;
    assert_eq!((mails[0].from.as_str(), mails[0].to.as_str()), ("recado@example.net", "ana@example.org"));
    assert!(mails[0].header("Subject").starts_with("Confirma tu"), "{}", mails[0].header("Subject"));
    let text = token(&mails[0]);
    assert_eq!(folder.tokens().text("verify", issued.id.0).unwrap(), text);
    assert_eq!(recado::infra::one_time::hash(&text), issued.hash);
    assert!(body(&mails[0]).contains(&format!("{BASE}/auth/links/verify#token={text}")));
    assert!(service.stop().await);

    // A restart sends nothing again: the next mail is the next person's.
    folder.saved(vec![folder.person("eva@example.org", Locale::Pt)]).await;
    let service = folder.service(&url(&server)).await;
    let mails = server.mails(2).await;
    assert!(service.stop().await);
    assert_eq!((server.taken().len(), mails[1].to.as_str()), (2, "eva@example.org"));
    assert!(mails[1].header("Subject").starts_with("Confirme seu"));
    assert_ne!(mails[0].header("Message-ID"), mails[1].header("Message-ID"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_event_is_written_about_to_the_right_address() {
    let (folder, server) = (Folder::new(), SmtpServer::start(Script::default()).await);
    let user = User { state: UserState::Active, ..folder.person("ana@example.org", Locale::En).user };
    let id = user.id;
    folder.saved(vec![plain(user, None)]).await;
    let (mut sent, service) = (0, folder.service(&url(&server)).await);
    assert!(service.stop().await);
    #[allow(clippy::type_complexity, reason = "a table read once")]
    let cases: [(Option<Purpose>, &[EventType], &[(&str, &str)]); 4] = [
        (Some(Purpose::Reset), &[], &[("ana@example.org", "Choose a new password")]),
        (Some(Purpose::Invite), &[], &[("ana@example.org", "You have been invited to Recado")]),
        (
            Some(Purpose::ChangeMail),
            &[],
            &[
                ("new@example.org", "Confirm your new mail address"),
                ("ana@example.org", "Somebody asked to change your mail address"),
            ],
        ),
        (None, &[EventType::UserPasswordChanged], &[("ana@example.org", "Your password was changed")]),
    ];
    for (purpose, events, wanted) in cases {
        let user = folder.user(id).await;
        let version = user.version;
        let mut save = plain(user, Some(version));
        save.issue = purpose.map(|purpose| {
            let mail = (purpose == Purpose::ChangeMail).then(|| "new@example.org".parse().unwrap());
            NewOneTime { mail, ..folder.token(purpose, Locale::En) }
        });
        save.events = events.to_vec();
        folder.saved(vec![save]).await;
        let service = folder.service(&url(&server)).await;
        let mails = server.mails(sent + wanted.len()).await;
        assert!(service.stop().await);
        let got: Vec<_> =
            mails[sent..].iter().map(|mail| (mail.to.as_str(), mail.header("Subject"))).collect();
        assert_eq!(got, wanted);
        sent += wanted.len();
        if let Some(purpose) = purpose {
            let text = token(&mails[sent - wanted.len()]);
            assert_eq!(text.len(), recado::infra::one_time::LENGTH, "{purpose:?}");
        }
    }
    assert_eq!(server.taken().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_true_is_not_written() {
    let (folder, server) = (Folder::new(), SmtpServer::start(Script::default()).await);
    let mut late = folder.person("late@example.org", Locale::En);
    late.issue = late.issue.map(|token| NewOneTime { expires_at: Timestamp(now().0 + 1), ..token });
    let gone = folder.person("gone@example.org", Locale::En);
    let gone_id = gone.user.id;
    let replaced = folder.person("twice@example.org", Locale::En);
    let replaced_id = replaced.user.id;
    folder.saved(vec![late, gone, replaced]).await;
    let user = folder.user(gone_id).await;
    let version = user.version;
    folder.saved(vec![plain(User { state: UserState::Deleted, ..user }, Some(version))]).await;
    // Another token for the same makes the first one void.
    let user = folder.user(replaced_id).await;
    let version = user.version;
    let mut again = plain(user, Some(version));
    let second = folder.token(Purpose::Verify, Locale::En);
    again.issue = Some(second.clone());
    folder.saved(vec![again, folder.person("last@example.org", Locale::En)]).await;
    let service = folder.service(&url(&server)).await;
    let mails = server.mails(2).await;
    assert!(service.stop().await);
    let to: Vec<_> = server.taken().into_iter().map(|mail| mail.to).collect();
    assert_eq!(to, ["twice@example.org", "last@example.org"]);
    assert_eq!(folder.tokens().text("verify", second.id.0).unwrap(), token(&mails[0]));
}

/// A process of its own, which ends with the test.
fn process(folder: &Path, server: &SmtpServer) -> tokio::process::Child {
    Command::new(env!("CARGO_BIN_EXE_recado"))
        .arg("serve")
        .current_dir(folder)
        .env("RECADO_DATA_DIR", folder)
        .env("RECADO_LISTEN", "127.0.0.1:0")
        .env("RECADO_BACKUP_CRON", "off")
        .env("RECADO_MAIL_URL", url(server))
        .env("RECADO_MAIL_FROM", "Recado <recado@example.net>")
        .env("RECADO_PUBLIC_URL", BASE)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_between_the_event_and_the_end_of_its_mail_loses_no_mail() {
    let (folder, server) = (Folder::new(), SmtpServer::start(Script::default()).await);
    folder.saved(vec![folder.person("ana@example.org", Locale::En)]).await;
    for point in ["RCPT", "end"] {
        // At the end of a mail the server has all of it, and has not said so.
        server.behave(Script { at: vec![(point, Mood::Hang)], ..Script::default() });
        let mut service = process(folder.path(), &server);
        server.hears(point).await;
        service.kill().await.unwrap();
    }
    assert!(server.taken().is_empty());
    server.behave(Script::default());
    let service = folder.service(&url(&server)).await;
    assert_eq!(server.mails(1).await[0].to, "ana@example.org");
    assert!(service.stop().await);
    folder.saved(vec![folder.person("eva@example.org", Locale::En)]).await;
    let service = folder.service(&url(&server)).await;
    server.mails(2).await;
    assert!(service.stop().await);
    let to: Vec<_> = server.taken().into_iter().map(|mail| mail.to).collect();
    assert_eq!(to, ["ana@example.org", "eva@example.org"], "once each");
}

/// The value of a counter whose labels contain this.
async fn counted(service: &Service, key: &str, labels: &str) -> u64 {
    let asked = reqwest::Client::new().get(format!("{}/metrics", service.url())).bearer_auth(key);
    let text = asked.send().await.unwrap().text().await.unwrap();
    let lines = text.lines().filter(|line| line.starts_with("mails_total") && line.contains(labels));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_wait_for_a_server_that_is_away_and_come_once() {
    let folder = Folder::new();
    let address = {
        // A port of an address that no other test uses.
        let server = SmtpServer::at("127.0.0.3", 0, Script::default()).await;
        ("127.0.0.3", server.port)
    };
    let mut saves: Vec<_> = ["ana@example.org", "eva@example.org"]
        .into_iter()
        .map(|mail| folder.person(mail, Locale::En))
        .collect();
    for save in &mut saves {
        save.user.state = UserState::Invited;
        // This kind is counted by no other test that lets mails wait.
        save.issue = Some(folder.token(Purpose::Invite, Locale::En));
    }
    folder.saved(saves).await;
    let service = folder.service(&format!("smtp://{}:{}", address.0, address.1)).await;
    let key = service.new_key().await.unwrap();
    let put_off = "kind=\"invite\",outcome=\"put_off\"";
    until("a mail that was put off", async || counted(&service, &key, put_off).await >= 2).await;
    let server = SmtpServer::at(address.0, address.1, Script::default()).await;
    server.mails(2).await;
    assert!(service.stop().await);
    let to: Vec<_> = server.taken().into_iter().map(|mail| mail.to).collect();
    assert_eq!(to, ["ana@example.org", "eva@example.org"], "in order, once each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_address_becomes_a_dead_letter_that_holds_nobody_up_and_can_be_redriven() {
    let script = Script { recipients: vec![("no@example.org", 550)], ..Script::default() };
    let (folder, server) = (Folder::new(), SmtpServer::start(script).await);
    folder
        .saved(vec![
            folder.person("no@example.org", Locale::En),
            folder.person("yes@example.org", Locale::En),
        ])
        .await;
    let service = folder.service(&url(&server)).await;
    assert_eq!(server.mails(1).await[0].to, "yes@example.org");
    let key = service.new_key().await.unwrap();
    let (http, base) = (reqwest::Client::new(), service.url().to_owned());
    let letters = async || -> Value {
        let asked = http.get(format!("{base}/dead-letters")).bearer_auth(&key).send().await.unwrap();
        asked.json().await.unwrap()
    };
    until("the dead letter", async || letters().await["items"][0]["group"] == json!("mail")).await;
    let page = letters().await;
    let letter = &page["items"][0];
    assert_eq!((page["items"].as_array().unwrap().len(), letter["attempts"].as_u64()), (1, Some(1)));
    let told = letter.to_string();
    assert!(told.contains("550") && !told.contains("example.org"), "{told}");
    server.behave(Script::default());
    let path = format!("{base}/dead-letters/{}/redrive", letter["deadLetterId"].as_str().unwrap());
    assert_eq!(http.post(path).bearer_auth(&key).send().await.unwrap().status(), 202);
    assert_eq!(server.mails(2).await[1].to, "no@example.org");
    assert!(service.stop().await);
}
