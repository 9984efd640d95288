//! A mail server of our own: takes mails, and misbehaves as told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// What to do at a point of the talk, instead of what is right.
#[derive(Clone, Copy, Debug)]
pub enum Mood {
    /// Answer this.
    Say(u16),
    /// Answer nothing, and keep the connection.
    Hang,
    /// Hang up.
    Drop,
}

/// How it behaves.
#[derive(Clone, Default)]
pub struct Script {
    /// At these points: `hello`, `EHLO`, `AUTH`, `MAIL`, `RCPT`, `DATA`, `end`.
    pub at: Vec<(&'static str, Mood)>,
    /// Recipients that are answered so.
    pub recipients: Vec<(&'static str, u16)>,
    /// Who may send; anybody when absent.
    pub login: Option<(&'static str, &'static str)>,
    /// Speaks TLS from the first byte.
    pub tls: bool,
    /// Offers STARTTLS, and takes no mail before it.
    pub starttls: bool,
}

/// A mail that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    pub from: String,
    pub to: String,
    pub data: String,
    /// Whether it came encrypted.
    pub encrypted: bool,
}

impl Taken {
    /// A header's value.
    pub fn header(&self, name: &str) -> &str {
        let start = format!("{name}: ");
        self.data.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_default()
    }
}

struct Shared {
    script: Mutex<Script>,
    taken: watch::Sender<Vec<Taken>>,
    /// How far talks came, one word each: `hello`, `EHLO`…
    heard: watch::Sender<Vec<String>>,
    acceptor: TlsAcceptor,
}

pub struct SmtpServer {
    pub port: u16,
    /// What its clients have to trust, as PEM.
    pub certificate: String,
    shared: Arc<Shared>,
    /// Ends with it.
    _task: JoinSet<()>,
}

impl SmtpServer {
    pub async fn start(script: Script) -> Self {
        Self::at("127.0.0.1", 0, script).await
    }

    /// At this address and port; 0 for any.
    pub async fn at(host: &str, port: u16, script: Script) -> Self {
        let listener = TcpListener::bind((host, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let made =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config =
            config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            taken: watch::channel(Vec::new()).0,
            heard: watch::channel(Vec::new()).0,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        });
        let serving = shared.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            // Ends its talks when it is dropped itself.
            let mut talks = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                while talks.try_join_next().is_some() {}
                let shared = serving.clone();
                talks.spawn(async move { shared.talk(socket).await });
            }
        });
        Self { port, certificate: made.cert.pem(), shared, _task: task }
    }

    pub fn behave(&self, script: Script) {
        *self.shared.script.lock().unwrap() = script;
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.shared.taken.borrow().clone()
    }

    /// Waits until this many mails were taken.
    pub async fn mails(&self, count: usize) -> Vec<Taken> {
        let mut taken = self.shared.taken.subscribe();
        let seen = timeout(crate::app::SOON, taken.wait_for(|mails| mails.len() >= count)).await;
        seen.expect("the mails did not come").unwrap().clone()
    }

    /// Waits until a talk came as far as this word.
    pub async fn hears(&self, word: &str) {
        let mut heard = self.shared.heard.subscribe();
        let seen =
            timeout(crate::app::SOON, heard.wait_for(|words| words.iter().any(|one| one == word))).await;
        drop(seen.expect("nobody said it").unwrap());
    }
}

/// Why a talk is over.
enum End {
    Over,
    Encrypt,
}

struct Talk<'a, S> {
    shared: &'a Shared,
    stream: BufReader<S>,
    encrypted: bool,
}

impl Shared {
    async fn talk(&self, socket: TcpStream) {
        let (tls, mut greet) = (self.script.lock().unwrap().tls, true);
        if !tls {
            let mut talk = Talk { shared: self, stream: BufReader::new(socket), encrypted: false };
            match talk.run(greet).await {
                Some(End::Encrypt) => greet = false,
                Some(End::Over) | None => return,
            }
            let socket = talk.stream.into_inner();
            return self.encrypted(socket, greet).await;
        }
        self.encrypted(socket, greet).await;
    }

