//! A service and a sandbox in processes of their own, and accounts linked between them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::api::{Api, text};
use super::process::{Process, free_addr};

/// How long one account may take to link.
const LINK: Duration = Duration::from_secs(90);

/// How often a state is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// A folder on the project's own disk, removed at the end.
pub(crate) fn folder() -> Result<TempDir> {
    let above = std::env::var_os("RECADO_RIG_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    std::fs::create_dir_all(&above)?;
    let mut folder = tempfile::Builder::new().prefix("rig-").tempdir_in(above)?;
    // To read the logs of a run that failed.
    folder.disable_cleanup(std::env::var_os("RECADO_RIG_KEEP").is_some());
    Ok(folder)
}

/// The service, which can be killed and started again on its data.
pub(crate) struct Service {
    folder: PathBuf,
    addr: SocketAddr,
    variables: Vec<(String, String)>,
    process: Option<Process>,
    key: String,
}

impl Service {
    /// Starts on a fresh data folder below `folder` and reads the key that it prints once.
    pub(crate) async fn start(folder: &std::path::Path, settings: &[(&str, &str)]) -> Result<Self> {
        let addr = free_addr()?;
        let folder = folder.to_owned();
        let key_file = folder.join("api-key");
        let mut variables = vec![
            ("RECADO_LISTEN".to_owned(), addr.to_string()),
            ("RECADO_DATA_DIR".to_owned(), folder.join("data").display().to_string()),
            ("RECADO_API_KEY_FILE".to_owned(), key_file.display().to_string()),
            ("LOG_LEVEL".to_owned(), std::env::var("LOG_LEVEL").unwrap_or_else(|_unset| "warn".to_owned())),
        ];
        variables.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut service = Self { folder, addr, variables, process: None, key: String::new() };
        service.again().await?;
        service.key = service.first_key(&key_file).await?;
        Ok(service)
    }

    /// One that others run, reached at this address.
    pub(crate) fn elsewhere(addr: SocketAddr, key: &str) -> Self {
        Self { folder: PathBuf::new(), addr, variables: Vec::new(), process: None, key: key.to_owned() }
    }

    /// The key is written after the first start, perhaps a moment after the service is ready.
    async fn first_key(&self, file: &std::path::Path) -> Result<String> {
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            let key = std::fs::read_to_string(file).unwrap_or_default();
            if !key.trim().is_empty() {
                return Ok(key.trim().to_owned());
            }
            sleep(Duration::from_millis(5)).await;
        }
        bail!("no API key was written{}", self.last_words())
    }

    /// Starts the process on the same data, without waiting.
    pub(crate) fn launch(&mut self) -> Result<()> {
        let words = ["serve".to_owned()];
        self.process = Some(Process::start(&self.folder, "service", self.addr, &words, &self.variables)?);
        Ok(())
    }

    /// Starts the process on the same data; how long it took until it was ready.
    pub(crate) async fn again(&mut self) -> Result<Duration> {
        self.launch()?;
        self.ready().await
    }

    pub(crate) async fn ready(&mut self) -> Result<Duration> {
        self.process.as_mut().context("the service is not running")?.ready("/readyz").await
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    pub(crate) async fn stop(&mut self, within: Duration) -> Result<()> {
        let mut process = self.process.take().context("the service is not running")?;
        process.stop(within).await.map(drop)
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the service is not running")?.pid())
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn api(&self) -> Api {
        Api::new(self.addr, Some(self.key.clone()))
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn last_words(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::last_words)
    }
}

/// The sandbox, which can be stopped and started again on its data.
pub(crate) struct Sandbox {
    folder: PathBuf,
    addr: SocketAddr,
    process: Process,
    static_key: String,
}

impl Sandbox {
    pub(crate) async fn start(folder: &std::path::Path) -> Result<Self> {
        let addr = free_addr()?;
        let process = Self::launch(folder, addr).await?;
        let identity = Api::new(addr, None).get("/admin/identity").await?;
        Ok(Self { folder: folder.to_owned(), addr, process, static_key: text(&identity, "staticKey") })
    }

    async fn launch(folder: &std::path::Path, addr: SocketAddr) -> Result<Process> {
        let data = folder.join("sandbox").display().to_string();
        let words = ["sandbox", "--listen", &addr.to_string(), "--data-dir", &data].map(str::to_owned);
        let mut process = Process::start(folder, "sandbox", addr, &words, &[])?;
        process.ready("/admin/stats").await?;
        Ok(process)
    }

    /// Stops it in order; the links are cut.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.process.stop(Duration::from_secs(60)).await.map(drop)
    }

    /// Starts it on the same data and port.
    pub(crate) async fn again(&mut self) -> Result<()> {
        self.process = Self::launch(&self.folder, self.addr).await?;
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn api(&self) -> Api {
        Api::new(self.addr, None)
    }

    /// What a session's row says about which WhatsApp it speaks to.
    pub(crate) fn endpoint(&self) -> Value {
        json!({"kind": "sandbox", "url": format!("ws://{}/ws/chat", self.addr), "staticKey": self.static_key})
    }
}

/// A linked account.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) session: String,
    pub(crate) phone: String,
    pub(crate) device: u64,
}

/// Makes a session and links it by QR code, up to `connected`.
pub(crate) async fn link(service: &Service, sandbox: &Sandbox, name: &str) -> Result<Account> {
    let (mut api, mut admin) = (service.api(), sandbox.api());
    let body = json!({"name": name, "endpoint": sandbox.endpoint(), "start": true});
    let session = text(&api.post("/sessions", &body).await?, "sessionId");
    let until = Instant::now() + LINK;
    let qr = loop {
        let (status, answer) = api.call("GET", &format!("/sessions/{session}/qr"), None, "").await?;
        if status == 200 && answer["qr"].is_string() {
            break text(&answer, "qr");
        }
        if Instant::now() > until {
            bail!("no QR code for {name}: {status} {answer}{}", service.last_words());
        }
        sleep(LOOK).await;
    };
    let linked = admin.post_text(&format!("/admin/mock-phone/scan-qr?name={name}"), &qr).await?;
    let device = linked["deviceId"].as_u64().or_else(|| linked["device"].as_u64()).unwrap_or(1);
    let account = Account { session, phone: text(&linked, "phone"), device };
    loop {
        let view = api.get(&format!("/sessions/{}", account.session)).await?;
        if view["state"] == "connected" {
            return Ok(account);
        }
        if Instant::now() > until {
            bail!("{name} is not connected: {view}{}", service.last_words());
        }
        sleep(LOOK).await;
    }
}

/// Links many, a few at a time.
pub(crate) async fn link_all(
    service: &Service,
    sandbox: &Sandbox,
    names: impl Iterator<Item = String>,
) -> Result<Vec<Account>> {
    let links = names.map(|name| async move { link(service, sandbox, &name).await });
    stream::iter(links).buffered(12).try_collect().await
}

/// Waits until the sandbox has so many devices online.
pub(crate) async fn online(sandbox: &Sandbox, count: u64, within: Duration) -> Result<Duration> {
    let mut admin = sandbox.api();
    let started = Instant::now();
    loop {
        let stats = admin.get("/admin/stats").await?;
        if stats["online"].as_u64() == Some(count) {
            return Ok(started.elapsed());
        }
        if started.elapsed() > within {
            bail!("{} of {count} online within {within:?}", stats["online"]);
        }
        sleep(LOOK).await;
    }
}

/// How many sessions stand in each state, as a line; and how many are connected.
pub(crate) async fn states(api: &mut Api) -> Result<(usize, String)> {
    let mut states = std::collections::BTreeMap::<String, usize>::new();
    for session in api.all("/sessions").await? {
        *states.entry(text(&session, "state")).or_default() += 1;
    }
    let connected = states.get("connected").copied().unwrap_or_default();
    let line = states.iter().map(|(state, count)| format!("{state} {count}")).collect::<Vec<_>>().join(", ");
    Ok((connected, line))
}
