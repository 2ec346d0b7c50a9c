//! Counters of what a launch did, instruction by instruction, and the page that sums them up.

mod page;

pub use page::{Page, Roofline};

/// Of one instruction of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counter {
    /// Times a warp issued it.
    pub issued: u64,
    /// Lanes it was executed for.
    pub lanes: u64,
    /// Branches that divided a warp.
    pub diverged: u64,
    /// Accesses to global memory, one a warp, and to shared memory: an async copy makes both.
    pub requests: u64,
    pub shared_requests: u64,
    /// Bytes its lanes asked for.
    pub bytes: u64,
    pub shared_bytes: u64,
    /// 32-byte sectors of global memory touched, and how many would do if the bytes lay together.
    pub sectors: u64,
    pub sectors_ideal: u64,
    /// Passes through the banks of shared memory, and how many would do without conflicts.
    pub wavefronts: u64,
    pub wavefronts_ideal: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Counters {
    pub instructions: Vec<Counter>,
}

impl Counters {
    /// Adds a block's.
    pub fn add(&mut self, block: &[Counter]) {
        if self.instructions.len() < block.len() {
            self.instructions.resize(block.len(), Counter::default());
        }
        for (sum, one) in self.instructions.iter_mut().zip(block) {
            sum.issued += one.issued;
            sum.lanes += one.lanes;
            sum.diverged += one.diverged;
            sum.requests += one.requests;
            sum.shared_requests += one.shared_requests;
            sum.bytes += one.bytes;
            sum.shared_bytes += one.shared_bytes;
            sum.sectors += one.sectors;
            sum.sectors_ideal += one.sectors_ideal;
            sum.wavefronts += one.wavefronts;
            sum.wavefronts_ideal += one.wavefronts_ideal;
        }
    }
}
