//! What runs launches: a GPU's driver, the PTX machine, or nothing.

use super::launch::{Address, Launch};
use crate::Result;
use std::ops::Range;
use std::time::Instant;

/// What runs launches and holds memory.
pub trait Backend: Send {
    /// As `--device` names it.
    fn name(&self) -> String;

    /// Device memory, aligned to 256 bytes, which holds anything.
    fn allocate(&mut self, name: &str, bytes: usize) -> Result<Address>;

    fn write(&mut self, to: Address, bytes: &[u8]) -> Result<()>;

    fn zero(&mut self, to: Address, bytes: usize) -> Result<()> {
        self.write(to, &vec![0; bytes])
    }

    /// Waits for what was launched before.
    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<()>;

    /// Runs launches in order; `key` names the sequence, which is the same whenever the key is. Need not wait for them.
    fn run(&mut self, key: Range<usize>, launches: &[&Launch]) -> Result<()>;

    /// Seconds the launches take, by the device's own clock if it has one.
    fn seconds(&mut self, key: Range<usize>, launches: &[&Launch]) -> Result<f64> {
        let began = Instant::now();
        self.run(key, launches)?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// Puts other data into the device's caches. Need not wait.
    fn evict(&mut self) -> Result<()> {
        Ok(())
    }
}
