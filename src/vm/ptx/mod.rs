//! PTX text as a tree: what the assembler would read, nothing interpreted yet.
//!
//! Follows the PTX ISA 9.0; names are those of its chapters. `lex` makes tokens, `parse` the module, `body` functions.

mod body;
mod lex;
mod parse;
#[cfg(test)]
mod tests;
mod types;

pub use parse::parse;
pub use types::{Space, Type};

use std::collections::BTreeMap;

/// Text that is not PTX, or not PTX this machine knows.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Syntax {
    pub line: u32,
    pub what: String,
}

pub(crate) fn syntax<T>(line: u32, what: impl Into<String>) -> Result<T, Syntax> {
    Err(Syntax { line, what: what.into() })
}

/// A `.ptx` file.
#[derive(Debug, Default)]
pub struct Source {
    /// As in `.target sm_80`: 80.
    pub target: u32,
    /// `.file` numbers of `-lineinfo` builds.
    pub files: BTreeMap<u32, String>,
    pub variables: Vec<Variable>,
    pub functions: Vec<Function>,
}

/// `.global .align 4 .b8 table[24] = {…};` and everything else declared with a name, parameters included.
#[derive(Clone, Debug)]
pub struct Variable {
    pub line: u32,
    pub name: String,
    pub space: Space,
    pub ty: Type,
    pub align: usize,
    /// Bytes; 0 for `extern .shared x[]`.
    pub bytes: usize,
    /// Declared `.extern`.
    pub external: bool,
    pub init: Vec<Init>,
}

/// One initialiser element.
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    Bits(u64),
    /// Address of a variable or function, plus an offset; `generic(x)` asks for the generic address.
    Address {
        name: String,
        generic: bool,
        offset: i64,
    },
}

/// `.entry` or `.func`, defined or only declared.
#[derive(Debug)]
pub struct Function {
    pub line: u32,
    pub name: String,
    pub entry: bool,
    pub returns: Vec<Variable>,
    pub params: Vec<Variable>,
    /// `.reqntid`.
    pub block_required: Option<[u32; 3]>,
    /// `.maxntid`, threads in all.
    pub block_max: Option<u32>,
    /// None: declared, defined elsewhere.
    pub body: Option<Vec<Statement>>,
}

/// File number, line, column of the CUDA source.
pub type Place = [u32; 3];

#[derive(Clone, Debug)]
pub struct Statement {
    pub line: u32,
    pub kind: StatementKind,
}

#[derive(Clone, Debug)]
pub enum StatementKind {
    Label(String),
    /// `.reg .b32 %r<9>` names %r0 to %r8: (ty, name, Some(9)).
    Registers {
        ty: Type,
        name: String,
        count: Option<u32>,
    },
    Variable(Variable),
    /// `name: .branchtargets a, b;`
    BranchTargets {
        name: String,
        labels: Vec<String>,
    },
    /// `name: .callprototype …;` — the call site says all we need.
    CallPrototype {
        name: String,
    },
    /// `.loc`: where what follows was written, and which line it was inlined into.
    Location {
        at: Place,
        inlined_at: Option<Place>,
    },
    Block(Vec<Statement>),
    Instruction(Instruction),
}

#[derive(Clone, Debug)]
pub struct Instruction {
    /// `@p` or, with true, `@!p`.
    pub guard: Option<(String, bool)>,
    /// `ld` of `ld.global.f32`.
    pub opcode: String,
    /// `global`, `f32` of the same.
    pub modifiers: Vec<String>,
    pub operands: Vec<Operand>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register, variable, function or label.
    Name(String),
    /// `!p`.
    Not(String),
    Integer(u64),
    Single(u32),
    Double(u64),
    /// `{a, b}`.
    Vector(Vec<Operand>),
    /// `[base+offset]`.
    Address {
        base: Box<Operand>,
        offset: i64,
    },
    /// `(a, b)` of a call.
    List(Vec<Operand>),
    /// `p|q`.
    Pair(Box<Operand>, Box<Operand>),
}
