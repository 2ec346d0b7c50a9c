use super::{result, table, unknown};

pub(super) const MIN: u64 = 0x8000_0000;
pub(super) const ONES: u64 = 0xffff_ffff;
pub(super) const MIN64: u64 = 1 << 63;

/// A value of 32 bits as registers hold it.
pub(super) fn s(x: i32) -> u64 {
    u64::from(x as u32)
}

#[test]
fn arithmetic() {
    table(&[
        ("add.s32", &[0x7fff_ffff, 1], MIN),
        ("add.sat.s32", &[0x7fff_ffff, 1], 0x7fff_ffff),
        ("add.sat.s32", &[MIN, s(-1)], MIN),
        ("add.sat.s32", &[s(-5), 3], s(-2)),
        ("sub.sat.s32", &[MIN, 1], MIN),
        ("sub.sat.s32", &[0, MIN], 0x7fff_ffff),
        ("add.u16", &[0xffff, 2], 1),
        ("sub.u64", &[0, 1], u64::MAX),
        ("mul.lo.s32", &[MIN, s(-1)], MIN),
        ("mul.lo.u16", &[0x8000, 3], 0x8000),
        ("mul.lo.s64", &[MIN64, 3], MIN64),
        ("mul.hi.s32", &[MIN, MIN], 0x4000_0000),
        ("mul.hi.s32", &[s(-1), 1], ONES),
        ("mul.hi.u32", &[ONES, ONES], ONES - 1),
        ("mul.hi.s16", &[0xffff, 1], 0xffff),
        ("mul.hi.u16", &[0xffff, 0xffff], 0xfffe),
        ("mul.hi.u64", &[u64::MAX, u64::MAX], u64::MAX - 1),
        ("mul.hi.s64", &[MIN64, MIN64], 1 << 62),
        ("mul.hi.s64", &[u64::MAX, 1], u64::MAX),
        ("mul.wide.s32", &[MIN, MIN], 1 << 62),
        ("mul.wide.s32", &[s(-1), 1], u64::MAX),
        ("mul.wide.u32", &[ONES, ONES], 0xffff_fffe_0000_0001),
        ("mul.wide.s16", &[0x8000, 0x7fff], s(-0x8000 * 0x7fff)),
        ("mul.wide.u16", &[0xffff, 0xffff], 0xfffe_0001),
        ("mad.lo.s32", &[3, s(-4), 5], s(-7)),
        ("mad.lo.u64", &[u64::MAX, 2, 3], 1),
        ("mad.hi.u32", &[ONES, ONES, 5], 3),
        ("mad.hi.s32", &[MIN, MIN, 0x7000_0000], 0xb000_0000),
        ("mad.hi.sat.s32", &[MIN, MIN, 0x7000_0000], 0x7fff_ffff),
        ("mad.hi.sat.s32", &[MIN, 0x7fff_ffff, MIN], MIN),
        ("mad.wide.s32", &[s(-1), 2, 1], u64::MAX),
        ("mad.wide.u16", &[0xffff, 0xffff, 0xffff_0000], 0xfffd_0001),
        // The upper byte of 32 counts for nothing; bit 23 is the sign.
        ("mul24.lo.u32", &[0xff00_0003, 0xab00_0005], 15),
        ("mul24.lo.s32", &[0x00ff_ffff, 7], s(-7)),
        ("mul24.hi.s32", &[0x00ff_ffff, 1], ONES),
        ("mul24.hi.u32", &[0x00ff_ffff, 0x00ff_ffff], 0xffff_fe00),
        ("mul24.lo.u32", &[0x00ff_ffff, 0x00ff_ffff], 0xfe00_0001),
        ("mad24.lo.s32", &[0x00ff_ffff, 7, 8], 1),
        ("mad24.hi.u32", &[0x0080_0000, 0x0080_0000, 1], 0x4000_0001),
        ("mad24.hi.sat.s32", &[0x0080_0000, 0x0080_0000, 0x7000_0000], 0x7fff_ffff),
        ("sad.s32", &[s(-3), 4, 10], 17),
        ("sad.u32", &[3, ONES, 0], ONES - 3),
        ("sad.s32", &[MIN, 0x7fff_ffff, 1], 0),
        ("sad.u16", &[0, 0xffff, 1], 0),
        ("sad.s64", &[u64::MAX, 1, 1], 3),
        ("div.s32", &[s(-7), 2], s(-3)),
        ("rem.s32", &[s(-7), 2], s(-1)),
        ("div.s32", &[MIN, s(-1)], MIN),
        ("rem.s32", &[MIN, s(-1)], 0),
        ("div.s64", &[MIN64, u64::MAX], MIN64),
        ("rem.s64", &[MIN64, u64::MAX], 0),
        ("div.u32", &[7, 0], ONES),
        ("div.s32", &[7, 0], ONES),
        ("rem.u32", &[7, 0], 7),
        ("div.u64", &[7, 0], u64::MAX),
        ("div.s16", &[0x8000, 0xffff], 0x8000),
        ("div.u16", &[0xffff, 10], 6553),
        ("abs.s32", &[MIN], MIN),
        ("abs.s32", &[s(-5)], 5),
        ("neg.s32", &[MIN], MIN),
        ("neg.s16", &[0x8000], 0x8000),
        ("abs.s64", &[MIN64], MIN64),
        ("neg.s64", &[1], u64::MAX),
        ("min.s32", &[MIN, 1], MIN),
        ("min.u32", &[MIN, 1], 1),
        ("max.s16", &[0xffff, 1], 1),
        ("max.u64", &[u64::MAX, 1], u64::MAX),
        ("max.s64", &[u64::MAX, 1], 1),
        ("vabsdiff4.u32.u32.u32", &[0x00ff_1020, 0xff00_2010, 77], 0xffff_1010),
        ("vabsdiff4.u32.u32.u32.add", &[0x00ff_1020, 0xff00_2010, 77], 255 + 255 + 16 + 16 + 77),
        ("vabsdiff4.u32.u32.u32.add", &[0, 1, ONES], 0),
    ]);
    unknown(&[
        "add.sat.u32",
        "add.cc.s32",
        "mul.s32",
        "mul.wide.s64",
        "min.relu.s32",
        "abs.u32",
        "mul24.lo.u16",
        "shf.l.b32",
        "bmsk.b32",
        "popc.b16",
        "slct.s32.s32",
    ]);
}

