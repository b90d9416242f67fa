//! A proxy before each node's peer port, which asks the system who dials and holds back what may not pass.
//!
//! What is held back is not lost: it arrives when the network heals, as TCP would send it again.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use node::demo::setup::{Place, Setup, free_addresses};

use super::{NODES, partition::Network};

type Groups = Vec<Vec<&'static str>>;

/// Which groups hear each other. Without groups all do.
#[derive(Default)]
struct Weather {
    groups: Mutex<Groups>,
    changed: Condvar,
}

/// The proxies.
#[derive(Default)]
pub struct Proxies(Arc<Weather>);

impl Proxies {
    /// Opens a proxy for each place of `setup`, and gives the setup with the proxies' addresses in genesis.
    pub fn setup(&self, mut setup: Setup) -> Setup {
        let addresses = free_addresses(NODES.len()).expect("free ports");
        for ((node, place), address) in NODES.into_iter().zip(&mut setup.places).zip(addresses) {
            let listener = TcpListener::bind(address).expect("it was free a moment ago");
            let Place { listens, .. } = *place;
            place.announced = address;
            let weather = self.0.clone();
            std::thread::spawn(move || serve(&listener, listens, node, &weather));
        }
        setup
    }

    fn set(&self, groups: &[Vec<&'static str>]) {
        *self.0.groups.lock().unwrap_or_else(PoisonError::into_inner) = groups.to_vec();
        self.0.changed.notify_all();
    }
}

impl Network for Proxies {
    fn split(&self, groups: &[Vec<&'static str>]) {
        self.set(groups);
    }

    fn heal(&self) {
        self.set(&[]);
    }
}

impl Weather {
    /// Returns when the two nodes hear each other.
    fn wait(&self, one: &str, other: &str) {
        let apart = |groups: &mut Groups| {
            !groups.is_empty() && !groups.iter().any(|group| group.contains(&one) && group.contains(&other))
        };
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(groups, apart).unwrap_or_else(PoisonError::into_inner));
    }
}

/// Threads of a proxy live as long as the test's process: they hold nothing but sockets.
fn serve(listener: &TcpListener, to: SocketAddr, callee: &'static str, weather: &Arc<Weather>) {
    for incoming in listener.incoming().flatten() {
        let Some(caller) = caller(&incoming) else { continue };
        let Ok(outgoing) = TcpStream::connect(to) else { continue };
        for (from, to) in [(&incoming, &outgoing), (&outgoing, &incoming)] {
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
            let weather = weather.clone();
            std::thread::spawn(move || pump(from, to, || weather.wait(caller, callee)));
        }
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, wait: impl Fn()) {
    let mut bytes = [0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).unwrap_or(0);
        wait();
        if read == 0 || to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    // An error means that it is closed already.
    let _closed = to.shutdown(std::net::Shutdown::Both);
    let _closed = from.shutdown(std::net::Shutdown::Both);
}

/// The node whose process holds the other end.
fn caller(stream: &TcpStream) -> Option<&'static str> {
    let (theirs, ours) = (stream.peer_addr().ok()?, stream.local_addr().ok()?);
    let inode = format!("socket:[{}]", inode_of(theirs, ours)?);
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    processes.filter(|process| holds(process, &inode)).find_map(|process| {
        let arguments = fs::read_to_string(process.join("cmdline")).ok()?;
        NODES.into_iter().find(|node| arguments.contains(&format!("/{node}.toml")))
    })
}

/// The number of the socket that is bound to `local` and connected to `remote`.
fn inode_of(local: SocketAddr, remote: SocketAddr) -> Option<String> {
    let (local, remote) = (in_table(local)?, in_table(remote)?);
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1) == Some(&local.as_str()) && fields.get(2) == Some(&remote.as_str()))
            .then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })
}

/// An address as `/proc/net/tcp` has it: the number as it lies in memory.
fn in_table(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()))
}

fn holds(process: &std::path::Path, inode: &str) -> bool {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let names: BTreeSet<_> = files.filter_map(|file| fs::read_link(file.path()).ok()).collect();
    names.contains(std::path::Path::new(inode))
}

#[test]
fn a_proxy_knows_who_dials() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("its port")).expect("it listens");
    let (stream, _) = listener.accept().expect("it was dialled");
    let (theirs, ours) = (stream.peer_addr().expect("connected"), stream.local_addr().expect("connected"));
    let inode = inode_of(theirs, ours).expect("the table has it");
    assert!(holds(std::path::Path::new("/proc/self"), &format!("socket:[{inode}]")));
    assert_eq!(caller(&stream), None, "this process is no node");
    drop(client);
}
