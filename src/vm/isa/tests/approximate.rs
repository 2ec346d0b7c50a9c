use super::float::{INF, NAN, NAN_IN, SUB};
use super::{f, random, result, table};

/// sin x and cos x by their series, for |x| ≤ 2π.
fn series(x: f64, first: f64, from: i32) -> f64 {
    let mut term = first;
    (0..30).fold(0.0, |sum, n| {
        let now = term;
        let k = f64::from(2 * n + from);
        term *= -x * x / ((k + 1.0) * (k + 2.0));
        sum + now
    })
}

/// 2^x by the series of e^(f ln 2), f the fraction.
fn power_of_two(x: f64) -> f64 {
    let (whole, fraction) = (x.round(), (x - x.round()) * std::f64::consts::LN_2);
    let mut term = 1.0;
    let sum = (1..25).fold(1.0, |sum, n| {
        term *= fraction / f64::from(n);
        sum + term
    });
    sum * 2f64.powi(whole as i32)
}

#[test]
fn approximations_are_within_their_documented_error() {
    let mut next = random(3);
    let mut uniform = |low: f32, high: f32| low + (high - low) * ((next() >> 40) as f32 / (1 << 24) as f32);
    let relative = |x: f64, exact: f64| (x - exact).abs() / exact.abs();
    for _ in 0..500 {
        let (angle, a, b, e) = (
            uniform(-std::f32::consts::PI, std::f32::consts::PI),
            uniform(0.001, 9.0),
            uniform(-5.0, 90.0),
            uniform(-120.0, 120.0),
        );
        let one = |text: &str, x: f32| f64::from(f32::from_bits(result(text, &[f(x)]) as u32));
        let x = f64::from(angle);
        assert!((one("sin.approx.f32", angle) - series(x, x, 1)).abs() <= 2f64.powf(-20.5));
        assert!((one("cos.approx.ftz.f32", angle) - series(x, 1.0, 0)).abs() <= 2f64.powf(-20.5));
        assert!(relative(one("ex2.approx.ftz.f32", e), power_of_two(e.into())) <= 2f64.powi(-22), "{e}");
        let log = one("lg2.approx.f32", a);
        assert!(relative(power_of_two(log), a.into()) <= 2f64.powi(-22) + log.abs() * 2f64.powi(-23), "{a}");
        let y = power_of_two(2.0 * x * std::f64::consts::LOG2_E);
        assert!(relative(one("tanh.approx.f32", angle), (y - 1.0) / (y + 1.0)) <= 2f64.powi(-11));
        let inverse_root = one("rsqrt.approx.f32", a);
        assert!((inverse_root * inverse_root * f64::from(a) - 1.0).abs() <= 2f64.powf(-21.9));
        let square_root = one("sqrt.approx.f32", a);
        assert!((square_root * square_root / f64::from(a) - 1.0).abs() <= 2f64.powi(-22));
        assert!((one("rcp.approx.ftz.f32", b) * f64::from(b) - 1.0).abs() <= 2f64.powi(-23));
        let fast = f32::from_bits(result("div.full.f32", &[f(a), f(b)]) as u32);
        assert!(relative(fast.into(), f64::from(a) / f64::from(b)) <= 2f64.powi(-22));
    }
}

#[test]
fn approximations_of_special_values() {
    let rows: [(&str, [u64; 7]); 12] = [
        // −∞, −subnormal, −0, +0, +subnormal, +∞, NaN.
        ("sin.approx.ftz.f32", [NAN, f(-0.0), f(-0.0), f(0.0), f(0.0), NAN, NAN]),
        ("sin.approx.f32", [NAN, f(-SUB), f(-0.0), f(0.0), f(SUB), NAN, NAN]),
        ("cos.approx.f32", [NAN, f(1.0), f(1.0), f(1.0), f(1.0), NAN, NAN]),
        ("lg2.approx.ftz.f32", [NAN, f(-INF), f(-INF), f(-INF), f(-INF), f(INF), NAN]),
        ("ex2.approx.f32", [f(0.0), f(1.0), f(1.0), f(1.0), f(1.0), f(INF), NAN]),
        ("tanh.approx.f32", [f(-1.0), f(-SUB), f(-0.0), f(0.0), f(SUB), f(1.0), NAN]),
        ("rsqrt.approx.ftz.f32", [NAN, f(-INF), f(-INF), f(INF), f(INF), f(0.0), NAN]),
        ("rcp.approx.ftz.f32", [f(-0.0), f(-INF), f(-INF), f(INF), f(INF), f(0.0), NAN]),
        ("sqrt.approx.ftz.f32", [NAN, f(-0.0), f(-0.0), f(0.0), f(0.0), f(INF), NAN]),
        ("sqrt.approx.f32", [NAN, NAN, f(-0.0), f(0.0), f(SUB.sqrt()), f(INF), NAN]),
        ("neg.f32", [f(INF), f(SUB), f(0.0), f(-0.0), f(-SUB), f(-INF), f(-NAN_IN)]),
        ("abs.ftz.f32", [f(INF), f(0.0), f(0.0), f(0.0), f(0.0), f(INF), f(NAN_IN)]),
    ];
    for (text, expected) in rows {
        for (x, expected) in [-INF, -SUB, -0.0, 0.0, SUB, INF, NAN_IN].into_iter().zip(expected) {
            table(&[(text, &[f(x)], expected)]);
        }
    }
    table(&[
        ("lg2.approx.f32", &[1], f(-149.0)),
        ("ex2.approx.f32", &[f(-149.0)], 1),
        ("ex2.approx.ftz.f32", &[f(-149.0)], 0),
        ("ex2.approx.f32", &[f(128.0)], f(INF)),
        ("div.full.f32", &[f(1.0), f(0.0)], f(INF)),
        ("div.approx.ftz.f32", &[f(-SUB), f(1.0)], f(-0.0)),
        ("div.approx.f32", &[f(0.0), f(0.0)], NAN),
        ("div.full.ftz.f32", &[f(INF), f(-INF)], NAN),
    ]);
}
