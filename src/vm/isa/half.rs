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

pub(super) fn flush_f16(bits: u16) -> u16 {
    if bits & 0x7c00 == 0 { bits & 0x8000 } else { bits }
}

fn flush_bf16(bits: u16) -> u16 {
    if bits & 0x7f80 == 0 { bits & 0x8000 } else { bits }
}

/// The NaN of results has no sign.
fn relu(bits: u16) -> u16 {
    if bits >> 15 != 0 { 0 } else { bits }
}

fn saturate_f16(bits: u16) -> u16 {
    to_f16(saturate(from_f16(bits)))
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

/// An f16 operation, of flushed operands if `.ftz`, its result flushed, `.sat`urated or `.relu`ed.
macro_rules! f16_op {
    ($n:tt, $mods:expr, $pair:expr, |$($a:ident),*| $e:expr) => {
        match ($mods.has("ftz"), $mods.has("sat"), $mods.has("relu")) {
            (false, false, false) => lanes_of!($n, $pair, |$($a),*| { $(let $a = from_f16($a);)* $e }),
            (false, true, _) => lanes_of!($n, $pair, |$($a),*| { $(let $a = from_f16($a);)* saturate_f16($e) }),
            (false, false, true) => lanes_of!($n, $pair, |$($a),*| { $(let $a = from_f16($a);)* relu($e) }),
            (true, false, false) => lanes_of!($n, $pair, |$($a),*| {
                $(let $a = from_f16(flush_f16($a));)* flush_f16($e)
            }),
            (true, true, _) => lanes_of!($n, $pair, |$($a),*| {
                $(let $a = from_f16(flush_f16($a));)* flush_f16(saturate_f16($e))
            }),
            (true, false, true) => lanes_of!($n, $pair, |$($a),*| {
                $(let $a = from_f16(flush_f16($a));)* relu(flush_f16($e))
            }),
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

/// The modifiers an opcode may carry besides its type.
fn allowed(opcode: &str, bf16: bool, mods: &Mods) -> &'static [&'static str] {
    match (opcode, bf16) {
        ("add" | "sub" | "mul", false) => &["rn", "ftz", "sat"],
        ("add" | "sub" | "mul", true) => &["rn"],
        ("fma", false) => &["rn", "ftz", "sat", "relu"],
        ("fma", true) => &["rn", "relu"],
        ("ex2", true) => &["approx", "ftz"],
        ("ex2" | "tanh", _) => &["approx"],
        ("neg" | "abs", false) => &["ftz"],
        ("min" | "max", false) if mods.has("xorsign") && mods.has("abs") => &["ftz", "NaN", "xorsign", "abs"],
        ("min" | "max", true) if mods.has("xorsign") && mods.has("abs") => &["NaN", "xorsign", "abs"],
        ("min" | "max", false) => &["ftz", "NaN"],
        ("min" | "max", true) => &["NaN"],
        _ => &[],
    }
}

pub fn recipe(opcode: &str, mods: &Mods) -> Option<Recipe> {
    let ty = mods.last_type()?;
    let (pair, bf16) = (matches!(ty, F16x2 | Bf16x2), matches!(ty, Bf16 | Bf16x2));
    if !mods.only(allowed(opcode, bf16, mods)) || mods.types().count() != 1 {
        return None;
    }
    let (run, sources, flops): (AluFn, usize, u32) = match ty {
        F16 | F16x2 => match opcode {
            "add" => (f16_op!(2, mods, pair, |a, b| to_f16(a + b)), 2, 1),
            "sub" => (f16_op!(2, mods, pair, |a, b| to_f16(a - b)), 2, 1),
            "mul" => (f16_op!(2, mods, pair, |a, b| to_f16(a * b)), 2, 1),
            "fma" => (f16_op!(3, mods, pair, |a, b, c| f16_from_f64(fma(a, b, c))), 3, 2),
            "ex2" => (f16_op!(1, mods, pair, |a| f16_from_f64(f64::from(a).exp2())), 1, 1),
            "tanh" => (f16_op!(1, mods, pair, |a| f16_from_f64(f64::from(a).tanh())), 1, 1),
            "neg" if mods.has("ftz") => (lanes_of!(1, pair, |a| flush_f16(a) ^ 0x8000), 1, 0),
            "abs" if mods.has("ftz") => (lanes_of!(1, pair, |a| flush_f16(a) & 0x7fff), 1, 0),
            "neg" => (lanes_of!(1, pair, |a| a ^ 0x8000), 1, 0),
            "abs" => (lanes_of!(1, pair, |a| a & 0x7fff), 1, 0),
            "min" | "max" => (extremum(opcode == "max", mods, pair, bf16), 2, 1),
            _ => return None,
        },
        Bf16 | Bf16x2 => match opcode {
            "add" => (bf16_op!(2, mods, pair, |a, b| bf16_from_f64(f64::from(a) + f64::from(b))), 2, 1),
            "sub" => (bf16_op!(2, mods, pair, |a, b| bf16_from_f64(f64::from(a) - f64::from(b))), 2, 1),
            "mul" => (bf16_op!(2, mods, pair, |a, b| bf16_from_f64(f64::from(a) * f64::from(b))), 2, 1),
            "fma" => (bf16_op!(3, mods, pair, |a, b, c| bf16_from_f64(fma(a, b, c))), 3, 2),
            "ex2" if mods.has("ftz") => (
                lanes_of!(1, pair, |a| flush_bf16(bf16_from_f64(f64::from(from_bf16(flush_bf16(a))).exp2()))),
                1,
                1,
            ),
            "ex2" => (bf16_op!(1, mods, pair, |a| bf16_from_f64(f64::from(a).exp2())), 1, 1),
            "tanh" => (bf16_op!(1, mods, pair, |a| bf16_from_f64(f64::from(a).tanh())), 1, 1),
            "neg" => (lanes_of!(1, pair, |a| a ^ 0x8000), 1, 0),
            "abs" => (lanes_of!(1, pair, |a| a & 0x7fff), 1, 0),
            "min" | "max" => (extremum(opcode == "max", mods, pair, bf16), 2, 1),
            _ => return None,
        },
        _ => return None,
    };
    let flops = if pair { 2 * flops } else { flops };
    Some(Recipe::new(run, ty, &vec![ty; sources]).flops(flops))
}

/// As for f32, on bits: sign and magnitude order the values of either format.
fn pick<const MAX: bool, const NAN: bool, const XORSIGN: bool, const FTZ: bool, const BF16: bool>(
    a: u16,
    b: u16,
) -> u16 {
    let infinity = if BF16 { 0x7f80 } else { 0x7c00 };
    let is_nan = |x: u16| x & 0x7fff > infinity;
    let sign = if XORSIGN { (a ^ b) & 0x8000 } else { 0 };
    let prepare = |x: u16| {
        let x = if FTZ { flush_f16(x) } else { x };
        if XORSIGN { x & 0x7fff } else { x }
    };
    let (a, b) = (prepare(a), prepare(b));
    if is_nan(a) && is_nan(b) || NAN && (is_nan(a) || is_nan(b)) {
        return 0x7fff;
    }
    let key = |x: u16| if x >> 15 != 0 { -i32::from(x & 0x7fff) - 1 } else { i32::from(x) };
    let second = is_nan(a) || !is_nan(b) && (key(a) < key(b)) == MAX;
    sign | if second { b } else { a }
}

fn extremum(max: bool, mods: &Mods, pair: bool, bf16: bool) -> AluFn {
    // Each flag becomes a constant in turn.
    macro_rules! chosen {
        ([$($flag:literal)*]) => { lanes_of!(2, pair, |a, b| pick::<$($flag),*>(a, b)) };
        ([$($flag:literal)*] $next:expr $(, $rest:expr)*) => {
            if $next { chosen!([$($flag)* true] $($rest),*) } else { chosen!([$($flag)* false] $($rest),*) }
        };
    }
    chosen!([] max, mods.has("NaN"), mods.has("xorsign"), mods.has("ftz"), bf16)
}
