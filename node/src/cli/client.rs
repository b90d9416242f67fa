//! Calls to a running node's HTTP interface.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use reqwest::{Method, RequestBuilder, Response};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::Failure;
use crate::tls::client::{self as tls, Roots, Way};

/// Where the node is, and who vouches for it.
#[derive(Clone, Debug, Args)]
pub struct NodeArguments {
    /// The node's HTTP interface.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8001")]
    pub url: String,
    /// PEM certificates of the only authorities that may vouch for the node; without it, those that this machine
    /// trusts.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

impl NodeArguments {
    /// Whose word is believed for who a node is.
    pub fn roots(&self) -> Roots {
        self.ca_file.clone().map_or(Roots::System, Roots::File)
    }
}

/// Where the node is and who is asking.
#[derive(Clone, Debug, Args)]
pub struct ClientArguments {
    #[command(flatten)]
    node: NodeArguments,
    /// A file that holds the API key. It is not taken from the command line, where other users could read it.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

impl ClientArguments {
    /// The API key, if a file is named.
    ///
    /// # Errors
    /// N-150 if it cannot be read.
    pub fn api_key(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        let read = |file: &PathBuf| {
            let text = fs::read_to_string(file).map(Zeroizing::new);
            let text = text.map_err(|error| Failure::new("N-150", error, file.display()))?;
            Ok(Zeroizing::new(text.trim_end().to_owned()))
        };
        self.api_key_file.as_ref().map(read).transpose()
    }
}

/// A client of one node.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    api_key: Option<Zeroizing<String>>,
}

/// A refusal has no more bytes: who is asked need not be honest.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// Why the node refused, as it said it (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    code: String,
    title: String,
    #[serde(default)]
    detail: String,
}

impl Problem {
    /// Reads what `response` says; none if it is no problem, too long, or breaks off.
    async fn read(mut response: Response) -> Option<Self> {
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.ok()? {
            if bytes.len() + piece.len() > PROBLEM_BYTES_MAX {
                return None;
            }
            bytes.extend_from_slice(&piece);
        }
        serde_json::from_slice(&bytes).ok()
    }
}

impl From<Problem> for Failure {
    fn from(Problem { code, title, detail }: Problem) -> Self {
        Self::new(shown(&code), shown(&title), shown(&detail))
    }
}

/// Without what a terminal or a log would not show as it is.
fn shown(text: &str) -> String {
    let escaped = |letter: char| match letter {
        '"' | '\'' | '\\' => letter.to_string(),
        other => other.escape_debug().to_string(),
    };
    text.chars().map(escaped).collect()
}

impl Client {
    /// A client as the command line describes it.
    ///
    /// # Errors
    /// N-150 if the API key cannot be read, and those of [`Self::trusting`].
    pub fn open(arguments: &ClientArguments) -> Result<Self, Failure> {
        Self::trusting(&arguments.node.roots(), &arguments.node.url, arguments.api_key()?)
    }

    /// A client of the node at `url` (scheme, host and port) with an API key, which believes whom this machine
    /// believes.
    ///
    /// # Errors
    /// Those of [`Self::trusting`].
    pub fn new(url: &str, api_key: Option<Zeroizing<String>>) -> Result<Self, Failure> {
        Self::trusting(&Roots::System, url, api_key)
    }

    /// A client of the node at `url` with an API key. Who it is, it is believed by the word of `roots`.
    ///
    /// # Errors
    /// N-150 and N-173 if there are no roots, N-172 if the key would cross a network in the clear, N-160 if no client
    /// can be made.
    pub fn trusting(roots: &Roots, url: &str, api_key: Option<Zeroizing<String>>) -> Result<Self, Failure> {
        match api_key {
            Some(_) => Ok(Self { api_key, ..Self::private(roots, url)? }),
            None => Self::at(roots, url),
        }
    }

    /// A client of the node at `url` for what nobody else may read, without an API key.
    ///
    /// # Errors
    /// Those of [`Self::trusting`].
    pub fn private(roots: &Roots, url: &str) -> Result<Self, Failure> {
        if Way::of(url) == Way::Clear {
            let reason = "API keys and ledgers go over https://, or to and from a loopback address alone";
            return Err(Failure::new("N-172", reason, url.trim_end_matches('/')));
        }
        Self::at(roots, url)
    }

