//! Integers and bits. PTX ISA, sections 9.7.1, 9.7.2 (extended precision), 9.7.8 and `prmt`.

use super::{Mods, Recipe};
use crate::vm::lanes::{AluFn, binary, quaternary, ternary, unary};
use crate::vm::ptx::Type::{self, *};

/// Compiles `$body` for the integer type `$t` that `$ty` names.
macro_rules! typed {
    ($ty:expr, $t:ident, $body:expr) => {
        match $ty {
            U16 | B16 => {
                type $t = u16;
                $body
            }
            S16 => {
                type $t = i16;
                $body
            }
            U32 | B32 => {
                type $t = u32;
                $body
            }
            S32 => {
                type $t = i32;
                $body
            }
            U64 | B64 => {
                type $t = u64;
                $body
            }
            S64 => {
                type $t = i64;
                $body
            }
            _ => return None,
        }
    };
}

/// For each width: the type and the one twice as wide.
macro_rules! widening {
    ($ty:expr, $t:ident, $w:ident, $body:expr) => {
        match $ty {
            U16 => {
                type $t = u16;
                type $w = u32;
                $body
            }
            S16 => {
                type $t = i16;
                type $w = i32;
                $body
            }
            U32 => {
                type $t = u32;
                type $w = u64;
                $body
            }
            S32 => {
                type $t = i32;
                type $w = i64;
                $body
            }
            U64 => {
                type $t = u64;
                type $w = u128;
                $body
            }
            S64 => {
                type $t = i64;
                type $w = i128;
                $body
            }
            _ => return None,
        }
    };
}

fn wider(ty: Type) -> Option<Type> {
    Some(match ty {
        U16 => U32,
        S16 => S32,
        U32 => U64,
        S32 => S64,
        _ => return None,
    })
}

pub fn recipe(opcode: &str, mods: &Mods) -> Option<Recipe> {
    let ty = mods.last_type()?;
    let same = |run: AluFn, sources: usize| Some(Recipe::new(run, ty, &vec![ty; sources]));
    match opcode {
        "add" | "sub" | "mul" | "mad" | "mul24" | "mad24" | "sad" | "div" | "rem" | "abs" | "neg" | "min"
        | "max" => arithmetic(opcode, mods, ty),
        "and" | "or" | "xor" if mods.only(&[]) => same(
            typed!(
                ty,
                T,
                match opcode {
                    "and" => binary(|a: T, b: T| a & b),
                    "or" => binary(|a: T, b: T| a | b),
                    _ => binary(|a: T, b: T| a ^ b),
                }
            ),
            2,
        ),
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
            if mods.has("wrap") {
                binary(|at: u32, len: u32| insert(u64::MAX, 0, at & 31, len & 31, 32) as u32)
            } else {
                binary(|at: u32, len: u32| insert(u64::MAX, 0, at.min(32), len.min(32), 32) as u32)
            },
            2,
        ),
        "lop3" => same(quaternary(lop3), 4),
        "shf" => same(
            match (mods.has("l"), mods.has("wrap")) {
                (true, true) => ternary(|a: u32, b: u32, n: u32| (joined(a, b) << (n & 31) >> 32) as u32),
                (true, false) => ternary(|a: u32, b: u32, n: u32| (joined(a, b) << n.min(32) >> 32) as u32),
                (false, true) => ternary(|a: u32, b: u32, n: u32| (joined(a, b) >> (n & 31)) as u32),
                (false, false) => ternary(|a: u32, b: u32, n: u32| (joined(a, b) >> n.min(32)) as u32),
            },
            3,
        ),
        "prmt" => same(permute(mods)?, 3),
        "dp4a" | "dp2a" => dot(opcode, mods),
        "slct" => None,
        _ => None,
    }
}

