//! One thing that is wrong, with everything needed to find it.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    OutOfBounds,
    Misaligned,
    UseAfterFree,
    ReadOnly,
    UninitialisedRead,
    Race,
    StaleRead,
    InFlight,
    BarrierDivergence,
    Deadlock,
    WarpMask,
    StackOverflow,
    Trap,
    Assertion,
    Unsupported,
    InstructionLimit,
}

impl Kind {
    /// As a headline.
    pub fn name(self) -> &'static str {
        match self {
            Self::OutOfBounds => "out of bounds",
            Self::Misaligned => "misaligned access",
            Self::UseAfterFree => "use after free",
            Self::ReadOnly => "write to constant memory",
            Self::UninitialisedRead => "uninitialised read",
            Self::Race => "race",
            Self::StaleRead => "stale read",
            Self::InFlight => "async copy in flight",
            Self::BarrierDivergence => "divergent barrier",
            Self::Deadlock => "deadlock",
            Self::WarpMask => "wrong warp mask",
            Self::StackOverflow => "stack overflow",
            Self::Trap => "trap",
            Self::Assertion => "assertion failed",
            Self::Unsupported => "not supported",
            Self::InstructionLimit => "instruction limit",
        }
    }
}

/// The other side of a race.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Other {
    pub what: String,
    pub line: u32,
    pub source: Option<String>,
    pub block: [u32; 3],
    pub thread: [u32; 3],
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    pub kind: Kind,
    pub kernel: String,
    /// Of the `.ptx` file.
    pub line: u32,
    pub instruction: String,
    /// `file:line` if built with -lineinfo.
    pub source: Option<String>,
    pub block: [u32; 3],
    pub thread: [u32; 3],
    pub space: Option<&'static str>,
    /// Within its space; of generic accesses too.
    pub address: Option<u64>,
    pub what: String,
    pub other: Option<Other>,
    /// How often this instruction did this.
    pub count: u64,
    /// The launch ended here.
    pub fatal: bool,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let place = |source: &Option<String>| source.as_ref().map_or(String::new(), |s| format!(" ({s})"));
        let triple = |[x, y, z]: [u32; 3]| format!("({x},{y},{z})");
        writeln!(f, "{}: {}", self.kind.name(), self.what)?;
        write!(
            f,
            "    at {} in {}, PTX line {}{}",
            self.instruction,
            self.kernel,
            self.line,
            place(&self.source)
        )?;
        write!(f, "\n    by block {} thread {}", triple(self.block), triple(self.thread))?;
        if let (Some(space), Some(address)) = (self.space, self.address) {
            write!(f, ", {space} address {address:#x}")?;
        }
        if let Some(other) = &self.other {
            let Other { what, line, source, block, thread } = other;
            write!(f, "\n    against the {what} at PTX line {line}{}", place(source))?;
            write!(f, " by block {} thread {}", triple(*block), triple(*thread))?;
        }
        if self.count > 1 {
            write!(f, "\n    {} times; the first is shown", self.count)?;
        }
        Ok(())
    }
}
