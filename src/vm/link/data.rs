//! Arithmetic, comparisons, selections, moves and conversions.

use super::Linker;
use crate::vm::exec::Move;
use crate::vm::isa::{Combine, Convert, Mods, Recipe, convert, eighths, recipe, setp};
use crate::vm::lanes::{Lane, Slots, WARP, get, set, unary};
use crate::vm::program::{Conversion, Logic, NONE, Op, SelectFn};
use crate::vm::ptx::{Instruction, Operand, Syntax, Type, syntax};

impl Linker<'_> {
    pub(super) fn data(&mut self, i: &Instruction, line: u32, text: &str) -> Result<(Op, u32), Syntax> {
        let mods = Mods(&i.modifiers);
        let plain = |op| Ok((op, 0));
        match (i.opcode.as_str(), mods.last_type()) {
            ("mov", Some(ty)) => plain(self.mov(i, ty, line)?),
            ("setp", _) => plain(self.setp(i, line)?),
            ("set", Some(_)) => plain(self.set(i, line)?),
            ("selp", Some(Type::Pred)) => self.unknown(i, line),
            ("selp", Some(ty)) => plain(self.selp(i, ty, line)?),
            ("and" | "or" | "xor" | "not", Some(Type::Pred)) => plain(self.logic(i, line)?),
            ("cvt", _) => plain(self.cvt(i, line)?),
            ("testp", Some(ty)) => plain(self.testp(i, ty, line)?),
            ("lop3", _) if mods.has("and") || mods.has("or") => self.unknown(i, line),
            ("add" | "sub" | "mad" | "addc" | "subc" | "madc", Some(ty))
                if i.modifiers.iter().any(|m| m == "cc") || i.opcode.ends_with('c') =>
            {
                plain(self.carry(i, ty, line)?)
            }
            _ => {
                let Some(recipe) = recipe(&i.opcode, &mods) else { return self.unknown(i, line) };
                if i.operands.len() != recipe.sources.len() + 1 {
                    return syntax(line, format!("`{text}` takes {} operands", recipe.sources.len() + 1));
                }
                Ok((self.lane_wise(i, &recipe, line)?, recipe.flops))
            }
        }
    }

    fn lane_wise(&mut self, i: &Instruction, recipe: &Recipe, line: u32) -> Result<Op, Syntax> {
        let mut slots: Slots = [0; 5];
        slots[0] = self.dest(&i.operands[0], recipe.dest.bytes(), line)?;
        for (slot, (operand, ty)) in slots[1..].iter_mut().zip(i.operands[1..].iter().zip(&recipe.sources)) {
            *slot = self.source(operand, *ty, line)?;
        }
        Ok(Op::Alu { run: recipe.run, slots })
    }

    fn operands<'i, const N: usize>(
        &self,
        i: &'i Instruction,
        line: u32,
    ) -> Result<&'i [Operand; N], Syntax> {
        match i.operands.as_slice().try_into() {
            Ok(operands) => Ok(operands),
            Err(_) => {
                syntax(line, format!("`{}` takes {N} operands here, not {}", i.opcode, i.operands.len()))
            }
        }
    }

    fn mov(&mut self, i: &Instruction, ty: Type, line: u32) -> Result<Op, Syntax> {
        let [d, a] = self.operands::<2>(i, line)?;
        let bytes = ty.bytes() as u8;
        match (d, a) {
            _ if ty == Type::Pred => {
                let (d, a) = (self.predicate_operand(d, line)?, self.predicate_operand(a, line)?);
                Ok(Op::Logic { kind: Logic::Copy, d, a, b: a })
            }
            (_, Operand::Vector(parts)) => {
                let d = self.dest(d, ty.bytes(), line)?;
                let part = part_type(ty, parts.len(), line)?;
                let parts = parts.iter().map(|p| self.source(p, part, line)).collect::<Result<_, _>>()?;
                Ok(Op::Move(Box::new(Move::Pack { d, bytes, parts })))
            }
            (Operand::Vector(parts), _) => {
                let a = self.source(a, ty, line)?;
                let part = part_type(ty, parts.len(), line)?;
                let name = |p: &Operand| *p == Operand::Name("_".into());
                let parts = parts
                    .iter()
                    .map(|p| if name(p) { Ok(NONE) } else { self.dest(p, part.bytes(), line) })
                    .collect::<Result<_, _>>()?;
                Ok(Op::Move(Box::new(Move::Unpack { a, bytes, parts })))
            }
            (_, Operand::Name(name)) if name.starts_with("%clock") || name.starts_with("%globaltimer") => {
                let d = self.dest(d, ty.bytes(), line)?;
                Ok(Op::Move(Box::new(Move::Clock { d, bytes })))
            }
            (_, a) if self.local_of(a).is_some() => {
                let offset = self.local_of(a).unwrap_or_default();
                let d = self.dest(d, ty.bytes(), line)?;
                Ok(Op::Move(Box::new(Move::Local { d, bytes, offset, generic: false })))
            }
            _ => {
                let slots = [self.dest(d, ty.bytes(), line)?, self.source(a, ty, line)?, 0, 0, 0];
                Ok(copy(slots, ty))
            }
        }
    }

    fn setp(&mut self, i: &Instruction, line: u32) -> Result<Op, Syntax> {
        let Some(setp) = setp(&Mods(&i.modifiers)) else { return self.unknown(i, line) };
        let (dest, rest) = match i.operands.split_first() {
            Some(parts) => parts,
            None => return self.unknown(i, line),
        };
        let (p, q) = match dest {
            Operand::Pair(p, q) => (self.predicate_operand(p, line)?, self.predicate_operand(q, line)?),
            p => (self.predicate_operand(p, line)?, NONE),
        };
        if rest.len() != if setp.combine == Combine::No { 2 } else { 3 } {
            return syntax(line, "`setp` has a wrong number of operands");
        }
        let slots = [0, self.source(&rest[0], setp.ty, line)?, self.source(&rest[1], setp.ty, line)?, 0, 0];
        let c = if rest.len() == 3 { self.predicate_operand(&rest[2], line)? } else { NONE };
        Ok(Op::Setp { run: setp.run, slots, combine: setp.combine, c, p, q })
    }

    fn set(&mut self, i: &Instruction, line: u32) -> Result<Op, Syntax> {
        let mods = Mods(&i.modifiers);
        let (Some(setp), Some(to)) = (setp(&mods), mods.first_type()) else { return self.unknown(i, line) };
        if mods.types().count() != 2 || setp.combine != Combine::No {
            return self.unknown(i, line);
        }
        let [d, a, b] = self.operands::<3>(i, line)?;
        let one = match to {
            Type::F32 => u64::from(1f32.to_bits()),
            Type::F16 => 0x3c00,
            Type::Bf16 => 0x3f80,
            _ => u64::MAX,
        };
        let d = self.dest(d, to.bytes(), line)?;
        let slots = [d, self.source(a, setp.ty, line)?, self.source(b, setp.ty, line)?, 0, 0];
        Ok(Op::Set { run: setp.run, slots, combine: setp.combine, c: NONE, one, bytes: to.bytes() as u8 })
    }

    fn selp(&mut self, i: &Instruction, ty: Type, line: u32) -> Result<Op, Syntax> {
        let [d, a, b, p] = self.operands::<4>(i, line)?;
        let slots =
            [self.dest(d, ty.bytes(), line)?, self.source(a, ty, line)?, self.source(b, ty, line)?, 0, 0];
        let run: SelectFn = match ty.bytes() {
            2 => select::<u16>,
            4 => select::<u32>,
            8 => select::<u64>,
            _ => return self.unknown(i, line),
        };
        Ok(Op::Select { run, slots, p: self.predicate_operand(p, line)? })
    }

    fn logic(&mut self, i: &Instruction, line: u32) -> Result<Op, Syntax> {
        let kind = match i.opcode.as_str() {
            "and" => Logic::And,
            "or" => Logic::Or,
            "xor" => Logic::Xor,
            _ => Logic::Not,
        };
        let Some(d) = i.operands.first() else { return self.unknown(i, line) };
        let d = self.predicate_operand(d, line)?;
        let sources: Vec<u32> =
            i.operands[1..].iter().map(|o| self.predicate_operand(o, line)).collect::<Result<_, _>>()?;
        match sources[..] {
            [a] if kind == Logic::Not => Ok(Op::Logic { kind, d, a, b: a }),
            [a, b] if kind != Logic::Not => Ok(Op::Logic { kind, d, a, b }),
            _ => syntax(line, format!("`{}.pred` has a wrong number of operands", i.opcode)),
        }
    }

    /// Conversions read and write registers that may be wider than their types.
    fn cvt(&mut self, i: &Instruction, line: u32) -> Result<Op, Syntax> {
        let mods = Mods(&i.modifiers);
        if let Some(recipe) = eighths(&mods).filter(|recipe| i.operands.len() == recipe.sources.len() + 1) {
            return self.lane_wise(i, &recipe, line);
        }
        if i.operands.len() == 3 {
            let Some(recipe) = Convert::pack(&mods) else { return self.unknown(i, line) };
            let [d, a, b] = self.operands::<3>(i, line)?;
            let slots = [
                self.dest(d, 4, line)?,
                self.source(a, Type::F32, line)?,
                self.source(b, Type::F32, line)?,
                0,
                0,
            ];
            return Ok(Op::Alu { run: recipe.run, slots });
        }
        let Some(convert) = convert(&mods) else { return self.unknown(i, line) };
        let [d, a] = self.operands::<2>(i, line)?;
        let (dest, dest_type) = self.named_register(d, line)?;
        let (source, source_bytes) = match self.named_register(a, line) {
            Ok((slot, ty)) => (slot, ty.bytes()),
            Err(_) => (self.source(a, convert.from, line)?, convert.from.bytes().max(2)),
        };
        let dest_bytes = dest_type.bytes();
        if source_bytes < convert.from.bytes() || dest_bytes < convert.to.bytes() || dest_bytes == 16 {
            return syntax(line, "a register of `cvt` is narrower than its type");
        }
        if let Some(run) = convert.fast(source_bytes, dest_bytes) {
            return Ok(Op::Alu { run, slots: [dest, source, 0, 0, 0] });
        }
        Ok(Op::Convert(Box::new(Conversion {
            convert,
            dest: (dest, dest_bytes),
            source: (source, source_bytes),
        })))
    }

    fn testp(&mut self, i: &Instruction, ty: Type, line: u32) -> Result<Op, Syntax> {
        use crate::vm::lanes::compare;
        let [p, a] = self.operands::<2>(i, line)?;
        macro_rules! test {
            ($t:ty) => {
                match i.modifiers.first().map(String::as_str) {
                    Some("finite") => compare(|a: $t, _| a.is_finite()),
                    Some("infinite") => compare(|a: $t, _| a.is_infinite()),
                    Some("number") => compare(|a: $t, _| !a.is_nan()),
                    Some("notanumber") => compare(|a: $t, _| a.is_nan()),
                    Some("normal") => compare(|a: $t, _| a.is_normal()),
                    Some("subnormal") => compare(|a: $t, _| a.is_subnormal()),
                    _ => return self.unknown(i, line),
                }
            };
        }
        let run = match ty {
            Type::F32 => test!(f32),
            Type::F64 => test!(f64),
            _ => return self.unknown(i, line),
        };
        let a = self.source(a, ty, line)?;
        let p = self.predicate_operand(p, line)?;
        Ok(Op::Setp { run, slots: [0, a, a, 0, 0], combine: Combine::No, c: NONE, p, q: NONE })
    }

    /// `add.cc`, `addc`, `mad.lo.cc`, … — the carry lives in a register of its own, one word a lane.
    fn carry(&mut self, i: &Instruction, ty: Type, line: u32) -> Result<Op, Syntax> {
        use crate::vm::exec::carry;
        if self.lookup("%carry").is_none() {
            let slot = self.register(Type::U32, line)?;
            self.scopes[0].insert("%carry".into(), super::Named::Register { ty: Type::U32, slot });
        }
        let (cc, _) = self.named_register(&Operand::Name("%carry".into()), line)?;
        let mods = Mods(&i.modifiers);
        let Some(run) = carry(&i.opcode, &mods, ty) else { return self.unknown(i, line) };
        let mut slots = [0, 0, 0, cc, cc];
        if i.operands.len() != if i.opcode.starts_with("mad") { 4 } else { 3 } {
            return syntax(line, format!("`{}` has a wrong number of operands", i.opcode));
        }
        slots[0] = self.dest(&i.operands[0], ty.bytes(), line)?;
        for (slot, operand) in slots[1..].iter_mut().zip(&i.operands[1..]) {
            *slot = self.source(operand, ty, line)?;
        }
        Ok(Op::Alu { run, slots })
    }
}

/// A register copied whole.
pub(super) fn copy(slots: Slots, ty: Type) -> Op {
    let run = match ty.bytes() {
        2 => unary(|a: u16| a),
        4 => unary(|a: u32| a),
        8 => unary(|a: u64| a),
        _ => unary(|a: u128| a),
    };
    Op::Alu { run, slots }
}

fn part_type(ty: Type, parts: usize, line: u32) -> Result<Type, Syntax> {
    match ty.bytes().checked_div(parts) {
        Some(1) => Ok(Type::B8),
        Some(2) => Ok(Type::B16),
        Some(4) => Ok(Type::B32),
        Some(8) => Ok(Type::B64),
        _ => syntax(line, format!("{parts} parts do not make a `.{}`", ty.name())),
    }
}

unsafe fn select<T: Lane>(frame: *mut u32, slots: &Slots, predicate: u32, mask: u32) {
    // SAFETY: the linker chose the type by the registers' width.
    unsafe {
        let (a, b) = (get::<T>(frame, slots[1]), get::<T>(frame, slots[2]));
        let mut values = b;
        for lane in 0..WARP {
            values[lane] = if predicate >> lane & 1 != 0 { a[lane] } else { b[lane] };
        }
        set(frame, slots[0], mask, &values);
    }
}
