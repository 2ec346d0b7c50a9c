//! Tree → program: names become offsets, labels become places, memory is laid out.

mod control;
mod data;
mod memory;
mod operand;
pub use operand::initial_bytes;
mod sync;
mod tensor;

use super::lanes::{Frame, WARP};
use super::program::{Func, Inst, Meta, NONE, Op, Param, Program, Special};
use super::ptx::{
    Function, Instruction, Operand, Place, Source, Space, Statement, StatementKind, Syntax, Type, Variable,
    syntax,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Addresses of module variables in device memory, by name.
pub type Globals = HashMap<String, u64>;

/// Functions are addresses too, when kernels call through pointers.
const CODE_BASE: u64 = 0x7300_0000_0000;

/// What a pointer to a function holds.
pub fn code_address(source: &Source, name: &str) -> Option<u64> {
    let index = source.functions.iter().position(|f| f.name == name)?;
    Some(CODE_BASE + 16 * index as u64)
}

/// Calls inlined into each other; more is a loop in the line table.
const MAX_INLINED: usize = 16;

/// Links one entry with everything it can call.
pub fn link(source: &Source, entry: &str, globals: &Globals) -> Result<Program, Syntax> {
    let by_name: HashMap<&str, &Function> = source
        .functions
        .iter()
        .filter(|f| f.body.is_some())
        .map(|function| (function.name.as_str(), function))
        .collect();
    let Some(root) = by_name.get(entry).filter(|f| f.entry) else {
        return syntax(1, format!("no entry `{entry}`"));
    };
    let order = reachable(root, &by_name);
    let shared = shared_layout(source, &order)?;
    let indices: HashMap<&str, u32> =
        order.iter().enumerate().map(|(i, f)| (f.name.as_str(), i as u32)).collect();
    let (mut code, mut meta, mut functions) = (Vec::new(), Vec::new(), Vec::new());
    let (params, param_bytes) = entry_params(root);
    for function in &order {
        let index = functions.len() as u32;
        let mut linker = Linker::new(source, globals, &shared, &indices, index, code.len() as u32);
        functions.push(linker.function(function, &params)?);
        code.append(&mut linker.code);
        meta.append(&mut linker.meta);
    }
    Ok(Program {
        name: entry.to_string(),
        code,
        meta,
        functions,
        shared_bytes: shared.bytes,
        params,
        param_bytes,
        block_required: root.block_required,
        block_max: root.block_max,
        files: source.files.clone(),
    })
}

/// The root and what it names, breadth first.
fn reachable<'s>(root: &'s Function, by_name: &HashMap<&str, &'s Function>) -> Vec<&'s Function> {
    let mut order = vec![root];
    let mut at = 0;
    while let Some(function) = order.get(at).copied() {
        at += 1;
        walk(function.body.as_deref().unwrap_or_default(), &mut |statement| {
            let StatementKind::Instruction(instruction) = &statement.kind else { return };
            for operand in &instruction.operands {
                if let Operand::Name(name) = operand
                    && let Some(callee) = by_name.get(name.as_str())
                    && !order.iter().any(|f| std::ptr::eq(*f, *callee))
                {
                    order.push(callee);
                }
            }
        });
        // A call through a pointer may reach any function.
        let indirect = calls_indirectly(function, by_name);
        if indirect {
            for callee in by_name.values().filter(|f| !f.entry) {
                if !order.iter().any(|f| std::ptr::eq(*f, *callee)) {
                    order.push(callee);
                }
            }
        }
    }
    // The hash map's order must not show.
    order[1..].sort_by_key(|function| function.line);
    order
}

fn calls_indirectly(function: &Function, by_name: &HashMap<&str, &Function>) -> bool {
    let mut found = false;
    walk(function.body.as_deref().unwrap_or_default(), &mut |statement| {
        if let StatementKind::Instruction(i) = &statement.kind
            && i.opcode == "call"
            && let Some(Operand::Name(target)) = i.operands.iter().find(|o| matches!(o, Operand::Name(_)))
        {
            found |= target.starts_with('%') && !by_name.contains_key(target.as_str());
        }
    });
    found
}

fn walk<'s>(statements: &'s [Statement], visit: &mut impl FnMut(&'s Statement)) {
    for statement in statements {
        visit(statement);
        if let StatementKind::Block(inner) = &statement.kind {
            walk(inner, visit);
        }
    }
}

/// Offsets in a block's shared memory, by name; `dynamic` begins behind `bytes`.
struct Shared {
    offsets: HashMap<String, u32>,
    bytes: u32,
}

fn shared_layout(source: &Source, functions: &[&Function]) -> Result<Shared, Syntax> {
    let mut variables: Vec<&Variable> = Vec::new();
    for function in functions {
        let mut named = std::collections::HashSet::new();
        walk(function.body.as_deref().unwrap_or_default(), &mut |statement| match &statement.kind {
            StatementKind::Variable(variable) if variable.space == Space::Shared => variables.push(variable),
            StatementKind::Instruction(instruction) => {
                for operand in &instruction.operands {
                    names(operand, &mut named);
                }
            }
            _ => {}
        });
        for variable in source.variables.iter().filter(|v| v.space == Space::Shared) {
            if named.contains(variable.name.as_str()) && !variables.iter().any(|v| v.name == variable.name) {
                variables.push(variable);
            }
        }
    }
    let (mut offsets, mut end) = (HashMap::new(), 0usize);
    let (dynamic, fixed): (Vec<_>, Vec<_>) = variables.into_iter().partition(|v| v.external || v.bytes == 0);
    for variable in fixed {
        let offset = end.next_multiple_of(variable.align);
        offsets.insert(variable.name.clone(), offset as u32);
        end = offset + variable.bytes;
        if end > 1 << 28 {
            return syntax(variable.line, format!("`{}` does not fit into shared memory", variable.name));
        }
    }
    let align = dynamic.iter().map(|v| v.align).max().unwrap_or(1);
    let bytes = end.next_multiple_of(align.max(1)) as u32;
    offsets.extend(dynamic.iter().map(|v| (v.name.clone(), bytes)));
    Ok(Shared { offsets, bytes })
}

fn names<'o>(operand: &'o Operand, found: &mut std::collections::HashSet<&'o str>) {
    match operand {
        Operand::Name(name) => drop(found.insert(name)),
        Operand::Address { base, .. } => names(base, found),
        Operand::Vector(all) | Operand::List(all) => all.iter().for_each(|o| names(o, found)),
        _ => {}
    }
}

