//! A planned graph as kernel launches, on whatever can run them: a GPU, or the PTX machine.

use super::Program;
use super::launch::{Address, Launch, Operands};
use crate::graph::plan::{Block, Plan, Target};
use crate::graph::{Graph, Kind, TensorId};
use crate::tensor::{DType, HostTensor};
use crate::{Error, Result};
use std::cell::RefCell;
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

/// How tensors are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In one arena, as the plan says: how training runs.
    Arena,
    /// Each in an allocation of its own: a checking device then sees every access outside of it.
    Apart,
}

/// A graph in the memory of a backend.
pub struct Lowered<B> {
    graph: Graph,
    plan: Plan,
    places: Vec<Option<Address>>,
    /// By node.
    launches: Vec<Vec<Launch>>,
    backend: B,
}

impl<B: Backend> Lowered<B> {
    /// Plans `graph`, takes the memory, and fixes every launch.
    pub fn new(graph: Graph, mut backend: B, placement: Placement) -> Result<Self> {
        let plan = Plan::new(&graph, Target::Kernels);
        let memory = Memory::take(&graph, &plan, &mut backend, placement)?;
        let places: Vec<_> = plan.tensors.iter().map(|block| block.map(|b| memory.of(b))).collect();
        // An input nobody writes is zeros, as on the CPU.
        for (id, info) in graph.tensors().filter(|(id, info)| info.kind != Kind::Temp && info.storage == *id)
        {
            if let Some(place) = places[id.0] {
                backend.zero(place, info.ty.bytes())?;
            }
        }
        let backend = RefCell::new(backend);
        let upload = |bytes: &[u8]| {
            let mut backend = backend.borrow_mut();
            let place =
                backend.allocate("table", bytes.len()).map_err(|e| out_of_memory(&graph, &plan, e))?;
            backend.write(place, bytes)?;
            Ok(place)
        };
        let mut launches = Vec::with_capacity(graph.nodes().len());
        for (node, scratch) in graph.nodes().iter().zip(&plan.scratch) {
            let operand = |&t: &TensorId| (places[t.0].unwrap_or_default(), graph.ty(t).clone());
            let inputs: Vec<_> = node.inputs.iter().map(operand).collect();
            let outputs: Vec<_> = node.outputs.iter().map(operand).collect();
            let lowered = node.op.launches(&Operands {
                inputs: &inputs,
                outputs: &outputs,
                writes: &node.writes,
                workspace: scratch.map_or(Address::NULL, |b| memory.of(b)),
                upload: &upload,
            })?;
            lowered.iter().try_for_each(Launch::check)?;
            launches.push(lowered);
        }
        Ok(Self { graph, plan, places, launches, backend: backend.into_inner() })
    }

    pub fn backend(&self) -> &B {
        &self.backend
    }

    pub fn backend_mut(&mut self) -> &mut B {
        &mut self.backend
    }

    /// The launches of each node.
    pub fn launches(&self) -> &[Vec<Launch>] {
        &self.launches
    }

    fn place(&self, t: TensorId) -> Result<Address> {
        self.places[t.0]
            .ok_or_else(|| Error::Graph(format!("`{}` is not part of the program", self.graph.info(t).name)))
    }

    fn has_non_finite(&self, t: TensorId) -> Result<bool> {
        let ty = self.graph.ty(t);
        if !matches!(ty.dtype, DType::F32 | DType::Bf16) {
            return Ok(false);
        }
        let mut bytes = vec![0; ty.bytes()];
        self.backend.read(self.place(t)?, &mut bytes)?;
        let tensor = HostTensor::from_bytes(ty, &bytes).rounded(DType::F32);
        Ok(tensor.as_f32().is_some_and(|values| values.iter().any(|x| !x.is_finite())))
    }
}

/// Where blocks of the plan lie.
enum Memory {
    Arena(Address),
    /// Each block, with its address.
    Apart(Vec<(Block, Address)>),
}

impl Memory {
    fn take(graph: &Graph, plan: &Plan, backend: &mut impl Backend, placement: Placement) -> Result<Self> {
        if placement == Placement::Arena {
            let arena = backend.allocate("arena", plan.arena_bytes.max(1));
            return Ok(Self::Arena(arena.map_err(|e| out_of_memory(graph, plan, e))?));
        }
        let mut apart: Vec<(Block, Address)> = Vec::new();
        let named =
            graph.tensors().filter_map(|(id, info)| Some((plan.tensors[id.0]?, &info.name, info.ty.bytes())));
        let scratch = "workspace".to_string();
        let scratches = plan.scratch.iter().flatten().map(|b| (*b, &scratch, b.bytes));
        for (block, name, bytes) in named.chain(scratches) {
            if !apart.iter().any(|(b, _)| *b == block) {
                let place = backend.allocate(name, bytes).map_err(|e| out_of_memory(graph, plan, e))?;
                apart.push((block, place));
            }
        }
        Ok(Self::Apart(apart))
    }

    fn of(&self, block: Block) -> Address {
        match self {
            Self::Arena(base) => base.plus(block.offset),
            Self::Apart(blocks) => {
                blocks.iter().find(|(b, _)| *b == block).map_or(Address::NULL, |(_, address)| *address)
            }
        }
    }
}

