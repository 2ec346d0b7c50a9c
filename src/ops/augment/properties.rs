//! Golden vectors of torchvision, the f64 reference on odd shapes, and what must hold for any row.

use super::params::{NO_SOLARIZE, SKIP, from_tensor};
use super::{Augment, Interpolation, Scratch, ViewParams, reference};
use crate::rng::{Philox, Purpose};
use proptest::prelude::*;
use safetensors::SafeTensors;

/// Applies one row to an image.
fn view(op: &Augment, image: &[u8], [h, w, c]: [usize; 3], row: &ViewParams) -> Vec<f32> {
    op.check(c).expect("parameters of the op");
    let mut out = vec![f32::NAN; op.size * op.size * c];
    op.apply(image, h, w, c, row, &mut out, &mut Scratch::default()).expect("a row that fits");
    out
}

/// The largest difference; NaN if anything is.
fn worst(got: &[f32], want: impl IntoIterator<Item = f64>) -> f64 {
    let difference = |(g, w): (&f32, f64)| (f64::from(*g) - w).abs();
    got.iter().zip(want).map(difference).fold(0.0, |a: f64, b| if b.is_nan() || b > a { b } else { a })
}

fn noise(n: usize, seed: u64) -> Vec<u8> {
    let mut rng = Philox::new(seed, Purpose::Test, 0, 0);
    (0..n).map(|_| rng.next_u32() as u8).collect()
}

/// Every step alone and whole chains, as torchvision computed them (tests/golden/augment.py).
///
/// Tolerance 2e-6 on [0, 1], so 2e-6 / std on views: sums of some dozen terms in f32, rounded twice (both sides), times
/// factors up to 1.8; 1.2e-6 is the worst seen. The steep hue of a nearly gray pixel only scales its small chroma.
#[test]
fn equals_torchvision() {
    let bytes = include_bytes!("../../../tests/golden/augment.safetensors");
    let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
    let file = SafeTensors::deserialize(bytes).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    let mut groups = 0;
    for (name, json) in metadata.iter().filter(|(name, _)| !name.starts_with("torch")) {
        let op: Augment = serde_json::from_str(json).unwrap();
        let image = file.tensor(&format!("{name}.image")).unwrap();
        let shape: [usize; 3] = image.shape().try_into().unwrap();
        let floats = |what: &str| -> Vec<f32> {
            let tensor = file.tensor(&format!("{name}.{what}")).unwrap();
            tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        };
        let (params, views) = (floats("params"), floats("views"));
        let tolerance = 2e-6 / op.std.iter().copied().fold(1.0, f32::min);
        let wanted = views.chunks_exact(op.size * op.size * shape[2]);
        for (i, (row, want)) in from_tensor(&params).iter().zip(wanted).enumerate() {
            let got = view(&op, image.data(), shape, row);
            let worst = worst(&got, want.iter().map(|&v| v.into()));
            assert!(worst <= f64::from(tolerance), "{name} row {i}: {worst:e} off torchvision; {row:?}");
        }
        groups += 1;
    }
    assert_eq!(groups, 19);
}

/// Any crop of an image of `h` × `w` pixels, any parameters.
fn any_row(h: usize, w: usize) -> impl Strategy<Value = ViewParams> {
    let crop = (1..=h, 1..=w).prop_flat_map(move |(ch, cw)| (0..=h - ch, 0..=w - cw, Just(ch), Just(cw)));
    let order = prop_oneof![
        Just([SKIP; 4]).boxed(),
        Just([0.0, 1.0, 2.0, 3.0]).prop_shuffle().boxed(),
        Just([SKIP, 3.0, SKIP, 0.0]).prop_shuffle().boxed(),
    ];
    let factors = (0.0f32..2.0, 0.0f32..2.0, 0.0f32..2.0, -0.5f32..=0.5);
    let flags = (any::<bool>(), any::<bool>());
    let sigma = prop_oneof![Just(0.0f32), 0.05f32..3.0];
    (crop, order, factors, flags, sigma, prop_oneof![Just(NO_SOLARIZE), 0.0f32..=1.0]).prop_map(
        |((top, left, height, width), order, (b, c, s, h), (flip, gray), blur_sigma, solarize)| ViewParams {
            flip: flip.into(),
            order,
            brightness: b,
            contrast: c,
            saturation: s,
            hue: h,
            grayscale: gray.into(),
            blur_sigma,
            solarize,
            ..ViewParams::crop(top, left, height, width)
        },
    )
}

fn any_op() -> impl Strategy<Value = Augment> {
    let interpolation = prop_oneof![Just(Interpolation::Bilinear), Just(Interpolation::Bicubic)];
    (1usize..20, interpolation, any::<bool>(), any::<bool>()).prop_map(
        |(size, interpolation, antialias, clamp)| Augment {
            size,
            interpolation,
            antialias,
            clamp,
            ..Augment::default()
        },
    )
}

