//! Integer arithmetic. PTX ISA, section 9.7.1, and what is left of video instructions.

use super::{Mods, Recipe};
use crate::vm::lanes::{AluFn, binary, ternary, unary};
use crate::vm::ptx::Type::{self, *};

/// Compiles `$body` for the integer type `$t` that `$ty` names.
macro_rules! typed {
    ($ty:expr, $t:ident, $body:expr) => {
        match $ty {
            U16 | B16 => typed!(u16 as $t, $body),
            S16 => typed!(i16 as $t, $body),
            U32 | B32 => typed!(u32 as $t, $body),
            S32 => typed!(i32 as $t, $body),
            U64 | B64 => typed!(u64 as $t, $body),
            S64 => typed!(i64 as $t, $body),
            _ => return None,
        }
    };
    ($is:ident as $t:ident, $body:expr) => {{
        type $t = $is;
        $body
    }};
}
pub(super) use typed;

/// For each width: the type and the one twice as wide.
macro_rules! widening {
    ($ty:expr, $t:ident, $w:ident, $body:expr) => {
        match $ty {
            U16 => widening!(u16 as $t, u32 as $w, $body),
            S16 => widening!(i16 as $t, i32 as $w, $body),
            U32 => widening!(u32 as $t, u64 as $w, $body),
            S32 => widening!(i32 as $t, i64 as $w, $body),
            U64 => widening!(u64 as $t, u128 as $w, $body),
            S64 => widening!(i64 as $t, i128 as $w, $body),
            _ => return None,
        }
    };
    ($is:ident as $t:ident, $wide:ident as $w:ident, $body:expr) => {{
        type $t = $is;
        type $w = $wide;
        $body
    }};
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
    // How many types it names, which modifiers it may carry besides.
    let (types, allowed): (_, &[&str]) = match opcode {
        "add" | "sub" => (1, &["sat"]),
        "mul" => (1, &["lo", "hi", "wide"]),
        "mad" => (1, &["lo", "hi", "wide", "sat"]),
        "mul24" => (1, &["lo", "hi"]),
        "mad24" => (1, &["lo", "hi", "sat"]),
        "dp2a" => (2, &["lo", "hi"]),
        "dp4a" => (2, &[]),
        "vabsdiff4" => (3, &["add"]),
        _ => (1, &[]),
    };
    if !mods.only(allowed) || mods.types().count() != types {
        return None;
    }
    match opcode {
        "dp4a" | "dp2a" => dot(opcode, mods),
        "vabsdiff4" => absolute_differences(mods),
        _ => arithmetic(opcode, mods, mods.last_type()?),
    }
}

fn arithmetic(opcode: &str, mods: &Mods, ty: Type) -> Option<Recipe> {
    let same = |run: AluFn, sources: usize| Some(Recipe::new(run, ty, &vec![ty; sources]));
    if mods.has("sat") {
        return match (opcode, ty) {
            ("add", S32) => same(binary(|a: i32, b: i32| a.saturating_add(b)), 2),
            ("sub", S32) => same(binary(|a: i32, b: i32| a.saturating_sub(b)), 2),
            ("mad24", S32) if mods.has("hi") => same(
                ternary(|a: i32, b: i32, c: i32| {
                    (((i64::from(a << 8 >> 8) * i64::from(b << 8 >> 8)) >> 16) as i32).saturating_add(c)
                }),
                3,
            ),
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
        "min" => same(typed!(ty, T, binary(|a: T, b: T| a.min(b))), 2),
        "max" => same(typed!(ty, T, binary(|a: T, b: T| a.max(b))), 2),
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
    if ty.bytes() != 4 {
        return None;
    }
    let run = match (opcode, ty.signed(), mods.one_of(&["lo", "hi"])? == "hi") {
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

/// `vabsdiff4.u32.u32.u32{.add} d, a, b, c`: of four pairs of bytes, into bytes, or their sum added to c.
fn absolute_differences(mods: &Mods) -> Option<Recipe> {
    if mods.types().any(|ty| ty != U32) {
        return None;
    }
    const fn byte(a: u32, b: u32, i: u32) -> u32 {
        (a >> (8 * i) & 255).abs_diff(b >> (8 * i) & 255)
    }
    let run = if mods.has("add") {
        ternary(|a: u32, b: u32, c: u32| (0..4).fold(c, |sum, i| sum.wrapping_add(byte(a, b, i))))
    } else {
        // Every byte is replaced, so nothing is left of c.
        ternary(|a: u32, b: u32, _: u32| (0..4).fold(0, |bytes, i| bytes | byte(a, b, i) << (8 * i)))
    };
    Some(Recipe::new(run, U32, &[U32, U32, U32]))
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
