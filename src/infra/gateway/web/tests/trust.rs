//! Whom a session believes.

use super::rig::{Ears, Rig, endpoint, sandbox};
use crate::domain::session::Endpoint;
use crate::infra::gateway::web::backend::Backend;
use crate::infra::gateway::web::transport::Route;
use crate::infra::gateway::{Gateway, LinkEnd};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_fails_closed() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let Endpoint::Sandbox { url, .. } = endpoint(&sandbox) else { panic!("not a sandbox") };
    let account = rig.account(Endpoint::Sandbox { url, static_key: "09".repeat(32) }).await;
    let running = rig.start(account).await;
    running.ears.until("an end", |heard| !heard.ends.is_empty()).await;
    let failed = LinkEnd::Lost { reason: "handshake_failed".into(), was_connected: false };
    assert_eq!(running.ears.heard().ends[0], failed);
    assert!(running.ears.heard().qr().is_none());
    running.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_the_real_whatsapp_refuses_a_sandbox() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    // A real session's trust, on the sandbox's address: what a redirected name or route would make of it.
    let real = rig.account(Endpoint::Whatsapp {}).await;
    let vault = rig.vault.session(real.session).unwrap();
    let backend = Backend::new(real, rig.store.clone(), rig.writer.clone(), Ears::some(), vault).unwrap();
    let ears = Ears::some();
    let route = Route::to(&endpoint(&sandbox)).unwrap();
    let link = crate::infra::gateway::web::link::WebLink::new(
        rig.gateway.shared.clone(),
        route,
        std::sync::Arc::new(backend),
        ears.clone(),
    );
    let end = crate::infra::gateway::Link::run(&link).await;
    assert_eq!(end, LinkEnd::Lost { reason: "handshake_failed".into(), was_connected: false });
    assert!(ears.heard().events.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_on_the_real_host_opens_no_link() {
    let rig = Rig::new().await;
    let account = rig.account(Endpoint::Whatsapp {}).await;
    let endpoint =
        Endpoint::Sandbox { url: "wss://web.whatsapp.com\\@x/ws".into(), static_key: "09".repeat(32) };
    let account = crate::infra::gateway::Account { endpoint, ..account };
    let ears = Ears::some();
    assert!(rig.gateway.open(account, ears).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stored_value_is_in_clear_and_no_pin_is_stored() {
    let (rig, sandbox) = (Rig::new().await, sandbox().await);
    let running = rig.linked(&sandbox).await;
    let account = running.account.clone();
    let phone = running.phone();
    running.close().await;
    let backend = {
        let real = crate::infra::gateway::Account { endpoint: Endpoint::Whatsapp {}, ..account.clone() };
        let vault = rig.vault.session(account.session).unwrap();
        Backend::new(real, rig.store.clone(), rig.writer.clone(), Ears::some(), vault).unwrap()
    };
    let device = whatsapp_rust::wacore::store::traits::DeviceStore::load(&backend).await.unwrap().unwrap();
    assert!(device.server_cert_chain.is_none(), "read without a pin, none is there");
    assert_eq!(device.pn.as_ref().unwrap().user, phone);
    let writes = rig.writer.writes.lock().unwrap();
    for op in writes.iter().flat_map(|write| &write.ops) {
        use crate::domain::write::AuthOp;
        let (AuthOp::PutCreds(value) | AuthOp::Put { value, .. } | AuthOp::Update { value, .. }) = op else {
            continue;
        };
        for secret in
            [&device.identity_key.private_key.serialize()[..], &device.adv_secret_key, phone.as_bytes()]
        {
            assert!(!value.windows(secret.len()).any(|part| part == secret));
        }
    }
}