fn any_case() -> impl Strategy<Value = (Augment, [usize; 3], ViewParams, u64)> {
    (1usize..40, 1usize..40, prop_oneof![Just(1usize), Just(3)])
        .prop_flat_map(|(h, w, c)| (any_op(), Just([h, w, c]), any_row(h, w), any::<u64>()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Where solarize is off: it jumps at its threshold, so that two roundings may fall on its two sides.
    #[test]
    fn equals_the_reference((op, shape, mut row, seed) in any_case()) {
        row.solarize = NO_SOLARIZE;
        let image = noise(shape.iter().product(), seed);
        let got = view(&op, &image, shape, &row);
        let want = reference::view(&op, &image, shape[1], shape[2], &row);
        let worst = worst(&got, want);
        prop_assert!(worst <= 5e-6, "{worst:e}");
    }

    #[test]
    fn views_are_finite_and_clamped_views_stay_in_range((op, shape, row, seed) in any_case()) {
        let image = noise(shape.iter().product(), seed);
        let got = view(&Augment { clamp: true, ..op.clone() }, &image, shape, &row);
        prop_assert!(got.iter().all(|v| (-1e-6..=1.0 + 1e-6).contains(v)));
        prop_assert!(view(&op, &image, shape, &row).iter().all(|v| v.is_finite()));
    }

    #[test]
    fn a_flip_mirrors((op, shape, row, seed) in any_case()) {
        let image = noise(shape.iter().product(), seed);
        let c = shape[2];
        let mirrored = |mut v: Vec<f32>| {
            for line in v.chunks_exact_mut(op.size * c) {
                line.reverse();
                line.chunks_exact_mut(c).for_each(|p| p.reverse());
            }
            v
        };
        // Without the contrast, whose mean is summed in another order.
        let row = ViewParams { contrast: 1.0, blur_sigma: 0.0, flip: 0.0, ..row };
        let plain = view(&op, &image, shape, &row);
        let flipped = view(&op, &image, shape, &ViewParams { flip: 1.0, ..row });
        prop_assert_eq!(&mirrored(flipped), &plain);
        prop_assert_eq!(&mirrored(mirrored(plain.clone())), &plain);
    }
}

#[test]
fn a_square_image_of_the_view_s_size_passes_unchanged() {
    let image = noise(9 * 9 * 3, 1);
    for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
        let op = Augment { size: 9, interpolation, ..Augment::default() };
        let got = view(&op, &image, [9, 9, 3], &ViewParams::eval(9, 9));
        assert!(got.iter().zip(&image).all(|(&g, &v)| g == f32::from(v) / 255.0));
    }
}

/// Memory reused from a larger view leaves no trace.
#[test]
fn scratch_has_no_memory() {
    let (large, small) = (noise(40 * 40 * 3, 1), noise(5 * 7, 2));
    let row = ViewParams {
        blur_sigma: 1.3,
        order: [1.0, 0.0, SKIP, SKIP],
        contrast: 0.7,
        ..ViewParams::crop(1, 2, 3, 4)
    };
    let mut scratch = Scratch::default();
    let (big, op) = (Augment { size: 50, ..Augment::default() }, Augment { size: 11, ..Augment::default() });
    big.apply(&large, 40, 40, 3, &row, &mut vec![0.0; 50 * 50 * 3], &mut scratch).unwrap();
    let mut out = vec![0.0; 11 * 11];
    op.apply(&small, 5, 7, 1, &row, &mut out, &mut scratch).unwrap();
    assert_eq!(out, view(&op, &small, [5, 7, 1], &row));
}

#[test]
fn bad_parameters_are_named() {
    let op = Augment::default();
    let fails = |op: Augment, channels| op.check(channels).unwrap_err().to_string();
    assert!(fails(op.clone(), 2).contains("channels"));
    assert!(fails(Augment { size: 0, ..op.clone() }, 1).contains("`size`"));
    assert!(fails(Augment { blur_kernel: 4, ..op.clone() }, 1).contains("`blur_kernel`"));
    assert!(fails(Augment { blur_kernel: 65, ..op.clone() }, 1).contains("`blur_kernel`"));
    assert!(fails(Augment { mean: vec![0.0; 2], ..op.clone() }, 3).contains("`mean`"));
    assert!(fails(Augment { std: vec![], ..op.clone() }, 1).contains("`std`"));
    assert!(fails(Augment { std: vec![0.0], ..op.clone() }, 1).contains("`std`"));
    assert!(fails(Augment { mean: vec![f32::NAN], ..op }, 1).contains("`mean`"));
}
