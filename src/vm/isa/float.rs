//! f32 and f64. PTX ISA, section 9.7.3.
//!
//! f32 results that are NaN are the canonical NaN; f64 keeps the processor's. `.approx` functions are computed in f64 and
//! rounded, so they are at least as close as PTX documents, and never bit-equal to a particular GPU.

use super::{Mods, Recipe};
use crate::vm::lanes::{AluFn, binary, ternary, unary};
use crate::vm::ptx::Type::F32;
use crate::vm::round::{Round, canonical, directed, flush, odd, saturate, to_f32, two_sum};

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

/// An f32 operation in each rounding mode: `$near` for `.rn`, else `$exact`, a pair (high, low) whose sum is exact.
macro_rules! f32_rounded {
    ($build:ident, $mods:expr, |$($a:ident),*| $near:expr, $exact:expr) => {
        match $mods.round() {
            Round::Zero => f32_op!($build, $mods, |$($a),*| round_pair($exact, Round::Zero)),
            Round::Up => f32_op!($build, $mods, |$($a),*| round_pair($exact, Round::Up)),
            Round::Down => f32_op!($build, $mods, |$($a),*| round_pair($exact, Round::Down)),
            Round::Nearest | Round::NearestAway => f32_op!($build, $mods, |$($a),*| $near),
        }
    };
}

macro_rules! f64_rounded {
    ($build:ident, $mods:expr, |$($a:ident),*| $near:expr, $error:expr) => {
        match $mods.round() {
            Round::Zero => $build(|$($a: f64),*| { let x: f64 = $near; directed(x, ($error)(x), Round::Zero) }),
            Round::Up => $build(|$($a: f64),*| { let x: f64 = $near; directed(x, ($error)(x), Round::Up) }),
            Round::Down => $build(|$($a: f64),*| { let x: f64 = $near; directed(x, ($error)(x), Round::Down) }),
            Round::Nearest | Round::NearestAway => $build(|$($a: f64),*| $near),
        }
    };
}

const MODIFIERS: [&str; 11] =
    ["rn", "rz", "rm", "rp", "ftz", "sat", "approx", "full", "NaN", "xorsign", "abs"];

pub fn recipe(opcode: &str, mods: &Mods) -> Option<Recipe> {
    if !mods.only(&MODIFIERS) || mods.types().count() != 1 {
        return None;
    }
    let ty = mods.last_type()?;
    let (run, sources, flops) = match ty {
        F32 => single(opcode, mods)?,
        _ => double(opcode, mods)?,
    };
    Some(Recipe::new(run, ty, &vec![ty; sources]).flops(flops))
}

fn single(opcode: &str, mods: &Mods) -> Option<(AluFn, usize, u32)> {
    Some(match opcode {
        "add" => (f32_rounded!(binary, mods, |a, b| a + b, two_sum(a.into(), b.into())), 2, 1),
        "sub" => (f32_rounded!(binary, mods, |a, b| a - b, two_sum(a.into(), (-b).into())), 2, 1),
        "mul" => (f32_rounded!(binary, mods, |a, b| a * b, (f64::from(a) * f64::from(b), 0.0)), 2, 1),
        "fma" | "mad" => (
            f32_rounded!(
                ternary,
                mods,
                |a, b, c| a.mul_add(b, c),
                two_sum(f64::from(a) * f64::from(b), c.into())
            ),
            3,
            2,
        ),
        "div" if mods.has("approx") || mods.has("full") => {
            (f32_op!(binary, mods, |a, b| divide_fast(a, b)), 2, 1)
        }
        "div" => (f32_rounded!(binary, mods, |a, b| a / b, quotient(a.into(), b.into())), 2, 1),
        "rcp" => (f32_rounded!(unary, mods, |a| 1.0 / a, quotient(1.0, a.into())), 1, 1),
        "sqrt" => (f32_rounded!(unary, mods, |a| a.sqrt(), root(a.into())), 1, 1),
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

fn round_pair((high, low): (f64, f64), round: Round) -> f32 {
    to_f32(odd(high, low), round)
}

/// `.approx` and `.full` may return 0 for divisors beyond 2¹²⁶; the exact quotient is within their error elsewhere.
fn divide_fast(a: f32, b: f32) -> f32 {
    a / b
}

/// a / b as f64 and what is missing, to first order: its sign is all that rounding to f32 needs.
fn quotient(a: f64, b: f64) -> (f64, f64) {
    let q = a / b;
    if !q.is_finite() || q == 0.0 {
        return (q, 0.0);
    }
    let remainder = (-q).mul_add(b, a);
    (q, remainder / b)
}

fn root(a: f64) -> (f64, f64) {
    let r = a.sqrt();
    if !r.is_finite() || r == 0.0 {
        return (r, 0.0);
    }
    (r, (-r).mul_add(r, a) / (2.0 * r))
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
    macro_rules! all {
        ($max:literal, $nan:literal) => {
            if mods.has("xorsign") {
                binary(|a: f32, b: f32| {
                    let sign = (a.to_bits() ^ b.to_bits()) & 1 << 31;
                    f32::from_bits(pick(a.abs(), b.abs(), $max, $nan).to_bits() & !(1 << 31) | sign)
                })
            } else if mods.has("ftz") {
                binary(|a: f32, b: f32| pick(flush(a), flush(b), $max, $nan))
            } else {
                binary(|a: f32, b: f32| pick(a, b, $max, $nan))
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
        "add" => (f64_rounded!(binary, mods, |a, b| a + b, |_| two_sum(a, b).1), 2, 1),
        "sub" => (f64_rounded!(binary, mods, |a, b| a - b, |_| two_sum(a, -b).1), 2, 1),
        "mul" => (f64_rounded!(binary, mods, |a, b| a * b, |x: f64| a.mul_add(b, -x)), 2, 1),
        "fma" | "mad" => {
            (f64_rounded!(ternary, mods, |a, b, c| a.mul_add(b, c), |x: f64| fma_error(a, b, c, x)), 3, 2)
        }
        "div" => {
            (f64_rounded!(binary, mods, |a, b| a / b, |x: f64| signed_like((-x).mul_add(b, a), b)), 2, 1)
        }
        "rcp" if mods.has("approx") => (unary(|a: f64| crude(1.0 / flush_f64(a))), 1, 1),
        "rcp" => {
            (f64_rounded!(unary, mods, |a| 1.0 / a, |x: f64| signed_like((-x).mul_add(a, 1.0), a)), 1, 1)
        }
        "sqrt" => (f64_rounded!(unary, mods, |a| a.sqrt(), |x: f64| (-x).mul_add(x, a)), 1, 1),
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

fn signed_like(x: f64, sign: f64) -> f64 {
    if sign < 0.0 { -x } else { x }
}

/// `a·b + c − x`, well enough for its sign.
fn fma_error(a: f64, b: f64, c: f64, x: f64) -> f64 {
    let product = a * b;
    let low = a.mul_add(b, -product);
    let (sum, error) = two_sum(product, c);
    (sum - x) + (error + low)
}

/// `.approx.ftz.f64` functions keep the upper 32 bits of the result only.
fn crude(x: f64) -> f64 {
    f64::from_bits(x.to_bits() & !0xffff_ffff)
}

fn flush_f64(x: f64) -> f64 {
    if x.is_subnormal() { 0f64.copysign(x) } else { x }
}
