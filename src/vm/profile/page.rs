//! Counters → what a reader of Nsight Compute looks for first.

use super::{Counter, Counters};
use crate::vm::program::{Op, Program};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result, Write};

/// Lines shown of the costliest.
const LINES: usize = 10;

/// What a device can do, for the roofline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roofline {
    pub bytes_per_second: f64,
    pub flops_per_second: f64,
}

/// A launch, summed up.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    pub kernel: String,
    /// Instructions issued, a warp each.
    pub warp_instructions: u64,
    pub lane_instructions: u64,
    /// Lanes executing, of 32.
    pub warp_efficiency: f64,
    /// Branches that divided a warp.
    pub divergent_branches: u64,
    pub branches: u64,
    /// Kind → instructions issued.
    pub kinds: BTreeMap<&'static str, u64>,
    pub flops: u64,
    pub tensor_core_flops: u64,
    pub global: Global,
    pub shared: Shared,
    /// FLOPs a byte of global traffic.
    pub arithmetic_intensity: Option<f64>,
    /// memory or compute, under the given roofline.
    pub bound: Option<&'static str>,
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Global {
    pub requests: u64,
    /// That lanes asked for.
    pub bytes: u64,
    /// 32-byte sectors moved.
    pub sectors: u64,
    pub sectors_per_request: f64,
    /// Sectors that would do, of those moved.
    pub coalescing: f64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Shared {
    pub requests: u64,
    pub bytes: u64,
    pub wavefronts: u64,
    /// Wavefronts that banks in conflict added.
    pub bank_conflicts: u64,
}

/// A source line, or a PTX line where the source is unknown.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Line {
    pub place: String,
    pub warp_instructions: u64,
    pub sectors: u64,
    pub sectors_ideal: u64,
    pub wavefronts: u64,
    pub bank_conflicts: u64,
    pub divergent_branches: u64,
    /// Issue slots it takes: instructions, and what its accesses add to them.
    pub cost: u64,
}

fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 1.0 } else { part as f64 / of as f64 }
}

fn kind(op: &Op) -> &'static str {
    match op {
        Op::Alu { .. } | Op::Set { .. } | Op::Select { .. } | Op::Move(_) => "arithmetic",
        Op::Convert(_) => "conversion",
        Op::Setp { .. } | Op::Logic { .. } => "predicate",
        Op::Load(_) => "load",
        Op::Store(_) => "store",
        Op::Atomic(_) => "atomic",
        Op::Matrix(_) | Op::Fragment(_) => "matrix load/store",
        Op::Mma(_) => "tensor core",
        Op::Branch { .. } | Op::BranchIndexed { .. } | Op::Call(_) | Op::Return | Op::Exit | Op::Trap => {
            "control"
        }
        Op::Barrier(_) | Op::Fence | Op::Mbarrier(_) => "synchronisation",
        Op::Warp(_) | Op::Shuffle(_) => "warp",
        Op::Copy(_) => "async copy",
        Op::Label | Op::Pause | Op::Nop => "other",
    }
}

impl Page {
    pub fn new(program: &Program, counters: &Counters, roofline: Option<Roofline>) -> Self {
        let mut page = Self {
            kernel: program.name.clone(),
            warp_instructions: 0,
            lane_instructions: 0,
            warp_efficiency: 0.0,
            divergent_branches: 0,
            branches: 0,
            kinds: BTreeMap::new(),
            flops: 0,
            tensor_core_flops: 0,
            global: Global::default(),
            shared: Shared::default(),
            arithmetic_intensity: None,
            bound: None,
            lines: Vec::new(),
        };
        let (mut lines, mut ideal) = (BTreeMap::<String, Line>::new(), 0);
        for (pc, counter) in counters.instructions.iter().enumerate() {
            let (meta, op) = (&program.meta[pc], &program.code[pc].op);
            if counter.issued == 0 || matches!(op, Op::Label) {
                continue;
            }
            page.add(counter, op, meta.flops.into());
            ideal += counter.sectors_ideal;
            let place = program.source(pc as u32).unwrap_or_else(|| format!("PTX line {}", meta.line));
            // What is inlined counts for the line it was written on.
            let place = place.split(", ").next().unwrap_or_default().to_string();
            add_line(lines.entry(place.clone()).or_insert(Line { place, ..Line::default() }), counter);
        }
        page.warp_efficiency = share(page.lane_instructions, 32 * page.warp_instructions);
        page.global.sectors_per_request = share(page.global.sectors, page.global.requests);
        page.global.coalescing = share(ideal, page.global.sectors).min(1.0);
        if page.global.sectors > 0 {
            let intensity = (page.flops + page.tensor_core_flops) as f64 / (32 * page.global.sectors) as f64;
            page.arithmetic_intensity = Some(intensity);
            page.bound = roofline.map(|r| {
                if intensity < r.flops_per_second / r.bytes_per_second { "memory" } else { "compute" }
            });
        }
        page.lines = lines.into_values().collect();
        page.lines.sort_by_key(|line| std::cmp::Reverse(line.cost));
        page.lines.truncate(LINES);
        page
    }

