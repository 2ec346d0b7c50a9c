//! Bits: logic, shifts, fields, counts, bytes. PTX ISA, sections 9.7.1 and 9.7.8, and `prmt`.

use super::int::typed;
use super::{Mods, Recipe};
use crate::vm::lanes::{AluFn, binary, quaternary, ternary, unary};
use crate::vm::ptx::Type::{self, *};

pub fn recipe(opcode: &str, mods: &Mods) -> Option<Recipe> {
    let ty = mods.last_type()?;
    let allowed: &[&str] = match opcode {
        "bfind" => &["shiftamt"],
        "bmsk" | "szext" => &["wrap", "clamp"],
        "shf" => &["l", "r", "wrap", "clamp"],
        "prmt" => &["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"],
        _ => &[],
    };
    if !mods.only(allowed) || mods.types().count() != 1 {
        return None;
    }
    let same = |run: AluFn, sources: usize| Some(Recipe::new(run, ty, &vec![ty; sources]));
    match opcode {
        "and" => same(typed!(ty, T, binary(|a: T, b: T| a & b)), 2),
        "or" => same(typed!(ty, T, binary(|a: T, b: T| a | b)), 2),
        "xor" => same(typed!(ty, T, binary(|a: T, b: T| a ^ b)), 2),
        "not" => same(typed!(ty, T, unary(|a: T| !a)), 1),
        "cnot" => same(typed!(ty, T, unary(|a: T| T::from(a == 0))), 1),
        "shl" | "shr" => {
            let run = typed!(ty, T, {
                const BITS: u32 = T::BITS;
                if opcode == "shl" {
                    binary(|a: T, n: u32| if n < BITS { a << n } else { 0 })
                } else {
                    // The sign fills a signed value shifted out; zero an unsigned one.
                    binary(|a: T, n: u32| if n < BITS { a >> n } else { (a >> (BITS - 1)) >> 1 })
                }
            });
            Some(Recipe::new(run, ty, &[ty, U32]))
        }
        "popc" | "clz" => {
            let run = match (opcode, ty.bytes()) {
                ("popc", 4) => unary(|a: u32| a.count_ones()),
                ("popc", 8) => unary(|a: u64| a.count_ones()),
                (_, 4) => unary(|a: u32| a.leading_zeros()),
                (_, 8) => unary(|a: u64| a.leading_zeros()),
                _ => return None,
            };
            Some(Recipe::new(run, U32, &[ty]))
        }
        "brev" => same(typed!(ty, T, unary(|a: T| a.reverse_bits())), 1),
        "bfind" => Some(Recipe::new(find_bit(mods, ty)?, U32, &[ty])),
        "bfe" => Some(Recipe::new(extract(ty)?, ty, &[ty, U32, U32])),
        "bfi" => {
            let run = match ty.bytes() {
                4 => quaternary(|a: u32, b: u32, at: u32, len: u32| {
                    insert(a.into(), b.into(), at, len, 32) as u32
                }),
                8 => quaternary(|a: u64, b: u64, at: u32, len: u32| insert(a, b, at, len, 64)),
                _ => return None,
            };
            Some(Recipe::new(run, ty, &[ty, ty, U32, U32]))
        }
        "bmsk" => same(
            if mods.one_of(&["wrap", "clamp"])? == "wrap" {
                binary(|at: u32, len: u32| insert(u64::MAX, 0, at & 31, len & 31, 32) as u32)
            } else {
                binary(|at: u32, len: u32| insert(u64::MAX, 0, at.min(32), len.min(32), 32) as u32)
            },
            2,
        ),
        "lop3" => same(quaternary(lop3), 4),
        "shf" => same(
            match (mods.one_of(&["l", "r"])? == "l", mods.one_of(&["wrap", "clamp"])? == "wrap") {
                (true, true) => ternary(|a: u32, b: u32, n: u32| (joined(a, b) << (n & 31) >> 32) as u32),
                (true, false) => ternary(|a: u32, b: u32, n: u32| (joined(a, b) << n.min(32) >> 32) as u32),
                (false, true) => ternary(|a: u32, b: u32, n: u32| (joined(a, b) >> (n & 31)) as u32),
                (false, false) => ternary(|a: u32, b: u32, n: u32| (joined(a, b) >> n.min(32)) as u32),
            },
            3,
        ),
        "prmt" => same(permute(mods), 3),
        "fns" => Some(Recipe::new(ternary(nth_set), ty, &[ty, U32, S32])),
        "szext" => same(sign_extend(mods, ty)?, 2),
        _ => None,
    }
}

/// The position in `mask` of the n-th bit set, counted from `base` upward, or downward if n is negative.
fn nth_set(mask: u32, base: u32, n: i32) -> u32 {
    let (base, wanted) = (base & 31, n.unsigned_abs().max(1));
    let upward = n >= 0;
    let mut rest = match n {
        0 => mask & 1 << base,
        _ if upward => mask & u32::MAX << base,
        _ => mask & u32::MAX >> (31 - base),
    };
    if rest.count_ones() < wanted {
        return u32::MAX;
    }
    for _ in 1..wanted {
        rest &= !(1 << if upward { rest.trailing_zeros() } else { 31 - rest.leading_zeros() });
    }
    if upward { rest.trailing_zeros() } else { 31 - rest.leading_zeros() }
}