/// What would have had to fit: the plan in a few lines.
pub(super) fn out_of_memory(graph: &Graph, plan: &Plan, reason: Error) -> Error {
    let mut largest: Vec<_> = graph
        .tensors()
        .filter(|(id, info)| info.storage == *id && plan.tensors[id.0].is_some())
        .map(|(_, info)| (info.ty.bytes(), format!("`{}` {}", info.name, info.ty)))
        .collect();
    let scratch = graph.nodes().iter().zip(&plan.scratch);
    largest.extend(
        scratch.filter_map(|(n, b)| Some((b.as_ref()?.bytes, format!("workspace of {}", n.op.name())))),
    );
    largest.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let lines: String =
        largest.iter().take(8).map(|(bytes, what)| format!("\n  {:10.1} MiB  {what}", mib(*bytes))).collect();
    let (arena, kept) = (mib(plan.arena_bytes), mib(plan.persistent_bytes));
    let set =
        graph.find("images").filter(|&t| graph.ty(t).dtype == DType::U8 && graph.find("places").is_none());
    let streamed =
        set.map_or("", |_| "\n`images` is the data set: with data.resident_mib=0 it is sent batch by batch");
    Error::Graph(format!(
        "{reason}\nthe step needs {arena:.1} MiB, {kept:.1} MiB of it for weights and state; its largest buffers:{lines}\n\
         a smaller batch needs less, nearly in proportion{streamed}"
    ))
}

impl<B: Backend> Program for Lowered<B> {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn write(&mut self, t: TensorId, bytes: &[u8]) -> Result<()> {
        let info = self.graph.info(t);
        if bytes.len() != info.ty.bytes() {
            let (name, ty, len) = (&info.name, &info.ty, bytes.len());
            return Err(Error::Graph(format!("`{name}` is {ty}: {len} bytes do not fit")));
        }
        self.backend.write(self.place(t)?, bytes)
    }

    fn read(&self, t: TensorId, bytes: &mut [u8]) -> Result<()> {
        self.graph.check_readable(t)?;
        self.backend.read(self.place(t)?, bytes)
    }

    fn run(&mut self, nodes: Range<usize>) -> Result<()> {
        let launches: Vec<&Launch> = self.launches[nodes.clone()].iter().flatten().collect();
        self.backend.run(nodes, &launches)
    }

    fn seconds(&mut self, nodes: Range<usize>) -> Result<f64> {
        let launches: Vec<&Launch> = self.launches[nodes.clone()].iter().flatten().collect();
        self.backend.seconds(nodes, &launches)
    }

    fn evict(&mut self) -> Result<()> {
        self.backend.evict()
    }

    fn entries(&self, node: usize) -> Vec<&'static str> {
        self.launches[node].iter().map(|launch| launch.entry).collect()
    }

    fn find_non_finite(&mut self, nodes: Range<usize>) -> Result<Option<String>> {
        for t in self.graph.given(nodes.clone()) {
            if self.has_non_finite(t)? {
                return Ok(Some(format!("`{}` itself holds NaN or infinity", self.graph.info(t).name)));
            }
        }
        for i in nodes {
            self.run(i..i + 1)?;
            for t in self.graph.made(i) {
                if self.has_non_finite(t)? {
                    return Ok(Some(self.graph.blame(i)));
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DryBackend;
    use crate::graph::{Init, Precision};
    use crate::ops::conv2d::{Conv2d, conv2d};
    use crate::ops::linear::linear;
    use crate::tensor::TensorType;

    fn layer() -> Graph {
        let mut graph = Graph::new();
        let x = graph.input("x", TensorType::f32([512, 256])).unwrap();
        let w = graph.param("head.weight", TensorType::f32([1024, 256]), Init::Zeros).unwrap();
        let y = linear(&mut graph, x, w, None).unwrap();
        graph.keep(y);
        graph
    }

    #[test]
    fn what_does_not_fit_is_named_largest_first() {
        for placement in [Placement::Arena, Placement::Apart] {
            let e =
                Lowered::new(layer(), DryBackend::with_room(1 << 20), placement).err().unwrap().to_string();
            assert!(e.contains("its largest buffers"), "{e}");
            let place = |what: &str| e.rfind(what).unwrap_or_else(|| panic!("no {what} in {e}"));
            assert!(place("2.0 MiB") < place("`head.weight`"), "{e}");
            assert!(place("`head.weight`") < place("`x`"), "{e}");
            assert!(e.contains("a smaller batch needs less"), "{e}");
            assert!(Lowered::new(layer(), DryBackend::with_room(8 << 20), placement).is_ok());
        }
    }

    #[test]
    fn what_the_kernels_cannot_index_is_refused() {
        let refusal =
            |graph| Lowered::new(graph, DryBackend::default(), Placement::Arena).err().unwrap().to_string();

        let mut graph = Graph::new();
        let x = graph.input("x", TensorType::f32([1 << 15, 256, 256, 8])).unwrap();
        let w = graph.param("w", TensorType::f32([8, 1, 1, 8]), Init::Zeros).unwrap();
        let y = conv2d(&mut graph, x, w, Conv2d::square(1, 0)).unwrap();
        graph.keep(y);
        let e = refusal(graph);
        assert!(e.contains("N·P·Q is 2147483648") && e.contains("smaller batch"), "{e}");

        // 64 rows a block along y.
        let mut graph = Graph::with_precision(Precision::Bf16);
        let ty = |shape: [usize; 2]| TensorType::new(shape, DType::Bf16);
        let x = graph.input("x", ty([1 << 23, 3])).unwrap();
        let w = graph.input("w", ty([4, 3])).unwrap();
        let y = linear(&mut graph, x, w, None).unwrap();
        graph.keep(y);
        let e = refusal(graph);
        assert!(e.contains("linear_fwd_bf16") && e.contains("65535"), "{e}");
    }
}
