//! Rotary position embedding.

use std::f64::consts::PI;

use super::elementary::{cos_sin, power};
use crate::model::{LlamaConfig, RopeScaling};

/// The angles by which queries and keys turn with their position.
pub(crate) struct Rope {
    /// Radians for each position, one for each pair of a head's dimensions.
    frequencies: Vec<f64>,
}

/// Cosines and sines of one position.
pub(crate) struct Rotation {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rope {
    pub fn new(config: &LlamaConfig) -> Self {
        let pairs = config.head_dim / 2;
        let frequency = |pair| {
            let plain = power(config.rope_theta, -(pair as f64) / pairs as f64);
            config.rope_scaling.map_or(plain, |scaling| stretched(plain, scaling))
        };
        Self { frequencies: (0..pairs).map(frequency).collect() }
    }

    /// Computed for each row once and used by all its layers and heads, which costs less than a table for every
    /// position would take.
    pub fn at(&self, position: usize) -> Rotation {
        let (cos, sin) = self
            .frequencies
            .iter()
            .map(|frequency| cos_sin(position as f64 * frequency))
            .map(|(cos, sin)| (cos as f32, sin as f32))
            .unzip();
        Rotation { cos, sin }
    }
}

impl Rotation {
    /// Turns each head of `heads`: the first half of its dimensions against the second, as Hugging Face stores them.
    pub fn apply(&self, heads: &mut [f32]) {
        let half = self.cos.len();
        for head in heads.chunks_exact_mut(2 * half) {
            let (first, second) = head.split_at_mut(half);
            for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(self.cos.iter().zip(&self.sin)) {
                let turned = (-*b).mul_add(*sin, *a * *cos);
                *b = a.mul_add(*sin, *b * *cos);
                *a = turned;
            }
        }
    }
}

/// Llama 3.1: slow frequencies are divided by the factor, fast ones stay, those between are blended.
fn stretched(frequency: f64, scaling: RopeScaling) -> f64 {
    let turns = scaling.original_positions * frequency / (2.0 * PI);
    let RopeScaling { factor, low_freq_factor: low, high_freq_factor: high, .. } = scaling;
    if turns > high {
        frequency
    } else if turns < low {
        frequency / factor
    } else {
        let share = (turns - low) / (high - low);
        (1.0 - share) * frequency / factor + share * frequency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA_3_1: RopeScaling =
        RopeScaling { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_positions: 8192.0 };

    #[test]
    fn scaling_slows_low_frequencies_and_leaves_high_ones() {
        assert_eq!(stretched(1.0, LLAMA_3_1), 1.0);
        assert_eq!(stretched(1e-5, LLAMA_3_1), 1e-5 / 8.0);
        let between = stretched(2e-3, LLAMA_3_1);
        assert!(between > 2e-3 / 8.0 && between < 2e-3);
    }

    #[test]
    fn a_rotation_keeps_length_and_turns_by_the_angle() {
        let rope = Rope { frequencies: vec![0.5] };
        let mut head = [3.0, 4.0];
        rope.at(2).apply(&mut head);
        let (sin, cos) = 1.0_f32.sin_cos();
        assert!((head[0] - (3.0 * cos - 4.0 * sin)).abs() < 1e-6);
        assert!((head[1] - (4.0 * cos + 3.0 * sin)).abs() < 1e-6);
    }
}
