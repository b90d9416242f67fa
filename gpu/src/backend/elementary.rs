//! Elementary functions made of additions, multiplications and divisions, so that they have the same bits everywhere.
//! The C library's differ between versions.

use std::f64::consts::{LN_2, LOG2_E, PI, SQRT_2};

/// e^x in binary32, within two units in the last place. Below -87 it stays at e^-87, above 88 at e^88.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding and subtracting 1.5 * 2^23 rounds to an integer, ties to even.
    const ROUNDER: f32 = 12_582_912.0;
    // ln 2 in two parts: the first has few bits, so that its product with the integer is exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // A plain comparison and not `clamp`, so that NaN stays NaN in every instruction set.
    let x = if x > 88.0 { 88.0 } else { x };
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUNDER);
    let n = shifted - ROUNDER;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    // Taylor's polynomial: |r| <= ln 2 / 2.
    let mut p = 1.0 / 5040.0_f32;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p.mul_add(r, coefficient);
    }
    // The integer stands in the low bits of `shifted`; this is 2^n.
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// x / (1 + e^-x).
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `base` to the power of `exponent`, for base >= 1 and |exponent| <= 1.
pub(super) fn power(base: f64, exponent: f64) -> f64 {
    exp64(exponent * ln64(base))
}

/// Cosine and sine of an angle of at most 2^24 radians.
pub(super) fn cos_sin(angle: f64) -> (f64, f64) {
    // pi/2 in three parts of 33, 33 and 53 bits: the products with a quadrant below 2^20 are exact.
    const PARTS: [f64; 3] = [1.570_796_326_734_125_6, 6.077_100_506_303_966e-11, 2.022_266_248_795_950_6e-21];
    let quadrant = (angle * (2.0 / PI)).round_ties_even();
    let r = PARTS.iter().fold(angle, |r, part| r - quadrant * part);
    // Taylor's polynomials: |r| <= pi/4.
    let square = r * r;
    let (mut cos, mut sin) = (1.0, 1.0);
    for k in (1..=9).rev() {
        let even = f64::from(2 * k);
        cos = 1.0 - square / ((even - 1.0) * even) * cos;
        sin = 1.0 - square / (even * (even + 1.0)) * sin;
    }
    sin *= r;
    match (quadrant as i64).rem_euclid(4) {
        0 => (cos, sin),
        1 => (-sin, cos),
        2 => (-cos, -sin),
        _ => (sin, -cos),
    }
}

fn exp64(x: f64) -> f64 {
    let n = (x * LOG2_E).round_ties_even();
    let r = x - n * LN_2;
    let sum = (1..=20).rev().fold(1.0, |sum, k| 1.0 + r / f64::from(k) * sum);
    let two = if n < 0.0 { 0.5 } else { 2.0 };
    (0..n.abs() as u32).fold(sum, |product, _| product * two)
}

fn ln64(x: f64) -> f64 {
    let (mut mantissa, mut exponent) = (x, 0.0);
    while mantissa > SQRT_2 {
        mantissa *= 0.5;
        exponent += 1.0;
    }
    // ln m = 2 artanh((m - 1) / (m + 1)), with |..| < 0.18.
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let series = (0..=15).rev().fold(0.0, |sum, k| sum * z * z + 1.0 / f64::from(2 * k + 1));
    2.0 * z * series + exponent * LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_library() {
        let mut x = -86.9_f32;
        while x < 87.9 {
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 2.4e-7, "exp({x}) = {}", exp(x));
            x += 0.001_3;
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1e30), exp(-87.0));
        assert!(exp(1e30).is_finite() && exp(f32::NAN).is_nan());
    }

    #[test]
    fn the_binary64_functions_are_close_to_the_library() {
        for base in [1.0, 10_000.0, 500_000.0, 1e12_f64] {
            for step in 0..=64 {
                let exponent = -f64::from(step) / 64.0;
                assert!((power(base, exponent) / base.powf(exponent) - 1.0).abs() < 1e-14, "{base}^{exponent}");
            }
        }
        for step in 0..200_000 {
            let angle = f64::from(step) * 0.7;
            let (cos, sin) = cos_sin(angle);
            assert!((cos - angle.cos()).abs() < 1e-14 && (sin - angle.sin()).abs() < 1e-14, "{angle}");
        }
    }
}
