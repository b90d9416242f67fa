//! Weights in the order in which the kernel reads them.

use half::bf16;

/// Outputs of one panel.
pub(crate) const PANEL: usize = 32;

/// One input's weights for all outputs of a panel, in groups of one vector.
pub(crate) type PanelRow = [[u16; 8]; PANEL / 8];

/// A matrix of bfloat16, cut into panels of 32 outputs: `[panel][input][output in panel]`. Outputs beyond the last are
/// zero.
pub(crate) struct PackedMatrix {
    outputs: usize,
    inputs: usize,
    bits: Vec<PanelRow>,
}

impl PackedMatrix {
    /// Packs the bits of a row-major `[outputs][inputs]` matrix.
    pub fn pack(rows: &[u16], outputs: usize, inputs: usize) -> Self {
        assert_eq!(rows.len(), outputs * inputs, "the shape was checked when the tensor was read");
        let mut bits = vec![PanelRow::default(); outputs.div_ceil(PANEL) * inputs];
        for (output, row) in rows.chunks_exact(inputs).enumerate() {
            let panel = &mut bits[output / PANEL * inputs..][..inputs];
            for (to, from) in panel.iter_mut().zip(row) {
                to[output % PANEL / 8][output % 8] = *from;
            }
        }
        Self { outputs, inputs, bits }
    }

    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// For each panel its weights, one row for each input.
    pub fn panels(&self) -> impl Iterator<Item = &[PanelRow]> {
        self.bits.chunks_exact(self.inputs)
    }

    /// Copies the weights of one output: an embedding is a row of its matrix.
    pub fn row(&self, output: usize, to: &mut [f32]) {
        assert!(output < self.outputs, "tokens are checked against the vocabulary");
        let panel = &self.bits[output / PANEL * self.inputs..][..self.inputs];
        for (to, from) in to.iter_mut().zip(panel) {
            *to = bf16::from_bits(from[output % PANEL / 8][output % 8]).to_f32();
        }
    }
}
