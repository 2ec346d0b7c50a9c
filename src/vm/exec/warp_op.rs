//! Shuffles, votes, matches, reductions: lanes of a warp that must all be there. PTX ISA, sections 9.7.9.6 and 9.7.13.

use super::Stop;
use super::access::Spot;
use super::atomic::reduce;
use super::cta::Cta;
use super::ops::{Shuffle, ShuffleMode, Vote, WarpOp};
use super::run::{Flow, predicate, set_predicate};
use super::warp::{Split, SplitState, Warp};
use crate::vm::check::Kind;
use crate::vm::lanes::{FULL, WARP, get, lanes, set};

/// Lanes that do something together, and the mask they named.
type Group = (u32, u32);

impl Cta<'_> {
    /// Waits until every lane named by `members` is here. Some: the lanes now here, which may be more than came.
    pub(super) fn gather(
        &mut self,
        warp: &mut Warp,
        at: usize,
        spot: Spot,
        members: &[u32; WARP],
        mask: u32,
        active: u32,
    ) -> Result<Option<u32>, Stop> {
        if active == mask && lanes(active).all(|lane| members[lane] == active) {
            return Ok(Some(active));
        }
        let forced = std::mem::take(&mut warp.splits[at].forced);
        let wanted = lanes(active).fold(0, |all, lane| all | members[lane]);
        if wanted & warp.alive & !active != 0 && !forced {
            if active != mask {
                let rest = Split { pc: spot.pc + 1, mask: mask & !active, ..warp.splits[at].clone() };
                warp.splits.push(rest);
            }
            warp.splits[at].mask = active;
            warp.splits[at].state = SplitState::AtSync { members: wanted };
            let twin = warp.splits.iter().position(|s| {
                s.pc == spot.pc
                    && s.frame == spot.frame
                    && s.mask != active
                    && matches!(s.state, SplitState::AtSync { .. })
            });
            if let Some(twin) = twin {
                warp.splits[twin].mask |= active;
                if let SplitState::AtSync { members } = &mut warp.splits[twin].state {
                    *members |= wanted;
                }
                warp.splits.swap_remove(at);
            }
            return Ok(None);
        }
        self.check_members(warp, spot, members, active);
        Ok(Some(active))
    }

    fn check_members(&self, warp: &Warp, spot: Spot, members: &[u32; WARP], active: u32) {
        if self.checks.is_none() {
            return;
        }
        let complain = |lane: usize, what: String| {
            self.grid.report(Kind::WarpMask, self.site(warp.index, spot.pc, lane), None, None, what);
        };
        for lane in lanes(active) {
            let named = members[lane];
            if named >> lane & 1 == 0 {
                return complain(
                    lane,
                    format!("a lane calls with the mask {named:#010x}, which does not name it"),
                );
            }
            if let Some(other) = lanes(named & active).find(|&other| members[other] != named) {
                let theirs = members[other];
                return complain(
                    lane,
                    format!("lane {lane} names {named:#010x}, lane {other} {theirs:#010x}"),
                );
            }
            let gone = named & !active;
            if gone != 0 {
                let why = if gone & warp.alive == 0 { "have left the kernel" } else { "are elsewhere" };
                let who = Self::name_lanes(gone);
                return complain(lane, format!("the mask {named:#010x} names {who}, which {why}"));
            }
        }
    }

    /// Nobody can run: a part of the warp that waits at a `*_sync` goes on without the others. True if there was one.
    pub(super) fn force_sync(&mut self, warp: &mut Warp) -> Result<bool, Stop> {
        let waiting = warp.splits.iter_mut().find(|s| matches!(s.state, SplitState::AtSync { .. }));
        let Some(split) = waiting else { return Ok(false) };
        (split.state, split.forced) = (SplitState::Ready, true);
        if !self.grid.shape.check {
            let site = self.site(warp.index, split.pc, split.mask.trailing_zeros() as usize & 31);
            let what = format!("{} wait for lanes that cannot come", Self::name_lanes(split.mask));
            self.grid.report(Kind::WarpMask, site, None, None, what);
            return Err(self.grid.abort(Kind::WarpMask, site.pc));
        }
        Ok(true)
    }

    pub(super) fn warp_op(
        &mut self,
        warp: &mut Warp,
        at: usize,
        spot: Spot,
        op: &WarpOp,
        mask: u32,
        active: u32,
    ) -> Result<Flow, Stop> {
        let words = spot.words;
        if let WarpOp::Active { d } = op {
            // SAFETY: the linker made the slots for this frame, here and below.
            unsafe { set(words, *d, active, &[active; WARP]) };
            return Ok(Flow::Next);
        }
        // SAFETY: as above.
        let members = unsafe { get::<u32>(words, op.members()) };
        let Some(here) = self.gather(warp, at, spot, &members, mask, active)? else {
            return Ok(Flow::Blocked);
        };
        for (group, named) in groups(&members, here) {
            // SAFETY: as above.
            unsafe {
                match op {
                    WarpOp::Sync { .. } => {
                        if let Some(checks) = &mut self.checks {
                            checks.clocks.meet(warp.index, group);
                        }
                    }
                    WarpOp::Vote { mode, d, p, .. } => {
                        let votes = predicate(words, *p) & group;
                        match mode {
                            Vote::All => {
                                set_predicate(words, *d, group, if votes == group { FULL } else { 0 })
                            }
                            Vote::Any => set_predicate(words, *d, group, if votes != 0 { FULL } else { 0 }),
                            Vote::Uni => {
                                set_predicate(
                                    words,
                                    *d,
                                    group,
                                    if votes == group || votes == 0 { FULL } else { 0 },
                                );
                            }
                            Vote::Ballot => set(words, *d, group, &[votes; WARP]),
                        }
                    }
                    WarpOp::Match { all, d, p, a, bytes, .. } => {
                        let values = if *bytes == 8 {
                            get::<u64>(words, *a)
                        } else {
                            get::<u32>(words, *a).map(u64::from)
                        };
                        let equals = |lane: usize| {
                            lanes(group)
                                .filter(|&other| values[other] == values[lane])
                                .fold(0, |m, l| m | 1 << l)
                        };
                        let mut found = [0u32; WARP];
                        lanes(group).for_each(|lane| found[lane] = equals(lane));
                        if *all {
                            let same = found[group.trailing_zeros() as usize & 31] == group;
                            found = [if same { named } else { 0 }; WARP];
                            set_predicate(words, *p, group, if same { FULL } else { 0 });
                        }
                        set(words, *d, group, &found);
                    }
                    WarpOp::Redux { op, ty, d, a, .. } => {
                        let value = reduce(*op, *ty, &get::<u32>(words, *a), group);
                        set(words, *d, group, &[value; WARP]);
                    }
                    WarpOp::Elect { d, p, .. } => {
                        let leader = group.trailing_zeros();
                        set(words, *d, group, &[leader; WARP]);
                        set_predicate(words, *p, group, 1 << leader);
                    }
                    WarpOp::Active { .. } => {}
                }
            }
        }
        Ok(Flow::Next)
    }

    pub(super) fn shuffle(
        &mut self,
        warp: &mut Warp,
        at: usize,
        spot: Spot,
        shuffle: &Shuffle,
        mask: u32,
        active: u32,
    ) -> Result<Flow, Stop> {
        let Shuffle { mode, d, p, a, b, c, members } = *shuffle;
        let words = spot.words;
        // SAFETY: the linker made the slots for this frame, here and below.
        let members = unsafe { get::<u32>(words, members) };
        let Some(here) = self.gather(warp, at, spot, &members, mask, active)? else {
            return Ok(Flow::Blocked);
        };
        // SAFETY: as above.
        let (values, offsets, clamps) =
            unsafe { (get::<u32>(words, a), get::<u32>(words, b), get::<u32>(words, c)) };
        let (mut results, mut inside, mut stray) = (values, 0u32, None);
        for lane in lanes(here) {
            let (offset, clamp, segment) = (offsets[lane] & 31, clamps[lane] & 31, clamps[lane] >> 8 & 31);
            let own = lane as u32;
            let last = own & segment | clamp & !segment;
            let first = own & segment;
            let (source, ok) = match mode {
                ShuffleMode::Up => (own.wrapping_sub(offset), own as i32 - offset as i32 >= last as i32),
                ShuffleMode::Down => (own + offset, own + offset <= last),
                ShuffleMode::Butterfly => (own ^ offset, own ^ offset <= last),
                ShuffleMode::Index => {
                    let source = first | offset & !segment;
                    (source, source <= last)
                }
            };
            let source = if ok { source & 31 } else { own };
            inside |= u32::from(ok) << lane;
            results[lane] = values[source as usize];
            if here & members[lane] & 1 << source == 0 {
                // PTX leaves it open; NVIDIA's reduction sample needs a 0 here.
                results[lane] = 0;
                // The last lanes of a partial `down` read beyond it in every reduction, and nobody looks at them.
                let looked_at = matches!(mode, ShuffleMode::Index | ShuffleMode::Butterfly);
                stray = stray.or(looked_at.then_some((lane, source)));
            }
        }
        if let Some((lane, source)) = stray.filter(|_| self.checks.is_some()) {
            let what = format!("lane {lane} reads lane {source}, which takes no part");
            self.grid.report(Kind::WarpMask, self.site(warp.index, spot.pc, lane), None, None, what);
        }
        // SAFETY: as above.
        unsafe {
            set(words, d, here, &results);
            set_predicate(words, p, here, inside);
        }
        Ok(Flow::Next)
    }

    /// For instructions all lanes of the warp execute: true once they are here.
    pub(super) fn gather_all(
        &mut self,
        warp: &mut Warp,
        at: usize,
        spot: Spot,
        mask: u32,
        active: u32,
    ) -> Result<bool, Stop> {
        Ok(active == FULL || self.gather(warp, at, spot, &[FULL; WARP], mask, active)?.is_some())
    }
}

/// Lanes by the mask they named.
fn groups(members: &[u32; WARP], here: u32) -> impl Iterator<Item = Group> {
    let mut rest = here;
    std::iter::from_fn(move || {
        let first = lanes(rest).next()?;
        let named = members[first];
        let group = lanes(rest).filter(|&lane| members[lane] == named).fold(0, |m, lane| m | 1 << lane);
        rest &= !group;
        Some((group, named))
    })
}
