//! The choice of the next token: a function of logits, parameters, seed and position, with no state of its own.

use serde::{Deserialize, Serialize};
use wallet::units::{TokenCount, TokenPosition};

use crate::{TokenId, backend::exp, refusal::Refusal};

const DRAW_DOMAIN: &str = "batchmind/v1/gpu/draw";
const TEMPERATURE_MAX: Millionths = Millionths(100_000_000);
const ONE: Millionths = Millionths(1_000_000);

/// A fraction as a whole number of millionths: what travels and is hashed has no floating point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millionths(pub u32);

/// Keys the draws of one session.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionSeed(pub [u8; 32]);

/// Texts that end a generation: at most four, of 1 to 64 bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct StopStrings(Vec<String>);

/// How tokens are chosen, and when to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplingParams {
    /// 0 takes the most likely token. At most 100.
    pub temperature: Millionths,
    /// Only the most likely tokens that together have this probability are drawn from. More than 0, at most 1.
    pub top_p: Millionths,
    /// Only this many of the most likely tokens are drawn from.
    pub top_k: Option<u32>,
    /// Keys the draws.
    pub seed: SessionSeed,
    /// The most tokens to generate; at least 1.
    pub max_tokens: TokenCount,
    /// Texts that end the generation. They need a model with a tokenizer.
    pub stop: StopStrings,
    /// Whether the model's end tokens are tokens like others.
    pub ignore_eos: bool,
}

impl Millionths {
    /// The nearest number of millionths, unless the value is negative, too large or not a number.
    pub fn from_f64(value: f64) -> Option<Self> {
        let millionths = (value * 1e6).round();
        (0.0..=f64::from(u32::MAX)).contains(&millionths).then_some(Self(millionths as u32))
    }

    fn to_f32(self) -> f32 {
        (f64::from(self.0) / 1e6) as f32
    }
}

impl SessionSeed {
    /// The seed for a number that a client chose.
    pub fn from_number(number: u64) -> Self {
        Self(wallet::digest::blake3("batchmind/v1/gpu/seed", None, &[&number.to_le_bytes()]).0)
    }
}

impl std::fmt::Debug for SessionSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionSeed(redacted)")
    }
}

impl StopStrings {
    /// # Errors
    /// [`Refusal::SamplingInvalid`] if there are more than four, or one is empty or longer than 64 bytes.
    pub fn new(texts: Vec<String>) -> Result<Self, Refusal> {
        if texts.len() > 4 || texts.iter().any(|text| !(1..=64).contains(&text.len())) {
            return Err(Refusal::SamplingInvalid { field: "stop" });
        }
        Ok(Self(texts))
    }

    /// The texts.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for StopStrings {
    type Error = Refusal;

    fn try_from(texts: Vec<String>) -> Result<Self, Refusal> {
        Self::new(texts)
    }
}

impl From<StopStrings> for Vec<String> {
    fn from(stop: StopStrings) -> Self {
        stop.0
    }
}

impl SamplingParams {
    /// The most likely token each time, up to `max_tokens`.
    pub fn greedy(max_tokens: TokenCount) -> Self {
        Self {
            temperature: Millionths(0),
            top_p: ONE,
            top_k: None,
            seed: SessionSeed([0; 32]),
            max_tokens,
            stop: StopStrings::default(),
            ignore_eos: false,
        }
    }

    /// # Errors
    /// [`Refusal::SamplingInvalid`] names the parameter that is out of bounds.
    pub fn validate(&self) -> Result<(), Refusal> {
        for (field, holds) in [
            ("temperature", self.temperature <= TEMPERATURE_MAX),
            ("top_p", (Millionths(1)..=ONE).contains(&self.top_p)),
            ("top_k", self.top_k != Some(0)),
            ("max_tokens", self.max_tokens > TokenCount::ZERO),
        ] {
            if !holds {
                return Err(Refusal::SamplingInvalid { field });
            }
        }
        Ok(())
    }

