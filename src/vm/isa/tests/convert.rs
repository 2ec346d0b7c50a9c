use super::exact::{BF16, F16};
use super::{Mods, OLD, STRIDE, d, f, low, put, split, take};
use crate::vm::isa::{Convert, convert};
use crate::vm::lanes::{FULL, Frame, WARP};
use crate::vm::ptx::Type;

const NAN: u64 = 0x7fff_ffff;

/// Through registers of the widths given, in every way there is; lanes outside the mask keep what they had.
fn through(convert: &Convert, widths: [usize; 2], rows: &[u64], mask: u32) -> Vec<u64> {
    let fill = |frame: &mut Frame| {
        for lane in 0..WARP {
            put(frame, 0, widths[1], lane, OLD);
            put(frame, 1, widths[0], lane, *rows.get(lane).unwrap_or(&0));
        }
    };
    let mut frame = Frame::new(2 * STRIDE);
    fill(&mut frame);
    let (dest, source) = ((0, widths[1]), (STRIDE as u32, widths[0]));
    // SAFETY: both registers lie there, of those widths.
    unsafe { convert.run(frame.pointer(), dest, source, mask) };
    let slow: Vec<u64> = (0..WARP).map(|lane| take(&mut frame, 0, widths[1], lane)).collect();
    if let Some(fast) = convert.fast(widths[0], widths[1]) {
        fill(&mut frame);
        // SAFETY: as above.
        unsafe { fast(frame.pointer(), &[0, STRIDE as u32, 0, 0, 0], mask) };
        let fast: Vec<u64> = (0..WARP).map(|lane| take(&mut frame, 0, widths[1], lane)).collect();
        assert_eq!(slow, fast, "{convert:?} {rows:x?}");
    }
    slow
}

fn parsed(text: &str) -> Convert {
    convert(&Mods(&split(text).1)).unwrap_or_else(|| panic!("no conversion for {text}"))
}

pub(super) fn all(text: &str, rows: &[u64]) -> Vec<u64> {
    let convert = parsed(text);
    let widths = [convert.from.bytes().max(2), convert.to.bytes().max(2)];
    rows.chunks(WARP).flat_map(|rows| through(&convert, widths, rows, FULL)[..rows.len()].to_vec()).collect()
}

/// One value in every lane, through registers of its width and wider ones with rubbish above the type.
fn one(text: &str, bits: u64) -> u64 {
    let convert = parsed(text);
    let (from, to) = (convert.from.bytes(), convert.to.bytes());
    let mut found = None;
    for source in [2, 4, 8].into_iter().filter(|width| *width >= from) {
        for dest in [2, 4, 8].into_iter().filter(|width| *width >= to) {
            let bits = low(bits, from) | if source > from { 0xdead_beef_dead_beef << (8 * from) } else { 0 };
            let mask = 0x8001_f0a5;
            for (lane, found_here) in
                through(&convert, [source, dest], &[bits; WARP], mask).into_iter().enumerate()
            {
                if mask >> lane & 1 == 0 {
                    assert_eq!(found_here, low(OLD, dest), "{text} lane {lane}");
                    continue;
                }
                let value = low(found_here, to);
                assert_eq!(value, *found.get_or_insert(value), "{text} {bits:#x}");
                let negative = convert.to.signed() && value >> (8 * to - 1) != 0;
                let above = if negative && dest > to { low(u64::MAX << (8 * to), dest) } else { 0 };
                assert_eq!(found_here, value | above, "{text} {bits:#x} into {dest} bytes");
            }
        }
    }
    found.expect("some width fits")
}

/// Instruction, operand, result.
fn each(rows: &[(&str, u64, u64)]) {
    for (text, bits, expected) in rows {
        let found = one(text, *bits);
        assert_eq!(found, *expected, "{text} {bits:#x}: {found:#x}, not {expected:#x}");
    }
}

#[test]
fn integers_to_integers() {
    each(&[
        ("cvt.s32.s8", 0x80, 0xffff_ff80),
        ("cvt.u32.u8", 0x80, 0x80),
        ("cvt.s64.s32", 0x8000_0000, 0xffff_ffff_8000_0000),
        ("cvt.u64.u32", 0x8000_0000, 0x8000_0000),
        ("cvt.u64.s32", 0x8000_0000, 0xffff_ffff_8000_0000),
        ("cvt.s64.u32", 0xffff_ffff, 0xffff_ffff),
        ("cvt.u32.s16", 0x8000, 0xffff_8000),
        ("cvt.s32.u16", 0x8000, 0x8000),
        ("cvt.u16.u64", 0x1_2345, 0x2345),
        ("cvt.s8.s32", 0x180, 0x80),
        ("cvt.u8.u32", 0x1ff, 0xff),
        ("cvt.u32.u64", 0x1_0000_0005, 5),
        ("cvt.sat.u8.s32", 300, 255),
        ("cvt.sat.u8.s32", 0xffff_ffff, 0),
        ("cvt.sat.s8.s32", 300, 127),
        ("cvt.sat.s8.s32", 0xffff_fe00, 0x80),
        ("cvt.sat.s32.u32", 0x8000_0000, 0x7fff_ffff),
        ("cvt.sat.u32.s32", 0x8000_0000, 0),
        ("cvt.sat.s32.s64", 1 << 63, 0x8000_0000),
        ("cvt.sat.u16.u64", 1 << 40, 0xffff),
        ("cvt.sat.s64.u64", u64::MAX, i64::MAX as u64),
        ("cvt.sat.u64.s64", u64::MAX, 0),
        ("cvt.sat.u64.s8", 0x80, 0),
    ]);
}

