//! The kernels, on whatever vector instructions the machine has. The module above says what they compute.

// Functions compiled for an instruction set may only be called where it is there; `Cpu` checks that once.
#![allow(unsafe_code)]

use super::{
    CHUNK,
    elementary::{exp, silu},
    lanes::{Lanes, Portable},
    packed::{PANEL, PackedMatrix, PanelRow},
};
use crate::BLOCK_TOKENS;

/// Rows whose scores are kept at a time.
const ROW_TILE: usize = 16;

/// The kernels in the fastest form that the machine can run.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    set: InstructionSet,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum InstructionSet {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

/// One layer's attention of consecutive rows of one sequence.
pub(crate) struct Attention<'a> {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Position of the first row.
    pub first: usize,
    /// The layer's part of each block up to the last row: `[k|v][kv_head][token][dim]`.
    pub blocks: &'a [&'a [u16]],
}

/// Calls a kernel compiled for the instruction set that was found.
macro_rules! dispatch {
    ($self:ident, $kernel:ident / $avx2:ident ( $($argument:expr),* )) => {
        match $self.set {
            InstructionSet::Portable => $kernel::<Portable>($($argument),*),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this variant is only made after AVX2 and FMA were detected.
            InstructionSet::Avx2 => unsafe { $avx2($($argument),*) },
        }
    };
}

impl Cpu {
    /// With the fastest instructions of this machine.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Self { set: InstructionSet::Avx2 };
        }
        Self::portable()
    }

    /// With plain Rust.
    pub const fn portable() -> Self {
        Self { set: InstructionSet::Portable }
    }

    /// `rows * weights^T`: each row of `rows` gives a row of outputs.
    pub fn matmul(self, weights: &PackedMatrix, rows: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; rows.len() / weights.inputs() * weights.outputs()];
        dispatch!(self, matmul / matmul_avx2(weights, rows, &mut out));
        out
    }

    /// Attention of the rows' queries over all positions up to their own.
    pub fn attend(self, attention: &Attention, queries: &[f32], out: &mut [f32]) {
        dispatch!(self, attend / attend_avx2(attention, queries, out));
    }

    /// `gate = silu(gate) * up`.
    pub fn gate(self, gate: &mut [f32], up: &[f32]) {
        dispatch!(self, gated / gated_avx2(gate, up));
    }
}

/// `out = x / sqrt(mean(x^2) + eps) * weight`, for each row.
pub(crate) fn rms_norm(rows: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(weight.len()) {
        let square = row
            .chunks(CHUNK)
            .fold(0.0, |total, chunk| total + chunk.iter().fold(0.0_f32, |sum, value| value.mul_add(*value, sum)));
        let scale = 1.0 / (square / weight.len() as f32 + eps).sqrt();
        out.extend(row.iter().zip(weight).map(|(value, weight)| value * scale * weight));
    }
    out
}

