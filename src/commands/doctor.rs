//! `recado doctor`: looks at everything a start needs, and says all that is wrong at once.

use anyhow::Result;
use clap::Args;

use super::{engines, service};
use crate::config::{self, Config};
use crate::infra::gateway::web::trust;

/// What it may be told.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print the table of all settings for docs/operations.md, and nothing else.
    #[arg(long, hide = true)]
    variables: bool,
}

/// Checks and reports; status 1 when something is wrong.
///
/// # Errors
/// Never for a finding: findings are printed.
#[expect(clippy::print_stdout, reason = "its output is for whoever runs it")]
pub async fn run(args: &DoctorArgs) -> Result<u8> {
    if args.variables {
        print!("{}", config::table());
        return Ok(0);
    }
    let mut wrong = false;
    let mut tell = |name: &str, found: Result<String>| match found {
        Ok(detail) => println!("ok     {name}: {detail}"),
        Err(error) => {
            wrong = true;
            println!("WRONG  {name}: {error:#}");
        }
    };
    tell("engine", engine());
    match Config::from_environment() {
        Err(error) => tell("configuration", Err(error.into())),
        Ok(config) => {
            tell("configuration", Ok(format!("listens on {}", config.listen)));
            let warnings = config.warnings.iter();
            warnings.for_each(|warning| tell("secrets", Ok(format!("in development only: {warning}"))));
            tell("encryption key", service::open_vault(&config).map(|_vault| "readable".into()));
            tell("tables", tables(&config).await);
        }
    }
    Ok(u8::from(wrong))
}

fn engine() -> Result<String> {
    trust::boot_check()?;
    Ok("refuses an unsigned certificate chain".into())
}

async fn tables(config: &Config) -> Result<String> {
    let store = engines::open_store(config).await?;
    store.probe().await?;
    store.close().await;
    Ok(format!("readable and writable in {}", config.data_dir.display()))
}
