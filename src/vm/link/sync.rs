//! Barriers, fences, and what the lanes of a warp do together.

use super::Linker;
use crate::vm::exec::{AtomicOp, Barrier, BarrierKind, Shuffle, ShuffleMode, Vote, WarpOp};
use crate::vm::isa::Mods;
use crate::vm::program::{NONE, Op};
use crate::vm::ptx::{Instruction, Operand, Syntax, Type, syntax};

impl Linker<'_> {
    pub(super) fn synchronisation(&mut self, i: &Instruction, line: u32) -> Result<Op, Syntax> {
        let mods = Mods(&i.modifiers);
        let warp = |op| Ok(Op::Warp(Box::new(op)));
        match (i.opcode.as_str(), i.operands.as_slice()) {
            ("membar" | "fence", []) => Ok(Op::Fence),
            ("griddepcontrol", []) => Ok(Op::Nop),
            ("bar", [members]) if mods.has("warp") => {
                warp(WarpOp::Sync { members: self.word(members, line)? })
            }
            ("bar" | "barrier", _) if !mods.has("cluster") => self.barrier(i, line),
            ("shfl", _) => self.shuffle(i, line),
            ("vote", [d, p, members]) => {
                let mode = match mods.one_of(&["all", "any", "uni", "ballot"]) {
                    Some("all") => Vote::All,
                    Some("any") => Vote::Any,
                    Some("uni") => Vote::Uni,
                    Some(_) => Vote::Ballot,
                    None => return self.unknown(i, line),
                };
                let d = if mode == Vote::Ballot {
                    self.dest(d, 4, line)?
                } else {
                    self.predicate_operand(d, line)?
                };
                warp(WarpOp::Vote {
                    mode,
                    d,
                    p: self.predicate_operand(p, line)?,
                    members: self.word(members, line)?,
                })
            }
            ("match", [d, a, members]) => {
                let Some(ty) = mods.last_type() else { return self.unknown(i, line) };
                let (d, p) = self.pair(d, line)?;
                let (a, members) = (self.source(a, ty, line)?, self.word(members, line)?);
                warp(WarpOp::Match { all: mods.has("all"), d, p, a, bytes: ty.bytes() as u8, members })
            }
            ("redux", [d, a, members]) => {
                let op = match mods.one_of(&["add", "min", "max", "and", "or", "xor"]) {
                    Some("add") => AtomicOp::Add,
                    Some("min") => AtomicOp::Min,
                    Some("max") => AtomicOp::Max,
                    Some("and") => AtomicOp::And,
                    Some("or") => AtomicOp::Or,
                    Some(_) => AtomicOp::Xor,
                    None => return self.unknown(i, line),
                };
                let Some(ty) = mods.last_type().filter(|ty| ty.bytes() == 4 && !ty.float()) else {
                    return self.unknown(i, line);
                };
                let (d, a) = (self.dest(d, 4, line)?, self.source(a, ty, line)?);
                warp(WarpOp::Redux { op, ty, d, a, members: self.word(members, line)? })
            }
            ("activemask", [d]) => warp(WarpOp::Active { d: self.dest(d, 4, line)? }),
            ("elect", [d, members]) => {
                let (d, p) = self.pair(d, line)?;
                warp(WarpOp::Elect { d, p, members: self.word(members, line)? })
            }
            _ => self.unknown(i, line),
        }
    }

    fn word(&mut self, operand: &Operand, line: u32) -> Result<u32, Syntax> {
        self.source(operand, Type::B32, line)
    }

    /// `d|p` or `d`; `_` for d gets a register nobody reads.
    fn pair(&mut self, operand: &Operand, line: u32) -> Result<(u32, u32), Syntax> {
        match operand {
            Operand::Pair(d, p) => Ok((self.dest(d, 4, line)?, self.predicate_operand(p, line)?)),
            d => Ok((self.dest(d, 4, line)?, NONE)),
        }
    }

    fn barrier(&mut self, i: &Instruction, line: u32) -> Result<Op, Syntax> {
        let mods = Mods(&i.modifiers);
        let aligned = i.opcode == "bar" || mods.has("aligned");
        let mut operands = i.operands.as_slice();
        let (mut d, mut p, mut kind) = (NONE, NONE, BarrierKind::Sync);
        if mods.has("arrive") {
            kind = BarrierKind::Arrive;
        } else if mods.has("red") {
            kind = match mods.one_of(&["popc", "and", "or"]) {
                Some("popc") => BarrierKind::Popc,
                Some("and") => BarrierKind::And,
                Some(_) => BarrierKind::Or,
                None => return self.unknown(i, line),
            };
            let ([dest, rest @ .., last], true) = (operands, operands.len() >= 3) else {
                return self.unknown(i, line);
            };
            d = if kind == BarrierKind::Popc {
                self.dest(dest, 4, line)?
            } else {
                self.predicate_operand(dest, line)?
            };
            p = self.predicate_operand(last, line)?;
            operands = rest;
        } else if !mods.has("sync") {
            return self.unknown(i, line);
        }
        let (id, count) = match operands {
            [id] => (self.word(id, line)?, NONE),
            [id, count] => (self.word(id, line)?, self.word(count, line)?),
            _ => return syntax(line, "a barrier takes its number and perhaps a thread count"),
        };
        Ok(Op::Barrier(Box::new(Barrier { kind, id, count, d, p, aligned })))
    }

    fn shuffle(&mut self, i: &Instruction, line: u32) -> Result<Op, Syntax> {
        let mods = Mods(&i.modifiers);
        let mode = match mods.one_of(&["up", "down", "bfly", "idx"]) {
            Some("up") => ShuffleMode::Up,
            Some("down") => ShuffleMode::Down,
            Some("bfly") => ShuffleMode::Butterfly,
            Some(_) => ShuffleMode::Index,
            None => return self.unknown(i, line),
        };
        let [d, a, b, c, members] = i.operands.as_slice() else { return self.unknown(i, line) };
        let (d, p) = self.pair(d, line)?;
        let (a, b, c) = (self.word(a, line)?, self.word(b, line)?, self.word(c, line)?);
        Ok(Op::Shuffle(Box::new(Shuffle { mode, d, p, a, b, c, members: self.word(members, line)? })))
    }
}
