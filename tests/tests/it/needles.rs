//! Many byte strings, looked for in one pass.

use std::collections::{BTreeMap, BTreeSet};

use wallet::digest::to_hex;

/// What must not be found.
#[derive(Debug, Default)]
pub struct Needles {
    needles: Vec<(String, Vec<u8>)>,
    /// Which needles begin with these two bytes.
    by_start: BTreeMap<[u8; 2], Vec<usize>>,
}

impl Needles {
    /// A secret of 32 bytes: as bytes, and as hexadecimal digits of both cases.
    pub fn add_secret(&mut self, name: &str, secret: &[u8; 32]) {
        let digits = to_hex(secret);
        self.add(format!("{name}, bytes"), secret.to_vec());
        self.add(format!("{name}, digits"), digits.to_uppercase().into_bytes());
        self.add(format!("{name}, digits"), digits.into_bytes());
    }

    /// A text.
    pub fn add_text(&mut self, name: &str, text: &str) {
        self.add(format!("{name}, text"), text.as_bytes().to_vec());
    }

    /// A sequence of token ids: as little-endian numbers of 32 and of 64 bits, and as Rust and JSON print lists.
    pub fn add_ids(&mut self, name: &str, ids: &[u32]) {
        let listed = |separator: &str| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(separator).into_bytes();
        self.add(format!("{name}, ids"), ids.iter().flat_map(|id| id.to_le_bytes()).collect());
        self.add(format!("{name}, wide ids"), ids.iter().flat_map(|id| u64::from(*id).to_le_bytes()).collect());
        self.add(format!("{name}, listed ids"), listed(", "));
        self.add(format!("{name}, listed ids"), listed(","));
    }

    /// How many byte strings are looked for.
    pub fn len(&self) -> usize {
        self.needles.len()
    }

    /// How many different things they are.
    pub fn names(&self) -> usize {
        self.needles
            .iter()
            .map(|(name, _)| name.rsplit_once(',').map_or("", |(name, _)| name))
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// The first that stands in `bytes`, by name.
    pub fn found_in(&self, bytes: &[u8]) -> Option<&str> {
        let mut starts = vec![false; 1 << 16];
        self.by_start.keys().for_each(|start| starts[usize::from(u16::from_le_bytes(*start))] = true);
        for at in 0..bytes.len().saturating_sub(1) {
            let start = [bytes[at], bytes[at + 1]];
            if !starts[usize::from(u16::from_le_bytes(start))] {
                continue;
            }
            let candidates = self.by_start[&start].iter().map(|i| &self.needles[*i]);
            for (name, needle) in candidates {
                if bytes[at..].starts_with(needle) {
                    return Some(name);
                }
            }
        }
        None
    }

    fn add(&mut self, name: String, needle: Vec<u8>) {
        assert!(needle.len() >= 12, "{name} is too short to mean anything");
        self.by_start.entry([needle[0], needle[1]]).or_default().push(self.needles.len());
        self.needles.push((name, needle));
    }
}
