//! The two register tiles that every technique is made of.
//!
//! [`gather`]: outputs are rows (pixels, or Winograd tiles), the sum runs over taps and input channels, which lie in
//! order at each row's own address. [`outer`]: outputs are rows (input channels at taps), the sum runs over pixels.
//! Both broadcast one value a row against `NV` vectors of output channels; a row is then one load and `NV` multiply-adds,
//! 6 × 2 with AVX2, whose twelve accumulators cover the latency of both multiply-add pipes.

// Indices name registers: every loop over them is unrolled.
#![allow(clippy::needless_range_loop)]

use super::simd::{MAX_ROWS, Simd};

/// Where the terms of a [`gather`] lie, relative to a row's address, in floats.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub rows: usize,
    pub row_step: usize,
    pub cols: usize,
    pub col_step: usize,
    /// Terms that lie side by side.
    pub len: usize,
}

/// Where the pixels of an [`outer`] sum lie, relative to a row's address, in floats.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    pub images: usize,
    pub image_step: usize,
    pub rows: usize,
    pub row_step: usize,
    pub cols: usize,
    pub col_step: usize,
}

/// What [`gather`] does with its sums.
#[derive(Clone, Copy, Debug)]
pub struct Store {
    /// Output channels that exist, of the tile's `NV · LANES`.
    pub valid: usize,
    /// Add to what is there.
    pub accumulate: bool,
}

/// Calls `$f::<S, ROWS, NV>` with the row count as a constant.
macro_rules! with_rows {
    ($s:ident, $nv:ident, $rows:expr, $f:ident $args:tt) => {
        with_rows!(@ $s, $nv, $rows, $f, $args, 1 2 3 4 5 6 7 8 9 10 11 12)
    };
    (@ $s:ident, $nv:ident, $rows:expr, $f:ident, $args:tt, $($m:literal)*) => {
        match $rows {
            $($m if $m <= $s::ROWS => $f::<$s, $m, $nv> $args,)*
            _ => {}
        }
    };
}

/// `y[i][0..valid] (+)= Σ_window a[i][…] · b[…]` for the first `rows` rows; `b` holds `NV · LANES` weights a term.
///
/// # Safety
/// `rows ≤ S::ROWS`; each `a[i]` must be readable over the window, each `y[i]` writable over `valid` floats.
#[inline(always)]
pub unsafe fn gather<S: Simd, const NV: usize>(
    rows: usize,
    a: &[*const f32; MAX_ROWS],
    y: &[*mut f32; MAX_ROWS],
    window: Window,
    b: *const f32,
    store: Store,
) {
    unsafe { with_rows!(S, NV, rows, gather_rows(a, y, window, b, store)) }
}

#[inline(always)]
unsafe fn gather_rows<S: Simd, const M: usize, const NV: usize>(
    a: &[*const f32; MAX_ROWS],
    y: &[*mut f32; MAX_ROWS],
    window: Window,
    mut b: *const f32,
    store: Store,
) {
    unsafe {
        let mut acc = [[S::splat(0.0); NV]; M];
        for row in 0..window.rows {
            for col in 0..window.cols {
                let offset = row * window.row_step + col * window.col_step;
                let a = offset_by::<M>(a, offset);
                for term in 0..window.len {
                    let weights = load::<S, NV>(b);
                    for i in 0..M {
                        let pixel = S::splat(*a[i].add(term));
                        for v in 0..NV {
                            acc[i][v] = S::mul_add(pixel, weights[v], acc[i][v]);
                        }
                    }
                    b = b.add(NV * S::LANES);
                }
            }
        }
        for i in 0..M {
            store_row::<S, NV>(y[i], acc[i], store);
        }
    }
}

/// `dw[i·NV·LANES…] (+)= Σ_walk a[i][…] · b[…]` for the first `rows` rows; `b` holds `NV · LANES` gradients a pixel, in
/// the order of the walk.
///
/// # Safety
/// `rows ≤ S::ROWS`; each `a[i]` must be readable over the walk, `dw` writable over `rows · NV · LANES` floats.
#[inline(always)]
pub unsafe fn outer<S: Simd, const NV: usize>(
    rows: usize,
    a: &[*const f32; MAX_ROWS],
    walk: Walk,
    b: *const f32,
    dw: *mut f32,
    accumulate: bool,
) {
    unsafe { with_rows!(S, NV, rows, outer_rows(a, walk, b, dw, accumulate)) }
}

