//! `cp.async`: copies that arrive when they like. PTX ISA, section 9.7.9.25.
//!
//! A copy's destination is poisoned when it is issued. Its bytes may arrive at any time from then on, in any order, and
//! have arrived for sure only when the thread that issued it has waited (or an mbarrier it was tied to has completed).
//! Until then the checks call its destination in flight, whether or not the bytes are there.

use super::Stop;
use super::access::{Cell, Reach, Spot, Verb};
use super::cta::Cta;
use super::inspect::Touch;
use super::ops::{Address, Copy, Order};
use super::run::{Flow, predicate};
use super::warp::Warp;
use crate::vm::check::{ByteState, Kind, Stamp};
use crate::vm::lanes::{WARP, get, lanes};
use crate::vm::program::NONE;

/// A copy not yet waited for.
struct Pending {
    lane: usize,
    /// Number of its group among the thread's; [`OPEN`] until committed.
    group: u32,
    pc: u32,
    from: *const u8,
    from_address: u64,
    /// Offset in shared memory.
    to: usize,
    bytes: usize,
    /// The rest is zeros.
    source_bytes: usize,
    arrived: bool,
    /// mbarrier that counts it.
    tied: Option<u32>,
    /// Its warp's clock when that mbarrier counted it.
    clock: Option<u32>,
}

const OPEN: u32 = u32::MAX;

/// An mbarrier waits for a thread's copies.
pub(super) struct Arrival {
    pub warp: usize,
    pub lane: usize,
    pub barrier: u32,
}

pub struct Copies {
    /// By warp.
    pending: Vec<Vec<Pending>>,
    pub(super) arrivals: Vec<Arrival>,
    random: u64,
}

// SAFETY: the pointers lead to device memory, which outlives the launch and is accessed atomically.
unsafe impl Send for Copies {}

impl Copies {
    pub fn new(seed: u64) -> Self {
        Self { pending: Vec::new(), arrivals: Vec::new(), random: seed }
    }

    /// SplitMix64.
    pub(super) fn random(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below.max(1) as u64) as usize
    }

    fn of(&mut self, warp: usize) -> &mut Vec<Pending> {
        if self.pending.len() <= warp {
            self.pending.resize_with(warp + 1, Vec::new);
        }
        &mut self.pending[warp]
    }
}

