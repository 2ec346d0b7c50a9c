use super::exact::{BF16, F16, Format};
use super::{results, table, unknown};

const NAN: u64 = 0x7fff;

/// Both formats: name, format, 1, the smallest normal and the largest finite number, infinity.
pub(super) const FORMATS: [(&str, Format, u64, u64, u64, u64); 2] =
    [("f16", F16, 0x3c00, 0x0400, 0x7bff, 0x7c00), ("bf16", BF16, 0x3f80, 0x0080, 0x7f7f, 0x7f80)];

#[test]
fn edges_of_both_formats() {
    for (ty, _, one, tiny, max, inf) in FORMATS {
        let minus = |x: u64| x | 0x8000;
        let rows: [(&str, &[u64], u64); 41] = [
            ("add.rn", &[one, minus(one)], 0),
            ("add", &[0x8000, 0x8000], 0x8000),
            ("add", &[0x8000, 0], 0),
            ("add", &[inf, minus(inf)], NAN),
            ("sub", &[inf, inf], NAN),
            ("add", &[max, max], inf),
            ("sub", &[minus(max), max], minus(inf)),
            ("add", &[1, 1], 2),
            ("sub", &[tiny, 1], tiny - 1),
            ("mul", &[0, minus(inf)], NAN),
            ("mul", &[minus(one), 0], 0x8000),
            ("mul", &[1, 1], 0),
            ("mul", &[minus(1), 1], 0x8000),
            ("mul", &[NAN, one], NAN),
            ("mul", &[minus(inf + 1), one], NAN),
            ("fma.rn", &[one, one, minus(one)], 0),
            ("fma.rn", &[0, inf, one], NAN),
            ("fma.rn", &[max, max, minus(inf)], minus(inf)),
            // Nearest is the smaller neighbour only if the tiny addend is seen.
            ("fma.rn", &[one + 1, one + 1, 1], one + 2),
            ("fma.rn.relu", &[minus(one), one, 0], 0),
            ("fma.rn.relu", &[minus(inf), one, 0], 0),
            ("fma.rn.relu", &[0x8000, one, 0x8000], 0),
            ("fma.rn.relu", &[minus(one), minus(one), 0], one),
            ("fma.rn.relu", &[minus(inf), one, inf], NAN),
            ("fma.rn.relu", &[minus(inf + 1), one, one], NAN),
            ("neg", &[one], minus(one)),
            ("neg", &[0x8001], 1),
            ("abs", &[minus(inf)], inf),
            ("min", &[0, 0x8000], 0x8000),
            ("max", &[0x8000, 0], 0),
            ("min", &[minus(one), minus(max)], minus(max)),
            ("min", &[minus(inf + 1), one], one),
            ("max", &[minus(inf), NAN], minus(inf)),
            ("max", &[minus(NAN), NAN], NAN),
            ("min.NaN", &[one, inf + 1], NAN),
            ("max.NaN", &[one, inf], inf),
            ("min.xorsign.abs", &[minus(max), one], minus(one)),
            ("max.xorsign.abs", &[minus(max), minus(one)], max),
            ("max.NaN.xorsign.abs", &[minus(NAN), one], NAN),
            ("min.xorsign.abs", &[minus(NAN), one], minus(one)),
            ("max.xorsign.abs", &[minus(1), 0], minus(1)),
        ];
        for (text, operands, expected) in rows {
            table(&[(&format!("{text}.{ty}"), operands, expected)]);
            // The same below something else.
            let pairs: Vec<u64> = operands.iter().map(|x| x | one << 16).collect();
            let found = super::result(&format!("{text}.{ty}x2"), &pairs);
            assert_eq!(found & 0xffff, expected, "{text}.{ty}x2 {operands:x?}");
            let pairs: Vec<u64> = operands.iter().map(|x| x << 16 | one).collect();
            assert_eq!(
                super::result(&format!("{text}.{ty}x2"), &pairs) >> 16,
                expected,
                "{text}.{ty}x2 {operands:x?}"
            );
        }
    }
}

