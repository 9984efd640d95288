//! `recado health`: whether a running service is ready, as an exit status. Made for containers, which have no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::service;
use crate::config::Config;

/// How long the service may take to answer.
const WITHIN: Duration = Duration::from_secs(5);

/// What it may be told.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// What to ask, instead of /readyz where the settings say that the service listens.
    url: Option<String>,
}

/// Asks; 0 when the answer is a good one, else 1.
///
/// # Errors
/// When nobody answers in time, or the settings are wrong.
#[expect(clippy::print_stdout, reason = "its output is for whoever runs it")]
pub async fn run(args: &HealthArgs) -> Result<u8> {
    let url = match &args.url {
        Some(url) => url.clone(),
        None => format!("http://{}/readyz", reachable(Config::from_environment()?.listen)),
    };
    service::install_crypto();
    // Whatever proxy the environment names is for the outside.
    let client = reqwest::Client::builder().timeout(WITHIN).no_proxy().build()?;
    let answer = client.get(&url).send().await.context("the service does not answer")?;
    let status = answer.status();
    println!("{} {}", status.as_u16(), answer.text().await?);
    Ok(u8::from(!status.is_success()))
}

/// Where something that listens everywhere is reached from here.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let home = match listen.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let ip = if listen.ip().is_unspecified() { home } else { listen.ip() };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_asked_at_home() {
        for (listen, asked) in [
            ("0.0.0.0:3000", "127.0.0.1:3000"),
            ("[::]:3000", "[::1]:3000"),
            ("10.0.0.7:80", "10.0.0.7:80"),
            ("[fe80::1]:9", "[fe80::1]:9"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }

    #[tokio::test]
    async fn nobody_there_is_an_error_and_no_wait() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/readyz", socket.local_addr().unwrap());
        drop(socket);
        assert!(run(&HealthArgs { url: Some(url) }).await.is_err());
    }
}
