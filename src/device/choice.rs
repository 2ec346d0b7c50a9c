//! `--device`: which of them, and what it can do.

use super::cuda::{self, CudaBackend};
use super::{CpuProgram, Lowered, Placement, Program, VmBackend};
use crate::graph::{Graph, Precision};
use crate::kernels::{COMPILER, NO_KERNELS};
use crate::{Error, Result};
use std::fmt;
use std::sync::Once;

/// Where programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
    /// The PTX machine.
    Vm,
    /// The GPU of that number.
    Cuda(usize),
}

impl Device {
    /// `auto`, `cpu`, `cuda`, `cuda:1` or `vm`; an error says why it cannot be used here. `auto` is the first GPU, or the
    /// CPU where there is none.
    pub fn parse(text: &str) -> Result<Self> {
        let fail = |what: &str| Err(Error::Device { device: text.into(), what: what.into() });
        let ordinal = match text {
            "auto" => return Ok(Self::auto()),
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            _ => text.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
        };
        match (text, ordinal) {
            ("vm", _) | (_, Some(_)) if COMPILER.is_none() => fail(NO_KERNELS),
            ("vm", _) => Ok(Self::Vm),
            (_, Some(ordinal)) => cuda::gpu(ordinal).map(|_| Self::Cuda(ordinal)),
            _ => fail("there is no such device; there are auto, cpu, cuda, cuda:1 and so on, vm"),
        }
    }

    fn auto() -> Self {
        if COMPILER.is_none() {
            return Self::Cpu;
        }
        match cuda::gpu(0) {
            Ok(_) => Self::Cuda(0),
            // A machine with a driver has a GPU that somebody means to use.
            Err(why) => {
                static TOLD: Once = Once::new();
                if cuda::has_driver() {
                    TOLD.call_once(|| tracing::warn!("running on the CPU: {why}"));
                }
                Self::Cpu
            }
        }
    }

    /// Of a GPU; of the machine's own there is as much as the system gives.
    pub fn memory_bytes(self) -> Result<usize> {
        match self {
            Self::Cuda(i) => Ok(cuda::gpu(i)?.memory_bytes),
            Self::Cpu | Self::Vm => Ok(usize::MAX),
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
            Self::Cpu => Box::new(CpuProgram::try_new(graph)?),
            Self::Vm => Box::new(Lowered::new(graph, VmBackend::new(0), placement())?),
            Self::Cuda(i) => Box::new(Lowered::new(graph, CudaBackend::new(i)?, placement())?),
        })
    }

    /// The same with every tensor in memory of its own, so that a checker (the PTX machine's, or compute-sanitizer) sees
    /// accesses outside of it.
    pub fn program_apart(self, graph: Graph) -> Result<Box<dyn Program>> {
        self.check(graph.precision())?;
        Ok(match self {
            Self::Vm => Box::new(Lowered::new(graph, VmBackend::new(0), Placement::Apart)?),
            Self::Cuda(i) => Box::new(Lowered::new(graph, CudaBackend::new(i)?, Placement::Apart)?),
            Self::Cpu => self.program(graph)?,
        })
    }
}

/// One arena, but with `RUSA_APART=1` an allocation for each tensor: whole training steps under compute-sanitizer.
fn placement() -> Placement {
    if std::env::var("RUSA_APART").is_ok_and(|v| v == "1") { Placement::Apart } else { Placement::Arena }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Vm => f.write_str("vm"),
            Self::Cuda(i) => write!(f, "cuda:{i}"),
        }
    }
}
