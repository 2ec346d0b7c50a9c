//! Limited-memory BFGS for smooth convex functions (Nocedal & Wright, "Numerical Optimization", algorithms 7.4 and
//! 7.5).

use std::collections::VecDeque;

/// Pairs (step, change of gradient) remembered.
const MEMORY: usize = 12;

/// A smooth convex function of f64 parameters.
pub(super) trait Objective {
    /// The value at `x`; the gradient goes to `gradient`.
    fn evaluate(&self, x: &[f64], gradient: &mut [f64]) -> f64;

    /// Replaces `v` by H⁻¹ v for some positive definite H near the Hessian.
    fn precondition(&self, v: &mut [f64]);
}

/// When to stop.
pub(super) struct Stop {
    pub iterations: usize,
    /// Three iterations in a row that each lower the value by less than this share end the search.
    pub tolerance: f64,
}

/// Minimises from `x`, in place; returns the value reached and the iterations used.
pub(super) fn minimise(objective: &impl Objective, x: &mut Vec<f64>, stop: &Stop) -> (f64, usize) {
    let mut gradient = vec![0.0; x.len()];
    let mut value = objective.evaluate(x, &mut gradient);
    let mut pairs: VecDeque<Pair> = VecDeque::with_capacity(MEMORY);
    let (mut next, mut next_gradient) = (x.clone(), gradient.clone());
    let mut slow = 0;
    for iteration in 0..stop.iterations {
        let direction = descent(&gradient, &pairs, objective);
        let slope = dot(&gradient, &direction);
        if slope >= 0.0 || slope.is_nan() {
            return (value, iteration);
        }
        // Backtracking: the preconditioner makes the natural step about 1.
        let mut step = 1.0;
        let next_value = loop {
            for ((n, x), d) in next.iter_mut().zip(x.iter()).zip(&direction) {
                *n = x + step * d;
            }
            let candidate = objective.evaluate(&next, &mut next_gradient);
            if candidate <= value + 1e-4 * step * slope {
                break candidate;
            }
            step *= 0.5;
            if step < 1e-6 {
                // Below the noise of f32 sums: as low as it gets.
                return (value, iteration);
            }
        };
        remember(&mut pairs, x, &next, &gradient, &next_gradient);
        std::mem::swap(x, &mut next);
        std::mem::swap(&mut gradient, &mut next_gradient);
        slow = if value - next_value <= stop.tolerance * value.abs() { slow + 1 } else { 0 };
        value = next_value;
        if slow == 3 {
            return (value, iteration + 1);
        }
    }
    (value, stop.iterations)
}

struct Pair {
    s: Vec<f64>,
    y: Vec<f64>,
    /// 1 / (s · y)
    rho: f64,
}

fn remember(pairs: &mut VecDeque<Pair>, x: &[f64], next: &[f64], g: &[f64], next_g: &[f64]) {
    let s: Vec<f64> = next.iter().zip(x).map(|(a, b)| a - b).collect();
    let y: Vec<f64> = next_g.iter().zip(g).map(|(a, b)| a - b).collect();
    let sy = dot(&s, &y);
    // Convexity makes s · y positive; rounding may not.
    if sy > 1e-12 * dot(&y, &y).sqrt() * dot(&s, &s).sqrt() {
        if pairs.len() == MEMORY {
            pairs.pop_front();
        }
        pairs.push_back(Pair { s, y, rho: 1.0 / sy });
    }
}

/// The two-loop recursion: −H⁻¹ g with H⁻¹ from the pairs over the preconditioner.
fn descent(gradient: &[f64], pairs: &VecDeque<Pair>, objective: &impl Objective) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut alphas = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let alpha = pair.rho * dot(&pair.s, &q);
        axpy(&mut q, -alpha, &pair.y);
        alphas.push(alpha);
    }
    objective.precondition(&mut q);
    if let Some(last) = pairs.back() {
        // The preconditioner bounds the Hessian from above; the last pair says by how much.
        let mut hy = last.y.clone();
        objective.precondition(&mut hy);
        let gamma = 1.0 / (last.rho * dot(&last.y, &hy));
        q.iter_mut().for_each(|v| *v *= gamma);
    }
    for (pair, alpha) in pairs.iter().zip(alphas.into_iter().rev()) {
        let beta = pair.rho * dot(&pair.y, &q);
        axpy(&mut q, alpha - beta, &pair.s);
    }
    q
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn axpy(y: &mut [f64], alpha: f64, x: &[f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += alpha * x);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Σ cᵢ (xᵢ − i)² + (Σ x − s)², a badly scaled quadratic, preconditioned by its diagonal or not at all.
    struct Quadratic {
        scales: Vec<f64>,
        preconditioned: bool,
    }

    impl Objective for Quadratic {
        fn evaluate(&self, x: &[f64], gradient: &mut [f64]) -> f64 {
            let excess = x.iter().enumerate().map(|(i, x)| x - i as f64).sum::<f64>();
            let mut value = excess * excess;
            for (i, ((g, x), c)) in gradient.iter_mut().zip(x).zip(&self.scales).enumerate() {
                value += c * (x - i as f64).powi(2);
                *g = 2.0 * c * (x - i as f64) + 2.0 * excess;
            }
            value
        }

        fn precondition(&self, v: &mut [f64]) {
            if self.preconditioned {
                v.iter_mut().zip(&self.scales).for_each(|(v, c)| *v /= 2.0 * (c + 1.0));
            }
        }
    }

    #[test]
    fn finds_the_minimum_of_a_badly_scaled_quadratic() {
        let scales: Vec<f64> = (0..40).map(|i| 10f64.powf(f64::from(i % 5) - 2.0)).collect();
        let mut used = vec![];
        for preconditioned in [false, true] {
            let objective = Quadratic { scales: scales.clone(), preconditioned };
            let mut x = vec![7.0; 40];
            let (value, n) = minimise(&objective, &mut x, &Stop { iterations: 2000, tolerance: 1e-14 });
            assert!(value < 1e-9, "{value} after {n}");
            assert!(x.iter().enumerate().all(|(i, x)| (x - i as f64).abs() < 1e-3), "{x:?}");
            used.push(n);
        }
        assert!(used[1] < used[0], "the preconditioner should help: {used:?}");
    }

    #[test]
    fn stays_at_a_minimum() {
        let objective = Quadratic { scales: vec![1.0; 3], preconditioned: true };
        let mut x = vec![0.0, 1.0, 2.0];
        assert_eq!(minimise(&objective, &mut x, &Stop { iterations: 9, tolerance: 1e-9 }), (0.0, 0));
    }
}
