//! f16 and bf16, alone and in pairs. PTX ISA, sections 9.7.4 and 9.7.5.
//!
//! Sums and products are formed in f32, whose 24 bits make the second rounding harmless; fma goes through f64 rounded
//! to odd. NaN results are 0x7fff.

use super::{Mods, Recipe};
use crate::vm::lanes::{AluFn, binary, ternary, unary};
use crate::vm::ptx::Type::*;
use crate::vm::round::{self, Round, encode, odd, saturate, two_sum};

/// Exact.
#[inline(always)]
pub fn from_f16(bits: u16) -> f32 {
    // Half has the exponent rebased by a multiplication, which also normalises subnormals.
    let shifted = u32::from(bits & 0x7fff) << 13;
    let magnitude = if bits & 0x7c00 == 0x7c00 {
        f32::from_bits(shifted | 0x7f80_0000)
    } else {
        f32::from_bits(shifted) * f32::from_bits(0x7780_0000)
    };
    f32::from_bits(magnitude.to_bits() | u32::from(bits & 0x8000) << 16)
}

/// Exact.
#[inline(always)]
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// To nearest, ties to even.
#[inline(always)]
pub fn to_f16(x: f32) -> u16 {
    if x.is_nan() { 0x7fff } else { half::f16::from_f32(x).to_bits() }
}

/// To nearest, ties to even.
#[inline(always)]
pub fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    if x.is_nan() { 0x7fff } else { rounded }
}

fn fma(a: f32, b: f32, c: f32) -> f64 {
    let (high, low) = two_sum(f64::from(a) * f64::from(b), f64::from(c));
    odd(high, low)
}

fn f16_from_f64(x: f64) -> u16 {
    encode(x, round::F16, Round::Nearest) as u16
}

fn bf16_from_f64(x: f64) -> u16 {
    encode(x, round::BF16, Round::Nearest) as u16
}

fn flush_f16(bits: u16) -> u16 {
    if bits & 0x7c00 == 0 { bits & 0x8000 } else { bits }
}

fn relu(bits: u16) -> u16 {
    // NaN stays NaN.
    if bits >> 15 != 0 && bits & 0x7fff <= 0x7f80 { 0 } else { bits }
}

/// Builds `$body(f16 operands) -> f16` for one value or for each half of a pair.
macro_rules! lanes_of {
    (1, $pair:expr, |$a:ident| $e:expr) => {
        if $pair {
            unary(|x: u32| {
                let one = |$a: u16| -> u16 { $e };
                u32::from(one(x as u16)) | u32::from(one((x >> 16) as u16)) << 16
            })
        } else {
            unary(|$a: u16| -> u16 { $e })
        }
    };
    (2, $pair:expr, |$a:ident, $b:ident| $e:expr) => {
        if $pair {
            binary(|x: u32, y: u32| {
                let one = |$a: u16, $b: u16| -> u16 { $e };
                u32::from(one(x as u16, y as u16)) | u32::from(one((x >> 16) as u16, (y >> 16) as u16)) << 16
            })
        } else {
            binary(|$a: u16, $b: u16| -> u16 { $e })
        }
    };
    (3, $pair:expr, |$a:ident, $b:ident, $c:ident| $e:expr) => {
        if $pair {
            ternary(|x: u32, y: u32, z: u32| {
                let one = |$a: u16, $b: u16, $c: u16| -> u16 { $e };
                let low = one(x as u16, y as u16, z as u16);
                u32::from(low) | u32::from(one((x >> 16) as u16, (y >> 16) as u16, (z >> 16) as u16)) << 16
            })
        } else {
            ternary(|$a: u16, $b: u16, $c: u16| -> u16 { $e })
        }
    };
}

/// What may follow the result: nothing, `.ftz`, `.sat`, `.relu` (`.ftz.sat` counts as `.sat` of flushed operands).
macro_rules! f16_op {
    ($n:tt, $mods:expr, $pair:expr, |$($a:ident),*| $e:expr) => {
        match ($mods.has("ftz"), $mods.has("sat"), $mods.has("relu")) {
            (_, true, _) => lanes_of!($n, $pair, |$($a),*| {
                $(let $a = from_f16($a);)* to_f16(saturate(from_f16($e)))
            }),
            (true, _, _) => lanes_of!($n, $pair, |$($a),*| {
                $(let $a = from_f16(flush_f16($a));)* flush_f16($e)
            }),
            (_, _, true) => lanes_of!($n, $pair, |$($a),*| { $(let $a = from_f16($a);)* relu($e) }),
            _ => lanes_of!($n, $pair, |$($a),*| { $(let $a = from_f16($a);)* $e }),
        }
    };
}

macro_rules! bf16_op {
    ($n:tt, $mods:expr, $pair:expr, |$($a:ident),*| $e:expr) => {
        if $mods.has("relu") {
            lanes_of!($n, $pair, |$($a),*| { $(let $a = from_bf16($a);)* relu($e) })
        } else {
            lanes_of!($n, $pair, |$($a),*| { $(let $a = from_bf16($a);)* $e })
        }
    };
}