fn entry_params(entry: &Function) -> (Vec<Param>, usize) {
    let mut end = 0usize;
    let params = entry
        .params
        .iter()
        .map(|p| {
            let offset = end.next_multiple_of(p.align.max(1));
            end = offset + p.bytes;
            Param { name: p.name.clone(), ty: p.ty, bytes: p.bytes, offset }
        })
        .collect();
    (params, end)
}

/// What a name means.
#[derive(Clone)]
enum Named {
    Register {
        ty: Type,
        slot: u32,
    },
    /// A lane-major area of the frame.
    Area {
        words: u32,
        stride: u32,
    },
    /// Offset in the entry's parameters.
    Parameter(u64),
    Local(u32),
    Label(usize),
    Targets(Vec<String>),
    Prototype,
}

/// Links one function.
struct Linker<'s> {
    source: &'s Source,
    globals: &'s Globals,
    shared: &'s Shared,
    functions: &'s HashMap<&'s str, u32>,
    index: u32,
    start: u32,
    scopes: Vec<HashMap<String, Named>>,
    words: u32,
    local_bytes: u32,
    /// (word offset, bytes) of each constant: value → slot.
    constants: BTreeMap<(u8, u128), u32>,
    specials: Vec<(Special, u32, Type)>,
    /// Place of each label, once reached.
    labels: Vec<Option<u32>>,
    /// Instructions whose targets are still label numbers.
    code: Vec<Inst>,
    meta: Vec<Meta>,
    location: Arc<[(u32, u32)]>,
    /// Where each inlined place was inlined into.
    inlined: HashMap<Place, Place>,
    returns: Vec<(u32, u32)>,
    entry: bool,
}

impl<'s> Linker<'s> {
    fn new(
        source: &'s Source,
        globals: &'s Globals,
        shared: &'s Shared,
        functions: &'s HashMap<&'s str, u32>,
        index: u32,
        start: u32,
    ) -> Self {
        Self {
            source,
            globals,
            shared,
            functions,
            index,
            start,
            scopes: vec![HashMap::new()],
            words: 0,
            local_bytes: 0,
            constants: BTreeMap::new(),
            specials: Vec::new(),
            labels: Vec::new(),
            code: Vec::new(),
            meta: Vec::new(),
            location: Arc::default(),
            inlined: HashMap::new(),
            returns: Vec::new(),
            entry: false,
        }
    }

