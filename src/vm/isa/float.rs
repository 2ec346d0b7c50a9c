//! f32 and f64. PTX ISA, section 9.7.3.
//!
//! f32 results that are NaN are the canonical NaN; f64 keeps the processor's. `.approx` functions are computed in f64 and
//! rounded, so they are at least as close as PTX documents, and never bit-equal to a particular GPU.

use super::{Mods, Recipe};
use crate::vm::lanes::{AluFn, binary, ternary, unary};
use crate::vm::ptx::Type::{self, F32, F64};
use crate::vm::round::{self, Round, canonical, flush, odd, saturate, to_f32, two_sum};

/// The four combinations of `.ftz` and `.sat` of an f32 expression.
macro_rules! f32_op {
    ($build:ident, $mods:expr, |$($a:ident),*| $e:expr) => {
        match ($mods.has("ftz"), $mods.has("sat")) {
            (false, false) => $build(|$($a: f32),*| canonical($e)),
            (true, false) => $build(|$($a: f32),*| { $(let $a = flush($a);)* flush(canonical($e)) }),
            (false, true) => $build(|$($a: f32),*| saturate($e)),
            (true, true) => $build(|$($a: f32),*| { $(let $a = flush($a);)* flush(saturate($e)) }),
        }
    };
}

/// An f32 operation in each rounding mode: `$near` for `.rn`, else `$directed` of the mode.
macro_rules! f32_rounded {
    ($build:ident, $mods:expr, |$($a:ident),*| $near:expr, $directed:expr) => {
        match $mods.round() {
            Round::Zero => f32_op!($build, $mods, |$($a),*| ($directed)(Round::Zero)),
            Round::Up => f32_op!($build, $mods, |$($a),*| ($directed)(Round::Up)),
            Round::Down => f32_op!($build, $mods, |$($a),*| ($directed)(Round::Down)),
            Round::Nearest | Round::NearestAway => f32_op!($build, $mods, |$($a),*| $near),
        }
    };
}

macro_rules! f64_rounded {
    ($build:ident, $mods:expr, |$($a:ident),*| $near:expr, $directed:expr) => {
        match $mods.round() {
            Round::Zero => $build(|$($a: f64),*| ($directed)(Round::Zero)),
            Round::Up => $build(|$($a: f64),*| ($directed)(Round::Up)),
            Round::Down => $build(|$($a: f64),*| ($directed)(Round::Down)),
            Round::Nearest | Round::NearestAway => $build(|$($a: f64),*| $near),
        }
    };
}

/// The modifiers an opcode may carry besides its type.
fn allowed(opcode: &str, ty: Type, mods: &Mods) -> &'static [&'static str] {
    match (opcode, ty) {
        ("add" | "sub" | "mul" | "fma" | "mad", F32) => &["rn", "rz", "rm", "rp", "ftz", "sat"],
        ("div", F32) if mods.has("approx") || mods.has("full") => &["approx", "full", "ftz"],
        ("rcp" | "sqrt", F32) if mods.has("approx") => &["approx", "ftz"],
        ("div" | "rcp" | "sqrt", F32) => &["rn", "rz", "rm", "rp", "ftz"],
        ("rsqrt" | "sin" | "cos" | "lg2" | "ex2", F32) => &["approx", "ftz"],
        ("tanh", F32) => &["approx"],
        ("neg" | "abs", F32) => &["ftz"],
        ("min" | "max", F32) if mods.has("xorsign") && mods.has("abs") => &["ftz", "NaN", "xorsign", "abs"],
        ("min" | "max", F32) => &["ftz", "NaN"],
        ("rcp", F64) if mods.has("approx") => &["approx", "ftz"],
        ("rsqrt", F64) => &["approx", "ftz"],
        ("add" | "sub" | "mul" | "fma" | "mad" | "div" | "rcp" | "sqrt", F64) => &["rn", "rz", "rm", "rp"],
        _ => &[],
    }
}

pub fn recipe(opcode: &str, mods: &Mods) -> Option<Recipe> {
    let ty = mods.last_type()?;
    if !mods.only(allowed(opcode, ty, mods)) || mods.types().count() != 1 {
        return None;
    }
    let (run, sources, flops) = match ty {
        F32 => single(opcode, mods)?,
        _ => double(opcode, mods)?,
    };
    Some(Recipe::new(run, ty, &vec![ty; sources]).flops(flops))
}

