use proptest::prelude::*;

use super::*;
use crate::rng::{Philox, Purpose};

/// Winograd's transforms cost two digits; a sum of f32 products alone stays below 1e-6.
const TOLERANCE: f64 = 4e-6;

fn normals(len: usize, stream: u64) -> Vec<f32> {
    let mut rng = Philox::new(7, Purpose::Init, 0, stream);
    (0..len).map(|_| rng.normal()).collect()
}

/// Every technique and instruction set that takes `g` here.
fn engines(g: &Geometry) -> Vec<Engine> {
    let techniques = Technique::ALL.into_iter().filter(|technique| technique.accepts(g));
    techniques
        .flat_map(|technique| Isa::available().into_iter().map(move |isa| Engine { technique, isa }))
        .collect()
}

/// Scratch of NaN: nothing may be read before it is written.
fn scratch(engine: Engine, g: &Geometry, pass: Pass) -> Vec<f32> {
    vec![f32::NAN; engine.scratch_len(g, pass)]
}

fn magnitudes(values: &[f32]) -> Vec<f32> {
    values.iter().map(|v| v.abs()).collect()
}

/// Largest difference, in units of the largest sum of magnitudes: the terms of one output may cancel.
fn error(got: &[f32], expected: &[f64], magnitudes: &[f64]) -> f64 {
    let scale = magnitudes.iter().fold(1e-30, |scale: f64, m| scale.max(*m));
    let worst = |worst: f64, difference: f64| if difference <= worst { worst } else { difference };
    got.iter().zip(expected).map(|(&g, e)| (f64::from(g) - e).abs() / scale).fold(0.0, worst)
}

/// Compares all passes of all engines with the definition, plain and accumulating.
fn check(g: &Geometry) {
    g.check().unwrap();
    let (x, w, dy) = (normals(g.x_len(), 1), normals(g.w_len(), 2), normals(g.y_len(), 3));
    let y_ref = reference::forward(g, &x, &w);
    let dx_ref = reference::bwd_input(g, &dy, &w);
    let dw_ref = reference::bwd_weight(g, &x, &dy);
    let (x_abs, w_abs, dy_abs) = (magnitudes(&x), magnitudes(&w), magnitudes(&dy));
    let y_abs = reference::forward(g, &x_abs, &w_abs);
    let dx_abs = reference::bwd_input(g, &dy_abs, &w_abs);
    let dw_abs = reference::bwd_weight(g, &x_abs, &dy_abs);
    for engine in engines(g) {
        let verify = |pass: Pass, got: &[f32], expected: &[f64], abs: &[f64]| {
            let error = error(got, expected, abs);
            assert!(error <= TOLERANCE, "{} {engine:?} {g:?}: error {error:e}", pass.name());
        };
        let mut y = vec![f32::NAN; g.y_len()];
        engine.forward(g, &x, &w, &mut y, &mut scratch(engine, g, Pass::Forward));
        verify(Pass::Forward, &y, &y_ref, &y_abs);

        for accumulate in [false, true] {
            let sum = |held: &[f32], term: &[f64]| -> Vec<f64> {
                held.iter()
                    .zip(term)
                    .map(|(&held, term)| if accumulate { f64::from(held) + term } else { *term })
                    .collect()
            };
            let held = if accumulate { normals(g.x_len(), 4) } else { vec![f32::NAN; g.x_len()] };
            let mut dx = held.clone();
            engine.bwd_input(g, &dy, &w, &mut dx, accumulate, &mut scratch(engine, g, Pass::BwdInput));
            verify(Pass::BwdInput, &dx, &sum(&held, &dx_ref), &sum(&magnitudes(&held), &dx_abs));

            let held = if accumulate { normals(g.w_len(), 5) } else { vec![f32::NAN; g.w_len()] };
            let mut dw = held.clone();
            engine.bwd_weight(g, &x, &dy, &mut dw, accumulate, &mut scratch(engine, g, Pass::BwdWeight));
            verify(Pass::BwdWeight, &dw, &sum(&held, &dw_ref), &sum(&magnitudes(&held), &dw_abs));
        }
    }
}

fn square(n: usize, size: usize, c: usize, k: usize, taps: usize, stride: usize) -> Geometry {
    Geometry {
        n,
        h: size,
        w: size,
        c,
        k,
        r: taps,
        s: taps,
        stride: [stride; 2],
        padding: [taps / 2; 2],
        dilation: [1; 2],
    }
}

#[test]
fn layers_of_encoders() {
    for (n, size, c, k, taps, stride) in [
        (3, 28, 1, 16, 3, 1),
        (2, 28, 16, 16, 3, 1),
        (2, 28, 16, 32, 3, 2),
        (2, 28, 16, 32, 1, 2),
        (5, 14, 32, 32, 3, 1),
        (9, 7, 64, 64, 3, 1),
        (9, 7, 64, 128, 3, 2),
        (9, 7, 64, 128, 1, 2),
        (7, 4, 128, 128, 3, 1),
        (2, 32, 3, 64, 3, 1),
        (2, 8, 256, 96, 3, 1),
        (1, 37, 3, 24, 7, 2),
        (2, 9, 64, 256, 1, 1),
        (1, 4, 48, 80, 3, 1),
        (1, 5, 2048, 8, 1, 1),
    ] {
        check(&square(n, size, c, k, taps, stride));
    }
}

#[test]
fn enough_images_for_many_partial_sums() {
    check(&square(70, 7, 16, 48, 3, 1));
    check(&square(70, 5, 20, 33, 3, 2));
}