#[test]
fn dot_products() {
    let (a, b) = (0x80ff_7f01u32, 0xff80_7ffeu32);
    let (words, bytes) = (0x8000_7fffu32, b);
    let at = |word: u32, i: u32, bits: u32, signed: bool| {
        let x = i64::from(word >> (bits * i) & ((1 << bits) - 1));
        if signed && x >> (bits - 1) != 0 { x - (1 << bits) } else { x }
    };
    for (p, q) in [(false, false), (false, true), (true, false), (true, true)] {
        let kind = |signed| if signed { "s32" } else { "u32" };
        let types = format!("{}.{}", kind(p), kind(q));
        for c in [0i64, 1000, 0x7fff_ffff] {
            let four = (0..4).map(|i| at(a, i, 8, p) * at(b, i, 8, q)).sum::<i64>() + c;
            let low = (0..2).map(|i| at(words, i, 16, p) * at(bytes, i, 8, q)).sum::<i64>() + c;
            let high = (0..2).map(|i| at(words, i, 16, p) * at(bytes, i + 2, 8, q)).sum::<i64>() + c;
            let row = |a: u32, b: u32| [u64::from(a), b.into(), c as u64];
            table(&[
                (&format!("dp4a.{types}"), &row(a, b), s(four as i32)),
                (&format!("dp2a.lo.{types}"), &row(words, bytes), s(low as i32)),
                (&format!("dp2a.hi.{types}"), &row(words, bytes), s(high as i32)),
            ]);
        }
    }
    assert_eq!(result("dp4a.s32.s32", &[ONES, ONES, 0]), 4);
}
