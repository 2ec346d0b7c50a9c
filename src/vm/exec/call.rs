//! Frames: entering a kernel, calling, returning, leaving.

use super::Stop;
use super::access::Spot;
use super::cta::Cta;
use super::run::Flow;
use super::warp::{FrameState, Split, SplitState, Warp};
use crate::vm::check::Kind;
use crate::vm::lanes::{WARP, get, lanes, set};
use crate::vm::program::{Builtin, Call, Callee, Func, NONE, Op, Relation, Special};

/// Calls within calls.
const MAX_DEPTH: u32 = 2000;
/// Bytes of local memory a thread may have, calls included.
const MAX_LOCAL: u32 = 512 << 10;

impl Cta<'_> {
    /// A warp about to run the entry.
    pub(super) fn entry_warp(&self, index: usize, alive: u32) -> Warp {
        let mut warp = Warp { index, alive, ..Warp::default() };
        let frame = self.enter(&mut warp, 0, NONE, NONE, alive, 0);
        let pc = self.grid.program.functions[0].start;
        warp.splits.push(Split { pc, frame, mask: alive, state: SplitState::Ready, forced: false });
        warp
    }

    fn enter(
        &self,
        warp: &mut Warp,
        function: u32,
        parent: u32,
        return_pc: u32,
        mask: u32,
        local_base: u32,
    ) -> u32 {
        let func = &self.grid.program.functions[function as usize];
        let index = warp.free.pop().unwrap_or_else(|| {
            warp.frames.push(FrameState::default());
            warp.frames.len() as u32 - 1
        });
        let depth = if parent == NONE { 0 } else { warp.depth(parent) + 1 };
        let frame = &mut warp.frames[index as usize];
        frame.words.copy_from(&func.template);
        (frame.function, frame.parent, frame.return_pc) = (function, parent, return_pc);
        (frame.inside, frame.local_base, frame.depth) = (mask, local_base, depth);
        let words = frame.words.pointer();
        self.fill_specials(words, func, warp.index);
        warp.grow_local((local_base + func.local_bytes) as usize);
        index
    }

    fn fill_specials(&self, words: *mut u32, func: &Func, warp: usize) {
        let shape = self.grid.shape;
        let block = self.grid.block_index(self.block);
        let fixed = self.grid.program.shared_bytes;
        for &(special, slot, ty) in &func.specials {
            let value = |lane: usize| -> u32 {
                let thread = (warp * WARP + lane) as u32;
                match special {
                    Special::Tid(axis) => self.grid.thread_index(thread)[axis as usize],
                    Special::Ntid(axis) => shape.block[axis as usize],
                    Special::Ctaid(axis) => block[axis as usize],
                    Special::Nctaid(axis) => shape.grid[axis as usize],
                    Special::LaneId => lane as u32,
                    Special::WarpId => warp as u32,
                    Special::NumWarps => shape.threads().div_ceil(WARP as u32),
                    Special::LaneMask(relation) => {
                        let own = 1u32 << lane;
                        match relation {
                            Relation::Eq => own,
                            Relation::Lt => own - 1,
                            Relation::Le => own | (own - 1),
                            Relation::Ge => !(own - 1),
                            Relation::Gt => !(own | (own - 1)),
                        }
                    }
                    Special::SmId => self.block as u32 % SMS,
                    Special::NumSm => SMS,
                    Special::GridId => 1,
                    Special::StaticShared => fixed,
                    Special::DynamicShared => shape.dynamic_shared,
                    Special::TotalShared => fixed + shape.dynamic_shared,
                    Special::ReservedShared(offset) => self.reserved + offset,
                    Special::Workspace(false) => self.grid.workspace as u32,
                    Special::Workspace(true) => (self.grid.workspace >> 32) as u32,
                    Special::Fixed(value) => value,
                }
            };
            let values: [u32; WARP] = std::array::from_fn(value);
            // SAFETY: the linker made the slot, so wide, for this frame.
            unsafe {
                match ty.bytes() {
                    2 => set(words, slot, u32::MAX, &values.map(|v| v as u16)),
                    4 => set(words, slot, u32::MAX, &values),
                    _ => set(words, slot, u32::MAX, &values.map(u64::from)),
                }
            }
        }
    }

    pub(super) fn call(
        &mut self,
        warp: &mut Warp,
        at: usize,
        spot: Spot,
        call: &Call,
        mask: u32,
        active: u32,
    ) -> Result<Flow, Stop> {
        let (function, going);
        match call.callee {
            Callee::Builtin(builtin) => return self.builtin(warp, spot, call, builtin, active),
            Callee::Function(index) => (function, going) = (index, active),
            Callee::Indirect(slot) => {
                // SAFETY: the linker made the slot for this frame.
                let addresses = unsafe { get::<u64>(spot.words, slot) };
                let first = addresses[active.trailing_zeros() as usize & 31];
                going = lanes(active).filter(|&l| addresses[l] == first).fold(0, |m, l| m | 1 << l);
                let found = self.grid.program.functions.iter().position(|f| f.address == first);
                function = found.unwrap_or_default() as u32;
                if found.is_none() {
                    let site = self.site(warp.index, spot.pc, going.trailing_zeros() as usize & 31);
                    let what = format!("calls {first:#x}, where there is no function");
                    self.grid.report(Kind::OutOfBounds, site, None, None, what);
                    return Err(self.grid.abort(Kind::OutOfBounds, spot.pc));
                }
            }
        }
        let program = self.grid.program;
        let func = &program.functions[function as usize];
        let own = &warp.frames[spot.frame as usize];
        let local_base = own.local_base + program.functions[own.function as usize].local_bytes;
        if own.depth >= MAX_DEPTH || local_base + func.local_bytes > MAX_LOCAL {
            let site = self.site(warp.index, spot.pc, going.trailing_zeros() as usize & 31);
            let what = format!("{} calls deep, {local_base} bytes of local memory a thread", own.depth);
            self.grid.report(Kind::StackOverflow, site, None, None, what);
            return Err(self.grid.abort(Kind::StackOverflow, spot.pc));
        }
        // All who were here meet behind the call.
        warp.open_join(spot.frame, spot.pc + 1, mask);
        let mut split_off = |pc, mask| {
            if mask != 0 {
                warp.splits.push(Split {
                    pc,
                    frame: spot.frame,
                    mask,
                    state: SplitState::Ready,
                    forced: false,
                });
            }
        };
        split_off(spot.pc + 1, mask & !active);
        split_off(spot.pc, active & !going);
        let frame = self.enter(warp, function, spot.frame, spot.pc + 1, going, local_base);
        let inner = warp.frames[frame as usize].words.pointer();
        copy_areas(spot.words, &call.params, inner, &func.params, going);
        warp.splits[at] =
            Split { pc: func.start, frame, mask: going, state: SplitState::Ready, forced: false };
        Ok(Flow::Refresh)
    }

    /// `ret`: results go into the caller's frame.
    pub(super) fn give_back(
        &mut self,
        warp: &mut Warp,
        at: usize,
        spot: Spot,
        mask: u32,
        active: u32,
    ) -> Flow {
        let Some(parent) = warp.parent(spot.frame) else {
            return self.exit_split(warp, at, spot.pc, mask, active);
        };
        let FrameState { function, return_pc, .. } = warp.frames[spot.frame as usize];
        let program = self.grid.program;
        let outer = warp.frames[parent as usize].words.pointer();
        if let Op::Call(call) = &program.code[return_pc as usize - 1].op {
            let func = &program.functions[function as usize];
            copy_areas(spot.words, &func.returns, outer, &call.returns, active);
        }
        leave_frame(warp, spot.frame, active);
        let back =
            Split { pc: return_pc, frame: parent, mask: active, state: SplitState::Ready, forced: false };
        if active == mask {
            warp.splits[at] = back;
        } else {
            warp.splits[at].mask = mask & !active;
            warp.splits[at].pc = spot.pc + 1;
            warp.splits.push(back);
        }
        Flow::Refresh
    }

    pub(super) fn trap(&mut self, warp: &Warp, pc: u32, active: u32) -> Stop {
        let site = self.site(warp.index, pc, active.trailing_zeros() as usize & 31);
        self.grid.report(Kind::Trap, site, None, None, "the kernel stopped itself with `trap`".into());
        self.grid.abort(Kind::Trap, pc)
    }

    fn builtin(
        &mut self,
        warp: &mut Warp,
        spot: Spot,
        call: &Call,
        builtin: Builtin,
        active: u32,
    ) -> Result<Flow, Stop> {
        let value = |index: usize, lane: usize| {
            // SAFETY: the linker made the areas, at least 16 bytes a lane, for this frame.
            call.params.get(index).map_or(0, |&(words, stride)| unsafe {
                let place = spot.words.add(words as usize).cast::<u8>().add(lane * stride as usize);
                place.cast::<u64>().read()
            })
        };
        let site = self.site(warp.index, spot.pc, active.trailing_zeros() as usize & 31);
        match builtin {
            Builtin::Vprintf => {
                self.progressed = true;
                for lane in lanes(active) {
                    let text = self.format(warp, lane, value(0, lane), value(1, lane));
                    self.grid.print(&text);
                    if let Some(&(words, stride)) = call.returns.first() {
                        // SAFETY: as above.
                        unsafe {
                            let place =
                                spot.words.add(words as usize).cast::<u8>().add(lane * stride as usize);
                            place.cast::<u32>().write(text.len() as u32);
                        }
                    }
                }
                Ok(Flow::Next)
            }
            Builtin::AssertFail => {
                let lane = active.trailing_zeros() as usize & 31;
                let mut text =
                    |i| String::from_utf8_lossy(&self.text_at(warp, lane, value(i, lane))).into_owned();
                let line = value(2, lane) as u32;
                let what = format!("`{}` is false in {} ({}:{line})", text(0), text(3), text(1));
                self.grid.report(Kind::Assertion, site, None, None, what);
                Err(self.grid.abort(Kind::Assertion, spot.pc))
            }
            Builtin::Malloc | Builtin::Free => {
                let what = "this machine has no heap: `malloc` and `free` in kernels".into();
                self.grid.report(Kind::Unsupported, site, None, None, what);
                Err(self.grid.abort(Kind::Unsupported, spot.pc))
            }
        }
    }
}

