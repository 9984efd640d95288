//! The first API key, whatever dies before somebody was told of it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use recado::commands::service::Service;
use recado::config::Config;

async fn start(folder: &Path) -> Service {
    Service::start(Config::embedded(folder).unwrap(), Vec::new()).await.unwrap()
}

async fn status(service: &Service, key: &str) -> u16 {
    let http = reqwest::Client::new();
    let asked = http.get(format!("{}/sessions", service.url())).bearer_auth(key).send().await.unwrap();
    asked.status().as_u16()
}

/// Where the text waits.
fn file(folder: &Path) -> std::path::PathBuf {
    folder.join("first-api-key")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_key_that_nobody_was_told_is_told_at_the_next_start_and_then_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path()).await;
    let key = service.first_key().await.unwrap().unwrap();
    assert_eq!(status(&service, &key).await, 200, "it works before it is told");
    let mode = std::fs::metadata(file(folder.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // As if it had died between storing and telling.
    assert!(service.stop().await);
    let service = start(folder.path()).await;
    assert_eq!(service.first_key().await.unwrap().as_ref(), Some(&key));
    service.first_key_told().unwrap();
    assert!(!file(folder.path()).exists(), "the text is forgotten");
    assert_eq!(service.first_key().await.unwrap(), None);
    assert!(service.stop().await);
    let service = start(folder.path()).await;
    assert_eq!(service.first_key().await.unwrap(), None);
    assert_eq!(status(&service, &key).await, 200);
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_key_that_was_written_down_and_not_stored_is_stored_at_the_next_start() {
    let (other, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let service = start(other.path()).await;
    let key = service.first_key().await.unwrap().unwrap();
    assert!(service.stop().await);
    // The file is there, its row is not: an empty store beside it.
    std::fs::copy(file(other.path()), file(folder.path())).unwrap();
    let service = start(folder.path()).await;
    assert_eq!(status(&service, &key).await, 401);
    assert_eq!(service.first_key().await.unwrap().as_ref(), Some(&key));
    assert_eq!(status(&service, &key).await, 200);
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_holds_no_key_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(file(folder.path()), "my notes").unwrap();
    let service = start(folder.path()).await;
    let refusal = format!("{:#}", service.first_key().await.unwrap_err());
    assert!(refusal.contains("first-api-key"), "{refusal}");
    assert_eq!(std::fs::read_to_string(file(folder.path())).unwrap(), "my notes");
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_makes_its_data_folder() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("not/there");
    let service = start(&folder).await;
    assert!(service.stop().await);
    assert!(folder.join("recado.db").exists());
}
