//! A warp: its frames, and the groups its lanes have split into.
//!
//! Lanes that run together form a split: one place, one frame, one mask. A branch that divides a split leaves a join at
//! the branch's post-dominator, where the parts wait for each other. Waiting there is a courtesy, never a need: when
//! nobody else can run, or others have run for long, a waiting part goes on. So lanes of a warp make progress
//! independently, as they do since Volta.

use crate::vm::lanes::{Frame, WARP};
use crate::vm::program::NONE;

#[derive(Clone, Debug, PartialEq)]
pub enum SplitState {
    Ready,
    AtJoin,
    /// (barrier, generation when it arrived).
    AtBarrier(usize, u64),
    /// At a `*_sync` whose other lanes are missing.
    AtSync {
        members: u32,
    },
}

#[derive(Clone, Debug)]
pub struct Split {
    pub pc: u32,
    pub frame: u32,
    pub mask: u32,
    pub state: SplitState,
    /// Goes on at a `*_sync` without those who cannot come.
    pub forced: bool,
}

/// Lanes of `mask` meet at `pc` in `frame`.
#[derive(Clone, Debug)]
pub struct Join {
    pub frame: u32,
    pub pc: u32,
    pub mask: u32,
}

#[derive(Default)]
pub struct FrameState {
    pub words: Frame,
    pub function: u32,
    pub parent: u32,
    pub return_pc: u32,
    /// Lanes still inside.
    pub inside: u32,
    /// Where its local variables begin in each lane's local memory.
    pub local_base: u32,
    pub depth: u32,
}

#[derive(Default)]
pub struct Warp {
    pub index: usize,
    pub frames: Vec<FrameState>,
    pub free: Vec<u32>,
    pub splits: Vec<Split>,
    pub joins: Vec<Join>,
    /// Lanes that have not exited.
    pub alive: u32,
    /// Local memory, lane after lane, so many bytes each.
    pub local: Vec<u8>,
    pub local_stride: usize,
    /// Index of the last allocation hit.
    pub hint: usize,
    /// Failed mbarrier tests since it last did anything else that matters.
    pub spins: u32,
    pub instructions: u64,
    /// Async copies: groups committed so far, by lane.
    pub committed: [u32; WARP],
}

impl Warp {
    /// Joins waiting parts whose partners have all arrived or exited; true if any could go on.
    pub fn settle_joins(&mut self) -> bool {
        let mut moved = false;
        for split in &mut self.splits {
            if split.state != SplitState::AtJoin {
                continue;
            }
            let at = self.joins.iter().rposition(|j| {
                j.frame == split.frame && j.pc == split.pc && j.mask & split.mask == split.mask
            });
            let complete = at.is_none_or(|at| self.joins[at].mask & self.alive == split.mask);
            if complete {
                if let Some(at) = at {
                    self.joins.remove(at);
                }
                split.state = SplitState::Ready;
                moved = true;
            }
        }
        moved
    }

    /// Lets one waiting part go on without its partners.
    pub fn release_join(&mut self) -> bool {
        let Some(split) = self.splits.iter_mut().find(|s| s.state == SplitState::AtJoin) else {
            return false;
        };
        split.state = SplitState::Ready;
        let (frame, pc, mask) = (split.frame, split.pc, split.mask);
        self.joins.retain(|j| !(j.frame == frame && j.pc == pc && j.mask & mask == mask));
        true
    }

    /// At a join's place: true if the split may go on, false if it waits (or has been absorbed by one that waits).
    pub fn arrive_at_join(&mut self, current: usize) -> Arrival {
        loop {
            let Split { pc, frame, mask, .. } = self.splits[current];
            let at = self.joins.iter().rposition(|j| j.frame == frame && j.pc == pc && j.mask & mask == mask);
            let Some(at) = at else {
                // Lanes that took another way in are not waited for any more.
                for join in self.joins.iter_mut().filter(|j| j.frame == frame && j.pc == pc) {
                    join.mask &= !mask;
                }
                self.joins.retain(|j| j.mask != 0);
                return Arrival::Go;
            };
            let partner = self.splits.iter().position(|s| {
                s.state == SplitState::AtJoin
                    && s.frame == frame
                    && s.pc == pc
                    && self.joins[at].mask & s.mask == s.mask
            });
            let together = mask | partner.map_or(0, |p| self.splits[p].mask);
            if self.joins[at].mask & self.alive & !together != 0 {
                if let Some(partner) = partner {
                    self.splits[partner].mask = together;
                    self.splits.remove(current);
                } else {
                    self.splits[current].state = SplitState::AtJoin;
                }
                return Arrival::Wait;
            }
            self.joins.remove(at);
            self.splits[current].mask = together;
            if let Some(partner) = partner {
                self.splits.remove(partner);
                if partner < current {
                    return Arrival::Moved;
                }
            }
        }
    }

    pub fn depth(&self, frame: u32) -> u32 {
        self.frames.get(frame as usize).map_or(0, |f| f.depth)
    }

    pub fn parent(&self, frame: u32) -> Option<u32> {
        let parent = self.frames[frame as usize].parent;
        (parent != NONE).then_some(parent)
    }

    /// Room for `bytes` of local memory in every lane.
    pub fn grow_local(&mut self, bytes: usize) {
        if bytes <= self.local_stride {
            return;
        }
        let stride = bytes.next_power_of_two().max(256);
        let mut grown = vec![0xff; stride * WARP];
        for lane in 0..WARP {
            let old = &self.local[lane * self.local_stride..][..self.local_stride];
            grown[lane * stride..][..self.local_stride].copy_from_slice(old);
        }
        (self.local, self.local_stride) = (grown, stride);
    }
}

pub enum Arrival {
    Go,
    Wait,
    /// Go on, but the split's index has changed: look again.
    Moved,
}
