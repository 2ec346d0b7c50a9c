//! A backend that runs nothing: what a graph would launch and hold, without a device.

use super::Backend;
use super::launch::{Address, Launch};
use crate::{Error, Result};
use std::ops::Range;

/// Gives out addresses and takes writes; there is no memory behind them.
#[derive(Default)]
pub struct DryBackend {
    next: u64,
}

impl Backend for DryBackend {
    fn name(&self) -> String {
        "none".into()
    }

    fn allocate(&mut self, _: &str, bytes: usize) -> Result<Address> {
        self.next += 256;
        let address = Address(self.next);
        self.next = (self.next + bytes as u64).next_multiple_of(256);
        Ok(address)
    }

    fn write(&mut self, _: Address, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn read(&self, _: Address, _: &mut [u8]) -> Result<()> {
        Err(nothing_runs())
    }

    fn run(&mut self, _: Range<usize>, _: &[&Launch]) -> Result<()> {
        Err(nothing_runs())
    }
}

fn nothing_runs() -> Error {
    Error::Device { device: "none".into(), what: "a plan is not run".into() }
}
