//! How many directions features fill: singular values and the effective rank.

use nalgebra::DMatrix;

/// Rows looked at, evenly spread, if there are more.
const MAX_ROWS: usize = 8192;

/// Singular values, largest first, of the centred rows of `data` `[n, d]` divided by √n: the square roots of the
/// eigenvalues of the covariance. In f64, since a square root halves the digits of the small ones.
pub fn singular_values(data: &[f32], d: usize) -> Vec<f64> {
    if d == 0 || data.len() < d {
        return Vec::new();
    }
    let n = data.len() / d;
    let rows = n.min(MAX_ROWS);
    // Column-major [d, rows]: each row of the data is one column.
    let mut x = DMatrix::from_fn(d, rows, |j, i| f64::from(data[(i * n / rows) * d + j]));
    let mean = x.column_mean();
    x.column_iter_mut().for_each(|mut row| row -= &mean);
    // The smaller Gram matrix has the same non-zero eigenvalues.
    let gram = if d <= rows { &x * x.transpose() } else { x.transpose() * &x } / rows as f64;
    let mut values: Vec<f64> = gram.symmetric_eigenvalues().iter().map(|v| v.max(0.0).sqrt()).collect();
    values.sort_by(|a, b| b.total_cmp(a));
    values
}

/// exp of the entropy of the normalised singular values (Roy & Vetterli 2007, "The effective rank"): between 1 and
/// their number, and k for k equal ones. No spread at all counts as 1: a single point. NaN if a
/// value is.
pub fn effective_rank(singular_values: &[f64]) -> f64 {
    let sum: f64 = singular_values.iter().sum();
    if sum <= 0.0 {
        return 1.0;
    }
    let entropy = |s: &f64| if *s == 0.0 { 0.0 } else { -(s / sum) * (s / sum).ln() };
    singular_values.iter().map(entropy).sum::<f64>().exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_rank_of_known_spectra() {
        assert!((effective_rank(&[2.0; 5]) - 5.0).abs() < 1e-12);
        assert!((effective_rank(&[3.0, 0.0, 0.0]) - 1.0).abs() < 1e-12);
        // p = (3/4, 1/4): exp(H) = 4 / 3^(3/4).
        assert!((effective_rank(&[3.0, 1.0]) - 4.0 / 3f64.powf(0.75)).abs() < 1e-12);
        assert_eq!((effective_rank(&[]), effective_rank(&[0.0, 0.0])), (1.0, 1.0));
        assert!(effective_rank(&[1.0, f64::NAN]).is_nan());
    }

    #[test]
    fn singular_values_of_points_on_axes() {
        // ±3 on the first axis, ±1 on the second, shifted away from the origin; twelve points.
        let mut data = Vec::new();
        for _ in 0..3 {
            data.extend([13., 5., 7., 7., 5., 7., 10., 6., 7., 10., 4., 7.]);
        }
        let values = singular_values(&data, 3);
        let expected = [4.5f64.sqrt(), 0.5f64.sqrt(), 0.0];
        assert!(values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{values:?}");
        // Fewer rows than columns: the same points in a space of 20 dimensions.
        let wide: Vec<f32> = data.chunks(3).flat_map(|p| p.iter().copied().chain([0.0; 17])).collect();
        let values = singular_values(&wide, 20);
        assert_eq!(values.len(), 12);
        assert!((values[0] - expected[0]).abs() < 1e-9 && (values[1] - expected[1]).abs() < 1e-9);
        assert!(values[2] < 1e-6, "{values:?}");
    }

    #[test]
    fn one_row_or_none() {
        assert_eq!(singular_values(&[1., 2., 3.], 3), [0.0]);
        assert!(singular_values(&[], 3).is_empty());
    }
}
