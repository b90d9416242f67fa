//! Eight numbers at once. The kernels are written once over [`Lanes`]; what differs between instruction sets is here.
//!
//! Every operation is defined by IEEE 754 and rounds each lane once, so all implementations give the same bits.

// Intrinsics need it. Each use stands behind a check of the instruction set.
#![allow(unsafe_code)]

/// Eight binary32 numbers.
pub(super) trait Lanes: Copy {
    fn splat(value: f32) -> Self;
    fn load(from: &[f32; 8]) -> Self;
    /// From bfloat16, exactly.
    fn widen(from: &[u16; 8]) -> Self;
    fn store(self, to: &mut [f32; 8]);
    fn add(self, other: Self) -> Self;
    /// `self * factor + addend` with one rounding.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
}

/// Plain Rust. `f32::mul_add` is correct on every machine, and slow on one without the instruction.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 8]);

impl Lanes for Portable {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    fn load(from: &[f32; 8]) -> Self {
        Self(*from)
    }

    #[inline(always)]
    fn widen(from: &[u16; 8]) -> Self {
        Self(from.map(|bits| f32::from_bits(u32::from(bits) << 16)))
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; 8]) {
        *to = self.0;
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].mul_add(factor.0[i], addend.0[i])))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m128i, __m256, _mm256_add_ps, _mm256_castsi256_ps, _mm256_cvtepu16_epi32, _mm256_fmadd_ps, _mm256_set1_ps,
        _mm256_slli_epi32,
    };

    use super::Lanes;

    /// One AVX2 register. Memory is read and written by transmuting arrays, because the load intrinsics check for
    /// overlap in builds with debug assertions, which took half of the time. Only code that runs after `Cpu` has found
    /// AVX2 and FMA names this type.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2(__m256);

    impl Lanes for Avx2 {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: AVX2 is there (see the type).
            Self(unsafe { _mm256_set1_ps(value) })
        }

        #[inline(always)]
        fn load(from: &[f32; 8]) -> Self {
            // SAFETY: both types are 32 bytes in which any bits are valid.
            Self(unsafe { std::mem::transmute::<[f32; 8], __m256>(*from) })
        }

        #[inline(always)]
        fn widen(from: &[u16; 8]) -> Self {
            // SAFETY: AVX2 is there; both types of the transmutation are 16 bytes in which any bits are valid.
            unsafe {
                let bits = _mm256_cvtepu16_epi32(std::mem::transmute::<[u16; 8], __m128i>(*from));
                Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits)))
            }
        }

        #[inline(always)]
        fn store(self, to: &mut [f32; 8]) {
            // SAFETY: both types are 32 bytes in which any bits are valid.
            *to = unsafe { std::mem::transmute::<__m256, [f32; 8]>(self.0) };
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: AVX2 is there.
            Self(unsafe { _mm256_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn mul_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: AVX2 and FMA are there.
            Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
        }
    }
}
