//! `mbarrier`: arrivals counted in 64 bits of shared memory. PTX ISA, section 9.7.13.15.
//!
//! The bits, which PTX leaves open: 0–19 arrivals still expected in this phase, 20–39 those of the next, 40–62 bytes
//! still expected (two's complement), 63 the phase.

use super::Stop;
use super::access::{Cell, Reach, Spot, Verb};
use super::cta::Cta;
use super::inspect::Touch;
use super::ops::{Address, Mbarrier, Order};
use super::run::{Flow, set_predicate};
use super::warp::Warp;
use crate::vm::lanes::{WARP, get, lanes, set};
use crate::vm::program::NONE;

const COUNT: u64 = (1 << 20) - 1;
const BYTES: u64 = (1 << 23) - 1;

#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    pending: u64,
    expected: u64,
    bytes: u64,
    phase: u64,
}

impl State {
    fn unpack(bits: u64) -> Self {
        Self {
            pending: bits & COUNT,
            expected: bits >> 20 & COUNT,
            bytes: bits >> 40 & BYTES,
            phase: bits >> 63,
        }
    }

    fn pack(self) -> u64 {
        self.pending & COUNT | (self.expected & COUNT) << 20 | (self.bytes & BYTES) << 40 | self.phase << 63
    }

    /// Next phase if everybody and everything has come.
    fn complete(mut self) -> Self {
        if self.pending == 0 && self.bytes & BYTES == 0 {
            (self.pending, self.phase) = (self.expected, self.phase ^ 1);
        }
        self
    }

    fn arrive(mut self, count: u64) -> Self {
        self.pending = self.pending.wrapping_sub(count) & COUNT;
        self.complete()
    }

    fn expect(mut self, bytes: u64) -> Self {
        self.bytes = self.bytes.wrapping_add(bytes) & BYTES;
        self
    }
}

