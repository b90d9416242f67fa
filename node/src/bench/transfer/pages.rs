//! The pages that are moved, and the keys of each hop. Both processes know the seed, so nothing has to be told.

use wallet::{
    chain::PageHashKey,
    digest::{Digest, sha256},
    grant::WalletAddress,
    page::{Dtype, StreamDescriptor},
    seal::pages::{DataKey, PageOpener, PageRoute, PageSealer},
    units::KeyEpoch,
};

use crate::{
    bench::{BenchFault, sessions::Chance, wrong},
    migration::hop::sealed_bytes,
};

/// What is moved: pages in the shape of Llama-3.2-1B in bfloat16.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// How many pages there are.
    pub(super) pages: u64,
}

impl Plan {
    /// Bytes of one page.
    pub(super) const PAGE_BYTES: usize = 512 << 10;

    /// As many pages as `mib` MiB have.
    pub(super) const fn new(seed: u64, mib: u64) -> Self {
        Self { seed, pages: (mib << 20) / Self::PAGE_BYTES as u64 }
    }

    /// Bytes of all pages.
    pub(super) const fn bytes(self) -> u64 {
        self.pages * Self::PAGE_BYTES as u64
    }

    /// Bytes of all pages once they are sealed.
    pub(super) fn sealed_bytes(self) -> Result<u64, BenchFault> {
        Ok(self.pages * sealed_bytes(&self.stream()).map_err(wrong)? as u64)
    }

    /// What the pages are.
    pub(super) fn stream(self) -> StreamDescriptor {
        StreamDescriptor {
            model: self.digest("model", 0),
            dtype: Dtype::Bf16,
            numerics: gpu::numerics_id(),
            layers: 16,
            kv_heads: 8,
            head_dim: 64,
            block: 16,
        }
    }

    /// The pages: random bytes, all of them different.
    pub(super) fn payloads(self) -> Vec<u8> {
        let mut bytes = vec![0; self.pages as usize * Self::PAGE_BYTES];
        let mut chance = Chance::new(self.seed, 0);
        bytes.as_chunks_mut().0.iter_mut().for_each(|word| *word = chance.number().to_le_bytes());
        bytes
    }

    /// What the final offer of a hop would be.
    pub(super) fn offer(self, hop: u64) -> Digest {
        self.digest("offer", hop)
    }

    /// The wallet's page-hash key.
    pub(super) fn hash_key(self) -> PageHashKey {
        PageHashKey::from_bytes(self.digest("page hash", 0).0)
    }

    /// The source's side of a hop.
    pub(super) fn sealer(self, hop: u64) -> PageSealer {
        PageSealer::new(self.route(), self.data_key(hop))
    }

    /// The receiver's side of a hop.
    pub(super) fn opener(self, hop: u64) -> PageOpener {
        PageOpener::new(self.route(), self.data_key(hop), self.hash_key())
    }

    fn route(self) -> PageRoute {
        PageRoute { wallet: WalletAddress(self.digest("wallet", 0)), epoch: KeyEpoch::new(1), stream: self.stream() }
    }

    /// Drawn anew for each hop.
    fn data_key(self, hop: u64) -> DataKey {
        DataKey::from_bytes(self.digest("data key", hop).0)
    }

    fn digest(self, of: &str, number: u64) -> Digest {
        sha256("batchmind/bench/transfer", &[of.as_bytes(), &self.seed.to_le_bytes(), &number.to_le_bytes()])
    }
}