    fn at(roots: &Roots, url: &str) -> Result<Self, Failure> {
        let base = url.trim_end_matches('/').to_owned();
        let builder = match Way::of(&base) {
            Way::Tls => tls::trusting(roots).map_err(|fault| Failure::new(fault.code(), &fault, &base))?,
            Way::Loopback | Way::Clear => tls::plain(),
        };
        // A redirect to another operator must not take the key along unseen.
        let http = builder.redirect(reqwest::redirect::Policy::none()).build();
        let http = http.map_err(|error| unreachable(&base, &error))?;
        Ok(Self { http, base, api_key: None })
    }

    /// A client of the node that listens on the Unix socket `path`. Who may open the socket needs no key.
    ///
    /// # Errors
    /// N-160 if no client can be made.
    pub fn over_socket(path: &Path) -> Result<Self, Failure> {
        // The name stands in for a host, which a socket has none of.
        let base = "http://node".to_owned();
        let http = tls::plain().unix_socket(path).build();
        let http = http.map_err(|error| unreachable(&path.display().to_string(), &error))?;
        Ok(Self { http, base, api_key: None })
    }

    /// GET `path` (with a leading slash), and its JSON.
    ///
    /// # Errors
    /// The node's problem, or N-160, N-161 and N-169 where there is none.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(self.request(Method::GET, path)).await
    }

    /// POST `body` as JSON to `path`, and the JSON of its answer.
    ///
    /// # Errors
    /// The node's problem, or N-160, N-161 and N-169 where there is none.
    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, Failure> {
        self.ask(self.request(Method::POST, path).json(body)).await
    }

    /// Sends a request, and the JSON of its answer.
    ///
    /// # Errors
    /// The node's problem, or N-160, N-161 and N-169 where there is none.
    pub async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let response = self.send(request).await?;
        self.json(response).await
    }

    /// GET `path` as bytes, such as a proof bundle.
    ///
    /// # Errors
    /// The node's problem, or N-160, N-161 and N-169 where there is none.
    pub async fn bytes(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let response = self.send(self.request(Method::GET, path)).await?;
        let bytes = response.bytes().await.map_err(|error| unreachable(&self.base, &error))?;
        Ok(bytes.to_vec())
    }

    /// A request with the API key, for callers that add headers or read a stream.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.api_key {
            Some(key) => request.bearer_auth(key.as_str()),
            None => request,
        }
    }

    /// Sends a request; an answer that is no success becomes the node's problem.
    ///
    /// # Errors
    /// The node's problem, or N-160, N-161 and N-169 where there is none.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| unreachable(&self.base, &error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let place = response.url().to_string();
        Err(match Problem::read(response).await {
            Some(problem) => problem.into(),
            None => Failure::new("N-161", format!("the node answered {status} without saying why"), place),
        })
    }

    async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let place = response.url().to_string();
        response.json().await.map_err(|error| {
            let error = error.without_url();
            Failure::new("N-161", format!("the node's answer is not what was asked for: {error}"), place)
        })
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base).field("api_key", &self.api_key.is_some()).finish()
    }
}