impl Cta<'_> {
    /// Lanes whose mbarrier is where it should be.
    pub(super) fn mbarrier_reach<const INSPECT: bool>(
        &mut self,
        warp: &mut Warp,
        spot: Spot,
        at: &Address,
        active: u32,
    ) -> Result<Reach, Stop> {
        let reach = self.reach(warp, spot, at, 8, active, Verb::Update)?;
        if INSPECT {
            let touch = Touch { reads: true, writes: true, order: Order::Strong };
            self.inspect(warp.index, spot.pc, &reach, 8, touch, |_| false, |_| {});
        }
        Ok(reach)
    }

    fn change(&mut self, offset: u32, f: impl FnOnce(State) -> State) -> u64 {
        // SAFETY: `mbarrier_reach` checked that eight aligned bytes are there.
        unsafe {
            let place = self.shared.pointer().add(offset as usize);
            let old = u64::read(place);
            let new = f(State::unpack(old)).pack();
            new.write(place);
            self.progressed |= old >> 63 != new >> 63;
            old
        }
    }

    /// `cp.async.mbarrier.arrive` without `.noinc` counts itself in.
    pub(super) fn expect_one_more(&mut self, barrier: u32) {
        self.change(barrier, |mut state| {
            state.pending += 1;
            state
        });
    }

    /// The copies of a thread have arrived.
    pub(super) fn copies_counted(&mut self, warp: usize, barrier: u32) {
        self.change(barrier, |state| state.arrive(1));
        if let Some(checks) = &mut self.checks {
            checks.clocks.arrive(warp, barrier);
        }
    }

    pub(super) fn mbarrier<const INSPECT: bool>(
        &mut self,
        warp: &mut Warp,
        spot: Spot,
        op: &Mbarrier,
        active: u32,
    ) -> Result<Flow, Stop> {
        // SAFETY: the linker made the slots for this frame, here and below.
        let word = |slot: u32, default: u32| unsafe {
            if slot == NONE { [default; WARP] } else { get::<u32>(spot.words, slot) }
        };
        match op {
            Mbarrier::Init { at, count } => {
                let reach = self.reach(warp, spot, at, 8, active, Verb::Write)?;
                if INSPECT {
                    let touch = Touch { reads: false, writes: true, order: Order::Strong };
                    self.inspect(warp.index, spot.pc, &reach, 8, touch, |_| false, |_| {});
                }
                let counts = word(*count, 0);
                for lane in lanes(reach.mask) {
                    let count = u64::from(counts[lane]);
                    self.change(reach.addresses[lane] as u32, |_| State {
                        pending: count,
                        expected: count,
                        bytes: 0,
                        phase: 0,
                    });
                }
            }
            Mbarrier::Invalidate { at } => {
                let reach = self.mbarrier_reach::<INSPECT>(warp, spot, at, active)?;
                for lane in lanes(reach.mask) {
                    // SAFETY: checked by `mbarrier_reach`.
                    unsafe { u64::MAX.write(reach.pointers[lane]) };
                }
            }
            Mbarrier::Arrive { at, state, count, transactions, drop } => {
                let reach = self.mbarrier_reach::<INSPECT>(warp, spot, at, active)?;
                let (counts, bytes) = (word(*count, 1), word(*transactions, 0));
                let mut tokens = [0u64; WARP];
                for lane in lanes(reach.mask) {
                    let offset = reach.addresses[lane] as u32;
                    tokens[lane] = self.change(offset, |mut state| {
                        if *drop {
                            state.expected = state.expected.saturating_sub(counts[lane].into());
                        }
                        state.expect(bytes[lane].into()).arrive(counts[lane].into())
                    });
                    if let Some(checks) = &mut self.checks {
                        checks.clocks.arrive(warp.index, offset);
                    }
                }
                if *state != NONE {
                    // SAFETY: as above.
                    unsafe { set(spot.words, *state, reach.mask, &tokens) };
                }
            }
            Mbarrier::ExpectTransactions { at, transactions, complete } => {
                let reach = self.mbarrier_reach::<INSPECT>(warp, spot, at, active)?;
                let bytes = word(*transactions, 0);
                for lane in lanes(reach.mask) {
                    let bytes = u64::from(bytes[lane]);
                    self.change(reach.addresses[lane] as u32, |state| {
                        if *complete {
                            state.expect(bytes.wrapping_neg()).complete()
                        } else {
                            state.expect(bytes)
                        }
                    });
                }
            }
            Mbarrier::Test { at, p, state, parity } => {
                let reach = self.mbarrier_reach::<INSPECT>(warp, spot, at, active)?;
                // SAFETY: as above.
                let tokens =
                    if *state == NONE { [0; WARP] } else { unsafe { get::<u64>(spot.words, *state) } };
                let parities = word(*parity, 0);
                let mut done = 0;
                for lane in lanes(reach.mask) {
                    // SAFETY: checked by `mbarrier_reach`.
                    let now = unsafe { u64::read(reach.pointers[lane]) } >> 63;
                    let waited =
                        if *state == NONE { u64::from(parities[lane] & 1) } else { tokens[lane] >> 63 };
                    done |= u32::from(now != waited) << lane;
                }
                // SAFETY: as above.
                unsafe { set_predicate(spot.words, *p, reach.mask, done) };
                if done != 0 {
                    let mut seen: Vec<u32> = lanes(done).map(|lane| reach.addresses[lane] as u32).collect();
                    seen.dedup();
                    for offset in seen {
                        if let Some(checks) = &mut self.checks {
                            let lane = done.trailing_zeros() as usize & 31;
                            checks.clocks.strong_shared(warp.index, lane, offset, true, false);
                            checks.clocks.meet(warp.index, done);
                        }
                        self.settle_tied(offset);
                    }
                }
                if done != reach.mask {
                    // Whoever waits gives what it waits for a chance.
                    self.copies_arrive_sometimes();
                }
            }
            Mbarrier::PendingCount { d, state } => {
                // SAFETY: as above.
                unsafe {
                    let tokens = get::<u64>(spot.words, *state);
                    set(spot.words, *d, active, &tokens.map(|token| (token & COUNT) as u32));
                }
            }
        }
        Ok(Flow::Next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_completes_when_all_have_come() {
        let state = State { pending: 2, expected: 2, bytes: 0, phase: 0 };
        assert_eq!(State::unpack(state.pack()), state);
        let one = state.expect(16).arrive(1);
        assert_eq!((one.pending, one.phase), (1, 0));
        let both = one.arrive(1);
        assert_eq!((both.pending, both.phase, both.bytes), (0, 0, 16));
        let done = State::unpack(both.pack()).expect(16u64.wrapping_neg()).complete();
        assert_eq!((done.pending, done.phase, done.bytes), (2, 1, 0));
    }
}
