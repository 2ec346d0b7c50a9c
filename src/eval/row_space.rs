//! Fewer rows than features: a penalised linear fit lies in the span of its rows, so it can be made in their number of
//! dimensions.

use crate::linalg::{Mat, gemm};
use nalgebra::{DMatrix, DMatrixView};

/// An orthonormal basis of the span of rows X \[n,d\], as X = L Q with L Lᵀ = X Xᵀ; Q itself is never needed.
///
/// Weights W' for the coordinates L have the norm of the weights W' Q for X and give the same logits, so a fit under an L2
/// penalty is the same fit.
pub(super) struct RowSpace<'a> {
    x: &'a [f32],
    d: usize,
    /// Lower triangle.
    l: DMatrix<f64>,
}

impl<'a> RowSpace<'a> {
    /// `None` unless there are more features than rows: only then it pays.
    pub(super) fn of(x: &'a [f32], d: usize) -> Option<Self> {
        let n = x.len() / d;
        if n >= d {
            return None;
        }
        let rows = Mat::new(x, n, d);
        let mut gram = vec![0.0; n * n];
        gemm(&mut gram, n, rows, rows.t(), 1.0, false, true);
        let mut gram = DMatrix::from_iterator(n, n, gram.into_iter().map(f64::from));
        // Rows may depend on each other; a little of the mean square, above the rounding of f32, keeps L from breaking.
        let ridge = 1e-6 * gram.trace() / n as f64 + f64::MIN_POSITIVE;
        (0..n).for_each(|i| gram[(i, i)] += ridge);
        Some(Self { x, d, l: gram.cholesky()?.unpack() })
    }

    /// The rows in the basis, L, row-major \[n,n\].
    pub(super) fn coordinates(&self) -> Vec<f32> {
        self.l.transpose().iter().map(|&v| v as f32).collect()
    }

    /// Weights \[classes,n\] and biases \[classes\] for the coordinates as weights \[classes,d\] and biases for the rows:
    /// W = W' L⁻¹ X.
    pub(super) fn back(&self, parameters: &[f64], classes: usize) -> Vec<f64> {
        let n = self.l.nrows();
        let (weights, biases) = parameters.split_at(classes * n);
        // Row-major W' is column-major W'ᵀ.
        let weights = DMatrixView::from_slice(weights, n, classes);
        let of_rows = self.l.tr_solve_lower_triangular(&weights).expect("a positive diagonal");
        let of_rows: Vec<f32> = of_rows.iter().map(|&v| v as f32).collect();
        let mut out = vec![0.0; classes * self.d];
        let (a, x) = (Mat::new(&of_rows, classes, n), Mat::new(self.x, n, self.d));
        gemm(&mut out, self.d, a, x, 1.0, false, true);
        out.into_iter().map(f64::from).chain(biases.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Purpose};

    /// Logits by coordinates are logits by rows, and norms agree, even where a row repeats.
    #[test]
    fn weights_come_back_with_their_logits_and_norm() {
        let (n, d, classes) = (9, 40, 3);
        let mut rng = Philox::new(2, Purpose::Test, 0, 0);
        let mut x: Vec<f32> = (0..n * d).map(|_| rng.normal()).collect();
        x.copy_within(0..d, 8 * d);
        let space = RowSpace::of(&x, d).unwrap();
        let z = space.coordinates();
        // Weights a fit can reach: combinations of rows.
        let a: Vec<f64> = (0..classes * n).map(|_| f64::from(rng.normal())).collect();
        let product = |w: &dyn Fn(usize, usize) -> f64, rows: &[f32], width: usize, i: usize, c: usize| {
            (0..width).map(|j| w(c, j) * f64::from(rows[i * width + j])).sum::<f64>()
        };
        let w = |c: usize, j: usize| (0..n).map(|i| a[c * n + i] * f64::from(z[i * n + j])).sum::<f64>();
        let own: Vec<f64> = (0..classes * n).map(|i| w(i / n, i % n)).chain([0.5, 1.5, 2.5]).collect();
        let back = space.back(&own, classes);
        assert_eq!((back.len(), &back[classes * d..]), (classes * (d + 1), &[0.5, 1.5, 2.5][..]));
        for (i, c) in (0..n).flat_map(|i| (0..classes).map(move |c| (i, c))) {
            let expected = product(&w, &z, n, i, c);
            let got = product(&|c, j| back[c * d + j], &x, d, i, c);
            assert!((expected - got).abs() < 2e-3, "row {i} class {c}: {expected} {got}");
        }
        let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>();
        let (before, after) = (norm(&own[..classes * n]), norm(&back[..classes * d]));
        assert!((before / after - 1.0).abs() < 1e-4, "{before} {after}");
    }

    #[test]
    fn only_where_it_pays_and_never_breaks() {
        assert!(RowSpace::of(&[1.0; 12], 3).is_none());
        let zeros = [0.0; 20];
        let space = RowSpace::of(&zeros, 10);
        assert!(space.is_none_or(|s| s.coordinates().iter().all(|v| v.is_finite())));
    }
}