#[test]
fn floats_to_integers_at_the_limits() {
    each(&[
        ("cvt.rzi.s32.f32", f(2147483648.0), 0x7fff_ffff),
        ("cvt.rzi.s32.f32", f(-2147483648.0), 0x8000_0000),
        ("cvt.rzi.s32.f32", f(-3e9), 0x8000_0000),
        ("cvt.rzi.s32.f32", f(2147483520.0), 0x7fff_ff80),
        ("cvt.rzi.u32.f32", f(-1.0), 0),
        ("cvt.rzi.u32.f32", f(-0.5), 0),
        ("cvt.rmi.u32.f32", f(-0.5), 0),
        ("cvt.rzi.u32.f32", f(4294967296.0), 0xffff_ffff),
        ("cvt.rzi.u64.f32", f(f32::INFINITY), u64::MAX),
        ("cvt.rzi.s64.f32", f(-f32::INFINITY), 1 << 63),
        ("cvt.rzi.s64.f64", d(9.3e18), i64::MAX as u64),
        ("cvt.rzi.u64.f64", d(18446744073709549568.0), 0xffff_ffff_ffff_f800),
        ("cvt.rzi.u64.f64", d(2e19), u64::MAX),
        ("cvt.rzi.s8.f32", f(200.0), 127),
        ("cvt.rzi.s8.f32", f(-200.0), 0x80),
        ("cvt.rzi.u8.f64", d(255.9), 255),
        ("cvt.rni.u8.f32", f(255.5), 255),
        ("cvt.rzi.s16.f16", 0x7bff, 0x7fff),
        ("cvt.rzi.u16.f16", 0x7bff, 65504),
        ("cvt.rni.s32.bf16", 0xc020, 0xffff_fffe),
        ("cvt.sat.rzi.u32.f32", f(1e10), 0xffff_ffff),
        ("cvt.rpi.s32.f32", 1, 1),
        ("cvt.rpi.ftz.s32.f32", 1, 0),
        ("cvt.rmi.s32.f32", 0x8000_0001, 0xffff_ffff),
        ("cvt.rmi.ftz.s32.f32", 0x8000_0001, 0),
        ("cvt.rpi.s32.f64", 1, 1),
        // NaN is 0 where neither side is wide, else the integer with the top bit alone.
        ("cvt.rzi.s32.f32", NAN, 0),
        ("cvt.rni.u32.f32", 0xffc0_0000, 0),
        ("cvt.rzi.s16.f16", 0x7e00, 0),
        ("cvt.rzi.s8.bf16", 0x7fc0, 0),
        ("cvt.rzi.s64.f32", NAN, 1 << 63),
        ("cvt.rzi.u64.f16", 0xfe00, 1 << 63),
        ("cvt.rzi.s32.f64", d(f64::NAN), 0x8000_0000),
        ("cvt.rzi.u32.f64", d(f64::NAN), 0x8000_0000),
        ("cvt.rzi.s16.f64", d(f64::NAN), 0x8000),
        ("cvt.rzi.u8.f64", d(f64::NAN), 0x80),
    ]);
}

