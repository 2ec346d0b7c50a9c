//! What the profiler counts while a kernel runs.

use super::access::Reach;
use super::cta::Cta;
use crate::vm::lanes::{WARP, lanes};
use crate::vm::ptx::Space;

const SECTOR: u64 = 32;
const BANKS: u64 = 32;

impl Cta<'_> {
    #[inline(always)]
    pub(super) fn count(&mut self, pc: u32, active: u32) {
        if let Some(counter) = self.counters.get_mut(pc as usize) {
            counter.issued += 1;
            counter.lanes += u64::from(active.count_ones());
        }
    }

    pub(super) fn count_divergence(&mut self, pc: u32) {
        if let Some(counter) = self.counters.get_mut(pc as usize) {
            counter.diverged += 1;
        }
    }

    pub(super) fn count_access(&mut self, pc: u32, reach: &Reach, size: u64) {
        let Some(counter) = self.counters.get_mut(pc as usize).filter(|_| reach.mask != 0) else { return };
        let bytes = size * u64::from(reach.mask.count_ones());
        match reach.space {
            Space::Global => {
                counter.requests += 1;
                counter.bytes += bytes;
                let mut sectors: Vec<u64> = lanes(reach.mask)
                    .flat_map(|lane| {
                        let first = reach.addresses[lane] / SECTOR;
                        first..=(reach.addresses[lane] + size - 1) / SECTOR
                    })
                    .collect();
                sectors.sort_unstable();
                sectors.dedup();
                counter.sectors += sectors.len() as u64;
                counter.sectors_ideal += distinct_bytes(reach, size).div_ceil(SECTOR);
            }
            Space::Shared => {
                counter.shared_requests += 1;
                counter.shared_bytes += bytes;
                let (wavefronts, ideal) = wavefronts(reach, size);
                counter.wavefronts += wavefronts;
                counter.wavefronts_ideal += ideal;
            }
            _ => {}
        }
    }
}

/// Bytes of the request without those several lanes share.
fn distinct_bytes(reach: &Reach, size: u64) -> u64 {
    let mut starts: Vec<u64> = lanes(reach.mask).map(|lane| reach.addresses[lane]).collect();
    starts.sort_unstable();
    starts.dedup();
    size * starts.len() as u64
}

/// Passes a shared access takes: each bank gives one 4-byte word a pass; 8-byte accesses go by half warps, 16-byte ones
/// by quarters.
fn wavefronts(reach: &Reach, size: u64) -> (u64, u64) {
    let group = match size {
        0..=4 => WARP,
        8 => WARP / 2,
        _ => WARP / 4,
    };
    let (mut all, mut ideal) = (0, 0);
    for first in (0..WARP).step_by(group) {
        let part = lanes(reach.mask).filter(|lane| (first..first + group).contains(lane));
        let mut words: Vec<u64> = part
            .flat_map(|lane| reach.addresses[lane] / 4..=(reach.addresses[lane] + size - 1) / 4)
            .collect();
        words.sort_unstable();
        words.dedup();
        let mut banks = [0u64; BANKS as usize];
        words.iter().for_each(|word| banks[(word % BANKS) as usize] += 1);
        all += banks.iter().max().copied().unwrap_or(0);
        ideal += u64::from(!words.is_empty());
    }
    (all, ideal)
}