    async fn encrypted(&self, socket: TcpStream, greet: bool) {
        if let Ok(stream) = self.acceptor.accept(socket).await {
            let mut talk = Talk { shared: self, stream: BufReader::new(stream), encrypted: true };
            talk.run(greet).await;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<'_, S> {
    async fn say(&mut self, line: &str) -> Option<()> {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.ok()?;
        self.stream.get_mut().flush().await.ok()
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.stream.read_line(&mut line).await.ok()? > 0).then_some(line)
    }

    /// What is right at this point, or what the script says; `None` is the end.
    async fn point(&mut self, word: &str, right: &str) -> Option<bool> {
        self.shared.heard.send_modify(|words| words.push(word.to_owned()));
        let mood =
            self.shared.script.lock().unwrap().at.iter().find(|(at, _)| *at == word).map(|(_, mood)| *mood);
        match mood {
            None => self.say(right).await.map(|()| true),
            Some(Mood::Say(code)) => {
                // Servers like to repeat whom they refuse: nobody may repeat it after them.
                self.say(&format!("{code} 5.1.1 <refused@example.org>: s3cret words")).await.map(|()| false)
            }
            Some(Mood::Hang) => {
                tokio::time::sleep(Duration::from_secs(600)).await;
                None
            }
            Some(Mood::Drop) => None,
        }
    }

    #[allow(clippy::cognitive_complexity, clippy::too_many_lines, reason = "a dialogue, line by line")]
    async fn run(&mut self, greet: bool) -> Option<End> {
        if greet {
            self.point("hello", "220 mail.test ESMTP").await?;
        }
        let script = self.shared.script.lock().unwrap().clone();
        let (mut from, mut to) = (String::new(), String::new());
        let mut known = script.login.is_none();
        loop {
            let line = self.line().await?;
            let line = line.trim_end();
            let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let address = || line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            match word.as_str() {
                "EHLO" => {
                    let more = if script.starttls && !self.encrypted { "STARTTLS" } else { "AUTH PLAIN" };
                    self.point("EHLO", &format!("250-mail.test\r\n250-8BITMIME\r\n250 {more}")).await?;
                }
                "STARTTLS" => {
                    self.say("220 go ahead").await?;
                    return Some(End::Encrypt);
                }
                "AUTH" => {
                    let (name, password) = script.login.unwrap_or_default();
                    let wanted = STANDARD.encode(format!("\0{name}\0{password}"));
                    let right = line == format!("AUTH PLAIN {wanted}");
                    let said = self.point("AUTH", if right { "235 welcome" } else { "535 no" }).await?;
                    known |= right && said;
                }
                "MAIL" if !known || (script.starttls && !self.encrypted) => {
                    self.say("530 not like this").await?
                }
                "MAIL" => {
                    from = address();
                    self.point("MAIL", "250 ok").await?;
                }
                "RCPT" => {
                    to = address();
                    let known = script.recipients.iter().find(|(address, _)| *address == to);
                    match known {
                        Some((address, code)) => self.say(&format!("{code} <{address}>: no")).await?,
                        None => self.point("RCPT", "250 ok").await.map(|_| ())?,
                    }
                }
                "DATA" => {
                    if !self.point("DATA", "354 go on").await? {
                        continue;
                    }
                    let mut data = String::new();
                    loop {
                        let line = self.line().await?;
                        if line == ".\r\n" {
                            break;
                        }
                        data.push_str(line.strip_prefix('.').unwrap_or(&line));
                    }
                    let taken = Taken { from: from.clone(), to: to.clone(), data, encrypted: self.encrypted };
                    let mood = self.shared.script.lock().unwrap().at.iter().any(|(at, _)| *at == "end");
                    if !mood {
                        self.shared.taken.send_modify(|mails| mails.push(taken));
                    }
                    self.point("end", "250 taken").await?;
                }
                "QUIT" => {
                    self.say("221 bye").await?;
                    return Some(End::Over);
                }
                _ => self.say("250 ok").await?,
            }
        }
    }
}
