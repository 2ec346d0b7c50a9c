//! Who has seen whose writes: vector clocks over the warps of a block, and over blocks.
//!
//! A warp's own clock ticks when it releases (barrier, fence, arrive). An access at clock c of warp w is ordered before
//! one of warp v if v has since learned a clock of w above c. Knowledge travels through barriers, mbarriers, and strong
//! accesses to a common place: the writer must have fenced before (as the programming guide demands), the reader learns
//! at once. Blocks learn of blocks as wholes, which may miss a race and never invents one.

use super::Stamp;
use crate::vm::lanes::{WARP, lanes};
use std::collections::HashMap;

/// Of one block.
pub struct Clocks {
    warps: usize,
    /// Clock of its warp when a lane last met others, lane by lane: what orders the lanes of a warp.
    met: Vec<[u32; WARP]>,
    /// Clock of its warp that a lane has learned of through strong accesses: locks between the lanes of a warp.
    learned: Vec<[u32; WARP]>,
    /// Row w: what warp w knows of each.
    known: Vec<u32>,
    /// The same at w's last fence.
    fenced: Vec<u32>,
    /// This block's clock among blocks, and what it was when some warp last fenced.
    pub epoch: u32,
    fenced_epoch: u32,
    foreign: HashMap<u32, u32>,
    shared: HashMap<u32, Vec<u32>>,
}

/// What strong accesses to places in global memory hand from block to block.
#[derive(Default)]
pub struct Foreign {
    places: HashMap<u64, HashMap<u32, (u32, Vec<u32>)>>,
}

impl Clocks {
    pub fn new(warps: usize) -> Self {
        let mut known = vec![0; warps * warps];
        for warp in 0..warps {
            known[warp * warps + warp] = 1;
        }
        Self {
            warps,
            met: vec![[0; WARP]; warps],
            learned: vec![[0; WARP]; warps],
            known,
            fenced: vec![0; warps * warps],
            epoch: 1,
            fenced_epoch: 0,
            foreign: HashMap::new(),
            shared: HashMap::new(),
        }
    }

    #[inline(always)]
    pub fn own(&self, warp: usize) -> u32 {
        self.known[warp * self.warps + warp]
    }

    #[inline(always)]
    pub fn knows(&self, warp: usize, other: usize) -> u32 {
        self.known[warp * self.warps + other]
    }

    pub fn knows_block(&self, block: u32) -> u32 {
        self.foreign.get(&block).copied().unwrap_or(0)
    }

    fn row(&mut self, warp: usize) -> &mut [u32] {
        &mut self.known[warp * self.warps..][..self.warps]
    }

    /// What comes after is told apart from what came before; returns what others may learn.
    pub fn release(&mut self, warp: usize) -> &[u32] {
        let row = self.row(warp);
        row[warp] += 1;
        row
    }

    /// Lanes in `mask` have met (`__syncwarp`, a barrier).
    pub fn meet(&mut self, warp: usize, mask: u32) {
        self.release(warp);
        let now = self.own(warp);
        lanes(mask).for_each(|lane| self.met[warp][lane] = now);
    }

    /// Whether an earlier access of this block comes before one of `thread` now.
    #[inline(always)]
    pub fn ordered(&self, stamp: &Stamp, thread: u32) -> bool {
        let (warp, other) = ((thread / 32) as usize, (stamp.thread / 32) as usize);
        if warp != other {
            return self.knows(warp, other) > stamp.clock;
        }
        let met = &self.met[warp];
        stamp.thread == thread
            || self.learned[warp][(thread % 32) as usize] > stamp.clock
            || met[(stamp.thread % 32) as usize].min(met[(thread % 32) as usize]) > stamp.clock
    }

    /// Warps have met, and know all that any of them knew.
    pub fn barrier(&mut self, warps: impl Iterator<Item = usize> + Clone) {
        let mut all = vec![0; self.warps];
        for warp in warps.clone() {
            join(&mut all, self.row(warp));
        }
        warps.for_each(|warp| self.acquire(warp, &all));
    }

    pub fn acquire(&mut self, warp: usize, from: &[u32]) {
        join(self.row(warp), from);
    }

    pub fn fence(&mut self, warp: usize) {
        let warps = self.warps;
        self.release(warp);
        let row = warp * warps..(warp + 1) * warps;
        self.fenced[row.clone()].copy_from_slice(&self.known[row]);
        self.epoch += 1;
        self.fenced_epoch = self.epoch;
    }

    /// A lane has read what its own warp wrote after a fence at `clock`.
    pub fn learn(&mut self, warp: usize, lane: usize, clock: u32) {
        let learned = &mut self.learned[warp][lane];
        *learned = (*learned).max(clock);
    }

    /// A strong access of a lane to shared memory.
    pub fn strong_shared(&mut self, warp: usize, lane: usize, at: u32, reads: bool, writes: bool) {
        let mut place = self.shared.remove(&at).unwrap_or_else(|| vec![0; self.warps]);
        if reads {
            self.acquire(warp, &place);
            self.learn(warp, lane, place[warp]);
        }
        if writes {
            join(&mut place, &self.fenced[warp * self.warps..][..self.warps]);
        }
        self.shared.insert(at, place);
    }

    /// An arrival at an mbarrier, which is a release by itself.
    pub fn arrive(&mut self, warp: usize, at: u32) {
        let mut place = self.shared.remove(&at).unwrap_or_else(|| vec![0; self.warps]);
        join(&mut place, self.release(warp));
        self.shared.insert(at, place);
    }

    /// A strong access to global memory; returns the clock of its own warp that it learns of.
    pub fn strong_global(
        &mut self,
        places: &mut Foreign,
        warp: usize,
        block: u32,
        at: u64,
        reads: bool,
        writes: bool,
    ) -> u32 {
        let place = places.places.entry(at).or_default();
        let mut learned = 0;
        if reads {
            for (&other, (epoch, row)) in place.iter() {
                if other == block {
                    learned = row[warp];
                    join(&mut self.known[warp * self.warps..][..self.warps], row);
                } else {
                    let known = self.foreign.entry(other).or_default();
                    *known = (*known).max(*epoch);
                }
            }
        }
        if writes && self.fenced_epoch > 0 {
            let (epoch, row) = place.entry(block).or_insert_with(|| (0, vec![0; self.warps]));
            *epoch = (*epoch).max(self.fenced_epoch);
            join(row, &self.fenced[warp * self.warps..][..self.warps]);
            // Knowledge is handed on: a chain of blocks orders its ends.
            for (&other, &known) in &self.foreign {
                let (epoch, _) = place.entry(other).or_insert_with(|| (0, vec![0; self.warps]));
                *epoch = (*epoch).max(known);
            }
        }
        learned
    }
}

pub fn join(into: &mut [u32], from: &[u32]) {
    for (a, b) in into.iter_mut().zip(from) {
        *a = (*a).max(*b);
    }
}
