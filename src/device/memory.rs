//! Where a plan's tensors lie in a backend's memory.

use super::backend::Backend;
use super::launch::Address;
use crate::graph::Graph;
use crate::graph::plan::{Block, Plan};
use crate::tensor::DType;
use crate::{Error, Result};

/// How tensors are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In one arena, as the plan says: how training runs.
    Arena,
    /// Each in an allocation of its own: a checking device then sees every access outside of it.
    Apart,
}

/// Where blocks of the plan lie.
pub(super) enum Memory {
    Arena(Address),
    /// Each block, with its address.
    Apart(Vec<(Block, Address)>),
}

impl Memory {
    pub fn take(
        graph: &Graph,
        plan: &Plan,
        backend: &mut impl Backend,
        placement: Placement,
    ) -> Result<Self> {
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

    pub fn of(&self, block: Block) -> Address {
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
