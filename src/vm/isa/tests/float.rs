use super::{d, f, result, table, unknown};

pub(super) const NAN: u64 = 0x7fff_ffff;
pub(super) const NAN_IN: f32 = f32::NAN;
pub(super) const INF: f32 = f32::INFINITY;
/// Smallest normal number, a subnormal one.
const TINY: f32 = f32::MIN_POSITIVE;
pub(super) const SUB: f32 = 1e-40;

#[test]
fn single_arithmetic() {
    let ulp = f32::EPSILON;
    let just_below = f(1.0 - ulp / 2.0);
    table(&[
        ("add.f32", &[f(1.0), f(2.0)], f(3.0)),
        ("add.rn.f32", &[f(1.0), f(ulp / 2.0)], f(1.0)),
        ("add.rp.f32", &[f(1.0), f(1e-30)], f(1.0 + ulp)),
        ("add.rm.f32", &[f(1.0), f(-1e-30)], just_below),
        ("add.rz.f32", &[f(1.0), f(-1e-30)], just_below),
        ("add.rz.f32", &[f(-1.0), f(1e-30)], just_below | 1 << 31),
        ("add.rn.f32", &[f(f32::MAX), f(f32::MAX)], f(INF)),
        ("add.rz.f32", &[f(f32::MAX), f(f32::MAX)], f(f32::MAX)),
        ("add.rm.f32", &[f(-f32::MAX), f(-f32::MAX)], f(-INF)),
        ("add.rn.f32", &[f(INF), f(-INF)], NAN),
        ("sub.rz.f32", &[f(INF), f(INF)], NAN),
        ("add.rn.f32", &[0xffc1_2345, f(1.0)], NAN),
        ("add.rp.f32", &[0x7fa0_0000, f(1.0)], NAN),
        ("mul.rn.f32", &[f(0.0), f(-INF)], NAN),
        ("mul.rz.f32", &[f(INF), f(0.0)], NAN),
        ("fma.rn.f32", &[f(0.0), f(INF), f(1.0)], NAN),
        ("fma.rm.f32", &[f(INF), f(1.0), f(-INF)], NAN),
        // Signed zeros.
        ("add.rn.f32", &[f(-0.0), f(-0.0)], f(-0.0)),
        ("add.rn.f32", &[f(-0.0), f(0.0)], f(0.0)),
        ("add.rm.f32", &[f(-0.0), f(0.0)], f(-0.0)),
        ("add.rm.f32", &[f(0.0), f(0.0)], f(0.0)),
        ("add.rm.f32", &[f(3.0), f(-3.0)], f(-0.0)),
        ("sub.rm.f32", &[f(3.0), f(3.0)], f(-0.0)),
        ("sub.rp.f32", &[f(3.0), f(3.0)], f(0.0)),
        ("fma.rm.f32", &[f(2.0), f(3.0), f(-6.0)], f(-0.0)),
        ("fma.rz.f32", &[f(2.0), f(3.0), f(-6.0)], f(0.0)),
        ("fma.rm.f32", &[f(-0.0), f(3.0), f(-0.0)], f(-0.0)),
        ("mul.rm.f32", &[f(0.0), f(3.0)], f(0.0)),
        ("mul.rp.f32", &[f(0.0), f(-3.0)], f(-0.0)),
        ("mul.rp.f32", &[f(SUB), f(-SUB)], f(-0.0)),
        ("mul.rm.f32", &[f(SUB), f(-SUB)], 0x8000_0001),
        ("mul.rp.f32", &[f(SUB), f(SUB)], 1),
        // One rounding: the product alone would round to 1 and lose the square of the ulp.
        ("fma.rn.f32", &[f(1.0 + ulp), f(1.0 - ulp), f(-1.0)], f(-ulp * ulp)),
        ("mad.rn.f32", &[f(1.0 + ulp), f(1.0 - ulp), f(-1.0)], f(-ulp * ulp)),
        ("div.rn.f32", &[f(1.0), f(0.0)], f(INF)),
        ("div.rz.f32", &[f(-1.0), f(0.0)], f(-INF)),
        ("div.rm.f32", &[f(0.0), f(0.0)], NAN),
        ("div.rn.f32", &[f(INF), f(INF)], NAN),
        ("div.rp.f32", &[f(1.0), f(INF)], f(0.0)),
        ("div.rz.f32", &[f(f32::MAX), f(TINY)], f(f32::MAX)),
        ("div.rp.f32", &[f(TINY), f(f32::MAX)], 1),
        ("rcp.rn.f32", &[f(-0.0)], f(-INF)),
        ("rcp.rz.f32", &[f(-INF)], f(-0.0)),
        ("rcp.rz.f32", &[1], f(f32::MAX)),
        ("rcp.rn.f32", &[1], f(INF)),
        ("sqrt.rn.f32", &[f(-0.0)], f(-0.0)),
        ("sqrt.rm.f32", &[f(-0.0)], f(-0.0)),
        ("sqrt.rp.f32", &[f(INF)], f(INF)),
        ("sqrt.rn.f32", &[f(-1.0)], NAN),
        ("sqrt.rz.f32", &[f(-SUB)], NAN),
    ]);
}

