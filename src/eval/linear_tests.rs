use super::super::lbfgs::Objective;
use super::*;

fn gaussian(n: usize, d: usize, classes: usize, spread: f32, seed: u64) -> Features {
    let mut rng = Philox::new(seed, Purpose::Test, 0, 2);
    let labels: Vec<i64> = (0..n).map(|i| (i % classes) as i64 * 10 - 5).collect();
    let mut data = Vec::new();
    for &label in &labels {
        let mut centre = Philox::new(5, Purpose::Test, 3, label as u64);
        // Column scales differ by 1e6: standardising has to take care of that.
        data.extend((0..d).map(|j| (centre.normal() + spread * rng.normal()) * 10f32.powi(j as i32 % 7 - 3)));
    }
    Features::new(data, d, labels).unwrap()
}

#[test]
fn separable_classes_are_separated() {
    let probe =
        linear_probe(&gaussian(600, 20, 6, 0.1, 1), &gaussian(300, 20, 6, 0.1, 2), &Default::default())
            .unwrap();
    assert_eq!((probe.accuracy.top1, probe.accuracy.top5, probe.accuracy.samples), (1.0, 1.0, 300));
    assert!((1..=7).contains(&probe.tried.len()), "{probe:?}");
}

/// Two classes with equal covariance: the best possible error is Φ(−Δ/2), here with Δ = 2.
#[test]
fn reaches_the_bayes_error_of_two_gaussians() {
    let sample = |n: usize, seed| {
        let mut rng = Philox::new(seed, Purpose::Test, 0, 9);
        let labels: Vec<i64> = (0..n).map(|i| (i % 2) as i64).collect();
        let data = (0..n * 8).map(|i| rng.normal() + ((i / 8 % 2) as f32) * 2.0 / 8f32.sqrt()).collect();
        Features::new(data, 8, labels).unwrap()
    };
    let probe = linear_probe(&sample(20_000, 1), &sample(40_000, 2), &Default::default()).unwrap();
    assert!((probe.accuracy.top1 - 0.8413).abs() < 0.005, "{probe:?}");
}

#[test]
fn gradient_is_the_derivative() {
    let f = gaussian(50, 5, 3, 1.0, 3);
    let y: Vec<Option<usize>> = f.labels.iter().map(|l| Some(((l + 5) / 10) as usize)).collect();
    let mut x = f.data.clone();
    Standardizer::fit(&x, 5).apply(&mut x);
    let problem = Problem::new(&x, &y, 3, 0.05, &covariance(&x, 5));
    let mut rng = Philox::new(4, Purpose::Test, 0, 0);
    let at: Vec<f64> = (0..18).map(|_| f64::from(rng.normal())).collect();
    let mut gradient = vec![0.0; 18];
    problem.evaluate(&at, &mut gradient);
    let mut scratch = vec![0.0; 18];
    for i in 0..18 {
        let mut value = |h: f64| {
            let mut x = at.clone();
            x[i] += h;
            problem.evaluate(&x, &mut scratch)
        };
        let numeric = (value(1e-2) - value(-1e-2)) / 2e-2;
        assert!((numeric - gradient[i]).abs() < 2e-4, "parameter {i}: {numeric} against {}", gradient[i]);
    }
}

/// Constant features leave only the biases, whose optimum is the logarithm of the class frequencies.
#[test]
fn without_information_the_most_frequent_class_wins() {
    let labels: Vec<i64> = (0..100).map(|i| i64::from(i % 10 >= 3) + i64::from(i % 10 >= 9)).collect();
    let train = Features::new(vec![3.0; 200], 2, labels.clone()).unwrap();
    let probe = linear_probe(&train, &train, &Default::default()).unwrap();
    assert!((probe.accuracy.top1 - 0.6).abs() < 1e-12, "{probe:?}");

    let x = vec![0.0; 200];
    let y: Vec<Option<usize>> = labels.iter().map(|&l| Some(l as usize)).collect();
    let mut w = vec![0.0; 9];
    let problem = Problem::new(&x, &y, 3, 1e-3, &covariance(&x, 2));
    let (loss, _) = minimise(&problem, &mut w, &Stop { iterations: 100, tolerance: 1e-9 });
    let entropy = -[0.3f64, 0.6, 0.1].iter().map(|p| p * p.ln()).sum::<f64>();
    assert!((loss - entropy).abs() < 1e-6, "{loss} against {entropy}");
}