#[cfg(target_arch = "x86_64")]
use super::lanes::Avx2;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn matmul_avx2(weights: &PackedMatrix, rows: &[f32], out: &mut [f32]) {
    matmul::<Avx2>(weights, rows, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn attend_avx2(attention: &Attention, queries: &[f32], out: &mut [f32]) {
    attend::<Avx2>(attention, queries, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn gated_avx2(gate: &mut [f32], up: &[f32]) {
    gated::<Avx2>(gate, up);
}

#[inline(always)]
fn matmul<L: Lanes>(weights: &PackedMatrix, rows: &[f32], out: &mut [f32]) {
    let (inputs, outputs) = (weights.inputs(), weights.outputs());
    for (index, panel) in weights.panels().enumerate() {
        let columns = index * PANEL..outputs.min((index + 1) * PANEL);
        let (mut rows, mut out) = (rows, &mut *out);
        while rows.len() >= 2 * inputs {
            let (pair, rest) = rows.split_at(2 * inputs);
            let (first, second) = pair.split_at(inputs);
            let sums = panel_sums::<L, 2>(panel, [first, second]);
            for row_sums in sums {
                store_panel(row_sums, &mut out[columns.clone()]);
                out = &mut out[outputs..];
            }
            rows = rest;
        }
        if !rows.is_empty() {
            let [sums] = panel_sums::<L, 1>(panel, [rows]);
            store_panel(sums, &mut out[columns]);
        }
    }
}

/// The panel's 32 outputs for each of `R` rows.
#[inline(always)]
fn panel_sums<L: Lanes, const R: usize>(panel: &[PanelRow], rows: [&[f32]; R]) -> [[L; 4]; R] {
    let rows = rows.map(|row| &row[..panel.len()]);
    let mut totals = [[L::splat(0.0); 4]; R];
    let mut start = 0;
    while start < panel.len() {
        let end = panel.len().min(start + CHUNK);
        let mut sums = [[L::splat(0.0); 4]; R];
        for k in start..end {
            let bits = &panel[k];
            let weights = [L::widen(&bits[0]), L::widen(&bits[1]), L::widen(&bits[2]), L::widen(&bits[3])];
            for r in 0..R {
                let factor = L::splat(rows[r][k]);
                for j in 0..4 {
                    sums[r][j] = weights[j].mul_add(factor, sums[r][j]);
                }
            }
        }
        for r in 0..R {
            for j in 0..4 {
                totals[r][j] = totals[r][j].add(sums[r][j]);
            }
        }
        start = end;
    }
    totals
}

#[inline(always)]
fn store_panel<L: Lanes>(sums: [L; 4], out: &mut [f32]) {
    let mut panel = [0.0; PANEL];
    let (lanes, _) = panel.as_chunks_mut::<8>();
    for j in 0..4 {
        sums[j].store(&mut lanes[j]);
    }
    out.copy_from_slice(&panel[..out.len()]);
}

#[inline(always)]
fn attend<L: Lanes>(attention: &Attention, queries: &[f32], out: &mut [f32]) {
    let width = attention.heads * attention.head_dim;
    let context = attention.blocks.len() * BLOCK_TOKENS;
    let group = attention.heads / attention.kv_heads;
    let mut scores = vec![0.0; ROW_TILE.min(queries.len() / width) * group * context];
    let mut keys = vec![[0.0; BLOCK_TOKENS]; attention.head_dim];
    for kv_head in 0..attention.kv_heads {
        let tiles = queries.chunks(ROW_TILE * width).zip(out.chunks_mut(ROW_TILE * width));
        for (tile, (queries, out)) in tiles.enumerate() {
            let first = attention.first + tile * ROW_TILE;
            let rows = queries.len() / width;
            let blocks = (first + rows).div_ceil(BLOCK_TOKENS);
            for block in 0..blocks {
                widen_keys(attention, block, kv_head, &mut keys);
                for row in 0..rows {
                    for member in 0..group {
                        let head = kv_head * group + member;
                        let query = &queries[row * width + head * attention.head_dim..][..attention.head_dim];
                        let at = (row * group + member) * context + block * BLOCK_TOKENS;
                        let (to, _) = scores[at..at + BLOCK_TOKENS].as_chunks_mut::<8>();
                        let [low, high] = block_scores::<L>(&keys, query);
                        low.store(&mut to[0]);
                        high.store(&mut to[1]);
                    }
                }
            }
            for row in 0..rows {
                for member in 0..group {
                    let head = kv_head * group + member;
                    let weights = &mut scores[(row * group + member) * context..][..first + row + 1];
                    let sum = softmax_numerators(weights, attention.head_dim);
                    let out = &mut out[row * width + head * attention.head_dim..][..attention.head_dim];
                    weighted_values::<L>(attention, kv_head, weights, sum, out);
                }
            }
        }
    }
}

/// The keys of one block, transposed to `[dim][token]`.
#[inline(always)]
fn widen_keys(attention: &Attention, block: usize, kv_head: usize, to: &mut [[f32; BLOCK_TOKENS]]) {
    let dim = attention.head_dim;
    let keys = &attention.blocks[block][kv_head * BLOCK_TOKENS * dim..][..BLOCK_TOKENS * dim];
    for token in 0..BLOCK_TOKENS {
        for (to, bits) in to.iter_mut().zip(&keys[token * dim..(token + 1) * dim]) {
            to[token] = widened(*bits);
        }
    }
}

/// Products of a query with the keys of one block, not yet scaled.
#[inline(always)]
fn block_scores<L: Lanes>(keys: &[[f32; BLOCK_TOKENS]], query: &[f32]) -> [L; 2] {
    let mut totals = [L::splat(0.0); 2];
    let mut start = 0;
    while start < query.len() {
        let end = query.len().min(start + CHUNK);
        let mut sums = [L::splat(0.0); 2];
        for d in start..end {
            let (tokens, _) = keys[d].as_chunks::<8>();
            let factor = L::splat(query[d]);
            sums[0] = L::load(&tokens[0]).mul_add(factor, sums[0]);
            sums[1] = L::load(&tokens[1]).mul_add(factor, sums[1]);
        }
        totals = [totals[0].add(sums[0]), totals[1].add(sums[1])];
        start = end;
    }
    totals
}

/// Turns scores into exp(score - maximum) and returns their sum.
#[inline(always)]
fn softmax_numerators(scores: &mut [f32], head_dim: usize) -> f32 {
    let scale = 1.0 / (head_dim as f32).sqrt();
    let mut maximum = f32::NEG_INFINITY;
    for score in scores.iter_mut() {
        *score *= scale;
        maximum = if *score > maximum { *score } else { maximum };
    }
    for score in scores.iter_mut() {
        *score = exp(*score - maximum);
    }
    let mut total = 0.0;
    for chunk in scores.chunks(CHUNK) {
        let mut sum = 0.0;
        for weight in chunk {
            sum += weight;
        }
        total += sum;
    }
    total
}

/// `out = sum of weight * value / sum`.
#[inline(always)]
fn weighted_values<L: Lanes>(attention: &Attention, kv_head: usize, weights: &[f32], sum: f32, out: &mut [f32]) {
    let dim = attention.head_dim;
    let mut d = 0;
    while d + 32 <= dim {
        value_lanes::<L, 4>(attention, kv_head, weights, d, &mut out[d..d + 32]);
        d += 32;
    }
    while d < dim {
        value_lanes::<L, 1>(attention, kv_head, weights, d, &mut out[d..d + 8]);
        d += 8;
    }
    for value in out {
        *value /= sum;
    }
}

/// Weighted sums of `8 * N` dimensions from `d` on.
#[inline(always)]
fn value_lanes<L: Lanes, const N: usize>(
    attention: &Attention,
    kv_head: usize,
    weights: &[f32],
    d: usize,
    out: &mut [f32],
) {
    let dim = attention.head_dim;
    let values = (attention.kv_heads + kv_head) * BLOCK_TOKENS * dim;
    let mut totals = [L::splat(0.0); N];
    for (chunk, weights) in weights.chunks(CHUNK).enumerate() {
        let mut sums = [L::splat(0.0); N];
        for (block, weights) in weights.chunks(BLOCK_TOKENS).enumerate() {
            let block = attention.blocks[chunk * (CHUNK / BLOCK_TOKENS) + block];
            for (token, weight) in weights.iter().enumerate() {
                let (bits, _) = block[values + token * dim + d..][..8 * N].as_chunks::<8>();
                let factor = L::splat(*weight);
                for j in 0..N {
                    sums[j] = L::widen(&bits[j]).mul_add(factor, sums[j]);
                }
            }
        }
        for j in 0..N {
            totals[j] = totals[j].add(sums[j]);
        }
    }
    let (lanes, _) = out.as_chunks_mut::<8>();
    for j in 0..N {
        totals[j].store(&mut lanes[j]);
    }
}

#[inline(always)]
fn gated<L: Lanes>(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = silu(*gate) * up;
    }
}

#[inline(always)]
fn widened(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;
    use proptest::prelude::*;

    fn noise(seed: u64, count: usize) -> Vec<f32> {
        let mut bytes = vec![0; 4 * count];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        let (words, _) = bytes.as_chunks::<4>();
        words.iter().map(|word| i32::from_le_bytes(*word) as f32 / (1 << 29) as f32).collect()
    }

    fn bf16_noise(seed: u64, count: usize) -> Vec<u16> {
        noise(seed, count).iter().map(|value| bf16::from_f32(*value).to_bits()).collect()
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_product_is_the_sum_that_the_rules_describe(
            seed: u64, rows in 1..4_usize, inputs in 1..600_usize, outputs in 1..70_usize,
        ) {
            let (weights, x) = (bf16_noise(seed, outputs * inputs), noise(seed + 1, rows * inputs));
            let packed = PackedMatrix::pack(&weights, outputs, inputs);
            let mut expected = Vec::new();
            for row in x.chunks(inputs) {
                for weights in weights.chunks(inputs) {
                    expected.push(row.chunks(256).zip(weights.chunks(256)).fold(0.0_f32, |total, (row, weights)| {
                        let chain = |sum, (x, w): (&f32, &u16)| bf16::from_bits(*w).to_f32().mul_add(*x, sum);
                        total + row.iter().zip(weights).fold(0.0, chain)
                    }));
                }
            }
            prop_assert_eq!(bits(&Cpu::detect().matmul(&packed, &x)), bits(&expected));
            prop_assert_eq!(bits(&Cpu::portable().matmul(&packed, &x)), bits(&expected));
        }

        #[test]
        fn attention_has_the_same_bits_with_and_without_vectors_and_in_any_cut(
            seed: u64, context in 1..600_usize, rows in 1..40_usize, dim in prop::sample::select(vec![8, 16, 32, 40, 64]),
        ) {
            let (heads, kv_heads, rows) = (4, 2, rows.min(context));
            let blocks: Vec<Vec<u16>> = (0..context.div_ceil(16) as u64)
                .map(|block| bf16_noise(seed ^ block, 2 * kv_heads * 16 * dim))
                .collect();
            let blocks: Vec<&[u16]> = blocks.iter().map(Vec::as_slice).collect();
            let queries = noise(seed, rows * heads * dim);
            let run = |cpu: Cpu, from: usize, to: usize| {
                let first = context - rows + from;
                let attention =
                    Attention { heads, kv_heads, head_dim: dim, first, blocks: &blocks[..(first + to - from).div_ceil(16)] };
                let mut out = vec![0.0; (to - from) * heads * dim];
                cpu.attend(&attention, &queries[from * heads * dim..to * heads * dim], &mut out);
                bits(&out)
            };
            let whole = run(Cpu::detect(), 0, rows);
            prop_assert_eq!(&run(Cpu::portable(), 0, rows), &whole);
            let cut: Vec<u32> = (0..rows).flat_map(|row| run(Cpu::detect(), row, row + 1)).collect();
            prop_assert_eq!(cut, whole);
        }

        #[test]
        fn the_gate_has_the_same_bits_with_and_without_vectors(seed: u64) {
            let (gate, up) = (noise(seed, 77), noise(seed + 1, 77));
            let run = |cpu: Cpu| {
                let mut gate: Vec<f32> = gate.iter().map(|value| value * 30.0).collect();
                cpu.gate(&mut gate, &up);
                bits(&gate)
            };
            prop_assert_eq!(run(Cpu::detect()), run(Cpu::portable()));
        }
    }
}