#[test]
fn floats_to_integral_values() {
    let rows = [
        // Value, then .rni, .rzi, .rmi, .rpi.
        (2.5, [2.0, 2.0, 2.0, 3.0]),
        (3.5, [4.0, 3.0, 3.0, 4.0]),
        (-2.5, [-2.0, -2.0, -3.0, -2.0]),
        (-0.3, [-0.0, -0.0, -1.0, -0.0]),
        (0.5, [0.0, 0.0, 0.0, 1.0]),
        (1.5, [2.0, 1.0, 1.0, 2.0]),
        (-1.999, [-2.0, -1.0, -2.0, -1.0]),
        (-0.0, [-0.0; 4]),
        (1e20, [1e20; 4]),
        (f32::INFINITY, [f32::INFINITY; 4]),
    ];
    for (x, results) in rows {
        for (mode, expected) in ["rni", "rzi", "rmi", "rpi"].into_iter().zip(results) {
            let wide = f64::from(x);
            each(&[
                (&format!("cvt.{mode}.f32.f32"), f(x), f(expected)),
                (&format!("cvt.{mode}.f64.f64"), d(wide), d(expected.into())),
                (&format!("cvt.{mode}.s64.f32"), f(x), expected as i64 as u64),
                (&format!("cvt.{mode}.s32.f64"), d(wide), u64::from(expected as i32 as u32)),
            ]);
        }
    }
    each(&[
        ("cvt.rpi.f32.f32", 1, f(1.0)),
        ("cvt.rpi.ftz.f32.f32", 1, 0),
        ("cvt.rmi.f32.f32", NAN, NAN),
        ("cvt.rni.f16.f16", 0x3e00, 0x4000),
        ("cvt.rzi.f16.f16", 0x8001, 0x8000),
        ("cvt.rni.sat.f32.f32", f(0.7), f(1.0)),
    ]);
}

#[test]
fn every_half_to_wider_floats() {
    let rows: Vec<u64> = (0..0x1_0000).collect();
    for (from, format) in [("f16", F16), ("bf16", BF16)] {
        let (single, double) =
            (all(&format!("cvt.f32.{from}"), &rows), all(&format!("cvt.f64.{from}"), &rows));
        let there_and_back = all(&format!("cvt.rn.{from}.f32"), &single);
        for (bits, (single, double)) in rows.iter().zip(single.iter().zip(double)) {
            let (magnitude, sign) = (bits & 0x7fff, if bits >> 15 == 0 { 1.0 } else { -1.0 });
            let expected = match magnitude {
                m if m > format.infinity() => {
                    assert_eq!((*single, there_and_back[*bits as usize]), (NAN, 0x7fff));
                    assert!(f64::from_bits(double).is_nan());
                    continue;
                }
                m if m == format.infinity() => f64::INFINITY * sign,
                _ => format.value(magnitude) * sign,
            };
            assert_eq!((*single, double), (f(expected as f32), d(expected)), "{from} {bits:#x}");
            assert_eq!(there_and_back[*bits as usize], *bits);
        }
    }
}

#[test]
fn integers_to_floats() {
    each(&[
        ("cvt.rn.f32.u64", u64::MAX, f(18446744073709551616.0)),
        ("cvt.rz.f32.u64", u64::MAX, f(18446742974197923840.0)),
        ("cvt.rn.f64.u64", u64::MAX, d(18446744073709551616.0)),
        ("cvt.rn.f64.s64", (1 << 53) + 1, d(9007199254740992.0)),
        ("cvt.rn.f64.s64", (1 << 53) + 3, d(9007199254740996.0)),
        ("cvt.rm.f64.s64", ((1i64 << 53) + 1).wrapping_neg() as u64, d(-9007199254740994.0)),
        ("cvt.rn.f32.s32", 0x8000_0000, f(-2147483648.0)),
        ("cvt.rn.f32.u32", 0xffff_ffff, f(4294967296.0)),
        ("cvt.rm.f32.s32", 0, 0),
        ("cvt.rn.f16.u32", 65520, 0x7c00),
        ("cvt.rz.f16.u32", 0xffff_ffff, 0x7bff),
        ("cvt.rn.sat.f32.s32", 5, f(1.0)),
        ("cvt.rn.sat.f32.s32", 0xffff_ffff, 0),
        ("cvt.rn.sat.f16.s32", 5, 0x3c00),
        ("cvt.rn.sat.f64.u8", 200, d(1.0)),
        ("cvt.rn.f32.s8", 0xff, f(-1.0)),
        ("cvt.rn.f32.u8", 0xff, f(255.0)),
    ]);
}

