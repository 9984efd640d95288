//! What every way to send mail promises, and what the one over SMTP makes of what servers do.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use recado::infra::mail::{Answer, FileDrop, LogOnly, Mail, Message, Place, Sender, Smtp};
use tokio::time::Instant;

use super::server::{Mood, Script, SmtpServer};

fn sender() -> Sender {
    "Recado <recado@example.net>".parse().unwrap()
}

fn message(id: &str) -> Message {
    Message {
        id: id.into(),
        to: "ana@example.org".into(),
        subject: "Confirma tu dirección".into(),
        text: "texto s3cret\n.\n..\nfin".into(),
        html: "<p>texto</p>".into(),
    }
}

fn smtp(url: &str, trust: Option<&Path>) -> Smtp {
    let Ok(Place::Smtp(server)) = url.parse() else { panic!("{url}") };
    Smtp::new(server, sender(), trust).unwrap()
}

/// The contract: sends, sends again, shows nothing; `kept` reads what has arrived, where anything can.
async fn holds(mail: &(impl Mail + std::fmt::Debug), kept: Option<&dyn Fn() -> Vec<String>>) {
    for id in ["0191-verify", "0192-reset", "0192-reset"] {
        assert_eq!(mail.send(&message(id)).await, Answer::Sent);
    }
    if let Some(kept) = kept {
        let mails = kept();
        let ids: BTreeSet<_> = mails
            .iter()
            .map(|mail| {
                mail.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap().trim().to_owned()
            })
            .collect();
        assert_eq!(
            ids,
            ["<0191-verify@example.net>".to_owned(), "<0192-reset@example.net>".to_owned()].into()
        );
        assert!(mails.iter().all(|mail| mail.contains("From: Recado <recado@example.net>")));
        assert!(mails.iter().all(|mail| mail.contains("To: ana@example.org")));
        for to in ["ana@example.org, eva@example.org", "ana@example.org\r\nBcc: eva@example.org", "ana"] {
            let answer = mail.send(&Message { to: to.into(), ..message("0193-verify") }).await;
            let Answer::Refused { why } = answer else { panic!("{to}: {answer:?}") };
            assert!(!why.contains("ana") && !why.contains("eva"), "{why}");
        }
        assert_eq!(kept().len(), mails.len(), "nothing of what was refused is there");
    }
    let shown = format!("{mail:?} {:?}", message("0194-verify"));
    assert!(!shown.contains("ana@") && !shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn the_contract_holds_over_smtp() {
    let server =
        SmtpServer::start(Script { login: Some(("recado", "s3cret pass")), ..Script::default() }).await;
    let mail = smtp(&format!("smtp://recado:s3cret%20pass@localhost:{}", server.port), None);
    let kept = || server.taken().into_iter().map(|mail| mail.data).collect();
    holds(&mail, Some(&kept)).await;
    let taken = server.mails(3).await;
    assert_eq!(taken.len(), 3, "a mail that is sent again is there again, under the same id");
    assert_eq!((taken[0].from.as_str(), taken[0].to.as_str()), ("recado@example.net", "ana@example.org"));
    assert_eq!(taken[0].header("Auto-Submitted"), "auto-generated");
}

#[tokio::test]
async fn the_contract_holds_in_a_folder_whose_files_are_private_and_few() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("data").join("mail");
    let files = || {
        let mut all: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    };
    let kept = || files().iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let mail = FileDrop::new(folder.clone(), sender()).keeping(3);
    holds(&mail, Some(&kept)).await;
    assert_eq!(files().len(), 2, "a mail that is sent again takes its own place");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&files()[0])), (0o700, 0o600));
    for id in ["0195-a", "0196-a", "0197-a"] {
        assert_eq!(mail.send(&message(id)).await, Answer::Sent);
    }
    let names: Vec<_> =
        files().iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["0195-a.eml", "0196-a.eml", "0197-a.eml"]);

    let blocked = above.path().join("a file");
    std::fs::write(&blocked, "").unwrap();
    let answer = FileDrop::new(blocked.join("mail"), sender()).send(&message("0198-a")).await;
    assert!(matches!(answer, Answer::Unavailable { recipient: false, .. }), "{answer:?}");
}

#[tokio::test]
async fn the_contract_holds_where_mail_goes_nowhere() {
    holds(&LogOnly::new([7; 32]), None).await;
}

