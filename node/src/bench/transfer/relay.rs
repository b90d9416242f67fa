//! A relay between the two processes that closes their connection after so many bytes from the source.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use crate::bench::BenchFault;

/// What is passed on at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// The relay; it ends with the process.
pub(super) struct Relay {
    address: SocketAddr,
    cut: Arc<Mutex<Option<Cut>>>,
}

/// A cut that is to come.
struct Cut {
    bytes_left: u64,
    done: Sender<()>,
}

impl Relay {
    /// Listens for the receiver, and connects it to the source at `to`.
    pub(super) fn start(to: SocketAddr) -> Result<Self, BenchFault> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, cut) = (listener.local_addr()?, Arc::new(Mutex::new(None)));
        let passes = cut.clone();
        thread::spawn(move || {
            for receiver in listener.incoming().flatten() {
                // Without a source the receiver's connection ends, and it tries again.
                let Ok(source) = TcpStream::connect(to) else { continue };
                let (Ok(from), Ok(back)) = (receiver.try_clone(), source.try_clone()) else { continue };
                let cut = passes.clone();
                thread::spawn(move || pass(source, receiver, Some(&cut)));
                thread::spawn(move || pass(from, back, None));
            }
        });
        Ok(Self { address, cut })
    }

    /// Where the receiver finds the source.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connection is closed once the source has sent so many bytes more. The result hears of it.
    pub(super) fn cut_after(&self, bytes: u64) -> Receiver<()> {
        let (done, heard) = channel();
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) = Some(Cut { bytes_left: bytes, done });
        heard
    }
}

/// Passes on what comes until either end or the cut closes.
fn pass(mut from: TcpStream, mut to: TcpStream, cut: Option<&Mutex<Option<Cut>>>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        if cut.is_some_and(|cut| is_cut(cut, count as u64)) || to.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
    // They may be closed already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Whether the connection is cut before these bytes are through.
fn is_cut(cut: &Mutex<Option<Cut>>, count: u64) -> bool {
    let mut cut = cut.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(waiting) = cut.as_mut() else { return false };
    waiting.bytes_left = waiting.bytes_left.saturating_sub(count);
    if waiting.bytes_left > 0 {
        return false;
    }
    if let Some(Cut { done, .. }) = cut.take() {
        // Nobody waits any more if the bench has failed.
        let _ = done.send(());
    }
    true
}
