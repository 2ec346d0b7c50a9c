//! `mma.sync` and `wmma`.

use super::Linker;
use crate::vm::exec::{Fragment, Mma, Part, mma_registers};
use crate::vm::isa::Mods;
use crate::vm::program::{NONE, Op};
use crate::vm::ptx::{Instruction, Operand, Space, Syntax, Type, syntax};

impl Linker<'_> {
    /// `mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 d, a, b, c`.
    pub(super) fn mma(&mut self, i: &Instruction, line: u32) -> Result<(Op, u32), Syntax> {
        let mods = Mods(&i.modifiers);
        let types: Vec<Type> = mods.types().collect();
        let (&[d_type, a_type, b_type, c_type], [d, a, b, c]) = (&types[..], i.operands.as_slice()) else {
            return self.unknown(i, line);
        };
        if types == [Type::F64; 4] && mods.has("m8n8k4") && mods.has("row") && mods.has("col") {
            let parts = [(d, 2), (a, 1), (b, 1), (c, 2)];
            return self.mma_of_doubles(parts, line);
        }
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
        let c_registers = if c_type == Type::F16 { 2 } else { 4 };
        let (a_registers, b_registers) = mma_registers(k, a_type);
        let mma = Mma {
            k,
            a_type,
            b_type,
            c_type,
            d_type,
            saturate: mods.has("satfinite"),
            d: self.fragment_registers(d, c_registers, Type::B32, true, line)?,
            a: self.fragment_registers(a, a_registers, Type::B32, false, line)?,
            b: self.fragment_registers(b, b_registers, Type::B32, false, line)?,
            c: self.fragment_registers(c, c_registers, Type::B32, false, line)?,
        };
        // A warp's 2·16·8·k operations, shared among its lanes.
        Ok((Op::Mma(Box::new([mma])), (2 * 16 * 8 * k / 32) as u32))
    }

    fn mma_of_doubles(&mut self, parts: [(&Operand, usize); 4], line: u32) -> Result<(Op, u32), Syntax> {
        let mut registers = Vec::new();
        for (index, (operand, count)) in parts.into_iter().enumerate() {
            registers.push(self.fragment_registers(operand, count, Type::B64, index == 0, line)?);
        }
        let Ok([d, a, b, c]) = <[Vec<u32>; 4]>::try_from(registers) else {
            return syntax(line, "`mma` takes 4 operands");
        };
        let ty = Type::F64;
        let mma = Mma { k: 4, a_type: ty, b_type: ty, c_type: ty, d_type: ty, saturate: false, d, a, b, c };
        Ok((Op::Mma(Box::new([mma])), 2 * 8 * 8 * 4 / 32))
    }

    fn fragment_registers(
        &mut self,
        operand: &Operand,
        count: usize,
        ty: Type,
        dest: bool,
        line: u32,
    ) -> Result<Vec<u32>, Syntax> {
        let all = match operand {
            Operand::Vector(all) => all.as_slice(),
            one => std::slice::from_ref(one),
        };
        if all.len() != count {
            return syntax(line, format!("a fragment of {count} registers here, not {}", all.len()));
        }
        all.iter()
            .map(|o| if dest { self.dest(o, ty.bytes(), line) } else { self.source(o, ty, line) })
            .collect()
    }

    /// `wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {…}, [p], stride`, `wmma.store.d…` and `wmma.mma…`.
    pub(super) fn wmma(&mut self, i: &Instruction, line: u32) -> Result<(Op, u32), Syntax> {
        let mods = Mods(&i.modifiers);
        let Some(shape) = i.modifiers.iter().find_map(|m| shape(m)) else { return self.unknown(i, line) };
        let (load, part) = match [0, 1].map(|at| i.modifiers.get(at).map_or("", String::as_str)) {
            ["load", "a"] => (true, Part::A),
            ["load", "b"] => (true, Part::B),
            ["load", "c"] => (true, Part::C),
            ["store", "d"] => (false, Part::C),
            ["mma", "sync"] => return self.wmma_mma(i, shape, line),
            _ => return self.unknown(i, line),
        };
        let (value, at, stride) = match (load, i.operands.as_slice()) {
            (true, [value, at, stride @ ..]) | (false, [at, value, stride @ ..]) => (value, at, stride),
            _ => return self.unknown(i, line),
        };
        let Some(ty) = mods.last_type().filter(|&ty| fits(shape, part, ty)) else {
            return self.unknown(i, line);
        };
        let stride = match stride {
            [] => NONE,
            [stride] => self.source(stride, Type::U32, line)?,
            _ => return self.unknown(i, line),
        };
        let space = i.modifiers.iter().find_map(|m| Space::parse(m)).unwrap_or(Space::Generic);
        let at = self.address(at, space, line)?;
        let row_major = mods.has("row");
        let mut fragment = Fragment { at, stride, part, shape, ty, row_major, registers: Vec::new(), load };
        let count = count(shape, part, ty);
        let width = if ty == Type::F64 { Type::B64 } else { Type::B32 };
        fragment.registers = self.fragment_registers(value, count, width, load, line)?;
        Ok((Op::Fragment(Box::new(fragment)), 0))
    }

    fn wmma_mma(
        &mut self,
        i: &Instruction,
        shape @ [m, n, k]: [usize; 3],
        line: u32,
    ) -> Result<(Op, u32), Syntax> {
        let mods = Mods(&i.modifiers);
        let types: Vec<Type> = mods.types().collect();
        // f16 operands are not named: the types are d's and c's.
        let [d_type, a_type, b_type, c_type] = match types[..] {
            [d, c] => [d, Type::F16, Type::F16, c],
            [d, a, b, c] => [d, a, b, c],
            _ => return self.unknown(i, line),
        };
        let kind = |float: bool| if float { Type::F32 } else { Type::S32 };
        let sums = |ty: Type| ty == kind(a_type.float()) || (ty, a_type) == (Type::F16, Type::F16);
        let doubles = types == [Type::F64; 4];
        let known = [(Part::A, a_type), (Part::B, b_type)].iter().all(|&(part, ty)| fits(shape, part, ty));
        let [d, a, b, c] = i.operands.as_slice() else { return self.unknown(i, line) };
        let summed = doubles || sums(d_type) && sums(c_type);
        if !known || a_type != b_type || !summed || mods.has("popc") {
            return self.unknown(i, line);
        }
        if doubles {
            return self.mma_of_doubles([(d, 2), (a, 1), (b, 1), (c, 2)], line);
        }
        let mut registers = |operand, part, ty, dest| {
            self.fragment_registers(operand, count(shape, part, ty), Type::B32, dest, line)
        };
        let d = registers(d, Part::C, d_type, true)?;
        let (a, b) = (registers(a, Part::A, a_type, false)?, registers(b, Part::B, b_type, false)?);
        let c = registers(c, Part::C, c_type, false)?;
        // m8n32 is the product of the transposed.
        let (tall, narrow) = if m == 8 { (b, a) } else { (a, b) };
        let (tall_count, narrow_count) = mma_registers(k, a_type);
        let halves = |all: &[u32], half: usize, count: usize| all[half * count..][..count].to_vec();
        let products: Vec<Mma> = (0..2)
            .map(|half| {
                let (tall_half, narrow_half) = if n == 16 { (0, half) } else { (half, 0) };
                Mma {
                    k,
                    a_type,
                    b_type,
                    c_type,
                    d_type,
                    saturate: mods.has("satfinite"),
                    d: halves(&d, half, d.len() / 2),
                    a: halves(&tall, tall_half, tall_count),
                    b: halves(&narrow, narrow_half, narrow_count),
                    c: halves(&c, half, c.len() / 2),
                }
            })
            .collect();
        Ok((Op::Mma(products.into()), (2 * m * n * k / 32) as u32))
    }
}