fn sign_extend(mods: &Mods, ty: Type) -> Option<AluFn> {
    const fn field(a: u32, len: u32, signed: bool) -> u32 {
        match 32 - len {
            32 => 0,
            rest if signed => (((a << rest) as i32) >> rest) as u32,
            rest => a << rest >> rest,
        }
    }
    Some(match (mods.has("wrap"), mods.has("clamp"), ty) {
        (true, false, S32) => binary(|a: u32, n: u32| field(a, n & 31, true)),
        (true, false, U32) => binary(|a: u32, n: u32| field(a, n & 31, false)),
        (false, true, S32) => binary(|a: u32, n: u32| field(a, n.min(32), true)),
        (false, true, U32) => binary(|a: u32, n: u32| field(a, n.min(32), false)),
        _ => return None,
    })
}

const fn joined(low: u32, high: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

fn lop3(a: u32, b: u32, c: u32, table: u32) -> u32 {
    let mut result = 0;
    for row in 0..8 {
        let chosen = (if row & 4 != 0 { a } else { !a }) & (if row & 2 != 0 { b } else { !b });
        let chosen = chosen & (if row & 1 != 0 { c } else { !c });
        result |= chosen & 0u32.wrapping_sub(table >> row & 1);
    }
    result
}

/// `len` bits of `a` put into `b` at bit `at`.
fn insert(a: u64, b: u64, at: u32, len: u32, bits: u32) -> u64 {
    let (at, len) = (at & 0xff, len & 0xff);
    if at >= bits || len == 0 {
        return b;
    }
    let mask = if len >= 64 { u64::MAX } else { (1 << len) - 1 } << at;
    a << at & mask | b & !mask
}

fn extract(ty: Type) -> Option<AluFn> {
    fn bits(a: i128, at: u32, len: u32, width: u32, signed: bool) -> i128 {
        let (at, len) = (at & 0xff, len & 0xff);
        if len == 0 {
            return 0;
        }
        // The sign is that of the field's last bit, or of the value's if the field reaches beyond it.
        let field = (a >> at.min(127)) & ((1i128 << len.min(100)) - 1);
        let top = (at + len - 1).min(width - 1);
        let negative = signed && a >> top & 1 != 0;
        if negative { field | -1i128 << (top + 1).saturating_sub(at).min(len).min(100) } else { field }
    }
    Some(match ty {
        U32 => ternary(|a: u32, at: u32, len: u32| bits(a.into(), at, len, 32, false) as u32),
        S32 => ternary(|a: u32, at: u32, len: u32| bits(a.into(), at, len, 32, true) as u32),
        U64 => ternary(|a: u64, at: u32, len: u32| bits(a.into(), at, len, 64, false) as u64),
        S64 => ternary(|a: u64, at: u32, len: u32| bits(a.into(), at, len, 64, true) as u64),
        _ => return None,
    })
}

fn find_bit(mods: &Mods, ty: Type) -> Option<AluFn> {
    // The highest bit that differs from the sign; `.shiftamt` counts from the top.
    macro_rules! find {
        ($t:ty, $signed:expr) => {{
            const TOP: u32 = <$t>::BITS - 1;
            match (mods.has("shiftamt"), $signed) {
                (false, false) => unary(|a: $t| if a == 0 { u32::MAX } else { TOP - a.leading_zeros() }),
                (true, false) => unary(|a: $t| if a == 0 { u32::MAX } else { a.leading_zeros() }),
                (false, true) => unary(|a: $t| {
                    let a = if a >> TOP != 0 { !a } else { a };
                    if a == 0 { u32::MAX } else { TOP - a.leading_zeros() }
                }),
                (true, true) => unary(|a: $t| {
                    let a = if a >> TOP != 0 { !a } else { a };
                    if a == 0 { u32::MAX } else { a.leading_zeros() }
                }),
            }
        }};
    }
    Some(match ty.bytes() {
        4 => find!(u32, ty.signed()),
        8 => find!(u64, ty.signed()),
        _ => return None,
    })
}

fn permute(mods: &Mods) -> AluFn {
    fn select(a: u32, b: u32, at: impl Fn(u32) -> u32) -> u32 {
        let bytes = joined(a, b).to_le_bytes();
        u32::from_le_bytes(std::array::from_fn(|i| bytes[(at(i as u32) & 7) as usize]))
    }
    match mods.one_of(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]) {
        Some("f4e") => ternary(|a: u32, b: u32, c: u32| select(a, b, |i| i + (c & 3))),
        Some("b4e") => ternary(|a: u32, b: u32, c: u32| select(a, b, |i| (c & 3).wrapping_sub(i))),
        Some("rc8") => ternary(|a: u32, b: u32, c: u32| select(a, b, |_| c & 3)),
        Some("ecl") => ternary(|a: u32, b: u32, c: u32| select(a, b, |i| i.max(c & 3))),
        Some("ecr") => ternary(|a: u32, b: u32, c: u32| select(a, b, |i| i.min(c & 3))),
        Some(_) => ternary(|a: u32, b: u32, c: u32| select(a, b, |i| (c & 1) * 2 + (i & 1))),
        None => ternary(|a: u32, b: u32, c: u32| {
            let bytes = joined(a, b).to_le_bytes();
            u32::from_le_bytes(std::array::from_fn(|i| {
                let nibble = c >> (4 * i);
                let byte = bytes[(nibble & 7) as usize];
                if nibble & 8 != 0 { (byte as i8 >> 7) as u8 } else { byte }
            }))
        }),
    }
}
