//! The definition, in f64: what every technique is compared with.

use super::geometry::Geometry;

/// Calls `f(x, w, y)` with the three indices of every product of the convolution.
fn products(g: &Geometry, mut f: impl FnMut(usize, usize, usize)) {
    let inside = |out: usize, axis: usize, tap: usize, size: usize| {
        (out * g.stride[axis] + tap * g.dilation[axis]).checked_sub(g.padding[axis]).filter(|&at| at < size)
    };
    for n in 0..g.n {
        for p in 0..g.p() {
            for q in 0..g.q() {
                for (r, s) in (0..g.r).flat_map(|r| (0..g.s).map(move |s| (r, s))) {
                    let (Some(h), Some(w)) = (inside(p, 0, r, g.h), inside(q, 1, s, g.w)) else {
                        continue;
                    };
                    for (k, c) in (0..g.k).flat_map(|k| (0..g.c).map(move |c| (k, c))) {
                        let x = ((n * g.h + h) * g.w + w) * g.c + c;
                        let y = ((n * g.p() + p) * g.q() + q) * g.k + k;
                        f(x, ((k * g.r + r) * g.s + s) * g.c + c, y);
                    }
                }
            }
        }
    }
}

/// Slices of f32 or f64.
pub fn forward<T: Copy + Into<f64>>(g: &Geometry, x: &[T], w: &[T]) -> Vec<f64> {
    let mut y = vec![0.0; g.y_len()];
    products(g, |ix, iw, iy| y[iy] += x[ix].into() * w[iw].into());
    y
}

#[cfg(test)]
pub fn bwd_input(g: &Geometry, dy: &[f32], w: &[f32]) -> Vec<f64> {
    let mut dx = vec![0.0; g.x_len()];
    products(g, |ix, iw, iy| dx[ix] += f64::from(dy[iy]) * f64::from(w[iw]));
    dx
}

#[cfg(test)]
pub fn bwd_weight(g: &Geometry, x: &[f32], dy: &[f32]) -> Vec<f64> {
    let mut dw = vec![0.0; g.w_len()];
    products(g, |ix, iw, iy| dw[iw] += f64::from(x[ix]) * f64::from(dy[iy]));
    dw
}
