//! `setp` and `set`. PTX ISA, section 9.7.6 (Comparison and Selection).

// `!(a >= b)` is true of NaN, and that is what `.ltu` means.
#![allow(clippy::neg_cmp_op_on_partial_ord)]

use super::half::{flush_f16, from_bf16, from_f16};
use super::mods::Mods;
use crate::vm::lanes::{CompareFn, compare};
use crate::vm::ptx::Type::{self, *};
use crate::vm::round::flush;

/// Bits have no order; unsigned numbers have two names for theirs.
macro_rules! integers {
    ($relation:expr, $ty:expr, $t:ty) => {
        match ($relation.as_str(), $ty) {
            ("eq", _) => compare(|a: $t, b: $t| a == b),
            ("ne", _) => compare(|a: $t, b: $t| a != b),
            (_, B16 | B32 | B64) | ("lo" | "ls" | "hi" | "hs", S16 | S32 | S64) => return None,
            ("lt" | "lo", _) => compare(|a: $t, b: $t| a < b),
            ("le" | "ls", _) => compare(|a: $t, b: $t| a <= b),
            ("gt" | "hi", _) => compare(|a: $t, b: $t| a > b),
            ("ge" | "hs", _) => compare(|a: $t, b: $t| a >= b),
            _ => return None,
        }
    };
}

/// Ordered relations are false for NaN, those with `u` true.
macro_rules! floats {
    ($relation:expr, $t:ty, |$x:ident| $e:expr) => {
        match $relation.as_str() {
            "eq" => compare(|a: $t, b: $t| {
                let f = |$x: $t| $e;
                f(a) == f(b)
            }),
            "ne" => compare(|a: $t, b: $t| {
                let f = |$x: $t| $e;
                f(a) < f(b) || f(a) > f(b)
            }),
            "lt" => compare(|a: $t, b: $t| {
                let f = |$x: $t| $e;
                f(a) < f(b)
            }),
            "le" => compare(|a: $t, b: $t| {
                let f = |$x: $t| $e;
                f(a) <= f(b)
            }),
            "gt" => compare(|a: $t, b: $t| {
                let f = |$x: $t| $e;
                f(a) > f(b)
            }),
            "ge" => compare(|a: $t, b: $t| {
                let f = |$x: $t| $e;
                f(a) >= f(b)
            }),
            "equ" => compare(|a: $t, b: $t| {
                let f = |$x: $t| $e;
                !(f(a) < f(b) || f(a) > f(b))
            }),
            "neu" => compare(|a: $t, b: $t| {
                let f = |$x: $t| $e;
                f(a) != f(b)
            }),
            "ltu" => compare(|a: $t, b: $t| {
                let f = |$x: $t| $e;
                !(f(a) >= f(b))
            }),
            "leu" => compare(|a: $t, b: $t| {
                let f = |$x: $t| $e;
                !(f(a) > f(b))
            }),
            "gtu" => compare(|a: $t, b: $t| {
                let f = |$x: $t| $e;
                !(f(a) <= f(b))
            }),
            "geu" => compare(|a: $t, b: $t| {
                let f = |$x: $t| $e;
                !(f(a) < f(b))
            }),
            "num" => compare(|a: $t, b: $t| {
                let f = |$x: $t| $e;
                !(f(a).is_nan() || f(b).is_nan())
            }),
            "nan" => compare(|a: $t, b: $t| {
                let f = |$x: $t| $e;
                f(a).is_nan() || f(b).is_nan()
            }),
            _ => return None,
        }
    };
}

/// How a comparison joins its third operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Combine {
    No,
    And,
    Or,
    Xor,
}

pub struct Setp {
    pub run: CompareFn,
    /// Type compared.
    pub ty: Type,
    pub combine: Combine,
}

/// `mods` holds the relation first, then perhaps `and|or|xor`, `ftz`, then types of which the last is compared.
pub fn setp(mods: &Mods) -> Option<Setp> {
    let (relation, rest) = mods.0.split_first()?;
    let rest = Mods(rest);
    let combine = match rest.one_of(&["and", "or", "xor"]) {
        Some("and") => Combine::And,
        Some("or") => Combine::Or,
        Some(_) => Combine::Xor,
        None => Combine::No,
    };
    if !rest.only(&["and", "or", "xor", "ftz"]) {
        return None;
    }
    let ty = mods.last_type()?;
    if rest.has("ftz") && !matches!(ty, F16 | F32) {
        return None;
    }
    let run = match ty {
        F32 if rest.has("ftz") => floats!(relation, f32, |x| flush(x)),
        F32 => floats!(relation, f32, |x| x),
        F64 => floats!(relation, f64, |x| x),
        F16 if rest.has("ftz") => floats!(relation, u16, |x| from_f16(flush_f16(x))),
        F16 => floats!(relation, u16, |x| from_f16(x)),
        Bf16 => floats!(relation, u16, |x| from_bf16(x)),
        U16 | B16 => integers!(relation, ty, u16),
        S16 => integers!(relation, ty, i16),
        U32 | B32 => integers!(relation, ty, u32),
        S32 => integers!(relation, ty, i32),
        U64 | B64 => integers!(relation, ty, u64),
        S64 => integers!(relation, ty, i64),
        _ => return None,
    };
    Some(Setp { run, ty, combine })
}
