//! A sandbox that was stopped, or killed, knows its clients when it comes back.

use std::path::PathBuf;

use recado_sandbox::{Sandbox, SandboxConfig};

use crate::support::{TestClient, inbox, linked, sandbox, text, until, within};

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("recado-sandbox-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&path).ok();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

async fn at(config: &SandboxConfig) -> Sandbox {
    within("starting", async {
        loop {
            // The port is free once the sandbox before has let go of it.
            match Sandbox::start(config.clone()).await {
                Ok(sandbox) => return sandbox,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    })
    .await
}

async fn writes_back_and_forth(sandbox: &Sandbox, client: &TestClient, mine: &str, theirs: &str) {
    let before = sandbox.inbox(theirs, 0, 1000).unwrap().messages.len();
    client.send(theirs, "AGAIN", "here again").await;
    assert_eq!(inbox(sandbox, theirs, before + 1).await[before].text.as_deref(), Some("here again"));
    sandbox.send(theirs, text(mine, "welcome back")).await.unwrap();
    assert_eq!(client.message().await.1, "welcome back");
}

#[tokio::test]
async fn linked_clients_log_in_again_after_a_stop_with_what_waited_for_them() {
    let folder = Folder::new("stop");
    let mut config = SandboxConfig { data_dir: Some(folder.0.clone()), ..Default::default() };
    let sandbox = at(&config).await;
    config.listen = sandbox.addr();
    let (a, mine) = linked(&sandbox).await;
    let (_b, theirs) = linked(&sandbox).await;
    a.send(&theirs.phone, "BEFORE", "before").await;
    inbox(&sandbox, &theirs.phone, 1).await;
    let keys = (sandbox.static_key(), sandbox.root_key());
    within("stopping", sandbox.stop()).await.unwrap();

    let sandbox = at(&config).await;
    assert_eq!((sandbox.static_key(), sandbox.root_key()), keys);
    a.connected().await;
    writes_back_and_forth(&sandbox, &a, &mine.phone, &theirs.phone).await;
}

#[tokio::test]
async fn linked_clients_log_in_again_after_a_kill() {
    let folder = Folder::new("kill");
    let mut config = SandboxConfig { data_dir: Some(folder.0.clone()), ..Default::default() };
    let sandbox = at(&config).await;
    config.listen = sandbox.addr();
    let (a, mine) = linked(&sandbox).await;
    let (_b, theirs) = linked(&sandbox).await;
    a.send(&theirs.phone, "BEFORE", "before").await;
    inbox(&sandbox, &theirs.phone, 1).await;
    let saved = || std::fs::read_dir(folder.0.join("accounts")).map_or(0, |d| d.count());
    until("both accounts on disk", || (saved() == 2).then_some(())).await;
    // Changes are written within a second; then it ends without a stop.
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    drop(sandbox);

    let sandbox = at(&config).await;
    a.connected().await;
    writes_back_and_forth(&sandbox, &a, &mine.phone, &theirs.phone).await;
}

#[tokio::test]
async fn a_state_handed_over_in_memory_keeps_links_and_sessions() {
    let first = sandbox().await;
    let config = SandboxConfig { listen: first.addr(), ..Default::default() };
    let (a, mine) = linked(&first).await;
    let (_b, theirs) = linked(&first).await;
    a.send(&theirs.phone, "BEFORE", "before").await;
    inbox(&first, &theirs.phone, 1).await;
    let state = within("stopping", first.stop()).await.unwrap();
    let second = Sandbox::resume(config, state).await.unwrap();
    a.connected().await;
    writes_back_and_forth(&second, &a, &mine.phone, &theirs.phone).await;
}
