//! The decoded forms of instructions that touch more than registers.

use crate::vm::ptx::{Space, Type};

/// Where an access goes.
#[derive(Clone, Debug)]
pub struct Address {
    pub space: Space,
    pub base: Base,
    pub offset: i64,
}

#[derive(Clone, Debug)]
pub enum Base {
    /// A register of so many bytes.
    Register(u32, u8),
    /// The offset says it all.
    Absolute,
    /// Relative to the frame's part of local memory.
    Local,
    /// A lane-major area of the frame, so many bytes a lane: parameters of functions.
    Frame { words: u32, stride: u32 },
}

/// Memory order, as far as the race checker cares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    Plain,
    /// `ld.global.nc`: past the caches that writes of the same launch go through, so nothing may write there.
    NonCoherent,
    /// `.volatile`, `.relaxed`, atomics: never part of a race, synchronise together with fences.
    Strong,
    /// Strong, and finds out by itself whether a plain read before has gone stale: `atom.cas`.
    Compare,
    Acquire,
    Release,
    AcquireRelease,
}

impl Order {
    pub fn is_strong(self) -> bool {
        !matches!(self, Self::Plain | Self::NonCoherent)
    }
}

/// `ld` and `st`.
#[derive(Clone, Debug)]
pub struct Access {
    pub at: Address,
    /// Of one element.
    pub bytes: u8,
    pub signed: bool,
    /// Slots and widths of the elements; a slot may be NONE in a load.
    pub registers: Vec<(u32, u8)>,
    pub order: Order,
}

impl Access {
    /// Bytes of all elements.
    pub fn size(&self) -> u64 {
        self.registers.len() as u64 * u64::from(self.bytes)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AtomicOp {
    And,
    Or,
    Xor,
    Exch,
    Cas,
    Add,
    Inc,
    Dec,
    Min,
    Max,
}

/// `atom` and `red`.
#[derive(Clone, Debug)]
pub struct Atomic {
    pub at: Address,
    pub op: AtomicOp,
    pub ty: Type,
    /// NONE for `red`.
    pub d: u32,
    pub b: u32,
    pub c: u32,
    pub order: Order,
}

/// Moves that are no arithmetic.
#[derive(Clone, Debug)]
pub enum Move {
    /// `mov.b64 d, {a, b}`: parts from the low end.
    Pack {
        d: u32,
        bytes: u8,
        parts: Vec<u32>,
    },
    /// `mov.b64 {a, b}, d`.
    Unpack {
        a: u32,
        bytes: u8,
        parts: Vec<u32>,
    },
    /// Address of a local variable.
    Local {
        d: u32,
        bytes: u8,
        offset: u32,
        generic: bool,
    },
    Clock {
        d: u32,
        bytes: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BarrierKind {
    Sync,
    Arrive,
    Popc,
    And,
    Or,
}

/// `bar` and `barrier.cta`.
#[derive(Clone, Debug)]
pub struct Barrier {
    pub kind: BarrierKind,
    pub id: u32,
    /// Threads expected; NONE for the whole block.
    pub count: u32,
    pub d: u32,
    /// Predicate reduced.
    pub p: u32,
    /// All threads of the warp must execute it together.
    pub aligned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Vote {
    All,
    Any,
    Uni,
    Ballot,
}

/// What lanes of a warp do together.
#[derive(Clone, Debug)]
pub enum WarpOp {
    Sync { members: u32 },
    Vote { mode: Vote, d: u32, p: u32, members: u32 },
    Match { all: bool, d: u32, p: u32, a: u32, bytes: u8, members: u32 },
    Redux { op: AtomicOp, ty: Type, d: u32, a: u32, members: u32 },
    Active { d: u32 },
    Elect { d: u32, p: u32, members: u32 },
}

impl WarpOp {
    /// Register with the lanes that take part; NONE if whoever is here does.
    pub fn members(&self) -> u32 {
        match self {
            Self::Sync { members }
            | Self::Vote { members, .. }
            | Self::Match { members, .. }
            | Self::Redux { members, .. }
            | Self::Elect { members, .. } => *members,
            Self::Active { .. } => crate::vm::program::NONE,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Clone, Debug)]
pub struct Shuffle {
    pub mode: ShuffleMode,
    pub d: u32,
    pub p: u32,
    pub a: u32,
    pub b: u32,
    pub c: u32,
    pub members: u32,
}

/// `cp.async` and its groups.
#[derive(Clone, Debug)]
pub enum Copy {
    /// Copies `bytes`, of which the last ones are zeros if `source_bytes` (a register) is less.
    Issue {
        to: Address,
        from: Address,
        bytes: u8,
        source_bytes: u32,
        ignore: u32,
    },
    Commit,
    /// Waits until at most so many groups are in flight.
    Wait {
        groups: u32,
    },
    WaitAll,
    Arrive {
        at: Address,
        noinc: bool,
    },
}

/// `mbarrier.*` on 64 bits of shared memory.
#[derive(Clone, Debug)]
pub enum Mbarrier {
    Init {
        at: Address,
        count: u32,
    },
    Invalidate {
        at: Address,
    },
    /// `state` NONE for `_`; `count` NONE for 1; `transactions` NONE unless `.expect_tx`.
    Arrive {
        at: Address,
        state: u32,
        count: u32,
        transactions: u32,
        drop: bool,
    },
    ExpectTransactions {
        at: Address,
        transactions: u32,
        complete: bool,
    },
    Test {
        at: Address,
        p: u32,
        state: u32,
        parity: u32,
    },
    PendingCount {
        d: u32,
        state: u32,
    },
}

/// `ldmatrix`, `stmatrix`, `movmatrix`: 8×8 tiles of 16 bits.
#[derive(Clone, Debug)]
pub enum Matrix {
    Load { at: Address, registers: Vec<u32>, transposed: bool },
    Store { at: Address, registers: Vec<u32>, transposed: bool },
    Transpose { d: u32, a: u32 },
}

/// `mma.sync.m16n8k*`; of f64, m8n8k4.
#[derive(Clone, Debug)]
pub struct Mma {
    pub k: usize,
    /// Of a and b: F16, Bf16, Tf32, S8, U8 (b's may differ in sign for integers).
    pub a_type: Type,
    pub b_type: Type,
    /// F32, F16, S32 or F64.
    pub c_type: Type,
    pub d_type: Type,
    pub saturate: bool,
    pub d: Vec<u32>,
    pub a: Vec<u32>,
    pub b: Vec<u32>,
    pub c: Vec<u32>,
}
