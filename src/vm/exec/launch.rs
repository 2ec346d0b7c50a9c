//! A launch: blocks in order over the cores of the host.

use super::Stop;
use super::cta::{Cta, Turn};
use super::grid::{Grid, Shape, lock};
use crate::vm::check::Finding;
use crate::vm::memory::Memory;
use crate::vm::profile::Counters;
use crate::vm::program::Program;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

/// Blocks a core holds at once, so that some can wait for others.
const RESIDENT: usize = 4096;

/// What a launch left, besides memory.
#[derive(Debug, Default)]
pub struct Outcome {
    pub findings: Vec<Finding>,
    /// Of `printf`.
    pub printed: Vec<u8>,
    /// Empty unless profiling.
    pub counters: Counters,
    pub seconds: f64,
}

/// Runs every block to its end, or until something fatal. `progress` hears of finished blocks.
pub fn run(
    program: &Program,
    memory: &Memory,
    shape: &Shape,
    params: Vec<u8>,
    workspace: u64,
    progress: &(dyn Fn(u64) + Sync),
) -> Outcome {
    let grid = Grid::new(program, memory, shape, params, workspace);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = if shape.workers == 0 { cores } else { shape.workers };
    let workers = workers.min(usize::try_from(shape.blocks()).unwrap_or(usize::MAX)).max(1);
    if workers == 1 {
        worker(&grid, progress);
    } else {
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| worker(&grid, progress));
            }
        });
    }
    let seconds = grid.started.elapsed().as_secs_f64();
    let (findings, printed, counters) = grid.into_results();
    Outcome { findings, printed, counters, seconds }
}

/// One core: a block to its end, then the next; a block that takes long lets another begin.
fn worker(grid: &Grid, progress: &(dyn Fn(u64) + Sync)) {
    let mut resident: VecDeque<Cta> = VecDeque::new();
    let mut exhausted = false;
    loop {
        if !exhausted && resident.len() < RESIDENT {
            match grid.take_block() {
                Some(block) => resident.push_front(Cta::new(grid, block)),
                None => exhausted = true,
            }
        }
        let Some(mut cta) = resident.pop_front() else { return };
        match cta.turn() {
            Ok(Turn::More) => resident.push_back(cta),
            Ok(Turn::Done) => {
                add_counters(grid, &cta);
                progress(grid.finished.fetch_add(1, Ordering::Relaxed) + 1);
            }
            Err(Stop) => {
                add_counters(grid, &cta);
                return;
            }
        }
    }
}

fn add_counters(grid: &Grid, cta: &Cta) {
    if grid.shape.profile {
        lock(&grid.counters).add(&cta.counters);
    }
}
