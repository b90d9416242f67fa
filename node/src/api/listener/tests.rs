//! Over real sockets, with one answer to everything.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use axum::Router;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, ProtocolVersion, RootCertStore, crypto::ring, pki_types::ServerName},
};

use super::*;
use crate::{
    api::connection::serve,
    cli::client::Client,
    tls::{
        client::Roots,
        tests::{authority, self_signed},
    },
};

/// A listener that answers 42, and its certificate.
struct Served {
    address: SocketAddr,
    files: TlsFiles,
    _folder: tempfile::TempDir,
    _task: JoinSet<()>,
    _stop: watch::Sender<bool>,
}

impl Served {
    async fn start() -> Self {
        Self::start_with(self_signed).await
    }

    async fn start_with(certificate: fn(&Path, &str) -> TlsFiles) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = certificate(folder.path(), "node");
        let listener = listener(&files).await;
        let address = listener.tcp.local_addr().expect("bound");
        let router = Router::new().fallback(|| async { "42" });
        let (mut task, stop) = (JoinSet::new(), watch::Sender::new(false));
        task.spawn(serve(listener, router, stop.subscribe()));
        Self { address, files, _folder: folder, _task: task, _stop: stop }
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    async fn answers(&self) {
        let client = client(&self.files, &self.url());
        assert_eq!(client.get::<u32>("/").await, Ok(42));
    }
}

async fn listener(files: &TlsFiles) -> TlsListener {
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    TlsListener::new(tcp, files.clone(), Places::new(4_096), Duration::from_secs(60))
        .expect("a certificate with its key")
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

/// As openssl makes them if nobody tells it otherwise.
#[tokio::test]
async fn an_authority_is_no_nodes_certificate_and_the_client_is_told_so() {
    let served = Served::start_with(authority).await;
    let failure = client(&served.files, &served.url()).get::<u32>("/").await.expect_err("an authority");
    assert_eq!(failure.code, "N-169");
    assert!(failure.title.ends_with("CaUsedAsEndEntity"), "{}", failure.title);
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

/// There are more than there may be at a time, and none of them ends.
#[tokio::test]
async fn handshakes_that_never_end_hold_up_nobody() {
    let served = Served::start().await;
    let mut silent = Vec::new();
    for _ in 0..HANDSHAKES_MAX + 20 {
        silent.push(TcpStream::connect(served.address).await.expect("it listens"));
    }
    served.answers().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_its_time_and_no_more() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut listener = listener(&self_signed(folder.path(), "node")).await;
    let mut silent = TcpStream::connect(listener.tcp.local_addr().expect("bound")).await.expect("it listens");
    let mut byte = [0];
    tokio::select! {
        _ = listener.accept() => panic!("no handshake ended"),
        closed = silent.read(&mut byte) => assert_eq!(closed.expect("it was closed"), 0),
    }
}

/// After one look at the files.
async fn renewed(listener: &mut TlsListener) {
    listener.look();
    let read = listener.reading.join_next().await.expect("it looks").expect("it ends");
    listener.renew(read);
}

#[tokio::test]
async fn a_certificate_that_was_replaced_is_used_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (files, next) = (self_signed(folder.path(), "node"), self_signed(folder.path(), "next"));
    let mut listener = listener(&files).await;
    let first = listener.identity.clone();
    renewed(&mut listener).await;
    assert!(Arc::ptr_eq(&first.config, &listener.identity.config), "nothing changed");
    fs::write(&files.certificate, "half of a certif").expect("our own folder");
    renewed(&mut listener).await;
    assert!(Arc::ptr_eq(&first.config, &listener.identity.config), "the one that works stays");
    fs::copy(&next.certificate, &files.certificate).expect("our own folder");
    fs::copy(&next.key, &files.key).expect("our own folder");
    renewed(&mut listener).await;
    assert_eq!(listener.identity.chain, next.read().expect("a certificate with its key").chain);
}

#[tokio::test]
async fn both_ends_speak_the_newest_version_and_http_1_1() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = self_signed(folder.path(), "node");
    let mut listener = listener(&files).await;
    let url = format!("https://{}", listener.tcp.local_addr().expect("bound"));
    let asked = tokio::spawn(async move { client(&files, &url).get::<u32>("/").await });
    let Connection { stream, .. } = listener.accept().await;
    let (_, session) = stream.get_ref();
    assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(session.alpn_protocol(), Some(b"http/1.1".as_slice()));
    asked.abort();
}

#[tokio::test(start_paused = true)]
async fn who_ends_its_handshake_and_then_says_nothing_is_cut() {
    let served = Served::start().await;
    let mut roots = RootCertStore::empty();
    for certificate in served.files.read().expect("a certificate with its key").chain {
        roots.add(certificate).expect("a certificate");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("ring knows both versions");
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let tcp = TcpStream::connect(served.address).await.expect("it listens");
    let name = ServerName::from(served.address.ip());
    let mut silent = TlsConnector::from(config).connect(name, tcp).await.expect("a handshake");
    let cut = timeout(Duration::from_secs(600), silent.read(&mut [0])).await.expect("it is cut");
    assert!(!matches!(cut, Ok(1..)), "nothing is said to it");
}

/// Silent connections, as if from `from`.
async fn silent(listener: &mut TlsListener, from: &str, count: usize) -> Vec<TcpStream> {
    let address = listener.tcp.local_addr().expect("bound");
    let mut silent = Vec::new();
    for _ in 0..count {
        silent.push(TcpStream::connect(address).await.expect("it listens"));
        let Connection { stream, place, .. } = accept(&mut listener.tcp, &listener.places, listener.stall).await;
        listener.begin(Connection { stream, from: SocketAddr::new(from.parse().expect("an address"), 9), place });
    }
    silent
}

#[tokio::test]
async fn who_begins_many_handshakes_cuts_its_own_and_then_those_of_who_has_the_most() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut listener = listener(&self_signed(folder.path(), "node")).await;
    let _honest = silent(&mut listener, "203.0.113.1", 1).await;
    let honest = listener.oldest_first[0].1.clone();
    let _one = silent(&mut listener, "203.0.113.2", OF_ONE_MAX * 2).await;
    assert_eq!(listener.oldest_first.len(), 1 + OF_ONE_MAX);
    let mut others = Vec::new();
    for other in 3..20 {
        others.push(silent(&mut listener, &format!("203.0.113.{other}"), OF_ONE_MAX).await);
    }
    assert_eq!(listener.oldest_first.len(), HANDSHAKES_MAX);
    assert!(!honest.is_finished(), "its handshake has its time");
}
