//! A block: its warps, its shared memory, and who runs next.

use super::barrier::Named;
use super::copy::Copies;
use super::grid::{Grid, Site};
use super::inspect::Checks;
use super::run::Yield;
use super::warp::{SplitState, Warp};
use super::{Stop, call};
use crate::vm::check::{ByteState, Clocks, Kind, Shadow};
use crate::vm::lanes::{FULL, WARP, lanes};
use crate::vm::profile::Counter;
use crate::vm::program::{RESERVED_SHARED, Special};

/// Bytes aligned as shared memory is.
pub struct SharedMemory {
    words: Vec<u128>,
    len: usize,
}

impl SharedMemory {
    fn new(len: usize) -> Self {
        // Garbage that shows.
        Self { words: vec![u128::MAX; len.div_ceil(16)], len }
    }

    /// Zeros from byte `start`, a multiple of 16, to the end.
    fn zero(&mut self, start: usize) {
        self.words[start / 16..].fill(0);
    }

    pub fn pointer(&mut self) -> *mut u8 {
        self.words.as_mut_ptr().cast()
    }

    pub fn len(&self) -> usize {
        self.len
    }
}

/// Turns a block gets before another block of the same core has a go.
const SLICE: u32 = 64;
/// Turns of a split at spinning before lanes that wait for it at a join go on without.
const PATIENCE: u32 = 16;

pub struct Cta<'g> {
    pub grid: &'g Grid<'g>,
    pub block: u64,
    pub shared: SharedMemory,
    /// Where the driver's part of it begins.
    pub reserved: u32,
    pub warps: Vec<Warp>,
    /// Threads that have not exited.
    pub alive: u32,
    pub barriers: Vec<Named>,
    pub checks: Option<Box<Checks>>,
    /// One an instruction of the program, if profiling.
    pub counters: Vec<Counter>,
    pub copies: Copies,
    /// Instructions since anything happened.
    stalled: u64,
    seen_progress: u64,
    pub progressed: bool,
}

pub enum Turn {
    Done,
    More,
}

impl<'g> Cta<'g> {
    pub fn new(grid: &'g Grid<'g>, block: u64) -> Self {
        let threads = grid.shape.threads();
        let warps = threads.div_ceil(WARP as u32) as usize;
        let own = (grid.program.shared_bytes + grid.shape.dynamic_shared).next_multiple_of(16);
        let mut shared = grid.program.shared_bytes as usize + grid.shape.dynamic_shared as usize;
        let asks = grid.program.reads(|special| matches!(special, Special::ReservedShared(_)));
        if asks {
            shared = (own + RESERVED_SHARED) as usize;
        }
        let checks = || Box::new(Checks { clocks: Clocks::new(warps), shadow: Shadow::new(shared) });
        let mut cta = Self {
            grid,
            block,
            shared: SharedMemory::new(shared),
            reserved: own,
            warps: Vec::new(),
            alive: threads,
            barriers: (0..16).map(|_| Named::default()).collect(),
            checks: grid.shape.check.then(checks),
            counters: if grid.shape.profile {
                vec![Counter::default(); grid.program.code.len()]
            } else {
                Vec::new()
            },
            copies: Copies::new(grid.shape.seed ^ block.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            stalled: 0,
            seen_progress: 0,
            progressed: false,
        };
        if asks {
            cta.shared.zero(own as usize);
            if let Some(checks) = &mut cta.checks {
                checks.shadow.mark(own as usize, RESERVED_SHARED as usize, ByteState::Written);
            }
        }
        for index in 0..warps {
            let lanes = threads as usize - index * WARP;
            let alive = if lanes >= WARP { FULL } else { (1 << lanes) - 1 };
            let warp = cta.entry_warp(index, alive);
            cta.warps.push(warp);
        }
        cta
    }

    pub fn site(&self, warp: usize, pc: u32, lane: usize) -> Site {
        let last = self.grid.shape.threads() - 1;
        Site { pc, block: self.block, thread: ((warp * WARP + lane) as u32).min(last) }
    }

    /// Runs for a while.
    pub fn turn(&mut self) -> Result<Turn, Stop> {
        if self.counters.is_empty() && self.checks.is_none() {
            self.turns::<false>()
        } else {
            self.turns::<true>()
        }
    }

    fn turns<const INSPECT: bool>(&mut self) -> Result<Turn, Stop> {
        for _ in 0..SLICE {
            if self.grid.stop.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(Stop);
            }
            let mut ran = false;
            for index in 0..self.warps.len() {
                let mut warp = std::mem::take(&mut self.warps[index]);
                let result = self.warp_turn::<INSPECT>(&mut warp, &mut ran);
                self.warps[index] = warp;
                result?;
            }
            if self.alive == 0 {
                self.copies_left();
                return Ok(Turn::Done);
            }
            self.copies_arrive_sometimes();
            if !ran && !self.unblock()? {
                return Err(self.deadlock());
            }
            self.watch()?;
        }
        Ok(Turn::More)
    }

