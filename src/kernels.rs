//! The CUDA kernels this binary carries: source, PTX, machine code, and what the assembler said of each.
//!
//! `build.rs` fills the tables. A build without nvcc has none, and says so where someone asks.

use crate::{Error, Result};

/// The nvcc that compiled the kernels.
#[derive(Clone, Copy, Debug)]
pub struct Compiler {
    pub version: &'static str,
    /// Where it was at build time.
    pub path: &'static str,
}

/// One file of `kernels/`.
#[derive(Debug)]
pub struct Kernel {
    /// As in `kernels/saxpy.cu`.
    pub file: &'static str,
    pub source: &'static str,
    /// What the PTX is made for, as in `compute_80`.
    pub target: &'static str,
    /// The module: what the PTX machine runs, and what `cubins` were assembled from.
    pub ptx: &'static str,
    pub cubins: &'static [Cubin],
    pub entries: &'static [Entry],
}

/// Machine code for one architecture.
#[derive(Debug)]
pub struct Cubin {
    /// As in `sm_90a`.
    pub arch: &'static str,
    pub code: &'static [u8],
}

/// One `__global__` function.
#[derive(Debug)]
pub struct Entry {
    pub name: &'static str,
    /// In the file's source, from 1.
    pub line: usize,
    /// None if the source declares no bounds.
    pub launch: Option<LaunchBounds>,
    /// Whether the source says that it may spill.
    pub spills_allowed: bool,
    /// One for each of the file's cubins.
    pub figures: &'static [Figures],
}

/// `__launch_bounds__`, as it stands in the PTX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchBounds {
    pub threads: [u32; 3],
    /// Exactly these threads (`.reqntid`), or at most so many in all (`.maxntid`).
    pub exact: bool,
    /// Blocks a multiprocessor must be able to hold; 0 if not declared.
    pub min_blocks: u32,
}

/// What ptxas reported of an entry on one architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    pub arch: &'static str,
    pub registers: u32,
    /// Static shared memory.
    pub shared_bytes: u32,
    /// Local memory a thread takes.
    pub stack_bytes: u32,
    pub spill_stores: u32,
    pub spill_loads: u32,
}

impl Figures {
    /// Bytes stored and loaded because registers ran out; anything but 0 costs.
    pub fn spills(&self) -> u32 {
        self.spill_stores + self.spill_loads
    }
}

/// `include_bytes!` promises no alignment; an ELF file wants its own.
#[repr(C, align(64))]
#[allow(dead_code, reason = "a build without nvcc has nothing to align")]
struct Aligned<T: ?Sized>(T);

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// What to tell someone whose build has no kernels.
pub const NO_KERNELS: &str = "this build has no CUDA kernels: there was no nvcc to compile them; \
                              `make cuda` fetches one, then build again with `make build`";

/// Every entry with its file, sorted as they stand.
pub fn entries() -> impl Iterator<Item = (&'static Kernel, &'static Entry)> {
    KERNELS.iter().flat_map(|kernel| kernel.entries.iter().map(move |entry| (kernel, entry)))
}

/// The entry of this name. The error names the ones that look like it.
pub fn find(name: &str) -> Result<(&'static Kernel, &'static Entry)> {
    if let Some(found) = entries().find(|(_, entry)| entry.name == name) {
        return Ok(found);
    }
    if KERNELS.is_empty() {
        return Err(Error::kernel(name, NO_KERNELS));
    }
    let stem = name.split("__").next().unwrap_or(name).split('_').next().unwrap_or(name);
    let close: Vec<_> =
        entries().map(|(_, e)| e.name).filter(|n| !stem.is_empty() && n.contains(stem)).collect();
    let hint = match close.is_empty() {
        true => String::new(),
        false => format!(" (there is {})", close.join(", ")),
    };
    Err(Error::kernel(name, format!("no such entry{hint}; `rusa kernels list` shows them all")))
}

impl Kernel {
    /// The comment that opens the file, without its slashes.
    pub fn header(&self) -> String {
        let comment = self.source.lines().map_while(|line| line.strip_prefix("//"));
        let lines: Vec<_> = comment.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        lines.join("\n")
    }

    /// The source of one of its entries: from the comment above it to the brace that closes it.
    pub fn source_of(&self, entry: &Entry) -> String {
        let lines: Vec<_> = self.source.lines().collect();
        let at = entry.line.saturating_sub(1).min(lines.len());
        let first = lines[..at].iter().rposition(|l| l.is_empty() || l.starts_with('}')).map_or(0, |i| i + 1);
        let last = lines[at..].iter().position(|l| l.starts_with('}')).map_or(lines.len(), |n| at + n + 1);
        lines[first..last].join("\n")
    }

    /// Machine code for an architecture, if this build made any.
    pub fn cubin(&self, arch: &str) -> Option<&Cubin> {
        self.cubins.iter().find(|c| c.arch == arch)
    }
}
