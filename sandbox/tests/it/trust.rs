//! The engine's verification is on, and a sandbox cannot pass for WhatsApp.

use std::time::Duration;

use crate::support::{TestClient, backend, sandbox, within};

#[tokio::test]
async fn a_client_without_the_pin_refuses_the_sandboxs_own_root() {
    let sandbox = sandbox().await;
    let client = TestClient::new(&sandbox.ws_url(), backend(None).await).await;
    let refused = within("connecting", client.client.connect()).await;
    let text = refused.expect_err("refused").to_string();
    assert!(text.contains("signature"), "refused because of the signature: {text}");
    assert_eq!(sandbox.stats().logins, 0);
}

#[tokio::test]
async fn a_wrong_pin_fails_closed() {
    let sandbox = sandbox().await;
    let client = TestClient::new(&sandbox.ws_url(), backend(Some([9; 32])).await).await;
    let ended = tokio::time::timeout(Duration::from_secs(15), client.client.connect()).await;
    assert!(matches!(ended, Ok(Err(_))), "no session with somebody else's key");
    let stats = sandbox.stats();
    assert_eq!((stats.handshakes_ik, stats.logins), (0, 0), "{stats:?}");
}
