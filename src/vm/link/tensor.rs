//! `mma.sync`.

use super::Linker;
use crate::vm::exec::Mma;
use crate::vm::isa::Mods;
use crate::vm::program::Op;
use crate::vm::ptx::{Instruction, Operand, Syntax, Type};

impl Linker<'_> {
    /// `mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 d, a, b, c`.
    pub(super) fn mma(&mut self, i: &Instruction, line: u32) -> Result<(Op, u32), Syntax> {
        let mods = Mods(&i.modifiers);
        let types: Vec<Type> = mods.types().collect();
        let (&[d_type, a_type, b_type, c_type], [d, a, b, c]) = (&types[..], i.operands.as_slice()) else {
            return self.unknown(i, line);
        };
        let shape = i.modifiers.iter().find_map(|m| m.strip_prefix("m16n8k"));
        let Some(k) = shape.and_then(|k| k.parse::<usize>().ok()) else { return self.unknown(i, line) };
        let known = match (a_type, b_type) {
            (Type::F16, Type::F16) => matches!(k, 8 | 16) && matches!(c_type, Type::F16 | Type::F32),
            (Type::Bf16, Type::Bf16) => matches!(k, 8 | 16) && c_type == Type::F32,
            (Type::Tf32, Type::Tf32) => matches!(k, 4 | 8) && c_type == Type::F32,
            (Type::S8 | Type::U8, Type::S8 | Type::U8) => matches!(k, 16 | 32) && c_type == Type::S32,
            _ => false,
        };
        if !known || d_type != c_type || mods.has("sp") || !mods.has("row") || !mods.has("col") {
            return self.unknown(i, line);
        }
        let ab_bytes = a_type.bytes();
        let c_registers = if c_type == Type::F16 { 2 } else { 4 };
        let mut registers = |operand: &Operand, count: usize, dest: bool| -> Result<Vec<u32>, Syntax> {
            let all = match operand {
                Operand::Vector(all) => all.as_slice(),
                one => std::slice::from_ref(one),
            };
            if all.len() != count {
                return crate::vm::ptx::syntax(
                    line,
                    format!("`mma` takes {count} registers here, not {}", all.len()),
                );
            }
            all.iter()
                .map(|o| if dest { self.dest(o, 4, line) } else { self.source(o, Type::B32, line) })
                .collect()
        };
        let mma = Mma {
            k,
            a_type,
            b_type,
            c_type,
            saturate: mods.has("satfinite"),
            d: registers(d, c_registers, true)?,
            a: registers(a, 16 * k * ab_bytes / 128, false)?,
            b: registers(b, 8 * k * ab_bytes / 128, false)?,
            c: registers(c, c_registers, false)?,
        };
        // A warp's 2·16·8·k operations, shared among its lanes.
        Ok((Op::Mma(Box::new(mma)), (2 * 16 * 8 * k / 32) as u32))
    }
}