fn arithmetic(opcode: &str, mods: &Mods, ty: Type) -> Option<Recipe> {
    let same = |run: AluFn, sources: usize| Some(Recipe::new(run, ty, &vec![ty; sources]));
    if mods.has("sat") {
        return match (opcode, ty) {
            ("add", S32) => same(binary(|a: i32, b: i32| a.saturating_add(b)), 2),
            ("sub", S32) => same(binary(|a: i32, b: i32| a.saturating_sub(b)), 2),
            ("mad", S32) if mods.has("hi") => same(
                ternary(|a: i32, b: i32, c: i32| {
                    let sum = ((i64::from(a) * i64::from(b)) >> 32) + i64::from(c);
                    sum.clamp(i32::MIN.into(), i32::MAX.into()) as i32
                }),
                3,
            ),
            _ => None,
        };
    }
    match opcode {
        "add" => same(typed!(ty, T, binary(|a: T, b: T| a.wrapping_add(b))), 2),
        "sub" => same(typed!(ty, T, binary(|a: T, b: T| a.wrapping_sub(b))), 2),
        "mul" | "mad" => multiply(opcode, mods, ty),
        "mul24" | "mad24" => multiply_24(opcode, mods, ty),
        "sad" => same(
            typed!(ty, T, ternary(|a: T, b: T, c: T| c.wrapping_add(a.max(b).wrapping_sub(a.min(b))))),
            3,
        ),
        // Dividing by zero gives all ones here and on the hardware; PTX leaves it unspecified.
        "div" => same(typed!(ty, T, binary(|a: T, b: T| if b == 0 { !0 } else { a.wrapping_div(b) })), 2),
        "rem" => same(typed!(ty, T, binary(|a: T, b: T| if b == 0 { a } else { a.wrapping_rem(b) })), 2),
        "min" if mods.only(&[]) => same(typed!(ty, T, binary(|a: T, b: T| a.min(b))), 2),
        "max" if mods.only(&[]) => same(typed!(ty, T, binary(|a: T, b: T| a.max(b))), 2),
        "abs" | "neg" => {
            let run = match (opcode, ty) {
                ("abs", S16) => unary(|a: i16| a.wrapping_abs()),
                ("abs", S32) => unary(|a: i32| a.wrapping_abs()),
                ("abs", S64) => unary(|a: i64| a.wrapping_abs()),
                ("neg", S16) => unary(|a: i16| a.wrapping_neg()),
                ("neg", S32) => unary(|a: i32| a.wrapping_neg()),
                ("neg", S64) => unary(|a: i64| a.wrapping_neg()),
                _ => return None,
            };
            same(run, 1)
        }
        _ => None,
    }
}

fn multiply(opcode: &str, mods: &Mods, ty: Type) -> Option<Recipe> {
    let same = |run: AluFn, sources: usize| Some(Recipe::new(run, ty, &vec![ty; sources]));
    let add = opcode == "mad";
    match mods.one_of(&["lo", "hi", "wide"])? {
        "lo" if add => same(typed!(ty, T, ternary(|a: T, b: T, c: T| a.wrapping_mul(b).wrapping_add(c))), 3),
        "lo" => same(typed!(ty, T, binary(|a: T, b: T| a.wrapping_mul(b))), 2),
        "hi" => {
            let sources = if add { 3 } else { 2 };
            let run = widening!(ty, T, W, {
                if add {
                    ternary(|a: T, b: T, c: T| {
                        (((a as W).wrapping_mul(b as W) >> T::BITS) as T).wrapping_add(c)
                    })
                } else {
                    binary(|a: T, b: T| ((a as W).wrapping_mul(b as W) >> T::BITS) as T)
                }
            });
            same(run, sources)
        }
        _ => {
            let wide = wider(ty)?;
            if add {
                let run = widening!(
                    ty,
                    T,
                    W,
                    ternary(|a: T, b: T, c: W| (a as W).wrapping_mul(b as W).wrapping_add(c))
                );
                return Some(Recipe::new(run, wide, &[ty, ty, wide]));
            }
            let run = widening!(ty, T, W, binary(|a: T, b: T| (a as W).wrapping_mul(b as W)));
            Some(Recipe::new(run, wide, &[ty, ty]))
        }
    }
}

