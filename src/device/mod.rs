//! Where a planned graph runs.

mod backend;
mod choice;
mod cpu;
pub mod cuda;
mod dry;
pub mod launch;
mod lowered;
mod memory;
mod self_test;
mod vm;

pub use backend::Backend;
pub use choice::Device;
pub use cpu::CpuProgram;
pub use dry::DryBackend;
pub use lowered::Lowered;
pub use memory::Placement;
pub use self_test::self_test;
pub use vm::VmBackend;

use crate::graph::{Graph, Init, Kind, TensorId, plan::Plan};
use crate::rng::{Philox, Purpose};
use crate::tensor::{DType, HostTensor, Values};
use crate::{Error, Result};
use half::bf16;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

/// A planned graph in a device's memory, ready to run as often as one likes without allocating.
pub trait Program: Send {
    fn graph(&self) -> &Graph;
    fn plan(&self) -> &Plan;

    /// Copies values into a tensor.
    fn write(&mut self, t: TensorId, bytes: &[u8]) -> Result<()>;

    /// Copies a tensor's values out. A temporary must have been [kept](Graph::keep).
    fn read(&self, t: TensorId, bytes: &mut [u8]) -> Result<()>;

    /// Runs some of the nodes, in order.
    fn run(&mut self, nodes: Range<usize>) -> Result<()>;

    /// Runs some of the nodes, and waits; the seconds they took, by the device's own clock if it has one.
    fn seconds(&mut self, nodes: Range<usize>) -> Result<f64> {
        let began = Instant::now();
        self.run(nodes)?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// Puts other data into the device's caches, where it can: the next run then finds its operands in memory.
    fn evict(&mut self) -> Result<()> {
        Ok(())
    }

    /// The kernels a node launches, by their entries; none on the CPU.
    fn entries(&self, _node: usize) -> Vec<&'static str> {
        Vec::new()
    }

    /// Runs nodes one by one and names the first that produces NaN or infinity, or a tensor that already held it.
    fn find_non_finite(&mut self, nodes: Range<usize>) -> Result<Option<String>>;

    /// Runs everything.
    fn run_all(&mut self) -> Result<()> {
        let all = 0..self.graph().nodes().len();
        self.run(all)
    }

    /// Sets every parameter and state to its initial value. Each draw is keyed by the tensor's name, so weights do not
    /// depend on the order of recording.
    fn initialize(&mut self, seed: u64) -> Result<()> {
        for kind in [Kind::Param, Kind::State] {
            for t in self.graph().of_kind(kind) {
                let mut of = self.graph().info(t);
                while let Init::Copy(other) = of.init {
                    of = self.graph().info(other);
                }
                let values = initial_values(of.init, &of.name, &of.ty.shape, seed);
                self.write_f32(t, &values)?;
            }
        }
        Ok(())
    }

    /// Rounds to the tensor's type, if that is bf16.
    fn write_f32(&mut self, t: TensorId, values: &[f32]) -> Result<()> {
        if self.graph().ty(t).dtype == DType::Bf16 {
            let rounded: Vec<bf16> = values.iter().map(|&x| bf16::from_f32(x)).collect();
            return self.write(t, bytemuck::cast_slice(&rounded));
        }
        self.write(t, bytemuck::cast_slice(values))
    }

    /// A tensor of f32 or bf16.
    fn read_f32(&self, t: TensorId) -> Result<Vec<f32>> {
        let ty = self.graph().ty(t);
        let mut bytes = vec![0; ty.bytes()];
        self.read(t, &mut bytes)?;
        match HostTensor::from_bytes(ty, &bytes).rounded(DType::F32).values {
            Values::F32(values) => Ok(values),
            _ => Err(Error::Graph(format!("`{}` is {ty}, not floating-point", self.graph().info(t).name))),
        }
    }

    /// Everything that outlives a run, by name: parameters and states.
    fn state_dict(&self) -> Result<BTreeMap<String, HostTensor>> {
        let mut dict = BTreeMap::new();
        for kind in [Kind::Param, Kind::State] {
            for t in self.graph().of_kind(kind) {
                let info = self.graph().info(t);
                let mut bytes = vec![0; info.ty.bytes()];
                self.read(t, &mut bytes)?;
                dict.insert(info.name.clone(), HostTensor::from_bytes(&info.ty, &bytes));
            }
        }
        Ok(dict)
    }

    /// Sets every parameter and state of the graph from `dict`, which may hold more; a missing or misshapen one is an
    /// error that names it.
    fn load_state_dict(&mut self, dict: &BTreeMap<String, HostTensor>) -> Result<()> {
        for kind in [Kind::Param, Kind::State] {
            for t in self.graph().of_kind(kind) {
                let info = self.graph().info(t).clone();
                let tensor = dict
                    .get(&info.name)
                    .ok_or_else(|| Error::Graph(format!("no weights for `{}`", info.name)))?;
                tensor.ty().expect("weights", &info.name, &info.ty)?;
                self.write(t, tensor.bytes())?;
            }
        }
        Ok(())
    }
}

fn initial_values(init: Init, name: &str, shape: &[usize], seed: u64) -> Vec<f32> {
    let n: usize = shape.iter().product();
    // FNV-1a, so that the name is the stream.
    let hash =
        name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let mut rng = Philox::new(seed, Purpose::Init, 0, hash);
    match init {
        Init::Zeros => vec![0.0; n],
        Init::Ones => vec![1.0; n],
        Init::Normal(std) => (0..n).map(|_| std * rng.normal()).collect(),
        Init::Uniform(bound) => (0..n).map(|_| rng.range(-bound, bound)).collect(),
        Init::UnitRows => {
            let mut values: Vec<f32> = (0..n).map(|_| rng.normal()).collect();
            for row in values.chunks_exact_mut(shape.last().map_or(1, |&d| d.max(1))) {
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                row.iter_mut().for_each(|x| *x /= length);
            }
            values
        }
        Init::Copy(_) => unreachable!("resolved before"),
    }
}
