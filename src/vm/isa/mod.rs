//! What each arithmetic instruction computes: opcode and modifiers → a loop over lanes. PTX ISA, section 9.7.
//!
//! A [`Recipe`] is all the rest of the machine knows of an arithmetic instruction. Adding one means adding a line to
//! `int`, `bits`, `float`, `half` or `compare`; conversions have their own room.

mod bits;
mod compare;
mod convert;
mod float;
mod half;
mod int;
mod mods;
mod pairs;
#[cfg(test)]
mod tests;

pub use compare::{Combine, setp};
pub use convert::{Convert, convert};
pub(crate) use half::{from_bf16, from_f16, to_bf16, to_f16};
pub use mods::Mods;
pub use pairs::eighths;

use super::lanes::AluFn;
use super::ptx::Type;

/// A lane-wise instruction: its loop, and the types of the registers it reads and writes.
pub struct Recipe {
    pub run: AluFn,
    pub dest: Type,
    pub sources: Vec<Type>,
    /// Floating-point operations a lane, for the profiler.
    pub flops: u32,
}

impl Recipe {
    fn new(run: AluFn, dest: Type, sources: &[Type]) -> Self {
        Self { run, dest, sources: sources.to_vec(), flops: 0 }
    }

    fn flops(self, flops: u32) -> Self {
        Self { flops, ..self }
    }
}

/// The recipe of a lane-wise instruction, or None if this is not one the machine knows.
pub fn recipe(opcode: &str, mods: &Mods) -> Option<Recipe> {
    if mods.has("s16x2") || mods.has("u16x2") {
        return pairs::integers(opcode, mods);
    }
    match mods.last_type()? {
        Type::F32 | Type::F64 => float::recipe(opcode, mods),
        ty if ty.float() => half::recipe(opcode, mods),
        _ => int::recipe(opcode, mods).or_else(|| bits::recipe(opcode, mods)),
    }
}
