//! A backend that runs nothing: what a graph would launch and hold, without a device.

use super::Backend;
use super::launch::{Address, Launch};
use crate::{Error, Result};
use std::ops::Range;

/// Gives out addresses and takes writes; there is no memory behind them.
pub struct DryBackend {
    next: u64,
    /// The first address that is not there.
    end: u64,
}

impl Default for DryBackend {
    fn default() -> Self {
        Self { next: FIRST, end: u64::MAX }
    }
}

/// Not null, and aligned.
const FIRST: u64 = 256;

impl DryBackend {
    /// With so much memory and no more.
    pub fn with_room(bytes: usize) -> Self {
        Self { next: FIRST, end: FIRST + bytes as u64 }
    }
}

impl Backend for DryBackend {
    fn name(&self) -> String {
        "none".into()
    }

    fn allocate(&mut self, name: &str, bytes: usize) -> Result<Address> {
        let address = self.next;
        let end = (address + bytes as u64).next_multiple_of(256);
        if end > self.end {
            return Err(fail(format!("no room for the {bytes} bytes of `{name}`")));
        }
        self.next = end;
        Ok(Address(address))
    }

    fn write(&mut self, _: Address, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn zero(&mut self, _: Address, _: usize) -> Result<()> {
        Ok(())
    }

    fn read(&self, _: Address, _: &mut [u8]) -> Result<()> {
        Err(fail("a plan is not run".into()))
    }

    fn run(&mut self, _: Range<usize>, _: &[&Launch]) -> Result<()> {
        Err(fail("a plan is not run".into()))
    }
}

fn fail(what: String) -> Error {
    Error::Device { device: "none".into(), what }
}
