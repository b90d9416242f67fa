//! One pass of the model over rows of any number of sequences.

use crate::{
    BLOCK_TOKENS, TokenId,
    backend::{Attention, rms_norm},
    kv::{BlockId, BlockPool},
    model::{LayerWeights, Model},
};

/// Consecutive tokens of one sequence that have no keys and values yet.
pub(crate) struct Span<'a> {
    pub tokens: &'a [TokenId],
    /// Position of the first of them.
    pub first: usize,
    /// The sequence's blocks, enough for all positions so far and these.
    pub table: &'a [BlockId],
    /// Logits are wanted for the tokens from this index on.
    pub logits_from: usize,
}

/// Computes keys and values of all spans, writes them to their blocks, and returns the logits that were asked for, in
/// order.
pub(crate) fn forward(model: &Model, pool: &mut BlockPool, spans: &[Span]) -> Vec<Vec<f32>> {
    let config = model.config();
    let mut rows = Vec::new();
    for token in spans.iter().flat_map(|span| span.tokens) {
        let at = rows.len();
        rows.resize(at + config.hidden, 0.0);
        model.weights.embedding.row(*token as usize, &mut rows[at..]);
    }
    let rotations: Vec<_> = spans
        .iter()
        .flat_map(|span| (span.first..span.first + span.tokens.len()).map(|position| model.rope.at(position)))
        .collect();
    for (layer, weights) in model.weights.layers.iter().enumerate() {
        let normed = rms_norm(&rows, &weights.attention_norm, config.rms_norm_eps);
        let mut queries = model.cpu.matmul(&weights.query, &normed);
        let mut keys = model.cpu.matmul(&weights.key, &normed);
        let values = model.cpu.matmul(&weights.value, &normed);
        for (row, rotation) in rotations.iter().enumerate() {
            rotation.apply(row_mut(&mut queries, row, rotations.len()));
            rotation.apply(row_mut(&mut keys, row, rotations.len()));
        }
        write_kv(pool, layer, spans, &keys, &values);
        let attended = attend(model, pool, layer, spans, &queries);
        add(&mut rows, &model.cpu.matmul(&weights.attention_output, &attended));
        let fed = feed_forward(model, weights, &rows);
        add(&mut rows, &fed);
    }
    logits(model, spans, &rows)
}

fn write_kv(pool: &mut BlockPool, layer: usize, spans: &[Span], keys: &[f32], values: &[f32]) {
    let width = pool.kv_width();
    let mut rows = keys.chunks_exact(width).zip(values.chunks_exact(width));
    for span in spans {
        for (position, (key, value)) in (span.first..span.first + span.tokens.len()).zip(&mut rows) {
            pool.write(span.table[position / BLOCK_TOKENS], layer, position % BLOCK_TOKENS, key, value);
        }
    }
}

fn attend(model: &Model, pool: &BlockPool, layer: usize, spans: &[Span], queries: &[f32]) -> Vec<f32> {
    let config = model.config();
    let width = config.heads * config.head_dim;
    let mut out = vec![0.0; queries.len()];
    let mut at = 0;
    for span in spans {
        let blocks = (span.first + span.tokens.len()).div_ceil(BLOCK_TOKENS);
        let blocks: Vec<&[u16]> = span.table[..blocks].iter().map(|block| pool.layer(*block, layer)).collect();
        let attention = Attention {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            first: span.first,
            blocks: &blocks,
        };
        let end = at + span.tokens.len() * width;
        model.cpu.attend(&attention, &queries[at..end], &mut out[at..end]);
        at = end;
    }
    out
}

fn feed_forward(model: &Model, weights: &LayerWeights, rows: &[f32]) -> Vec<f32> {
    let normed = rms_norm(rows, &weights.mlp_norm, model.config().rms_norm_eps);
    let mut gate = model.cpu.matmul(&weights.gate, &normed);
    let up = model.cpu.matmul(&weights.up, &normed);
    model.cpu.gate(&mut gate, &up);
    model.cpu.matmul(&weights.down, &gate)
}

