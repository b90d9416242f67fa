//! Safetensors files, read once from front to back, so that the hash covers exactly the bytes that are used.
//!
//! They are read and not mapped: a mapped file that another process truncates ends this one with SIGBUS.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata};
use serde::Deserialize;

use super::fault::ModelFault;

const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";
/// The most that a small file (JSON, or a safetensors header) may have.
const TEXT_BYTES_MAX: u64 = 100 << 20;

/// The tensors of a checkpoint that nobody has taken yet.
pub(super) struct Checkpoint {
    tensors: HashMap<String, Tensor>,
}

struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Checkpoint {
    /// Reads `model.safetensors`, or the files that `model.safetensors.index.json` names, and adds them to `hash`.
    pub(super) fn read(folder: &Path, hash: &mut ContentHash) -> Result<Self, ModelFault> {
        let index = folder.join(INDEX_FILE);
        let files = if index.exists() { shards(&index)? } else { BTreeSet::from([SINGLE_FILE.to_owned()]) };
        let mut tensors = HashMap::new();
        for file in files {
            read_file(&folder.join(&file), &file, hash, &mut tensors)?;
        }
        Ok(Self { tensors })
    }

    /// Takes a tensor out, as bfloat16 bits, rounded to nearest even if the file has more.
    pub(super) fn take_bf16(&mut self, name: &str, shape: &[usize]) -> Result<Vec<u16>, ModelFault> {
        let tensor = self.take(name, shape)?;
        if tensor.dtype == Dtype::BF16 {
            let (pairs, _) = tensor.bytes.as_chunks::<2>();
            return Ok(pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect());
        }
        Ok(tensor.widen(name)?.iter().map(|value| bf16::from_f32(*value).to_bits()).collect())
    }

    /// Takes a tensor out, as it is.
    pub(super) fn take_f32(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelFault> {
        self.take(name, shape)?.widen(name)
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelFault> {
        let tensor = self.tensors.remove(name).ok_or_else(|| broken(name, "is missing"))?;
        if tensor.shape != shape {
            return Err(broken(name, format!("has shape {:?}, the configuration asks for {shape:?}", tensor.shape)));
        }
        Ok(tensor)
    }
}

impl Tensor {
    fn widen(&self, name: &str) -> Result<Vec<f32>, ModelFault> {
        let (pairs, _) = self.bytes.as_chunks::<2>();
        match self.dtype {
            Dtype::BF16 => Ok(pairs.iter().map(|pair| bf16::from_le_bytes(*pair).to_f32()).collect()),
            Dtype::F16 => Ok(pairs.iter().map(|pair| f16::from_le_bytes(*pair).to_f32()).collect()),
            Dtype::F32 => {
                let (words, _) = self.bytes.as_chunks::<4>();
                Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
            }
            other => Err(broken(name, format!("has dtype {other:?}; f32, f16 and bf16 are known"))),
        }
    }
}

/// BLAKE3 over named, length-prefixed files.
pub(super) struct ContentHash(blake3::Hasher);

impl ContentHash {
    pub(super) fn new(domain: &str) -> Self {
        let mut hash = Self(blake3::Hasher::new());
        hash.part(domain.as_bytes());
        hash
    }

    /// Adds a file that was read whole.
    pub(super) fn file(&mut self, name: &str, bytes: &[u8]) {
        self.part(name.as_bytes());
        self.part(bytes);
    }

    pub(super) fn finish(self) -> wallet::digest::Digest {
        wallet::digest::Digest(self.0.finalize().into())
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

/// Reads a whole file of limited size.
pub(crate) fn read_small(path: &Path) -> Result<Vec<u8>, ModelFault> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|source| unreadable(path, source))?;
    file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|source| unreadable(path, source))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(malformed(path, format!("more than {TEXT_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files that an index names. Plain names only: an index must not reach out of its folder.
fn shards(path: &Path) -> Result<BTreeSet<String>, ModelFault> {
    let index: Index =
        serde_json::from_slice(&read_small(path)?).map_err(|error| malformed(path, error.to_string()))?;
    let files: BTreeSet<String> = index.weight_map.into_values().collect();
    if let Some(bad) = files.iter().find(|name| Path::new(name).file_name().is_none_or(|file| file != name.as_str())) {
        return Err(malformed(path, format!("{bad:?} is not the name of a file in this folder")));
    }
    Ok(files)
}

fn read_file(
    path: &Path,
    name: &str,
    hash: &mut ContentHash,
    tensors: &mut HashMap<String, Tensor>,
) -> Result<(), ModelFault> {
    let io = |source| unreadable(path, source);
    let mut file = File::open(path).map_err(io)?;
    let total = file.metadata().map_err(io)?.len();
    hash.part(name.as_bytes());
    hash.0.update(&total.to_le_bytes());

    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(io)?;
    hash.0.update(&length);
    let length = u64::from_le_bytes(length);
    if length > TEXT_BYTES_MAX.min(total) {
        return Err(malformed(path, format!("a header of {length} bytes")));
    }
    let header = read_part(&mut file, length, hash).map_err(io)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| malformed(path, error.to_string()))?;
    let data = metadata.data_len() as u64;
    if data.checked_add(8 + length) != Some(total) {
        return Err(malformed(path, format!("{total} bytes, but its header describes 8 + {length} + {data}")));
    }
    // Metadata is only valid if the tensors follow each other without gaps.
    for tensor in metadata.offset_keys() {
        let info = metadata.info(&tensor).ok_or_else(|| malformed(path, "header without its own tensor"))?;
        let (start, end) = info.data_offsets;
        let bytes = read_part(&mut file, (end - start) as u64, hash).map_err(io)?;
        let entry = Tensor { dtype: info.dtype, shape: info.shape.clone(), bytes };
        if tensors.insert(tensor.clone(), entry).is_some() {
            return Err(broken(&tensor, "stands in two files"));
        }
    }
    Ok(())
}

fn read_part(file: &mut File, length: u64, hash: &mut ContentHash) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file.take(length).read_to_end(&mut bytes)? as u64 != length {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    hash.0.update(&bytes);
    Ok(bytes)
}

fn unreadable(path: &Path, source: std::io::Error) -> ModelFault {
    ModelFault::File { path: PathBuf::from(path), source }
}

fn malformed(path: &Path, reason: impl Into<String>) -> ModelFault {
    ModelFault::Malformed { path: PathBuf::from(path), reason: reason.into() }
}

fn broken(tensor: &str, reason: impl Into<String>) -> ModelFault {
    ModelFault::Tensor { tensor: tensor.to_owned(), reason: reason.into() }
}
