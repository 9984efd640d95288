//! `recado demo`: the main job on one command, with no server and no phone.
//!
//! A temporary data folder, a sandbox in the process, sessions made and linked over the public API alone, texts both
//! ways, receipts, a killed link that heals, and a table of what was lost and repeated.

mod client;
mod scenes;
mod table;

use std::future::Future;

use anyhow::Result;
use clap::Args;
use recado_sandbox::{Sandbox, SandboxConfig};

use super::service::Service;
use crate::config::Config;

/// What the demo may be told.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End when done, with status 0 only if nothing was lost or repeated.
    #[arg(long)]
    exit: bool,
    /// How many accounts to link.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(2..=2000))]
    sessions: u16,
}

/// A task of the demo, which ends with it.
struct Background(tokio::task::JoinHandle<()>);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[expect(clippy::disallowed_methods, reason = "the demo's client is no actor")]
fn background(work: impl Future<Output = ()> + Send + 'static) -> Background {
    Background(tokio::spawn(work))
}

/// Runs the demo; the exit status.
///
/// # Errors
/// When something does not start or a step is not seen in time.
pub async fn run(args: &DemoArgs) -> Result<u8> {
    let folder = tempfile::tempdir()?;
    let sandbox = Sandbox::start(SandboxConfig::default()).await?;
    let config = Config::embedded(folder.path())?;
    let service = Service::start(config, Vec::new()).await?;
    let key = service.new_key().await?;
    table::heading("Recado is up");
    table::line(&format!("  API      {}", service.url()));
    table::line(&format!(
        "  sandbox  {}   (a WhatsApp on this machine: real wire protocol, virtual phones)",
        sandbox.http_url()
    ));
    let figures = scenes::play(service.url(), &key, &sandbox, usize::from(args.sessions)).await?;
    let clean = figures.clean();
    table::figures(&figures.rows());
    if !args.exit {
        table::line(&format!(
            "Recado stays up at {} (docs at /docs). Key: {key}\nCtrl-C ends it.",
            service.url()
        ));
        table::line(&figures.json());
        tokio::signal::ctrl_c().await?;
    }
    let stopped = service.stop().await;
    let _accounts = sandbox.stop().await;
    if args.exit {
        table::line(&figures.json());
    }
    Ok(u8::from(!(clean && stopped)))
}
