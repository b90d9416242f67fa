//! Over real sockets, with one answer to everything.

use std::{fs, sync::Arc};

use axum::Router;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::rustls::ProtocolVersion;

use super::*;
use crate::{
    cli::client::Client,
    tls::{client::Roots, tests::self_signed},
};

/// A listener that answers 42, and its certificate.
struct Served {
    address: SocketAddr,
    files: TlsFiles,
    _folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = self_signed(folder.path(), "node");
        let listener = listener(&files).await;
        let address = listener.local_addr().expect("bound");
        let router = Router::new().fallback(|| async { "42" });
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it never ends") });
        Self { address, files, _folder: folder, task }
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    async fn answers(&self) {
        let client = client(&self.files, &self.url());
        assert_eq!(client.get::<u32>("/").await, Ok(42));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listener(files: &TlsFiles) -> TlsListener {
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    TlsListener::new(tcp, files.clone()).expect("a certificate with its key")
}

fn client(files: &TlsFiles, url: &str) -> Client {
    let roots = Roots::File(files.certificate.clone());
    Client::trusting(&roots, url, Some("secret".to_owned().into())).expect("a client")
}

#[tokio::test]
async fn who_trusts_the_certificate_is_answered_over_tls() {
    Served::start().await.answers().await;
}

#[tokio::test]
async fn an_untrusted_certificate_is_refused_before_the_key_is_sent() {
    let served = Served::start().await;
    let stranger = self_signed(served.files.certificate.parent().expect("a folder"), "stranger");
    let failure = client(&stranger, &served.url()).get::<u32>("/").await.expect_err("nobody vouches for it");
    assert_eq!((failure.code.as_str(), failure.detail), ("N-169", served.url()));
    assert!(failure.title.starts_with("the node's certificate is not trusted: "), "{}", failure.title);
    // By its address it is another host than the one in the certificate.
    let elsewhere = format!("https://localhost:{}", served.address.port());
    let failure = client(&served.files, &elsewhere).get::<u32>("/").await.expect_err("a certificate of 127.0.0.1");
    assert_eq!(failure.code, "N-169");
}

#[tokio::test]
async fn http_in_the_clear_is_answered_by_nothing_and_harms_nobody() {
    let served = Served::start().await;
    let mut stream = TcpStream::connect(served.address).await.expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: node\r\n\r\n").await.expect("it reads");
    let mut answer = Vec::new();
    // Closed, with or without a reset.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    served.answers().await;
}

/// More than there may be at a time, and none of them ends.
#[tokio::test]
async fn handshakes_that_never_end_hold_up_nobody() {
    let served = Served::start().await;
    let mut silent = Vec::new();
    for _ in 0..HANDSHAKES_MAX + 20 {
        silent.push(TcpStream::connect(served.address).await.expect("it listens"));
    }
    served.answers().await;
    // The oldest were cut for the others.
    let mut byte = [0];
    assert_eq!(silent[0].read(&mut byte).await.expect("it was closed"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_its_time_and_no_more() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut listener = listener(&self_signed(folder.path(), "node")).await;
    let mut silent = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
    let mut byte = [0];
    tokio::select! {
        _ = listener.accept() => panic!("no handshake ended"),
        closed = silent.read(&mut byte) => assert_eq!(closed.expect("it was closed"), 0),
    }
}

#[tokio::test]
async fn a_certificate_that_was_replaced_is_used_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (files, next) = (self_signed(folder.path(), "node"), self_signed(folder.path(), "next"));
    let mut listener = listener(&files).await;
    let first = listener.identity.clone();
    listener.renew().await;
    assert!(Arc::ptr_eq(&first.config, &listener.identity.config), "nothing changed");
    fs::write(&files.certificate, "half of a certif").expect("our own folder");
    listener.renew().await;
    assert!(Arc::ptr_eq(&first.config, &listener.identity.config), "the one that works stays");
    fs::copy(&next.certificate, &files.certificate).expect("our own folder");
    fs::copy(&next.key, &files.key).expect("our own folder");
    listener.renew().await;
    assert_eq!(listener.identity.chain, next.read().expect("a certificate with its key").chain);
}

#[tokio::test]
async fn both_ends_speak_the_newest_version_and_http_1_1() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = self_signed(folder.path(), "node");
    let mut listener = listener(&files).await;
    let url = format!("https://{}", listener.local_addr().expect("bound"));
    let asked = tokio::spawn(async move { client(&files, &url).get::<u32>("/").await });
    let (stream, _) = listener.accept().await;
    let (_, session) = stream.get_ref();
    assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(session.alpn_protocol(), Some(b"http/1.1".as_slice()));
    asked.abort();
}