    /// The token at `position`. Ties go to the lowest id.
    pub(crate) fn choose(&self, logits: &[f32], position: TokenPosition) -> TokenId {
        let best = most_likely(logits);
        if self.temperature == Millionths(0) {
            return best as TokenId;
        }
        let (temperature, maximum) = (self.temperature.to_f32(), logits[best]);
        // Every token with its weight relative to the most likely one.
        let mut weights: Vec<(usize, f32)> =
            logits.iter().map(|logit| exp((logit - maximum) / temperature)).enumerate().collect();
        if self.top_k.is_some() || self.top_p < ONE {
            weights.sort_unstable_by(|(a, _), (b, _)| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
            weights.truncate(self.top_k.map_or(usize::MAX, |count| count as usize));
            weights.truncate(nucleus(&weights, self.top_p));
        }
        let total: f64 = weights.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let mut left = draw(&self.seed, position) * total;
        for (token, weight) in &weights {
            left -= f64::from(*weight);
            if left < 0.0 {
                return *token as TokenId;
            }
        }
        // Rounding can leave a remainder; a model of NaNs always does.
        best as TokenId
    }
}

fn most_likely(logits: &[f32]) -> usize {
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    best
}

/// How many of the sorted weights are needed to reach the share `top_p` of their sum.
fn nucleus(weights: &[(usize, f32)], top_p: Millionths) -> usize {
    let total: f64 = weights.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let mut left = total * (f64::from(top_p.0) / 1e6);
    for (count, (_, weight)) in weights.iter().enumerate() {
        left -= f64::from(*weight);
        if left <= 0.0 {
            return count + 1;
        }
    }
    weights.len()
}

/// A number in [0, 1) that belongs to this position of this session.
fn draw(seed: &SessionSeed, position: TokenPosition) -> f64 {
    let digest = wallet::digest::blake3(DRAW_DOMAIN, Some(&seed.0), &[&position.get().to_le_bytes()]);
    let mut word = [0; 8];
    word.copy_from_slice(&digest.0[..8]);
    (u64::from_le_bytes(word) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn params(temperature: f64, top_p: f64, top_k: Option<u32>, seed: u64) -> SamplingParams {
        SamplingParams {
            temperature: Millionths::from_f64(temperature).expect("in range"),
            top_p: Millionths::from_f64(top_p).expect("in range"),
            top_k,
            seed: SessionSeed::from_number(seed),
            ..SamplingParams::greedy(TokenCount::new(1))
        }
    }

    fn at(position: u32) -> TokenPosition {
        TokenPosition::new(position)
    }

    #[test]
    fn greedy_takes_the_lowest_of_equal_tokens() {
        let greedy = params(0.0, 1.0, None, 1);
        assert_eq!(greedy.choose(&[1.0, 3.0, 3.0, 2.0], at(0)), 1);
        assert_eq!(greedy.choose(&[f32::NAN; 4], at(0)), 0);
    }

    #[test]
    fn draws_are_pinned() {
        let drawn: Vec<u64> = (0..4).map(|i| (draw(&SessionSeed::from_number(7), at(i)) * 1e15) as u64).collect();
        assert_eq!(drawn, [207414206149883, 308757537473014, 840736875818566, 212830308891667]);
        let tokens: Vec<TokenId> = (0..12).map(|i| params(1.0, 0.9, None, 7).choose(&[0.0, 1.0, 2.0], at(i))).collect();
        assert_eq!(tokens, [2, 2, 1, 2, 1, 1, 2, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        let (params, count) = (params(1.0, 1.0, None, 3), 20_000);
        let ones = (0..count).filter(|i| params.choose(&[0.0, 1.0], at(*i)) == 1).count();
        let expected = f64::from(count) * 1.0_f64.exp() / (1.0 + 1.0_f64.exp());
        assert!((ones as f64 - expected).abs() < 300.0, "{ones} of {expected}");
    }

    #[test]
    fn top_k_and_top_p_cut_the_unlikely() {
        let logits = [0.0, 5.0, 1.0, 4.9];
        for i in 0..500 {
            assert!([1, 3].contains(&params(2.0, 1.0, Some(2), 1).choose(&logits, at(i))));
            assert_eq!(params(2.0, 0.01, None, 1).choose(&logits, at(i)), 1);
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        for (bad, name) in [
            (params(101.0, 1.0, None, 0), "temperature"),
            (params(1.0, 0.0, None, 0), "top_p"),
            (params(1.0, 1.1, None, 0), "top_p"),
            (params(1.0, 1.0, Some(0), 0), "top_k"),
            (SamplingParams::greedy(TokenCount::ZERO), "max_tokens"),
        ] {
            assert_eq!(bad.validate(), Err(Refusal::SamplingInvalid { field: name }));
        }
        assert!(StopStrings::new(vec![String::new()]).is_err());
        assert!(StopStrings::new(vec!["x".repeat(65)]).is_err());
        assert!(StopStrings::new(vec!["x".to_owned(); 5]).is_err());
        assert_eq!(Millionths::from_f64(f64::NAN), None);
        assert_eq!(Millionths::from_f64(-1.0), None);
    }

    proptest! {
        #[test]
        fn the_same_seed_and_position_choose_the_same_token(
            logits in prop::collection::vec(-20.0..20.0_f32, 1..50), seed: u64, position: u32,
        ) {
            let params = params(0.8, 0.95, Some(20), seed);
            let token = params.choose(&logits, at(position));
            prop_assert!((token as usize) < logits.len());
            prop_assert_eq!(params.clone().choose(&logits, at(position)), token);
        }
    }
}
