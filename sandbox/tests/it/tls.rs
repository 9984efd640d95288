//! Over TLS, with a certificate that the client was told to trust.

use std::sync::Arc;

use recado_sandbox::{Sandbox, SandboxConfig, ScanQr, TlsFiles};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use whatsapp_rust::transport::{Connector, TokioWebSocketTransportFactory};

use crate::support::{TestClient, backend, inbox, within};

fn trusting(certificate: CertificateDer<'static>) -> Connector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Connector::Rustls(TlsConnector::from(Arc::new(config)))
}

#[tokio::test]
async fn a_client_links_and_sends_over_tls_and_plain_text_is_refused() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let config = SandboxConfig { tls: Some(files), ..SandboxConfig::default() };
    let sandbox = Sandbox::start(config).await.unwrap();
    assert!(sandbox.ws_url().starts_with("wss://"));

    let mut clients = Vec::new();
    for _ in 0..2 {
        let factory = TokioWebSocketTransportFactory::new().with_url(sandbox.ws_url());
        let factory = factory.with_connector(trusting(made.cert.der().clone()));
        let mut client = TestClient::over(factory, backend(Some(sandbox.static_key())).await).await;
        client.run();
        let qr = client.qr().await;
        let linked = within("linking", sandbox.scan_qr(&qr, ScanQr::default())).await.unwrap();
        client.connected().await;
        clients.push((client, linked.phone));
    }
    let friend = &clients[1].1;
    clients[0].0.send(friend, "3EB0000000000000000001", "cifrado dos veces").await;
    let there = inbox(&sandbox, friend, 1).await;
    assert_eq!(there[0].text.as_deref(), Some("cifrado dos veces"));

    let plain = sandbox.ws_url().replace("wss://", "ws://");
    let stranger = TestClient::new(&plain, backend(Some(sandbox.static_key())).await).await;
    assert!(within("connecting", stranger.client.connect()).await.is_err());
}
