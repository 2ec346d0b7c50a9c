//! Loads, stores, atomics, address conversions, async copies, mbarriers, tiles.

use super::Linker;
use super::data::copy;
use super::operand::window;
use crate::vm::exec::{
    Access, Address, Atomic, AtomicOp, Copy, LOCAL_BASE, Matrix, Mbarrier, Move, Order, SHARED_BASE,
};
use crate::vm::isa::Mods;
use crate::vm::lanes::{binary, compare};
use crate::vm::program::{NONE, Op};
use crate::vm::ptx::{Instruction, Operand, Space, Syntax, Type, syntax};

impl Linker<'_> {
    pub(super) fn memory(&mut self, i: &Instruction, line: u32) -> Result<Op, Syntax> {
        let mods = Mods(&i.modifiers);
        match i.opcode.as_str() {
            "ld" | "ldu" => Ok(Op::Load(Box::new(self.access(i, line, true)?))),
            "st" => Ok(Op::Store(Box::new(self.access(i, line, false)?))),
            "atom" | "red" => self.atomic(i, line),
            "cvta" => self.cvta(i, line),
            "isspacep" => self.isspacep(i, line),
            "cp" => self.copy_async(i, line),
            "mbarrier" => self.mbarrier(i, line),
            "ldmatrix" | "stmatrix" | "movmatrix" => self.matrix(i, line),
            // Hints: nothing to do here.
            "prefetch" | "prefetchu" | "applypriority" | "discard"
                if mods.0.iter().all(|m| m != "tensor") =>
            {
                Ok(Op::Nop)
            }
            "createpolicy" => {
                let Some(d) = i.operands.first() else { return self.unknown(i, line) };
                let slots = [self.dest(d, 8, line)?, self.constant(8, 0, line)?, 0, 0, 0];
                Ok(copy(slots, Type::B64))
            }
            _ => self.unknown(i, line),
        }
    }

    fn space(&self, mods: &Mods) -> Space {
        mods.0.iter().find_map(|m| Space::parse(m)).unwrap_or(Space::Generic)
    }

    fn order(&self, mods: &Mods, default: Order) -> Order {
        match mods.one_of(&["volatile", "relaxed", "acquire", "release", "acq_rel", "mmio"]) {
            Some("volatile" | "relaxed" | "mmio") => Order::Strong,
            Some("acquire") => Order::Acquire,
            Some("release") => Order::Release,
            Some(_) => Order::AcquireRelease,
            None => default,
        }
    }

    fn access(&mut self, i: &Instruction, line: u32, load: bool) -> Result<Access, Syntax> {
        let mods = Mods(&i.modifiers);
        let Some(ty) = mods.last_type().filter(|ty| *ty != Type::Pred) else { return self.unknown(i, line) };
        let count = mods.one_of(&["v2", "v4", "v8"]).map_or(1, |v| usize::from(v.as_bytes()[1] - b'0'));
        // A trailing cache-policy operand is a hint.
        let (value, address) = match (load, i.operands.as_slice()) {
            (true, [value, address] | [value, address, _])
            | (false, [address, value] | [address, value, _]) => (value, address),
            _ => return self.unknown(i, line),
        };
        let values: Vec<&Operand> = match value {
            Operand::Vector(all) => all.iter().collect(),
            one => vec![one],
        };
        if values.len() != count {
            return syntax(line, format!("`{}` moves {count} elements, not {}", i.opcode, values.len()));
        }
        let mut registers = Vec::new();
        for value in values {
            registers.push(match (value, self.named_register(value, line)) {
                (Operand::Name(name), _) if load && name == "_" => (NONE, 0),
                (_, Ok((slot, declared))) if declared.bytes() >= ty.bytes().max(2) => {
                    (slot, declared.bytes() as u8)
                }
                (_, Ok(_)) => return syntax(line, "a register is narrower than what is moved"),
                (_, Err(error)) if load => return Err(error),
                _ => (self.source(value, ty, line)?, ty.bytes().max(2) as u8),
            });
        }
        Ok(Access {
            at: self.address(address, self.space(&mods), line)?,
            bytes: ty.bytes() as u8,
            signed: ty.signed(),
            registers,
            order: self.order(&mods, if mods.has("nc") { Order::NonCoherent } else { Order::Plain }),
        })
    }

    fn atomic(&mut self, i: &Instruction, line: u32) -> Result<Op, Syntax> {
        let mods = Mods(&i.modifiers);
        let op = match mods.one_of(&["and", "or", "xor", "exch", "cas", "add", "inc", "dec", "min", "max"]) {
            Some("and") => AtomicOp::And,
            Some("or") => AtomicOp::Or,
            Some("xor") => AtomicOp::Xor,
            Some("exch") => AtomicOp::Exch,
            Some("cas") => AtomicOp::Cas,
            Some("add") => AtomicOp::Add,
            Some("inc") => AtomicOp::Inc,
            Some("dec") => AtomicOp::Dec,
            Some("min") => AtomicOp::Min,
            Some("max") => AtomicOp::Max,
            _ => return self.unknown(i, line),
        };
        let Some(ty) = mods.last_type() else { return self.unknown(i, line) };
        if mods.one_of(&["v2", "v4", "v8"]).is_some()
            || mods.has("async")
            || !matches!(ty.bytes(), 2 | 4 | 8 | 16)
        {
            return self.unknown(i, line);
        }
        let (d, rest) = match (i.opcode.as_str(), i.operands.split_first()) {
            ("atom", Some((d, rest))) => (self.dest(d, ty.bytes(), line)?, rest),
            _ => (NONE, i.operands.as_slice()),
        };
        let need = if op == AtomicOp::Cas { 3 } else { 2 };
        if rest.len() < need || rest.len() > need + 1 {
            return syntax(line, format!("`{}` has a wrong number of operands", i.opcode));
        }
        let at = self.address(&rest[0], self.space(&mods), line)?;
        let b = self.source(&rest[1], ty, line)?;
        let (c, order) = match op {
            AtomicOp::Cas => (self.source(&rest[2], ty, line)?, Order::Compare),
            _ => (NONE, Order::Strong),
        };
        Ok(Op::Atomic(Box::new(Atomic { at, op, ty, d, b, c, order: self.order(&mods, order) })))
    }

    fn cvta(&mut self, i: &Instruction, line: u32) -> Result<Op, Syntax> {
        let mods = Mods(&i.modifiers);
        let (space, Some(ty)) = (self.space(&mods), mods.last_type()) else { return self.unknown(i, line) };
        let [d, a] = i.operands.as_slice() else { return self.unknown(i, line) };
        let d = self.dest(d, ty.bytes(), line)?;
        if let Some(offset) = self.local_of(a) {
            let generic = !mods.has("to");
            return Ok(Op::Move(Box::new(Move::Local { d, bytes: ty.bytes() as u8, offset, generic })));
        }
        let base = self.constant(ty.bytes(), window(space).into(), line)?;
        let slots = [d, self.source(a, ty, line)?, base, 0, 0];
        let run = match (mods.has("to"), ty.bytes()) {
            (false, 8) => binary(|a: u64, base: u64| a.wrapping_add(base)),
            (true, 8) => binary(|a: u64, base: u64| a.wrapping_sub(base)),
            _ => return syntax(line, "generic addresses have 64 bits here"),
        };
        Ok(Op::Alu { run, slots })
    }

    fn isspacep(&mut self, i: &Instruction, line: u32) -> Result<Op, Syntax> {
        let [p, a] = i.operands.as_slice() else { return self.unknown(i, line) };
        let run = match self.space(&Mods(&i.modifiers)) {
            Space::Shared => compare(|a: u64, _| a >> 32 == SHARED_BASE >> 32),
            Space::Local => compare(|a: u64, _| a >> 32 == LOCAL_BASE >> 32),
            Space::Global => compare(|a: u64, _| a >> 40 != SHARED_BASE >> 40),
            _ => return self.unknown(i, line),
        };
        let (p, a) = (self.predicate_operand(p, line)?, self.source(a, Type::U64, line)?);
        let combine = crate::vm::isa::Combine::No;
        Ok(Op::Setp { run, slots: [0, a, a, 0, 0], combine, c: NONE, p, q: NONE })
    }

    fn copy_async(&mut self, i: &Instruction, line: u32) -> Result<Op, Syntax> {
        let mods = Mods(&i.modifiers);
        if mods.has("bulk") || mods.has("reduce") || !mods.has("async") {
            return self.unknown(i, line);
        }
        let copy = if mods.has("commit_group") {
            Copy::Commit
        } else if mods.has("wait_all") {
            Copy::WaitAll
        } else if mods.has("wait_group") {
            let [Operand::Integer(groups)] = i.operands.as_slice() else { return self.unknown(i, line) };
            Copy::Wait { groups: *groups as u32 }
        } else if mods.has("mbarrier") {
            let [at] = i.operands.as_slice() else { return self.unknown(i, line) };
            Copy::Arrive { at: self.address(at, self.space(&mods), line)?, noinc: mods.has("noinc") }
        } else {
            let (to, from, bytes, rest) = match i.operands.as_slice() {
                [to, from, Operand::Integer(bytes), rest @ ..] => (to, from, *bytes, rest),
                _ => return self.unknown(i, line),
            };
            if !matches!(bytes, 4 | 8 | 16) || (mods.has("cg") && bytes != 16) {
                return syntax(line, format!("`cp.async` cannot copy {bytes} bytes"));
            }
            let (mut source_bytes, mut ignore) = (NONE, NONE);
            match rest.first() {
                _ if mods.has("cache_hint") || rest.is_empty() => {}
                Some(Operand::Not(_)) => ignore = self.predicate_operand(&rest[0], line)?,
                Some(operand) => match self.named_register(operand, line) {
                    Ok((_, Type::Pred)) => ignore = self.predicate_operand(operand, line)?,
                    _ => source_bytes = self.source(operand, Type::U32, line)?,
                },
                None => {}
            }
            Copy::Issue {
                to: self.address(to, Space::Shared, line)?,
                from: self.address(from, Space::Global, line)?,
                bytes: bytes as u8,
                source_bytes,
                ignore,
            }
        };
        Ok(Op::Copy(Box::new(copy)))
    }

    fn mbarrier(&mut self, i: &Instruction, line: u32) -> Result<Op, Syntax> {
        let mods = Mods(&i.modifiers);
        let (space, operands) = (self.space(&mods), i.operands.as_slice());
        let at = |linker: &mut Self, operand: &Operand| linker.address(operand, space, line);
        let form = mods.0.first().map(String::as_str);
        let op = match (form, operands) {
            (Some("init"), [a, count]) => {
                Mbarrier::Init { at: at(self, a)?, count: self.source(count, Type::U32, line)? }
            }
            (Some("inval"), [a]) => Mbarrier::Invalidate { at: at(self, a)? },
            (Some("arrive" | "arrive_drop"), [state, a, rest @ ..]) => {
                let given = match rest {
                    [] => NONE,
                    [count] => self.source(count, Type::U32, line)?,
                    _ => return self.unknown(i, line),
                };
                let expects = mods.has("expect_tx");
                let unused = *state == Operand::Name("_".into());
                Mbarrier::Arrive {
                    at: at(self, a)?,
                    state: if unused { NONE } else { self.dest(state, 8, line)? },
                    count: if expects { NONE } else { given },
                    transactions: if expects { given } else { NONE },
                    drop: form == Some("arrive_drop"),
                }
            }
            (Some("expect_tx" | "complete_tx"), [a, transactions]) => Mbarrier::ExpectTransactions {
                at: at(self, a)?,
                transactions: self.source(transactions, Type::U32, line)?,
                complete: form == Some("complete_tx"),
            },
            (Some("test_wait" | "try_wait"), [p, a, state, ..]) => {
                let parity = mods.has("parity");
                let ty = if parity { Type::U32 } else { Type::B64 };
                let value = self.source(state, ty, line)?;
                Mbarrier::Test {
                    p: self.predicate_operand(p, line)?,
                    at: at(self, a)?,
                    state: if parity { NONE } else { value },
                    parity: if parity { value } else { NONE },
                }
            }
            (Some("pending_count"), [d, state]) => Mbarrier::PendingCount {
                d: self.dest(d, 4, line)?,
                state: self.source(state, Type::B64, line)?,
            },
            _ => return self.unknown(i, line),
        };
        Ok(Op::Mbarrier(Box::new(op)))
    }

    fn matrix(&mut self, i: &Instruction, line: u32) -> Result<Op, Syntax> {
        let mods = Mods(&i.modifiers);
        if !mods.has("b16") || !mods.has("m8n8") {
            return self.unknown(i, line);
        }
        let transposed = mods.has("trans");
        let matrix = match (i.opcode.as_str(), i.operands.as_slice()) {
            ("movmatrix", [d, a]) => {
                Matrix::Transpose { d: self.dest(d, 4, line)?, a: self.source(a, Type::B32, line)? }
            }
            ("ldmatrix", [value, at]) | ("stmatrix", [at, value]) => {
                let load = i.opcode == "ldmatrix";
                let values = match value {
                    Operand::Vector(all) => all.as_slice(),
                    one => std::slice::from_ref(one),
                };
                let registers = values
                    .iter()
                    .map(|v| if load { self.dest(v, 4, line) } else { self.source(v, Type::B32, line) })
                    .collect::<Result<Vec<_>, _>>()?;
                if mods.one_of(&["x1", "x2", "x4"]).map(|x| usize::from(x.as_bytes()[1] - b'0'))
                    != Some(registers.len())
                {
                    return self.unknown(i, line);
                }
                let at: Address = self.address(at, self.space(&mods), line)?;
                if load {
                    Matrix::Load { at, registers, transposed }
                } else {
                    Matrix::Store { at, registers, transposed }
                }
            }
            _ => return self.unknown(i, line),
        };
        Ok(Op::Matrix(Box::new(matrix)))
    }
}
