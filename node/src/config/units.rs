//! Values with their unit written out: `500ms`, `2s`, `10min`.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, de::Error as _};

/// A length of time that is not written as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a length of time: write a whole number with us, ms, s, min or h, such as \"500ms\"")]
pub struct DurationInvalid(String);

/// Reads a length of time: a whole number, directly followed by `us`, `ms`, `s`, `min` or `h`.
///
/// # Errors
/// [`DurationInvalid`].
pub fn parse_duration(text: &str) -> Result<Duration, DurationInvalid> {
    let invalid = || DurationInvalid(text.chars().take(40).collect());
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| invalid())?;
    let micros_per_unit = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "min" => 60_000_000,
        "h" => 3_600_000_000,
        _ => return Err(invalid()),
    };
    number.checked_mul(micros_per_unit).map(Duration::from_micros).ok_or_else(invalid)
}

/// For `#[serde(deserialize_with)]`; see [`parse_duration`].
///
/// # Errors
/// Those of the deserializer, and [`DurationInvalid`].
pub fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(from)?).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_a_number_and_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("0us"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("10min"), Ok(Duration::from_secs(600)));
    }

    #[test]
    fn a_bare_number_a_fraction_a_space_and_an_overflow_are_refused() {
        for text in ["500", "", "ms", "0.5s", "500 ms", "-1s", "1d", "18446744073709551615h", "99999999999999999999s"] {
            assert_eq!(parse_duration(text), Err(DurationInvalid(text.to_owned())), "{text:?}");
        }
    }
}
