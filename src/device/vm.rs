//! The PTX machine as a device: every launch is executed and checked. For tests and study, never for training in earnest.

use super::backend::Backend;
use super::launch::{Address, Launch, Value};
use crate::kernels;
use crate::vm::{Argument, Machine, Module, Outcome, Page, Program, Shape};
use crate::{Error, Result};
use std::collections::HashMap;
use std::ops::Range;

/// A machine, and the kernels it has decoded so far.
#[derive(Default)]
pub struct VmBackend {
    machine: Machine,
    modules: HashMap<&'static str, Module>,
    programs: HashMap<&'static str, Program>,
    seed: u64,
}

impl VmBackend {
    /// With every check on. `seed` decides when async copies arrive.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    fn decode(&mut self, entry: &'static str) -> Result<()> {
        if self.programs.contains_key(entry) {
            return Ok(());
        }
        let (kernel, _) = kernels::find(entry)?;
        if !self.modules.contains_key(kernel.file) {
            self.modules.insert(kernel.file, self.machine.load(kernel.ptx)?);
        }
        self.programs.insert(entry, self.modules[kernel.file].program(entry)?);
        Ok(())
    }

    fn launch(&mut self, launch: &Launch) -> Result<()> {
        self.execute(launch, Shape { check: true, ..Shape::default() }).map(|_| ())
    }

    /// Runs a launch and counts what a profiler counts, instead of checking.
    pub fn profile(&mut self, launch: &Launch) -> Result<Page> {
        let outcome = self.execute(launch, Shape { profile: true, ..Shape::default() })?;
        Ok(Page::new(&self.programs[launch.entry], &outcome.counters, None))
    }

    fn execute(&mut self, launch: &Launch, shape: Shape) -> Result<Outcome> {
        let Launch { entry, grid, block, shared, .. } = *launch;
        self.decode(entry)?;
        let arguments: Vec<Argument> = launch.arguments.iter().map(argument).collect();
        let shape = Shape { grid, block, dynamic_shared: shared, seed: self.seed, ..shape };
        let outcome = self.machine.run(&self.programs[entry], &shape, &arguments, &|_| {})?;
        match outcome.findings.first() {
            None => Ok(outcome),
            Some(finding) => Err(Error::kernel(entry, format!("grid {grid:?}, block {block:?}: {finding}"))),
        }
    }
}

fn argument(value: &Value) -> Argument {
    match *value {
        Value::U32(x) => Argument::U32(x),
        Value::U64(x) => Argument::U64(x),
        Value::F32(x) => Argument::F32(x),
        Value::Address(Address(x)) => Argument::Pointer(x),
    }
}

impl Backend for VmBackend {
    fn name(&self) -> String {
        "vm".into()
    }

    fn allocate(&mut self, name: &str, bytes: usize) -> Result<Address> {
        self.machine.allocate(name, bytes as u64).map(Address)
    }

    fn write(&mut self, to: Address, bytes: &[u8]) -> Result<()> {
        self.machine.write(to.0, bytes)
    }

    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.machine.read(from.0, bytes)
    }

    fn run(&mut self, _key: Range<usize>, launches: &[&Launch]) -> Result<()> {
        launches.iter().try_for_each(|launch| self.launch(launch))
    }
}