#[test]
fn special_floats() {
    let sub = 1e-40f32;
    each(&[
        ("cvt.f32.f32", f(sub), f(sub)),
        ("cvt.ftz.f32.f32", f(-sub), f(-0.0)),
        ("cvt.ftz.f64.f32", f(sub), 0),
        ("cvt.f64.f32", f(sub), d(sub.into())),
        ("cvt.rn.ftz.f32.f64", d(-1e-40), f(-0.0)),
        ("cvt.rn.f32.f64", d(1e-40), f(sub)),
        ("cvt.rn.f32.f64", d(1e-50), 0),
        ("cvt.rp.f32.f64", d(1e-50), 1),
        ("cvt.rp.ftz.f32.f64", d(1e-50), 0),
        ("cvt.rm.f32.f64", d(-1e-300), 0x8000_0001),
        ("cvt.rz.f32.f64", d(1e300), f(f32::MAX)),
        ("cvt.rn.f32.f64", d(f64::NAN), NAN),
        ("cvt.rz.f32.f64", d(-f64::NAN), NAN),
        ("cvt.rp.f32.f64", 1, 1),
        ("cvt.sat.f32.f32", f(3.0), f(1.0)),
        ("cvt.sat.f32.f32", f(-3.0), 0),
        ("cvt.sat.f32.f32", NAN, 0),
        ("cvt.sat.f32.f32", f(-0.0), 0),
        ("cvt.sat.f64.f64", d(f64::NAN), 0),
        ("cvt.rn.sat.f16.f32", f(2.0), 0x3c00),
        ("cvt.rn.sat.f32.f64", d(f64::INFINITY), f(1.0)),
        ("cvt.sat.f16.f16", 0x7e00, 0),
        ("cvt.ftz.f32.f16", 1, f(2f32.powi(-24))),
        ("cvt.rn.ftz.bf16.f32", 1, 0),
        ("cvt.rn.bf16.f32", f(f32::MAX), 0x7f80),
        ("cvt.rz.bf16.f32", f(f32::MAX), 0x7f7f),
        ("cvt.rn.bf16.f32", 0xff80_0001, 0x7fff),
        ("cvt.rn.f16.f32", 0x7f80_0001, 0x7fff),
        ("cvt.rn.f16.f32", f(-1e9), 0xfc00),
        ("cvt.rn.bf16.f16", 0x3c01, 0x3f80),
        ("cvt.rn.f16.bf16", 0x4780, 0x7c00),
        ("cvt.rn.relu.bf16.f32", f(-2.0), 0),
        ("cvt.rn.relu.bf16.f32", f(-0.0), 0),
        ("cvt.rn.relu.f16.f32", f(-f32::INFINITY), 0),
        ("cvt.rn.relu.f16.f32", NAN, 0x7fff),
        ("cvt.rz.relu.f16.f32", f(1.0), 0x3c00),
        ("cvt.rn.relu.tf32.f32", f(-1.0), 0),
        ("cvt.rna.tf32.f32", f(1.0 + 2f32.powi(-11)), f(1.0 + 2f32.powi(-10))),
        ("cvt.rn.tf32.f32", f(1.0 + 2f32.powi(-11)), f(1.0)),
        ("cvt.rna.tf32.f32", f(-1.0 - 2f32.powi(-11)), f(-1.0 - 2f32.powi(-10))),
        ("cvt.rna.tf32.f32", f(f32::MAX), f(f32::INFINITY)),
        ("cvt.rna.tf32.f32", 0xffff_0000, NAN),
    ]);
    for text in [
        "cvt.rn.satfinite.e4m3x2.f32",
        "cvt.rn.satfinite.tf32.f32",
        "cvt.f32.pred",
        "cvt.f32",
        "cvt.rs.f16x2.f32",
    ] {
        assert!(convert(&Mods(&split(text).1)).is_none(), "{text}");
    }
}

#[test]
fn pairs_are_packed_first_operand_above() {
    let pack = |text: &str, a: f32, b: f32| {
        let recipe = Convert::pack(&Mods(&split(text).1)).unwrap_or_else(|| panic!("no packing for {text}"));
        assert_eq!((recipe.dest, &recipe.sources[..]), (Type::B32, &[Type::F32, Type::F32][..]));
        let found = super::alu(recipe.run, &[4, 4, 4], &[[f(a), f(b)]; WARP], FULL);
        assert_eq!(found, [found[0]; WARP]);
        found[0]
    };
    let third = 1.0 / 3.0;
    for (text, a, b, expected) in [
        ("cvt.rn.bf16x2.f32", 1.0, -2.0, 0x3f80_c000),
        ("cvt.rn.f16x2.f32", 1.0, -2.0, 0x3c00_c000),
        ("cvt.rn.bf16x2.f32", third, -third, 0x3eab_beab),
        ("cvt.rz.bf16x2.f32", third, -third, 0x3eaa_beaa),
        ("cvt.rn.f16x2.f32", 65520.0, f32::NAN, 0x7c00_7fff),
        ("cvt.rz.f16x2.f32", 65520.0, f32::NAN, 0x7bff_7fff),
        ("cvt.rn.relu.bf16x2.f32", -1.0, f32::NAN, 0x0000_7fff),
        ("cvt.rn.relu.f16x2.f32", -0.0, 1.0, 0x0000_3c00),
        ("cvt.rz.relu.bf16x2.f32", -third, third, 0x0000_3eaa),
    ] {
        assert_eq!(pack(text, a, b), expected, "{text} {a} {b}");
    }
    for text in ["cvt.rn.satfinite.f16x2.f32", "cvt.rn.bf16x2.f16", "cvt.rn.f16.f32", "cvt.rp.f16x2.f32"] {
        assert!(Convert::pack(&Mods(&split(text).1)).is_none(), "{text}");
    }
}