#[inline(always)]
unsafe fn outer_rows<S: Simd, const M: usize, const NV: usize>(
    a: &[*const f32; MAX_ROWS],
    walk: Walk,
    mut b: *const f32,
    dw: *mut f32,
    accumulate: bool,
) {
    unsafe {
        let mut acc = [[S::splat(0.0); NV]; M];
        for image in 0..walk.images {
            for row in 0..walk.rows {
                let offset = image * walk.image_step + row * walk.row_step;
                let mut a = offset_by::<M>(a, offset);
                for _ in 0..walk.cols {
                    let gradients = load::<S, NV>(b);
                    for i in 0..M {
                        let input = S::splat(*a[i]);
                        a[i] = a[i].wrapping_add(walk.col_step);
                        for v in 0..NV {
                            acc[i][v] = S::mul_add(input, gradients[v], acc[i][v]);
                        }
                    }
                    b = b.add(NV * S::LANES);
                }
            }
        }
        let store = Store { valid: NV * S::LANES, accumulate };
        for i in 0..M {
            store_row::<S, NV>(dw.add(i * NV * S::LANES), acc[i], store);
        }
    }
}

// Loops instead of `array::from_fn`: a closure is not sure to be inlined into the function that has the instruction set.
#[inline(always)]
unsafe fn load<S: Simd, const NV: usize>(from: *const f32) -> [S::V; NV] {
    unsafe {
        let mut vectors = [S::splat(0.0); NV];
        for (v, vector) in vectors.iter_mut().enumerate() {
            *vector = S::load(from.add(v * S::LANES));
        }
        vectors
    }
}

#[inline(always)]
fn offset_by<const M: usize>(rows: &[*const f32; MAX_ROWS], offset: usize) -> [*const f32; M] {
    let mut moved = [std::ptr::null(); M];
    for i in 0..M {
        moved[i] = opaque(rows[i].wrapping_add(offset));
    }
    moved
}

/// The same pointer, of unknown origin. Rows at equal steps would otherwise be addressed from one another, and the sums of
/// steps that this takes spill out of the registers, into the innermost loop.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn opaque(mut pointer: *const f32) -> *const f32 {
    // SAFETY: no instruction, so no access to memory either.
    #[allow(clippy::pointers_in_nomem_asm_block)]
    unsafe {
        std::arch::asm!("/* {0} */", inout(reg) pointer, options(pure, nomem, nostack, preserves_flags));
    }
    pointer
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn opaque(pointer: *const f32) -> *const f32 {
    pointer
}

#[inline(always)]
unsafe fn store_row<S: Simd, const NV: usize>(y: *mut f32, acc: [S::V; NV], store: Store) {
    unsafe {
        if store.valid == NV * S::LANES {
            for v in 0..NV {
                let y = y.add(v * S::LANES);
                let sum = if store.accumulate { S::add(S::load(y), acc[v]) } else { acc[v] };
                S::store(y, sum);
            }
        } else {
            let mut row = [0.0; 32];
            for v in 0..NV {
                S::store(row.as_mut_ptr().add(v * S::LANES), acc[v]);
            }
            for (i, &sum) in row[..store.valid].iter().enumerate() {
                let y = y.add(i);
                *y = if store.accumulate { *y + sum } else { sum };
            }
        }
    }
}

/// Splits `len` rows into tiles `(first, rows)` of at most `most`, as even as they come: a tile of one row would starve
/// the multiply-add pipes.
#[inline(always)]
pub fn even_tiles(len: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = len.div_ceil(most);
    let (rows, longer) = (len / tiles.max(1), len % tiles.max(1));
    (0..tiles).map(move |tile| (tile * rows + tile.min(longer), rows + usize::from(tile < longer)))
}