    fn function(&mut self, function: &Function, entry_params: &[Param]) -> Result<Func, Syntax> {
        self.entry = function.entry;
        let mut params = Vec::new();
        if function.entry {
            for param in entry_params {
                self.define(&param.name, Named::Parameter(param.offset as u64));
            }
        } else {
            params = function.params.iter().map(|p| self.area(p)).collect();
            self.returns = function.returns.iter().map(|p| self.area(p)).collect();
        }
        self.block(function.body.as_deref().unwrap_or_default())?;
        // A body may end without `ret`.
        self.emit(function.line, "ret", NONE, Op::Return);
        self.resolve(function.line)?;
        let mut template = Frame::new(self.words as usize);
        for (&(bytes, value), &slot) in &self.constants {
            let words = template.words();
            for lane in 0..WARP {
                for byte in 0..usize::from(bytes) {
                    let at = slot as usize * 4 + lane * usize::from(bytes) + byte;
                    words[at / 4] |= u32::from((value >> (8 * byte)) as u8) << (8 * (at % 4));
                }
            }
        }
        Ok(Func {
            address: code_address(self.source, &function.name).unwrap_or_default(),
            name: function.name.clone(),
            start: self.start,
            template,
            words: self.words as usize,
            specials: std::mem::take(&mut self.specials),
            local_bytes: self.local_bytes.next_multiple_of(16),
            params,
            returns: std::mem::take(&mut self.returns),
        })
    }

    /// Declarations first, so that labels may be used before they are reached.
    fn block(&mut self, statements: &[Statement]) -> Result<(), Syntax> {
        self.scopes.push(HashMap::new());
        for statement in statements {
            self.declare(statement)?;
        }
        for statement in statements {
            match &statement.kind {
                StatementKind::Label(name) => {
                    let Some(Named::Label(label)) = self.lookup(name).cloned() else { continue };
                    self.labels[label] = Some(self.code.len() as u32);
                    self.emit(statement.line, "", NONE, Op::Label);
                }
                StatementKind::Location { at, inlined_at } => self.locate(*at, *inlined_at),
                StatementKind::Block(inner) => self.block(inner)?,
                StatementKind::Instruction(instruction) => self.instruction(instruction, statement.line)?,
                _ => {}
            }
        }
        self.scopes.pop();
        Ok(())
    }

    fn declare(&mut self, statement: &Statement) -> Result<(), Syntax> {
        match &statement.kind {
            StatementKind::Label(name) => {
                self.labels.push(None);
                self.define(name, Named::Label(self.labels.len() - 1));
            }
            StatementKind::Registers { ty, name, count } => match count {
                Some(count) => {
                    for i in 0..*count {
                        let slot = self.register(*ty, statement.line)?;
                        self.define(&format!("{name}{i}"), Named::Register { ty: *ty, slot });
                    }
                }
                None => {
                    let slot = self.register(*ty, statement.line)?;
                    self.define(name, Named::Register { ty: *ty, slot });
                }
            },
            StatementKind::Variable(variable) => match variable.space {
                Space::Local => {
                    let offset = (self.local_bytes as usize).next_multiple_of(variable.align);
                    if offset + variable.bytes > 1 << 24 {
                        return syntax(
                            statement.line,
                            format!("`{}` does not fit into local memory", variable.name),
                        );
                    }
                    self.local_bytes = (offset + variable.bytes) as u32;
                    self.define(&variable.name, Named::Local(offset as u32));
                }
                Space::Param => {
                    if variable.bytes > 1 << 16 {
                        return syntax(
                            statement.line,
                            format!("`{}` is too large for a parameter", variable.name),
                        );
                    }
                    let (words, stride) = self.area(variable);
                    self.define(&variable.name, Named::Area { words, stride });
                }
                Space::Shared => {}
                other => {
                    return syntax(
                        statement.line,
                        format!("a `.{}` variable inside a function", other.name()),
                    );
                }
            },
            StatementKind::BranchTargets { name, labels } => {
                self.define(name, Named::Targets(labels.clone()))
            }
            StatementKind::CallPrototype { name } => self.define(name, Named::Prototype),
            _ => {}
        }
        Ok(())
    }