/// `m16n16k16` → its three numbers.
fn shape(modifier: &str) -> Option<[usize; 3]> {
    match modifier {
        "m16n16k16" => Some([16, 16, 16]),
        "m8n32k16" => Some([8, 32, 16]),
        "m32n8k16" => Some([32, 8, 16]),
        "m16n16k8" => Some([16, 16, 8]),
        "m8n8k4" => Some([8, 8, 4]),
        _ => None,
    }
}

/// Whether there is a fragment of this type in this shape.
fn fits(shape: [usize; 3], part: Part, ty: Type) -> bool {
    let k = shape[2];
    match ty {
        Type::F64 => k == 4,
        Type::Tf32 => k == 8 && part != Part::C,
        Type::F32 => k != 4 && part == Part::C,
        Type::F16 => k == 16,
        Type::Bf16 | Type::S8 | Type::U8 => k == 16 && part != Part::C,
        Type::S32 => k == 16 && part == Part::C,
        _ => false,
    }
}

/// Registers of a fragment a lane.
fn count([m, n, k]: [usize; 3], part: Part, ty: Type) -> usize {
    let elements = match part {
        Part::A => m * k,
        Part::B => k * n,
        Part::C => m * n,
    };
    match (ty, part) {
        // Each element twice or more, as the first tensor cores wanted.
        (Type::F16, Part::A | Part::B) => 8,
        _ => elements * ty.bytes() / (32 * ty.bytes().max(4)),
    }
}
