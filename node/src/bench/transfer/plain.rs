//! The limits: the same pages over plain TCP, sealed or not, with one thread at each end and nothing else.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::pages::Plan;
use crate::bench::{BenchFault, wrong};

const TAG_BYTES: usize = 16;

/// Sends all pages, sealed one after the other if they are to be.
pub(super) fn send(payloads: &[u8], to: SocketAddr, sealed: bool) -> Result<(), BenchFault> {
    let mut stream = TcpStream::connect(to)?;
    let cipher = cipher()?;
    let mut buffer = Vec::with_capacity(Plan::PAGE_BYTES + TAG_BYTES);
    for (payload, number) in payloads.chunks_exact(Plan::PAGE_BYTES).zip(0..) {
        if !sealed {
            stream.write_all(payload)?;
            continue;
        }
        buffer.clear();
        buffer.extend_from_slice(payload);
        cipher.seal_in_place_append_tag(nonce(number), Aad::empty(), &mut buffer).map_err(wrong)?;
        stream.write_all(&buffer)?;
    }
    Ok(())
}

/// Reads all pages of one connection; if they are sealed it opens each and computes its BLAKE3.
pub(super) fn receive(plan: Plan, listener: &TcpListener, sealed: bool) -> Result<(), BenchFault> {
    let (mut stream, _) = listener.accept()?;
    let cipher = cipher()?;
    let mut buffer = vec![0; Plan::PAGE_BYTES + if sealed { TAG_BYTES } else { 0 }];
    for number in 0..plan.pages {
        stream.read_exact(&mut buffer)?;
        if sealed {
            let opened = cipher.open_in_place(nonce(number), Aad::empty(), &mut buffer).map_err(wrong)?;
            std::hint::black_box(blake3::hash(opened));
        }
    }
    Ok(())
}

/// A key of the bench and of nothing else: the same pages are sealed under it again and again.
fn cipher() -> Result<LessSafeKey, BenchFault> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(wrong)?))
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}
