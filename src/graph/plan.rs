//! Memory before anything runs: when each tensor lives, and where in one arena it lies.

use super::{Graph, Kind, TensorId};
use crate::ops::Cost;

/// Every buffer starts at a multiple of this many bytes: a cache line here, a TMA box on a GPU.
pub const ALIGNMENT: usize = 256;

/// A stretch of the arena, and the nodes (first to last, inclusive) during which it belongs to its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    pub offset: usize,
    pub bytes: usize,
    pub first: usize,
    pub last: usize,
}

impl Block {
    fn overlaps_in_time(&self, other: &Block) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    fn overlaps_in_space(&self, other: &Block) -> bool {
        self.offset < other.offset + other.bytes && other.offset < self.offset + self.bytes
    }
}

/// Whose scratch memory is planned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// [`Op::cpu`](crate::ops::Op::cpu)
    Cpu,
    /// [`Op::launches`](crate::ops::Op::launches)
    Kernels,
}

/// Where everything lies. Tensors that outlive a run come first, temporaries and scratch share the rest.
#[derive(Clone, Debug)]
pub struct Plan {
    /// By tensor; `None` for a temporary that nothing ever touches.
    pub tensors: Vec<Option<Block>>,
    /// By node.
    pub scratch: Vec<Option<Block>>,
    /// Size of the whole arena.
    pub arena_bytes: usize,
    /// The part that keeps its values between runs.
    pub persistent_bytes: usize,
    /// The most bytes of temporaries alive at once: no layout can need less.
    pub live_bytes: usize,
    /// By node.
    pub costs: Vec<Cost>,
}

impl Plan {
    /// Plans `graph`.
    pub fn new(graph: &Graph, target: Target) -> Self {
        let mut tensors: Vec<Option<Block>> = vec![None; graph.tensors().count()];
        let end = graph.nodes().len();
        let mut persistent_bytes = 0;
        for (id, info) in graph.tensors() {
            if info.kind != Kind::Temp && info.storage == id {
                let bytes = align(info.ty.bytes());
                tensors[id.0] = Some(Block { offset: persistent_bytes, bytes, first: 0, last: end });
                persistent_bytes += bytes;
            }
        }

        let mut touch = |id: TensorId, at: usize| {
            let root = graph.info(id).storage;
            let bytes = align(graph.ty(root).bytes());
            let block = tensors[root.0].get_or_insert(Block { offset: 0, bytes, first: at, last: at });
            block.first = block.first.min(at);
            block.last = block.last.max(at);
        };
        for (at, node) in graph.nodes().iter().enumerate() {
            node.inputs.iter().chain(&node.outputs).for_each(|&id| touch(id, at));
        }
        graph.kept().iter().for_each(|&id| touch(id, end));

        let mut scratch: Vec<Option<Block>> = graph
            .nodes()
            .iter()
            .enumerate()
            .map(|(at, node)| {
                let inputs = graph.types(&node.inputs);
                let bytes = match target {
                    Target::Cpu => node.op.scratch(&inputs) * size_of::<f32>(),
                    Target::Kernels => node.op.workspace(&inputs),
                };
                (bytes > 0).then(|| Block { offset: 0, bytes: align(bytes), first: at, last: at })
            })
            .collect();

        let mut temps: Vec<&mut Block> = tensors
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| graph.info(TensorId(*i)).kind == Kind::Temp)
            .filter_map(|(_, block)| block.as_mut())
            .chain(scratch.iter_mut().flatten())
            .collect();
        let live_bytes = most_live(&temps, end);
        let temp_bytes = place(&mut temps);
        temps.iter_mut().for_each(|block| block.offset += persistent_bytes);

        // A stopped tensor is its original's memory.
        for (id, info) in graph.tensors() {
            tensors[id.0] = tensors[info.storage.0];
        }
        let costs = graph
            .nodes()
            .iter()
            .map(|node| node.op.cost(&graph.types(&node.inputs), &graph.types(&node.outputs)))
            .collect();
        let arena_bytes = persistent_bytes + temp_bytes;
        Self { tensors, scratch, arena_bytes, persistent_bytes, live_bytes, costs }
    }

    /// The whole run's cost.
    pub fn cost(&self) -> Cost {
        self.costs.iter().fold(Cost::default(), |sum, c| sum + *c)
    }

    /// The least time in seconds a device with these ceilings needs: every op is bound by one of the two.
    pub fn roofline_seconds(&self, flops_per_second: f64, bytes_per_second: f64) -> f64 {
        self.costs.iter().map(|c| c.roofline_seconds(flops_per_second, bytes_per_second)).sum()
    }
}