#[test]
fn a_large_image_is_cut_into_bands() {
    check(&Geometry {
        n: 1,
        h: 90,
        w: 83,
        c: 17,
        k: 9,
        r: 5,
        s: 3,
        stride: [2, 1],
        padding: [2, 1],
        dilation: [1, 2],
    });
    check(&Geometry {
        n: 2,
        h: 70,
        w: 90,
        c: 24,
        k: 8,
        r: 1,
        s: 1,
        stride: [1, 1],
        padding: [0, 0],
        dilation: [1, 1],
    });
}

fn geometries() -> impl Strategy<Value = Geometry> {
    let channels = || prop_oneof![1..40usize, Just(1), Just(3), Just(16), Just(32), Just(48)];
    let pair = |range: std::ops::Range<usize>| prop::array::uniform2(range);
    (1..4usize, pair(1..14), channels(), channels(), pair(1..6), pair(1..4), pair(0..4), pair(1..4))
        .prop_map(|(n, [h, w], c, k, [r, s], stride, padding, dilation)| Geometry {
            n,
            h,
            w,
            c,
            k,
            r,
            s,
            stride,
            padding,
            dilation,
        })
        .prop_filter("the filter fits", |g| g.check().is_ok())
}

fn winograd_geometries() -> impl Strategy<Value = Geometry> {
    let pair = |range: std::ops::Range<usize>| prop::array::uniform2(range);
    (1..5usize, pair(1..15), 1..4usize, 1..4usize, pair(0..3))
        .prop_map(|(n, [h, w], c, k, padding)| Geometry {
            n,
            h,
            w,
            c: 16 * c,
            k: 16 * k,
            r: 3,
            s: 3,
            stride: [1, 1],
            padding,
            dilation: [1, 1],
        })
        .prop_filter("the filter fits", |g| g.check().is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_shape(g in geometries()) {
        check(&g);
    }

    #[test]
    fn any_shape_that_winograd_takes(g in winograd_geometries()) {
        prop_assert!(Technique::Winograd.accepts(&g));
        check(&g);
    }

    /// ⟨dy, conv(x, w)⟩ = ⟨bwd_input(dy, w), x⟩ = ⟨bwd_weight(x, dy), w⟩: the passes are adjoint to each other.
    #[test]
    fn passes_are_adjoint(g in prop_oneof![geometries(), winograd_geometries()]) {
        let (x, w, dy) = (normals(g.x_len(), 1), normals(g.w_len(), 2), normals(g.y_len(), 3));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        for engine in engines(&g) {
            let (mut y, mut dx, mut dw) = (vec![0.0; g.y_len()], vec![0.0; g.x_len()], vec![0.0; g.w_len()]);
            engine.forward(&g, &x, &w, &mut y, &mut scratch(engine, &g, Pass::Forward));
            engine.bwd_input(&g, &dy, &w, &mut dx, false, &mut scratch(engine, &g, Pass::BwdInput));
            engine.bwd_weight(&g, &x, &dy, &mut dw, false, &mut scratch(engine, &g, Pass::BwdWeight));
            let (by_y, by_x, by_w) = (dot(&dy, &y), dot(&dx, &x), dot(&dw, &w));
            let tolerance = 1e-5 * (dot(&dy, &dy) * dot(&y, &y)).sqrt() + 1e-6;
            prop_assert!((by_y - by_x).abs() <= tolerance, "{engine:?}: {by_y} {by_x}");
            prop_assert!((by_y - by_w).abs() <= tolerance, "{engine:?}: {by_y} {by_w}");
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for g in [square(13, 14, 32, 48, 3, 1), square(11, 9, 20, 24, 3, 2), square(40, 4, 128, 128, 3, 1)] {
        let (x, w, dy) = (normals(g.x_len(), 1), normals(g.w_len(), 2), normals(g.y_len(), 3));
        for technique in Technique::ALL.into_iter().filter(|technique| technique.accepts(&g)) {
            let engine = Engine { technique, isa: Isa::best() };
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let (mut y, mut dx, mut dw) =
                        (vec![0.0; g.y_len()], vec![0.0; g.x_len()], vec![0.0; g.w_len()]);
                    engine.forward(&g, &x, &w, &mut y, &mut scratch(engine, &g, Pass::Forward));
                    engine.bwd_input(&g, &dy, &w, &mut dx, false, &mut scratch(engine, &g, Pass::BwdInput));
                    engine.bwd_weight(&g, &x, &dy, &mut dw, false, &mut scratch(engine, &g, Pass::BwdWeight));
                    [y, dx, dw].map(|out| out.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
                })
            };
            let alone = run(1);
            for threads in [2, 3, 7] {
                assert!(run(threads) == alone, "{technique:?} {threads} threads {g:?}");
            }
        }
    }
}

#[test]
fn impossible_shapes_are_named() {
    let g = square(1, 8, 4, 4, 3, 1);
    let message = |g: Geometry| g.check().unwrap_err().to_string();
    assert!(message(Geometry { c: 0, ..g }).contains("C is 0"));
    assert!(message(Geometry { stride: [1, 0], ..g }).contains("stride"));
    assert!(message(Geometry { r: 11, ..g }).contains("height"));
    assert!(message(Geometry { dilation: [1, 9], ..g }).contains("width"));
    assert!(message(Geometry { n: usize::MAX / 8, ..g }).contains("too large"));
    assert!(message(Geometry { padding: [usize::MAX / 2 + 1, 1], ..g }).contains("height"));
}
