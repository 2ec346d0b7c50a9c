use super::{Mods, STRIDE, d, f, put, setp, split};
use crate::vm::isa::Combine;
use crate::vm::lanes::{Frame, WARP};
use std::cmp::Ordering::{self, Equal, Greater, Less};

/// Which lanes hold; lane i compares `pairs[i]`, the rest the last of them.
fn lanes(text: &str, pairs: &[(u64, u64)]) -> u32 {
    let (_, mods) = split(text);
    let setp = setp(&Mods(&mods)).unwrap_or_else(|| panic!("no comparison for {text}"));
    let mut frame = Frame::new(3 * STRIDE);
    for lane in 0..WARP {
        let (a, b) = pairs[lane.min(pairs.len() - 1)];
        put(&mut frame, 1, setp.ty.bytes(), lane, a);
        put(&mut frame, 2, setp.ty.bytes(), lane, b);
    }
    // SAFETY: registers of any width lie at the second and third slot.
    unsafe { (setp.run)(frame.pointer(), &[0, STRIDE as u32, 2 * STRIDE as u32, 0, 0]) }
}

fn holds(text: &str, a: u64, b: u64) -> bool {
    let lanes = lanes(text, &[(a, b)]);
    assert!(lanes == 0 || lanes == u32::MAX, "{text}: {lanes:#x}");
    lanes != 0
}

/// What a relation says of an order, None of NaN.
fn expected(relation: &str, order: Option<Ordering>) -> bool {
    let Some(order) = order else {
        return relation == "nan" || relation.len() == 3 && relation.ends_with('u');
    };
    match &relation[..2] {
        "eq" => order == Equal,
        "ne" => order != Equal,
        "lt" | "lo" => order == Less,
        "le" | "ls" => order != Greater,
        "gt" | "hi" => order == Greater,
        "ge" | "hs" => order != Less,
        _ => relation == "num",
    }
}

const FLOAT: [&str; 14] =
    ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];

#[test]
fn floats_in_every_relation() {
    let values =
        [-f32::INFINITY, -1.0, -1e-40, -0.0, 0.0, 1e-40, 1.0, f32::MAX, f32::INFINITY, f32::NAN, -f32::NAN];
    for relation in FLOAT {
        for (a, b) in values.iter().flat_map(|a| values.map(|b| (*a, b))) {
            let flushed = |x: f32| if x.is_subnormal() { 0.0 } else { x };
            let order = a.partial_cmp(&b);
            let (wide_a, wide_b) = (d(a.into()), d(b.into()));
            let message = format!("{relation} {a} {b}");
            assert_eq!(
                holds(&format!("setp.{relation}.f32"), f(a), f(b)),
                expected(relation, order),
                "{message}"
            );
            assert_eq!(
                holds(&format!("setp.{relation}.f64"), wide_a, wide_b),
                expected(relation, order),
                "{message}"
            );
            assert_eq!(
                holds(&format!("setp.{relation}.ftz.f32"), f(a), f(b)),
                expected(relation, flushed(a).partial_cmp(&flushed(b))),
                "ftz {message}"
            );
        }
    }
}

#[test]
fn halves_in_every_relation() {
    for (ty, infinity) in [("f16", 0x7c00u64), ("bf16", 0x7f80)] {
        let values = [0, 1, 0x0400, 0x3c00, 0x3f80, infinity, infinity + 1, 0x7fff];
        let values: Vec<u64> = values.into_iter().flat_map(|x| [x, x | 0x8000]).collect();
        let key = |x: u64| if x >> 15 != 0 { -((x & 0x7fff) as i64) } else { x as i64 };
        let nan = |x: u64| x & 0x7fff > infinity;
        for relation in FLOAT {
            for (&a, &b) in values.iter().flat_map(|a| values.iter().map(move |b| (a, b))) {
                let order = (!nan(a) && !nan(b)).then(|| key(a).cmp(&key(b)));
                assert_eq!(
                    holds(&format!("setp.{relation}.{ty}"), a, b),
                    expected(relation, order),
                    "{relation}.{ty} {a:x} {b:x}"
                );
            }
        }
    }
    assert!(holds("setp.eq.ftz.f16", 0x03ff, 0x8001) && !holds("setp.eq.f16", 0x03ff, 0x8001));
    assert!(holds("setp.lt.ftz.f16", 0x03ff, 0x0400));
}

#[test]
fn integers_in_every_relation() {
    let values = [
        0,
        1,
        2,
        0x7fff,
        0x8000,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        1 << 63,
        u64::MAX,
        i64::MAX as u64,
    ];
    for (a, b) in values.iter().flat_map(|a| values.map(|b| (*a, b))) {
        for relation in ["eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs"] {
            let unsigned = [(a as u16).cmp(&(b as u16)), (a as u32).cmp(&(b as u32)), a.cmp(&b)];
            let signed =
                [(a as i16).cmp(&(b as i16)), (a as i32).cmp(&(b as i32)), (a as i64).cmp(&(b as i64))];
            for (index, bits) in [16, 32, 64].into_iter().enumerate() {
                for (kind, order) in [("u", unsigned[index]), ("s", signed[index])] {
                    if kind == "s" && ["lo", "ls", "hi", "hs"].contains(&relation) {
                        continue;
                    }
                    let text = format!("setp.{relation}.{kind}{bits}");
                    assert_eq!(holds(&text, a, b), expected(relation, Some(order)), "{text} {a:x} {b:x}");
                }
            }
        }
    }
    assert!(holds("setp.eq.b16", 0x1_0001, 1) && holds("setp.ne.b64", 1 << 40, 0));
}

#[test]
fn each_lane_has_its_bit() {
    let pairs: Vec<(u64, u64)> = (0..32).map(|lane| (lane, 7 * lane % 32)).collect();
    let expected = (0..32).filter(|lane| *lane < 7 * lane % 32).fold(0, |bits, lane| bits | 1 << lane);
    for ty in ["u16", "s32", "u64"] {
        assert_eq!(lanes(&format!("setp.lt.{ty}"), &pairs), expected, "{ty}");
    }
}

#[test]
fn modifiers_are_understood_or_refused() {
    let combine = |text: &str| setp(&Mods(&split(text).1)).map(|setp| setp.combine);
    assert_eq!(combine("setp.lt.s32"), Some(Combine::No));
    assert_eq!(combine("setp.lt.and.s32"), Some(Combine::And));
    assert_eq!(combine("setp.geu.or.ftz.f32"), Some(Combine::Or));
    assert_eq!(combine("setp.ne.xor.b64"), Some(Combine::Xor));
    for text in [
        "setp.equ.s32",
        "setp.lo.f32",
        "setp.lo.s32",
        "setp.lt.b32",
        "setp.lt.nand.s32",
        "setp.eq.ftz.f64",
        "setp.eq.ftz.s32",
        "setp.eq.pred",
        "setp",
    ] {
        assert_eq!(combine(text), None, "{text}");
    }
}
