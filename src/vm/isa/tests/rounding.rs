//! Every rounding against exact arithmetic.

use super::convert::all;
use super::exact::{BF16, F16, F32, F64, Format, TF32, fused, quotient, root, sign_of_sum};
use super::half::FORMATS as HALVES;
use super::{d, f, low, random, results};

/// Finite operands of every size, many of them close to one another or at an edge.
fn operands(format: &Format, next: &mut impl FnMut() -> u64) -> [u64; 3] {
    let sign_at = format.0 + format.1;
    let base = next() % format.infinity();
    std::array::from_fn(|_| {
        let (how, bits) = (next(), next());
        let mantissa = bits & ((1 << format.1) - 1);
        let magnitude = match how % 8 {
            0 => bits % format.infinity(),
            1 => mantissa >> (how >> 32 & 31),
            2 => [0, 1, format.infinity() - 1, 1 << format.1, (1 << format.1) - 1][(bits % 5) as usize],
            3 => (base & !((1 << format.1) - 1)) | mantissa,
            4 => base.saturating_sub(bits % 4),
            // Around 1, where products and quotients stay in range.
            _ => {
                format.infinity() / 2 / (1 << format.1) * (1 << format.1) + (bits % (64 << format.1))
                    - (32 << format.1)
            }
        };
        (magnitude % format.infinity()) | ((how >> 63) << sign_at)
    })
}

#[test]
fn every_rounding_mode_against_exact_arithmetic() {
    for (format, ty, count) in [(F32, "f32", 4000), (F64, "f64", 4000)] {
        let mut next = random(7);
        let rows: Vec<[u64; 3]> = (0..count).map(|_| operands(&format, &mut next)).collect();
        let pairs: Vec<[u64; 2]> = rows.iter().map(|&[a, b, _]| [a, b]).collect();
        let singles: Vec<[u64; 1]> = rows.iter().map(|&[a, ..]| [a]).collect();
        for mode in ["rn", "rz", "rm", "rp"] {
            let name = |opcode| format!("{opcode}.{mode}.{ty}");
            // The midpoints of f64 are no f64 themselves; there the processor itself rounds to nearest.
            if mode == "rn" && ty == "f64" {
                continue;
            }
            let all = [
                ("add", results(&name("add"), &pairs)),
                ("sub", results(&name("sub"), &pairs)),
                ("mul", results(&name("mul"), &pairs)),
                ("fma", results(&name("fma"), &rows)),
                ("div", results(&name("div"), &pairs)),
                ("rcp", results(&name("rcp"), &singles)),
                ("sqrt", results(&name("sqrt"), &singles)),
            ];
            for (opcode, found) in all {
                for (row, bits) in rows.iter().zip(found) {
                    let [a, b, c] = row.map(|bits| format.value(bits));
                    let exact: Box<dyn Fn(f64) -> i32> = match opcode {
                        "add" => Box::new(fused(a, 1.0, b)),
                        "sub" => Box::new(fused(a, 1.0, -b)),
                        "mul" => Box::new(fused(a, b, 0.0)),
                        "fma" => Box::new(fused(a, b, c)),
                        "div" if b != 0.0 => Box::new(quotient(a, b)),
                        "rcp" if a != 0.0 => Box::new(quotient(1.0, a)),
                        "sqrt" if a >= 0.0 => Box::new(root(a)),
                        _ => continue,
                    };
                    assert!(
                        format.rounds(bits, mode, &exact),
                        "{opcode}.{mode}.{ty} {a:e} {b:e} {c:e}: {bits:#x}"
                    );
                }
            }
        }
    }
}

#[test]
fn flushing_is_flushing_before_and_after() {
    let flush = |bits: u64| if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits };
    let mut next = random(11);
    let rows: Vec<[u64; 3]> = (0..4000).map(|_| operands(&F32, &mut next)).collect();
    let flushed: Vec<[u64; 3]> = rows.iter().map(|row| row.map(flush)).collect();
    for mode in ["rn", "rz", "rm", "rp"] {
        let plain = results(&format!("fma.{mode}.f32"), &flushed).into_iter().map(flush);
        assert!(plain.eq(results(&format!("fma.{mode}.ftz.f32"), &rows)), "{mode}");
    }
}

