//! A login does the same work whether there is an account or not: one check of a password, counted by the metric, in a
//! process of its own so that nobody else counts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use recado::commands::service::Service;
use recado::config::Config;
use recado::infra::passwords::Cost;
use serde_json::json;

/// The value of a metric without labels.
async fn metric(http: &reqwest::Client, base: &str, name: &str) -> u64 {
    let text = http.get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_login_checks_one_password() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::embedded(folder.path()).unwrap();
    config.identity.cost = Cost::LEAST;
    let service = Service::start(config, Vec::new()).await.unwrap();
    let (http, base) = (reqwest::Client::new(), service.url().to_owned());
    let post = async |path: &str, mail: &str, password: &str| {
        let body = json!({"email": mail, "password": password});
        http.post(format!("{base}{path}")).json(&body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(post("/auth/register", "ana@example.org", "una-frase-larga-7").await, 202);
    let long = "x".repeat(4000);
    for (mail, password, status) in [
        ("nobody@example.org", "una-frase-larga-7", 401),
        ("ana@example.org", "not-the-password", 401),
        ("ana@example.org", "una-frase-larga-7", 403),
        ("nobody@example.org", &long, 401),
        ("ana@example.org", &long, 401),
    ] {
        let before = metric(&http, &base, "password_checks_total").await;
        assert_eq!(post("/auth/login", mail, password).await, status, "{mail}");
        assert_eq!(metric(&http, &base, "password_checks_total").await - before, 1, "{mail}");
    }
    assert!(service.stop().await);
}