/// Streaming multiprocessors pretended: those of an H200.
const SMS: u32 = 132;

fn copy_areas(from: *mut u32, sources: &[(u32, u32)], to: *mut u32, dests: &[(u32, u32)], mask: u32) {
    for (&(source, from_stride), &(dest, to_stride)) in sources.iter().zip(dests) {
        let bytes = from_stride.min(to_stride) as usize;
        for lane in lanes(mask) {
            // SAFETY: areas hold their stride for each of 32 lanes; the two frames are apart.
            unsafe {
                let from = from.add(source as usize).cast::<u8>().add(lane * from_stride as usize);
                let to = to.add(dest as usize).cast::<u8>().add(lane * to_stride as usize);
                to.copy_from_nonoverlapping(from, bytes);
            }
        }
    }
}

fn leave_frame(warp: &mut Warp, frame: u32, mask: u32) {
    let state = &mut warp.frames[frame as usize];
    state.inside &= !mask;
    if state.inside == 0 {
        warp.free.push(frame);
    }
}

/// Lanes that exit leave every function they are in.
pub(super) fn leave(warp: &mut Warp, mask: u32) {
    for frame in 0..warp.frames.len() {
        if warp.frames[frame].inside & mask != 0 {
            leave_frame(warp, frame as u32, mask);
        }
    }
    for join in &mut warp.joins {
        join.mask &= !mask;
    }
    warp.joins.retain(|join| join.mask != 0);
}
