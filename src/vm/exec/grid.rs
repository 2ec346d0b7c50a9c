//! What all blocks of a launch share.

use super::Stop;
use crate::vm::check::{Finding, Foreign, Kind, Other, Stamp};
use crate::vm::memory::Memory;
use crate::vm::profile::Counters;
use crate::vm::program::Program;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How a kernel is launched.
#[derive(Clone, Debug)]
pub struct Shape {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
    /// Report what compute-sanitizer would, and go on where that makes sense; else the first fault ends the launch.
    pub check: bool,
    pub profile: bool,
    /// Of everything the hardware leaves open: when async copies arrive.
    pub seed: u64,
    /// Instructions of the blocks on one core after which a launch that stores, exits and synchronises nothing is
    /// taken to hang.
    pub stall_limit: u64,
    /// Worker threads; 0 for one a core.
    pub workers: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            grid: [1; 3],
            block: [1; 3],
            dynamic_shared: 0,
            check: false,
            profile: false,
            seed: 0,
            stall_limit: 50_000_000,
            workers: 0,
        }
    }
}

impl Shape {
    pub fn blocks(&self) -> u64 {
        self.grid.iter().map(|&n| u64::from(n)).product()
    }

    pub fn threads(&self) -> u32 {
        self.block.iter().product()
    }
}

/// Findings kept; the rest is counted with their kind and place, or not at all.
const MAX_FINDINGS: usize = 200;
/// Bytes of `printf` kept.
const MAX_PRINTED: usize = 16 << 20;

pub struct Grid<'g> {
    pub program: &'g Program,
    pub memory: &'g Memory,
    pub shape: &'g Shape,
    pub params: Vec<u8>,
    /// Device address where the blocks of a cooperative launch meet.
    pub workspace: u64,
    pub foreign: Mutex<Foreign>,
    findings: Mutex<BTreeMap<(u32, Kind), Finding>>,
    pub stop: AtomicBool,
    printed: Mutex<Vec<u8>>,
    next_block: AtomicU64,
    /// Grows when anything happened that a waiting thread could wait for.
    pub progress: AtomicU64,
    pub finished: AtomicU64,
    pub counters: Mutex<Counters>,
    pub started: std::time::Instant,
}

/// Where something went wrong: what a finding is made of, besides the words.
#[derive(Clone, Copy)]
pub struct Site {
    pub pc: u32,
    pub block: u64,
    pub thread: u32,
}

impl<'g> Grid<'g> {
    pub fn new(
        program: &'g Program,
        memory: &'g Memory,
        shape: &'g Shape,
        params: Vec<u8>,
        workspace: u64,
    ) -> Self {
        Self {
            program,
            memory,
            shape,
            params,
            workspace,
            foreign: Mutex::default(),
            findings: Mutex::default(),
            stop: AtomicBool::new(false),
            printed: Mutex::default(),
            next_block: AtomicU64::new(0),
            progress: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            counters: Mutex::default(),
            started: std::time::Instant::now(),
        }
    }

    /// The next block nobody has begun, in order: those that wait for their predecessors may rely on that.
    pub fn take_block(&self) -> Option<u64> {
        let block = self.next_block.fetch_add(1, Ordering::Relaxed);
        (block < self.shape.blocks()).then_some(block)
    }

    pub fn block_index(&self, block: u64) -> [u32; 3] {
        unravel(block, self.shape.grid)
    }

    pub fn thread_index(&self, thread: u32) -> [u32; 3] {
        unravel(thread.into(), self.shape.block)
    }

    /// Files a finding, or counts it if its like was filed before.
    pub fn report(
        &self,
        kind: Kind,
        site: Site,
        at: Option<(&'static str, u64)>,
        other: Option<(&str, Stamp)>,
        what: String,
    ) {
        let mut findings = lock(&self.findings);
        if let Some(known) = findings.get_mut(&(site.pc, kind)) {
            known.count += 1;
            return;
        }
        if findings.len() >= MAX_FINDINGS {
            return;
        }
        let meta = &self.program.meta[site.pc as usize];
        let finding = Finding {
            kind,
            kernel: self.program.name.clone(),
            line: meta.line,
            instruction: meta.text.clone(),
            source: self.source(site.pc),
            block: self.block_index(site.block),
            thread: self.thread_index(site.thread),
            space: at.map(|(space, _)| space),
            address: at.map(|(_, address)| address),
            what,
            other: other.map(|(what, stamp)| Other {
                what: what.to_string(),
                line: self.program.meta[stamp.pc as usize].line,
                source: self.source(stamp.pc),
                block: self.block_index(u64::from(stamp.block) - 1),
                thread: self.thread_index(stamp.thread),
            }),
            count: 1,
            fatal: false,
        };
        findings.insert((site.pc, kind), finding);
    }

    /// After a finding nothing can follow: the launch ends.
    pub fn abort(&self, kind: Kind, pc: u32) -> Stop {
        if let Some(finding) = lock(&self.findings).get_mut(&(pc, kind)) {
            finding.fatal = true;
        }
        self.stop.store(true, Ordering::Relaxed);
        Stop
    }

    fn source(&self, pc: u32) -> Option<String> {
        self.program.source(pc)
    }

    pub fn print(&self, text: &[u8]) {
        let mut printed = lock(&self.printed);
        let room = MAX_PRINTED.saturating_sub(printed.len());
        printed.extend_from_slice(&text[..text.len().min(room)]);
    }

    /// Findings in the order of the program, what was printed, and the counters.
    pub fn into_results(self) -> (Vec<Finding>, Vec<u8>, Counters) {
        let findings = self.findings.into_inner().unwrap_or_else(PoisonError::into_inner);
        let printed = self.printed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let counters = self.counters.into_inner().unwrap_or_else(PoisonError::into_inner);
        (findings.into_values().collect(), printed, counters)
    }
}

fn unravel(index: u64, shape: [u32; 3]) -> [u32; 3] {
    let [x, y, _] = shape.map(u64::from);
    [(index % x) as u32, (index / x % y) as u32, (index / (x * y)) as u32]
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
