//! HTTP for the engine: media, nothing of the chat path.
//!
//! What it promises: no request blocks a thread, lasts for ever, brings in more than the limit, or crowds out the
//! rest of the process; a sandbox session's requests go to its sandbox and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Url, redirect};
use tokio::sync::Semaphore;
use whatsapp_rust::wacore::net::{HttpClient, HttpRequest, HttpResponse};
use whatsapp_rust::{anyhow, async_trait};

use super::transport::Route;
use crate::domain::error::{Error, Result};

const CONNECT: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(120);
/// The largest document WhatsApp's clients send is far larger than what a buffered download may hold.
const BODY_LIMIT: usize = 64 * 1024 * 1024;
/// Requests at one time in the whole process.
const AT_ONCE: usize = 16;

/// What all sessions share.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    slots: Arc<Semaphore>,
}

impl Http {
    /// # Errors
    /// `Bug` when there is no TLS to be had.
    pub(super) fn new() -> Result<Self> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .redirect(redirect::Policy::limited(3))
            .pool_max_idle_per_host(2)
            .build()
            .map_err(Error::bug)?;
        Ok(Self { client, slots: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// The client of one session.
    pub(super) fn of(&self, route: &Route) -> SessionHttp {
        SessionHttp { http: self.clone(), route: route.clone() }
    }
}

/// One session's requests.
#[derive(Clone, Debug)]
pub(super) struct SessionHttp {
    http: Http,
    route: Route,
}

impl SessionHttp {
    fn target(&self, url: &str) -> anyhow::Result<Url> {
        let mut url = Url::parse(url)?;
        if let Some((host, port)) = &self.route.sandbox {
            let same = url.host_str() == Some(host) && url.port_or_known_default() == Some(*port);
            anyhow::ensure!(same, "a sandbox session asks its sandbox only");
            if self.route.is_plain() {
                url.set_scheme("http").map_err(|()| anyhow::anyhow!("not an HTTP address"))?;
                url.set_port(Some(*port)).map_err(|()| anyhow::anyhow!("not an HTTP address"))?;
            }
        }
        anyhow::ensure!(matches!(url.scheme(), "http" | "https"), "not an HTTP address");
        Ok(url)
    }
}

#[async_trait]
impl HttpClient for SessionHttp {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        let url = self.target(&request.url)?;
        let _slot = tokio::time::timeout(WHOLE, self.http.slots.acquire()).await??;
        let mut call = self.http.client.request(Method::from_bytes(request.method.as_bytes())?, url);
        for (name, value) in &request.headers {
            call = call.header(name, value);
        }
        if let Some(body) = request.body {
            call = call.body(body);
        }
        let mut response = call.send().await?;
        let status_code = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            anyhow::ensure!(
                body.len() + chunk.len() <= BODY_LIMIT,
                "the answer is larger than {BODY_LIMIT} bytes"
            );
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse { status_code, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::session::Endpoint;

    fn session(endpoint: &Endpoint) -> SessionHttp {
        drop(whatsapp_rust::transport::default_tls_connector());
        Http::new().unwrap().of(&Route::to(endpoint).unwrap())
    }

    #[test]
    fn a_sandbox_session_asks_its_sandbox_only() {
        let endpoint =
            Endpoint::Sandbox { url: "ws://10.0.0.1:8090/ws/chat".into(), static_key: "ab".repeat(32) };
        let http = session(&endpoint);
        assert_eq!(
            http.target("https://10.0.0.1:8090/mms/x?a=1").unwrap().as_str(),
            "http://10.0.0.1:8090/mms/x?a=1"
        );
        for url in [
            "https://10.0.0.1/mms",
            "https://10.0.0.2:8090/mms",
            "https://mmg.whatsapp.net/x",
            "file:///etc/passwd",
        ] {
            assert!(http.target(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_real_session_asks_over_https_as_told() {
        let http = session(&Endpoint::Whatsapp {});
        assert_eq!(http.target("https://mmg.whatsapp.net/x").unwrap().as_str(), "https://mmg.whatsapp.net/x");
        assert!(http.target("file:///etc/passwd").is_err());
    }
}
