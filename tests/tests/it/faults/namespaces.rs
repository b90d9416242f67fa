//! Each node in a network namespace of its own, and between them a switch with two halves.
//!
//! The namespaces live as long as processes that wait for the end of their input, so nothing is left of them when the
//! test's process ends, however it ends. HTTP stays on loopback inside; a relay carries it out.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    net::{Ipv4Addr, SocketAddr},
    os::fd::AsFd as _,
    process::{Child, Command, Stdio},
};

use node::demo::setup::{Launch, Place, Setup};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{NODES, partition::Network};

/// Inside a namespace every port is free.
const PEER_PORT: u16 = 7_700;

/// The namespaces.
pub struct Namespaces {
    hub: Space,
    nodes: Vec<Space>,
    stop: watch::Sender<bool>,
}

/// A process in a namespace of its own, which ends with its input.
struct Space(Child);

impl Namespaces {
    /// Makes the namespaces and joins them.
    ///
    /// # Errors
    /// What cannot be done here: programs of iproute2 and util-linux are needed, and the right to use them.
    pub fn open() -> Result<Self, String> {
        let hub = Space::open()?;
        let mut nodes = Vec::new();
        for half in ["br0", "br1"] {
            hub.run(&format!("link add {half} type bridge"))?;
            hub.run(&format!("link set {half} up"))?;
        }
        for (index, _) in NODES.iter().enumerate() {
            let node = Space::open()?;
            hub.run(&format!("link add port{index} type veth peer name eth0 netns {}", node.0.id()))?;
            hub.run(&format!("link set port{index} master br0 up"))?;
            node.run("link set lo up")?;
            node.run(&format!("addr add {}/24 dev eth0", address(index)))?;
            node.run("link set eth0 up")?;
            nodes.push(node);
        }
        Ok(Self { hub, nodes, stop: watch::Sender::new(false) })
    }

    /// The setup with places in the namespaces, and relays to their HTTP.
    pub fn setup(&self, mut setup: Setup) -> Setup {
        for (index, (space, place)) in self.nodes.iter().zip(&mut setup.places).enumerate() {
            let peers = SocketAddr::new(address(index).into(), PEER_PORT);
            *place = Place { announced: peers, listens: peers, api: place.api };
            let (namespace, stop) = (File::open(space.path()).expect("it lives"), self.stop.subscribe());
            let listener = std::net::TcpListener::bind(place.api).expect("it was free a moment ago");
            let api = place.api;
            std::thread::spawn(move || relay(&namespace, listener, api, stop));
        }
        setup
    }

    /// How a node is started in its namespace.
    pub fn launch(&self, node: &str) -> Launch {
        let index = NODES.iter().position(|name| *name == node).expect("a node");
        let through = vec!["nsenter".into(), format!("--net={}", self.nodes[index].path()).into(), "--".into()];
        Launch { through, variables: Vec::new() }
    }
}

impl Network for Namespaces {
    fn split(&self, groups: &[Vec<&'static str>]) {
        for (index, node) in NODES.iter().enumerate() {
            let half = groups.iter().position(|group| group.contains(node)).unwrap_or(0);
            assert!(half < 2, "the switch has two halves");
            self.hub.run(&format!("link set port{index} master br{half}")).expect("both are there");
        }
    }

    fn heal(&self) {
        self.split(&[NODES.to_vec()]);
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Space {
    fn open() -> Result<Self, String> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo inside; exec cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut space = Self(command.spawn().map_err(|error| format!("unshare: {error}"))?);
        let mut said = String::new();
        let answer = space.0.stdout.as_mut().map(|stdout| BufReader::new(stdout).read_line(&mut said));
        if matches!(answer, Some(Ok(_))) && said == "inside\n" {
            return Ok(space);
        }
        if let Some(stderr) = &mut space.0.stderr {
            // What cannot be read is not said.
            let _said = stderr.read_to_string(&mut said);
        }
        Err(said.trim().to_owned())
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    /// Runs `ip` inside.
    fn run(&self, arguments: &str) -> Result<(), String> {
        let output = Command::new("nsenter")
            .arg(format!("--net={}", self.path()))
            .arg("ip")
            .args(arguments.split(' '))
            .output()
            .map_err(|error| format!("nsenter: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

const fn address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 1 + index as u8)
}

/// Carries connections from `listener` outside to the same address inside, until told to stop.
fn relay(namespace: &File, listener: std::net::TcpListener, to: SocketAddr, mut stop: watch::Receiver<bool>) {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("nodes could enter, too");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let work = async {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (mut outside, _) = listener.accept().await?;
            tokio::spawn(async move {
                // This thread is inside, and so is every socket that it makes.
                if let Ok(mut inside) = TcpStream::connect(to).await {
                    // An error means that one side has closed.
                    let _closed = copy_bidirectional(&mut outside, &mut inside).await;
                }
            });
        }
    };
    runtime.block_on(async {
        tokio::select! {
            // An error means that the test has ended.
            _ = stop.wait_for(|stop| *stop) => {}
            ended = work => { let _: io::Result<()> = ended; }
        }
    });
}
