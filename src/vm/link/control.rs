//! Branches, calls, and where diverged lanes meet again.

use super::{Linker, Named};
use crate::vm::isa::Mods;
use crate::vm::program::{Builtin, Call, Callee, NONE, Op};
use crate::vm::ptx::{Instruction, Operand, Syntax, Type, syntax};

impl Linker<'_> {
    pub(super) fn control(&mut self, i: &Instruction, line: u32) -> Result<Op, Syntax> {
        let mods = Mods(&i.modifiers);
        match (i.opcode.as_str(), i.operands.as_slice()) {
            ("bra", [Operand::Name(label)]) => {
                Ok(Op::Branch { target: self.label(label, line)?, join: NONE })
            }
            ("brx", [index, Operand::Name(targets)]) if mods.has("idx") => {
                let Some(Named::Targets(labels)) = self.lookup(targets).cloned() else {
                    return syntax(line, format!("`{targets}` names no branch targets"));
                };
                let targets = labels.iter().map(|label| self.label(label, line)).collect::<Result<_, _>>()?;
                Ok(Op::BranchIndexed { index: self.source(index, Type::U32, line)?, targets, join: NONE })
            }
            ("call", operands) => self.call(operands, line),
            ("ret", []) => Ok(Op::Return),
            ("exit", []) => Ok(Op::Exit),
            ("trap", []) => Ok(Op::Trap),
            ("nanosleep", [_]) => Ok(Op::Pause),
            ("brkpt" | "pmevent", _) => Ok(Op::Nop),
            _ => self.unknown(i, line),
        }
    }

    fn label(&self, name: &str, line: u32) -> Result<u32, Syntax> {
        match self.lookup(name) {
            Some(Named::Label(label)) => Ok(*label as u32),
            _ => syntax(line, format!("no label `{name}` in this function")),
        }
    }

    /// `call (ret), name, (params);` or, through a register, with a prototype behind.
    fn call(&mut self, operands: &[Operand], line: u32) -> Result<Op, Syntax> {
        let at = operands.iter().position(|o| matches!(o, Operand::Name(_)));
        let Some(at) = at else { return syntax(line, "`call` names no function") };
        let areas = |linker: &Self, operand: Option<&Operand>| -> Result<Vec<(u32, u32)>, Syntax> {
            let Some(Operand::List(all)) = operand else { return Ok(Vec::new()) };
            all.iter()
                .map(|o| match o {
                    Operand::Name(name) => match linker.lookup(name) {
                        Some(Named::Area { words, stride }) => Ok((*words, *stride)),
                        _ => syntax(line, format!("`{name}` is no parameter")),
                    },
                    _ => syntax(line, "expected the name of a parameter"),
                })
                .collect()
        };
        let returns = areas(self, operands[..at].first())?;
        let params = areas(self, operands.get(at + 1))?;
        let Operand::Name(name) = &operands[at] else { return syntax(line, "`call` names no function") };
        let builtin = match name.as_str() {
            "vprintf" => Some(Builtin::Vprintf),
            "__assertfail" => Some(Builtin::AssertFail),
            "malloc" => Some(Builtin::Malloc),
            "free" => Some(Builtin::Free),
            _ => None,
        };
        let callee = match (self.functions.get(name.as_str()), builtin) {
            (Some(index), _) => Callee::Function(*index),
            (None, Some(builtin)) => Callee::Builtin(builtin),
            (None, None) => match self.named_register(&operands[at], line) {
                Ok((slot, ty)) if ty.bytes() == 8 => Callee::Indirect(slot),
                _ => {
                    let declared = self.source.functions.iter().any(|f| f.name == *name);
                    let why =
                        if declared { "is declared but not defined in this file" } else { "is not declared" };
                    return syntax(line, format!("function `{name}` {why}"));
                }
            },
        };
        Ok(Op::Call(Box::new(Call { callee, params, returns })))
    }

    /// Labels → places, and for each branch the place where its lanes meet again.
    pub(super) fn resolve(&mut self, line: u32) -> Result<(), Syntax> {
        let place = |label: u32| match self.labels.get(label as usize) {
            Some(Some(at)) => Ok(*at),
            _ => syntax(line, "a label without a place"),
        };
        for inst in &mut self.code {
            match &mut inst.op {
                Op::Branch { target, .. } => *target = place(*target)?,
                Op::BranchIndexed { targets, .. } => {
                    for target in targets.iter_mut() {
                        *target = place(*target)?;
                    }
                }
                _ => {}
            }
        }
        let joins = self.joins();
        let start = self.start;
        for (at, inst) in self.code.iter_mut().enumerate() {
            match &mut inst.op {
                Op::Branch { target, join } => {
                    *target += start;
                    *join = joins[at].map_or(NONE, |join| join + start);
                }
                Op::BranchIndexed { targets, join, .. } => {
                    targets.iter_mut().for_each(|target| *target += start);
                    *join = joins[at].map_or(NONE, |join| join + start);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether lanes at this label only leave the kernel: `if (i >= n) return;` waits for nobody.
    fn leaves(&self, label: usize) -> bool {
        let next = self.code[label..].iter().find(|inst| !matches!(inst.op, Op::Label));
        self.entry && next.is_some_and(|inst| inst.guard == NONE && matches!(inst.op, Op::Return | Op::Exit))
    }

    /// For each instruction that may diverge, its immediate post-dominator: computed on basic blocks, backwards
    /// (Cooper, Harvey, Kennedy, "A simple, fast dominance algorithm").
    fn joins(&self) -> Vec<Option<u32>> {
        let len = self.code.len();
        let mut leader = vec![false; len + 1];
        leader[0] = true;
        for (at, inst) in self.code.iter().enumerate() {
            match &inst.op {
                Op::Branch { target, .. } => (leader[*target as usize], leader[at + 1]) = (true, true),
                Op::BranchIndexed { targets, .. } => {
                    targets.iter().for_each(|target| leader[*target as usize] = true);
                    leader[at + 1] = true;
                }
                Op::Return | Op::Exit | Op::Trap => leader[at + 1] = true,
                _ => {}
            }
        }
        let starts: Vec<usize> = (0..len).filter(|&at| leader[at]).collect();
        let mut block_of = vec![0; len];
        for (block, &start) in starts.iter().enumerate() {
            let end = starts.get(block + 1).copied().unwrap_or(len);
            block_of[start..end].fill(block);
        }
        let exit = starts.len();
        let successors: Vec<Vec<usize>> = (0..exit)
            .map(|block| {
                let last = starts.get(block + 1).copied().unwrap_or(len) - 1;
                let next = if last + 1 < len { block + 1 } else { exit };
                let guarded = self.code[last].guard != NONE;
                let mut found = match &self.code[last].op {
                    Op::Branch { target, .. } => vec![block_of[*target as usize]],
                    Op::BranchIndexed { targets, .. } => {
                        targets.iter().map(|t| block_of[*t as usize]).collect()
                    }
                    Op::Return | Op::Exit | Op::Trap => vec![exit],
                    _ => return vec![next],
                };
                if guarded {
                    found.push(next);
                }
                found
            })
            .collect();
        let dominators = post_dominators(&successors, exit);
        let mut joins = vec![None; len];
        for (block, dominator) in dominators.iter().enumerate().take(exit) {
            let last = starts.get(block + 1).copied().unwrap_or(len) - 1;
            if matches!(self.code[last].op, Op::Branch { .. } | Op::BranchIndexed { .. }) {
                let join = dominator.filter(|&join| join != exit).map(|join| starts[join]);
                joins[last] = join.filter(|&join| !self.leaves(join)).map(|join| join as u32);
            }
        }
        joins
    }
}

/// Immediate post-dominator of each block; the virtual block `exit` ends every path.
fn post_dominators(successors: &[Vec<usize>], exit: usize) -> Vec<Option<usize>> {
    let mut predecessors = vec![Vec::new(); exit + 1];
    for (block, all) in successors.iter().enumerate() {
        all.iter().for_each(|&next| predecessors[next].push(block));
    }
    // Post-order of the reversed graph, without recursion.
    let (mut order, mut number) = (Vec::new(), vec![usize::MAX; exit + 1]);
    let (mut stack, mut seen) = (vec![(exit, 0)], vec![false; exit + 1]);
    seen[exit] = true;
    while let Some((block, next)) = stack.pop() {
        if let Some(&before) = predecessors[block].get(next) {
            stack.push((block, next + 1));
            if !std::mem::replace(&mut seen[before], true) {
                stack.push((before, 0));
            }
        } else {
            number[block] = order.len();
            order.push(block);
        }
    }
    let mut dominator: Vec<Option<usize>> = vec![None; exit + 1];
    dominator[exit] = Some(exit);
    let mut changed = true;
    while changed {
        changed = false;
        for &block in order.iter().rev().skip(1) {
            let mut new = None;
            for &next in successors[block].iter().filter(|&&next| dominator[next].is_some()) {
                new = Some(match new {
                    None => next,
                    Some(other) => {
                        let (mut a, mut b): (usize, usize) = (next, other);
                        while a != b {
                            while number[a] < number[b] {
                                a = dominator[a].unwrap_or(exit);
                            }
                            while number[b] < number[a] {
                                b = dominator[b].unwrap_or(exit);
                            }
                        }
                        a
                    }
                });
            }
            if new != dominator[block] {
                dominator[block] = new;
                changed = true;
            }
        }
    }
    dominator
}
