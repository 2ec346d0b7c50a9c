//! `--device`: which of them, and what it can do.

use super::{CpuProgram, Lowered, Placement, Program, VmBackend};
use crate::graph::{Graph, Precision};
use crate::kernels::{COMPILER, NO_KERNELS};
use crate::{Error, Result};
use std::fmt;

/// Where programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
    /// The PTX machine.
    Vm,
}

impl Device {
    /// `auto`, `cpu` or `vm`; an error says why it cannot be used here.
    pub fn parse(text: &str) -> Result<Self> {
        let fail = |what: &str| Err(Error::Device { device: text.into(), what: what.into() });
        match text {
            "auto" | "cpu" => Ok(Self::Cpu),
            "vm" if COMPILER.is_none() => fail(NO_KERNELS),
            "vm" => Ok(Self::Vm),
            _ => fail("there is no such device; there are auto, cpu, vm"),
        }
    }

    /// An error if the device does not compute in that precision.
    pub fn check(self, precision: Precision) -> Result<()> {
        if self == Self::Cpu && precision == Precision::Bf16 {
            return Err(Error::config(
                "precision",
                "the CPU engine computes in f32; use f32 instead of bf16, or --device cuda or vm",
            ));
        }
        Ok(())
    }

    /// Plans a graph on this device and takes its memory.
    pub fn program(self, graph: Graph) -> Result<Box<dyn Program>> {
        self.check(graph.precision())?;
        Ok(match self {
            Self::Cpu => Box::new(CpuProgram::new(graph)),
            Self::Vm => Box::new(Lowered::new(graph, VmBackend::new(0), Placement::Arena)?),
        })
    }

    /// The same with every tensor in memory of its own, so that a device that checks sees accesses outside of it.
    pub fn program_apart(self, graph: Graph) -> Result<Box<dyn Program>> {
        self.check(graph.precision())?;
        Ok(match self {
            Self::Vm => Box::new(Lowered::new(graph, VmBackend::new(0), Placement::Apart)?),
            other => other.program(graph)?,
        })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Vm => "vm",
        })
    }
}