fn logits(model: &Model, spans: &[Span], rows: &[f32]) -> Vec<Vec<f32>> {
    let hidden = model.config().hidden;
    let mut wanted = Vec::new();
    let mut at = 0;
    for span in spans {
        let end = at + span.tokens.len();
        wanted.extend_from_slice(&rows[(at + span.logits_from.min(span.tokens.len())) * hidden..end * hidden]);
        at = end;
    }
    let normed = rms_norm(&wanted, &model.weights.final_norm, model.config().rms_norm_eps);
    let output = model.weights.output.as_ref().unwrap_or(&model.weights.embedding);
    model.cpu.matmul(output, &normed).chunks_exact(output.outputs()).map(<[f32]>::to_vec).collect()
}

fn row_mut(values: &mut [f32], row: usize, rows: usize) -> &mut [f32] {
    let width = values.len() / rows;
    &mut values[row * width..(row + 1) * width]
}

fn add(rows: &mut [f32], more: &[f32]) {
    for (value, more) in rows.iter_mut().zip(more) {
        *value += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::synthetic::SyntheticLlama;
    use proptest::prelude::*;

    fn model() -> Model {
        let folder = tempfile::tempdir().expect("a temporary folder");
        SyntheticLlama::default().write(folder.path()).expect("writable");
        Model::load(folder.path()).expect("a valid model")
    }

    fn bits(logits: &[Vec<f32>]) -> Vec<Vec<u32>> {
        logits.iter().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
    }

    #[test]
    fn logits_have_the_same_bits_with_and_without_vectors() {
        let tokens: Vec<TokenId> = (0..300).map(|i| i * 7 % 256).collect();
        let (fast, plain) = (model(), model().without_vector_instructions());
        assert_eq!(bits(&fast.logits(&tokens)), bits(&plain.logits(&tokens)));
    }

    /// If this fails, sessions that move between this build and an older one change their tokens: raise the revision
    /// in `numerics_id`, and only then pin the new value.
    #[test]
    fn the_numerics_have_not_changed_without_a_new_revision() {
        let tokens: Vec<TokenId> = (0..300).map(|i| i * 7 % 256).collect();
        let bytes: Vec<u8> =
            bits(&model().logits(&tokens)).concat().iter().flat_map(|bits| bits.to_le_bytes()).collect();
        assert_eq!(
            wallet::digest::sha256("logits", &[&bytes]).to_string(),
            "d6fb95e59790ae09455e0ef2543f68f806dd4dcbbba84d5d35c011179a7fc601"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// Two sequences, cut into chunks at any place, alone or together, in any order.
        #[test]
        fn a_row_does_not_depend_on_its_batch_or_chunk(
            tokens in prop::collection::vec(0..256_u32, 2..90),
            other in prop::collection::vec(0..256_u32, 2..90),
            cuts in prop::collection::vec(1..30_usize, 1..20),
            first: bool,
        ) {
            let model = model();
            let alone = bits(&model.logits(&tokens));
            let mut pool = BlockPool::new(model.config(), 16);
            let tables: [Vec<BlockId>; 2] = std::array::from_fn(|_| (0..6).map(|_| pool.take().expect("free")).collect());
            let (mut done, mut others_done, mut mixed) = (0, 0, Vec::new());
            for cut in cuts.iter().cycle() {
                if done == tokens.len() {
                    break;
                }
                let end = tokens.len().min(done + cut);
                let others_end = other.len().min(others_done + 31 - cut);
                let mine = Span { tokens: &tokens[done..end], first: done, table: &tables[0], logits_from: 0 };
                let theirs = Span {
                    tokens: &other[others_done..others_end],
                    first: others_done,
                    table: &tables[1],
                    logits_from: usize::MAX,
                };
                let spans = if first { [mine, theirs] } else { [theirs, mine] };
                mixed.extend(forward(&model, &mut pool, &spans));
                (done, others_done) = (end, others_end);
            }
            prop_assert_eq!(bits(&mixed), alone);
        }
    }
}
