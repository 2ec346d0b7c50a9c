//! Has the representation collapsed? Four numbers on l2-normalised features.

use crate::eval::features::{check_rows, l2_normalize_rows};
use crate::eval::spectrum::{effective_rank, singular_values};
use crate::linalg::{Mat, gemm};
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Rows uniformity looks at, evenly spread, if there are more: two million pairs.
const UNIFORMITY_ROWS: usize = 2048;
const ROW_BLOCK: usize = 128;

/// The state of a representation. All on l2-normalised features.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collapse {
    /// Standard deviation of a feature over samples, averaged over features: 0 if all samples coincide.
    pub std: f64,
    /// 1/√d, the value of [`std`](Self::std) for points spread evenly over the sphere (SimSiam, section 4.1).
    pub std_ideal: f64,
    /// Directions filled, from 1 to d ([`effective_rank`]).
    pub effective_rank: f64,
    /// Mean squared distance of the two views of an image; 0 is perfect invariance ([`alignment`]).
    pub alignment: f64,
    /// Near 0 if samples crowd together, towards −4 as they spread ([`uniformity`]).
    pub uniformity: f64,
}

impl Collapse {
    /// Measures the features of two views, `[n, d]` each; row i of both comes from image i.
    ///
    /// Errors: no rows, different shapes, values not finite.
    pub fn of_views(a: &[f32], b: &[f32], d: usize) -> Result<Self> {
        check_pair("collapse", a, b, d)?;
        let (mut a, mut b) = (a.to_vec(), b.to_vec());
        l2_normalize_rows(&mut a, d);
        l2_normalize_rows(&mut b, d);
        let both = [&a[..], &b[..]].concat();
        let std = std_of_unit_rows(&both, d);
        // Below the rounding of f32 there is noise, not directions.
        let rank = if std > 1e-6 { effective_rank(&singular_values(&both, d)) } else { 1.0 };
        Ok(Self {
            std,
            std_ideal: 1.0 / (d as f64).sqrt(),
            effective_rank: rank,
            alignment: alignment_of_unit_rows(&a, &b, d),
            uniformity: (uniformity_of_unit_rows(&a, d) + uniformity_of_unit_rows(&b, d)) / 2.0,
        })
    }
}

/// Standard deviation of each l2-normalised feature over the rows of `data` `[n, d]`, averaged over features: the
/// collapse monitor of SimSiam (Chen & He 2021, section 4.1). Cheap enough for every step; NaN if a value is.
pub fn feature_std(data: &[f32], d: usize) -> f64 {
    let mut rows = data.to_vec();
    l2_normalize_rows(&mut rows, d);
    std_of_unit_rows(&rows, d)
}

fn std_of_unit_rows(rows: &[f32], d: usize) -> f64 {
    if d == 0 || rows.is_empty() {
        return 0.0;
    }
    let n = (rows.len() / d) as f64;
    let mut mean = vec![0.0; d];
    for row in rows.chunks_exact(d) {
        mean.iter_mut().zip(row).for_each(|(m, &x)| *m += f64::from(x) / n);
    }
    // Two passes: near collapse, where it matters most, E[x²] − E[x]² would cancel.
    let mut var = vec![0.0; d];
    for row in rows.chunks_exact(d) {
        for ((v, m), &x) in var.iter_mut().zip(&mean).zip(row) {
            *v += (f64::from(x) - m).powi(2) / n;
        }
    }
    var.iter().map(|v| v.sqrt()).sum::<f64>() / d as f64
}

/// E ‖f(x) − f(x⁺)‖² over positive pairs, rows i of `a` and `b` `[n, d]` l2-normalised (Wang & Isola 2020,
/// "Understanding contrastive representation learning through alignment and uniformity", α = 2). From 0 to 4.
pub fn alignment(a: &[f32], b: &[f32], d: usize) -> Result<f64> {
    check_pair("alignment", a, b, d)?;
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    l2_normalize_rows(&mut a, d);
    l2_normalize_rows(&mut b, d);
    Ok(alignment_of_unit_rows(&a, &b, d))
}

fn alignment_of_unit_rows(a: &[f32], b: &[f32], d: usize) -> f64 {
    let squares = a.iter().zip(b).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2));
    squares.sum::<f64>() / (a.len() / d) as f64
}

/// log E exp(−2 ‖f(x) − f(y)‖²) over distinct rows of `data` `[n, d]`, l2-normalised (Wang & Isola 2020, t = 2), on at
/// most 2,048 rows. 0 if all coincide, about −4 on an even sphere of many dimensions. One row gives 0.
pub fn uniformity(data: &[f32], d: usize) -> Result<f64> {
    check_rows("uniformity", data, d)?;
    let mut rows = data.to_vec();
    l2_normalize_rows(&mut rows, d);
    Ok(uniformity_of_unit_rows(&rows, d))
}