fn single(opcode: &str, mods: &Mods) -> Option<(AluFn, usize, u32)> {
    Some(match opcode {
        "add" => (f32_rounded!(binary, mods, |a, b| a + b, |r| sum(a.into(), b.into(), r)), 2, 1),
        "sub" => (f32_rounded!(binary, mods, |a, b| a - b, |r| sum(a.into(), (-b).into(), r)), 2, 1),
        "mul" => (f32_rounded!(binary, mods, |a, b| a * b, |r| to_f32(f64::from(a) * f64::from(b), r)), 2, 1),
        "fma" | "mad" => {
            let directed = f32_rounded!(ternary, mods, |a, b, c| a.mul_add(b, c), |r| {
                // The product of 24 bits by 24 is exact.
                sum(f64::from(a) * f64::from(b), c.into(), r)
            });
            (directed, 3, 2)
        }
        // `.approx` and `.full` may err, and return 0 for divisors beyond 2¹²⁶; the exact quotient is what they document.
        "div" => (f32_rounded!(binary, mods, |a, b| a / b, |r| quotient(a.into(), b.into(), r)), 2, 1),
        "rcp" => (f32_rounded!(unary, mods, |a| 1.0 / a, |r| quotient(1.0, a.into(), r)), 1, 1),
        "sqrt" => (f32_rounded!(unary, mods, |a| a.sqrt(), |r| root(a.into(), r)), 1, 1),
        "rsqrt" => (f32_op!(unary, mods, |a| (1.0 / f64::from(a).sqrt()) as f32), 1, 1),
        "sin" => (f32_op!(unary, mods, |a| f64::from(a).sin() as f32), 1, 1),
        "cos" => (f32_op!(unary, mods, |a| f64::from(a).cos() as f32), 1, 1),
        "lg2" => (f32_op!(unary, mods, |a| f64::from(a).log2() as f32), 1, 1),
        "ex2" => (f32_op!(unary, mods, |a| f64::from(a).exp2() as f32), 1, 1),
        "tanh" => (f32_op!(unary, mods, |a| f64::from(a).tanh() as f32), 1, 1),
        // Signs alone: NaN keeps its bits.
        "neg" if mods.has("ftz") => (unary(|a: f32| -flush(a)), 1, 0),
        "neg" => (unary(|a: u32| a ^ 1 << 31), 1, 0),
        "abs" if mods.has("ftz") => (unary(|a: f32| flush(a).abs()), 1, 0),
        "abs" => (unary(|a: u32| a & !(1 << 31)), 1, 0),
        "copysign" => (binary(|a: u32, b: u32| a & 1 << 31 | b & !(1 << 31)), 2, 0),
        "min" | "max" => (extremum(opcode == "max", mods), 2, 1),
        _ => return None,
    })
}

/// a + b of f32 values or products of two.
fn sum(a: f64, b: f64, round: Round) -> f32 {
    let (high, low) = two_sum(a, b);
    // What cancels is −0 in this mode.
    if high == 0.0 && round == Round::Down && a.is_sign_negative() != b.is_sign_negative() {
        return -0.0;
    }
    to_f32(odd(high, low), round)
}

/// a / b of f32 values. What f64 misses is known to first order: its sign is all that rounding to f32 needs.
fn quotient(a: f64, b: f64, round: Round) -> f32 {
    let q = a / b;
    let missing = if q.is_finite() && q != 0.0 { (-q).mul_add(b, a) / b } else { 0.0 };
    to_f32(odd(q, missing), round)
}

/// As [`quotient`].
fn root(a: f64, round: Round) -> f32 {
    let r = a.sqrt();
    let missing = if r.is_finite() && r != 0.0 { (-r).mul_add(r, a) } else { 0.0 };
    to_f32(odd(r, missing), round)
}

