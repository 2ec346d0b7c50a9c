//! What the checks and the profiler see of each access.

use super::access::Reach;
use super::cta::Cta;
use super::grid::lock;
use super::ops::Order;
use crate::vm::check::{ByteState, Clocks, Conflict, Kind, Shadow, Stamp};
use crate::vm::lanes::{WARP, lanes};
use crate::vm::ptx::Space;

/// What an access does to the bytes.
#[derive(Clone, Copy)]
pub struct Touch {
    pub reads: bool,
    pub writes: bool,
    pub order: Order,
}

impl Touch {
    fn name(self) -> &'static str {
        match (self.reads, self.writes) {
            (true, true) => "atomic update",
            (true, false) => "read",
            _ => "write",
        }
    }
}

/// Of one block: who has seen what, and the state of its shared memory.
pub struct Checks {
    pub clocks: Clocks,
    pub shadow: Shadow,
}

enum Complaint {
    State(ByteState),
    Conflict(Conflict),
}

impl Cta<'_> {
    /// Checks the lanes of `reach` one by one and lets each `perform` its access, if checks are on; `same` tells
    /// whether a write would change nothing.
    #[expect(clippy::too_many_arguments, reason = "who, where, which bytes, how, and the access itself")]
    pub(super) fn inspect(
        &mut self,
        warp: usize,
        pc: u32,
        reach: &Reach,
        size: u64,
        touch: Touch,
        same: impl Fn(usize) -> bool,
        mut perform: impl FnMut(usize),
    ) {
        let global = reach.space == Space::Global;
        let Some(checks) = self.checks.as_mut().filter(|_| global || reach.space == Space::Shared) else {
            lanes(reach.mask).for_each(perform);
            return;
        };
        if touch.order.is_strong() {
            order(&mut checks.clocks, self.grid, warp, self.block as u32, reach, touch);
        }
        let Checks { clocks, shadow } = checks.as_mut();
        let mut guard;
        let shadow = match self.grid.memory.allocation(reach.allocation) {
            Some(allocation) if global => {
                guard = lock(&allocation.shadow);
                &mut *guard
            }
            _ => shadow,
        };
        let mut complaints: Vec<(usize, Complaint)> = Vec::new();
        let block = self.block as u32 + 1;
        for lane in lanes(reach.mask) {
            let (offset, size) = ((reach.addresses[lane] - reach.base) as usize, size as usize);
            let state = shadow.state(offset, size);
            if touch.reads && state != ByteState::Written || state == ByteState::InFlight {
                complaints.push((lane, Complaint::State(state)));
            }
            if touch.writes {
                shadow.mark(offset, size, ByteState::Written);
            }
            let thread = (warp * WARP + lane) as u32;
            let (clock, epoch) = (clocks.own(warp), clocks.epoch);
            let (strong, compare) = (touch.order.is_strong(), touch.order == Order::Compare);
            let constant = touch.order == Order::NonCoherent;
            let stamp = Stamp { block, thread, clock, epoch, pc, strong, compare, constant };
            let settled = |earlier: &Stamp| {
                if earlier.block == block {
                    clocks.ordered(earlier, thread)
                } else {
                    clocks.knows_block(earlier.block - 1) > earlier.epoch
                }
            };
            if let Some(conflict) = shadow.access(offset, size, stamp, touch.writes, &settled)
                && !(conflict.earlier_writes && touch.writes && !touch.reads && same(lane))
            {
                complaints.push((lane, Complaint::Conflict(conflict)));
            }
            perform(lane);
        }
        if touch.order.is_strong() && touch.reads && touch.writes && global {
            // Another block may have published between the look above and the update.
            let mut places = lock(&self.grid.foreign);
            let mut last = None;
            for at in lanes(reach.mask).map(|lane| reach.addresses[lane]) {
                if last.replace(at) != Some(at) {
                    clocks.strong_global(&mut places, warp, self.block as u32, at, true, false);
                }
            }
        }
        for (lane, complaint) in complaints {
            self.complain(warp, pc, reach, lane, touch, complaint);
        }
        if touch.writes && global {
            self.disturb_copies(warp, pc, reach, size);
        }
    }

    fn complain(&self, warp: usize, pc: u32, reach: &Reach, lane: usize, touch: Touch, complaint: Complaint) {
        let place = Some((reach.space.name(), reach.addresses[lane]));
        let name = self.grid.memory.allocation(reach.allocation).filter(|_| reach.space == Space::Global);
        let of = name.map_or_else(|| "shared memory".into(), |a| format!("`{}`", a.name));
        let (kind, other, what) = match complaint {
            Complaint::State(ByteState::InFlight) if touch.reads => {
                (Kind::InFlight, None, format!("reads {of} while an async copy to it may still be in flight"))
            }
            Complaint::State(ByteState::InFlight) => (
                Kind::InFlight,
                None,
                format!("writes {of} while an async copy to it may still be in flight"),
            ),
            Complaint::State(_) => {
                (Kind::UninitialisedRead, None, format!("reads {of} where nothing was written"))
            }
            Complaint::Conflict(Conflict { earlier, earlier_writes, stale: true, .. }) => {
                let what = format!(
                    "{} of {of}, which this launch both writes and reads as constant (.nc): a GPU may read what was \
                     there before",
                    touch.name()
                );
                (Kind::StaleRead, Some((if earlier_writes { "write" } else { "read" }, earlier)), what)
            }
            Complaint::Conflict(Conflict { earlier, earlier_writes, .. }) => {
                let what = format!("{} of {of} not ordered against another thread's access", touch.name());
                (Kind::Race, Some((if earlier_writes { "write" } else { "read" }, earlier)), what)
            }
        };
        self.grid.report(kind, self.site(warp, pc, lane), place, other, what);
    }
}

/// What a strong access teaches this warp, and what it lets others know.
fn order(
    clocks: &mut Clocks,
    grid: &super::grid::Grid,
    warp: usize,
    block: u32,
    reach: &Reach,
    touch: Touch,
) {
    if matches!(touch.order, Order::Release | Order::AcquireRelease) {
        clocks.fence(warp);
    }
    if reach.space == Space::Shared {
        for lane in lanes(reach.mask) {
            clocks.strong_shared(warp, lane, reach.addresses[lane] as u32, touch.reads, touch.writes);
        }
    } else {
        let mut places = lock(&grid.foreign);
        let (mut last, mut learned) = (None, 0);
        for lane in lanes(reach.mask) {
            if last.replace(reach.addresses[lane]) != Some(reach.addresses[lane]) {
                learned = clocks.strong_global(
                    &mut places,
                    warp,
                    block,
                    reach.addresses[lane],
                    touch.reads,
                    touch.writes,
                );
            }
            clocks.learn(warp, lane, learned);
        }
    }
}