fn align(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

fn most_live(blocks: &[&mut Block], end: usize) -> usize {
    let mut change = vec![0isize; end + 2];
    for block in blocks {
        change[block.first] += block.bytes as isize;
        change[block.last + 1] -= block.bytes as isize;
    }
    let mut live = 0;
    change.iter().map(|delta| (live += delta, live).1).max().unwrap_or(0) as usize
}

/// Largest first, each at the lowest offset where it meets nobody that lives at the same time. Returns the extent.
fn place(blocks: &mut [&mut Block]) -> usize {
    blocks.sort_by_key(|b| (std::cmp::Reverse(b.bytes), b.first));
    let mut placed: Vec<Block> = Vec::with_capacity(blocks.len());
    let mut extent = 0;
    for block in blocks {
        let mut neighbours: Vec<&Block> = placed.iter().filter(|p| p.overlaps_in_time(block)).collect();
        neighbours.sort_by_key(|p| p.offset);
        block.offset = 0;
        for neighbour in neighbours {
            if block.overlaps_in_space(neighbour) {
                block.offset = neighbour.offset + neighbour.bytes;
            }
        }
        extent = extent.max(block.offset + block.bytes);
        placed.push(**block);
    }
    extent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Init;
    use crate::ops::{add::Add, relu::Relu};
    use crate::tensor::TensorType;
    use proptest::prelude::*;

    /// A graph of random adds and ReLUs over random earlier tensors, differentiated.
    fn random_graph(choices: &[(usize, usize, bool)]) -> Graph {
        let mut graph = Graph::new();
        let ty = TensorType::f32([3, 50]);
        let mut tensors =
            vec![graph.param("w", ty.clone(), Init::Ones).unwrap(), graph.input("x", ty.clone()).unwrap()];
        for &(a, b, relu) in choices {
            let (a, b) = (tensors[a % tensors.len()], tensors[b % tensors.len()]);
            let made = if relu { graph.apply1(Relu, &[a]) } else { graph.apply1(Add, &[a, b]) };
            tensors.push(made.unwrap());
        }
        let last = *tensors.last().unwrap();
        if graph.info(last).differentiable {
            let upstream = graph.input("d", ty).unwrap();
            let gradients = graph.differentiate(&[(last, upstream)]).unwrap();
            gradients.get(tensors[0]).into_iter().for_each(|g| graph.keep(g));
        }
        graph
    }

    proptest! {
        #[test]
        fn tensors_of_random_graphs_do_not_share_memory_while_both_are_needed(
            choices in prop::collection::vec((0usize..100, 0usize..100, any::<bool>()), 1..40),
        ) {
            let graph = random_graph(&choices);
            let plan = Plan::new(&graph, Target::Cpu);
            // From the graph alone: the nodes at which each tensor must hold its values.
            let needed = |id: TensorId| {
                let uses = |n: &super::super::Node| n.inputs.contains(&id) || n.outputs.contains(&id);
                let at: Vec<usize> = (0..graph.nodes().len()).filter(|&i| uses(&graph.nodes()[i])).collect();
                let (first, mut last) = (at.first().copied()?, at.last().copied()?);
                let lasts = graph.info(id).kind != Kind::Temp || graph.kept().contains(&id);
                if lasts { last = usize::MAX }
                Some((if graph.info(id).kind == Kind::Temp { first } else { 0 }, last))
            };
            let all: Vec<_> = graph.tensors().map(|(id, _)| id).collect();
            for (i, &a) in all.iter().enumerate() {
                for &b in &all[i + 1..] {
                    if let (Some((a0, a1)), Some((b0, b1))) = (needed(a), needed(b))
                        && a0 <= b1 && b0 <= a1
                    {
                        let (x, y) = (plan.tensors[a.0].unwrap(), plan.tensors[b.0].unwrap());
                        prop_assert!(!x.overlaps_in_space(&y), "{:?} {:?}", a, b);
                        prop_assert!(x.offset + x.bytes <= plan.arena_bytes);
                    }
                }
            }
        }

        #[test]
        fn no_two_live_blocks_overlap(spans in prop::collection::vec((1usize..5000, 0usize..40, 0usize..40), 1..80)) {
            let mut blocks: Vec<Block> = spans
                .iter()
                .map(|&(bytes, a, b)| Block { offset: 0, bytes: align(bytes), first: a.min(b), last: a.max(b) })
                .collect();
            let mut refs: Vec<&mut Block> = blocks.iter_mut().collect();
            let floor = most_live(&refs, 40);
            let extent = place(&mut refs);
            prop_assert!(extent >= floor);
            for (i, a) in blocks.iter().enumerate() {
                prop_assert!(a.offset + a.bytes <= extent);
                prop_assert_eq!(a.offset % ALIGNMENT, 0);
                for b in &blocks[i + 1..] {
                    prop_assert!(!(a.overlaps_in_time(b) && a.overlaps_in_space(b)), "{:?} {:?}", a, b);
                }
            }
        }
    }
}
