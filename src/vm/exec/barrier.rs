//! `bar` and `barrier`: sixteen named meeting points of a block. PTX ISA, section 9.7.13.1.

use super::access::Spot;
use super::cta::Cta;
use super::ops::{Barrier, BarrierKind};
use super::run::{Flow, predicate, set_predicate};
use super::warp::{Split, SplitState, Warp};
use super::{Stop, ops};
use crate::vm::check::{Kind, Stamp};
use crate::vm::lanes::{WARP, get, lanes, set};
use crate::vm::program::{NONE, Op};

/// Threads of one warp that have come.
struct Come {
    warp: usize,
    pc: u32,
    mask: u32,
    aligned: bool,
}

#[derive(Default)]
pub struct Named {
    /// Times it was completed.
    pub generation: u64,
    pub arrived: u32,
    /// Threads it waits for; 0 for all that are alive.
    pub expected: u32,
    come: Vec<Come>,
    /// Of `bar.red`: true predicates so far, and of the last generation (count, all, any).
    votes: u32,
    result: (u32, bool, bool),
}

impl Cta<'_> {
    pub(super) fn barrier(
        &mut self,
        warp: &mut Warp,
        at: usize,
        spot: Spot,
        barrier: &Barrier,
        mask: u32,
        active: u32,
    ) -> Result<Flow, Stop> {
        let lane = active.trailing_zeros() as usize & 31;
        // SAFETY: the linker made the slots for this frame, here and below.
        let (ids, counts) = unsafe {
            let count = if barrier.count == NONE { [0; WARP] } else { get::<u32>(spot.words, barrier.count) };
            (get::<u32>(spot.words, barrier.id), count)
        };
        let (id, expected) = (ids[lane] as usize, counts[lane]);
        let mixed = lanes(active).find(|&l| ids[l] as usize != id || counts[l] != expected);
        if id >= 16 || mixed.is_some() {
            let what = if id >= 16 {
                format!("barrier {id}: there are sixteen, 0 to 15")
            } else {
                "lanes of one warp name different barriers or thread counts".into()
            };
            self.grid.report(Kind::BarrierDivergence, self.site(warp.index, spot.pc, lane), None, None, what);
            return Err(self.grid.abort(Kind::BarrierDivergence, spot.pc));
        }
        if active != mask {
            // The others go on; they are not waited for here.
            warp.splits[at].mask = active;
            let rest = Split { pc: spot.pc + 1, mask: mask & !active, ..warp.splits[at].clone() };
            warp.splits.push(rest);
        }
        if let Some(checks) = &mut self.checks {
            checks.clocks.meet(warp.index, active);
        }
        // SAFETY: as above.
        let votes = if barrier.p == NONE { 0 } else { active & unsafe { predicate(spot.words, barrier.p) } };
        let named = &mut self.barriers[id];
        named.expected = expected;
        named.arrived += active.count_ones();
        named.votes += votes.count_ones();
        named.come.push(Come { warp: warp.index, pc: spot.pc, mask: active, aligned: barrier.aligned });
        let generation = named.generation;
        warp.splits[at].pc = spot.pc + 1;
        if barrier.kind != BarrierKind::Arrive {
            warp.splits[at].state = SplitState::AtBarrier(id, generation);
            // Parts of a warp that come one after the other leave together.
            let twin = (0..warp.splits.len()).find(|&other| {
                let s = &warp.splits[other];
                other != at
                    && s.state == warp.splits[at].state
                    && (s.pc, s.frame) == (spot.pc + 1, spot.frame)
            });
            if let Some(twin) = twin {
                warp.splits[twin].mask |= active;
                warp.splits.swap_remove(at);
            }
        }
        self.complete_if_all(id);
        if barrier.kind == BarrierKind::Arrive && active == mask { Ok(Flow::Next) } else { Ok(Flow::Blocked) }
    }

    /// Lets those who wait go if everybody is there.
    pub(super) fn complete_if_all(&mut self, id: usize) {
        let named = &mut self.barriers[id];
        let expected = if named.expected == 0 { self.alive } else { named.expected };
        if named.arrived == 0 || named.arrived < expected {
            return;
        }
        let come = std::mem::take(&mut named.come);
        let whole = named.expected == 0;
        named.result = (named.votes, named.votes == named.arrived, named.votes > 0);
        (named.arrived, named.votes, named.expected) = (0, 0, 0);
        named.generation += 1;
        self.progressed = true;
        let Some(checks) = &mut self.checks else { return };
        // Lanes that came in parts meet now, not when their part came.
        for (at, part) in come.iter().enumerate().filter(|(_, part)| part.mask.count_ones() < WARP as u32) {
            let others = come.iter().skip(at + 1).filter(|other| other.warp == part.warp);
            let mask = others.fold(0, |mask, other| mask | other.mask);
            if mask != 0 {
                checks.clocks.meet(part.warp, mask | part.mask);
            }
        }
        checks.clocks.barrier(come.iter().map(|c| c.warp));
        if !whole {
            return;
        }
        // All threads of the block are to meet at one and the same `__syncthreads`.
        let first = &come[0];
        let Some(stray) = come.iter().find(|c| c.pc != first.pc && (c.aligned || first.aligned)) else {
            return;
        };
        let what = format!(
            "barrier {id} was completed by threads at different instructions: {} of warp {} here, {} of warp {} there",
            Self::name_lanes(stray.mask),
            stray.warp,
            Self::name_lanes(first.mask),
            first.warp
        );
        let thread = |c: &Come| (c.warp * WARP) as u32 + c.mask.trailing_zeros();
        let earlier =
            Stamp { block: self.block as u32 + 1, thread: thread(first), pc: first.pc, ..Stamp::default() };
        let site = self.site(stray.warp, stray.pc, stray.mask.trailing_zeros() as usize);
        self.grid.report(Kind::BarrierDivergence, site, None, Some(("barrier", earlier)), what);
    }

    /// A split that waited goes on; what `bar.red` found goes into its registers.
    pub(super) fn leave_barrier(&self, warp: &mut Warp, at: usize, id: usize) {
        let Split { pc, frame, mask, .. } = warp.splits[at];
        warp.splits[at].state = SplitState::Ready;
        let Op::Barrier(barrier) = &self.grid.program.code[pc as usize - 1].op else { return };
        let ops::Barrier { kind, d, .. } = barrier.as_ref();
        let words = warp.frames[frame as usize].words.pointer();
        let (count, all, any) = self.barriers[id].result;
        // SAFETY: the linker made the slot for this frame.
        unsafe {
            match kind {
                BarrierKind::Popc => set(words, *d, mask, &[count; WARP]),
                BarrierKind::And => set_predicate(words, *d, mask, if all { mask } else { 0 }),
                BarrierKind::Or => set_predicate(words, *d, mask, if any { mask } else { 0 }),
                BarrierKind::Sync | BarrierKind::Arrive => {}
            }
        }
    }

    /// Nobody can run: lanes at a barrier whose warp has lanes elsewhere are diverged.
    pub(super) fn divergence(&self, warp: &Warp) {
        if self.checks.is_none() {
            return;
        }
        for split in &warp.splits {
            let SplitState::AtBarrier(id, _) = split.state else { continue };
            let here = |s: &&Split| matches!(s.state, SplitState::AtBarrier(other, _) if other == id);
            let together = warp.splits.iter().filter(here).fold(0, |mask, s| mask | s.mask);
            let aligned = self.barriers[id].come.iter().any(|c| c.warp == warp.index && c.aligned);
            let elsewhere = warp
                .splits
                .iter()
                .find(|s| s.mask & !together != 0 && !matches!(s.state, SplitState::AtBarrier(..)));
            let (Some(elsewhere), true) = (elsewhere, aligned) else { continue };
            let line = self.grid.program.meta[self.visible(elsewhere.pc) as usize].line;
            let what = format!(
                "{} of the warp came to barrier {id}, {} stand at PTX line {line}",
                Self::name_lanes(together),
                Self::name_lanes(elsewhere.mask)
            );
            let site = self.site(warp.index, split.pc - 1, split.mask.trailing_zeros() as usize);
            self.grid.report(Kind::BarrierDivergence, site, None, None, what);
        }
    }
}