#[test]
fn sums_and_products_round_once() {
    for (ty, format, _, tiny, max, _) in HALVES {
        let mut next = random(5);
        let mut one = || {
            let bits = next();
            match bits >> 60 {
                0 => [0, 1, 2, tiny - 1, tiny, tiny + 1, max, max - 1][(bits & 7) as usize] | (bits & 0x8000),
                // Around 1, where sums meet.
                1..8 => {
                    ((bits & 0x1fff) % (8 * tiny) + (format.infinity() / 2) / tiny * tiny - 4 * tiny)
                        | bits & 0x8000
                }
                _ => ((bits & 0x7fff) % (max + 1)) | bits & 0x8000,
            }
        };
        let rows: Vec<[u64; 3]> = (0..20_000).map(|_| [one(), one(), one()]).collect();
        let pairs: Vec<[u64; 2]> = rows.iter().map(|&[a, b, _]| [a, b]).collect();
        let all = [
            ("add", results(&format!("add.{ty}"), &pairs)),
            ("sub", results(&format!("sub.{ty}"), &pairs)),
            ("mul", results(&format!("mul.{ty}"), &pairs)),
            ("fma", results(&format!("fma.rn.{ty}"), &rows)),
        ];
        for (opcode, found) in all {
            for (row, bits) in rows.iter().zip(found) {
                let [a, b, c] = row.map(|bits| format.value(bits));
                let (a, b, c) = match opcode {
                    "add" => (a, 1.0, b),
                    "sub" => (a, 1.0, -b),
                    "mul" => (a, b, 0.0),
                    _ => (a, b, c),
                };
                assert!(format.rounds(bits, "rn", &fused(a, b, c)), "{opcode}.{ty} {row:x?}: {bits:#x}");
            }
        }
    }
}

const MODES: [&str; 4] = ["rn", "rz", "rm", "rp"];
const FORMATS: [(&str, Format); 4] = [("f64", F64), ("f32", F32), ("f16", F16), ("bf16", BF16)];

#[test]
fn integers_to_floats_in_every_mode() {
    let mut next = random(13);
    let edges = [
        0,
        1,
        2,
        3,
        2049,
        2051,
        65504,
        65519,
        65520,
        (1 << 24) + 1,
        (1 << 53) + 1,
        (1 << 53) + 3,
        1 << 63,
        u64::MAX,
    ];
    let edges = edges.iter().flat_map(|x| [*x, x.wrapping_neg()]);
    let rows: Vec<u64> = edges.chain((0..400).map(|i| next() >> (i % 64))).collect();
    for (from, bits) in
        [("u8", 8), ("s8", 8), ("u16", 16), ("s16", 16), ("u32", 32), ("s32", 32), ("u64", 64), ("s64", 64)]
    {
        for (to, format) in FORMATS {
            for mode in MODES {
                // f64 has no midpoints in f64; tested below.
                if mode == "rn" && to == "f64" {
                    continue;
                }
                let text = format!("cvt.{mode}.{to}.{from}");
                for (row, found) in rows.iter().zip(all(&text, &rows)) {
                    let x = low(*row, bits / 8);
                    let x = i128::from(x)
                        - if from.starts_with('s') && x >> (bits - 1) != 0 { 1i128 << bits } else { 0 };
                    let halves = [((x >> 32) as f64, 4294967296.0), ((x & 0xffff_ffff) as f64, 1.0)];
                    let exact = |y: f64| {
                        if y.is_infinite() {
                            -y.signum() as i32
                        } else {
                            sign_of_sum(&[halves[0], halves[1], (-1.0, y)])
                        }
                    };
                    assert!(format.rounds(found, mode, &exact), "{text} {x}: {found:#x}");
                }
            }
        }
    }
}

#[test]
fn floats_to_narrower_floats_in_every_mode() {
    let mut next = random(17);
    for (from, source) in &FORMATS[..2] {
        for (to, format) in FORMATS.iter().skip(1).chain([&("tf32", TF32)]) {
            if from == to || *to == "tf32" && *from == "f64" {
                continue;
            }
            // Around what the narrower format can hold, its subnormal numbers, its limits, its ties.
            let rows: Vec<u64> = (0..3000)
                .map(|i| {
                    let bits = next();
                    let near =
                        if *to == "tf32" { bits % TF32.infinity() } else { bits % (format.infinity() + 1) };
                    let x = format.value(near) * [1.0, 1.0 + 1e-6, 1.0 - 1e-6, 1.0 + 2f64.powi(-60)][i % 4];
                    let tie = (x + format.value((near + 1).min(format.infinity()))) / 2.0;
                    let x = if bits >> 62 & 1 == 0 { x } else { tie };
                    let x = if bits >> 63 == 0 { x } else { -x };
                    if *from == "f64" { d(x) } else { f((x as f32).clamp(-f32::MAX, f32::MAX)) }
                })
                .collect();
            let modes: &[&str] = if *to == "tf32" { &["rna", "rn", "rz"] } else { &MODES };
            for mode in modes {
                let text = format!("cvt.{mode}.{to}.{from}");
                for (row, found) in rows.iter().zip(all(&text, &rows)) {
                    let x = source.value(*row);
                    let narrow = if *to == "tf32" { found >> 13 } else { found };
                    assert!(*to != "tf32" || found & 0x1fff == 0, "{text} {found:#x}");
                    assert!(format.rounds(narrow, mode, &fused(x, 1.0, 0.0)), "{text} {x:e}: {found:#x}");
                }
            }
        }
    }
}