impl Cta<'_> {
    pub(super) fn copy<const INSPECT: bool>(
        &mut self,
        warp: &mut Warp,
        spot: Spot,
        copy: &Copy,
        active: u32,
    ) -> Result<Flow, Stop> {
        match copy {
            Copy::Issue { to, from, bytes, source_bytes, ignore } => {
                // SAFETY: the linker made the slots for this frame.
                let sources: [usize; WARP] = unsafe {
                    let ignored = if *ignore == NONE { 0 } else { predicate(spot.words, *ignore) };
                    let given = if *source_bytes == NONE {
                        [u32::from(*bytes); WARP]
                    } else {
                        get(spot.words, *source_bytes)
                    };
                    std::array::from_fn(|lane| {
                        if ignored >> lane & 1 != 0 {
                            0
                        } else {
                            (given[lane] as usize).min(usize::from(*bytes))
                        }
                    })
                };
                self.issue::<INSPECT>(warp, spot, (to, from), usize::from(*bytes), &sources, active)?;
            }
            Copy::Commit => {
                let committed = warp.committed;
                for pending in self
                    .copies
                    .of(warp.index)
                    .iter_mut()
                    .filter(|p| p.group == OPEN && active >> p.lane & 1 != 0)
                {
                    pending.group = committed[pending.lane];
                }
                lanes(active).for_each(|lane| warp.committed[lane] += 1);
            }
            Copy::Wait { groups } => {
                let limits = warp.committed.map(|committed| committed.saturating_sub(*groups));
                self.wait(warp.index, |p| active >> p.lane & 1 != 0 && p.group < limits[p.lane]);
            }
            Copy::WaitAll => self.wait(warp.index, |p| active >> p.lane & 1 != 0),
            Copy::Arrive { at, noinc } => return self.tie::<INSPECT>(warp, spot, at, *noinc, active),
        }
        Ok(Flow::Next)
    }

    fn issue<const INSPECT: bool>(
        &mut self,
        warp: &mut Warp,
        spot: Spot,
        (to, from): (&Address, &Address),
        bytes: usize,
        sources: &[usize; WARP],
        active: u32,
    ) -> Result<(), Stop> {
        let mut readable = [(std::ptr::null::<u8>(), 0u64); WARP];
        let mut going = active;
        // Lanes that read nothing may point anywhere; those that read a part must be in bounds with that part.
        let mut rest = lanes(active).filter(|&l| sources[l] > 0).fold(0, |m, l| m | 1u32 << l);
        while rest != 0 {
            let length = sources[rest.trailing_zeros() as usize];
            let alike = lanes(rest).filter(|&l| sources[l] == length).fold(0, |m, l| m | 1u32 << l);
            let unit = 1u64 << length.trailing_zeros();
            let reach = self.reach(warp, spot, from, unit, alike, Verb::Read)?;
            rest &= !reach.seen;
            going &= !(reach.seen & !reach.mask);
            let room = |lane: usize| {
                let allocation = self.grid.memory.allocation(reach.allocation);
                allocation.is_some_and(|a| a.pointer(reach.addresses[lane], length as u64).is_some())
            };
            for lane in lanes(reach.mask) {
                if !room(lane) {
                    let site = self.site(warp.index, spot.pc, lane);
                    let what = format!("copies {length} bytes, of which the last are behind the allocation");
                    self.grid.report(
                        Kind::OutOfBounds,
                        site,
                        Some(("global", reach.addresses[lane])),
                        None,
                        what,
                    );
                    going &= !(1 << lane);
                } else {
                    readable[lane] = (reach.pointers[lane], reach.addresses[lane]);
                }
            }
            if INSPECT {
                let inside = Reach { mask: reach.mask & going, ..reach };
                self.count_access(spot.pc, &inside, length as u64);
                let touch = Touch { reads: true, writes: false, order: Order::Plain };
                self.inspect(warp.index, spot.pc, &inside, length as u64, touch, |_| false, |_| {});
            }
        }
        let reach = self.reach(warp, spot, to, bytes as u64, going, Verb::Write)?;
        if INSPECT {
            self.count_access(spot.pc, &reach, bytes as u64);
            let touch = Touch { reads: false, writes: true, order: Order::Plain };
            self.inspect(warp.index, spot.pc, &reach, bytes as u64, touch, |_| false, |_| {});
        }
        for lane in lanes(reach.mask) {
            let to = reach.addresses[lane] as usize;
            // SAFETY: `reach` checked that the bytes are in shared memory.
            unsafe { reach.pointers[lane].write_bytes(0xff, bytes) };
            if let Some(checks) = &mut self.checks {
                checks.shadow.mark(to, bytes, ByteState::InFlight);
            }
            let (from, from_address) = readable[lane];
            let source_bytes = if from.is_null() { 0 } else { sources[lane] };
            self.copies.of(warp.index).push(Pending {
                lane,
                group: OPEN,
                pc: spot.pc,
                from,
                from_address,
                to,
                bytes,
                source_bytes,
                arrived: false,
                tied: None,
                clock: None,
            });
        }
        Ok(())
    }

    /// The copies that `which` names arrive, in random order, and their thread knows it.
    fn wait(&mut self, warp: usize, which: impl Fn(&Pending) -> bool) {
        let pending = std::mem::take(self.copies.of(warp));
        let (mut due, left): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|p| p.tied.is_none() && which(p));
        *self.copies.of(warp) = left;
        for at in (1..due.len()).rev() {
            due.swap(at, self.copies.random(at + 1));
        }
        for mut pending in due {
            self.arrive(&mut pending);
            self.settle(warp, &pending);
        }
    }

    /// The bytes are there.
    fn arrive(&mut self, pending: &mut Pending) {
        if std::mem::replace(&mut pending.arrived, true) {
            return;
        }
        self.progressed = true;
        // SAFETY: the destination was checked when the copy was issued, and so was the source.
        unsafe {
            let to = self.shared.pointer().add(pending.to);
            for at in 0..pending.bytes {
                let byte = if at < pending.source_bytes { u8::read(pending.from.add(at)) } else { 0 };
                byte.write(to.add(at));
            }
        }
    }

    /// They are known to be there: as if their thread had written them now, or when its mbarrier counted them.
    fn settle(&mut self, warp: usize, pending: &Pending) {
        let Some(checks) = &mut self.checks else { return };
        checks.shadow.mark(pending.to, pending.bytes, ByteState::Written);
        let stamp = Stamp {
            block: self.block as u32 + 1,
            thread: (warp * WARP + pending.lane) as u32,
            clock: pending.clock.unwrap_or_else(|| checks.clocks.own(warp)),
            epoch: checks.clocks.epoch,
            pc: pending.pc,
            strong: false,
            compare: false,
            constant: false,
        };
        checks.shadow.access(pending.to, pending.bytes, stamp, true, &|_| true);
    }

    /// Now and then something arrives early.
    pub(super) fn copies_arrive_sometimes(&mut self) {
        if self.copies.arrivals.is_empty() && self.copies.pending.iter().all(Vec::is_empty) {
            return;
        }
        let warps = self.copies.pending.len();
        let warp = self.copies.random(warps);
        let count = self.copies.pending.get(warp).map_or(0, Vec::len);
        if count > 0 && self.copies.random(4) == 0 {
            let at = self.copies.random(count);
            let mut pending = self.copies.pending[warp].swap_remove(at);
            self.arrive(&mut pending);
            self.copies.pending[warp].push(pending);
        }
        if self.copies.random(4) == 0 {
            self.copies_arrive();
        }
    }

    /// One mbarrier hears of a thread's copies; false if none waits to.
    pub(super) fn copies_arrive(&mut self) -> bool {
        let count = self.copies.arrivals.len();
        if count == 0 {
            return false;
        }
        let at = self.copies.random(count);
        let Arrival { warp, lane, barrier } = self.copies.arrivals.swap_remove(at);
        let mut all = std::mem::take(self.copies.of(warp));
        for pending in all.iter_mut().filter(|p| p.lane == lane && p.tied == Some(barrier)) {
            self.arrive(pending);
            pending.clock = self.checks.as_ref().map(|checks| checks.clocks.own(warp));
        }
        *self.copies.of(warp) = all;
        self.copies_counted(warp, barrier);
        true
    }

    /// `cp.async.mbarrier.arrive`: the mbarrier counts the copies this thread has issued.
    fn tie<const INSPECT: bool>(
        &mut self,
        warp: &mut Warp,
        spot: Spot,
        at: &Address,
        noinc: bool,
        active: u32,
    ) -> Result<Flow, Stop> {
        let reach = self.mbarrier_reach::<INSPECT>(warp, spot, at, active)?;
        for lane in lanes(reach.mask) {
            let barrier = reach.addresses[lane] as u32;
            if !noinc {
                self.expect_one_more(barrier);
            }
            for pending in
                self.copies.of(warp.index).iter_mut().filter(|p| p.lane == lane && p.tied.is_none())
            {
                pending.tied = Some(barrier);
            }
            self.copies.arrivals.push(Arrival { warp: warp.index, lane, barrier });
        }
        Ok(Flow::Next)
    }

    /// A thread has seen an mbarrier's phase complete: what it counted is there.
    pub(super) fn settle_tied(&mut self, barrier: u32) {
        for warp in 0..self.copies.pending.len() {
            let all = std::mem::take(self.copies.of(warp));
            let (seen, left): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|p| p.arrived && p.tied == Some(barrier));
            *self.copies.of(warp) = left;
            seen.iter().for_each(|pending| self.settle(warp, pending));
        }
    }

    /// A block ends: whatever nobody waited for arrives in memory nobody reads.
    pub(super) fn copies_left(&mut self) {
        self.copies.pending.clear();
        self.copies.arrivals.clear();
    }

    /// A store to memory that a copy may still be reading.
    pub(super) fn disturb_copies(&self, warp: usize, pc: u32, reach: &Reach, size: u64) {
        for pending in self.copies.pending.iter().flatten() {
            let read = pending.from_address..pending.from_address + pending.source_bytes as u64;
            let hit = lanes(reach.mask)
                .find(|&lane| reach.addresses[lane] < read.end && read.start < reach.addresses[lane] + size);
            let Some(lane) = hit else { continue };
            let site = self.site(warp, pc, lane);
            let what = "writes what an async copy may still be reading".into();
            self.grid.report(Kind::InFlight, site, Some(("global", reach.addresses[lane])), None, what);
        }
    }
}
