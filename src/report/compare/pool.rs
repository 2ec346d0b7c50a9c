//! The curves of several seeds as one.

use crate::eval::Spread;
use crate::report::lines::Point;

/// At each x the mean over the runs that have a point there, with Student's interval over them; where only one has, its
/// own point and interval. `range` is what y can be.
pub(super) fn pooled(curves: &[Vec<Point>], range: [f64; 2]) -> Vec<Point> {
    let mut xs: Vec<f64> = curves.iter().flatten().map(|p| p.x).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let at = |x: f64| {
        let here: Vec<Point> =
            curves.iter().filter_map(|curve| curve.iter().find(|p| p.x == x)).copied().collect();
        if let [only] = here[..] {
            return only;
        }
        let Spread { mean, low, high, .. } = Spread::of(here.iter().map(|p| p.y).collect(), range);
        Point { x, y: mean, low, high }
    };
    xs.into_iter().map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_over_runs_and_the_only_run_as_it_is() {
        let p = |x, y| Point { x, y, low: y - 0.01, high: y + 0.01 };
        let found = pooled(&[vec![p(0.0, 0.4), p(1.0, 0.5)], vec![p(1.0, 0.6)]], [0.0, 1.0]);
        assert_eq!((found.len(), found[0]), (2, p(0.0, 0.4)));
        // t(1) = 12.706 times 0.05, the standard error of 0.5 and 0.6: cut to what a share can be.
        assert!((found[1].y - 0.55).abs() < 1e-12);
        assert_eq!((found[1].low, found[1].high), (0.0, 1.0));
        assert!(pooled(&[], [0.0, 1.0]).is_empty());
    }
}
