//! Three etcd nodes on the same disk, for comparison: plain puts over gRPC, of as many bytes as an entry has. Nobody
//! signs anything there, and the three trust each other.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Figures, LedgerArgs, member::wrong};
use crate::{
    bench::{BenchFault, streams::median},
    demo::setup::free_addresses,
};

const NODES: usize = 3;
/// Bytes of an entry of the bench.
const VALUE_BYTES: usize = 165;
/// Before anything counts.
const LEAD: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);
const CLIENTS: [(usize, &str); 4] = [
    (1, "etcd_puts_per_s_c1"),
    (16, "etcd_puts_per_s_c16"),
    (64, "etcd_puts_per_s_c64"),
    (256, "etcd_puts_per_s_c256"),
];

/// Measures etcd if the program is there; else says why its keys are missing.
pub(super) fn figures(figures: &mut Figures, dir: &Path, args: &LedgerArgs) -> Result<(), BenchFault> {
    let version = match Command::new("etcd").arg("--version").output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => {
            tracing::warn!("no etcd here (Debian: apt-get install etcd-server): its figures are left out");
            figures.set("etcd_missing", "no program etcd");
            return Ok(());
        }
    };
    figures.set("etcd_version", version.lines().next().unwrap_or_default().trim_start_matches("etcd Version: "));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let etcd = Etcd::start(dir)?;
    runtime.block_on(etcd.ready())?;
    for (clients, name) in CLIENTS {
        let mut rates = Vec::new();
        for _ in 0..args.rounds {
            rates.push(runtime.block_on(etcd.puts_per_s(clients, Duration::from_millis(args.ms)))?);
        }
        figures.set(name, median(&mut rates));
    }
    Ok(())
}

struct Etcd {
    _folder: TempDir,
    clients: Vec<SocketAddr>,
    children: Vec<Child>,
}

impl Etcd {
    fn start(dir: &Path) -> Result<Self, BenchFault> {
        let folder = tempfile::Builder::new().prefix("etcd-bench-").tempdir_in(dir)?;
        let addresses = free_addresses(2 * NODES).map_err(wrong)?;
        let (peers, clients) = addresses.split_at(NODES);
        let cluster: Vec<String> =
            peers.iter().enumerate().map(|(node, peer)| format!("etcd-{node}=http://{peer}")).collect();
        let mut etcd = Self { _folder: folder, clients: clients.to_vec(), children: Vec::new() };
        for node in 0..NODES {
            let place = etcd._folder.path().join(format!("etcd-{node}"));
            let log = fs::File::create(etcd._folder.path().join(format!("etcd-{node}.log")))?;
            let (peer, client) = (format!("http://{}", peers[node]), format!("http://{}", clients[node]));
            let child = Command::new("etcd")
                .args(["--name", &format!("etcd-{node}"), "--initial-cluster", &cluster.join(",")])
                .args(["--initial-advertise-peer-urls", &peer, "--listen-peer-urls", &peer])
                .args(["--advertise-client-urls", &client, "--listen-client-urls", &client])
                .arg("--data-dir")
                .arg(place)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()?;
            etcd.children.push(child);
        }
        Ok(etcd)
    }

    /// Waits until each takes a put.
    async fn ready(&self) -> Result<(), BenchFault> {
        let deadline = Instant::now() + PATIENCE;
        for address in &self.clients {
            loop {
                if let Ok(line) = connect(*address).await
                    && put(&line, *address, 0).await
                {
                    break;
                }
                if Instant::now() >= deadline {
                    return Err(wrong("etcd takes no puts"));
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// What `clients` clients, spread over the nodes, each with one put at a time, get done in a second.
    async fn puts_per_s(&self, clients: usize, counted: Duration) -> Result<f64, BenchFault> {
        let from = Instant::now() + LEAD;
        let until = from + counted;
        let (done, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        // As a client library does: one connection to each node, which all clients share.
        let mut lines = Vec::new();
        for address in &self.clients {
            lines.push(connect(*address).await?);
        }
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            let (line, address) = (lines[number % NODES].clone(), self.clients[number % NODES]);
            let (done, failed) = (done.clone(), failed.clone());
            tasks.spawn(async move {
                let mut key = (number as u64) << 32;
                while Instant::now() < until {
                    key += 1;
                    let is_done = put(&line, address, key).await;
                    let counter = if is_done { &done } else { &failed };
                    if (from..until).contains(&Instant::now()) {
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        tasks.join_all().await;
        let failed = failed.load(Ordering::Relaxed);
        if failed > 0 {
            return Err(wrong(format!("etcd refused {failed} puts")));
        }
        Ok(done.load(Ordering::Relaxed) as f64 / counted.as_secs_f64())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A connection, which many may use at once.
async fn connect(address: SocketAddr) -> Result<SendRequest<Bytes>, BenchFault> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (line, connection) = h2::client::handshake(stream).await.map_err(wrong)?;
    tokio::spawn(connection);
    Ok(line)
}

/// One put over gRPC; whether it was answered with a result.
async fn put(line: &SendRequest<Bytes>, address: SocketAddr, key: u64) -> bool {
    try_put(line, address, key).await.unwrap_or_default()
}

async fn try_put(line: &SendRequest<Bytes>, address: SocketAddr, key: u64) -> Result<bool, BenchFault> {
    let mut line = line.clone().ready().await.map_err(wrong)?;
    let request = http::Request::post(format!("http://{address}/etcdserverpb.KV/Put"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .map_err(wrong)?;
    let (response, mut body) = line.send_request(request, false).map_err(wrong)?;
    body.send_data(put_message(key).into(), true).map_err(wrong)?;
    let mut body = response.await.map_err(wrong)?.into_body();
    let mut received = 0;
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(wrong)?;
        received += chunk.len();
        body.flow_control().release_capacity(chunk.len()).map_err(wrong)?;
    }
    // An error comes without a message.
    Ok(received > 5)
}

/// A gRPC message with a `PutRequest`: key and value as fields 1 and 2.
fn put_message(key: u64) -> Vec<u8> {
    let mut put = vec![0x0a, 8];
    put.extend(key.to_be_bytes());
    put.push(0x12);
    // A length above 127 takes two bytes.
    put.extend([(VALUE_BYTES & 0x7f) as u8 | 0x80, (VALUE_BYTES >> 7) as u8]);
    put.extend([7; VALUE_BYTES]);
    let mut message = vec![0];
    message.extend((put.len() as u32).to_be_bytes());
    message.extend(put);
    message
}