fn unreachable(base: &str, error: &reqwest::Error) -> Failure {
    if let Some(reason) = tls::distrust(error) {
        return Failure::new("N-169", format!("the node's certificate is not trusted: {reason}"), base);
    }
    let cause = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source()).last();
    let cause = cause.map_or_else(String::new, ToString::to_string);
    Failure::new("N-160", format!("the node cannot be reached: {cause}"), base)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    /// Answers one request with `response` and returns what was asked.
    async fn serve_once(response: impl Into<String>) -> (Client, tokio::task::JoinHandle<String>) {
        let response = response.into();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut request).await.expect("a request"), 0, "the request is whole");
            }
            // It need not listen to the end.
            let _ = stream.write_all(response.as_bytes()).await;
            String::from_utf8(request).expect("a text")
        });
        (Client::new(&url, Some(Zeroizing::new("secret-key".to_owned()))).expect("a client"), served)
    }

    #[tokio::test]
    async fn a_call_carries_the_key_and_reads_json() {
        let (client, served) =
            serve_once("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n42").await;
        assert_eq!(client.get::<u32>("/ledger/v1/height").await, Ok(42));
        let request = served.await.expect("served").to_lowercase();
        assert!(request.starts_with("get /ledger/v1/height http/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: bearer secret-key\r\n"), "{request}");
        assert!(!format!("{client:?}").contains("secret-key"));
    }

    /// In the child of the next test: the way to the node.
    const PROXIED: &str = "BATCHMIND_TEST_PROXIED";

    /// The environment is the process's own, so another one asks, which is told of a proxy that is not there.
    #[tokio::test]
    async fn what_goes_to_loopback_goes_by_no_proxy() {
        if std::env::var_os(PROXIED).is_some() {
            let (client, _served) = serve_once("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n42").await;
            assert_eq!(client.get::<u32>("/").await, Ok(42));
            return;
        }
        let mut child = std::process::Command::new(std::env::current_exe().expect("this test's program"));
        for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            child.env(name, "http://127.0.0.1:9");
        }
        child.env_remove("no_proxy").env_remove("NO_PROXY").env(PROXIED, "yes");
        let name = "cli::client::tests::what_goes_to_loopback_goes_by_no_proxy";
        let output = child.args(["--exact", name]).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn a_key_crosses_no_network_in_the_clear() {
        let key = || Some(Zeroizing::new("secret-key".to_owned()));
        for url in
            ["http://203.0.113.7:8001", "http://node.example", "http://localhost.example", "http://[2001:db8::1]:1"]
        {
            let failure = Client::new(url, key()).expect_err("it would be read");
            assert_eq!((failure.code.as_str(), failure.detail.as_str()), ("N-172", url));
            Client::new(url, None).expect("there is nothing to read");
        }
        for url in ["http://127.0.0.1:8001", "http://localhost:8001", "http://[::1]:8001"] {
            Client::new(url, key()).expect("nobody stands in between");
        }
    }

    #[tokio::test]
    async fn a_problem_keeps_its_code() {
        let (client, _served) = serve_once(concat!(
            "HTTP/1.1 409 Conflict\r\ncontent-length: 71\r\ncontent-type: application/problem+json\r\n\r\n",
            r#"{"code":"W-104","title":"the head is older","detail":"x","retry":false}"#
        ))
        .await;
        let failure = client.get::<u32>("/").await.expect_err("refused");
        assert_eq!(failure, Failure::new("W-104", "the head is older", "x"));
    }

    #[tokio::test]
    async fn a_problem_is_bounded_and_shows_no_control_characters() {
        let refused = async |detail: &str| {
            let body = format!(r#"{{"code":"W-104","title":"a \"quoted\" title","detail":"{detail}"}}"#);
            let length = body.len();
            let (client, _served) =
                serve_once(format!("HTTP/1.1 409 Conflict\r\ncontent-length: {length}\r\n\r\n{body}")).await;
            client.get::<u32>("/").await.expect_err("refused")
        };
        let failure = refused(r"\u001b[2J\nü").await;
        assert_eq!(failure, Failure::new("W-104", "a \"quoted\" title", r"\u{1b}[2J\nü"));
        assert_eq!(refused(&"x".repeat(PROBLEM_BYTES_MAX)).await.code, "N-161");
    }

    #[tokio::test]
    async fn an_answer_without_a_problem_and_a_node_that_is_not_there_have_codes_too() {
        let (client, _served) = serve_once("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await;
        let failure = client.get::<u32>("/").await.expect_err("no success");
        assert_eq!(failure.code, "N-161");
        let gone = Client::new("http://127.0.0.1:9", None).expect("a client");
        let failure = gone.get::<u32>("/").await.expect_err("nobody listens");
        assert_eq!((failure.code.as_str(), failure.detail.as_str()), ("N-160", "http://127.0.0.1:9"));
    }
}