fn uniformity_of_unit_rows(rows: &[f32], d: usize) -> f64 {
    let all = rows.len() / d;
    let n = all.min(UNIFORMITY_ROWS);
    if n < 2 {
        return 0.0;
    }
    let x: Vec<f32> = (0..n).flat_map(|i| &rows[(i * all / n) * d..][..d]).copied().collect();
    let sums: Vec<f64> = x
        .par_chunks(ROW_BLOCK * d)
        .enumerate()
        .map(|(block, part)| {
            let rows = part.len() / d;
            let mut cosines = vec![0.0; rows * n];
            gemm(&mut cosines, n, Mat::new(part, rows, d), Mat::new(&x, n, d).t(), 1.0, false, false);
            // ‖x − y‖² = 2 − 2 cos, over pairs i < j.
            let later = |i: usize| &cosines[i * n + block * ROW_BLOCK + i + 1..(i + 1) * n];
            (0..rows).flat_map(later).map(|&cos| (4.0 * f64::from(cos.min(1.0)) - 4.0).exp()).sum()
        })
        .collect();
    let pairs = (n * (n - 1) / 2) as f64;
    (sums.iter().sum::<f64>() / pairs).ln()
}

fn check_pair(op: &'static str, a: &[f32], b: &[f32], d: usize) -> Result<()> {
    let (n, m) = (check_rows(op, a, d)?, check_rows(op, b, d)?);
    if n != m {
        return Err(Error::op(op, format!("{n} rows of the first view, {m} of the second")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Purpose};

    fn noise(n: usize, d: usize, shift: f32, seed: u64) -> Vec<f32> {
        let mut rng = Philox::new(seed, Purpose::Test, 0, 3);
        (0..n * d).map(|_| rng.normal() + shift).collect()
    }

    #[test]
    fn an_even_sphere_has_the_ideal_values() {
        let d = 64;
        let (a, b) = (noise(3000, d, 0.0, 1), noise(3000, d, 0.0, 2));
        let c = Collapse::of_views(&a, &b, d).unwrap();
        assert!((c.std / c.std_ideal - 1.0).abs() < 0.01, "{c:?}");
        assert!(c.effective_rank > 0.98 * d as f64 && c.effective_rank <= d as f64, "{c:?}");
        // Independent views are √2 apart.
        assert!((c.alignment - 2.0).abs() < 0.02, "{c:?}");
        // −4 + log E exp(4 cos) with cos ~ N(0, 1/d): −4 + 8/d.
        assert!((c.uniformity + 4.0 - 8.0 / d as f64).abs() < 0.01, "{c:?}");
        assert!((feature_std(&a, d) / c.std_ideal - 1.0).abs() < 0.01);
    }

    #[test]
    fn a_point_has_none() {
        let a = vec![0.3; 50 * 7];
        let c = Collapse::of_views(&a, &a, 7).unwrap();
        assert!(c.std < 1e-12 && c.alignment < 1e-12 && c.uniformity.abs() < 1e-5, "{c:?}");
        assert_eq!((c.effective_rank, feature_std(&a, 7) < 1e-12), (1.0, true));
    }

    #[test]
    fn hand_made_cases() {
        // Views 90° apart, then opposite: squared distances 2 and 4.
        let a = [1., 0., 0., 3.];
        assert!((alignment(&a, &[0., 2., 0., -1.], 2).unwrap() - 3.0).abs() < 1e-6);
        assert_eq!(alignment(&a, &a, 2).unwrap(), 0.0);
        // Three points: one pair coincides, two are opposite (squared distance 4).
        let expected = ((1.0 + 2.0 * (-8f64).exp()) / 3.0).ln();
        assert!((uniformity(&[1., 0., 2., 0., -1., 0.], 2).unwrap() - expected).abs() < 1e-6);
        // Half the rows at +1, half at −1 in one dimension: std 1, which is the ideal.
        assert_eq!(feature_std(&[5., -2., 0.1, -9.], 1), 1.0);
        // One row has no spread and no pairs.
        let one = Collapse::of_views(&[1., 2.], &[1., 2.], 2).unwrap();
        assert_eq!((one.std, one.uniformity, one.effective_rank), (0.0, 0.0, 1.0));
    }

    #[test]
    fn bad_input_is_an_error_and_nan_stays_nan() {
        assert!(Collapse::of_views(&[1., f32::NAN], &[1., 2.], 2).unwrap_err().to_string().contains("NaN"));
        assert!(
            alignment(&[1., 2.], &[1., 2., 3., 4.], 2)
                .unwrap_err()
                .to_string()
                .contains("1 rows of the first")
        );
        assert!(uniformity(&[], 2).is_err());
        assert!(feature_std(&[1., f32::NAN, 1., 1.], 2).is_nan());
    }

    #[test]
    fn more_rows_than_pairs_are_taken_from() {
        let a = noise(5000, 16, 0.7, 4);
        let whole = uniformity(&a, 16).unwrap();
        let part = uniformity(&a[..2048 * 16], 16).unwrap();
        assert!((whole - part).abs() < 0.05, "{whole} {part}");
    }
}
