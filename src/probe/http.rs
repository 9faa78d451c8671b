//! [`Prober`] over HTTP. It only ever asks previews, so it knows no proxy and checks no certificate.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use serde_json::Value;

use rustls::ClientConfig;
use rustls::crypto::ring;

use super::api::{Answer, ProbeTarget, Prober};
use super::next_tools::{NextTool, NoToolAnswer, PATH};
use crate::tls::EncryptOnly;

/// A connection with its TLS: a server that knows no TLS may swallow the greeting without a word.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection waits for the next request. Node.js and its kin close theirs after five seconds.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// A body is read to its end to keep the connection, where it is no longer and comes no later than this.
const MAX_REST: u64 = 64 * 1024;
const REST_TIMEOUT: Duration = Duration::from_millis(50);
const MAX_REDIRECTS: usize = 10;
const NOT_FOUND: u16 = 404;
/// Bytes of a refusal's page that are read.
const MAX_REFUSAL: usize = 4096;
/// Bytes of a tool's answer that are read; a longer one is none.
const MAX_TOOL_ANSWER: usize = 1 << 20;

/// Sends the requests over HTTP.
#[derive(Debug, Clone)]
pub struct HttpProber {
    client: Client,
}

impl HttpProber {
    /// A probe with a connection pool of its own, on the current tokio runtime.
    ///
    /// # Errors
    /// When the HTTP client cannot be built, in reqwest's words.
    pub fn new() -> Result<Self, String> {
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(KEPT_FOR)
            .tls_backend_preconfigured(any_certificate()?)
            .user_agent(concat!("kosuke-docker/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { client })
    }

    async fn follow(
        &self,
        mut url: Url,
        host: &str,
        script: bool,
        keep: bool,
    ) -> Result<(u16, Response), reqwest::Error> {
        let origin = url.clone();
        let mut redirects = 0;
        loop {
            let mut request = self.client.get(url.clone()).header(HOST, host);
            if !keep {
                // A kept connection would hold a slot of a dev server for nothing.
                request = request.header(CONNECTION, "close");
            }
            let response = request.send().await?;
            let mut status = response.status().as_u16();
            let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            if script && status == 200 && kind.is_some_and(|kind| kind.starts_with("text/html")) {
                status = NOT_FOUND;
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            match location.filter(|_| response.status().is_redirection()).and_then(|to| redirect(&origin, &url, to)) {
                Some(next) if redirects < MAX_REDIRECTS => url = next,
                _ => return Ok((status, response)),
            }
            redirects += 1;
        }
    }
}

#[async_trait]
impl Prober for HttpProber {
    async fn ask(&self, target: &ProbeTarget, timeout: Duration) -> Answer {
        let Ok((url, base)) = base(target).and_then(|base| Ok((base.join(&target.path)?, base))) else {
            return Answer::NoServer;
        };
        // A path may come out of what an app printed: it must not lead anywhere else.
        if url.origin() != base.origin() {
            return Answer::NoServer;
        }
        // Dev servers refuse host names that they do not know; every one knows localhost.
        let host = format!("localhost:{}", target.endpoint.port);
        let ask = async {
            match self.follow(url.clone(), &host, target.script, target.keep).await {
                // The app may have restarted: then the connection that was kept is of the one before.
                Err(error) if target.keep && !error.is_connect() => self.follow(url, &host, target.script, false).await,
                told => told,
            }
        };
        match tokio::time::timeout(timeout, ask).await {
            Ok(Ok((status, response))) => {
                if target.keep {
                    read_rest(response).await;
                }
                Answer::Status(status)
            }
            Ok(Err(_)) => Answer::NoServer,
            Err(_) => Answer::TooLate,
        }
    }

    async fn refuses_host(&self, target: &ProbeTarget, host: &str, timeout: Duration) -> bool {
        let Ok(url) = Url::parse(&format!("http://{}", target.endpoint)) else { return false };
        let ask = async {
            let request = self.client.get(url).header(HOST, host).header(CONNECTION, "close");
            let mut response = request.send().await.ok()?;
            if response.status() != reqwest::StatusCode::FORBIDDEN {
                return Some(false);
            }
            let body = body(&mut response, MAX_REFUSAL).await.ok()?;
            let words = String::from_utf8_lossy(&body).to_lowercase();
            Some(words.contains("blocked request") || (words.contains("host") && words.contains("not allowed")))
        };
        tokio::time::timeout(timeout, ask).await.ok().flatten().unwrap_or(false)
    }

    async fn ask_next(&self, target: &ProbeTarget, tool: NextTool, timeout: Duration) -> Result<Value, NoToolAnswer> {
        let url = base(target).and_then(|base| base.join(PATH)).map_err(|_| NoToolAnswer::NoServer)?;
        let request = self.client.post(url).body(tool.request());
        // A foreign host name is refused, and one that takes no event stream, too.
        let request = request.header(HOST, format!("localhost:{}", target.endpoint.port));
        let request = request.header(CONTENT_TYPE, "application/json").header(CONNECTION, "close");
        let request = request.header(ACCEPT, "application/json, text/event-stream");
        let ask = async {
            let mut response = request.send().await?;
            if !response.status().is_success() {
                return Ok(None);
            }
            let body = body(&mut response, MAX_TOOL_ANSWER).await?;
            Ok::<_, reqwest::Error>((body.len() < MAX_TOOL_ANSWER).then_some(body))
        };
        let body = match tokio::time::timeout(timeout, ask).await {
            Ok(Ok(body)) => body.ok_or(NoToolAnswer::NotUnderstood)?,
            Ok(Err(_)) => return Err(NoToolAnswer::NoServer),
            Err(_) => return Err(NoToolAnswer::TooLate),
        };
        tool.read(&String::from_utf8_lossy(&body)).ok_or(NoToolAnswer::NotUnderstood)
    }
}

/// Where a target's server is.
fn base(target: &ProbeTarget) -> Result<Url, <Url as std::str::FromStr>::Err> {
    Url::parse(&format!("{}://{}", if target.https { "https" } else { "http" }, target.endpoint))
}

/// The body, cut after some `longest` bytes.
async fn body(response: &mut Response, longest: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < longest
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Reads the rest of a short answer: its connection can be used again then.
async fn read_rest(mut response: Response) {
    if response.content_length().is_some_and(|length| length <= MAX_REST) {
        let rest = async { while response.chunk().await.ok().flatten().is_some() {} };
        // Too late: the connection is closed, and the status holds.
        drop(tokio::time::timeout(REST_TIMEOUT, rest).await);
    }
}

/// TLS for dev servers, which sign their certificates themselves.
fn any_certificate() -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let verifier = Arc::new(EncryptOnly::new(provider));
    let builder = builder.map_err(|error| error.to_string())?.dangerous().with_custom_certificate_verifier(verifier);
    Ok(builder.with_no_client_auth())
}

/// Where a redirect leads, None when it leaves the preview. The server believes that it is `localhost`.
fn redirect(origin: &Url, current: &Url, location: &str) -> Option<Url> {
    let mut next = current.join(location).ok()?;
    let same_host = next.host_str() == origin.host_str() || next.host_str() == Some("localhost");
    if next.scheme() != origin.scheme() || !same_host || next.port_or_known_default() != origin.port_or_known_default()
    {
        return None;
    }
    next.set_host(origin.host_str()).ok()?;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preview::Endpoint;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A server that answers each request path with the given head, and tells the Host headers it saw.
    async fn server(answers: &'static [(&'static str, &'static str)]) -> Result<u16, std::io::Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = vec![0; 4096];
                    let read = socket.read(&mut buffer).await.unwrap_or(0);
                    let request = String::from_utf8_lossy(&buffer[..read]).into_owned();
                    let path = request.split(' ').nth(1).unwrap_or_default();
                    let local = request.to_lowercase().contains(&format!("host: localhost:{port}"));
                    let head =
                        answers.iter().find(|(known, _)| *known == path).map_or("404 Not Found", |(_, head)| head);
                    let head =
                        if local { head.replace("PORT", &port.to_string()) } else { "421 Wrong Host".to_owned() };
                    if head == "HANG" {
                        std::future::pending::<()>().await;
                    }
                    let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n");
                    let _ = socket.write_all(answer.as_bytes()).await;
                });
            }
        });
        Ok(port)
    }

    async fn ask(port: u16, path: &str) -> Result<Answer, String> {
        let target = ProbeTarget::new(Endpoint { host: "127.0.0.1".into(), port }, path);
        Ok(HttpProber::new()?.ask(&target, Duration::from_millis(500)).await)
    }

    #[tokio::test]
    async fn answers_are_told_apart() -> Result<(), Box<dyn std::error::Error>> {
        let port = server(&[
            ("/", "200 OK"),
            ("/broken", "500 Oops"),
            ("/login", "307 To\r\nlocation: http://localhost:PORT/"),
            ("/out", "302 To\r\nlocation: http://example.com/"),
            ("/loop", "302 To\r\nlocation: /loop"),
            ("/hang", "HANG"),
        ])
        .await?;
        assert_eq!(ask(port, "/").await?, Answer::Status(200));
        assert_eq!(ask(port, "/broken").await?, Answer::Status(500));
        assert_eq!(ask(port, "/login").await?, Answer::Status(200));
        assert_eq!(ask(port, "/out").await?, Answer::Status(302));
        assert_eq!(ask(port, "/loop").await?, Answer::Status(302));
        assert_eq!(ask(port, "/hang").await?, Answer::TooLate);
        let unused = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
        assert_eq!(ask(unused, "/").await?, Answer::NoServer);
        Ok(())
    }

    /// A server that keeps connections, for so many requests each, and tells how many it took.
    async fn keeping(requests: usize) -> Result<(u16, Arc<AtomicUsize>), std::io::Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, connections) = (listener.local_addr()?.port(), Arc::new(AtomicUsize::new(0)));
        let taken = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                taken.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 4096];
                    for _ in 0..requests {
                        if !matches!(socket.read(&mut buffer).await, Ok(1..)) {
                            return;
                        }
                        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nup").await;
                    }
                });
            }
        });
        Ok((port, connections))
    }

    #[tokio::test]
    async fn a_connection_is_kept_for_who_is_asked_often() -> Result<(), Box<dyn std::error::Error>> {
        // The last: a server that closes each connection after one answer, without a word.
        for (keep, requests, expected) in [(true, usize::MAX, 1), (false, usize::MAX, 3), (true, 1, 3)] {
            let (port, connections) = keeping(requests).await?;
            let endpoint = Endpoint { host: "127.0.0.1".into(), port };
            let target = ProbeTarget { keep, ..ProbeTarget::new(endpoint, "/") };
            let prober = HttpProber::new()?;
            for _ in 0..3 {
                assert_eq!(prober.ask(&target, Duration::from_secs(5)).await, Answer::Status(200));
            }
            assert_eq!(connections.load(Ordering::Relaxed), expected, "{keep} {requests}");
        }
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_swallows_the_greeting_of_tls_is_none() -> Result<(), Box<dyn std::error::Error>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = Endpoint { host: "127.0.0.1".into(), port: listener.local_addr()?.port() };
        let target = ProbeTarget { https: true, ..ProbeTarget::new(endpoint, "/") };
        assert_eq!(HttpProber::new()?.ask(&target, Duration::from_secs(60)).await, Answer::NoServer);
        Ok(())
    }

    #[tokio::test]
    async fn a_tool_is_asked_and_its_answer_bounded() -> Result<(), Box<dyn std::error::Error>> {
        let answers: [(&str, String, Result<Value, NoToolAnswer>); 4] = [
            ("200 OK", "data: {\"result\":{\"tools\":[]}}\n\n".into(), Ok(serde_json::json!({ "tools": [] }))),
            ("404 Not Found", String::new(), Err(NoToolAnswer::NotUnderstood)),
            ("302 Found\r\nlocation: /elsewhere", String::new(), Err(NoToolAnswer::NotUnderstood)),
            ("200 OK", "x".repeat(2 << 20), Err(NoToolAnswer::NotUnderstood)),
        ];
        for (head, body, expected) in answers {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let port = listener.local_addr()?.port();
            let served = tokio::spawn(async move {
                let Ok((mut socket, _)) = listener.accept().await else { return String::new() };
                let mut buffer = vec![0; 4096];
                let read = socket.read(&mut buffer).await.unwrap_or(0);
                let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                // Err: the rest is not read.
                _ = socket.write_all(answer.as_bytes()).await;
                String::from_utf8_lossy(&buffer[..read]).to_lowercase()
            });
            let target = ProbeTarget::new(Endpoint { host: "127.0.0.1".into(), port }, "/");
            let asked = HttpProber::new()?.ask_next(&target, NextTool::List, Duration::from_secs(5)).await;
            assert_eq!(asked, expected);
            let request = served.await?;
            assert!(request.starts_with("post /_next/mcp http/1.1"), "{request}");
            assert!(request.contains("accept: application/json, text/event-stream"), "{request}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_path_leads_nowhere_else() -> Result<(), Box<dyn std::error::Error>> {
        let other = server(&[("/x.js", "200 OK")]).await?;
        let here = server(&[("/", "200 OK")]).await?;
        for path in [format!("//127.0.0.1:{other}/x.js"), format!("/\\127.0.0.1:{other}/x.js")] {
            assert_eq!(ask(here, &path).await?, Answer::NoServer, "{path}");
        }
        Ok(())
    }
}
