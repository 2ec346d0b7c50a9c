//! An entry with everything it calls, decoded: what the executor runs.

use super::exec::{Access, Atomic, Barrier, Copy, Fragment, Matrix, Mbarrier, Mma, Move, Shuffle, WarpOp};
use super::isa::{Combine, Convert};
use super::lanes::{AluFn, CompareFn, Frame, Slots};
use super::ptx::Type;
use std::sync::Arc;

/// No predicate, no label, no function.
pub const NONE: u32 = u32::MAX;
/// Set in a predicate's slot: the predicate is negated.
pub const NOT: u32 = 1 << 31;

/// One entry, linked.
pub struct Program {
    pub name: String,
    pub code: Vec<Inst>,
    pub meta: Vec<Meta>,
    /// The entry is the first.
    pub functions: Vec<Func>,
    /// Bytes of statically declared shared memory, and the alignment of the dynamic part behind it.
    pub shared_bytes: u32,
    /// Of the entry, in order.
    pub params: Vec<Param>,
    pub param_bytes: usize,
    pub block_required: Option<[u32; 3]>,
    pub block_max: Option<u32>,
    /// `.file` names, by number.
    pub files: std::collections::BTreeMap<u32, String>,
}

/// A parameter of an entry.
#[derive(Clone, Debug)]
pub struct Param {
    pub name: String,
    pub ty: Type,
    pub bytes: usize,
    pub offset: usize,
}

/// Where an instruction came from.
#[derive(Clone, Debug)]
pub struct Meta {
    /// Line of the `.ptx` file.
    pub line: u32,
    /// `.loc`: file number and line of the source, then of each place it was inlined into. Empty if unknown.
    pub source: Arc<[(u32, u32)]>,
    /// Opcode with modifiers.
    pub text: String,
    pub function: u32,
    /// Floating-point operations a lane.
    pub flops: u32,
}

pub struct Func {
    /// What a pointer to it holds.
    pub address: u64,
    pub name: String,
    pub start: u32,
    /// Registers zeroed, constants in place.
    pub template: Frame,
    pub words: usize,
    pub specials: Vec<(Special, u32, Type)>,
    pub local_bytes: u32,
    /// Lane-major areas of the frame: (word offset, bytes a lane).
    pub params: Vec<(u32, u32)>,
    pub returns: Vec<(u32, u32)>,
}

/// Special registers that are constant while a warp lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    NumWarps,
    LaneMask(Relation),
    SmId,
    NumSm,
    GridId,
    StaticShared,
    DynamicShared,
    TotalShared,
    /// So many bytes into the shared memory that the driver keeps for itself.
    ReservedShared(u32),
    /// Low or high half of the address where the blocks of a cooperative launch meet.
    Workspace(bool),
    /// Anything that is one number for the whole machine.
    Fixed(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Eq,
    Le,
    Lt,
    Ge,
    Gt,
}

pub struct Inst {
    pub op: Op,
    /// Slot of the guarding predicate, perhaps with [`NOT`]; [`NONE`] for always.
    pub guard: u32,
}

/// What the executor tells apart. Rooms of instructions have their own enums.
pub enum Op {
    Alu {
        run: AluFn,
        slots: Slots,
    },
    Convert(Box<Conversion>),
    /// `p` and `q` may be [`NONE`].
    Setp {
        run: CompareFn,
        slots: Slots,
        combine: Combine,
        c: u32,
        p: u32,
        q: u32,
    },
    /// All ones, or 1.0 of the type.
    Set {
        run: CompareFn,
        slots: Slots,
        combine: Combine,
        c: u32,
        one: u64,
        bytes: u8,
    },
    Select {
        run: SelectFn,
        slots: Slots,
        p: u32,
    },
    Logic {
        kind: Logic,
        d: u32,
        a: u32,
        b: u32,
    },
    Move(Box<Move>),
    Load(Box<Access>),
    Store(Box<Access>),
    Atomic(Box<Atomic>),
    Matrix(Box<Matrix>),
    Branch {
        target: u32,
        join: u32,
    },
    BranchIndexed {
        index: u32,
        targets: Box<[u32]>,
        join: u32,
    },
    Label,
    Call(Box<Call>),
    Return,
    Exit,
    Trap,
    Barrier(Box<Barrier>),
    Warp(Box<WarpOp>),
    Shuffle(Box<Shuffle>),
    Fence,
    Copy(Box<Copy>),
    Mbarrier(Box<Mbarrier>),
    Fragment(Box<Fragment>),
    /// One, or the two that make up a `wmma.mma`.
    Mma(Box<[Mma]>),
    /// `nanosleep`: others get a turn.
    Pause,
    Nop,
}

/// A conversion between registers: slot and bytes a lane of destination and source.
pub struct Conversion {
    pub convert: Convert,
    pub dest: (u32, usize),
    pub source: (u32, usize),
}

pub type SelectFn = unsafe fn(frame: *mut u32, slots: &Slots, predicate: u32, mask: u32);

/// Predicates as words of 32 lanes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Logic {
    And,
    Or,
    Xor,
    Copy,
    Not,
}

pub struct Call {
    pub callee: Callee,
    /// Areas of the caller's frame, as in [`Func::params`].
    pub params: Vec<(u32, u32)>,
    pub returns: Vec<(u32, u32)>,
}

pub enum Callee {
    Function(u32),
    /// Register that holds a function's address.
    Indirect(u32),
    Builtin(Builtin),
}

/// Functions the driver provides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Builtin {
    Vprintf,
    AssertFail,
    Malloc,
    Free,
}

/// Bytes of shared memory a block keeps for the driver, if the program asks for them.
pub const RESERVED_SHARED: u32 = 1024;

impl Program {
    /// Whether the program reads a special register of this sort.
    pub fn reads(&self, sort: impl Fn(Special) -> bool) -> bool {
        self.functions.iter().any(|f| f.specials.iter().any(|&(special, ..)| sort(special)))
    }

    /// `file:line` of an instruction, outwards through what it was inlined into; None without `-lineinfo`.
    pub fn source(&self, pc: u32) -> Option<String> {
        let name = |(file, line): &(u32, u32)| {
            let path = self.files.get(file).map_or("?", String::as_str);
            let short = path.rsplit('/').next().unwrap_or(path);
            format!("{short}:{line}")
        };
        let chain = &self.meta.get(pc as usize)?.source;
        let (first, outer) = chain.split_first()?;
        Some(outer.iter().fold(name(first), |text, place| format!("{text}, inlined at {}", name(place))))
    }
}
