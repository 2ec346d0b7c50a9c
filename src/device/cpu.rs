//! The CPU engine: one arena, and each node's kernel called on slices of it.

use super::Program;
use super::memory::out_of_memory;
use crate::graph::plan::{Block, Plan, Target};
use crate::graph::{Graph, TensorId};
use crate::ops::{Args, Slice};
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use memmap2::MmapMut;
use std::ops::Range;

/// A graph planned for the CPU, with its memory.
pub struct CpuProgram {
    graph: Graph,
    plan: Plan,
    arena: Arena,
    operands: Vec<Operands>,
}

struct Operands {
    inputs: Vec<Slice>,
    outputs: Vec<Slice>,
    scratch: Slice,
}

impl CpuProgram {
    /// [`try_new`](Self::try_new) for graphs that are known to fit; panics where memory is short.
    pub fn new(graph: Graph) -> Self {
        Self::try_new(graph).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Plans `graph` and maps its arena, zeroed. An error names the largest buffers of what does not fit.
    pub fn try_new(graph: Graph) -> Result<Self> {
        let plan = Plan::new(&graph, Target::Cpu);
        let arena = Arena::new(plan.arena_bytes).map_err(|e| out_of_memory(&graph, &plan, e))?;
        let slice = |&t: &TensorId| arena.slice(plan.tensors[t.0], graph.ty(t).clone());
        let operands = graph
            .nodes()
            .iter()
            .zip(&plan.scratch)
            .map(|(node, &scratch)| {
                let elements = scratch.map_or(0, |block| block.bytes / 4);
                Operands {
                    inputs: node.inputs.iter().map(slice).collect(),
                    outputs: node.outputs.iter().map(slice).collect(),
                    scratch: arena.slice(scratch, TensorType::f32([elements])),
                }
            })
            .collect();
        Ok(Self { graph, plan, arena, operands })
    }

    fn run_node(&mut self, index: usize) {
        let node = &self.graph.nodes()[index];
        let Operands { inputs, outputs, scratch } = &self.operands[index];
        // SAFETY: the slices lie inside the arena, which is zeroed at the start and borrowed by `&mut self`; the plan
        // gives overlapping memory only to tensors that are not alive together, and a node's operands all are.
        node.op.cpu(&unsafe { Args::new(inputs, outputs, &node.writes, scratch) });
    }

    fn bytes(&self, t: TensorId) -> Result<(*mut u8, usize)> {
        let info = self.graph.info(t);
        let block = self.plan.tensors[t.0]
            .ok_or_else(|| Error::Graph(format!("`{}` is not part of the program", info.name)))?;
        // SAFETY: the plan's blocks lie inside the arena.
        Ok((unsafe { self.arena.base.add(block.offset) }, info.ty.bytes()))
    }

    fn has_non_finite(&self, t: TensorId) -> Result<bool> {
        if self.graph.ty(t).dtype != DType::F32 {
            return Ok(false);
        }
        let (from, size) = self.bytes(t)?;
        // SAFETY: inside the arena, aligned to 256, initialised.
        let values = unsafe { std::slice::from_raw_parts(from.cast::<f32>(), size / 4) };
        Ok(values.iter().any(|v| !v.is_finite()))
    }
}

impl Program for CpuProgram {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn write(&mut self, t: TensorId, bytes: &[u8]) -> Result<()> {
        let (to, size) = self.bytes(t)?;
        if bytes.len() != size {
            let info = self.graph.info(t);
            return Err(Error::Graph(format!(
                "`{}` is {}: {} bytes do not fit",
                info.name,
                info.ty,
                bytes.len()
            )));
        }
        // SAFETY: `to` has `size` bytes inside the arena, which `&mut self` borrows.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, size) };
        Ok(())
    }

    fn read(&self, t: TensorId, bytes: &mut [u8]) -> Result<()> {
        self.graph.check_readable(t)?;
        let info = self.graph.info(t);
        let (from, size) = self.bytes(t)?;
        assert_eq!(bytes.len(), size, "`{}` is {}", info.name, info.ty);
        // SAFETY: `from` has `size` initialised bytes inside the arena.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), size) };
        Ok(())
    }

    fn run(&mut self, nodes: Range<usize>) -> Result<()> {
        nodes.for_each(|i| self.run_node(i));
        Ok(())
    }

    fn find_non_finite(&mut self, nodes: Range<usize>) -> Result<Option<String>> {
        for t in self.graph.given(nodes.clone()) {
            if self.has_non_finite(t)? {
                return Ok(Some(format!("`{}` itself holds NaN or infinity", self.graph.info(t).name)));
            }
        }
        for i in nodes {
            self.run_node(i);
            for t in self.graph.made(i) {
                if self.has_non_finite(t)? {
                    return Ok(Some(self.graph.blame(i)));
                }
            }
        }
        Ok(None)
    }
}

/// Zeroed memory, aligned to a page.
struct Arena {
    base: *mut u8,
    memory: MmapMut,
}

// SAFETY: plain memory that the program owns.
unsafe impl Send for Arena {}
unsafe impl Sync for Arena {}

impl Arena {
    fn new(bytes: usize) -> Result<Self> {
        let mut memory = MmapMut::map_anon(bytes.max(1)).map_err(|e| {
            let what = format!("no room for the {} MiB of the arena ({e})", bytes >> 20);
            Error::Device { device: "cpu".into(), what }
        })?;
        // A step walks through all of it: with pages of 2 MiB, 3 to 5 % less of its time goes into finding them. Where the
        // system has none, small ones do.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage);
        Ok(Self { base: memory.as_mut_ptr(), memory })
    }

    fn slice(&self, block: Option<Block>, ty: TensorType) -> Slice {
        let offset = block.map_or(0, |b| b.offset);
        assert!(offset + ty.bytes() <= self.memory.len());
        // SAFETY: inside the arena, as just checked.
        Slice::new(unsafe { self.base.add(offset) }, ty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_memory_can_hold_is_an_error() {
        let mut graph = Graph::new();
        graph.input("views", TensorType::f32([1 << 40, 1 << 10])).unwrap();
        let e = CpuProgram::try_new(graph).err().unwrap().to_string();
        assert!(e.contains("no room for the") && e.contains("`views`"), "{e}");
    }
}
