//! Winograd's minimal filtering F(4×4, 3×3): Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks"
//! (arXiv:1509.09308, §4.3), at the points 0, ±1/√2, ±√2, ∞: their matrices stay near 1, which leaves a quarter of the
//! rounding error of the usual 0, ±1, ±2, ∞ (Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd
//! Convolution for Deep Neural Networks", arXiv:1803.10986).
//!
//! A 6×6 tile of input gives a 4×4 tile of output: `Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A`. Summed over channels, ⊙ becomes 36
//! matrix products, of [tiles × C] with [C × K], and takes 36 multiplications where the definition takes 144. The weight
//! gradient is the adjoint: `dg = Gᵀ[Σ_tiles (A dY Aᵀ) ⊙ (Bᵀ d B)]G`.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use super::simd::Simd;

/// Outputs of a tile along an axis, inputs of a tile, and products of a tile.
pub const OUT: usize = 4;
pub const IN: usize = 6;
pub const PRODUCTS: usize = IN * IN;

/// One of the matrices, applied to a column of `I` vectors.
pub trait Line<const I: usize, const O: usize> {
    /// # Safety
    /// The processor must have `S`.
    unsafe fn apply<S: Simd>(x: [S::V; I]) -> [S::V; O];
}

/// `Bᵀ`: input tiles.
pub struct Bt;
/// `G`: filters.
pub struct G;
/// `Aᵀ`: output tiles.
pub struct At;
/// `A`: gradients of output tiles.
pub struct A;
/// `Gᵀ`: gradients of filters.
pub struct Gt;

impl Line<6, 6> for Bt {
    #[inline(always)]
    unsafe fn apply<S: Simd>([d0, d1, d2, d3, d4, d5]: [S::V; 6]) -> [S::V; 6] {
        unsafe {
            let (half, two, middle) = (S::splat(0.5), S::splat(2.0), S::splat(2.5));
            let (even, odd) = (S::neg_mul_add(two, d2, d4), S::neg_mul_add(two, d1, d3));
            let (even2, odd2) = (S::neg_mul_add(half, d2, d4), S::neg_mul_add(half, d1, d3));
            [
                S::neg_mul_add(middle, d2, S::add(d0, d4)),
                S::mul_add(S::splat(FRAC_1_SQRT_2), odd, even),
                S::neg_mul_add(S::splat(FRAC_1_SQRT_2), odd, even),
                S::mul_add(S::splat(SQRT_2), odd2, even2),
                S::neg_mul_add(S::splat(SQRT_2), odd2, even2),
                S::neg_mul_add(middle, d3, S::add(d1, d5)),
            ]
        }
    }
}

impl Line<3, 6> for G {
    #[inline(always)]
    unsafe fn apply<S: Simd>([g0, g1, g2]: [S::V; 3]) -> [S::V; 6] {
        unsafe {
            let even = S::mul(S::mul_add(S::splat(0.5), g2, g0), S::splat(-2.0 / 3.0));
            let even2 = S::mul(S::mul_add(S::splat(2.0), g2, g0), S::splat(1.0 / 6.0));
            let (odd, odd2) = (S::splat(FRAC_1_SQRT_2 * -2.0 / 3.0), S::splat(SQRT_2 / 6.0));
            [
                g0,
                S::mul_add(odd, g1, even),
                S::neg_mul_add(odd, g1, even),
                S::mul_add(odd2, g1, even2),
                S::neg_mul_add(odd2, g1, even2),
                g2,
            ]
        }
    }
}

impl Line<6, 4> for At {
    #[inline(always)]
    unsafe fn apply<S: Simd>([m0, m1, m2, m3, m4, m5]: [S::V; 6]) -> [S::V; 4] {
        unsafe {
            let (even, odd) = (S::add(m1, m2), S::sub(m1, m2));
            let (even2, odd2) = (S::add(m3, m4), S::sub(m3, m4));
            let cube = S::mul_add(S::splat(SQRT_2 / 4.0), odd, m5);
            [
                S::add(m0, S::add(even, even2)),
                S::mul_add(S::splat(SQRT_2), odd2, S::mul(S::splat(FRAC_1_SQRT_2), odd)),
                S::mul_add(S::splat(2.0), even2, S::mul(S::splat(0.5), even)),
                S::mul_add(S::splat(SQRT_2 * 2.0), odd2, cube),
            ]
        }
    }
}