/// At the optimum of a penalised fit the gradient vanishes, whatever path led there.
#[test]
fn the_optimum_is_one() {
    let f = gaussian(400, 12, 4, 2.0, 6);
    let y: Vec<Option<usize>> = f.labels.iter().map(|l| Some(((l + 5) / 10) as usize)).collect();
    let mut x = f.data.clone();
    Standardizer::fit(&x, 12).apply(&mut x);
    let problem = Problem::new(&x, &y, 4, 1e-2, &covariance(&x, 12));
    let stop = Stop { iterations: 500, tolerance: 1e-10 };
    let fit = |start: f64| {
        let mut w = vec![start; 4 * 13];
        w[7] = -start;
        (minimise(&problem, &mut w, &stop).0, w)
    };
    let ((a, wa), (b, wb)) = (fit(0.0), fit(2.0));
    assert!((a - b).abs() < 1e-6, "{a} {b}");
    // Biases are free up to a common shift; weights are not.
    let worst = wa[..48].iter().zip(&wb[..48]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < 5e-3, "{worst}");
}

/// With more features than rows the fit is made in the span of the rows: the same fit.
#[test]
fn the_span_of_the_rows_is_enough() {
    let (n, d, classes) = (40, 90, 4);
    let f = gaussian(n, d, classes, 2.0, 9);
    let y: Vec<Option<usize>> = f.labels.iter().map(|l| Some(((l + 5) / 10) as usize)).collect();
    let mut x = f.data.clone();
    Standardizer::fit(&x, d).apply(&mut x);
    let stop = Stop { iterations: 500, tolerance: 1e-10 };
    let fit = |x: &[f32], d: usize| {
        let mut w = vec![0.0; classes * (d + 1)];
        minimise(&Problem::new(x, &y, classes, 3e-2, &covariance(x, d)), &mut w, &stop);
        w
    };
    let direct = fit(&x, d);
    let space = RowSpace::of(&x, d).unwrap();
    let back = space.back(&fit(&space.coordinates(), n), classes);
    let worst = direct.iter().zip(&back).take(classes * d).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let largest = direct[..classes * d].iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    assert!(worst < 1e-2 * largest, "{worst} of {largest}");
}

/// 100 rows hold out 20, each fifth in turn: the accuracy that chooses counts every row once.
#[test]
fn few_rows_choose_by_cross_validation() {
    let (train, test) = (gaussian(100, 30, 4, 3.0, 1), gaussian(2000, 30, 4, 3.0, 2));
    let probe = linear_probe(&train, &test, &Default::default()).unwrap();
    assert!(probe.tried.len() > 1, "{probe:?}");
    for (_, top1) in &probe.tried {
        let hits = top1 * 100.0;
        assert!((hits - hits.round()).abs() < 1e-9, "{probe:?}");
        // Every row was judged by a fit that had not seen it, so what is seen is near what the test set says.
        assert!((top1 - probe.accuracy.top1).abs() < 0.15, "{probe:?}");
    }
    let of_twenty = probe.tried.iter().all(|(_, top1)| ((top1 * 20.0).round() - top1 * 20.0).abs() < 1e-9);
    assert!(!of_twenty, "a single part of 20 rows was judged: {probe:?}");
}

#[test]
fn the_thread_count_changes_nothing() {
    let (train, test) = (gaussian(3000, 17, 5, 2.0, 7), gaussian(500, 17, 5, 2.0, 8));
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| linear_probe(&train, &test, &Default::default()).unwrap())
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn small_and_odd_sets() {
    let tiny = |labels: &[i64]| {
        Features::new((0..labels.len()).map(|i| i as f32).collect(), 1, labels.to_vec()).unwrap()
    };
    // One row, one class; the class of the second test row was never seen.
    let probe = linear_probe(&tiny(&[7]), &tiny(&[7, 8]), &Default::default()).unwrap();
    assert_eq!((probe.accuracy.top1, probe.tried.len()), (0.5, 0));
    let probe = linear_probe(&tiny(&[0, 0, 1, 1]), &tiny(&[0, 0, 1, 1]), &Default::default()).unwrap();
    assert_eq!(probe.accuracy.top1, 1.0);
    // More features than rows.
    assert_eq!(
        linear_probe(&gaussian(30, 100, 2, 0.1, 1), &gaussian(30, 100, 2, 0.1, 1), &Default::default())
            .unwrap()
            .accuracy
            .top1,
        1.0
    );
}

#[test]
fn says_what_is_wrong() {
    let good = Features::new(vec![1., 2.], 1, vec![0, 1]).unwrap();
    let say = |o: LinearOptions| linear_probe(&good, &good, &o).unwrap_err().to_string();
    assert!(say(LinearOptions { l2: vec![], ..Default::default() }).contains("eval.linear_l2"));
    assert!(say(LinearOptions { l2: vec![f64::NAN], ..Default::default() }).contains("eval.linear_l2"));
    assert!(say(LinearOptions { holdout: 1.0, ..Default::default() }).contains("eval.linear_holdout"));
    let nan = Features { data: vec![0.0, f32::INFINITY], n: 2, d: 1, labels: vec![0, 1] };
    let error = linear_probe(&nan, &good, &Default::default()).unwrap_err().to_string();
    assert!(error.contains("feature 0 of row 1 is inf"), "{error}");
}
