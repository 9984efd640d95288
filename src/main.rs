//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use recado::commands::{backup, demo, doctor, health, migrate, openapi, restore, serve};

/// A message is some hundred small allocations, made on one thread and freed on another: docs/adr/0012.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// WhatsApp messaging as an actor system: thousands of sessions behind one API, and nothing lost.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service. Configured by environment variables and by .env in the working folder: see .env.example.
    Serve(serve::ServeArgs),
    /// Show the main job on this machine: no server, no phone.
    Demo(demo::DemoArgs),
    /// Run only the sandbox: a WhatsApp on this machine, with virtual phones.
    Sandbox(recado_sandbox::SandboxArgs),
    /// Bring the tables up to date and end.
    Migrate,
    /// Check configuration, data folder, tables and trust; say what is wrong.
    Doctor(doctor::DoctorArgs),
    /// Ask a running service whether it is ready; status 1 when it is not.
    Health(health::HealthArgs),
    /// Write all tables into one file, while the service runs or not.
    Backup(backup::BackupArgs),
    /// Put a backup in the place of the tables. The service must not run.
    Restore(restore::RestoreArgs),
    /// Print the `OpenAPI` document.
    Openapi,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let ended = runtime.block_on(run(cli.command));
    // A blocking read of a dead disk must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(&error),
    }
}

async fn run(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Serve(args) => serve::run(&args).await,
        Command::Demo(args) => demo::run(&args).await,
        Command::Sandbox(args) => recado_sandbox::run(args).await.map(|()| 0),
        Command::Migrate => migrate::run().await,
        Command::Doctor(args) => doctor::run(&args).await,
        Command::Health(args) => health::run(&args).await,
        Command::Backup(args) => backup::run(&args).await,
        Command::Restore(args) => restore::run(&args).await,
        Command::Openapi => openapi::run(),
    }
}

#[expect(clippy::print_stderr, reason = "the last word to whoever started the process")]
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("recado: {error:#}");
    ExitCode::FAILURE
}