    fn define(&mut self, name: &str, named: Named) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_string(), named);
        }
    }

    fn lookup(&self, name: &str) -> Option<&Named> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name))
    }

    /// Room for a register in the frame.
    fn register(&mut self, ty: Type, line: u32) -> Result<u32, Syntax> {
        let words = match ty.bytes() {
            0 => 1,
            1 | 2 => 16,
            bytes => 8 * bytes as u32,
        };
        self.room(words, if words == 1 { 1 } else { 16 }, line)
    }

    fn room(&mut self, words: u32, align: u32, line: u32) -> Result<u32, Syntax> {
        let slot = self.words.next_multiple_of(align);
        self.words = slot + words;
        if self.words > 1 << 26 { syntax(line, "too many registers") } else { Ok(slot) }
    }

    fn area(&mut self, variable: &Variable) -> (u32, u32) {
        let stride = (variable.bytes as u32).next_multiple_of(16);
        let words = self.words.next_multiple_of(16);
        self.words = words + stride * WARP as u32 / 4;
        if !self.entry {
            self.define(&variable.name, Named::Area { words, stride });
        }
        (words, stride)
    }

    /// What follows comes from `at`: followed outwards through the calls it was inlined into.
    fn locate(&mut self, at: Place, inlined_at: Option<Place>) {
        match inlined_at {
            Some(outer) => drop(self.inlined.insert(at, outer)),
            None => drop(self.inlined.remove(&at)),
        }
        let (mut chain, mut next) = (Vec::new(), Some(at));
        while let Some(place @ [file, line, _]) = next.filter(|_| chain.len() < MAX_INLINED) {
            chain.push((file, line));
            next = self.inlined.get(&place).copied();
        }
        self.location = chain.into();
    }

    fn emit(&mut self, line: u32, text: &str, guard: u32, op: Op) {
        self.code.push(Inst { op, guard });
        self.meta.push(Meta {
            line,
            source: self.location.clone(),
            text: text.to_string(),
            function: self.index,
            flops: 0,
        });
    }

    fn instruction(&mut self, instruction: &Instruction, line: u32) -> Result<(), Syntax> {
        let guard = match &instruction.guard {
            Some((name, negated)) => self.predicate(name, *negated, line)?,
            None => NONE,
        };
        let mut text = instruction.opcode.clone();
        for modifier in &instruction.modifiers {
            text.push('.');
            text.push_str(modifier);
        }
        let (op, flops) = self.translate(instruction, line, &text)?;
        self.emit(line, &text, guard, op);
        if let Some(meta) = self.meta.last_mut() {
            meta.flops = flops;
        }
        // Diverged lanes may meet behind a branch or call, and they meet at labels only.
        if matches!(
            self.code.last(),
            Some(Inst { op: Op::Branch { .. } | Op::BranchIndexed { .. } | Op::Call(_), .. })
        ) {
            self.emit(line, "", NONE, Op::Label);
        }
        Ok(())
    }

    fn translate(&mut self, i: &Instruction, line: u32, text: &str) -> Result<(Op, u32), Syntax> {
        let plain = |op| Ok((op, 0));
        match i.opcode.as_str() {
            "bra" | "brx" | "call" | "ret" | "exit" | "trap" | "brkpt" | "nanosleep" | "pmevent" => {
                plain(self.control(i, line)?)
            }
            "ld" | "ldu" | "st" | "prefetch" | "prefetchu" | "applypriority" | "discard" | "createpolicy"
            | "cp" | "mbarrier" | "ldmatrix" | "stmatrix" | "movmatrix" | "atom" | "red" | "isspacep"
            | "cvta" => plain(self.memory(i, line)?),
            "bar" | "barrier" | "shfl" | "vote" | "match" | "redux" | "activemask" | "elect" | "membar"
            | "fence" | "griddepcontrol" => plain(self.synchronisation(i, line)?),
            "mma" => self.mma(i, line),
            "wmma" => self.wmma(i, line),
            _ => self.data(i, line, text),
        }
    }

    fn unknown<T>(&self, i: &Instruction, line: u32) -> Result<T, Syntax> {
        let mods: String = i.modifiers.iter().map(|m| format!(".{m}")).collect();
        syntax(line, format!("`{}{mods}` is not an instruction this machine knows", i.opcode))
    }
}