    /// Every split of a warp that can run does, until it blocks or has had its share.
    fn warp_turn<const INSPECT: bool>(&mut self, warp: &mut Warp, ran: &mut bool) -> Result<(), Stop> {
        let (mut at, mut left) = (0, warp.splits.len() + 4);
        while at < warp.splits.len() && left > 0 {
            self.wake(warp, at);
            if warp.splits[at].state != SplitState::Ready {
                at += 1;
                continue;
            }
            (*ran, left) = (true, left - 1);
            let before = warp.instructions;
            let outcome = self.run::<INSPECT>(warp, at)?;
            self.stalled += warp.instructions - before;
            match outcome {
                // Whoever stands there now, or has just been made ready, may be anywhere.
                Yield::Blocked => (at, warp.spins) = (0, 0),
                Yield::Share => {
                    at += 1;
                    warp.spins += 1;
                    if warp.spins > PATIENCE && warp.release_join() {
                        warp.spins = 0;
                    }
                }
            }
        }
        Ok(())
    }

    fn wake(&self, warp: &mut Warp, at: usize) {
        let split = &mut warp.splits[at];
        match split.state {
            SplitState::AtBarrier(id, generation) if self.barriers[id].generation > generation => {
                self.leave_barrier(warp, at, id);
            }
            SplitState::AtSync { members } if members & warp.alive & !split.mask == 0 => {
                split.state = SplitState::Ready;
            }
            _ => {}
        }
    }

    /// Nobody can run: lanes that wait for others that cannot come go on without them. True if any did.
    fn unblock(&mut self) -> Result<bool, Stop> {
        if self.warps.iter_mut().fold(false, |moved, warp| warp.settle_joins() | moved) {
            return Ok(true);
        }
        for index in 0..self.warps.len() {
            let mut warp = std::mem::take(&mut self.warps[index]);
            self.divergence(&warp);
            let released = warp.release_join();
            self.warps[index] = warp;
            if released {
                return Ok(true);
            }
        }
        for index in 0..self.warps.len() {
            let mut warp = std::mem::take(&mut self.warps[index]);
            let forced = self.force_sync(&mut warp);
            self.warps[index] = warp;
            if forced? {
                return Ok(true);
            }
        }
        Ok(self.copies_arrive())
    }

    /// Counts what ran without anything coming of it.
    fn watch(&mut self) -> Result<(), Stop> {
        let progress = &self.grid.progress;
        if std::mem::take(&mut self.progressed) {
            progress.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        let now = progress.load(std::sync::atomic::Ordering::Relaxed);
        if now != self.seen_progress {
            (self.seen_progress, self.stalled) = (now, 0);
        }
        if self.stalled < self.grid.shape.stall_limit {
            return Ok(());
        }
        let Some((warp, split)) = self.warps.iter().find_map(|w| Some((w, w.splits.first()?))) else {
            return Ok(());
        };
        let lane = split.mask.trailing_zeros() as usize & 31;
        let pc = self.visible(split.pc);
        let what =
            format!("{} instructions ran, and nothing was stored, synchronised or finished", self.stalled);
        self.grid.report(Kind::InstructionLimit, self.site(warp.index, pc, lane), None, None, what);
        Err(self.grid.abort(Kind::InstructionLimit, pc))
    }

    /// The instruction at or before a place that stands in the source: labels have no text.
    pub(super) fn visible(&self, pc: u32) -> u32 {
        (0..=pc).rev().find(|&at| !self.grid.program.meta[at as usize].text.is_empty()).unwrap_or(pc)
    }

    fn deadlock(&mut self) -> Stop {
        let mut last = (Kind::Deadlock, 0);
        for warp in &self.warps {
            for split in &warp.splits {
                let lane = split.mask.trailing_zeros() as usize & 31;
                // Whoever waits at a barrier stands behind it.
                let pc = split.pc - u32::from(matches!(split.state, SplitState::AtBarrier(..)));
                let what = match split.state {
                    SplitState::AtBarrier(id, _) => {
                        let Named { arrived, expected, .. } = &self.barriers[id];
                        let expected = if *expected == 0 { self.alive } else { *expected };
                        format!("waits at barrier {id} for {expected} threads, of which {arrived} have come")
                    }
                    _ => "waits for lanes that cannot come".into(),
                };
                self.grid.report(Kind::Deadlock, self.site(warp.index, pc, lane), None, None, what);
                last = (Kind::Deadlock, pc);
            }
        }
        self.grid.abort(last.0, last.1)
    }

    /// Lanes leave the kernel.
    pub(super) fn exit(&mut self, warp: &mut Warp, mask: u32) {
        warp.alive &= !mask;
        self.alive -= mask.count_ones();
        self.progressed = true;
        call::leave(warp, mask);
        warp.settle_joins();
        // Those who wait for the whole block may have waited for these only.
        for id in 0..self.barriers.len() {
            self.complete_if_all(id);
        }
    }

    /// Threads of a warp, for messages.
    pub(super) fn name_lanes(mask: u32) -> String {
        match mask.count_ones() {
            1 => format!("lane {}", mask.trailing_zeros()),
            n if n <= 4 => {
                format!("lanes {}", lanes(mask).map(|l| l.to_string()).collect::<Vec<_>>().join(", "))
            }
            n => format!("{n} lanes ({mask:#010x})"),
        }
    }
}