#[test]
fn flushing_and_saturating() {
    table(&[
        ("add.f16", &[1, 0], 1),
        ("add.ftz.f16", &[1, 0], 0),
        ("add.ftz.f16", &[0x83ff, 0x8000], 0x8000),
        ("mul.ftz.f16", &[0x0400, 0x3800], 0),
        ("mul.ftz.f16x2", &[0x0400_3c00, 0x3800_3c00], 0x3c00),
        ("add.sat.f16", &[0x3c00, 0x3c00], 0x3c00),
        ("add.sat.f16", &[0xbc00, 0], 0),
        ("add.sat.f16", &[0x7c00, 0xfc00], 0),
        ("mul.sat.f16", &[0x0001, 0x3c00], 1),
        ("mul.ftz.sat.f16", &[0x0001, 0x7c00], 0),
        ("add.ftz.sat.f16", &[0x03ff, 0x0400], 0x0400),
        ("fma.rn.sat.f16", &[0x3c00, 0x3800, 0x3400], 0x3a00),
        ("fma.rn.ftz.sat.f16x2", &[0x0001_3c00, 0x7800_4000, 0x3800_0000], 0x3800_3c00),
        ("fma.rn.ftz.relu.f16", &[0xbc00, 0x3c00, 0], 0),
        ("fma.rn.ftz.relu.f16", &[0x0001, 0x3c00, 0], 0),
        ("fma.rn.ftz.relu.f16", &[0x3c00, 0x3c00, 0], 0x3c00),
        ("neg.ftz.f16", &[1], 0x8000),
        ("abs.ftz.f16x2", &[0x83ff_fc00], 0x7c00),
        ("min.ftz.f16", &[0x83ff, 1], 0x8000),
        ("max.ftz.NaN.f16", &[0x83ff, 0x7e00], NAN),
        ("max.ftz.xorsign.abs.f16", &[0x83ff, 0], 0x8000),
        ("ex2.approx.f16", &[0xcb80], 0x0200),
        ("ex2.approx.f16", &[0xfc00], 0),
        ("ex2.approx.f16", &[0x7c00], 0x7c00),
        ("ex2.approx.f16", &[0x4c00], 0x7c00),
        ("ex2.approx.f16x2", &[0x3c00_bc00], 0x4000_3800),
        ("ex2.approx.ftz.bf16", &[0xc2fe], 0),
        ("ex2.approx.ftz.bf16x2", &[0x0001_c2fe], 0x3f80_0000),
        ("tanh.approx.f16", &[0xfc00], 0xbc00),
        ("tanh.approx.f16", &[0x8001], 0x8001),
        ("tanh.approx.bf16x2", &[0x7f80_8000], 0x3f80_8000),
        ("tanh.approx.bf16", &[0xffc0], NAN),
    ]);
    unknown(&[
        "add.sat.bf16",
        "add.ftz.bf16",
        "add.relu.f16",
        "fma.rn.oob.f16",
        "neg.ftz.bf16",
        "min.ftz.bf16",
        "max.xorsign.f16",
        "add.rz.f16",
        "div.f16",
    ]);
}

#[test]
fn functions_of_every_number() {
    for (ty, format, _, _, _, inf) in FORMATS {
        let rows: Vec<[u64; 1]> = (0..0x1_0000).map(|bits| [bits]).collect();
        let (powers, tangents) =
            (results(&format!("ex2.approx.{ty}"), &rows), results(&format!("tanh.approx.{ty}"), &rows));
        for (bits, (power, tangent)) in (0..).zip(powers.into_iter().zip(tangents)) {
            if bits & 0x7fff > inf {
                assert_eq!((power, tangent), (NAN, NAN), "{bits:#x}");
                continue;
            }
            let x = match bits {
                _ if bits & 0x7fff != inf => format.value(bits),
                _ if bits == inf => f64::INFINITY,
                _ => f64::NEG_INFINITY,
            };
            let close = |found: u64, exact: f64| {
                let error = (format.value(found) - exact).abs();
                error <= exact.abs() * 2f64.powi(-(format.1 as i32)) + format.value(1)
            };
            let limit = format.value(inf);
            assert!(close(power, x.exp2().min(limit)), "ex2.{ty} {x}: {power:#x}");
            assert!(close(tangent, x.tanh()), "tanh.{ty} {x}: {tangent:#x}");
        }
    }
}
