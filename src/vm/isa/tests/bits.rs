use super::int::{MIN, MIN64, ONES, s};
use super::{random, results, table};

#[test]
fn single_operations() {
    table(&[
        ("and.b32", &[0xff00, 0x0ff0], 0x0f00),
        ("or.b16", &[0xff00, 0x0ff0], 0xfff0),
        ("xor.b64", &[u64::MAX, 1], u64::MAX - 1),
        ("not.b16", &[0x00ff], 0xff00),
        ("cnot.b32", &[0], 1),
        ("cnot.b64", &[1 << 40], 0),
        ("popc.b32", &[ONES], 32),
        ("popc.b64", &[u64::MAX], 64),
        ("clz.b32", &[0], 32),
        ("clz.b32", &[1], 31),
        ("clz.b64", &[0], 64),
        ("clz.b64", &[MIN64], 0),
        ("brev.b32", &[1], MIN),
        ("brev.b64", &[0b110], 0b11 << 61),
        ("bfind.u32", &[0], ONES),
        ("bfind.u32", &[MIN], 31),
        ("bfind.s32", &[MIN], 30),
        ("bfind.s32", &[ONES], ONES),
        ("bfind.s32", &[s(-2)], 0),
        ("bfind.shiftamt.u32", &[1], 31),
        ("bfind.shiftamt.s32", &[s(-2)], 31),
        ("bfind.shiftamt.u32", &[0], ONES),
        ("bfind.u64", &[1 << 40], 40),
        ("bfind.s64", &[u64::MAX], ONES),
        ("bfind.shiftamt.s64", &[MIN64], 1),
        ("fns.b32", &[0xaaaa_aaaa, 3, 1], 3),
        ("fns.b32", &[0xaaaa_aaaa, 3, s(-1)], 3),
        ("fns.b32", &[0xaaaa_aaaa, 2, 1], 3),
        ("fns.b32", &[0xaaaa_aaaa, 2, s(-1)], 1),
        ("szext.wrap.u32", &[ONES, 0], 0),
        ("szext.clamp.s32", &[0x0000_0080, 8], 0xffff_ff80),
        ("szext.wrap.s32", &[0x0000_0180, 40], 0xffff_ff80),
        ("szext.clamp.s32", &[0x8000_0180, 40], 0x8000_0180),
    ]);
}

#[test]
fn shifts_beyond_the_width() {
    for (bits, negative) in [(16u32, 0x8001), (32, 0x8000_0001), (64, MIN64 | 1)] {
        let ones = u64::MAX >> (64 - bits);
        for n in [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 0x8000_0000, 0xffff_ffff] {
            let over = n >= u64::from(bits);
            let fill = |x: i128| (x >> n.min(100)) as u64 & ones;
            let signed = negative as i128 - (1i128 << bits);
            table(&[
                (&format!("shl.b{bits}"), &[negative, n], if over { 0 } else { negative << n & ones }),
                (&format!("shr.b{bits}"), &[negative, n], if over { 0 } else { negative >> n }),
                (&format!("shr.u{bits}"), &[negative, n], if over { 0 } else { negative >> n }),
                (&format!("shr.s{bits}"), &[negative, n], fill(signed)),
                (&format!("shr.s{bits}"), &[ones >> 1, n], if over { 0 } else { ones >> 1 >> n }),
            ]);
        }
    }
}

#[test]
fn funnel_shifts() {
    let (a, b) = (0x89ab_cdefu64, 0x0123_4567u64);
    for n in [0, 1, 4, 31, 32, 33, 36, 63, 64, 0xffff_ffff] {
        for (mode, n_used) in [("wrap", n % 32), ("clamp", n.min(32))] {
            // Bit i of the result, taken from b above a.
            let bit = |at: i64| if at >= 32 { b >> (at - 32) & 1 } else { a >> at & 1 };
            let gather = |first: i64| (0..32).map(|i| bit(first + i) << i).sum::<u64>();
            table(&[
                (&format!("shf.l.{mode}.b32"), &[a, b, n], gather(32 - n_used as i64)),
                (&format!("shf.r.{mode}.b32"), &[a, b, n], gather(n_used as i64)),
            ]);
        }
    }
}

#[test]
fn fields() {
    const EDGES: [u64; 14] = [0, 1, 5, 16, 31, 32, 33, 48, 63, 64, 65, 128, 255, 256];
    let values = [0, u64::MAX, MIN64, 0x8000_0001, 0x7fff_fff0, 0xa5c3_9696_5a3c_6969];
    for (at, len) in EDGES.iter().flat_map(|at| EDGES.map(|len| (*at, len))) {
        for (width, a) in [32, 64].into_iter().flat_map(|width| values.map(|a| (width, a))) {
            let (pos, count, top) = (at & 255, len & 255, width - 1);
            let bit = |x: u64, i: u64| x >> i & 1;
            for (ty, signed) in [("u", false), ("s", true)] {
                let fill = if signed && count > 0 { bit(a, (pos + count - 1).min(top)) } else { 0 };
                let expected = (0..width)
                    .map(|i| if i < count && pos + i <= top { bit(a, pos + i) } else { fill } << i)
                    .sum::<u64>();
                table(&[(&format!("bfe.{ty}{width}"), &[a, at, len], expected)]);
            }
            let under = 0x0123_4567_89ab_cdef & u64::MAX >> (64 - width);
            let inside = |i: u64| i >= pos && i < pos + count;
            let expected =
                (0..width).map(|i| if inside(i) { bit(a, i - pos) } else { bit(under, i) } << i).sum::<u64>();
            table(&[(&format!("bfi.b{width}"), &[a, under, at, len], expected)]);
        }
        let mask = |pos: u64, count: u64| {
            (0..32).filter(|i| *i >= pos && *i < pos + count).map(|i| 1 << i).sum::<u64>()
        };
        table(&[
            ("bmsk.wrap.b32", &[at, len], mask(at % 32, len % 32)),
            ("bmsk.clamp.b32", &[at, len], mask(at, len)),
            ("bmsk.clamp.b32", &[ONES, ONES], 0),
        ]);
    }
}

