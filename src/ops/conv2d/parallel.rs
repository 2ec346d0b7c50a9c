//! Tasks over threads: what a task computes depends on its number alone, never on who runs it.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Floats in a cache line; every buffer carved from scratch starts on one.
pub const LINE: usize = 16;

/// `len` rounded up to whole cache lines.
pub fn lines(len: usize) -> usize {
    len.next_multiple_of(LINE)
}

/// Scratch for [`for_each_task`] with `slot` floats a worker, in the current thread pool.
pub fn slots_len(tasks: usize, slot: usize) -> usize {
    rayon::current_num_threads().min(tasks).max(1) * lines(slot.max(1))
}

/// The part of `scratch` that starts on a cache line.
pub fn aligned(scratch: &mut [f32]) -> &mut [f32] {
    let skip = scratch.as_ptr().align_offset(4 * LINE).min(scratch.len());
    &mut scratch[skip..]
}

/// Calls `work(task, slot)` for every task number, each worker with its own `slot` floats of `scratch`. Workers take the
/// next task as they finish one, so a descheduled thread delays one task and not a fixed share of them.
pub fn for_each_task(
    tasks: usize,
    scratch: &mut [f32],
    slot: usize,
    work: impl Fn(usize, &mut [f32]) + Sync,
) {
    let slot = lines(slot.max(1));
    let workers = rayon::current_num_threads().min(tasks).min(scratch.len() / slot);
    assert!(tasks == 0 || workers > 0, "conv2d: scratch is shorter than scratch_len");
    let next = AtomicUsize::new(0);
    let run = |slot: &mut [f32]| {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                break;
            }
            work(task, slot);
        }
    };
    match workers {
        0 => {}
        1 => run(&mut scratch[..slot]),
        _ => scratch[..workers * slot].par_chunks_exact_mut(slot).with_max_len(1).for_each(run),
    }
}

/// Calls `work` for every task number.
pub fn for_each(tasks: usize, work: impl Fn(usize) + Sync + Send) {
    if tasks == 1 {
        work(0);
    } else {
        (0..tasks).into_par_iter().for_each(work);
    }
}

/// A pointer that tasks writing disjoint elements may share.
#[derive(Clone, Copy)]
pub struct Shared(*mut f32);

// SAFETY: the tasks that share one write disjoint elements and read none that another writes.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    pub fn new(slice: &mut [f32]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// The pointer (a method, so that closures capture the whole `Shared`).
    pub fn get(self) -> *mut f32 {
        self.0
    }
}

/// The `i`-th of `parts` nearly equal ranges of `0..len`.
pub fn part(len: usize, parts: usize, i: usize) -> std::ops::Range<usize> {
    len * i / parts..len * (i + 1) / parts
}
