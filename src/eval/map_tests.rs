use super::*;
use crate::rng::{Philox, Purpose};

fn blobs(n: usize, d: usize, classes: usize, noise: f32) -> Vec<f32> {
    let mut rng = Philox::new(3, Purpose::Test, 0, 4);
    let mut data = Vec::new();
    for i in 0..n {
        let mut centre = Philox::new(8, Purpose::Test, 5, (i % classes) as u64);
        data.extend((0..d).map(|_| centre.normal() + noise * rng.normal()));
    }
    data
}

#[test]
fn classes_apart_in_space_are_apart_on_the_map() {
    let y = map2d(&blobs(201, 30, 5, 0.3), 30).unwrap();
    let mut hits = 0;
    for (i, a) in y.iter().enumerate() {
        let distance = |b: &[f32; 2]| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
        let nearest =
            (0..y.len()).filter(|&j| j != i).min_by(|&j, &k| distance(&y[j]).total_cmp(&distance(&y[k])));
        hits += usize::from(nearest.unwrap() % 5 == i % 5);
    }
    assert_eq!(hits, 201);
    assert!(y.iter().flatten().all(|v| v.is_finite()));
}

#[test]
fn the_thread_count_changes_nothing() {
    let data = blobs(150, 12, 4, 1.0);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| map2d(&data, 12).unwrap())
    };
    assert_eq!(with(1), with(3));
}

/// The gradient of KL(P‖Q) by central differences, against the forces.
#[test]
fn forces_are_the_gradient() {
    let n = 37;
    let data = blobs(n, 6, 3, 1.0);
    let mut x = data.clone();
    l2_normalize_rows(&mut x, 6);
    let mut p = vec![0.0; n * n];
    gemm(&mut p, n, Mat::new(&x, n, 6), Mat::new(&x, n, 6).t(), 1.0, false, false);
    affinities(&mut p, n);
    let total: f64 = p.iter().map(|&p| f64::from(p)).sum();
    assert!((total - 1.0).abs() < 1e-5, "{total}");

    let mut rng = Philox::new(1, Purpose::Test, 0, 0);
    let y: [Vec<f32>; 2] = [0, 1].map(|_| (0..n).map(|_| rng.normal()).collect());
    let divergence = |y: &[Vec<f64>; 2]| {
        let w = |i: usize, j: usize| 1.0 / (1.0 + (0..2).map(|a| (y[a][i] - y[a][j]).powi(2)).sum::<f64>());
        let pairs = || (0..n * n).map(|ij| (ij / n, ij % n)).filter(|(i, j)| i != j);
        let z: f64 = pairs().map(|(i, j)| w(i, j)).sum();
        pairs()
            .map(|(i, j)| f64::from(p[i * n + j]) * (f64::from(p[i * n + j]) * z / w(i, j)).max(1e-300).ln())
            .sum::<f64>()
    };
    let all: Vec<Forces> = (0..n).map(|i| forces(&p[i * n..][..n], &y[0], &y[1], i)).collect();
    let z = all.iter().map(|f| f64::from(f.weight)).sum::<f64>() - n as f64;
    for i in [0, 5, 36] {
        for axis in 0..2 {
            let at = |h: f64| {
                let mut moved = [0, 1].map(|a: usize| y[a].iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
                moved[axis][i] += h;
                divergence(&moved)
            };
            let numeric = (at(1e-4) - at(-1e-4)) / 2e-4;
            let exact = 4.0 * (f64::from(all[i].attract[axis]) - f64::from(all[i].repel[axis]) / z);
            assert!((numeric - exact).abs() < 1e-5, "point {i} axis {axis}: {numeric} against {exact}");
        }
    }
}

#[test]
fn rows_reach_the_wanted_perplexity() {
    let n = 300;
    let mut x = blobs(n, 10, 6, 0.8);
    l2_normalize_rows(&mut x, 10);
    let row: Vec<f32> =
        x.chunks_exact(10).map(|r| r.iter().zip(&x[..10]).map(|(a, b)| a * b).sum()).collect();
    let mut distances: Vec<f32> = row.iter().map(|c| (2.0 - 2.0 * c).max(0.0)).collect();
    distances[0] = f32::INFINITY;
    // Entropy falls from ln(n - 1) to 0 as the Gaussian narrows.
    let nearest = distances.iter().copied().fold(f32::INFINITY, f32::min);
    let wide = row_entropy(&distances, nearest, 1e-9);
    assert!((wide - f64::from(n as u32 - 1).ln()).abs() < 1e-6);
    assert!(row_entropy(&distances, nearest, 1e9) < 0.1);
}

#[test]
fn collapsed_points_share_a_place() {
    let y = map2d(&vec![0.25; 40 * 8], 8).unwrap();
    assert!(y.iter().flatten().all(|&v| v == 0.0), "{y:?}");
}

#[test]
fn few_points_and_bad_input() {
    for n in 1..6 {
        let y = map2d(&blobs(n, 3, 2, 1.0), 3).unwrap();
        assert!(y.len() == n && y.iter().flatten().all(|v| v.is_finite()), "{y:?}");
    }
    assert_eq!(map2d(&[2.0, -1.0, 3.0], 1).unwrap().len(), 3);
    assert!(map2d(&[1.0, f32::NAN], 2).unwrap_err().to_string().contains("NaN"));
    assert!(map2d(&vec![1.0; MAP_MAX_POINTS + 1], 1).unwrap_err().to_string().contains("pass a subset"));
}