#[test]
fn extensions_and_nth_bits_against_the_manual() {
    let mut next = random(2);
    for _ in 0..300 {
        let (a, n) = ((next() as u32), (next() % 70) as u32);
        for clamp in [false, true] {
            let mode = if clamp { "clamp" } else { "wrap" };
            let large = n >= 32 && clamp;
            let keep = if large { u32::MAX } else { !(u32::MAX << (n & 31)) };
            let sign = n & 31 != 0 && !large && a >> ((n & 31) - 1) & 1 != 0;
            table(&[
                (&format!("szext.{mode}.u32"), &[a.into(), n.into()], (a & keep).into()),
                (
                    &format!("szext.{mode}.s32"),
                    &[a.into(), n.into()],
                    (a & keep | if sign { !keep } else { 0 }).into(),
                ),
            ]);
        }
        let (mask, base, offset) = ((next() & next()) as u32, (next() % 32) as i32, (next() % 15) as i32 - 7);
        let mut found = u32::MAX;
        if offset == 0 {
            if mask >> base & 1 == 1 {
                found = base as u32;
            }
        } else {
            let (mut at, mut count) = (base, offset.abs() - 1);
            while (0..32).contains(&at) {
                if mask >> at & 1 == 1 {
                    if count == 0 {
                        found = at as u32;
                        break;
                    }
                    count -= 1;
                }
                at += offset.signum();
            }
        }
        table(&[("fns.b32", &[mask.into(), s(base), s(offset)], found.into())]);
    }
}

#[test]
fn lop3_has_256_functions() {
    let (a, b, c) = (0xf0f0_1234u64, 0xcccc_abcd, 0xaaaa_0f1e);
    let rows: Vec<[u64; 4]> = (0..256).map(|table| [a, b, c, table]).collect();
    for (table, found) in results("lop3.b32", &rows).into_iter().enumerate() {
        let bit = |i: u32| table >> ((a >> i & 1) * 4 + (b >> i & 1) * 2 + (c >> i & 1)) & 1;
        assert_eq!(found, (0..32).map(|i| (bit(i) as u64) << i).sum::<u64>(), "{table:#x}");
    }
    // The manual's own: a & b | c and a ^ b ^ c.
    table(&[("lop3.b32", &[a, b, c, 0xea], a & b | c), ("lop3.b32", &[a, b, c, 0x96], a ^ b ^ c)]);
}

#[test]
fn permutations() {
    let (a, b) = (0x7382_9180u64, 0xf7e6_0504u64);
    let byte = |i: u32| if i < 4 { a >> (8 * i) & 255 } else { b >> (8 * (i - 4)) & 255 };
    let mut next = random(9);
    for selector in (0..400).map(|_| next() as u32).chain([0x3210, 0x7654, 0xfedc, 0x89ab, 0xffff_3210]) {
        let one = |i: u32| {
            let nibble = selector >> (4 * i);
            let byte = byte(nibble & 7);
            if nibble & 8 == 0 {
                byte
            } else if byte & 128 != 0 {
                255
            } else {
                0
            }
        };
        let expected = (0..4).map(|i| one(i) << (8 * i)).sum::<u64>();
        table(&[("prmt.b32", &[a, b, selector.into()], expected)]);
    }
    // From the manual's table, highest byte first.
    for (mode, rows) in [
        ("f4e", [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]),
        ("b4e", [[5, 6, 7, 0], [6, 7, 0, 1], [7, 0, 1, 2], [0, 1, 2, 3]]),
        ("rc8", [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]),
        ("ecl", [[3, 2, 1, 0], [3, 2, 1, 1], [3, 2, 2, 2], [3, 3, 3, 3]]),
        ("ecr", [[0, 0, 0, 0], [1, 1, 1, 0], [2, 2, 1, 0], [3, 2, 1, 0]]),
        ("rc16", [[1, 0, 1, 0], [3, 2, 3, 2], [1, 0, 1, 0], [3, 2, 3, 2]]),
    ] {
        for (selector, row) in rows.into_iter().enumerate() {
            let expected = row.into_iter().fold(0, |word, i| word << 8 | byte(i));
            for above in [0, 0xffff_fffc] {
                table(&[(&format!("prmt.b32.{mode}"), &[a, b, selector as u64 | above], expected)]);
            }
        }
    }
}