fn multiply_24(opcode: &str, mods: &Mods, ty: Type) -> Option<Recipe> {
    // Both operands lose their upper byte; signed ones keep the sign of bit 23.
    const fn unsigned(a: u32, b: u32) -> u64 {
        (a & 0xff_ffff) as u64 * (b & 0xff_ffff) as u64
    }
    const fn signed(a: u32, b: u32) -> u64 {
        (((a << 8) as i32 >> 8) as i64 * ((b << 8) as i32 >> 8) as i64) as u64
    }
    let run = match (opcode, ty.signed(), mods.has("hi")) {
        ("mul24", false, false) => binary(|a: u32, b: u32| unsigned(a, b) as u32),
        ("mul24", false, true) => binary(|a: u32, b: u32| (unsigned(a, b) >> 16) as u32),
        ("mul24", true, false) => binary(|a: u32, b: u32| signed(a, b) as u32),
        ("mul24", true, true) => binary(|a: u32, b: u32| (signed(a, b) as i64 >> 16) as u32),
        (_, false, false) => ternary(|a: u32, b: u32, c: u32| (unsigned(a, b) as u32).wrapping_add(c)),
        (_, false, true) => ternary(|a: u32, b: u32, c: u32| ((unsigned(a, b) >> 16) as u32).wrapping_add(c)),
        (_, true, false) => ternary(|a: u32, b: u32, c: u32| (signed(a, b) as u32).wrapping_add(c)),
        (_, true, true) => {
            ternary(|a: u32, b: u32, c: u32| ((signed(a, b) as i64 >> 16) as u32).wrapping_add(c))
        }
    };
    Some(Recipe::new(run, ty, &vec![ty; if opcode == "mul24" { 2 } else { 3 }]))
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

fn permute(mods: &Mods) -> Option<AluFn> {
    fn select(a: u32, b: u32, at: impl Fn(u32) -> u32) -> u32 {
        let bytes = joined(a, b).to_le_bytes();
        u32::from_le_bytes(std::array::from_fn(|i| bytes[(at(i as u32) & 7) as usize]))
    }
    Some(match mods.one_of(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]) {
        Some("f4e") => ternary(|a: u32, b: u32, c: u32| select(a, b, |i| i + (c & 3))),
        Some("b4e") => ternary(|a: u32, b: u32, c: u32| select(a, b, |i| (c & 3).wrapping_sub(i))),
        Some("rc8") => ternary(|a: u32, b: u32, c: u32| select(a, b, |_| c & 3)),
        Some("ecl") => ternary(|a: u32, b: u32, c: u32| select(a, b, |i| i.max(c & 3))),
        Some("ecr") => ternary(|a: u32, b: u32, c: u32| select(a, b, |i| i.min(c & 3))),
        Some(_) => ternary(|a: u32, b: u32, c: u32| select(a, b, |i| (c & 1) * 2 + (i & 1))),
        None if mods.only(&[]) => ternary(|a: u32, b: u32, c: u32| {
            let bytes = joined(a, b).to_le_bytes();
            u32::from_le_bytes(std::array::from_fn(|i| {
                let nibble = c >> (4 * i);
                let byte = bytes[(nibble & 7) as usize];
                if nibble & 8 != 0 { (byte as i8 >> 7) as u8 } else { byte }
            }))
        }),
        None => return None,
    })
}

/// `dp4a.atype.btype d, a, b, c` and `dp2a.lo|hi`: the two types may differ in sign.
fn dot(opcode: &str, mods: &Mods) -> Option<Recipe> {
    let mut types = mods.types();
    let (a_signed, b_signed) = (types.next()?.signed(), types.next()?.signed());
    const fn byte(x: u32, i: u32, signed: bool) -> i32 {
        let byte = (x >> (8 * i)) as u8;
        if signed { byte as i8 as i32 } else { byte as i32 }
    }
    const fn half(x: u32, i: u32, signed: bool) -> i32 {
        let half = (x >> (16 * i)) as u16;
        if signed { half as i16 as i32 } else { half as i32 }
    }
    macro_rules! four {
        ($a:literal, $b:literal) => {
            ternary(|a: u32, b: u32, c: u32| {
                (0..4).fold(c, |sum, i| sum.wrapping_add((byte(a, i, $a) * byte(b, i, $b)) as u32))
            })
        };
    }
    macro_rules! two {
        ($a:literal, $b:literal, $from:literal) => {
            ternary(|a: u32, b: u32, c: u32| {
                (0..2).fold(c, |sum, i| {
                    sum.wrapping_add(half(a, i, $a).wrapping_mul(byte(b, i + $from, $b)) as u32)
                })
            })
        };
    }
    let run = match (opcode, a_signed, b_signed, mods.has("hi")) {
        ("dp4a", false, false, _) => four!(false, false),
        ("dp4a", false, true, _) => four!(false, true),
        ("dp4a", true, false, _) => four!(true, false),
        ("dp4a", true, true, _) => four!(true, true),
        (_, false, false, false) => two!(false, false, 0),
        (_, false, false, true) => two!(false, false, 2),
        (_, false, true, false) => two!(false, true, 0),
        (_, false, true, true) => two!(false, true, 2),
        (_, true, false, false) => two!(true, false, 0),
        (_, true, false, true) => two!(true, false, 2),
        (_, true, true, false) => two!(true, true, 0),
        (_, true, true, true) => two!(true, true, 2),
    };
    Some(Recipe::new(run, B32, &[B32, B32, B32]))
}