impl Line<4, 6> for A {
    #[inline(always)]
    unsafe fn apply<S: Simd>([y0, y1, y2, y3]: [S::V; 4]) -> [S::V; 6] {
        unsafe {
            let (half, two) = (S::splat(0.5), S::splat(2.0));
            let (even, odd) = (S::mul_add(half, y2, y0), S::mul_add(half, y3, y1));
            let (even2, odd2) = (S::mul_add(two, y2, y0), S::mul_add(two, y3, y1));
            [
                y0,
                S::mul_add(S::splat(FRAC_1_SQRT_2), odd, even),
                S::neg_mul_add(S::splat(FRAC_1_SQRT_2), odd, even),
                S::mul_add(S::splat(SQRT_2), odd2, even2),
                S::neg_mul_add(S::splat(SQRT_2), odd2, even2),
                y3,
            ]
        }
    }
}

impl Line<6, 3> for Gt {
    #[inline(always)]
    unsafe fn apply<S: Simd>([u0, u1, u2, u3, u4, u5]: [S::V; 6]) -> [S::V; 3] {
        unsafe {
            let (even, odd) = (S::add(u1, u2), S::sub(u2, u1));
            let (even2, odd2) = (S::add(u3, u4), S::sub(u3, u4));
            let first = S::mul_add(S::splat(1.0 / 6.0), even2, u0);
            let second = S::mul(S::splat(SQRT_2 / 6.0), odd2);
            [
                S::neg_mul_add(S::splat(2.0 / 3.0), even, first),
                S::mul_add(S::splat(FRAC_1_SQRT_2 * 2.0 / 3.0), odd, second),
                S::mul_add(S::splat(1.0 / 3.0), S::sub(even2, even), u5),
            ]
        }
    }
}

/// Where a tile's vectors come from.
pub trait Source<S: Simd> {
    /// # Safety
    /// `(i, j)` must be inside the tile.
    unsafe fn at(&self, i: usize, j: usize) -> S::V;
}

/// Where a transformed tile's vectors go.
pub trait Sink<S: Simd> {
    /// # Safety
    /// `(i, j)` must be inside the tile.
    unsafe fn put(&self, i: usize, j: usize, v: S::V);
}

/// A tile at even steps.
#[derive(Clone, Copy)]
pub struct Strided<P> {
    pub base: P,
    pub row: usize,
    pub col: usize,
}

impl<S: Simd> Source<S> for Strided<*const f32> {
    #[inline(always)]
    unsafe fn at(&self, i: usize, j: usize) -> S::V {
        unsafe { S::load(self.base.add(i * self.row + j * self.col)) }
    }
}

impl<S: Simd> Sink<S> for Strided<*mut f32> {
    #[inline(always)]
    unsafe fn put(&self, i: usize, j: usize, v: S::V) {
        unsafe { S::store(self.base.add(i * self.row + j * self.col), v) }
    }
}

/// `L` along both axes: `to = L from Lᵀ`.
///
/// # Safety
/// The processor must have `S`; every place of `from` must be readable and of `to` writable.
#[inline(always)]
pub unsafe fn transform<S: Simd, L: Line<I, O>, const I: usize, const O: usize>(
    from: impl Source<S>,
    to: impl Sink<S>,
) {
    unsafe {
        let mut half = [[S::splat(0.0); I]; O];
        #[allow(clippy::needless_range_loop)]
        for j in 0..I {
            let mut column = [S::splat(0.0); I];
            for (i, value) in column.iter_mut().enumerate() {
                *value = from.at(i, j);
            }
            let column = L::apply::<S>(column);
            for i in 0..O {
                half[i][j] = column[i];
            }
        }
        for (i, row) in half.into_iter().enumerate() {
            for (j, &value) in L::apply::<S>(row).iter().enumerate() {
                to.put(i, j, value);
            }
        }
    }
}