const MODIFIERS: [&str; 9] = ["rn", "ftz", "sat", "relu", "approx", "NaN", "xorsign", "abs", "oob"];

pub fn recipe(opcode: &str, mods: &Mods) -> Option<Recipe> {
    let ty = mods.last_type()?;
    if !mods.only(&MODIFIERS) || mods.has("oob") || mods.types().count() != 1 {
        return None;
    }
    let pair = matches!(ty, F16x2 | Bf16x2);
    let (run, sources, flops): (AluFn, usize, u32) = match ty {
        F16 | F16x2 => match opcode {
            "add" => (f16_op!(2, mods, pair, |a, b| to_f16(a + b)), 2, 1),
            "sub" => (f16_op!(2, mods, pair, |a, b| to_f16(a - b)), 2, 1),
            "mul" => (f16_op!(2, mods, pair, |a, b| to_f16(a * b)), 2, 1),
            "fma" => (f16_op!(3, mods, pair, |a, b, c| f16_from_f64(fma(a, b, c))), 3, 2),
            "ex2" => (f16_op!(1, mods, pair, |a| f16_from_f64(f64::from(a).exp2())), 1, 1),
            "tanh" => (f16_op!(1, mods, pair, |a| f16_from_f64(f64::from(a).tanh())), 1, 1),
            "neg" => (lanes_of!(1, pair, |a| a ^ 0x8000), 1, 0),
            "abs" => (lanes_of!(1, pair, |a| a & 0x7fff), 1, 0),
            "min" | "max" => (extremum_f16(opcode == "max", mods, pair)?, 2, 1),
            _ => return None,
        },
        Bf16 | Bf16x2 => match opcode {
            "add" => (bf16_op!(2, mods, pair, |a, b| bf16_from_f64(f64::from(a) + f64::from(b))), 2, 1),
            "sub" => (bf16_op!(2, mods, pair, |a, b| bf16_from_f64(f64::from(a) - f64::from(b))), 2, 1),
            "mul" => (bf16_op!(2, mods, pair, |a, b| bf16_from_f64(f64::from(a) * f64::from(b))), 2, 1),
            "fma" => (bf16_op!(3, mods, pair, |a, b, c| bf16_from_f64(fma(a, b, c))), 3, 2),
            "ex2" => (bf16_op!(1, mods, pair, |a| bf16_from_f64(f64::from(a).exp2())), 1, 1),
            "tanh" => (bf16_op!(1, mods, pair, |a| bf16_from_f64(f64::from(a).tanh())), 1, 1),
            "neg" => (lanes_of!(1, pair, |a| a ^ 0x8000), 1, 0),
            "abs" => (lanes_of!(1, pair, |a| a & 0x7fff), 1, 0),
            "min" | "max" => (extremum_bf16(opcode == "max", mods, pair)?, 2, 1),
            _ => return None,
        },
        _ => return None,
    };
    let flops = if pair { 2 * flops } else { flops };
    Some(Recipe::new(run, ty, &vec![ty; sources]).flops(flops))
}

/// As for f32, on bits: sign and magnitude order the values of either format.
fn pick(a: u16, b: u16, max: bool, nan: bool, infinity: u16) -> u16 {
    let is_nan = |x: u16| x & 0x7fff > infinity;
    if is_nan(a) || is_nan(b) {
        return if nan || is_nan(a) && is_nan(b) {
            0x7fff
        } else if is_nan(a) {
            b
        } else {
            a
        };
    }
    let key = |x: u16| if x >> 15 != 0 { -i32::from(x & 0x7fff) - 1 } else { i32::from(x) };
    if (key(a) < key(b)) == max { b } else { a }
}

fn extremum_f16(max: bool, mods: &Mods, pair: bool) -> Option<AluFn> {
    Some(match (max, mods.has("NaN"), mods.has("xorsign"), mods.has("ftz")) {
        (false, false, false, false) => lanes_of!(2, pair, |a, b| pick(a, b, false, false, 0x7c00)),
        (false, true, false, false) => lanes_of!(2, pair, |a, b| pick(a, b, false, true, 0x7c00)),
        (true, false, false, false) => lanes_of!(2, pair, |a, b| pick(a, b, true, false, 0x7c00)),
        (true, true, false, false) => lanes_of!(2, pair, |a, b| pick(a, b, true, true, 0x7c00)),
        _ => return None,
    })
}

fn extremum_bf16(max: bool, mods: &Mods, pair: bool) -> Option<AluFn> {
    Some(match (max, mods.has("NaN"), mods.has("xorsign")) {
        (false, false, false) => lanes_of!(2, pair, |a, b| pick(a, b, false, false, 0x7f80)),
        (false, true, false) => lanes_of!(2, pair, |a, b| pick(a, b, false, true, 0x7f80)),
        (true, false, false) => lanes_of!(2, pair, |a, b| pick(a, b, true, false, 0x7f80)),
        (true, true, false) => lanes_of!(2, pair, |a, b| pick(a, b, true, true, 0x7f80)),
        _ => return None,
    })
}