#[tokio::test]
async fn what_servers_say_is_for_now_or_for_good_and_is_not_repeated() {
    use Mood::{Drop, Say};
    #[derive(Debug, PartialEq)]
    enum Wanted {
        Later,
        LaterForThis,
        Never,
    }
    use Wanted::{Later, LaterForThis, Never};
    let server = SmtpServer::start(Script::default()).await;
    let mail = smtp(&format!("smtp://recado:s3cret@127.0.0.1:{}", server.port), None);
    let cases = [
        ("hello", Say(554), Later),
        ("hello", Say(421), Later),
        ("hello", Drop, Later),
        ("EHLO", Say(550), Later),
        ("EHLO", Drop, Later),
        ("AUTH", Say(535), Later),
        ("AUTH", Say(454), Later),
        ("AUTH", Drop, Later),
        ("MAIL", Say(550), Later),
        ("MAIL", Say(451), Later),
        ("RCPT", Say(550), Never),
        ("RCPT", Say(450), LaterForThis),
        ("RCPT", Say(421), Later),
        ("RCPT", Drop, Later),
        ("DATA", Say(554), Never),
        ("DATA", Say(451), Later),
        ("DATA", Drop, Later),
        ("end", Say(554), Never),
        ("end", Say(452), Later),
        ("end", Drop, Later),
    ];
    for (point, mood, wanted) in cases {
        server.behave(Script {
            at: vec![(point, mood)],
            login: Some(("recado", "s3cret")),
            ..Script::default()
        });
        let answer = mail.send(&message("0191-verify")).await;
        let (got, why) = match answer {
            Answer::Unavailable { why, recipient: false } => (Later, why),
            Answer::Unavailable { why, recipient: true } => (LaterForThis, why),
            Answer::Refused { why } => (Never, why),
            Answer::Sent => panic!("{point} {mood:?}: sent"),
        };
        assert_eq!(got, wanted, "{point} {mood:?}: {why}");
        assert!(!why.contains('@') && !why.contains("s3cret"), "{why}");
        if let Say(code) = mood {
            assert!(why.contains(&code.to_string()), "{why}");
        }
    }
    assert!(server.taken().is_empty());
    server.behave(Script { login: Some(("recado", "another")), ..Script::default() });
    let answer = mail.send(&message("0191-verify")).await;
    assert!(matches!(&answer, Answer::Unavailable { why, .. } if why.contains("535")), "{answer:?}");
    server.behave(Script { login: Some(("recado", "s3cret")), ..Script::default() });
    assert_eq!(mail.send(&message("0191-verify")).await, Answer::Sent);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_left_at_the_deadline_wherever_it_stops() {
    let server = SmtpServer::start(Script::default()).await;
    let patience = Duration::from_millis(400);
    let mail = smtp(&format!("smtp://recado:s3cret@127.0.0.1:{}", server.port), None).within(patience);
    for point in ["hello", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "end"] {
        server.behave(Script {
            at: vec![(point, Mood::Hang)],
            login: Some(("recado", "s3cret")),
            ..Script::default()
        });
        let begun = Instant::now();
        let answer = mail.send(&message("0191-verify")).await;
        let took = begun.elapsed();
        server.hears(point).await;
        assert!(matches!(answer, Answer::Unavailable { recipient: false, .. }), "{point}: {answer:?}");
        assert!(took >= patience && took < patience * 10, "{point}: {took:?}");
    }
    let port = server.port;
    drop(server);
    let nobody = smtp(&format!("smtp://127.0.0.1:{port}"), None);
    assert!(matches!(
        nobody.send(&message("0191-verify")).await,
        Answer::Unavailable { recipient: false, .. }
    ));
}

#[tokio::test]
async fn nothing_leaves_in_clear_where_tls_is_asked_for() {
    recado::commands::service::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let trust = folder.path().join("ca.pem");
    for starttls in [false, true] {
        let script =
            Script { tls: !starttls, starttls, login: Some(("recado", "s3cret")), ..Script::default() };
        let server = SmtpServer::start(script.clone()).await;
        std::fs::write(&trust, &server.certificate).unwrap();
        let place = |trust| {
            // To this machine `smtp://` would be in clear: this is how a server elsewhere is spoken to.
            let Ok(Place::Smtp(mut to)) = format!("smtps://recado:s3cret@127.0.0.1:{}", server.port).parse()
            else {
                panic!("a server")
            };
            if starttls {
                to.security = recado::infra::mail::Security::StartTls;
            }
            Smtp::new(to, sender(), trust).unwrap()
        };
        assert_eq!(place(Some(trust.as_path())).send(&message("0191-verify")).await, Answer::Sent);
        assert!(server.taken()[0].encrypted);
        let stranger = place(None).send(&message("0192-verify")).await;
        assert!(matches!(stranger, Answer::Unavailable { recipient: false, .. }), "{stranger:?}");
        // A server, or somebody on the way, that says it cannot: nothing is sent, not even the login.
        server.behave(Script { starttls: false, tls: false, ..script });
        let stripped =
            place(Some(trust.as_path())).within(Duration::from_secs(2)).send(&message("0193-verify")).await;
        assert!(matches!(stripped, Answer::Unavailable { recipient: false, .. }), "{stripped:?}");
        assert_eq!(server.taken().len(), 1);
    }
    std::fs::write(&trust, "no certificate").unwrap();
    let Ok(Place::Smtp(server)) = "smtps://127.0.0.1".parse() else { panic!("a server") };
    assert!(Smtp::new(server, sender(), Some(&trust)).is_err());
}
