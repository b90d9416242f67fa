//! Every decoder stands damaged and random input: it does not panic, and what it takes encodes to the same bytes.
//!
//! The inputs follow from a seed, which a failure prints. To repeat one: `BATCHMIND_SEED=4711 scripts/test decoders`.
//! `scripts/fuzz` searches the same decoders with coverage.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tests::decoder::{DECODERS, Decoder};

/// Inputs for each decoder.
const INPUTS: u32 = 2_000;
const SEED: u64 = 20_261_121;
const RANDOM_BYTES_MAX: usize = 512;

#[test]
fn a_decoder_takes_its_own_samples() {
    for decoder in &DECODERS {
        let samples = (decoder.samples)();
        assert!(!samples.is_empty(), "{} has no sample", decoder.name);
        for (i, sample) in samples.iter().enumerate() {
            assert!((decoder.read)(sample), "{} does not take its sample {i}", decoder.name);
        }
    }
}

#[test]
fn each_decoder_has_a_row_in_the_table_of_fuzz_targets() {
    let page = include_str!("../../../docs/testing.md");
    for Decoder { name, .. } in &DECODERS {
        assert!(page.contains(&format!("`{name}`")), "docs/testing.md does not name {name}");
    }
}

#[test]
fn no_input_makes_a_decoder_panic_or_encode_otherwise() {
    let seed = std::env::var("BATCHMIND_SEED").map_or(SEED, |seed| seed.parse().expect("a number"));
    println!("seed {seed}");
    for (decoder, salt) in DECODERS.iter().zip(1..) {
        let mut inputs = Inputs { random: SplitMix(seed ^ salt), samples: (decoder.samples)() };
        let taken = (0..INPUTS).filter(|number| stands(decoder, &inputs.next(), seed, *number)).count();
        println!("{}: {taken} of {INPUTS} inputs were taken", decoder.name);
    }
}

fn stands(decoder: &Decoder, input: &[u8], seed: u64, number: u32) -> bool {
    catch_unwind(AssertUnwindSafe(|| (decoder.read)(input))).unwrap_or_else(|_| {
        let input = wallet::digest::to_hex(&input[..input.len().min(2_048)]);
        panic!("{} fails on input {number} of seed {seed}: {input}", decoder.name)
    })
}

/// Random bytes, and samples with one to four damages.
struct Inputs {
    random: SplitMix,
    samples: Vec<Vec<u8>>,
}

impl Inputs {
    fn next(&mut self) -> Vec<u8> {
        if self.random.below(8) == 0 {
            let count = self.random.below(RANDOM_BYTES_MAX);
            return (0..count).map(|_| self.random.byte()).collect();
        }
        let mut input = self.sample();
        for _ in 0..=self.random.below(4) {
            self.damage(&mut input);
        }
        input
    }

    fn sample(&mut self) -> Vec<u8> {
        self.samples[self.random.below(self.samples.len())].clone()
    }

    fn damage(&mut self, input: &mut Vec<u8>) {
        let random = &mut self.random;
        let at = random.below(input.len() + 1);
        let end = (at + random.below(16)).min(input.len());
        match random.below(8) {
            0 => input.truncate(at),
            1 => input.push(random.byte()),
            2 => drop(input.drain(at..end)),
            3 => {
                let copied = input[at..end].to_vec();
                input.splice(at..at, copied);
            }
            4 => {
                let other = self.sample();
                input.truncate(at);
                input.extend_from_slice(other.get(at..).unwrap_or_default());
            }
            // Where it meets a length, the length is absurd.
            5 if at + 8 <= input.len() => {
                let number = [0, 1, u64::MAX, 1 << 32, 1 << 62][random.below(5)];
                input[at..at + 8].copy_from_slice(&number.to_le_bytes());
            }
            6 if at < input.len() => input[at] = random.byte(),
            _ if at < input.len() => input[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
}

/// Sebastiano Vigna's splitmix64: a small generator whose whole state is the seed.
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}