/// `min`, `max`: of a number and NaN the number, unless `.NaN`; −0 is below +0; `.xorsign.abs` compares magnitudes.
fn extremum(max: bool, mods: &Mods) -> AluFn {
    const fn pick(a: f32, b: f32, max: bool, nan: bool) -> f32 {
        if a.is_nan() || b.is_nan() {
            return if nan || (a.is_nan() && b.is_nan()) {
                crate::vm::round::NAN
            } else if a.is_nan() {
                b
            } else {
                a
            };
        }
        let less = a < b || (a == b && a.is_sign_negative());
        if less == max { b } else { a }
    }
    /// The sign is that of the product, but a NaN has none.
    fn signed(magnitude: f32, a: f32, b: f32) -> f32 {
        let sign = if magnitude.is_nan() { 0 } else { (a.to_bits() ^ b.to_bits()) & 1 << 31 };
        f32::from_bits(magnitude.to_bits() | sign)
    }
    macro_rules! all {
        ($max:literal, $nan:literal) => {
            match (mods.has("xorsign"), mods.has("ftz")) {
                (false, false) => binary(|a: f32, b: f32| pick(a, b, $max, $nan)),
                (false, true) => binary(|a: f32, b: f32| pick(flush(a), flush(b), $max, $nan)),
                (true, false) => binary(|a: f32, b: f32| signed(pick(a.abs(), b.abs(), $max, $nan), a, b)),
                (true, true) => {
                    binary(|a: f32, b: f32| signed(pick(flush(a).abs(), flush(b).abs(), $max, $nan), a, b))
                }
            }
        };
    }
    match (max, mods.has("NaN")) {
        (false, false) => all!(false, false),
        (false, true) => all!(false, true),
        (true, false) => all!(true, false),
        (true, true) => all!(true, true),
    }
}

fn double(opcode: &str, mods: &Mods) -> Option<(AluFn, usize, u32)> {
    Some(match opcode {
        "add" => (f64_rounded!(binary, mods, |a, b| a + b, |r| round::fma(a, 1.0, b, r)), 2, 1),
        "sub" => (f64_rounded!(binary, mods, |a, b| a - b, |r| round::fma(a, 1.0, -b, r)), 2, 1),
        "mul" => (f64_rounded!(binary, mods, |a, b| a * b, |r| round::multiply(a, b, r)), 2, 1),
        "fma" | "mad" => {
            (f64_rounded!(ternary, mods, |a, b, c| a.mul_add(b, c), |r| round::fma(a, b, c, r)), 3, 2)
        }
        "div" => (f64_rounded!(binary, mods, |a, b| a / b, |r| round::divide(a, b, r)), 2, 1),
        "rcp" if mods.has("approx") => (unary(|a: f64| crude(1.0 / flush_f64(a))), 1, 1),
        "rcp" => (f64_rounded!(unary, mods, |a| 1.0 / a, |r| round::divide(1.0, a, r)), 1, 1),
        "sqrt" => (f64_rounded!(unary, mods, |a| a.sqrt(), |r| round::square_root(a, r)), 1, 1),
        "rsqrt" if mods.has("ftz") => (unary(|a: f64| crude(1.0 / flush_f64(a).sqrt())), 1, 1),
        "rsqrt" => (unary(|a: f64| 1.0 / a.sqrt()), 1, 1),
        "neg" => (unary(|a: u64| a ^ 1 << 63), 1, 0),
        "abs" => (unary(|a: u64| a & !(1 << 63)), 1, 0),
        "copysign" => (binary(|a: u64, b: u64| a & 1 << 63 | b & !(1 << 63)), 2, 0),
        "min" => (
            binary(
                |a: f64, b: f64| if a < b || a == b && a.is_sign_negative() || b.is_nan() { a } else { b },
            ),
            2,
            1,
        ),
        "max" => (
            binary(
                |a: f64, b: f64| if a > b || a == b && b.is_sign_negative() || b.is_nan() { a } else { b },
            ),
            2,
            1,
        ),
        _ => return None,
    })
}

/// `.approx.ftz.f64` functions keep the upper 32 bits of the result only, and no subnormal one.
fn crude(x: f64) -> f64 {
    flush_f64(f64::from_bits(x.to_bits() & !0xffff_ffff))
}

fn flush_f64(x: f64) -> f64 {
    if x.is_subnormal() { 0f64.copysign(x) } else { x }
}
