//! The command line of a sandbox on its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{SandboxConfig, TlsFiles};
use crate::noise::identity::hex;
use crate::sandbox::Sandbox;

/// A WhatsApp that runs on your laptop: the real wire protocol, virtual phones.
#[derive(Debug, Clone, Args)]
pub struct SandboxArgs {
    /// Where to listen, for clients and for the admin surface.
    #[arg(long, env = "SANDBOX_LISTEN", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// Folder that keeps keys, accounts, links and phones across restarts.
    #[arg(long, env = "SANDBOX_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// TLS certificate chain (PEM); with it clients connect by `wss`.
    #[arg(long, requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    #[arg(long, requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Seconds after which a typing notice that nobody ended is ended.
    #[arg(long, env = "CHATSTATE_TTL_SECS", default_value_t = 25)]
    pub chatstate_ttl_secs: u64,
}

impl SandboxArgs {
    /// What they mean.
    #[must_use]
    pub fn config(self) -> SandboxConfig {
        SandboxConfig {
            listen: self.listen,
            data_dir: self.data_dir,
            tls: self.tls_cert.zip(self.tls_key).map(|(cert, key)| TlsFiles { cert, key }),
            chatstate_ttl: Duration::from_secs(self.chatstate_ttl_secs.max(1)),
            ..SandboxConfig::default()
        }
    }
}

/// Runs a sandbox until SIGINT or SIGTERM.
///
/// # Errors
/// It could not start, or could not write its data folder at the end.
pub async fn run(args: SandboxArgs) -> anyhow::Result<()> {
    let sandbox = Sandbox::start(args.config()).await.context("starting the sandbox")?;
    tracing::info!(
        url = %sandbox.ws_url(),
        admin = %sandbox.http_url(),
        static_key = %hex(&sandbox.static_key()),
        root_key = %hex(&sandbox.root_key()),
        "sandbox ready"
    );
    let mut terminate = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
    tokio::select! {
        end = tokio::signal::ctrl_c() => end.context("watching for SIGINT")?,
        _ = terminate.recv() => {}
    }
    tracing::info!("sandbox stopping");
    sandbox.stop().await.context("stopping the sandbox")?;
    Ok(())
}