    fn add(&mut self, counter: &Counter, op: &Op, flops: u64) {
        self.warp_instructions += counter.issued;
        self.lane_instructions += counter.lanes;
        *self.kinds.entry(kind(op)).or_default() += counter.issued;
        match op {
            Op::Mma(_) => self.tensor_core_flops += flops * counter.lanes,
            Op::Branch { .. } | Op::BranchIndexed { .. } => self.branches += counter.issued,
            _ => self.flops += flops * counter.lanes,
        }
        self.divergent_branches += counter.diverged;
        if counter.sectors > 0 {
            self.global.requests += counter.requests;
            self.global.bytes += counter.bytes;
            self.global.sectors += counter.sectors;
        }
        if counter.wavefronts > 0 {
            self.shared.requests += counter.shared_requests;
            self.shared.bytes += counter.shared_bytes;
            self.shared.wavefronts += counter.wavefronts;
            self.shared.bank_conflicts += counter.wavefronts - counter.wavefronts_ideal;
        }
    }
}

fn add_line(line: &mut Line, counter: &Counter) {
    let conflicts = counter.wavefronts - counter.wavefronts_ideal;
    line.warp_instructions += counter.issued;
    line.sectors += counter.sectors;
    line.sectors_ideal += counter.sectors_ideal;
    line.wavefronts += counter.wavefronts;
    line.bank_conflicts += conflicts;
    line.divergent_branches += counter.diverged;
    line.cost += counter.issued + counter.sectors + counter.wavefronts;
}

impl Display for Page {
    fn fmt(&self, f: &mut Formatter) -> Result {
        let percent = |x: f64| format!("{:.1} %", 100.0 * x);
        writeln!(f, "{}", self.kernel)?;
        writeln!(
            f,
            "  instructions     {:>14} warps, {} lanes",
            self.warp_instructions, self.lane_instructions
        )?;
        writeln!(f, "  warp efficiency  {:>14} lanes active", percent(self.warp_efficiency))?;
        writeln!(f, "  branches         {:>14}, {} divided a warp", self.branches, self.divergent_branches)?;
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_key(|(_, issued)| std::cmp::Reverse(**issued));
        for (kind, issued) in kinds {
            writeln!(
                f,
                "    {kind:<17}{issued:>12}  {:>7}",
                percent(share(*issued, self.warp_instructions))
            )?;
        }
        let Global { requests, bytes, sectors, sectors_per_request, coalescing } = &self.global;
        writeln!(
            f,
            "  global memory    {requests:>14} requests, {bytes} bytes asked for, {sectors} sectors of 32 moved"
        )?;
        writeln!(f, "    {sectors_per_request:.2} sectors a request, coalescing {}", percent(*coalescing))?;
        let Shared { requests, wavefronts, bank_conflicts, .. } = &self.shared;
        writeln!(
            f,
            "  shared memory    {requests:>14} requests, {wavefronts} wavefronts, {bank_conflicts} by bank conflicts"
        )?;
        writeln!(f, "  FLOPs            {:>14}, tensor cores {}", self.flops, self.tensor_core_flops)?;
        if let Some(intensity) = self.arithmetic_intensity {
            write!(f, "  intensity        {intensity:>14.2} FLOPs a byte of global traffic")?;
            writeln!(f, "{}", self.bound.map_or(String::new(), |bound| format!(": {bound} bound")))?;
        }
        let mut table = String::new();
        writeln!(
            table,
            "  {:<34}{:>12}{:>10}{:>8}{:>12}{:>11}{:>10}",
            "costliest lines", "warp instr.", "sectors", "ideal", "wavefronts", "conflicts", "diverged"
        )?;
        for line in &self.lines {
            let Line {
                place,
                warp_instructions,
                sectors,
                sectors_ideal,
                wavefronts,
                bank_conflicts,
                divergent_branches,
                ..
            } = line;
            writeln!(
                table,
                "  {place:<34}{warp_instructions:>12}{sectors:>10}{sectors_ideal:>8}{wavefronts:>12}{bank_conflicts:>11}{divergent_branches:>10}"
            )?;
        }
        f.write_str(&table)
    }
}
