//! A planned graph as kernel launches, on whatever can run them: a GPU, or the PTX machine.

use super::Program;
use super::backend::Backend;
use super::launch::{Address, Launch, Operands};
use super::memory::{Memory, Placement, out_of_memory};
use crate::graph::plan::{Plan, Target};
use crate::graph::{Graph, Kind, TensorId};
use crate::tensor::{DType, HostTensor};
use crate::{Error, Result};
use std::cell::RefCell;
use std::ops::Range;

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
    use crate::device::{DryBackend, Placement};
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