#[test]
fn flushing_and_saturating() {
    table(&[
        ("add.f32", &[f(SUB), f(0.0)], f(SUB)),
        ("add.ftz.f32", &[f(SUB), f(0.0)], f(0.0)),
        ("add.ftz.f32", &[f(-SUB), f(-0.0)], f(-0.0)),
        ("add.ftz.f32", &[f(-SUB), f(1.0)], f(1.0)),
        ("add.rm.ftz.f32", &[f(-SUB), f(1.0)], f(1.0)),
        ("add.ftz.f32", &[f(TINY * 1.5), f(-TINY)], f(0.0)),
        ("sub.ftz.f32", &[f(TINY), f(TINY * 1.5)], f(-0.0)),
        ("mul.ftz.f32", &[f(TINY), f(0.5)], f(0.0)),
        ("mul.f32", &[f(TINY), f(0.5)], f(TINY / 2.0)),
        ("mul.rn.ftz.f32", &[f(SUB), f(INF)], NAN),
        ("fma.rn.ftz.f32", &[f(SUB), f(1e30), f(2.0)], f(2.0)),
        ("rcp.rn.ftz.f32", &[f(-SUB)], f(-INF)),
        ("rcp.rn.ftz.f32", &[f(f32::MAX)], f(0.0)),
        ("sqrt.rn.ftz.f32", &[f(-SUB)], f(-0.0)),
        ("div.rn.ftz.f32", &[f(SUB), f(SUB)], NAN),
        ("neg.f32", &[f(-SUB)], f(SUB)),
        ("neg.ftz.f32", &[f(-SUB)], f(0.0)),
        ("abs.f32", &[f(-SUB)], f(SUB)),
        ("abs.ftz.f32", &[f(-SUB)], f(0.0)),
        ("abs.f32", &[f(-INF)], f(INF)),
        ("copysign.f32", &[f(-0.0), f(3.0)], f(-3.0)),
        ("copysign.f32", &[f(1.0), f(-INF)], f(INF)),
        ("copysign.f64", &[d(-2.0), d(0.0)], d(-0.0)),
        ("add.sat.f32", &[f(1.0), f(2.0)], f(1.0)),
        ("add.sat.f32", &[f(1.0), f(-2.0)], f(0.0)),
        ("add.sat.f32", &[f(0.25), f(0.5)], f(0.75)),
        ("add.rz.sat.f32", &[f(INF), f(-INF)], f(0.0)),
        ("add.sat.f32", &[f(-0.0), f(-0.0)], f(0.0)),
        ("add.rm.sat.f32", &[f(1.0), f(-1e-30)], f(1.0 - f32::EPSILON / 2.0)),
        ("mul.sat.f32", &[f(TINY), f(0.5)], f(TINY / 2.0)),
        ("mul.ftz.sat.f32", &[f(TINY), f(0.5)], f(0.0)),
        ("fma.rn.ftz.sat.f32", &[f(NAN_IN), f(0.5), f(0.5)], f(0.0)),
        ("fma.rn.ftz.sat.f32", &[f(2.0), f(INF), f(0.5)], f(1.0)),
    ]);
    unknown(&[
        "add.approx.f32",
        "min.xorsign.f32",
        "add.sat.f64",
        "sin.sat.f32",
        "add.f32.f16",
        "fma.rn.ftz.f64",
        "pow.f32",
    ]);
}

#[test]
fn smaller_and_larger() {
    let rows: [(&str, f32, f32, u64); 26] = [
        ("min", 1.0, 2.0, f(1.0)),
        ("max", 1.0, 2.0, f(2.0)),
        ("min", 0.0, -0.0, f(-0.0)),
        ("min", -0.0, 0.0, f(-0.0)),
        ("max", 0.0, -0.0, f(0.0)),
        ("max", -0.0, 0.0, f(0.0)),
        ("min", NAN_IN, 2.0, f(2.0)),
        ("max", 2.0, NAN_IN, f(2.0)),
        ("min", NAN_IN, -INF, f(-INF)),
        ("min", NAN_IN, -NAN_IN, NAN),
        ("min.NaN", NAN_IN, 2.0, NAN),
        ("max.NaN", 2.0, -NAN_IN, NAN),
        ("max.NaN", 2.0, 3.0, f(3.0)),
        ("min.ftz", SUB, -SUB, f(-0.0)),
        ("max.ftz", -SUB, 0.0, f(0.0)),
        ("max.ftz", -SUB, -1.0, f(-0.0)),
        ("min", SUB, 1.0, f(SUB)),
        ("min.xorsign.abs", -3.0, 2.0, f(-2.0)),
        ("min.xorsign.abs", -3.0, -2.0, f(2.0)),
        ("max.xorsign.abs", -3.0, 2.0, f(-3.0)),
        ("max.xorsign.abs", NAN_IN, -2.0, f(-2.0)),
        ("max.xorsign.abs", -NAN_IN, NAN_IN, NAN),
        ("max.NaN.xorsign.abs", -1.0, NAN_IN, NAN),
        ("max.ftz.xorsign.abs", -SUB, 0.0, f(-0.0)),
        ("max.xorsign.abs", -SUB, 0.0, f(-SUB)),
        ("min.ftz.NaN.xorsign.abs", -SUB, 1.0, f(-0.0)),
    ];
    for (text, a, b, expected) in rows {
        table(&[(&format!("{text}.f32"), &[f(a), f(b)], expected)]);
    }
    let nan = d(f64::NAN);
    table(&[
        ("min.f64", &[nan, d(1.0)], d(1.0)),
        ("max.f64", &[d(1.0), nan], d(1.0)),
        ("min.f64", &[d(0.0), d(-0.0)], d(-0.0)),
        ("max.f64", &[d(-0.0), d(0.0)], d(0.0)),
        ("max.f64", &[d(0.0), d(-0.0)], d(0.0)),
        ("min.f64", &[d(3.0), d(-4.0)], d(-4.0)),
        ("max.f64", &[d(3.0), d(-4.0)], d(3.0)),
    ]);
    assert!(f64::from_bits(result("max.f64", &[nan, nan])).is_nan());
}

#[test]
fn double_edges() {
    let (max, min, inf) = (f64::MAX, f64::from_bits(1), f64::INFINITY);
    table(&[
        ("add.rz.f64", &[d(max), d(max)], d(max)),
        ("add.rp.f64", &[d(max), d(max)], d(inf)),
        ("add.rm.f64", &[d(max), d(max)], d(max)),
        ("add.rm.f64", &[d(-max), d(-1.0)], d(-inf)),
        ("add.rm.f64", &[d(5.0), d(-5.0)], d(-0.0)),
        ("add.rm.f64", &[d(0.0), d(0.0)], d(0.0)),
        ("add.rm.f64", &[d(-0.0), d(-0.0)], d(-0.0)),
        ("sub.rz.f64", &[d(5.0), d(5.0)], d(0.0)),
        ("add.rz.f64", &[d(inf), d(-max)], d(inf)),
        ("mul.rp.f64", &[d(min), d(0.25)], d(min)),
        ("mul.rm.f64", &[d(min), d(0.25)], d(0.0)),
        ("mul.rm.f64", &[d(min), d(-min)], d(-min)),
        ("mul.rz.f64", &[d(min), d(-min)], d(-0.0)),
        ("mul.rm.f64", &[d(0.0), d(1.0)], d(0.0)),
        ("mul.rz.f64", &[d(1e200), d(-1e200)], d(-max)),
        ("fma.rp.f64", &[d(min), d(min), d(1.0)], d(1.0 + f64::EPSILON)),
        ("fma.rz.f64", &[d(-min), d(min), d(1.0)], d(1.0 - f64::EPSILON / 2.0)),
        ("fma.rz.f64", &[d(max), d(max), d(-inf)], d(-inf)),
        ("fma.rm.f64", &[d(2.0), d(3.0), d(-6.0)], d(-0.0)),
        ("div.rp.f64", &[d(min), d(max)], d(min)),
        ("div.rm.f64", &[d(min), d(max)], d(0.0)),
        ("div.rz.f64", &[d(max), d(-min)], d(-max)),
        ("div.rz.f64", &[d(1.0), d(0.0)], d(inf)),
        ("rcp.rz.f64", &[d(min)], d(max)),
        ("rcp.rm.f64", &[d(-0.0)], d(-inf)),
        ("sqrt.rm.f64", &[d(-0.0)], d(-0.0)),
        ("sqrt.rp.f64", &[d(inf)], d(inf)),
        ("neg.f64", &[d(0.0)], d(-0.0)),
        ("abs.f64", &[d(-inf)], d(inf)),
        ("rcp.approx.ftz.f64", &[d(min)], d(inf)),
        ("rcp.approx.ftz.f64", &[d(-inf)], d(-0.0)),
        ("rcp.approx.ftz.f64", &[d(-max)], d(-0.0)),
        ("rcp.approx.ftz.f64", &[d(3.0)], 0x3fd5_5555_0000_0000),
        ("rsqrt.approx.ftz.f64", &[d(-min)], d(-inf)),
        ("rsqrt.approx.f64", &[d(inf)], d(0.0)),
        ("rsqrt.approx.f64", &[d(0.25)], d(2.0)),
    ]);
    for (text, a) in [("sqrt.rz.f64", -1.0), ("rsqrt.approx.f64", -1.0), ("sqrt.rn.f64", f64::NAN)] {
        assert!(f64::from_bits(result(text, &[d(a)])).is_nan(), "{text}");
    }
}
